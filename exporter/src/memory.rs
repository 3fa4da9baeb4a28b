//! This process's own memory: its allocator and its pages.
#![expect(unsafe_code, reason = "the C library's allocator and madvise(2)")]

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

/// Takes the pages of code that have been run so far out of this process's resident memory: the
/// kernel maps those around each one that runs, and most that a start runs are never run again.
/// Code that runs again is still in the kernel's cache of the file.
pub fn forget_code() {
    #[expect(clippy::disallowed_methods, reason = "this process's own memory")]
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, end) in maps.lines().filter_map(code) {
        // SAFETY: these pages are those of a file that is mapped to be read and run, and were never
        // written, so that they are read again as they were.
        unsafe {
            libc::madvise(
                std::ptr::with_exposed_provenance_mut(start),
                end - start,
                libc::MADV_DONTNEED,
            );
        }
    }
}

/// The bounds of a mapping, if it is one of a file's code.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (bounds, mode, path) = (words.next()?, words.next()?, words.nth(3)?);
    let (start, end) = bounds.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    (mode == "r-xp" && path.starts_with('/')).then_some((number(start)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_forgotten() {
        for (line, want) in [
            ("1000-3000 r-xp 00001000 fe:00 7    /usr/bin/exporter", Some((0x1000, 0x3000))),
            ("1000-3000 r--p 00001000 fe:00 7    /usr/bin/exporter", None),
            ("1000-3000 rwxp 00001000 fe:00 7    /usr/bin/exporter", None),
            ("1000-3000 r-xp 00000000 00:00 0    [vdso]", None),
            ("1000-3000 r-xp 00000000 00:00 0", None),
            ("", None),
        ] {
            assert_eq!(code(line), want, "{line}");
        }
        forget_code(); // and go on
    }
}
