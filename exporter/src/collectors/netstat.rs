//! Protocol counters of the network stack, from `/proc/net/netstat`, `/proc/net/snmp` and
//! `/proc/net/snmp6`.
//!
//! The first two (`net/ipv4/proc.c`) have pairs of lines: names, then numbers. The third
//! (`net/ipv6/proc.c`) has a name and a number a line, and is absent without IPv6; its names begin
//! with the protocol, up to the first 6. Names differ from kernel to kernel, and
//! `--collector.netstat.fields` selects among them: a name's metric is made, or refused, when the
//! name is first seen.

use crate::{
    exposition::Kind,
    host::Shared,
    parse::{decimal, lines, rows},
    prelude::*,
};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "netstat",
    enabled: true,
    capabilities: NONE,
    flags: &[&FIELDS],
    new: |host, flags| {
        Ok(Box::new(NetStat {
            tables: [host.netstat.clone(), Shared::new(host.net.single_file("snmp"))]
                .map(|file| (file, Vec::new())),
            list: host.net.single_file("snmp6"),
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
    /// Every name of the list seen so far; a name that the flag excludes has no metric.
    listed: HashMap<Box<str>, Option<Metric>>,
    wanted: Pattern,
}

/// A line of names as it was last seen, with the metric of each name that the flag selects.
struct Head {
    line: Box<str>,
    metrics: Box<[Option<Metric>]>,
}

impl Collector for NetStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { tables, list, listed, wanted } = self;
        let mut faults = Faults::default();
        for (file, heads) in tables {
            faults.keep(file.parse(out.scrape(), |text| table(text, wanted, heads, out)));
        }
        let read = list.parse(|text| each(text, wanted, listed, out));
        faults.keep(read.unless_absent());
        faults.end()
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
    let mut faults = Faults::default();
    let mut alone: Option<(usize, &str)> = None;
    let mut place = 0;
    for (number, line) in (1..).zip(lines(text)) {
        let Some(colon) = memchr::memchr(b':', line.as_bytes()) else {
            if !line.trim_ascii().is_empty() {
                faults.keep::<()>(Err(Malformed::new("protocol", line).in_line(number)));
            }
            continue;
        };
        let Some((_, names)) =
            alone.take_if(|(_, names)| names.get(..=colon) == line.get(..=colon))
        else {
            faults.keep(no_pair(alone.replace((number, line))));
            continue;
        };
        if heads.get(place).is_none_or(|head| *head.line != *names) {
            heads.truncate(place);
            heads.push(Head::new(names, wanted));
        }
        if let Some(head) = heads.get(place) {
            faults.keep(head.put(line, out).map_err(|malformed| malformed.in_line(number)));
        }
        place += 1;
    }
    faults.keep(no_pair(alone));
    faults.end()
}

/// The fault in a line of names without a line of its protocol's numbers below it.
fn no_pair(alone: Option<(usize, &str)>) -> Result<(), Malformed> {
    alone.map_or(Ok(()), |(number, names)| {
        Err(Malformed::new("pair of lines", names).in_line(number))
    })
}

impl Head {
    fn new(line: &str, wanted: &Pattern) -> Self {
        let (protocol, names) = line.split_once(':').unwrap_or_default();
        let names = names.split_ascii_whitespace();
        Self {
            line: line.into(),
            metrics: names.map(|name| metric(wanted, protocol, name)).collect(),
        }
    }

    fn put(&self, line: &str, out: &mut Sink) -> Result<(), Malformed> {
        let wrong = || Malformed::new("number of values", line);
        let mut words = line.split_ascii_whitespace().skip(1);
        // A line has as many names as spaces, and spaces are counted faster.
        let spaces = memchr::memchr_iter(b' ', line.as_bytes()).count();
        if spaces != self.metrics.len() && words.clone().count() != self.metrics.len() {
            return Err(wrong());
        }
        let mut faults = Faults::default();
        for metric in &self.metrics {
            let word = words.next().ok_or_else(wrong)?;
            if let Some(metric) = metric
                && let Some(value) = faults.keep(decimal("value", word))
            {
                out.put(metric, [], value);
            }
        }
        faults.end()
    }
}

fn each(
    text: &str,
    wanted: &Pattern,
    listed: &mut HashMap<Box<str>, Option<Metric>>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    rows(text, |line| {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else { return Ok(()) };
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
            out.put(metric, [], decimal("value", value)?);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flag::Value as _,
        testing::{Machine, exposed, sample_lines},
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
    fn a_malformed_file_hides_no_other() {
        let (text, error) = with("IpExt: InOctets\n", "Ip: Forwarding\nIp: 1\n", "Ip6InOctets 3\n");
        assert!(
            error.ends_with("net/netstat:1: bad pair of lines: \"IpExt: InOctets\""),
            "{error}"
        );
        assert!(text.contains("node_netstat_Ip_Forwarding 1\n"), "{text}");
        assert!(text.contains("# HELP node_netstat_Ip6_InOctets Statistic Ip6InOctets.\n"));
        assert!(with("A: b c\nA: 1\n", "", "").1.ends_with("bad number of values: \"A: 1\""));
        assert!(with("", "A b\nA 1\n", "").1.ends_with("net/snmp:1: bad protocol: \"A b\""));
        assert_eq!(with("", "\n\n", ""), Default::default());
        assert!(with("A: In\nA: x\n", "", "").1.ends_with("bad value: \"x\""));
        assert!(with("", "", "Ip6InOctets x\n").1.ends_with("net/snmp6:1: bad value: \"x\""));
    }

    #[test]
    fn an_odd_line_or_number_costs_itself_alone() {
        let (text, error) = with(
            "Ip: InA\nTcp: InB InC c\nnovel 7\nTcp: x -2 y\nUdp: 1\nIcmp: InD\nIcmp: 18446744073709551616\n",
            "Tcp: a InE\nTcp: 1\nUdp: InF\nUdp: 6\n",
            "Ip6InOctets x\nIp6Novel x\nIp6InReceives -7\n",
        );
        assert!(error.ends_with("net/netstat:1: bad pair of lines: \"Ip: InA\""), "{error}");
        assert_eq!(
            sample_lines(&text)
                .map(|line| line.trim_start_matches("node_netstat_"))
                .collect::<Vec<_>>(),
            ["Icmp_InD 1.8446744073709552e+19", "Ip6_InReceives -7", "Tcp_InC -2", "Udp_InF 6"]
        );
        let (_, error) = with("Tcp: a InB\nTcp: x -1\n", "", "Ip6Novel x\n");
        assert_eq!(error, "", "values that are not wanted are not parsed");
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
