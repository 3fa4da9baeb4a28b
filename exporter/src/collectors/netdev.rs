//! Counters of network interfaces, over rtnetlink (`RTM_GETLINK`) or from `/proc/net/dev`.
//!
//! Netlink gives each counter of `struct rtnl_link_stats64`; the file gives fewer, some added
//! up by `dev_seq_printf_stats()` in net/core/net-procfs.c. Unless detailed metrics are asked
//! for, what netlink gives is added up and named as in the file.

use crate::{
    netlink::{self, Address, Links, Socket, Stats, Step},
    prelude::*,
    sink::Label,
};
use std::{fmt::Write as _, net::IpAddr};

const INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.netdev.device-include",
    "Regexp of net devices to include (mutually exclusive to device-exclude).",
);
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

/// A counter, with and without the label `ifalias`.
struct Counter {
    plain: Metric<1>,
    aliased: Metric<2>,
}

macro_rules! counters {
    ($($name:ident $key:literal)*) => {$(
        static $name: Counter = Counter {
            plain: counter(
                concat!("node_network_", $key, "_total"),
                concat!("Network device statistic ", $key, "."),
            )
            .by(["device"]),
            aliased: counter(
                concat!("node_network_", $key, "_total"),
                concat!("Network device statistic ", $key, "."),
            )
            .by(["device", "ifalias"]),
        };
    )*};
}

counters! {
    COLLISIONS "collisions"
    MULTICAST "multicast"
    RX_BYTES "receive_bytes"
    RX_COMPRESSED "receive_compressed"
    RX_CRC_ERRORS "receive_crc_errors"
    RX_DROP "receive_drop"
    RX_DROPPED "receive_dropped"
    RX_ERRORS "receive_errors"
    RX_ERRS "receive_errs"
    RX_FIFO "receive_fifo"
    RX_FIFO_ERRORS "receive_fifo_errors"
    RX_FRAME "receive_frame"
    RX_FRAME_ERRORS "receive_frame_errors"
    RX_LENGTH_ERRORS "receive_length_errors"
    RX_MISSED_ERRORS "receive_missed_errors"
    RX_MULTICAST "receive_multicast"
    RX_NOHANDLER "receive_nohandler"
    RX_OVER_ERRORS "receive_over_errors"
    RX_PACKETS "receive_packets"
    TX_ABORTED_ERRORS "transmit_aborted_errors"
    TX_BYTES "transmit_bytes"
    TX_CARRIER "transmit_carrier"
    TX_CARRIER_ERRORS "transmit_carrier_errors"
    TX_COLLS "transmit_colls"
    TX_COMPRESSED "transmit_compressed"
    TX_DROP "transmit_drop"
    TX_DROPPED "transmit_dropped"
    TX_ERRORS "transmit_errors"
    TX_ERRS "transmit_errs"
    TX_FIFO "transmit_fifo"
    TX_FIFO_ERRORS "transmit_fifo_errors"
    TX_HEARTBEAT_ERRORS "transmit_heartbeat_errors"
    TX_PACKETS "transmit_packets"
    TX_WINDOW_ERRORS "transmit_window_errors"
}

static ADDRESS: Metric<4> = gauge("node_network_address_info", "node network address by device")
    .by(["address", "device", "netmask", "scope"]);

struct NetDev {
    filter: Filter,
    detailed: bool,
    /// `/proc/net/dev`, where netlink is not wanted.
    file: Option<File>,
    kernel: Kernel,
    aliases: Option<Aliases>,
    /// The addresses of the last dump, where they are wanted.
    addresses: Option<Vec<Address>>,
}

impl NetDev {
    fn new(host: &Host, flags: &Flags) -> Result<Self> {
        let include =
            newer(flags, ("device-include", &INCLUDE), ("device-whitelist", &OLD_INCLUDE))?;
        let exclude =
            newer(flags, ("device-exclude", &EXCLUDE), ("device-blacklist", &OLD_EXCLUDE))?;
        Ok(Self {
            filter: Filter::new(flags, include, exclude)?,
            detailed: flags.get(&DETAILED),
            file: (!flags.get(&NETLINK)).then(|| host.proc.file("net/dev")),
            kernel: Kernel::default(),
            aliases: flags.get(&IFALIAS).then(|| Aliases::new(host)),
            addresses: flags.get(&ADDRESS_INFO).then(Vec::new),
        })
    }
}

