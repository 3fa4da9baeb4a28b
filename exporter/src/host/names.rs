//! Names of hosts, in a program that glibc is linked into.
#![expect(unsafe_code, reason = "a function of glibc")]

use std::ffi::{c_char, c_int};

unsafe extern "C" {
    /// Replaces a line of `/etc/nsswitch.conf`: `nss/nss.h` of glibc.
    fn __nss_configure_lookup(database: *const c_char, ways: *const c_char) -> c_int;
}

/// Looks names up in `/etc/hosts` and by DNS, whatever `/etc/nsswitch.conf` says. Other ways
/// (`resolve`, `myhostname`) are libraries for the machine's glibc: with the program's own, which is
/// another, they crash.
///
/// To be called while the program has a single thread.
pub fn look_up_without_libraries() {
    // SAFETY: both texts end with a zero byte and are static; no thread looks a name up yet.
    unsafe {
        __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
    }
}
