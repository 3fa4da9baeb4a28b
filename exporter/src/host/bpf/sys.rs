//! The calls of bpf(2) that aya does not offer.
#![expect(unsafe_code, reason = "the system call takes addresses")]

use std::{
    ffi::{CStr, c_char},
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_cmd, bpf_func_info, bpf_insn, bpf_prog_info, bpf_prog_type,
};
use bytemuck::Pod;

/// The kernel's figures on a program.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Runs {
    /// The number of runs; 0 unless `kernel.bpf_stats_enabled` is set.
    pub count: u64,
    /// The time of all runs in nanoseconds; 0 unless `kernel.bpf_stats_enabled` is set.
    pub nanoseconds: u64,
    /// The number of runs that did not take place since the program was already running on that
    /// processor.
    pub missed: u64,
}

impl std::ops::AddAssign for Runs {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.nanoseconds += other.nanoseconds;
        self.missed += other.missed;
    }
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
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
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// As [`bpf`], for the commands that return a descriptor.
fn open(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as the kernel's structures hold it.
#[expect(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// A name, cut to the length that the kernel keeps.
fn short(name: &str) -> [c_char; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    short
}

/// The length of a list, as the kernel wants it.
fn length<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

/// Attributes with nothing set.
const fn attributes() -> bpf_attr {
    // SAFETY: a union of structures of numbers.
    unsafe { std::mem::zeroed() }
}

/// All entries of a hash map, in any order.
///
/// Not a snapshot: an entry that is added or removed meanwhile may be among them or not. Allocates
/// where the map has outgrown the buffers.
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
        call.batch.map_fd = number(map);
        let result = bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut call);
        // SAFETY: the kernel has written how many entries there were.
        let count = unsafe { call.batch.count } as usize;
        let end = match result {
            Ok(_) => false,
            // The last bucket was read; its entries are in the buffers all the same.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // The next bucket has more entries than there is room for; none were written.
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
    call.batch.map_fd = number(map);
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut call).map(drop)
}

/// The kernel's figures on a program.
pub(super) fn runs(program: BorrowedFd<'_>) -> io::Result<Runs> {
    // SAFETY: a structure of numbers.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut call = attributes();
    call.info.bpf_fd = number(program);
    #[expect(clippy::cast_possible_truncation, reason = "a few hundred bytes")]
    {
        call.info.info_len = size_of::<bpf_prog_info>() as u32;
    }
    call.info.info = &raw mut info as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut call)?;
    Ok(Runs { count: info.run_cnt, nanoseconds: info.run_time_ns, missed: info.recursion_misses })
}

/// Runs a program that is attached to nothing, with these arguments.
pub(super) fn run(program: BorrowedFd<'_>, arguments: &[u64]) -> io::Result<()> {
    let mut call = attributes();
    call.test.prog_fd = number(program);
    // The kernel refuses an address of nothing.
    call.test.ctx_in = if arguments.is_empty() { 0 } else { arguments.as_ptr() as u64 };
    call.test.ctx_size_in = length(bytemuck::cast_slice::<u64, u8>(arguments));
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut call).map(drop)
}

/// Makes a map.
pub(super) fn create_map(name: &str, map: &aya_obj::Map) -> io::Result<OwnedFd> {
    let mut call = attributes();
    call.__bindgen_anon_1.map_type = map.map_type();
    call.__bindgen_anon_1.key_size = map.key_size();
    call.__bindgen_anon_1.value_size = map.value_size();
    call.__bindgen_anon_1.max_entries = map.max_entries();
    call.__bindgen_anon_1.map_flags = map.map_flags();
    call.__bindgen_anon_1.map_name = short(name);
    open(bpf_cmd::BPF_MAP_CREATE, &mut call)
}