/// The flag that counts: the old one where only it is given.
fn newer<'a>(
    flags: &Flags,
    (name, flag): (&str, &'a Flag<Option<Pattern>>),
    (old_name, old): (&str, &'a Flag<Option<Pattern>>),
) -> Result<&'a Flag<Option<Pattern>>> {
    match (flags.get(flag).is_some(), flags.get(old).is_some()) {
        (_, false) => Ok(flag),
        (false, true) => {
            tracing::warn!(
                "--collector.netdev.{old_name} is DEPRECATED and will be removed in 2.0.0, \
                 use --collector.netdev.{name}"
            );
            Ok(old)
        }
        (true, true) => Err(Error::Flag(format!(
            "--collector.netdev.{old_name} and --collector.netdev.{name} are mutually exclusive"
        ))),
    }
}

impl Collector for NetDev {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { filter, detailed, file, kernel, aliases, addresses } = self;
        out.served_by(if file.is_some() { "procfs" } else { "netlink" });
        if let Some(aliases) = aliases {
            aliases.refresh()?;
        }
        let mut links = Ok(());
        if file.is_none() || addresses.is_some() {
            links = kernel.refresh();
        }
        let mut put = |name: &[u8], counters: Counters<'_>| {
            if keeps(filter, name) {
                let alias = aliases.as_ref().and_then(|aliases| aliases.get(name));
                counters.put(*detailed, &mut Device { name, alias, out: &mut *out });
            }
        };
        if let Some(file) = file {
            let read = each_line(file.bytes()?, |name, words| put(name, Counters::File(words)));
            read.map_err(|source| Error::Parse { path: file.path().into(), source })?;
        } else {
            // After an interrupted dump, these may not be all: put, then said.
            for link in &kernel.links {
                put(&link.name, Counters::Link(&link.stats));
            }
        }
        links?;
        if let Some(addresses) = addresses {
            let dumped = kernel.socket()?.addresses(|step| match step {
                Step::Start => addresses.clear(),
                Step::Item(address) => addresses.push(address),
            });
            if !matches!(dumped, Ok(()) | Err(netlink::Error::Interrupted { .. })) {
                addresses.clear();
            }
            for address in &*addresses {
                if let Some(link) = kernel.links.get(address.ifindex)
                    && keeps(filter, &link.name)
                {
                    put_address(&link.name, address, out);
                }
            }
            dumped?;
        }
        Ok(())
    }
}

fn keeps(filter: &Filter, name: &[u8]) -> bool {
    filter.keeps(&String::from_utf8_lossy(name))
}

/// What the kernel says over netlink.
#[derive(Default)]
struct Kernel {
    /// Opened at first use; it opens itself anew after an error.
    socket: Option<Socket>,
    links: Links,
}

impl Kernel {
    fn socket(&mut self) -> Result<&mut Socket> {
        Ok(match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(Socket::open()?),
        })
    }

    fn refresh(&mut self) -> Result {
        self.socket()?;
        if let Some(socket) = &mut self.socket {
            socket.links(&mut self.links)?;
        }
        Ok(())
    }
}

/// The counters of one interface.
enum Counters<'a> {
    Link(&'a Stats),
    /// The columns of `/proc/net/dev`.
    File(&'a [u64; 16]),
}

/// Where the counters of one interface go.
struct Device<'a> {
    name: &'a [u8],
    alias: Option<&'a str>,
    out: &'a mut Sink,
}

impl Device<'_> {
    fn put(&mut self, counter: &Counter, value: u64) {
        match &self.alias {
            Some(alias) => self.out.put(&counter.aliased, [&self.name, alias], value),
            None => self.out.put(&counter.plain, [&self.name], value),
        }
    }
}

impl Counters<'_> {
    fn put(&self, detailed: bool, device: &mut Device<'_>) {
        match self {
            Self::Link(stats) => {
                device.put(&RX_BYTES, stats.rx_bytes);
                device.put(&RX_COMPRESSED, stats.rx_compressed);
                device.put(&RX_NOHANDLER, stats.rx_nohandler);
                device.put(&RX_PACKETS, stats.rx_packets);
                device.put(&TX_BYTES, stats.tx_bytes);
                device.put(&TX_COMPRESSED, stats.tx_compressed);
                device.put(&TX_PACKETS, stats.tx_packets);
                if detailed { put_detailed(stats, device) } else { put_legacy(stats, device) }
            }
            Self::File(words) => put_columns(words, detailed, device),
        }
    }
}

