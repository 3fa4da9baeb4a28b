//! Counters of events on a processor: `perf_event_open(2)`, `include/uapi/linux/perf_event.h`.
#![expect(unsafe_code, reason = "the system call takes an address")]

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd},
};

use bytemuck::{Pod, Zeroable};
use rustix::{
    io::{Errno, read},
    process::{Resource, getrlimit},
};

/// `PERF_TYPE_…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Type {
    /// `PERF_COUNT_HW_…`.
    Hardware = 0,
    /// `PERF_COUNT_SW_…`.
    Software = 1,
    /// The number of a tracepoint.
    Tracepoint = 2,
    /// `PERF_COUNT_HW_CACHE_…`: the cache, and in the next two bytes the operation and its result.
    Cache = 3,
}

/// An event that is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// Which numbers `config` is one of.
    pub kind: Type,
    /// The event's number.
    pub config: u64,
}

/// `struct perf_event_attr` of the first kernel that had it; the members that newer ones add are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    config1: u64,
}

/// `PERF_FORMAT_TOTAL_TIME_ENABLED` and `…_RUNNING`.
const WITH_TIMES: u64 = 1 | 2;
/// `exclude_hv`: events of a hypervisor are not counted.
const WITHOUT_HYPERVISOR: u64 = 1 << 6;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOEXEC: libc::c_ulong = 1 << 3;

/// A counter of all processes and the kernel on one processor.
#[derive(Debug)]
pub struct Counter(OwnedFd);

/// Events since a counter was opened, and the time of counting. Processors have fewer counters
/// than there may be events: those take turns, so that `running` may be less than `enabled`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Pod, Zeroable)]
pub struct Reading {
    /// Events.
    pub value: u64,
    /// Nanoseconds since it was opened; stands still once the processor has been offline.
    pub enabled: u64,
    /// Nanoseconds of these in which events were counted.
    pub running: u64,
}

impl Counter {
    /// Opens a counter.
    ///
    /// # Errors
    /// The kernel's: `EACCES` or `EPERM` without `CAP_PERFMON`, `ENODEV` for a processor that is
    /// offline; see [`is_unsupported`].
    pub fn open(event: Event, processor: u32) -> Result<Self, Errno> {
        let attributes = Attributes {
            kind: event.kind as u32,
            size: 64,
            config: event.config,
            read_format: WITH_TIMES,
            flags: WITHOUT_HYPERVISOR,
            ..Attributes::zeroed()
        };
        let processor = libc::c_int::try_from(processor).map_err(|_| Errno::NODEV)?;
        // SAFETY: the address is that of a structure of the size that it says.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                -1 as libc::pid_t,
                processor,
                -1 as libc::c_int,
                CLOEXEC,
            )
        };
        let fd = libc::c_int::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(|| {
            Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
        })?;
        // SAFETY: the kernel has made it for this call.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The events so far; `None` where nothing is counted any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<Option<Reading>, Errno> {
        let mut reading = Reading::default();
        let bytes = bytemuck::bytes_of_mut(&mut reading);
        let whole = bytes.len();
        Ok((read(&self.0, bytes)? == whole).then_some(reading))
    }
}

/// Whether a processor, or the kernel, does not count such events at all.
#[must_use]
pub const fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)
}

/// How many counters may be open at the same time: half of the descriptors, of which one goes to
/// each.
#[must_use]
pub fn most() -> usize {
    let limit = getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit / 2));
    limit.and_then(Result::ok).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_kernels_layout() {
        assert_eq!(size_of::<Attributes>(), 64, "PERF_ATTR_SIZE_VER0");
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        let event = Event { kind: Type::Software, config: u64::MAX };
        let errno = Counter::open(event, 0).unwrap_err();
        assert!(is_unsupported(errno) || errno == Errno::ACCESS || errno == Errno::PERM, "{errno}");
        assert!(Counter::open(event, u32::MAX).is_err());
    }
}
