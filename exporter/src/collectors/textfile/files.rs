//! Finding and reading the files.

use super::parse::{Family, parse};
use crate::error::{Malformed, Result};
use std::{
    fmt::Display,
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

/// The paths that match `pattern` as Go would match it, or `pattern` itself where none does.
pub fn expand(pattern: &str) -> Vec<String> {
    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let literal = || vec![pattern.to_owned()];
    if !pattern.contains(['*', '?', '[', '\\']) || pattern.ends_with('/') {
        return literal();
    }
    let Ok(paths) = glob::glob_with(&translated(pattern), OPTIONS) else { return literal() };
    let found: Vec<String> =
        paths.filter_map(|path| path.ok()?.into_os_string().into_string().ok()).collect();
    if found.is_empty() { literal() } else { found }
}

/// Go's pattern in the crate's notation: it knows no `**`, `[^a]` is not `a`, `\a` is `a` itself.
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
pub fn text_files(folder: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A label's value must be UTF-8: the name, so spelled, is then found not to exist.
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.as_bytes().ends_with(b".prom") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A path without empty parts, `.` and `..`, as Go joins paths.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|&last| last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    format!("{}{}", if rooted { "/" } else { "" }, parts.join("/"))
}

/// When a file was modified, in whole seconds, and what it says.
///
/// # Errors
/// A sentence that names the file.
pub fn read(path: &str) -> Result<(i64, Vec<Family>), String> {
    fn wrong<E: Display>(what: &str, path: &str) -> impl Fn(E) -> String {
        move |e| format!("{path}: {what}: {e}")
    }
    // Not blocking: a pipe of that name would stop the collector for good.
    let mut file = (OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path))
        .map_err(wrong("open", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(wrong("read", path))?;
    let text = str::from_utf8(&bytes)
        .map_err(|_| Malformed::new("UTF-8", &String::from_utf8_lossy(&bytes)))
        .map_err(wrong("parse", path))?;
    let content = parse(text).map_err(wrong("parse", path))?;
    if content.timestamps {
        return Err(format!("{path}: samples with timestamps are not supported, none is taken"));
    }
    let mtime = file.metadata().map_err(wrong("stat", path))?.mtime();
    Ok((mtime, content.families))
}