fn put_detailed(stats: &Stats, device: &mut Device<'_>) {
    device.put(&COLLISIONS, stats.collisions);
    device.put(&MULTICAST, stats.multicast);
    device.put(&RX_CRC_ERRORS, stats.rx_crc_errors);
    device.put(&RX_DROPPED, stats.rx_dropped);
    device.put(&RX_ERRORS, stats.rx_errors);
    device.put(&RX_FIFO_ERRORS, stats.rx_fifo_errors);
    device.put(&RX_FRAME_ERRORS, stats.rx_frame_errors);
    device.put(&RX_LENGTH_ERRORS, stats.rx_length_errors);
    device.put(&RX_MISSED_ERRORS, stats.rx_missed_errors);
    device.put(&RX_OVER_ERRORS, stats.rx_over_errors);
    device.put(&TX_ABORTED_ERRORS, stats.tx_aborted_errors);
    device.put(&TX_CARRIER_ERRORS, stats.tx_carrier_errors);
    device.put(&TX_DROPPED, stats.tx_dropped);
    device.put(&TX_ERRORS, stats.tx_errors);
    device.put(&TX_FIFO_ERRORS, stats.tx_fifo_errors);
    device.put(&TX_HEARTBEAT_ERRORS, stats.tx_heartbeat_errors);
    device.put(&TX_WINDOW_ERRORS, stats.tx_window_errors);
}

/// Adds up as `dev_seq_printf_stats()` does.
fn put_legacy(stats: &Stats, device: &mut Device<'_>) {
    let sum = |counters: &[u64]| counters.iter().fold(0, |a: u64, &b| a.wrapping_add(b));
    device.put(&RX_DROP, sum(&[stats.rx_dropped, stats.rx_missed_errors]));
    device.put(&RX_ERRS, stats.rx_errors);
    device.put(&RX_FIFO, stats.rx_fifo_errors);
    let frame =
        [stats.rx_frame_errors, stats.rx_length_errors, stats.rx_over_errors, stats.rx_crc_errors];
    device.put(&RX_FRAME, sum(&frame));
    device.put(&RX_MULTICAST, stats.multicast);
    let carrier = [
        stats.tx_carrier_errors,
        stats.tx_aborted_errors,
        stats.tx_heartbeat_errors,
        stats.tx_window_errors,
    ];
    device.put(&TX_CARRIER, sum(&carrier));
    device.put(&TX_COLLS, stats.collisions);
    device.put(&TX_DROP, stats.tx_dropped);
    device.put(&TX_ERRS, stats.tx_errors);
    device.put(&TX_FIFO, stats.tx_fifo_errors);
}

fn put_columns(words: &[u64; 16], detailed: bool, device: &mut Device<'_>) {
    let [rx_errors, rx_dropped, tx_errors, tx_dropped] = if detailed {
        [&RX_ERRORS, &RX_DROPPED, &TX_ERRORS, &TX_DROPPED]
    } else {
        [&RX_ERRS, &RX_DROP, &TX_ERRS, &TX_DROP]
    };
    let columns = [
        &RX_BYTES,
        &RX_PACKETS,
        rx_errors,
        rx_dropped,
        &RX_FIFO,
        &RX_FRAME,
        &RX_COMPRESSED,
        &RX_MULTICAST,
        &TX_BYTES,
        &TX_PACKETS,
        tx_errors,
        tx_dropped,
        &TX_FIFO,
        &TX_COLLS,
        &TX_CARRIER,
        &TX_COMPRESSED,
    ];
    for (counter, &word) in columns.into_iter().zip(words) {
        device.put(counter, word);
    }
}

/// Gives `each` the name and the columns of each interface in `/proc/net/dev`.
fn each_line(text: &[u8], mut each: impl FnMut(&[u8], &[u64; 16])) -> Result<(), Malformed> {
    for line in text.split(|&byte| byte == b'\n').skip(2).filter(|line| !line.is_empty()) {
        let wrong = |what| Malformed::new(what, &String::from_utf8_lossy(line));
        // A name may have colons itself.
        let colon = memchr::memrchr(b':', line).ok_or_else(|| wrong("interface"))?;
        let (name, rest) = line.split_at_checked(colon).ok_or_else(|| wrong("interface"))?;
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(wrong("interface"));
        }
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let rest = std::str::from_utf8(rest).map_err(|_| wrong("counters"))?;
        let mut words = rest.split_ascii_whitespace();
        let mut columns = [0; 16];
        for column in &mut columns {
            *column = words.number("counter")?;
        }
        each(name, &columns);
    }
    Ok(())
}

/// What administrators call interfaces, from `/sys/class/net/<name>/ifalias`.
struct Aliases {
    folder: Folder,
    names: Vec<u8>,
    texts: String,
    /// Where each name and each text ends, in the order of the names.
    ends: Vec<(usize, usize)>,
}

