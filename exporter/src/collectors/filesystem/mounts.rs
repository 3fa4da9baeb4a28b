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
    ffi::{CStr, CString},
    path::Path,
    sync::Arc,
};

/// The selected mounts, in the order of their series, so that the exposition need not sort them.
pub struct Table<T> {
    pub mounts: Vec<Mount>,
    /// One question for each mount point; mounts over one another share it.
    pub questions: Vec<Arc<Question<CString, T>>>,
    ids: Vec<u64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { mounts: Vec::new(), questions: Vec::new(), ids: Vec::new() }
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
    /// Position in [`Table::questions`].
    pub question: usize,
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
        for line in mounts::lines(text) {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    malformed.get_or_insert(error);
                    continue;
                }
            };
            let point = unescape(line.point);
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
            let question = *known.entry(path.clone()).or_insert(places.len());
            match places.get_mut(question) {
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
                question,
            });
        }
        mark(&mut mounts);
        mounts.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.mounts = mounts;
        let old = std::mem::take(&mut self.questions);
        let before: HashMap<(&CStr, u64), &Arc<Question<CString, T>>> = (old.iter().zip(&self.ids))
            .map(|(question, &id)| ((question.subject().as_c_str(), id), question))
            .collect();
        self.questions = (places.iter())
            .map(|(path, id)| match before.get(&(path.as_c_str(), *id)) {
                Some(question) => Arc::clone(question),
                None => Arc::new(Question::new(path.clone())),
            })
            .collect();
        self.ids = places.into_iter().map(|(_, id)| id).collect();
        malformed
    }
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
            .map(|mount| (mount.covered, mount.repeated, mount.question))
            .collect();
        let want = [
            (false, false, 0),
            (true, true, 1),
            (false, false, 1),
            (true, false, 0),
            (false, false, 0),
        ];
        assert_eq!(marks, want);
        assert_eq!(table.ids, [3, 5]);
    }

    #[test]
    fn questions_stay_as_long_as_their_mounts() {
        let mut table =
            table("1 1 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b rw - tmpfs tmpfs rw\n");
        let before = table.questions.clone();
        // /a was mounted anew, /b was made read-only.
        let text = b"3 1 0:1 / /a rw - tmpfs tmpfs rw\n2 1 0:2 / /b ro - tmpfs tmpfs rw\n";
        table.update(text, Path::new("/"), &everything());
        assert!(!Arc::ptr_eq(&table.questions[0], &before[0]));
        assert!(Arc::ptr_eq(&table.questions[1], &before[1]));
    }
}
