//! Giving up what the process need not have any more.
//!
//! Programs are loaded and attached at the start; what they count is read through descriptors,
//! which takes no capability since Linux 5.19. So all of them are dropped once the collectors are
//! made and the addresses bound, before there are other threads, which would keep theirs.

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};
use std::sync::PoisonError;

use crate::bpf::Bpf;

/// What collectors do at each scrape that takes a capability.
const NEEDED: [(&str, CapabilitySet); 5] = [
    // ctnetlink, where /proc has no counters.
    ("conntrack", CapabilitySet::NET_ADMIN),
    // Mount points, and folders of text files, below others' private folders.
    ("filesystem", CapabilitySet::DAC_READ_SEARCH),
    ("textfile", CapabilitySet::DAC_READ_SEARCH),
    ("perf", CapabilitySet::PERFMON),
    // Processes of others where /proc is mounted with hidepid.
    ("processes", CapabilitySet::SYS_PTRACE),
];

/// Drops every capability of this thread, save what `bpf` and the collectors of these names need,
/// and makes sure that none is gained by running another program.
///
/// What the kernel refuses is logged: the exporter works with too many as well as with none.
pub fn drop_all_but<'a>(bpf: &Bpf, collectors: impl IntoIterator<Item = &'a str>) {
    let mut keep = CapabilitySet::empty();
    for name in collectors {
        for (_, needed) in NEEDED.iter().filter(|(needing, _)| *needing == name) {
            keep |= *needed;
        }
    }
    if let Some(neighbours) = bpf.loaded() {
        let mut neighbours = neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        if !neighbours.needs_no_capability() {
            let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
            let finer = has.contains(CapabilitySet::BPF);
            keep |= if finer { CapabilitySet::BPF } else { CapabilitySet::SYS_ADMIN };
        }
    }
    if let Err(errno) = restrict(keep) {
        tracing::warn!("capabilities cannot be dropped: {errno}");
    }
}

fn restrict(keep: CapabilitySet) -> Result<(), Errno> {
    set_no_new_privs(true)?;
    let has = capabilities(None)?;
    // Dropping from the bounding set takes a capability itself; without it there is no need to,
    // since nothing can be gained any more.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep) {
            match remove_capability_from_bounding_set(capability) {
                // The kernel does not have that many.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = has.permitted & keep;
    let left =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, left)?;
    tracing::debug!("capabilities left: {kept:?}");
    Ok(())
}
