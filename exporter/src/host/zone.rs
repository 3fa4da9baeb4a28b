//! The time zone of this process, found as Go finds it: by `TZ`, else `/etc/localtime`.

use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// The folders in which zones are looked for by their names.
const FOLDERS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"];

/// The zone of this process; UTC where the zone's file is not there.
#[must_use]
pub fn local() -> TimeZone {
    find(std::env::var("TZ").ok().as_deref(), &FOLDERS.map(Path::new))
}

/// The zone that `TZ` names, with or without a colon before it: a file, or a name in one of the
/// folders, such as `Europe/Paris` or `posix/Europe/Paris`. An empty `TZ` is UTC, and so is a rule
/// such as `CET-1CEST`.
fn find(variable: Option<&str>, folders: &[&Path]) -> TimeZone {
    let name = variable.map(|name| name.strip_prefix(':').unwrap_or(name));
    let files: Vec<PathBuf> = match name {
        None => vec!["/etc/localtime".into()],
        Some("" | "UTC") => Vec::new(),
        Some(name) if name.starts_with('/') => vec![name.into()],
        Some(name) => folders.iter().map(|folder| folder.join(name)).collect(),
    };
    #[expect(clippy::disallowed_methods, reason = "this process's zone, not the machine's seen")]
    let found = files.iter().find_map(|file| {
        let content = std::fs::read(file).ok()?;
        TimeZone::tzif(&file.to_string_lossy(), &content).ok()
    });
    found.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// A file of zoneinfo, version 1, that is always at this offset.
    fn zone(seconds: i32, name: &str) -> Vec<u8> {
        let mut file = b"TZif".to_vec();
        file.extend([0; 16]);
        for count in [0, 0, 0, 0, 1, name.len() + 1] {
            file.extend(u32::try_from(count).unwrap().to_be_bytes());
        }
        file.extend(seconds.to_be_bytes());
        file.extend([0, 0]);
        file.extend(name.bytes());
        file.push(0);
        file
    }

    #[test]
    fn zones_are_found_as_go_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("posix/Europe")).unwrap();
        let paris = dir.path().join("posix/Europe/Paris");
        std::fs::write(&paris, zone(3600, "CET")).unwrap();
        std::fs::write(dir.path().join("broken"), "TZif").unwrap();
        let folders = [Path::new("/nonexistent"), dir.path()];
        let offset = |name: &str| {
            let zone = find(Some(name), &folders);
            let offset = zone.to_offset_info(Timestamp::UNIX_EPOCH);
            (offset.offset().seconds(), offset.abbreviation().to_owned())
        };
        let cet = || (3600, "CET".to_owned());
        for name in ["posix/Europe/Paris", ":posix/Europe/Paris"] {
            assert_eq!(offset(name), cet(), "{name}");
        }
        assert_eq!(offset(paris.to_str().unwrap()), cet());
        assert_eq!(offset(&format!(":{}", paris.display())), cet());
        for name in
            ["", ":", "UTC", "broken", "Europe/Nowhere", "/nonexistent", "CET-1CEST", "posix"]
        {
            assert_eq!(offset(name), (0, "UTC".to_owned()), "{name}");
        }
    }
}
