//! Number of IPv4 neighbours by device.
//!
//! Three sources count the same entries: all but those of state `NUD_NOARP`. The programs in the
//! kernel ([`ebpf`]) keep counts, at a cost independent of the number of entries; [`netlink`] walks
//! the table; [`procfs`] reads `/proc/net/arp`, also from a copied tree. The file leaves out a new
//! entry until the entry has a state.

mod ebpf;
mod netlink;
pub(super) mod procfs;

use crate::{collector::Sources, prelude::*};

pub const SPEC: Spec = Spec {
    name: "arp",
    enabled: true,
    capabilities: NONE,
    flags: &[&INCLUDE, &EXCLUDE, &NETLINK],
    new: |host, flags| {
        Ok(Box::new(Arp {
            filter: FilterFlags::new(&INCLUDE, &EXCLUDE).read(flags)?,
            sources: sources(host, flags),
        }))
    },
};

const INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.arp.device-include",
    "Regexp of arp devices to include (mutually exclusive to device-exclude).",
);
const EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.arp.device-exclude",
    "Regexp of arp devices to exclude (mutually exclusive to device-include).",
);
const NETLINK: Flag<bool> =
    switch("collector.arp.netlink", true, "Use netlink to gather stats instead of /proc/net/arp.");

static ENTRIES: Metric<1> = gauge("node_arp_entries", "ARP entries by device").by(["device"]);

struct Arp {
    filter: Filter,
    sources: Sources<dyn Source>,
}

/// A source of the numbers.
pub(super) trait Source: Send {
    /// Gives `each` the devices that have neighbours and their number of neighbours, in the order
    /// of the devices' names.
    ///
    /// Before an error, only the last source may have given devices.
    fn count(&mut self, scrape: u64, each: &mut dyn FnMut(&str, u64)) -> Result;
}

impl Collector for Arp {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { filter, sources } = self;
        sources.ask(out, |source, out| {
            source.count(out.scrape(), &mut |device, n| {
                if filter.keeps(device) {
                    out.put(&ENTRIES, [&device], n);
                }
            })
        })
    }
}

/// The sources, the best first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Via {
    Ebpf,
    Netlink,
    Procfs,
}

impl Via {
    /// The source's name in `node_scrape_collector_source`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Netlink => "netlink",
            Self::Procfs => "procfs",
        }
    }
}

/// The sources that serve, the best first. The facts: `netlink` as given on the command line,
/// whether `--path.procfs` is the running kernel's, whether programs run in that kernel, and
/// whether it answers over netlink.
const fn choose(netlink: Option<bool>, running: bool, ebpf: bool, answers: bool) -> &'static [Via] {
    match (netlink, running, ebpf, answers) {
        (Some(true), ..) | (None, true, false, true) => &[Via::Netlink],
        (None, true, true, true) => &[Via::Ebpf, Via::Netlink],
        (None, true, true, false) => &[Via::Ebpf, Via::Procfs],
        (Some(false), ..) | (None, false, ..) | (None, true, false, false) => &[Via::Procfs],
    }
}

/// The sources for this machine, `netlink` as given on the command line.
pub(super) fn ways(host: &Host, netlink: Option<bool>) -> &'static [Via] {
    let running = host.is_running();
    let undecided = netlink.is_none() && running;
    let ebpf = undecided && host.bpf.neighbours().is_ok();
    let answers = undecided && crate::host::netlink::Socket::open().is_ok();
    let ways = choose(netlink, running, ebpf, answers);
    if undecided && let Some(first) = ways.first() {
        host.bpf.tell(first.name());
    }
    ways
}

fn sources(host: &Host, flags: &Flags) -> Sources<dyn Source> {
    let netlink = flags.gives(&NETLINK).then(|| flags.get(&NETLINK));
    let source = |kind: &Via| -> (_, Box<dyn Source>) {
        let source: Box<dyn Source> = match kind {
            Via::Ebpf => Box::new(ebpf::Ebpf::new(host)),
            Via::Netlink => Box::new(netlink::Netlink::new(host)),
            Via::Procfs => Box::new(procfs::Procfs::new(host)),
        };
        (kind.name(), source)
    };
    Sources::new(SPEC.name, ways(host, netlink).iter().map(source).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    const ARP: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         cc:aa:dd:ee:aa:bb     *        eth0
192.168.1.2      0x1         0x2         bb:cc:dd:ee:ff:aa     *        eth0
192.168.1.3      0x1         0x0         00:00:00:00:00:00     *        eth1
10.0.0.1         0x20        0x2         80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:00:01     *        ib0
";

    fn check(args: &[&str], want: crate::testing::Expect) {
        let (text, result) = Machine::new().with("proc/net/arp", ARP).collect(&SPEC, args);
        result.unwrap();
        want.assert_eq(&text);
    }

    #[test]
    fn a_copied_tree_is_read() {
        check(
            &[],
            expect![[r#"
                # HELP node_arp_entries ARP entries by device
                # TYPE node_arp_entries gauge
                node_arp_entries{device="eth0"} 2
                node_arp_entries{device="eth1"} 1
                node_arp_entries{device="ib0"} 1
            "#]],
        );
    }

    #[test]
    fn devices_can_be_chosen() {
        check(
            &["--no-collector.arp.netlink", "--collector.arp.device-include=^eth"],
            expect![[r#"
                # HELP node_arp_entries ARP entries by device
                # TYPE node_arp_entries gauge
                node_arp_entries{device="eth0"} 2
                node_arp_entries{device="eth1"} 1
            "#]],
        );
        check(
            &["--collector.arp.device-exclude=^eth"],
            expect![[r#"
                # HELP node_arp_entries ARP entries by device
                # TYPE node_arp_entries gauge
                node_arp_entries{device="ib0"} 1
            "#]],
        );
    }

    #[test]
    fn the_flag_decides_where_it_is_given() {
        for facts in 0..8 {
            let (running, ebpf, answers) = (facts & 1 != 0, facts & 2 != 0, facts & 4 != 0);
            assert_eq!(choose(Some(true), running, ebpf, answers), [Via::Netlink]);
            assert_eq!(choose(Some(false), running, ebpf, answers), [Via::Procfs]);
        }
    }

    #[test]
    fn the_cheapest_source_that_is_right_is_chosen() {
        use Via::{Ebpf, Netlink, Procfs};
        for (running, ebpf, answers, want) in [
            (true, true, true, &[Ebpf, Netlink][..]),
            (true, true, false, &[Ebpf, Procfs]),
            (true, false, true, &[Netlink]),
            (true, false, false, &[Procfs]),
            (false, true, true, &[Procfs]),
            (false, false, true, &[Procfs]),
            (false, false, false, &[Procfs]),
        ] {
            assert_eq!(choose(None, running, ebpf, answers), want, "{running} {ebpf} {answers}");
        }
    }
}
