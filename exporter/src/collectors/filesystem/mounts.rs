//! The mounts that the flags select, and their mount points.

use super::Labels;
use crate::{
    error::Malformed,
    flag::Filter,
    host::{
        crew::Question,
        mounts::{self, join, strip, unescape},
    },
};
use hashbrown::{HashMap, HashSet};
use std::{
    borrow::Cow,
    ffi::{CStr, CString, OsStr},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

/// The selected mounts, in the order of their series, so that the exposition need not sort them.
pub struct Table<T> {
    pub mounts: Vec<Mount>,
    /// One question for each mount point; mounts over one another share it.
    pub places: Vec<Place<T>>,
}

/// A mount point.
pub struct Place<T> {
    pub question: Arc<Question<CString, T>>,
    /// Whether statfs(2) answers from memory, see [`is_near`].
    pub is_near: bool,
    /// The number of the mount on top.
    id: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { mounts: Vec::new(), places: Vec::new() }
    }
}

/// One mount.
pub struct Mount {
    pub labels: Labels,
    /// The numbers of the device, major and minor; `None` where they are malformed.
    pub numbers: Option<(u32, u32)>,
    pub read_only: bool,
    /// Whether a later mount has the same labels: then only the later mount is exposed.
    pub covered: bool,
    /// Whether a later mount has the same labels and device numbers.
    pub repeated: bool,
    /// Position in [`Table::places`].
    pub place: usize,
}

/// The filters that select mounts.
pub struct Wanted {
    pub points: Filter,
    pub kinds: Filter,
}

impl<T> Table<T> {
    /// Reads the table anew, and returns its first fault: a line that cannot be read, or a
    /// malformed part of a selected mount's line. A mount that was in the table before keeps its
    /// question.
    pub fn update(&mut self, text: &[u8], root: &Path, wanted: &Wanted) -> Option<Malformed> {
        let mut malformed = None;
        let mut mounts: Vec<Mount> = Vec::new();
        // statfs(2) of a path asks the file system that was mounted there last.
        let mut places: Vec<(CString, u64)> = Vec::new();
        let mut known = HashMap::new();
        let mut far = HashSet::new();
        for line in mounts::lines(text) {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    malformed.get_or_insert(error);
                    continue;
                }
            };
            let point = unescape(line.point);
            if !NEAR.contains(&line.kind) {
                far.insert(point.clone());
            }
            let shown = strip(&point, root);
            let labels = Labels {
                device: String::from_utf8_lossy(line.source).into(),
                fstype: String::from_utf8_lossy(line.kind).into(),
                mountpoint: String::from_utf8_lossy(shown).into(),
            };
            if !wanted.points.keeps(&labels.mountpoint) || !wanted.kinds.keeps(&labels.fstype) {
                continue;
            }
            let Ok(path) = CString::new(join(root, shown)) else { continue };
            let place = *known.entry(path.clone()).or_insert(places.len());
            match places.get_mut(place) {
                Some((_, id)) => *id = line.id,
                None => places.push((path, line.id)),
            }
            let numbers = match line.device {
                Ok(numbers) => Some(numbers),
                Err(error) => {
                    malformed.get_or_insert(error);
                    None
                }
            };
            mounts.push(Mount {
                labels,
                numbers,
                read_only: line.read_only,
                covered: false,
                repeated: false,
                place,
            });
        }
        mark(&mut mounts);
        mounts.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.mounts = mounts;
        let old = std::mem::take(&mut self.places);
        let before: HashMap<(&CStr, u64), &Arc<Question<CString, T>>> = (old.iter())
            .map(|Place { question, id, .. }| ((question.subject().as_c_str(), *id), question))
            .collect();
        self.places = (places.into_iter())
            .map(|(path, id)| Place {
                is_near: root == Path::new("/") && is_near(path.to_bytes(), &far),
                question: match before.get(&(path.as_c_str(), id)) {
                    Some(question) => Arc::clone(question),
                    None => Arc::new(Question::new(path)),
                },
                id,
            })
            .collect();
        malformed
    }
}

/// File systems whose numbers for statfs(2) are in memory (`ext2_statfs()`, `ext4_statfs()`,
/// `shmem_statfs()`, `simple_statfs()`), and in which the kernel looks up a mount point without asking
/// anybody. `xfs_fs_statfs()` waited for work on the disk in Linux 5.14 to 5.18.
const NEAR: [&[u8]; 5] = [b"ext2", b"ext3", b"ext4", b"tmpfs", b"ramfs"];

