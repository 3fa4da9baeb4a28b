//! Dropping the capabilities that the process needs no more.
//!
//! Programs are loaded and attached at the start; reading their counts through descriptors takes no
//! capability since Linux 5.19. Another process gives them more room later ([`Bpf::keep`]). So all
//! capabilities are dropped once the collectors are made and the addresses bound. Each thread has a
//! set of its own: the threads that collect are started later, the thread in another network
//! namespace drops its set like the first thread, and the thread that writes the log begins with
//! dropping its set.

use crate::{
    collector::Spec,
    host::bpf::Bpf,
    web::{Capability, Privileges},
};
use rustix::{
    io::Errno,
    process::{DumpableBehavior, geteuid, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// Makes the capabilities that this thread may have effective. A file may permit capabilities without
/// making them effective: only so can it be run where a container does not grant them.
///
/// # Errors
/// The kernel refused a step.
pub fn take_up() -> Result<(), Errno> {
    let has = capabilities(None)?;
    if has.effective == has.permitted {
        return Ok(());
    }
    set_capabilities(None, CapabilitySets { effective: has.permitted, ..has })
}

/// Capabilities, each with the collector, flag or part that needs it.
pub type Needs = Vec<(&'static str, CapabilitySet)>;

/// The capabilities that `bpf` and these collectors need, and, if `are_files`, the one to read
/// certificates and keys of other users again.
pub fn needed(bpf: &Bpf, collectors: &[&Spec], are_files: bool) -> Needs {
    let mut needs: Needs = collectors.iter().map(|spec| (spec.name, spec.capabilities)).collect();
    if are_files {
        needs.push(("--web.config.file", CapabilitySet::DAC_READ_SEARCH));
    }
    if bpf.loaded_tasks().is_some() {
        // Only `processes` has this capability, for tasks that /proc hides.
        for (_, capabilities) in &mut needs {
            *capabilities -= CapabilitySet::SYS_PTRACE;
        }
    }
    if !bpf.needs_no_capability() {
        let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
        let finer = has.contains(CapabilitySet::BPF);
        needs.push(("eBPF", if finer { CapabilitySet::BPF } else { CapabilitySet::SYS_ADMIN }));
    }
    needs
}

/// Drops every capability of this thread but these, and makes sure that none is gained by running
/// another program. Returns those that the thread has left.
///
/// A refusal of the kernel is logged: the exporter works with too many capabilities as well as with
/// none.
pub fn drop_all_but(keep: CapabilitySet) -> CapabilitySet {
    match restrict(keep) {
        Ok(kept) => {
            tracing::debug!("capabilities left: {kept:?}");
            kept
        }
        Err(errno) => {
            tracing::warn!("capabilities cannot be dropped: {errno}");
            capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted)
        }
    }
}

/// The capabilities that are needed or kept, by name.
pub fn listed(needs: &[(&'static str, CapabilitySet)], kept: CapabilitySet) -> Privileges {
    let of = |(name, capability): (&str, CapabilitySet)| Capability {
        name: format!("CAP_{name}"),
        is_kept: kept.contains(capability),
        users: (needs.iter())
            .filter(|(_, needed)| needed.contains(capability))
            .map(|(user, _)| *user)
            .collect(),
    };
    let capabilities = (sum(needs) | kept).iter_names().map(of).collect();
    Privileges { user: geteuid().as_raw(), capabilities }
}

/// Drops every capability of this thread.
pub fn drop_all() {
    if let Err(errno) = restrict(CapabilitySet::empty()) {
        tracing::debug!("capabilities of the log's thread cannot be dropped: {errno}");
    }
}

/// Makes this process's memory that of nobody else: no core is dumped, and only who may read any
/// process's memory reads this one's. Its files in /proc belong to root from then on.
pub fn hide_memory() {
    if let Err(errno) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("cores with keys and hashes in them may be dumped: {errno}");
    }
}

/// All of these capabilities.
pub fn sum(needs: &[(&str, CapabilitySet)]) -> CapabilitySet {
    needs.iter().fold(CapabilitySet::empty(), |sum, (_, needed)| sum | *needed)
}

/// Drops every capability of this thread but these, and makes sure that none is gained by running
/// another program. Returns the capabilities that are left.
///
/// # Errors
/// The kernel refused a step.
pub fn restrict(keep: CapabilitySet) -> Result<CapabilitySet, Errno> {
    set_no_new_privs(true)?;
    let has = capabilities(None)?;
    // Dropping from the bounding set takes a capability (`CAP_SETPCAP`). A thread without it need
    // not drop anything there, since it can gain no capability any more.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(keep) {
            match remove_capability_from_bounding_set(capability) {
                // The kernel has fewer capabilities than this program knows.
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
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::ALL;

    #[test]
    fn permitted_capabilities_are_taken_up() {
        let has = capabilities(None).unwrap();
        let sleeping = CapabilitySets { effective: CapabilitySet::empty(), ..has };
        set_capabilities(None, sleeping).unwrap();
        take_up().unwrap();
        let taken = CapabilitySets { effective: has.permitted, ..has };
        assert_eq!(capabilities(None).unwrap(), taken);
    }

    #[test]
    fn the_capabilities_of_the_collectors_add_up() {
        let named = |names: &[&str]| -> Vec<&Spec> {
            ALL.iter().copied().filter(|spec| names.contains(&spec.name)).collect()
        };
        for (names, want) in [
            (&[][..], CapabilitySet::empty()),
            (&["loadavg", "uname"], CapabilitySet::empty()),
            (&["rapl", "loadavg", "slabinfo"], CapabilitySet::DAC_READ_SEARCH),
            (&["conntrack", "processes"], CapabilitySet::NET_ADMIN | CapabilitySet::SYS_PTRACE),
        ] {
            let needs = needed(&Bpf::off(), &named(names), false);
            assert_eq!(needs.len(), names.len());
            assert_eq!(sum(&needs), want, "{names:?}");
        }
    }

    #[test]
    fn capabilities_are_listed_with_their_users() {
        use CapabilitySet as Set;
        let needs =
            [("a", Set::NET_ADMIN | Set::PERFMON), ("b", Set::PERFMON), ("c", Set::empty())];
        let listed = listed(&needs, Set::PERFMON | Set::SYS_ADMIN);
        let listed: Vec<_> = listed
            .capabilities
            .iter()
            .map(|of| (of.name.as_str(), of.is_kept, of.users.as_slice()))
            .collect();
        assert_eq!(
            listed,
            [
                ("CAP_NET_ADMIN", false, &["a"][..]),
                ("CAP_SYS_ADMIN", true, &[]),
                ("CAP_PERFMON", true, &["a", "b"]),
            ]
        );
    }
}