/// Writes the only element of an array and freezes the map: the verifier then takes the value for a
/// constant.
pub(super) fn fix(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut call = attributes();
    call.__bindgen_anon_2.map_fd = number(map);
    call.__bindgen_anon_2.key = &raw const key as u64;
    call.__bindgen_anon_2.__bindgen_anon_1.value = value.as_ptr() as u64;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut call)?;
    let mut call = attributes();
    call.__bindgen_anon_2.map_fd = number(map);
    bpf(bpf_cmd::BPF_MAP_FREEZE, &mut call).map(drop)
}

/// Hands the types of programs to the kernel.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut call = attributes();
    call.__bindgen_anon_7.btf = types.as_ptr() as u64;
    call.__bindgen_anon_7.btf_size = length(types);
    open(bpf_cmd::BPF_BTF_LOAD, &mut call)
}

/// A program, before the kernel has it.
pub(super) struct Code<'a> {
    pub(super) name: &'a str,
    pub(super) license: &'a CStr,
    pub(super) instructions: &'a [bpf_insn],
    /// The descriptor that [`load_types`] has returned.
    pub(super) types: BorrowedFd<'a>,
    /// The type of each function.
    pub(super) functions: &'a [bpf_func_info],
    pub(super) kind: Kind,
}

/// How a program comes to run; with the kernel's number for its target.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// When it is asked to.
    OnDemand,
    /// At a tracepoint, by the type of its arguments.
    Tracepoint(u32),
    /// In an iterator, by the function that stands for its arguments.
    Iterator(u32),
}

/// Hands a program to the verifier, which writes its log into `reasons`, unless that is empty.
pub(super) fn load(code: &Code<'_>, reasons: &mut [u8]) -> io::Result<OwnedFd> {
    let mut call = attributes();
    // SAFETY: all members of the union are structures of numbers.
    let attributes = unsafe { &mut call.__bindgen_anon_3 };
    #[expect(clippy::cast_possible_truncation, reason = "eight bytes")]
    {
        attributes.func_info_rec_size = size_of::<bpf_func_info>() as u32;
    }
    attributes.prog_name = short(code.name);
    attributes.license = code.license.as_ptr() as u64;
    attributes.insns = code.instructions.as_ptr() as u64;
    attributes.insn_cnt = length(code.instructions);
    attributes.prog_btf_fd = number(code.types);
    attributes.func_info = code.functions.as_ptr() as u64;
    attributes.func_info_cnt = length(code.functions);
    let (kind, attach, target) = match code.kind {
        Kind::OnDemand => (bpf_prog_type::BPF_PROG_TYPE_RAW_TRACEPOINT, 0, 0),
        Kind::Tracepoint(of) => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_RAW_TP as u32, of)
        }
        Kind::Iterator(of) => {
            (bpf_prog_type::BPF_PROG_TYPE_TRACING, bpf_attach_type::BPF_TRACE_ITER as u32, of)
        }
    };
    attributes.prog_type = kind as u32;
    attributes.expected_attach_type = attach;
    attributes.attach_btf_id = target;
    if !reasons.is_empty() {
        attributes.log_level = 1;
        attributes.log_buf = reasons.as_mut_ptr() as u64;
        attributes.log_size = length(reasons);
    }
    open(bpf_cmd::BPF_PROG_LOAD, &mut call)
}

/// Attaches a program to its tracepoint, until the descriptor is closed.
pub(super) fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut call = attributes();
    call.raw_tracepoint.prog_fd = number(program);
    open(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut call)
}

/// Makes an iterator's program ready to be read, until the descriptor is closed.
pub(super) fn link_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut call = attributes();
    call.link_create.__bindgen_anon_1.prog_fd = number(program);
    call.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    open(bpf_cmd::BPF_LINK_CREATE, &mut call)
}

/// A descriptor that reads an iterator from its start, once.
pub(super) fn iterate(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut call = attributes();
    call.iter_create.link_fd = number(link);
    open(bpf_cmd::BPF_ITER_CREATE, &mut call)
}