impl Aliases {
    fn new(host: &Host) -> Self {
        let folder = host.sys.folder("class/net");
        Self { folder, names: Vec::new(), texts: String::new(), ends: Vec::new() }
    }

    fn refresh(&mut self) -> Result {
        let Self { folder, names, texts, ends } = self;
        names.clear();
        texts.clear();
        ends.clear();
        for entry in folder.list()? {
            let Some(dir) = entry.dir()? else { continue }; // bonding_masters
            names.extend_from_slice(entry.bytes());
            match dir.text("ifalias") {
                Ok(alias) => texts.push_str(alias.as_deref().unwrap_or_default()),
                // Anyone's bytes: no reason to lose the counters.
                Err(error) => tracing::debug!(%error, "no ifalias"),
            }
            ends.push((names.len(), texts.len()));
        }
        Ok(())
    }

    /// The alias of the interface, empty where it has none; `None` where sysfs does not have it.
    fn get(&self, name: &[u8]) -> Option<&str> {
        let begin =
            |i: usize| i.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or_default();
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            let ((name_begin, text_begin), &(name_end, text_end)) =
                (begin(middle), self.ends.get(middle)?);
            match self.names.get(name_begin..name_end)?.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.texts.get(text_begin..text_end),
            }
        }
        None
    }
}

/// An address as a label.
struct Shown(IpAddr);

impl Label for Shown {
    fn append(&self, text: &mut String) {
        let _ = write!(text, "{}", self.0); // a String takes everything
    }
}

fn put_address(device: &[u8], address: &Address, out: &mut Sink) {
    let ip = address.ip.to_canonical();
    let netmask = if ip.is_ipv4() && address.ip.is_ipv6() {
        address.prefix_length.saturating_sub(96) // of an IPv4 address within IPv6
    } else {
        address.prefix_length
    };
    out.put(&ADDRESS, [&Shown(ip), &device, &netmask, &scope(ip)], 1);
}