/// Whether statfs(2) on that path needs no file system but those in [`NEAR`]: none of those that are
/// mounted at the points in `far` is there, or on the way.
fn is_near(path: &[u8], far: &HashSet<Cow<'_, [u8]>>) -> bool {
    let mut way = Path::new(OsStr::from_bytes(path)).ancestors();
    !way.any(|point| far.contains(point.as_os_str().as_bytes()))
}

/// Marks the mounts whose series a later mount gives too.
fn mark(mounts: &mut [Mount]) {
    let (mut labels, mut numbers) = (HashSet::new(), HashSet::new());
    let marks: Vec<(bool, bool)> = (mounts.iter().rev())
        .map(|mount| {
            let Labels { device, mountpoint, .. } = &mount.labels;
            let is_last = numbers.insert((device, mountpoint, mount.numbers));
            (!labels.insert(&mount.labels), !is_last)
        })
        .collect();
    drop((labels, numbers));
    for (mount, (covered, repeated)) in mounts.iter_mut().rev().zip(marks) {
        (mount.covered, mount.repeated) = (covered, repeated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Wanted {
        let any = Filter::default;
        Wanted { points: any(), kinds: any() }
    }

    fn table(text: &str) -> Table<()> {
        let mut table = Table::default();
        assert_eq!(table.update(text.as_bytes(), Path::new("/"), &everything()), None);
        table
    }

    #[test]
    fn a_line_that_is_wrong_hides_no_other() {
        let mut table = Table::<()>::default();
        let text = b"1 1 0:1 / /a rw - ext4 /dev/a rw\nwrong\n\n2 1 x:2 / /b rw - ext4 /dev/b rw\n";
        let malformed = table.update(text, Path::new("/"), &everything());
        assert_eq!(malformed, Some(Malformed::new("parent's mount ID", "wrong").in_line(2)));
        let numbers: Vec<_> = table.mounts.iter().map(|mount| mount.numbers).collect();
        assert_eq!(numbers, [Some((0, 1)), None]);
    }

    #[test]
    fn the_last_of_mounts_over_one_another_is_exposed() {
        let table = table(
            "1 1 0:1 / /a rw - tmpfs tmpfs rw\n\
             2 1 0:2 / /a ro - tmpfs tmpfs rw\n\
             3 1 8:1 / /a rw - ext4 /dev/sda1 rw\n\
             4 1 8:1 /x /b rw - ext4 /dev/sda1 rw\n\
             5 4 8:1 /y /b rw - ext4 /dev/sda1 rw\n",
        );
        let marks: Vec<_> = (table.mounts.iter())
            .map(|mount| (mount.covered, mount.repeated, mount.place))
            .collect();
        let want = [
            (false, false, 0),
            (true, true, 1),
            (false, false, 1),
            (true, false, 0),
            (false, false, 0),
        ];
        assert_eq!(marks, want);
        let ids: Vec<_> = table.places.iter().map(|place| place.id).collect();
        assert_eq!(ids, [3, 5]);
    }

    #[test]
    fn questions_stay_as_long_as_their_mounts() {
        let mut table =
            table("1 1 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b rw - tmpfs tmpfs rw\n");
        let questions = |table: &Table<()>| -> Vec<_> {
            table.places.iter().map(|place| Arc::clone(&place.question)).collect()
        };
        let before = questions(&table);
        // /a was mounted anew, /b was made read-only.
        let text = b"3 1 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b ro - tmpfs tmpfs rw\n";
        table.update(text, Path::new("/"), &everything());
        let after = questions(&table);
        assert!(!Arc::ptr_eq(&after[0], &before[0]));
        assert!(Arc::ptr_eq(&after[1], &before[1]));
    }

    #[test]
    fn a_place_is_near_where_all_on_the_way_is() {
        let text = "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 0:2 / /run rw - tmpfs tmpfs rw\n\
                    3 1 0:3 / /net rw - autofs auto rw\n\
                    4 3 8:2 / /net/a rw - ext4 /dev/sdb rw\n\
                    5 1 8:3 / /network rw - ext2 /dev/sdc rw\n\
                    6 1 8:4 / /covered rw - ext4 /dev/sdd rw\n\
                    7 6 0:4 / /covered rw - nfs4 a:/b rw\n\
                    8 1 8:5 / /disk rw - xfs /dev/sde rw\n";
        let near = |root: &str| {
            let mut table = Table::<()>::default();
            table.update(text.as_bytes(), Path::new(root), &everything());
            let near = table.places.iter().filter(|place| place.is_near);
            near.map(|place| place.question.subject().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(near("/"), ["/", "/run", "/network"]);
        assert_eq!(near("/host"), [""; 0], "the mounts on the way to it are not known");
        let root = "1 1 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /a rw - tmpfs tmpfs rw\n";
        assert!(table(root).places.iter().all(|place| !place.is_near));
    }
}
