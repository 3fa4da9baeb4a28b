//! The bytes of a connection's answers that the kernel still holds.
#![expect(unsafe_code, reason = "an ioctl(2) takes the address of a number")]

use rustix::{
    fd::AsFd,
    ioctl::{Getter, Opcode, ioctl},
};

/// `SIOCOUTQ` of `include/uapi/linux/sockios.h`, which has the same number as `TIOCOUTQ` for
/// terminals.
#[expect(clippy::cast_possible_truncation, reason = "a number of 16 bits, whatever libc's type")]
const UNSENT: Opcode = libc::TIOCOUTQ as Opcode;

/// Bytes that were written and that the other side's kernel has not acknowledged; 0 where the
/// kernel refuses the question.
pub(super) fn unsent(socket: impl AsFd) -> u64 {
    // SAFETY: the kernel writes one `int`, all of whose bit patterns are values.
    let bytes: Result<libc::c_int, _> = unsafe { ioctl(socket, Getter::<UNSENT, _>::new()) };
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}
