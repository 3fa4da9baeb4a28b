//! This process's own memory: its allocator and its pages.
#![expect(unsafe_code, reason = "the C library's allocator and madvise(2)")]

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

/// Gives memory that was freed back to the kernel.
pub fn trim() {
    // SAFETY: takes no address; glibc's allocator locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has every block of a megabyte or more mapped on its own, so that it goes back to the kernel when
/// it is freed. glibc does so at first, but the first such block that is freed raises the limit, and
/// blocks of large answers then leave holes that stay resident.
pub fn map_large_blocks() {
    // SAFETY: takes no address; glibc's allocator locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Takes the pages of the program's files that have been used so far out of this process's resident
/// memory: the kernel maps those around each one that is used, and most that a start uses are never
/// used again. A page that is used again is still in the kernel's cache of the file.
pub fn forget_files() {
    let maps = Process::myself().and_then(|process| process.smaps());
    for map in maps.iter().flatten().filter(|map| has_only_pages_of_a_file(map)) {
        let bounds = (usize::try_from(map.address.0), usize::try_from(map.address.1));
        let (Ok(start), Ok(end)) = bounds else { continue };
        // SAFETY: these pages are those of a file that is mapped to be read, and were never
        // written, so that they are read again as they were.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                end.saturating_sub(start),
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// Whether a mapping is one of a file, cannot be written, and has not been written before it was
/// protected, as addresses that are relocated at the start were: each page that was written is the
/// process's own, in memory or swapped out.
fn has_only_pages_of_a_file(map: &MemoryMap) -> bool {
    let none = |field| map.extension.map.get(field) == Some(&0);
    matches!(map.pathname, MMapPath::Path(_))
        && map.perms.contains(MMPermissions::READ | MMPermissions::PRIVATE)
        && !map.perms.contains(MMPermissions::WRITE)
        && none("Anonymous")
        && none("Swap")
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::{FromRead as _, process::MemoryMaps};

    #[test]
    fn only_unwritten_pages_of_files_are_forgotten() {
        for (head, anonymous, swapped, want) in [
            ("r-xp 00001000 fe:00 7    /usr/bin/exporter", 0, 0, true),
            ("r--p 00001000 fe:00 7    /usr/bin/exporter", 0, 0, true),
            ("r--p 00001000 fe:00 7    /usr/bin/exporter", 4, 0, false),
            ("r--p 00001000 fe:00 7    /usr/bin/exporter", 0, 4, false),
            ("rw-p 00001000 fe:00 7    /usr/bin/exporter", 0, 0, false),
            ("r--s 00001000 fe:00 7    /usr/bin/exporter", 0, 0, false),
            ("---p 00001000 fe:00 7    /usr/bin/exporter", 0, 0, false),
            ("r-xp 00000000 00:00 0    [vdso]", 0, 0, false),
            ("r-xp 00000000 00:00 0 ", 0, 0, false),
        ] {
            let text = format!(
                "1000-3000 {head}\nRss: 8 kB\nAnonymous: {anonymous} kB\nSwap: {swapped} kB\n"
            );
            let maps = MemoryMaps::from_read(text.as_bytes()).unwrap();
            let mut maps = maps.iter();
            assert_eq!(has_only_pages_of_a_file(maps.next().unwrap()), want, "{text}");
            assert!(maps.next().is_none());
        }
        // A kernel that does not say how many pages were written.
        let maps =
            MemoryMaps::from_read(&b"1000-3000 r-xp 00000000 fe:00 7 /usr/bin/exporter\n"[..]);
        assert!(!has_only_pages_of_a_file(maps.unwrap().iter().next().unwrap()));
        forget_files(); // and go on
    }
}
