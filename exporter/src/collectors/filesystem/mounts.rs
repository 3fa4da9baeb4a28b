//! What is mounted where: the lines of `/proc/<pid>/mountinfo` (`show_mountinfo()` in
//! `fs/proc_namespace.c`).

use super::{Labels, crew::Question};
use crate::{error::Malformed, flag::Filter};
use hashbrown::{HashMap, HashSet};
use std::{
    borrow::Cow,
    ffi::{CStr, CString},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::Arc,
};

/// The mounts that are wanted, in the order of the file.
pub struct Table<T> {
    pub mounts: Vec<Mount>,
    /// One for each place; mounts over one another share it.
    pub questions: Vec<Arc<Question<T>>>,
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
    pub major: u32,
    pub minor: u32,
    pub read_only: bool,
    /// Whether a later mount has the same labels: that one is exposed.
    pub covered: bool,
    /// Whether a later mount has the same labels and device numbers.
    pub repeated: bool,
    /// Position in [`Table::questions`].
    pub question: usize,
}

/// Which mounts are wanted.
pub struct Wanted {
    pub points: Filter,
    pub kinds: Filter,
}

impl<T> Table<T> {
    /// Reads the table anew, and says which line was not understood, if any. Questions about
    /// mounts that were there before stay the same.
    pub fn update(&mut self, text: &[u8], root: &Path, wanted: &Wanted) -> Option<Malformed> {
        let mut malformed = None;
        let mut mounts: Vec<Mount> = Vec::new();
        // A path leads to what was mounted there last.
        let mut places: Vec<(CString, u64)> = Vec::new();
        let mut known = HashMap::new();
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let line = match Line::parse(line) {
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
            mounts.push(Mount {
                labels,
                major: line.major,
                minor: line.minor,
                read_only: line.read_only,
                covered: false,
                repeated: false,
                question,
            });
        }
        mark(&mut mounts);
        self.mounts = mounts;
        let old = std::mem::take(&mut self.questions);
        let before: HashMap<(&CStr, u64), &Arc<Question<T>>> = (old.iter().zip(&self.ids))
            .map(|(question, &id)| ((question.path(), id), question))
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

/// Finds the mounts whose series a later one gives too.
fn mark(mounts: &mut [Mount]) {
    let (mut labels, mut numbers) = (HashSet::new(), HashSet::new());
    let marks: Vec<(bool, bool)> = (mounts.iter().rev())
        .map(|mount| {
            let Labels { device, mountpoint, .. } = &mount.labels;
            let is_last = numbers.insert((device, mountpoint, mount.major, mount.minor));
            (!labels.insert(&mount.labels), !is_last)
        })
        .collect();
    drop((labels, numbers));
    for (mount, (covered, repeated)) in mounts.iter_mut().rev().zip(marks) {
        (mount.covered, mount.repeated) = (covered, repeated);
    }
}

/// One line.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    id: u64,
    major: u32,
    minor: u32,
    /// Escaped.
    point: &'a [u8],
    kind: &'a [u8],
    source: &'a [u8],
    read_only: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = |what| Malformed::new(what, &String::from_utf8_lossy(line));
        let mut fields = line.splitn(7, |&byte| byte == b' ');
        let mut field = |what| fields.next().ok_or_else(|| wrong(what));
        let id = number(field("mount ID")?).ok_or_else(|| wrong("mount ID"))?;
        field("parent's mount ID")?;
        let device = field("device numbers")?;
        let mut numbers = device.splitn(2, |&byte| byte == b':').map(number);
        let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
            return Err(wrong("device numbers"));
        };
        field("root")?;
        let point = field("mount point")?;
        let options = field("mount options")?;
        let rest = field("file system")?;
        // Any number of optional fields, ended by a dash; the last field may have spaces.
        let end = if rest.starts_with(b"- ") {
            0
        } else {
            memchr::memmem::find(rest, b" - ").ok_or_else(|| wrong("file system"))? + 1
        };
        let mut fields = rest.get(end..).unwrap_or_default().splitn(4, |&byte| byte == b' ');
        let (Some(_dash), Some(kind), Some(source), Some(super_options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(wrong("file system"));
        };
        let has = |options: &[u8], option| options.split(|&byte| byte == b',').any(|o| o == option);
        let read_only = has(options, b"ro".as_slice())
            || has(super_options, b"ro")
            || has(super_options, b"emergency_ro");
        Ok(Self { id, major, minor, point, kind, source, read_only })
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Undoes what the kernel does to white space and backslashes: `\040` is a space.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) =
            (byte, tail)
        {
            plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            plain.push(byte);
            rest = tail;
        }
    }
    Cow::Owned(plain)
}

