//! The system calls that read, of one scrape, as strace(1) writes them with
//! `-f -yy -s 0 -ttt -e write=all`.
//!
//! Taken are calls that open files to read them, read, list, examine and close, and those that ask
//! the kernel over netlink. Not taken, but counted, are all others: other sockets, bpf(2), ioctl(2),
//! waiting, memory; and calls on files whose names strace has to escape.

use netlink_sys::protocols;
use nix::libc::pid_t;
use rustix::fs::{AtFlags, OFlags};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::CString,
    ops::RangeInclusive,
};

/// A descriptor's number in the traced process.
pub(super) type Number = usize;

/// The folder that a path begins at: an open one, or the current one.
pub(super) type Base = Option<Number>;

/// A system call, without the result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The number is that of the new descriptor, if there is one.
    Open(Base, CString, OFlags, Option<Number>),
    Close(Number),
    Read(Number, usize),
    ReadAt(Number, usize, u64),
    List(Number, usize),
    Rewind(Number),
    Examine(Number),
    ExamineAt(Base, CString, AtFlags),
    /// statx(2), which takes another way through the kernel.
    ExamineMore(Base, CString, AtFlags),
    ExamineFilesystem(CString),
    Access(CString),
    ReadLink(Base, CString),
    /// A request over netlink.
    Ask(Number, Vec<u8>),
    /// A part of the answer, with the room for it.
    Answer(Number, usize),
}

/// A descriptor that was there before the first call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// A file by its path.
    File(String),
    /// A socket to the kernel by the number of its netlink protocol.
    Netlink(isize),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) succeeds: bool,
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) calls: Vec<Call>,
    /// The files and sockets that were open before the first call, by their descriptors' numbers.
    pub(super) kept: BTreeMap<Number, Kept>,
    /// The number of calls that are not taken, by name.
    pub(super) others: BTreeMap<String, usize>,
}

impl Trace {
    /// Reads the calls that began in a time of the real clock, in seconds. Calls of threads that ran
    /// at once are put in the order of their ends, save close(2), which frees a number at its begin.
    pub(super) fn parse(text: &str, time: &RangeInclusive<f64>) -> Self {
        let (mut trace, mut opened) = (Self::default(), BTreeSet::new());
        let mut unfinished: HashMap<pid_t, String> = HashMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            // The bytes that a call has written follow its end.
            let dump = std::iter::from_fn(|| lines.next_if(|line| line.starts_with(DUMP)));
            let written: Vec<u8> = dump.flat_map(bytes).collect();
            let Some((thread, began, call)) = words(line) else { continue };
            if let Some(resumed) = call.strip_prefix("<... ") {
                let Some(mut whole) = unfinished.remove(&thread) else { continue };
                whole.push_str(resumed.split_once(" resumed>").map_or("", |(_, rest)| rest));
                trace.take(&whole, &written, &mut opened);
            } else if !time.contains(&began) {
            } else if let Some(first) = call.strip_suffix("<unfinished ...>") {
                if first.starts_with("close(") {
                    trace.take(&format!("{first}) = 0"), &[], &mut opened);
                    continue;
                }
                unfinished.insert(thread, first.to_owned());
            } else {
                trace.take(call, &written, &mut opened);
            }
        }
        trace
    }

    /// Takes a whole call and the bytes that it wrote; `opened` has the descriptors that are open by
    /// an earlier call.
    fn take(&mut self, call: &str, written: &[u8], opened: &mut BTreeSet<Number>) {
        // Signals and the ends of threads have no result.
        let Some((name, arguments, result)) = parts(call) else { return };
        let succeeds = !result.starts_with('-');
        if let Some((number, protocol, action)) = netlink(name, &arguments, written) {
            self.kept.entry(number).or_insert(Kept::Netlink(protocol));
            self.calls.push(Call { name: format!("{name} (netlink)"), action, succeeds });
            return;
        }
        let Some((action, used)) = action(name, &arguments, result) else {
            *self.others.entry(name.to_owned()).or_default() += 1;
            return;
        };
        if let Some((number, path)) = used
            && !opened.contains(&number)
        {
            self.kept.entry(number).or_insert_with(|| Kept::File(path.to_owned()));
        }
        match action {
            Action::Open(.., Some(number)) => _ = opened.insert(number),
            Action::Close(number) => _ = opened.remove(&number),
            _ => {}
        }
        self.calls.push(Call { name: name.to_owned(), action, succeeds });
    }
}

/// The begin of a line with bytes that were written: the position, sixteen bytes, and their text.
const DUMP: &str = " | ";

/// The width of the column with the bytes, in two groups of eight.
const COLUMN: usize = 49;

