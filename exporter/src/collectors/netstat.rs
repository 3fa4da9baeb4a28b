//! Protocol counters of the network stack, from `/proc/net/netstat`, `/proc/net/snmp` and
//! `/proc/net/snmp6`.
//!
//! The first two (`net/ipv4/proc.c`) have pairs of lines: names, then numbers. The third
//! (`net/ipv6/proc.c`) has a name and a number a line, and is absent without IPv6; there, the
//! protocol is what stands before the first 6. Names differ from kernel to kernel, and which are
//! exposed depends on `--collector.netstat.fields`: both are settled when a name is first seen.

use crate::{exposition::Kind, host::Shared, parse::number, prelude::*};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "netstat",
    enabled: true,
    capabilities: NONE,
    flags: &[&FIELDS],
    new: |host, flags| {
        Ok(Box::new(NetStat {
            tables: [host.netstat.clone(), Shared::new(host.proc.single_file("net/snmp"))]
                .map(|file| (file, Vec::new())),
            list: host.proc.single_file("net/snmp6"),
            listed: HashMap::new(),
            wanted: flags.get(&FIELDS),
        }))
    },
};

static FIELDS: Flag<Pattern> = Flag::value(
    "collector.netstat.fields",
    &[concat!(
        "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|",
        "Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|",
        "TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|",
        "RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|",
        "SndbufErrors))$",
    )],
    "Regexp of fields to return for netstat collector.",
);

struct NetStat {
    tables: [(Shared<SingleFile>, Vec<Head>); 2],
    list: SingleFile,
    /// Every name in the list ever seen; those that are not wanted have no metric.
    listed: HashMap<Box<str>, Option<Metric>>,
    wanted: Pattern,
}

/// A line of names as it was last seen, and the metric of each that is wanted.
struct Head {
    line: Box<str>,
    metrics: Box<[Option<Metric>]>,
}

impl Collector for NetStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { tables, list, listed, wanted } = self;
        let mut result = Ok(());
        for (file, heads) in tables {
            let read = file.parse(out.scrape(), |text| table(text, wanted, heads, out));
            result = result.and(read);
        }
        let read = list.parse(|text| each(text, wanted, listed, out));
        result.and(read.unless_absent().map(drop))
    }
}

fn metric(wanted: &Pattern, protocol: &str, name: &str) -> Option<Metric> {
    let key = format!("{protocol}_{name}");
    wanted.matches(&key).then(|| {
        let help = format!("Statistic {protocol}{name}.");
        Metric::named(Kind::Untyped, format!("node_netstat_{key}"), help, [])
    })
}

fn table(
    text: &str,
    wanted: &Pattern,
    heads: &mut Vec<Head>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    let mut lines = text.lines();
    let mut place = 0;
    while let Some(names) = lines.next() {
        let values = lines.next().ok_or_else(|| Malformed::new("pair of lines", names))?;
        if heads.get(place).is_none_or(|head| *head.line != *names) {
            heads.truncate(place);
            heads.push(Head::new(names, wanted)?);
        }
        if let Some(head) = heads.get(place) {
            head.put(values, out)?;
        }
        place += 1;
    }
    Ok(())
}

impl Head {
    fn new(line: &str, wanted: &Pattern) -> Result<Self, Malformed> {
        let mut words = line.split_ascii_whitespace();
        let protocol =
            words.next().and_then(|word| word.strip_suffix(':')).filter(|word| !word.is_empty());
        let protocol = protocol.ok_or_else(|| Malformed::new("protocol", line))?;
        let metrics = words.map(|name| metric(wanted, protocol, name)).collect();
        Ok(Self { line: line.into(), metrics })
    }

