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

use crate::host::bpf::Bpf;

/// What collectors do at each scrape that takes a capability.
const NEEDED: [(&str, CapabilitySet); 10] = [
    // ctnetlink, where /proc has no counters.
    ("conntrack", CapabilitySet::NET_ADMIN),
    // Mount points, and folders of text files, below others' private folders.
    ("btrfs", CapabilitySet::DAC_READ_SEARCH),
    ("filesystem", CapabilitySet::DAC_READ_SEARCH),
    ("textfile", CapabilitySet::DAC_READ_SEARCH),
    // Files that only root may read, for an exporter of another user.
    ("cpufreq", CapabilitySet::DAC_READ_SEARCH),
    ("mountstats", CapabilitySet::DAC_READ_SEARCH),
    ("rapl", CapabilitySet::DAC_READ_SEARCH),
    ("slabinfo", CapabilitySet::DAC_READ_SEARCH),
    ("perf", CapabilitySet::PERFMON),
    // Processes of others where /proc is mounted with hidepid.
    ("processes", CapabilitySet::SYS_PTRACE),
];

/// Drops every capability of this thread, save what `bpf` and the collectors of these names need,
/// and makes sure that none is gained by running another program.
///
/// What the kernel refuses is logged: the exporter works with too many as well as with none.
pub fn drop_all_but<'a>(bpf: &Bpf, collectors: impl IntoIterator<Item = &'a str>) {
    let mut keep = needed(collectors);
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

fn needed<'a>(collectors: impl IntoIterator<Item = &'a str>) -> CapabilitySet {
    let mut keep = CapabilitySet::empty();
    for name in collectors {
        for (_, needed) in NEEDED.iter().filter(|(needing, _)| *needing == name) {
            keep |= *needed;
        }
    }
    keep
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_root_may_read_takes_the_capability_to_read_all() {
        // All else that is root's alone is read at the start (dmi) or over other ways.
        for name in ["rapl", "slabinfo", "cpufreq", "mountstats", "btrfs"] {
            assert_eq!(needed([name]), CapabilitySet::DAC_READ_SEARCH, "{name}");
        }
        assert_eq!(needed(["loadavg", "uname"]), CapabilitySet::empty());
    }

    #[test]
    fn collectors_that_need_something_are_known() {
        let known = |name| crate::collectors::ALL.iter().any(|spec| spec.name == name);
        let planned = |name| crate::upstream::COLLECTORS.contains(&name);
        for (name, _) in NEEDED {
            assert!(known(name) || planned(name), "{name}");
        }
    }
}
