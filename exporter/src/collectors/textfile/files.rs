//! Finding and reading the files.

use super::parse::{Family, Parser};
use memchr::memrchr;
use rustix::fs::{FileType, OFlags, fstat, stat};
use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

/// The number of bytes that one read asks for.
const PIECE: usize = 64 << 10;
/// The most bytes of a line, which is kept whole.
const LONGEST_LINE: usize = 1 << 20;

/// The paths that match `pattern` as Go would match it, or `pattern` itself where no path matches.
pub fn expand(pattern: &str) -> Vec<PathBuf> {
    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let literal = || vec![pattern.into()];
    if !pattern.contains(['*', '?', '[', '\\']) || pattern.ends_with('/') {
        return literal();
    }
    let Ok(paths) = glob::glob_with(&translated(pattern), OPTIONS) else { return literal() };
    let found: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
    if found.is_empty() { literal() } else { found }
}

/// Go's pattern in the notation of the crate `glob`. In Go's notation `**` means `*`, `[^a]` any
/// character but `a`, and `\a` the character `a`.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push('*');
            }
            '[' => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('!');
                }
            }
            '\\' => {
                if let Some(c) = chars.next() {
                    out.push_str(&glob::Pattern::escape(c.encode_utf8(&mut [0; 4])));
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// The names in a folder that end in `.prom`, sorted.
pub fn text_files(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.as_bytes().ends_with(b".prom") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The path of `name` in `folder` without empty parts, `.` and `..`, as Go joins paths.
pub fn join(folder: &Path, name: &OsStr) -> PathBuf {
    let whole = [folder.as_os_str().as_bytes(), b"/", name.as_bytes()].concat();
    let rooted = whole.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in whole.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|&last| last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let root: &[u8] = if rooted { b"/" } else { b"" };
    OsString::from_vec([root, &parts.join(&b'/')].concat()).into()
}

/// The content of a file.
#[derive(Debug)]
pub struct Content {
    /// The time of the last modification, in whole seconds since 1970.
    pub mtime: i64,
    pub families: Vec<Family>,
    /// The length of the file.
    pub bytes: u64,
}

/// Reads a regular file of at most `most` bytes; 0 is no limit.
///
/// # Errors
/// A sentence that names the file.
pub fn read(path: &Path, most: u64) -> Result<Content, String> {
    fn wrong<E: Display>(what: &str, path: &Path) -> impl Fn(E) -> String {
        move |e| format!("{}: {what}: {e}", path.display())
    }
    let too_long = |bytes: u64| {
        format!("{}: {bytes} bytes are more than the {most} that may be read", path.display())
    };
    let regular = |mode| match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        kind => Err(format!("{}: {kind:?} is no regular file", path.display())),
    };
    // The type is checked before opening, since opening a device can have effects, and again after
    // it, since the file may have been replaced in between.
    regular(stat(path).map_err(wrong("open", path))?.st_mode)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let mut file = (OpenOptions::new().read(true).custom_flags(flags).open(path))
        .map_err(wrong("open", path))?;
    let status = fstat(&file).map_err(wrong("stat", path))?;
    regular(status.st_mode)?;
    let most = if most == 0 { u64::MAX } else { most };
    let size = u64::try_from(status.st_size).unwrap_or(0);
    if size > most {
        return Err(too_long(size));
    }
    let mut parser = Parser::default();
    let mut bytes = 0;
    let mut text = Vec::with_capacity(PIECE);
    loop {
        let piece = (&mut file).take(PIECE as u64).read_to_end(&mut text);
        let piece = piece.map_err(wrong("read", path))?;
        bytes += piece as u64;
        if bytes > most {
            return Err(too_long(bytes)); // the file has grown meanwhile
        }
        let lines =
            if piece == 0 { text.len() } else { memrchr(b'\n', &text).map_or(0, |at| at + 1) };
        let (whole, rest) = text.split_at(lines);
        parser.feed(whole).map_err(wrong("parse", path))?;
        if rest.len() > LONGEST_LINE {
            return Err(format!("{}: a line is longer than 1 MiB", path.display()));
        }
        if piece == 0 {
            break;
        }
        text.drain(..lines);
    }
    if parser.timestamps {
        let path = path.display();
        return Err(format!("{path}: samples with timestamps are not supported, none is taken"));
    }
    Ok(Content { mtime: status.st_mtime, families: parser.finish(), bytes })
}