    fn put(&self, line: &str, out: &mut Sink) -> Result<(), Malformed> {
        let wrong = || Malformed::new("number of values", line);
        let mut words = line.split_ascii_whitespace().skip(1);
        // As many words as spaces, and the protocol: sooner counted.
        let spaces = memchr::memchr_iter(b' ', line.as_bytes()).count();
        if spaces != self.metrics.len() && words.clone().count() != self.metrics.len() {
            return Err(wrong());
        }
        for metric in &self.metrics {
            let word = words.next().ok_or_else(wrong)?;
            if let Some(metric) = metric {
                out.put(metric, [], number::<f64>("value", word)?);
            }
        }
        Ok(())
    }
}

fn each(
    text: &str,
    wanted: &Pattern,
    listed: &mut HashMap<Box<str>, Option<Metric>>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
        let known = match listed.get(key) {
            Some(known) => known,
            None => {
                let place = key.find('6').map_or(0, |six| six + 1);
                let (protocol, name) = key.split_at_checked(place).unwrap_or_default();
                let known = (place > 0).then(|| metric(wanted, protocol, name)).flatten();
                listed.entry(key.into()).or_insert(known)
            }
        };
        if let Some(metric) = known {
            out.put(metric, [], number::<f64>("value", value)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flag::Value as _,
        testing::{Machine, exposed},
    };

    fn with(netstat: &str, snmp: &str, snmp6: &str) -> (String, String) {
        let machine = Machine::new()
            .with("proc/net/netstat", netstat)
            .with("proc/net/snmp", snmp)
            .with("proc/net/snmp6", snmp6);
        let (text, result) = machine.collect(&SPEC, &["--collector.netstat.fields=Forw|_In"]);
        (text, result.map_or_else(|error| error.to_string(), |()| String::new()))
    }

    #[test]
    fn what_is_malformed_hides_no_other_file() {
        let (text, error) = with("IpExt: InOctets\n", "Ip: Forwarding\nIp: 1\n", "Ip6InOctets 3\n");
        assert!(error.ends_with("net/netstat: bad pair of lines: \"IpExt: InOctets\""), "{error}");
        assert!(text.contains("node_netstat_Ip_Forwarding 1\n"), "{text}");
        assert!(text.contains("# HELP node_netstat_Ip6_InOctets Statistic Ip6InOctets.\n"));
        assert!(with("A: b c\nA: 1\n", "", "").1.ends_with("bad number of values: \"A: 1\""));
        assert!(with("", "A b\nA 1\n", "").1.ends_with("net/snmp: bad protocol: \"A b\""));
        assert!(with("", "\n\n", "").1.ends_with("net/snmp: bad protocol: \"\""));
        assert!(with("A: In\nA: x\n", "", "").1.ends_with("bad value: \"x\""));
        assert!(with("", "", "Ip6InOctets x\n").1.ends_with("net/snmp6: bad value: \"x\""));
    }

    #[test]
    fn lines_without_a_six_or_a_number_are_skipped() {
        assert_eq!(with("", "", "IpInOctets 1\nIp6InOctets\n\n"), Default::default());
    }

    #[test]
    fn without_ipv6_there_is_no_error() {
        let machine = Machine::new().with("proc/net/netstat", "").with("proc/net/snmp", "");
        assert!(machine.collect(&SPEC, &[]).1.is_ok());
        let (_, result) = Machine::new().with("proc/net/snmp", "").collect(&SPEC, &[]);
        assert!(result.unwrap_err().is_absent());
    }

    #[test]
    fn names_that_change_are_seen() {
        let (wanted, mut heads) = (Pattern::parse(&["In"]).unwrap(), Vec::new());
        for (text, metrics) in [
            ("A: a InErrs\nA: 1 2\nB: InErrs\nB: 3\n", ["A_InErrs 2", "B_InErrs 3"]),
            ("A: InErrs b\nA: 4 5\nB: InErrs\nB: 6\n", ["A_InErrs 4", "B_InErrs 6"]),
        ] {
            let text = exposed(|out| table(text, &wanted, &mut heads, out).unwrap());
            assert!(metrics.iter().all(|metric| text.contains(metric)), "{text}");
        }
    }
}
