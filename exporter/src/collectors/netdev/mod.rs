//! Counters of network interfaces, over rtnetlink (`RTM_GETLINK`) or from `/proc/net/dev`.
//!
//! Netlink gives each counter of `struct rtnl_link_stats64`; the file gives fewer, some added up by
//! `dev_seq_printf_stats()` in net/core/net-procfs.c. Unless
//! `--collector.netdev.enable-detailed-metrics` is given, netlink's counters are added up and named
//! as in the file.

mod addresses;
mod aliases;
mod counters;
mod file;

use crate::{
    host::{
        Shared,
        netlink::{Link, LinkDump},
    },
    prelude::*,
};
use addresses::Addresses;
use counters::{Counters, Device};

const INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.netdev.device-include",
    "Regexp of net devices to include (mutually exclusive to device-exclude).",
);
static PAIR: FilterFlags = FilterFlags {
    old_include: Some(&OLD_INCLUDE),
    old_exclude: Some(&OLD_EXCLUDE),
    ..FilterFlags::new(&INCLUDE, &EXCLUDE)
};
const OLD_INCLUDE: Flag<Option<Pattern>> =
    pattern("collector.netdev.device-whitelist", "DEPRECATED: Use collector.netdev.device-include")
        .hidden();
const EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.netdev.device-exclude",
    "Regexp of net devices to exclude (mutually exclusive to device-include).",
);
const OLD_EXCLUDE: Flag<Option<Pattern>> =
    pattern("collector.netdev.device-blacklist", "DEPRECATED: Use collector.netdev.device-exclude")
        .hidden();
const ADDRESS_INFO: Flag<bool> =
    switch("collector.netdev.address-info", false, "Collect address-info for every device");
const DETAILED: Flag<bool> = switch(
    "collector.netdev.enable-detailed-metrics",
    false,
    "Use (incompatible) metric names that provide more detailed stats on Linux",
);
const NETLINK: Flag<bool> = switch(
    "collector.netdev.netlink",
    true,
    "Use netlink to gather stats instead of /proc/net/dev.",
);
const IFALIAS: Flag<bool> = switch("collector.netdev.label-ifalias", false, "Add ifAlias label");

pub const SPEC: Spec = Spec {
    name: "netdev",
    enabled: true,
    capabilities: NONE,
    flags: &[
        &INCLUDE,
        &OLD_INCLUDE,
        &EXCLUDE,
        &OLD_EXCLUDE,
        &ADDRESS_INFO,
        &DETAILED,
        &NETLINK,
        &IFALIAS,
    ],
    new: |host, flags| Ok(Box::new(NetDev::new(host, flags)?)),
};

struct NetDev {
    filter: Filter,
    detailed: bool,
    /// `/proc/net/dev`, where netlink is not wanted.
    file: Option<File>,
    links: Shared<LinkDump>,
    aliases: Aliases,
    addresses: Option<Addresses>,
}

/// The source of the label `ifalias`.
enum Aliases {
    Unwanted,
    /// From the dump of links, which has the same aliases as sysfs.
    Links,
    Files(aliases::Files),
}

impl NetDev {
    fn new(host: &Host, flags: &Flags) -> Result<Self> {
        let aliases = match (flags.get(&IFALIAS), flags.get(&NETLINK)) {
            (false, _) => Aliases::Unwanted,
            (true, true) if host.has_own_sysfs() => Aliases::Links,
            (true, _) => Aliases::Files(aliases::Files::new(host)),
        };
        Ok(Self {
            filter: PAIR.read(flags)?,
            detailed: flags.get(&DETAILED),
            file: (!flags.get(&NETLINK)).then(|| host.net.file("dev")),
            links: host.links.clone(),
            aliases,
            addresses: flags.get(&ADDRESS_INFO).then(Addresses::default),
        })
    }
}

