//! The mounted file systems, as `/proc/<pid>/mountinfo` lists them (`show_mountinfo()` in
//! `fs/proc_namespace.c`).

use crate::{
    error::{Error, Malformed, Result},
    host::{
        Shared,
        tree::{File, Tree},
    },
};
use std::{borrow::Cow, os::unix::ffi::OsStrExt as _, path::Path};

/// `/proc/1/mountinfo`, or the exporter's own where process 1 is hidden from it (`hidepid`).
#[derive(Debug)]
pub struct Mounts {
    first: File,
    own: File,
    is_own: bool,
}

impl Mounts {
    /// The mounts that this procfs lists.
    #[must_use]
    pub fn new(proc: &Tree) -> Self {
        Self { first: proc.file("1/mountinfo"), own: proc.file("self/mountinfo"), is_own: false }
    }

    fn refresh(&mut self) -> Result {
        let read = self.first.bytes().map(drop);
        self.is_own = read.as_ref().is_err_and(Error::is_hidden);
        if self.is_own { self.own.bytes().map(drop) } else { read }
    }

    const fn file(&self) -> &File {
        if self.is_own { &self.own } else { &self.first }
    }
}

impl Shared<Mounts> {
    /// Opens the file, which stays open: where `/proc` is mounted with `hidepid`, that of process 1
    /// is hidden once the exporter has dropped its capabilities.
    pub fn open(&self) {
        if let Err(error) = self.read(0, |_, _| Ok(())) {
            tracing::debug!(%error, "mounts are not known at the start");
        }
    }

    /// Gives `read` the file, which is read once a scrape and need not be UTF-8.
    ///
    /// # Errors
    /// The file cannot be read, or `read` returns an error.
    pub fn read<R>(&self, scrape: u64, read: impl FnOnce(&[u8], &Path) -> Result<R>) -> Result<R> {
        self.with(scrape, Mounts::refresh, |mounts| {
            read(mounts.file().last(), mounts.file().path())
        })
    }
}

/// One mount, as a line says it.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// The number of the mount, which is used again once the mount is gone; 0 where it is odd.
    pub id: u64,
    /// The numbers of the file system's device, major and minor.
    pub device: Result<(u32, u32), Malformed>,
    /// The part of the file system that is mounted, escaped.
    pub root: &'a [u8],
    /// The mount point, escaped.
    pub point: &'a [u8],
    /// The type, escaped.
    pub kind: &'a [u8],
    /// The device or the export that is mounted, escaped.
    pub source: &'a [u8],
    /// Whether the mount or the file system is read-only, for whatever reason.
    pub read_only: bool,
}

/// The mounts in the order in which they were made.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Result<Line<'_>, Malformed>> {
    let lines = (1..).zip(text.split(|&byte| byte == b'\n'));
    lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| {
        let mut line = Line::parse(line).map_err(|malformed| malformed.in_line(number))?;
        line.device = line.device.map_err(|malformed| malformed.in_line(number));
        Ok(line)
    })
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Malformed> {
        let wrong = |what| Malformed::new(what, &String::from_utf8_lossy(line));
        let mut fields = line.splitn(7, |&byte| byte == b' ');
        let mut field = |what| fields.next().ok_or_else(|| wrong(what));
        let id = number(field("mount ID")?).unwrap_or(0);
        field("parent's mount ID")?;
        let device = field("device numbers")?;
        let mut numbers = device.splitn(2, |&byte| byte == b':').map(number);
        let device = match (numbers.next(), numbers.next()) {
            (Some(Some(major)), Some(Some(minor))) => Ok((major, minor)),
            _ => Err(wrong("device numbers")),
        };
        let root = field("root")?;
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
        Ok(Self { id, device, root, point, kind, source, read_only })
    }
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Undoes the kernel's escapes of white space and backslashes: `\040` is a space.
#[must_use]
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
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

/// The mount point as it is seen from `root`; a mount point outside `root` stays as it is.
#[must_use]
pub fn strip<'a>(point: &'a [u8], root: &Path) -> &'a [u8] {
    let root = trim(root);
    match point.strip_prefix(root) {
        Some(b"") if !root.is_empty() => b"/",
        Some(rest) if rest.starts_with(b"/") => rest,
        _ => point,
    }
}

/// The path by which the exporter reaches the mount point.
#[must_use]
pub fn join(root: &Path, point: &[u8]) -> Vec<u8> {
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
    use crate::testing::{Machine, malformed};

    fn parse(line: &str) -> Result<Line<'_>, Malformed> {
        Line::parse(line.as_bytes())
    }

    /// A machine whose process 1 has a file of a real procfs, which stays readable where it is hidden
    /// later.
    fn with_first(machine: Machine) -> Machine {
        let first = machine.path().join("proc/1");
        std::fs::create_dir_all(&first).unwrap();
        std::os::unix::fs::symlink("/proc/self/mountinfo", first.join("mountinfo")).unwrap();
        machine
    }

    fn hide_first(machine: &Machine) {
        std::fs::remove_dir_all(machine.path().join("proc/1")).unwrap();
    }

    #[test]
    fn the_exporters_own_mounts_stand_in_for_those_of_a_hidden_process() {
        let machine = Machine::new().with("proc/self/mountinfo", "own");
        let mounts = Shared::new(Mounts::new(&Tree::new(machine.path().join("proc"))));
        let is_own = |scrape| mounts.read(scrape, |text, _| Ok(text == b"own"));
        assert!(is_own(1).unwrap());
        let machine = with_first(machine);
        assert_eq!((is_own(1).unwrap(), is_own(2).unwrap()), (true, false));
        hide_first(&machine);
        assert!(!is_own(3).unwrap(), "the file stays open");
    }

    #[test]
    fn a_file_opened_at_the_start_may_be_hidden_later() {
        let machine = with_first(Machine::new().with("proc/self/mountinfo", "own"));
        let mounts = Shared::new(Mounts::new(&Tree::new(machine.path().join("proc"))));
        mounts.open();
        hide_first(&machine);
        assert_ne!(mounts.read(1, |text, _| Ok(text.to_vec())).unwrap(), b"own");
    }

    #[test]
    fn optional_fields_are_any_number() {
        let rest = "ext4 /dev/sda1 rw,errors=remount-ro";
        for optional in ["", "shared:1 ", "shared:1 master:2 propagate_from:3 unbindable - "] {
            let line = format!("27 1 254:0 / / rw,relatime {optional}- {rest}");
            let line = parse(&line).unwrap();
            assert_eq!((line.id, &line.device, line.point), (27, &Ok((254, 0)), &b"/"[..]));
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
    fn refuses_lines_that_are_no_mounts() {
        for (line, what) in [
            ("1 1 0:1 / /", "mount options"),
            ("1 1 0:1 / / rw", "file system"),
            ("1 1 0:1 / / rw shared:1 a b c", "file system"),
            ("1 1 0:1 / / rw - a b", "file system"),
        ] {
            assert_eq!(malformed(parse(line)), format!("bad {what}: {line:?}"));
        }
        for line in ["x 1 0 / / rw - a b c", "-1 1 0:x / / rw - a b c"] {
            let Line { id, device, kind, .. } = parse(line).unwrap();
            assert_eq!((id, kind), (0, &b"a"[..]), "odd numbers cost themselves alone");
            assert_eq!(malformed(device), format!("bad device numbers: {line:?}"));
        }
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
}