/// The mount point as it is seen from `root`; what is not below it stays as it is.
fn strip<'a>(point: &'a [u8], root: &Path) -> &'a [u8] {
    let root = trim(root);
    match point.strip_prefix(root) {
        Some(b"") if !root.is_empty() => b"/",
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => point,
    }
}

/// Where that is for the exporter.
fn join(root: &Path, point: &[u8]) -> Vec<u8> {
    [trim(root), point].concat()
}

/// The path without slashes at its end.
fn trim(root: &Path) -> &[u8] {
    let mut path = root.as_os_str().as_bytes();
    while let Some(shorter) = path.strip_suffix(b"/") {
        path = shorter;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flag::{Flags, pattern},
        testing::malformed,
    };

    fn parse(line: &str) -> Result<Line<'_>, Malformed> {
        Line::parse(line.as_bytes())
    }

    fn everything() -> Wanted {
        let any = || Filter::new(&Flags::default(), &pattern("a", ""), &pattern("b", "")).unwrap();
        Wanted { points: any(), kinds: any() }
    }

    fn table(text: &str) -> Table<()> {
        let mut table = Table::default();
        assert_eq!(table.update(text.as_bytes(), Path::new("/"), &everything()), None);
        table
    }

    #[test]
    fn optional_fields_are_any_number() {
        let rest = "ext4 /dev/sda1 rw,errors=remount-ro";
        for optional in ["", "shared:1 ", "shared:1 master:2 propagate_from:3 unbindable - "] {
            let line = format!("27 1 254:0 / / rw,relatime {optional}- {rest}");
            let line = parse(&line).unwrap();
            assert_eq!((line.id, line.major, line.minor, line.point), (27, 254, 0, &b"/"[..]));
            if !optional.contains('-') {
                assert_eq!((line.kind, line.source), (&b"ext4"[..], &b"/dev/sda1"[..]));
            }
            assert!(!line.read_only);
        }
        let odd = parse("1 1 0:1 / /x rw - tmpfs  rw,a b").unwrap();
        assert_eq!((odd.source, odd.read_only), (&b""[..], false));
    }

    #[test]
    fn read_only_is_the_mount_or_the_file_system_or_an_emergency() {
        let read_only = |a: &str, b: &str| {
            parse(&format!("1 1 0:1 / / {a} - ext4 /dev/sda1 {b}")).unwrap().read_only
        };
        assert!(read_only("ro,relatime", "rw") && read_only("rw", "ro"));
        assert!(read_only("rw", "rw,emergency_ro"));
        assert!(!read_only("rw,errors=ro,rox", "rw,error=remount-ro"));
    }

    #[test]
    fn refuses_what_is_no_mount() {
        for (line, what) in [
            ("x 1 0:1 / / rw - a b c", "mount ID"),
            ("1 1 0 / / rw - a b c", "device numbers"),
            ("1 1 0:x / / rw - a b c", "device numbers"),
            ("1 1 0:1 / /", "mount options"),
            ("1 1 0:1 / / rw", "file system"),
            ("1 1 0:1 / / rw shared:1 a b c", "file system"),
            ("1 1 0:1 / / rw - a b", "file system"),
        ] {
            assert_eq!(malformed(parse(line)), format!("bad {what}: {line:?}"));
        }
    }

    #[test]
    fn a_line_that_is_wrong_hides_no_other() {
        let mut table = Table::<()>::default();
        let text = b"1 1 0:1 / /a rw - ext4 /dev/a rw\nwrong\n\n2 1 0:2 / /b rw - ext4 /dev/b rw\n";
        assert!(table.update(text, Path::new("/"), &everything()).is_some());
        assert_eq!(table.mounts.len(), 2);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(*unescape(br"/a\040b\011c\012d\134e"), *b"/a b\tc\nd\\e");
        assert_eq!(*unescape(br"/a\04\400\x\"), *br"/a\04\400\x\");
        assert_eq!(*unescape(b"/\\377"), *b"/\xff");
    }

    #[test]
    fn mount_points_are_seen_from_the_root() {
        let strip = |point: &'static str, root| {
            std::str::from_utf8(strip(point.as_bytes(), Path::new(root))).unwrap()
        };
        assert_eq!(strip("/data", "/"), "/data");
        assert_eq!(strip("/", "/"), "/");
        assert_eq!(strip("/host", "/host"), "/");
        assert_eq!(strip("/host/data", "/host"), "/data");
        assert_eq!(strip("/host/data", "/host/"), "/data");
        assert_eq!(strip("/hostdata", "/host"), "/hostdata");
        assert_eq!(join(Path::new("/"), b"/a"), b"/a");
        assert_eq!(join(Path::new("/host/"), b"/"), b"/host/");
    }

    #[test]
    fn of_mounts_over_one_another_the_last_is_exposed() {
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
            (true, false, 0),
            (false, false, 0),
            (false, false, 0),
            (true, true, 1),
            (false, false, 1),
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