impl Collector for NetDev {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { filter, detailed, file, links, aliases, addresses } = self;
        out.served_by(if file.is_some() { "procfs" } else { "netlink" });
        let mut faults = Faults::default();
        if let Aliases::Files(files) = aliases {
            faults.keep(files.refresh());
        }
        let scrape = out.scrape();
        let wanted = |name: &[u8]| filter.keeps(&String::from_utf8_lossy(name));
        let mut put = |name: &[u8], counters: Counters<'_>, link: Option<&Link>| {
            let alias = match (&*aliases, link) {
                (Aliases::Files(files), _) => files.get(name),
                (Aliases::Links, Some(link)) => Some(aliases::text(&link.alias)),
                _ => None,
            };
            counters.put(*detailed, &mut Device { name, alias, out: &mut *out });
        };
        if let Some(file) = file {
            let each = |name: &[u8], columns: &_| put(name, Counters::File(columns), None);
            if let Some(text) = faults.keep(file.bytes()) {
                let parsed = file::each_line(text, wanted, each);
                let path = file.path();
                faults.keep(parsed.map_err(|source| Error::Parse { path: path.into(), source }));
            }
        } else if let Some(links) = faults.keep(links.get(scrape)) {
            for link in links.iter().filter(|link| wanted(&link.name)) {
                if let Some(stats) = &link.stats {
                    put(&link.name, Counters::Link(stats), Some(link));
                }
            }
        }
        if let Some(addresses) = addresses
            && let Some(links) = faults.keep(links.get(scrape))
        {
            faults.keep(addresses.collect(&links, filter, out));
        }
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, check, collect, expect, fixture, flags};

    const PROCFS: &str = "--no-collector.netdev.netlink";
    const HEAD: &str = "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n";

    #[test]
    fn baseline_with_aliases_and_details() {
        let args = [
            PROCFS,
            "--collector.netdev.label-ifalias",
            "--collector.netdev.enable-detailed-metrics",
            "--collector.netdev.device-exclude=^lo$",
        ];
        check(
            &SPEC,
            &args,
            expect![[r##"
            # HELP node_network_receive_bytes_total Network device statistic receive_bytes.
            # TYPE node_network_receive_bytes_total counter
            node_network_receive_bytes_total{device="eth0",ifalias="uplink to core-1"} 1.0437182923e+10
            node_network_receive_bytes_total{device="wg0",ifalias=""} 9.007199254740992e+15
            # HELP node_network_receive_compressed_total Network device statistic receive_compressed.
            # TYPE node_network_receive_compressed_total counter
            node_network_receive_compressed_total{device="eth0",ifalias="uplink to core-1"} 0
            node_network_receive_compressed_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_dropped_total Network device statistic receive_dropped.
            # TYPE node_network_receive_dropped_total counter
            node_network_receive_dropped_total{device="eth0",ifalias="uplink to core-1"} 17
            node_network_receive_dropped_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_errors_total Network device statistic receive_errors.
            # TYPE node_network_receive_errors_total counter
            node_network_receive_errors_total{device="eth0",ifalias="uplink to core-1"} 5
            node_network_receive_errors_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_fifo_total Network device statistic receive_fifo.
            # TYPE node_network_receive_fifo_total counter
            node_network_receive_fifo_total{device="eth0",ifalias="uplink to core-1"} 2
            node_network_receive_fifo_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_frame_total Network device statistic receive_frame.
            # TYPE node_network_receive_frame_total counter
            node_network_receive_frame_total{device="eth0",ifalias="uplink to core-1"} 3
            node_network_receive_frame_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_multicast_total Network device statistic receive_multicast.
            # TYPE node_network_receive_multicast_total counter
            node_network_receive_multicast_total{device="eth0",ifalias="uplink to core-1"} 120931
            node_network_receive_multicast_total{device="wg0",ifalias=""} 0
            # HELP node_network_receive_packets_total Network device statistic receive_packets.
            # TYPE node_network_receive_packets_total counter
            node_network_receive_packets_total{device="eth0",ifalias="uplink to core-1"} 5.407123e+07
            node_network_receive_packets_total{device="wg0",ifalias=""} 640089
            # HELP node_network_transmit_bytes_total Network device statistic transmit_bytes.
            # TYPE node_network_transmit_bytes_total counter
            node_network_transmit_bytes_total{device="eth0",ifalias="uplink to core-1"} 2.210732418e+09
            node_network_transmit_bytes_total{device="wg0",ifalias=""} 1.563634e+06
            # HELP node_network_transmit_carrier_total Network device statistic transmit_carrier.
            # TYPE node_network_transmit_carrier_total counter
            node_network_transmit_carrier_total{device="eth0",ifalias="uplink to core-1"} 8
            node_network_transmit_carrier_total{device="wg0",ifalias=""} 0
            # HELP node_network_transmit_colls_total Network device statistic transmit_colls.
            # TYPE node_network_transmit_colls_total counter
            node_network_transmit_colls_total{device="eth0",ifalias="uplink to core-1"} 6
            node_network_transmit_colls_total{device="wg0",ifalias=""} 0
            # HELP node_network_transmit_compressed_total Network device statistic transmit_compressed.
            # TYPE node_network_transmit_compressed_total counter
            node_network_transmit_compressed_total{device="eth0",ifalias="uplink to core-1"} 0
            node_network_transmit_compressed_total{device="wg0",ifalias=""} 0
            # HELP node_network_transmit_dropped_total Network device statistic transmit_dropped.
            # TYPE node_network_transmit_dropped_total counter
            node_network_transmit_dropped_total{device="eth0",ifalias="uplink to core-1"} 7
            node_network_transmit_dropped_total{device="wg0",ifalias=""} 1
            # HELP node_network_transmit_errors_total Network device statistic transmit_errors.
            # TYPE node_network_transmit_errors_total counter
            node_network_transmit_errors_total{device="eth0",ifalias="uplink to core-1"} 1
            node_network_transmit_errors_total{device="wg0",ifalias=""} 0
            # HELP node_network_transmit_fifo_total Network device statistic transmit_fifo.
            # TYPE node_network_transmit_fifo_total counter
            node_network_transmit_fifo_total{device="eth0",ifalias="uplink to core-1"} 4
            node_network_transmit_fifo_total{device="wg0",ifalias=""} 0
            # HELP node_network_transmit_packets_total Network device statistic transmit_packets.
            # TYPE node_network_transmit_packets_total counter
            node_network_transmit_packets_total{device="eth0",ifalias="uplink to core-1"} 4.0112233e+07
            node_network_transmit_packets_total{device="wg0",ifalias=""} 934
        "##]],
        );
    }

    #[test]
    fn names_need_not_be_utf8() {
        let line = b"e\xff: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let machine = Machine::new().with("proc/net/dev", [HEAD.as_bytes(), line].concat());
        let (text, result) = machine.collect(&SPEC, &[PROCFS]);
        result.unwrap();
        assert!(
            text.contains("node_network_receive_bytes_total{device=\"e\u{fffd}\"} 1\n"),
            "{text}"
        );
        let (text, result) = machine.collect(&SPEC, &[PROCFS, "--collector.netdev.label-ifalias"]);
        assert!(result.unwrap_err().is_absent(), "there is no sys/class/net");
        assert!(text.contains("node_network_receive_bytes_total{device="), "{text}");
    }

    #[test]
    fn only_devices_in_sysfs_have_an_alias() {
        let line = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let machine = Machine::new()
            .with("proc/net/dev", format!("{HEAD}a:{line}b:{line}c:{line}"))
            .with("sys/class/net/a/ifalias", b"\xff\n")
            .with("sys/class/net/b/ifalias", "up \"link\"\n")
            .with("sys/class/net/bonding_masters", "\n");
        let (text, result) = machine.collect(&SPEC, &[PROCFS, "--collector.netdev.label-ifalias"]);
        result.unwrap();
        for labels in
            [r#"device="a",ifalias="�""#, r#"device="b",ifalias="up \"link\"""#, r#"device="c""#]
        {
            assert!(
                text.contains(&format!("node_network_receive_bytes_total{{{labels}}} 1\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let args = ["--collector.netdev.address-info", "--collector.netdev.device-include=^lo$"];
        let (text, result) = collect(&SPEC, &fixture("baseline"), &args);
        result.unwrap();
        assert!(text.contains("node_network_receive_nohandler_total{device=\"lo\"} "), "{text}");
        assert!(text.contains(
            "# HELP node_network_receive_errs_total Network device statistic receive_errs.\n"
        ));
    }

    #[test]
    fn deprecated_flags_stand_in_for_the_new_ones() {
        let new = |args: &[&str]| {
            let args: Vec<String> =
                args.iter().map(|arg| format!("--collector.netdev.{arg}")).collect();
            let flags = flags(&args);
            NetDev::new(&Host::new(&flags), &flags)
                .map(|made| made.filter)
                .map_err(|e| e.to_string())
        };
        let filter = new(&["device-whitelist=eth"]).unwrap();
        assert!(filter.keeps("eth0") && !filter.keeps("lo"));
        let filter = new(&["device-blacklist=eth"]).unwrap();
        assert!(!filter.keeps("eth0") && filter.keeps("lo"));
        assert_eq!(
            new(&["device-whitelist=a", "device-include=b"]).unwrap_err(),
            "--collector.netdev.device-whitelist and --collector.netdev.device-include are mutually exclusive"
        );
        assert!(new(&["device-blacklist=a", "device-exclude=b"]).is_err());
        assert!(new(&["device-blacklist=a", "device-include=b"]).is_err());
    }
}
