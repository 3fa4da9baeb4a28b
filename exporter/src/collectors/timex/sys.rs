//! The system call, which no dependency offers without `unsafe`.
#![expect(unsafe_code, reason = "the system call takes an address")]

use std::io;

/// The state that adjtimex(2) returns and the structure that it fills; no setting is changed.
pub(super) fn adjtimex() -> io::Result<(i32, libc::timex)> {
    let mut timex = zeroed();
    // SAFETY: the address points to a structure of the type that the kernel writes.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok((state, timex)) }
}

/// The structure with nothing set: `modes` 0 asks for no change.
pub(super) const fn zeroed() -> libc::timex {
    // SAFETY: a structure of numbers, for which 0 is a value.
    unsafe { std::mem::zeroed() }
}
