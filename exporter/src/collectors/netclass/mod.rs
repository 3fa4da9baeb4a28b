//! Attributes of network interfaces: states, addresses, speeds.
//!
//! By default, the values equal the files in `/sys/class/net` (net/core/net-sysfs.c). Where
//! `--path.sysfs` shows this process's own interfaces, [`netlink`] derives the same values from
//! netlink messages; elsewhere [`sysfs`] reads the files. With `--collector.netclass.netlink`,
//! [`rtnl`] exposes the messages as they are, with other labels and some other values.

mod kept;
mod metrics;
mod netlink;
mod rtnl;
mod sysfs;

use crate::{collector::Sources, prelude::*};

pub const SPEC: Spec = Spec {
    name: "netclass",
    enabled: true,
    capabilities: NONE,
    flags: &[&IGNORED, &INVALID_SPEED, &NETLINK, &WITH_STATS],
    new: |host, flags| {
        Ok(Box::new(NetClass {
            wanted: Wanted {
                ignored: flags.get(&IGNORED),
                invalid_speed: !flags.get(&INVALID_SPEED),
            },
            sources: sources(host, flags),
        }))
    },
};

const IGNORED: Flag<Pattern> = Flag::value(
    "collector.netclass.ignored-devices",
    &["^$"],
    "Regexp of net devices to ignore for netclass collector.",
);
const INVALID_SPEED: Flag<bool> = switch(
    "collector.netclass.ignore-invalid-speed",
    false,
    "Ignore devices where the speed is invalid. This will be the default behavior in 2.x.",
);
const NETLINK: Flag<bool> = switch(
    "collector.netclass.netlink",
    false,
    "Use netlink to gather stats instead of /proc/net/dev.",
);
const WITH_STATS: Flag<bool> = switch(
    "collector.netclass_rtnl.with-stats",
    false,
    "Expose the statistics for each network device, replacing netdev collector.",
);

struct NetClass {
    wanted: Wanted,
    sources: Sources<dyn Source>,
}

/// The interfaces and values that the flags select.
struct Wanted {
    ignored: Pattern,
    /// Whether a speed unknown to the driver is exposed.
    invalid_speed: bool,
}

impl Wanted {
    fn keeps(&self, name: &[u8]) -> bool {
        !self.ignored.matches(&String::from_utf8_lossy(name))
    }

    fn speed(&self, speed: Option<f64>) -> Option<f64> {
        speed.filter(|&speed| speed >= 0.0 || self.invalid_speed)
    }
}

/// A source of the attributes.
trait Source: Send {
    /// Puts the interfaces that are `wanted`. Before an error, only the last source may have put
    /// any.
    fn collect(&mut self, wanted: &Wanted, out: &mut Sink) -> Result;
}

impl Collector for NetClass {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.sources.ask(out, |source, out| source.collect(&self.wanted, out))
    }
}

fn sources(host: &Host, flags: &Flags) -> Sources<dyn Source> {
    let sysfs: (_, Box<dyn Source>) = ("sysfs", Box::new(sysfs::Sysfs::new(host)));
    let sources: Vec<(_, Box<dyn Source>)> =
        match flags.gives(&NETLINK).then(|| flags.get(&NETLINK)) {
            Some(true) => vec![("rtnl", Box::new(rtnl::Rtnl::new(host, flags.get(&WITH_STATS))))],
            None if host.has_own_sysfs() => {
                vec![("netlink", Box::new(netlink::Netlink::new(host))), sysfs]
            }
            Some(false) | None => vec![sysfs],
        };
    Sources::new(SPEC.name, sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    #[test]
    fn broken_interfaces_and_other_files_hide_nothing() {
        let machine = Machine::new()
            .with("sys/class/net/bonding_masters", "a\n")
            .with("sys/class/net/a/speed", "-1\n")
            .with("sys/class/net/a/flags", "what\n")
            .with("sys/class/net/a/ifalias", b"\xff\n")
            .with("sys/class/net/a/mtu/folder", "")
            .with("sys/class/net/b/operstate", "up\n")
            .with("sys/class/net/b/flags", "0x1002\n")
            .with("sys/class/net/b/tx_queue_len", "18446744073709551616\n");
        let exposed = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            let error = result.map_or_else(|error| error.to_string(), |()| String::new());
            let is_of_a = error.ends_with("net/a/flags: bad number: \"what\"");
            assert_eq!(is_of_a, text.contains("device=\"a\""), "{error}");
            sample_lines(&text).map(str::to_owned).collect::<Vec<_>>()
        };
        let rest = [
            r#"node_network_flags{device="b"} 4098"#,
            r#"node_network_info{address="",adminstate="down",broadcast="",device="b",duplex="",ifalias="",operstate="up"} 1"#,
            r#"node_network_info{address="",adminstate="unknown",broadcast="",device="a",duplex="",ifalias="�",operstate=""} 1"#,
        ];
        let queue = [r#"node_network_transmit_queue_length{device="b"} 1.8446744073709552e+19"#];
        let up = [r#"node_network_up{device="a"} 0"#, r#"node_network_up{device="b"} 1"#];
        let speed = [r#"node_network_speed_bytes{device="a"} -125000"#];
        assert_eq!(exposed(&[]), [&rest[..], &speed, &queue, &up].concat());
        let valid = ["--collector.netclass.ignore-invalid-speed"];
        assert_eq!(exposed(&valid), [&rest[..], &queue, &up].concat());
        let without_a = ["--collector.netclass.ignored-devices=^a"];
        assert_eq!(exposed(&without_a), [&rest[..2], &queue, &up[1..]].concat());
    }

    #[test]
    fn a_machine_without_interfaces_has_no_data() {
        let (_, result) = Machine::new().collect(&SPEC, &[]);
        assert!(matches!(result, Err(Error::NoData)));
    }
}
