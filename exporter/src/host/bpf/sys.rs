//! The calls of bpf(2) that aya does not offer.
#![expect(unsafe_code, reason = "the system call takes addresses")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_prog_info};
use bytemuck::Pod;

/// What the kernel knows of a program that runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Runs {
    /// Times it ran; 0 unless `kernel.bpf_stats_enabled` is set.
    pub count: u64,
    /// Nanoseconds it took; 0 unless `kernel.bpf_stats_enabled` is set.
    pub nanoseconds: u64,
    /// Times it did not run because it was already running on that processor.
    pub missed: u64,
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<()> {
    // SAFETY: every address in the attributes is that of a buffer which its owner, one of
    // the functions below, keeps until the call is over.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            &raw mut *attributes,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Attributes with nothing set.
const fn attributes() -> bpf_attr {
    // SAFETY: a union of structures of numbers.
    unsafe { std::mem::zeroed() }
}

/// All entries of a hash map, in any order.
///
/// Not a snapshot: what is added or removed meanwhile may be there or not. Allocates where
/// the map has outgrown the buffers.
pub(super) fn read<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    keys: &mut Vec<K>,
    values: &mut Vec<V>,
) -> io::Result<()> {
    /// Room for a bucket or two more than there were entries last time.
    const SPARE: usize = 64;
    let mut used = 0;
    let mut from = None;
    loop {
        keys.resize_with((used + SPARE).max(keys.capacity()), K::zeroed);
        values.resize_with(keys.len(), V::zeroed);
        let mut position = from.unwrap_or(0_u32);
        let mut next = 0_u32;
        let mut call = attributes();
        call.batch.in_batch = from.map_or(0, |_| &raw mut position as u64);
        call.batch.out_batch = &raw mut next as u64;
        let (Some(to_keys), Some(to_values)) = (keys.get_mut(used..), values.get_mut(used..))
        else {
            return Ok(());
        };
        call.batch.keys = to_keys.as_mut_ptr() as u64;
        call.batch.values = to_values.as_mut_ptr() as u64;
        call.batch.count = u32::try_from(to_keys.len()).unwrap_or(u32::MAX);
        #[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
        {
            call.batch.map_fd = map.as_raw_fd() as u32;
        }
        let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut call);
        // SAFETY: the kernel has written how many entries there were.
        let count = unsafe { call.batch.count } as usize;
        let end = match result {
            Ok(()) => false,
            // Past the last bucket; the entries before it are there all the same.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // The next bucket has more entries than there is room; none were written.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                keys.reserve(keys.len());
                continue;
            }
            Err(error) => return Err(error),
        };
        used += count;
        from = Some(next);
        if end {
            keys.truncate(used);
            values.truncate(used);
            return Ok(());
        }
    }
}

/// Fills an array map from its start.
pub(super) fn write<V: Pod>(map: BorrowedFd<'_>, values: &[V]) -> io::Result<()> {
    let keys: Vec<u32> = (0..).take(values.len()).collect();
    let mut call = attributes();
    call.batch.keys = keys.as_ptr() as u64;
    call.batch.values = values.as_ptr() as u64;
    call.batch.count = u32::try_from(values.len()).unwrap_or(u32::MAX);
    #[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
    {
        call.batch.map_fd = map.as_raw_fd() as u32;
    }
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut call)
}

/// What the kernel knows of a program.
pub(super) fn runs(program: BorrowedFd<'_>) -> io::Result<Runs> {
    // SAFETY: a structure of numbers.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut call = attributes();
    #[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
    {
        call.info.bpf_fd = program.as_raw_fd() as u32;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    {
        call.info.info_len = size_of::<bpf_prog_info>() as u32;
    }
    call.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut call)?;
    Ok(Runs { count: info.run_cnt, nanoseconds: info.run_time_ns, missed: info.recursion_misses })
}

/// Gives memory that was freed back to the kernel.
pub fn trim() {
    // SAFETY: takes no address; glibc's allocator locks itself.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