/// The bytes of such a line.
fn bytes(line: &str) -> impl Iterator<Item = u8> {
    let column = line.trim_start_matches(DUMP).split_once("  ").map_or("", |(_, rest)| rest);
    let column = column.get(..COLUMN).unwrap_or_default();
    column.split_whitespace().filter_map(|byte| u8::from_str_radix(byte, 16).ok())
}

/// The thread of a line, the time in seconds, and the rest.
fn words(line: &str) -> Option<(pid_t, f64, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (began, call) = rest.trim_start().split_once(' ')?;
    Some((thread.parse().ok()?, began.parse().ok()?, call))
}

/// The name of a call, the arguments and the result.
fn parts(call: &str) -> Option<(&str, Vec<&str>, &str)> {
    let (left, result) = call.rsplit_once(" = ")?;
    let (name, arguments) = left.trim_end().strip_suffix(')')?.split_once('(')?;
    let (mut depth, mut is_quoted) = (0_u32, false);
    let arguments = arguments.split(|c| {
        match c {
            '"' => is_quoted = !is_quoted,
            '{' | '[' | '<' => depth += 1,
            '}' | ']' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0 && !is_quoted
    });
    Some((name, arguments.map(str::trim).collect(), result))
}

/// A call that is taken, and the descriptor that is used with the path of its file.
fn action<'a>(
    name: &str,
    arguments: &[&'a str],
    result: &str,
) -> Option<(Action, Option<(Number, &'a str)>)> {
    let argument = |i: usize| arguments.get(i).copied();
    let size = |i| argument(i)?.parse().ok();
    let whole = |i| argument(i).and_then(path);
    if let "statfs" | "access" | "readlink" = name {
        let path = whole(0)?;
        let action = match name {
            "statfs" => Action::ExamineFilesystem(path),
            "access" => Action::Access(path),
            _ => Action::ReadLink(None, path),
        };
        return Some((action, None));
    }
    let used = match argument(0)? {
        current if current.starts_with("AT_FDCWD") => None,
        other => Some(descriptor(other)?),
    };
    let base = used.map(|(number, _)| number);
    let action = match name {
        "openat" => {
            let flags = argument(2)?;
            if ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|w| flags.contains(w)) {
                return None;
            }
            let number = descriptor(result).map(|(number, _)| number);
            Action::Open(base, whole(1)?, set(flags, "O_", OFlags::from_name), number)
        }
        "newfstatat" => {
            Action::ExamineAt(base, whole(1)?, set(argument(3)?, "AT_", AtFlags::from_name))
        }
        "statx" => {
            Action::ExamineMore(base, whole(1)?, set(argument(2)?, "AT_", AtFlags::from_name))
        }
        "readlinkat" => Action::ReadLink(base, whole(1)?),
        "close" => Action::Close(base?),
        "read" => Action::Read(base?, size(2)?),
        "pread64" => Action::ReadAt(base?, size(2)?, argument(3)?.parse().ok()?),
        "getdents64" => Action::List(base?, size(2)?),
        "lseek" if arguments.get(1..) == Some(&["0", "SEEK_SET"]) => Action::Rewind(base?),
        "fstat" => Action::Examine(base?),
        _ => return None,
    };
    Some((action, used))
}

/// A call that asks over netlink or takes an answer, with the socket and its protocol.
fn netlink(name: &str, arguments: &[&str], written: &[u8]) -> Option<(Number, isize, Action)> {
    let (number, kind) = arguments.first()?.split_once("<NETLINK:[")?;
    let protocol = match kind.split_once(':')?.0 {
        "ROUTE" => protocols::NETLINK_ROUTE,
        "SOCK_DIAG" => protocols::NETLINK_SOCK_DIAG,
        "NETFILTER" => protocols::NETLINK_NETFILTER,
        "GENERIC" => protocols::NETLINK_GENERIC,
        _ => return None,
    };
    let (number, size) = (number.parse().ok()?, arguments.get(2)?.parse().ok()?);
    let action = match name {
        "sendto" if written.len() == size => Action::Ask(number, written.to_owned()),
        "recvfrom" => Action::Answer(number, size),
        _ => return None,
    };
    Some((number, protocol, action))
}

/// The number of a descriptor and the path of its file; none for sockets and the like.
fn descriptor(text: &str) -> Option<(Number, &str)> {
    let (number, path) = text.split_once('<')?;
    let path = path.strip_suffix('>').filter(|path| path.starts_with('/'))?;
    // A device has its kind and number behind the path, after another `<`.
    (!path.contains(['\\', '<'])).then_some((number.parse().ok()?, path))
}

/// A path in quotes.
fn path(text: &str) -> Option<CString> {
    let path = text.strip_prefix('"')?.strip_suffix('"')?;
    (!path.contains('\\')).then_some(CString::new(path).ok()?)
}

/// A set of flags; left out are words that stand for no bit, such as `0` and `AT_STATX_SYNC_AS_STAT`.
fn set<F: FromIterator<F>>(names: &str, prefix: &str, flag: fn(&str) -> Option<F>) -> F {
    names.split('|').filter_map(|name| flag(name.strip_prefix(prefix)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Trace {
        Trace::parse(text, &(10.0..=20.0))
    }

    fn actions(text: &str) -> Vec<Action> {
        read(text).calls.into_iter().map(|call| call.action).collect()
    }

    fn kept(number: Number, path: &str) -> BTreeMap<Number, Kept> {
        BTreeMap::from([(number, Kept::File(path.to_owned()))])
    }

    #[test]
    fn files_that_were_open_before_are_kept() {
        let trace = read(
            "7 11.0 pread64(45</proc/sys/fs/file-nr>, \"\"..., 1024, 0) = 12\n\
             7 11.1 openat(AT_FDCWD</root>, \"/sys/block\", O_RDONLY|O_CLOEXEC|O_DIRECTORY) = 46</sys/block>\n\
             7 11.2 getdents64(46</sys/block>, 0x7f0498e12af0 /* 3 entries */, 8192) = 80\n\
             7 11.3 openat(46</sys/block>, \"a,b/size\", O_RDONLY) = -1 ENOENT (No such file or directory)\n\
             7 11.4 close(46</sys/block>)         = 0\n",
        );
        assert_eq!(trace.kept, kept(45, "/proc/sys/fs/file-nr"));
        assert!(trace.others.is_empty(), "{:?}", trace.others);
        let calls: Vec<_> =
            trace.calls.iter().map(|call| (call.name.as_str(), call.succeeds)).collect();
        let names = [("pread64", true), ("openat", true), ("getdents64", true), ("openat", false)];
        assert_eq!(calls, [names.as_slice(), &[("close", true)]].concat());
        let actions: Vec<_> = trace.calls.into_iter().map(|call| call.action).collect();
        let folder = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        assert_eq!(
            actions,
            [
                Action::ReadAt(45, 1024, 0),
                Action::Open(None, c"/sys/block".into(), folder, Some(46)),
                Action::List(46, 8192),
                Action::Open(Some(46), c"a,b/size".into(), OFlags::RDONLY, None),
                Action::Close(46),
            ]
        );
    }

    #[test]
    fn a_file_closed_and_opened_anew_was_kept_under_its_first_name() {
        let trace = read(
            "7 11.0 close(77</etc/old>) = 0\n\
             7 11.1 openat(AT_FDCWD</>, \"/etc/new\", O_RDONLY) = 77</etc/new>\n\
             7 11.2 read(77</etc/new>, \"\", 512) = 0\n",
        );
        assert_eq!(trace.kept, kept(77, "/etc/old"));
    }

    #[test]
    fn calls_that_others_interrupt_are_joined() {
        let text = "7 11.0 pread64(4</proc/stat>,  <unfinished ...>\n\
                    8 11.1 statfs(\"/\", {f_type=EXT2_SUPER_MAGIC, f_fsid={val=[1, 2]}}) = 0\n\
                    7 11.2 <... pread64 resumed>\"\"..., 4096, 512) = 4096\n";
        let want = [Action::ExamineFilesystem(c"/".into()), Action::ReadAt(4, 4096, 512)];
        assert_eq!(actions(text), want);
    }

    #[test]
    fn the_number_of_a_file_that_is_being_closed_is_free() {
        let text = "7 11.0 close(4</proc/stat> <unfinished ...>\n\
                    8 11.1 openat(AT_FDCWD</>, \"/sys\", O_RDONLY) = 4</sys>\n\
                    7 11.2 <... close resumed>)      = 0\n";
        let open = Action::Open(None, c"/sys".into(), OFlags::RDONLY, Some(4));
        assert_eq!(actions(text), [Action::Close(4), open]);
    }

    #[test]
    fn calls_before_and_after_the_scrape_are_left_out() {
        let text = "7 9.9 epoll_wait(3<anon_inode:[eventpoll]>,  <unfinished ...>\n\
                    7 10.1 <... epoll_wait resumed>[], 1024, 10) = 0\n\
                    7 10.2 fstat(5</sys>, {st_mode=S_IFDIR|0755, st_size=0, ...}) = 0\n\
                    7 20.1 close(5</sys>) = 0\n\
                    7 20.2 +++ exited with 0 +++\n";
        assert_eq!(actions(text), [Action::Examine(5)]);
        assert!(read(text).others.is_empty());
    }

    #[test]
    fn calls_that_are_not_taken_are_counted() {
        let trace = read(
            "7 11.0 recvfrom(27<TCP:[127.0.0.1:1->127.0.0.1:2]>, ..., 8192, 0, NULL, NULL) = 20\n\
             7 11.1 read(3<anon_inode:[eventfd]>, \"\"..., 8) = 8\n\
             7 11.2 openat(AT_FDCWD</>, \"/tmp/a\", O_RDWR|O_CREAT, 0600) = 9</tmp/a>\n\
             7 11.3 openat(AT_FDCWD</>, \"/tmp/a\\\"b\", O_RDONLY) = 9</tmp/a\\\"b>\n\
             7 11.4 lseek(5</sys>, 4, SEEK_SET) = 4\n\
             7 11.5 read(6</dev/hpet<char 10:228>>, \"\"..., 8) = 8\n",
        );
        assert_eq!(trace.calls, []);
        let counts: Vec<_> = trace.others.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(counts, [("lseek", 1), ("openat", 2), ("read", 2), ("recvfrom", 1)]);
    }

    #[test]
    fn questions_over_netlink_have_their_bytes() {
        let trace = read(
            "7 11.0 write(3<anon_inode:[eventfd]>, ..., 8) = 8\n \
             | 00000  01 00 00 00 00 00 00 00                           ........         |\n\
             7 11.1 sendto(27<NETLINK:[ROUTE:7]>, ..., 18, 0, NULL, 0 <unfinished ...>\n\
             8 11.2 close(4</sys>) = 0\n\
             7 11.3 <... sendto resumed>) = 18\n \
             | 00000  20 61 62 00 12 00 01 03  08 00 00 00 00 00 00 00   ab............. |\n \
             | 00010  0a 1F                                             ..               |\n\
             7 11.4 recvfrom(27<NETLINK:[ROUTE:7]>, ..., 32768, MSG_TRUNC, NULL, NULL) = 20\n\
             7 11.5 recvfrom(34<NETLINK:[GENERIC:-9]>, 0x7f, 32, 0, NULL, NULL) = -1 EAGAIN (Resource)\n",
        );
        let asked = b"\x20ab\0\x12\0\x01\x03\x08\0\0\0\0\0\0\0\x0a\x1f".to_vec();
        let calls = [
            ("close", Action::Close(4), true),
            ("sendto (netlink)", Action::Ask(27, asked), true),
            ("recvfrom (netlink)", Action::Answer(27, 32768), true),
            ("recvfrom (netlink)", Action::Answer(34, 32), false),
        ];
        let calls =
            calls.map(|(name, action, succeeds)| Call { name: name.into(), action, succeeds });
        assert_eq!(trace.calls, calls);
        let [route, generic] = [protocols::NETLINK_ROUTE, protocols::NETLINK_GENERIC];
        let sockets = [(27, Kept::Netlink(route)), (34, Kept::Netlink(generic))];
        assert_eq!(trace.kept, sockets.into_iter().chain(kept(4, "/sys")).collect());
        assert_eq!(trace.others, BTreeMap::from([("write".to_owned(), 1)]));
    }

    #[test]
    fn a_question_without_its_bytes_is_not_taken() {
        let trace = read("7 11.1 sendto(27<NETLINK:[ROUTE:7]>, ..., 18, 0, NULL, 0) = 18\n");
        assert_eq!(trace.calls, []);
        assert_eq!(trace.others, BTreeMap::from([("sendto".to_owned(), 1)]));
    }

    #[test]
    fn paths_are_examined_with_their_flags() {
        let text = "7 11.0 newfstatat(48</sys/class>, \"x\", {st_mode=S_IFDIR|0755, ...}, AT_SYMLINK_NOFOLLOW) = 0\n\
                    7 11.1 newfstatat(AT_FDCWD</>, \"/proc/mdstat\", 0x7f04, 0) = -1 ENOENT (No such file or directory)\n\
                    7 11.2 statx(43</proc/1/maps>, \"\", AT_STATX_SYNC_AS_STAT|AT_EMPTY_PATH, STATX_ALL, {stx_mask=STATX_ALL, ...}) = 0\n\
                    7 11.3 access(\"/proc/net/ip_vs\", F_OK) = -1 ENOENT (No such file or directory)\n\
                    7 11.4 readlinkat(48</sys/class>, \"x\", \"\"..., 256) = 12\n";
        assert_eq!(
            actions(text),
            [
                Action::ExamineAt(Some(48), c"x".into(), AtFlags::SYMLINK_NOFOLLOW),
                Action::ExamineAt(None, c"/proc/mdstat".into(), AtFlags::empty()),
                Action::ExamineMore(Some(43), c"".into(), AtFlags::EMPTY_PATH),
                Action::Access(c"/proc/net/ip_vs".into()),
                Action::ReadLink(Some(48), c"x".into()),
            ]
        );
    }
}
