//! The limits on the exporter's memory, by the control groups that it is in, and on its
//! descriptors.
//!
//! Both hierarchies are looked at, version 2 (`memory.max`) and version 1
//! (`memory.limit_in_bytes`), from the exporter's own group up to the root of the mount.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    mounts::{self, unescape},
    tree::{Budget, Tree},
};
use rustix::process::{Resource, getrlimit};

/// The attributes that may stay open: a quarter of the descriptors beyond the first 64, as many as
/// connections may take, of those that the hard limit allows, and none beyond its half. Each takes a
/// buffer in the kernel: together they take 18 MiB at the most, and no more than an eighth of the
/// limit `memory`.
pub(super) fn attributes(memory: Option<u64>) -> Budget {
    const MOST: u64 = 4096;
    /// Bytes of a kept attribute, as the kernel accounts for them.
    const ATTRIBUTE: u64 = 4608;
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let allowed = memory.map_or(MOST, |limit| limit / 8 / ATTRIBUTE);
    let most = (descriptors.saturating_sub(64) / 4).min(allowed).min(MOST);
    let number = |n| usize::try_from(n).unwrap_or(usize::MAX);
    Budget::new(number(most), number(descriptors / 2))
}

/// The lowest of the limits, in bytes; `None` where nothing limits the memory.
pub(super) fn memory(proc: &Tree) -> Option<u64> {
    let (mut groups, mut mounted) = (proc.file("self/cgroup"), proc.file("self/mountinfo"));
    let groups = groups.read().ok()?;
    let mounted = mounted.bytes().ok()?;
    let mut least = None;
    for line in mounts::lines(mounted).filter_map(Result::ok) {
        let is_second = line.kind == b"cgroup2";
        let file = if is_second { "memory.max" } else { "memory.limit_in_bytes" };
        if !is_second && line.kind != b"cgroup" {
            continue;
        }
        let Some(group) = group(groups, is_second) else { continue };
        let point = unescape(line.point);
        let point = Path::new(OsStr::from_bytes(&point));
        // The directory that is mounted may be that of a group below the hierarchy's root, as in a
        // container.
        let root = unescape(line.root);
        let root = Path::new(OsStr::from_bytes(&root));
        let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let mut folder: PathBuf = point.join(below.strip_prefix("/").unwrap_or(below));
        loop {
            // The word `max`, or a number from 2^62 on, stands for no limit.
            if let Ok(limit) = Tree::new(&folder).file(file).number::<u64>()
                && limit < 1 << 62
            {
                least = Some(least.map_or(limit, |least: u64| least.min(limit)));
            }
            if folder == point || !folder.pop() {
                break;
            }
        }
    }
    least
}

/// The path of the group that limits the memory, in the second hierarchy or the first.
fn group(groups: &str, is_second: bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = if is_second {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|controller| controller == "memory")
        };
        is_it.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    /// The limit where the exporter is in these groups, and these file systems are mounted: each is
    /// a type, the directory in it that is mounted, and the mount point below the machine.
    fn limit(groups: &str, mounted: &[[&str; 3]], files: &[(&str, &str)]) -> Option<u64> {
        let mut machine = Machine::new().with("proc/self/cgroup", groups);
        for (file, content) in files {
            machine = machine.with(file, content);
        }
        let mounts = mounted.iter().fold(String::new(), |lines, [kind, root, point]| {
            let point = machine.path().join(point);
            lines + &format!("1 1 0:1 {root} {} rw - {kind} cgroup rw,memory\n", point.display())
        });
        let machine = machine.with("proc/self/mountinfo", mounts);
        memory(&Tree::new(machine.path().join("proc")))
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_around_it_holds() {
        let groups = "0::/system.slice/exporter.service\n";
        let mounted = [["tmpfs", "/", "cg"], ["cgroup2", "/", "cg"]];
        let own = ("cg/system.slice/exporter.service/memory.max", "16000000\n");
        let outer = ("cg/system.slice/memory.max", "12000000\n");
        let none = ("cg/system.slice/memory.max", "max\n");
        assert_eq!(limit(groups, &mounted, &[own, none]), Some(16_000_000));
        assert_eq!(limit(groups, &mounted, &[own, outer]), Some(12_000_000));
        assert_eq!(limit(groups, &mounted, &[none]), None);
        assert_eq!(limit(groups, &mounted[..1], &[own]), None, "not mounted");
    }

    #[test]
    fn the_first_version_has_limits_too() {
        let groups = "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/\n";
        let own = ("cg/docker/abc/memory.limit_in_bytes", "16777216\n");
        assert_eq!(limit(groups, &[["cgroup", "/", "cg"]], &[own]), Some(16_777_216));
        let none = ("cg/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit(groups, &[["cgroup", "/", "cg"]], &[none]), None);
        // In a container that has a group mounted as its root.
        let own = ("cg/memory.limit_in_bytes", "33554432\n");
        assert_eq!(limit(groups, &[["cgroup", "/docker/abc", "cg"]], &[own]), Some(33_554_432));
    }

    #[test]
    fn without_groups_or_mounts_there_is_no_limit() {
        assert_eq!(limit("", &[["cgroup2", "/", "cg"]], &[]), None);
        assert_eq!(memory(&Tree::new("/nonexistent")), None);
    }
}