/// The scope as `node_exporter` tells it from the address; not what the kernel calls scope.
fn scope(ip: IpAddr) -> &'static str {
    let (link, interface, broadcast) = match ip {
        IpAddr::V4(ip) => {
            let local_multicast = matches!(ip.octets(), [224, 0, 0, _]);
            (ip.is_link_local() || local_multicast, false, ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.octets();
            let multicast = |scope| first == 0xff && second & 0xf == scope;
            (ip.is_unicast_link_local() || multicast(2), multicast(1), false)
        }
    };
    if ip.is_loopback() || link {
        "link-local"
    } else if interface {
        "interface-local"
    } else if ip.is_unspecified() || ip.is_multicast() || broadcast {
        ""
    } else {
        "global"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, check, collect, expect, fixture, flags, malformed};

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

    fn read(text: &[u8]) -> Result<Vec<(Vec<u8>, [u64; 16])>, Malformed> {
        let mut seen = Vec::new();
        each_line(text, |name, words| seen.push((name.to_vec(), *words)))?;
        Ok(seen)
    }

    #[test]
    fn names_are_what_is_before_the_last_colon() {
        let mut text = HEAD.as_bytes().to_vec();
        text.extend(b" e\xff:1:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n");
        let words = [u64::MAX, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(read(&text), Ok(vec![(b"e\xff:1".to_vec(), words)]));
        assert_eq!(read(b""), Ok(vec![]));
        assert_eq!(read(HEAD.as_bytes()), Ok(vec![]));
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        let read = |line: &[u8]| malformed(read(&[HEAD.as_bytes(), line].concat()));
        assert_eq!(read(b"eth0 1 2"), "bad interface: \"eth0 1 2\"");
        assert_eq!(read(b"  : 1 2"), "bad interface: \"  : 1 2\"");
        assert_eq!(read(b"eth0: 1 2"), "bad counter: \"\"");
        assert_eq!(read(b"eth0: 1 -2"), "bad counter: \"-2\"");
        assert_eq!(read(b"eth0: \xff"), "bad counters: \"eth0: \u{fffd}\"");
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
        let (_, result) = machine.collect(&SPEC, &[PROCFS, "--collector.netdev.label-ifalias"]);
        assert!(result.unwrap_err().is_absent(), "there is no sys/class/net");
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
            [r#"device="a",ifalias="""#, r#"device="b",ifalias="up \"link\"""#, r#"device="c""#]
        {
            assert!(
                text.contains(&format!("node_network_receive_bytes_total{{{labels}}} 1\n")),
                "{text}"
            );
        }
    }

    fn exposed(put: impl FnOnce(&mut Sink)) -> String {
        let mut sink = Sink::default();
        sink.begin(1);
        put(&mut sink);
        let mut body = Vec::new();
        crate::exposition::append(&[&sink], None, &mut body);
        let text = String::from_utf8(body).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect()
    }

    fn link(detailed: bool) -> String {
        let words: [u64; 25] = std::array::from_fn(|i| 1 << i);
        let stats: Stats = bytemuck::cast(words);
        exposed(|out| {
            Counters::Link(&stats).put(detailed, &mut Device { name: b"x", alias: None, out });
        })
    }

    #[test]
    fn netlink_adds_up_as_the_file_does() {
        expect![[r#"
            node_network_receive_bytes_total{device="x"} 4
            node_network_receive_compressed_total{device="x"} 2.097152e+06
            node_network_receive_drop_total{device="x"} 32832
            node_network_receive_errs_total{device="x"} 16
            node_network_receive_fifo_total{device="x"} 16384
            node_network_receive_frame_total{device="x"} 15360
            node_network_receive_multicast_total{device="x"} 256
            node_network_receive_nohandler_total{device="x"} 8.388608e+06
            node_network_receive_packets_total{device="x"} 1
            node_network_transmit_bytes_total{device="x"} 8
            node_network_transmit_carrier_total{device="x"} 1.769472e+06
            node_network_transmit_colls_total{device="x"} 512
            node_network_transmit_compressed_total{device="x"} 4.194304e+06
            node_network_transmit_drop_total{device="x"} 128
            node_network_transmit_errs_total{device="x"} 32
            node_network_transmit_fifo_total{device="x"} 262144
            node_network_transmit_packets_total{device="x"} 2
        "#]]
        .assert_eq(&link(false));
    }

    #[test]
    fn netlink_in_detail() {
        expect![[r#"
            node_network_collisions_total{device="x"} 512
            node_network_multicast_total{device="x"} 256
            node_network_receive_bytes_total{device="x"} 4
            node_network_receive_compressed_total{device="x"} 2.097152e+06
            node_network_receive_crc_errors_total{device="x"} 4096
            node_network_receive_dropped_total{device="x"} 64
            node_network_receive_errors_total{device="x"} 16
            node_network_receive_fifo_errors_total{device="x"} 16384
            node_network_receive_frame_errors_total{device="x"} 8192
            node_network_receive_length_errors_total{device="x"} 1024
            node_network_receive_missed_errors_total{device="x"} 32768
            node_network_receive_nohandler_total{device="x"} 8.388608e+06
            node_network_receive_over_errors_total{device="x"} 2048
            node_network_receive_packets_total{device="x"} 1
            node_network_transmit_aborted_errors_total{device="x"} 65536
            node_network_transmit_bytes_total{device="x"} 8
            node_network_transmit_carrier_errors_total{device="x"} 131072
            node_network_transmit_compressed_total{device="x"} 4.194304e+06
            node_network_transmit_dropped_total{device="x"} 128
            node_network_transmit_errors_total{device="x"} 32
            node_network_transmit_fifo_errors_total{device="x"} 262144
            node_network_transmit_heartbeat_errors_total{device="x"} 524288
            node_network_transmit_packets_total{device="x"} 2
            node_network_transmit_window_errors_total{device="x"} 1.048576e+06
        "#]]
        .assert_eq(&link(true));
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
    fn addresses_are_told_with_their_scope() {
        let put = |ip: &str, prefix_length| {
            let ip = ip.parse().unwrap();
            exposed(|out| {
                put_address(b"x", &Address { ifindex: 1, scope: 0, prefix_length, ip }, out);
            })
        };
        assert_eq!(
            put("10.1.2.3", 24),
            "node_network_address_info{address=\"10.1.2.3\",device=\"x\",netmask=\"24\",scope=\"global\"} 1\n"
        );
        assert!(
            put("::ffff:10.1.2.3", 120)
                .contains("{address=\"10.1.2.3\",device=\"x\",netmask=\"24\"")
        );
        for (ip, want) in [
            ("127.0.0.1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("224.0.0.1", "link-local"),
            ("239.0.0.1", ""),
            ("255.255.255.255", ""),
            ("0.0.0.0", ""),
            ("::1", "link-local"),
            ("fe80::1", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("ff05::1", ""),
            ("fd00::1", "global"),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), want, "{ip}");
        }
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
