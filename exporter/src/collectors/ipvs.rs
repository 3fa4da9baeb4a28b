//! IP Virtual Server: totals from `/proc/net/ip_vs_stats`, backends from `/proc/net/ip_vs`.
//!
//! The second file (`ip_vs_info_seq_show()` in `net/netfilter/ipvs/ip_vs_ctl.c`) has a line for
//! each virtual service, by address or by firewall mark, and below it one for each of its real
//! servers. With fewer labels than all, those that cannot be told apart are added up.

use crate::{
    exposition::Kind,
    parse::{hex, number},
    prelude::*,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub const SPEC: Spec = Spec {
    name: "ipvs",
    enabled: true,
    capabilities: NONE,
    flags: &[&LABELS],
    new: |host, flags| {
        Ok(Box::new(Ipvs {
            stats: host.proc.file("net/ip_vs_stats"),
            table: host.proc.file("net/ip_vs"),
            wanted: wanted(&flags.get(&LABELS))?,
            key: String::new(),
            sums: BTreeMap::new(),
        }))
    },
};

static LABELS: Flag<String> = Flag::value(
    "collector.ipvs.backend-labels",
    &["local_address,local_port,remote_address,remote_port,proto,local_mark"],
    "Comma separated list for IPVS backend stats labels.",
);

static CONNECTIONS: Metric =
    counter("node_ipvs_connections_total", "The total number of connections made.");
static INCOMING_PACKETS: Metric =
    counter("node_ipvs_incoming_packets_total", "The total number of incoming packets.");
static OUTGOING_PACKETS: Metric =
    counter("node_ipvs_outgoing_packets_total", "The total number of outgoing packets.");
static INCOMING_BYTES: Metric =
    counter("node_ipvs_incoming_bytes_total", "The total amount of incoming data.");
static OUTGOING_BYTES: Metric =
    counter("node_ipvs_outgoing_bytes_total", "The total amount of outgoing data.");

/// In the order of the file.
const TOTALS: [&Metric; 5] =
    [&CONNECTIONS, &INCOMING_PACKETS, &OUTGOING_PACKETS, &INCOMING_BYTES, &OUTGOING_BYTES];

/// In the order of [`Sum`].
const BACKEND: [(&str, &str); 3] = [
    (
        "node_ipvs_backend_connections_active",
        "The current active connections by local and remote address.",
    ),
    (
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
    ),
    ("node_ipvs_backend_weight", "The current backend weight by local and remote address."),
];

/// Every label, in alphabetical order.
const NAMES: [&str; 6] =
    ["local_address", "local_mark", "local_port", "proto", "remote_address", "remote_port"];

/// Ends a label's value in a key: sorts before whatever a value has.
const END: char = '\0';

/// Which of [`NAMES`] are wanted.
type Wanted = [bool; NAMES.len()];

/// Active and inactive connections, and weight.
type Sum = [u64; BACKEND.len()];

struct Ipvs {
    stats: File,
    table: File,
    wanted: Wanted,
    /// Room for the wanted labels of one backend.
    key: String,
    /// By the values of the wanted labels, kept between scrapes; none where no backend has them.
    sums: BTreeMap<Box<str>, Option<Sum>>,
}

fn wanted(given: &str) -> Result<Wanted> {
    let given = || given.split(',').filter(|name| !name.is_empty());
    let mut unknown: Vec<_> = given().filter(|name| !NAMES.contains(name)).collect();
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        return Err(Error::Flag(format!("unknown IPVS backend labels: {:?}", unknown.join(", "))));
    }
    Ok(NAMES.map(|name| given().any(|given| given == name)))
}

impl Collector for Ipvs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { stats, table, wanted, key, sums } = self;
        let totals = stats.parse(totals).or_no_data()?;
        for (metric, value) in TOTALS.into_iter().zip(totals) {
            out.put(metric, [], value);
        }
        for sum in sums.values_mut() {
            *sum = None;
        }
        table.parse(|text| {
            each(text, |backend| {
                backend.write(*wanted, key);
                if !sums.contains_key(key.as_str()) {
                    sums.insert(key.as_str().into(), None);
                }
                if let Some(sum) = sums.get_mut(key.as_str()) {
                    let sum = sum.get_or_insert_default();
                    for (sum, value) in sum.iter_mut().zip(backend.values) {
                        *sum = sum.wrapping_add(value);
                    }
                }
            })
        })?;
        sums.retain(|_, sum| sum.is_some());
        for (i, (name, help)) in BACKEND.into_iter().enumerate() {
            let family = out.family(name, help, Kind::Gauge);
            for (key, sum) in &*sums {
                let mut values = key.split(END);
                let mut labels = [("", ""); NAMES.len()];
                let mut n = 0;
                let names = NAMES.into_iter().zip(*wanted).filter(|&(_, wanted)| wanted);
                for ((name, _), label) in names.zip(&mut labels) {
                    *label = (name, values.next().unwrap_or_default());
                    n += 1;
                }
                let value = sum.and_then(|sum| sum.get(i).copied()).unwrap_or_default();
                family.sample(labels.get(..n).unwrap_or_default(), value as f64);
            }
        }
        Ok(())
    }
}

/// The totals since the module was loaded, which are on the third line.
fn totals(text: &str) -> Result<[u64; TOTALS.len()], Malformed> {
    let line = text.lines().nth(2).ok_or_else(|| Malformed::new("third line", ""))?;
    let mut words = line.split_ascii_whitespace();
    let mut totals = [0; TOTALS.len()];
    for total in &mut totals {
        *total = words.hex("total")?;
    }
    if words.next().is_some() { Err(Malformed::new("third line", line)) } else { Ok(totals) }
}

/// A virtual service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Service<'a> {
    /// `TCP`, `UDP`, `SCTP`; `FWM` for one by firewall mark.
    protocol: &'a str,
    mark: &'a str,
    address: Option<(IpAddr, u16)>,
}

/// One of the real servers of a virtual service.
#[derive(Debug, PartialEq, Eq)]
struct Backend<'a> {
    service: Service<'a>,
    remote: (IpAddr, u16),
    values: Sum,
}

impl Backend<'_> {
    /// Writes the wanted labels into `key`, in the order of [`NAMES`].
    fn write(&self, wanted: Wanted, key: &mut String) {
        let Self { service, remote: (remote_address, remote_port), .. } = self;
        key.clear();
        for (place, wanted) in wanted.into_iter().enumerate() {
            if !wanted {
                continue;
            }
            // A String takes everything.
            let _ = match (place, service.address) {
                (0, Some((address, _))) => write!(key, "{}", address.to_canonical()),
                (1, _) => write!(key, "{}", service.mark),
                (2, address) => write!(key, "{}", address.map_or(0, |(_, port)| port)),
                (3, _) => write!(key, "{}", service.protocol),
                (4, _) => write!(key, "{}", remote_address.to_canonical()),
                (5, _) => write!(key, "{remote_port}"),
                _ => Ok(()),
            };
            key.push(END);
        }
    }
}

fn each<'a>(text: &'a str, mut backend: impl FnMut(&Backend<'a>)) -> Result<(), Malformed> {
    /// Three lines of titles; the last begins as those of backends do.
    const HEAD: usize = 3;
    let mut service = Service::default();
    for line in text.lines().skip(HEAD) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            None => {}
            Some("->") => {
                let remote = address(words.word("remote address")?)?;
                let _forward = words.word("forwarding method")?;
                let weight = words.number("weight")?;
                let active = words.number("active connections")?;
                let inactive = words.number("inactive connections")?;
                let values = [active, inactive, weight];
                backend(&Backend { service, remote, values });
            }
            Some("FWM") => {
                service =
                    Service { protocol: "FWM", mark: words.word("firewall mark")?, address: None };
            }
            Some(protocol) => {
                let address = Some(address(words.word("local address")?)?);
                service = Service { protocol, mark: "", address };
            }
        }
    }
    Ok(())
}

/// `C0A80016:0CEA` or `[2001:0db8:…:0001]:0CEA`.
fn address(text: &str) -> Result<(IpAddr, u16), Malformed> {
    let malformed = || Malformed::new("address", text);
    let (ip, port) = text.rsplit_once(':').ok_or_else(malformed)?;
    let port = u16::try_from(hex("port", port)?).map_err(|_| malformed())?;
    let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => IpAddr::V6(number::<Ipv6Addr>("address", ip)?),
        None => {
            let bits = u32::from_str_radix(ip, 16).map_err(|_| malformed())?;
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        }
    };
    Ok((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, check, expect, malformed};

    #[test]
    fn what_cannot_be_told_apart_is_added_up() {
        check(
            &SPEC,
            &["--collector.ipvs.backend-labels=proto,,local_port"],
            expect![[r##"
            # HELP node_ipvs_backend_connections_active The current active connections by local and remote address.
            # TYPE node_ipvs_backend_connections_active gauge
            node_ipvs_backend_connections_active{local_port="0",proto="FWM"} 7
            node_ipvs_backend_connections_active{local_port="2905",proto="SCTP"} 3
            node_ipvs_backend_connections_active{local_port="443",proto="TCP"} 95
            node_ipvs_backend_connections_active{local_port="53",proto="UDP"} 0
            # HELP node_ipvs_backend_connections_inactive The current inactive connections by local and remote address.
            # TYPE node_ipvs_backend_connections_inactive gauge
            node_ipvs_backend_connections_inactive{local_port="0",proto="FWM"} 2
            node_ipvs_backend_connections_inactive{local_port="2905",proto="SCTP"} 0
            node_ipvs_backend_connections_inactive{local_port="443",proto="TCP"} 14
            node_ipvs_backend_connections_inactive{local_port="53",proto="UDP"} 212
            # HELP node_ipvs_backend_weight The current backend weight by local and remote address.
            # TYPE node_ipvs_backend_weight gauge
            node_ipvs_backend_weight{local_port="0",proto="FWM"} 100
            node_ipvs_backend_weight{local_port="2905",proto="SCTP"} 1
            node_ipvs_backend_weight{local_port="443",proto="TCP"} 5
            node_ipvs_backend_weight{local_port="53",proto="UDP"} 1
            # HELP node_ipvs_connections_total The total number of connections made.
            # TYPE node_ipvs_connections_total counter
            node_ipvs_connections_total 244140
            # HELP node_ipvs_incoming_bytes_total The total amount of incoming data.
            # TYPE node_ipvs_incoming_bytes_total counter
            node_ipvs_incoming_bytes_total 3.2768019515e+10
            # HELP node_ipvs_incoming_packets_total The total number of incoming packets.
            # TYPE node_ipvs_incoming_packets_total counter
            node_ipvs_incoming_packets_total 3.0720171e+07
            # HELP node_ipvs_outgoing_bytes_total The total amount of outgoing data.
            # TYPE node_ipvs_outgoing_bytes_total counter
            node_ipvs_outgoing_bytes_total 9.999999999e+09
            # HELP node_ipvs_outgoing_packets_total The total number of outgoing packets.
            # TYPE node_ipvs_outgoing_packets_total counter
            node_ipvs_outgoing_packets_total 1.600001e+07
        "##]],
        );
    }

    #[test]
    fn labels_must_be_known() {
        assert_eq!(wanted("").unwrap(), [false; 6]);
        assert_eq!(wanted("proto,proto").unwrap(), [false, false, false, true, false, false]);
        assert_eq!(
            wanted("port,proto,address,port").unwrap_err().to_string(),
            "unknown IPVS backend labels: \"address, port\""
        );
    }

    #[test]
    fn addresses_are_hexadecimal_or_in_brackets() {
        assert_eq!(address("C0A80016:0CEA"), Ok(([192, 168, 0, 22].into(), 3306)));
        let ipv6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let text = "[2001:0db8:0000:0000:0000:0000:0000:0001]:01BB";
        assert_eq!(address(text), Ok((ipv6.into(), 443)));
        for text in ["", "C0A80016", "C0A8001600:0CEA", "[::x]:0CEA", "C0A80016:10000"] {
            assert_eq!(address(text).unwrap_err().what, "address", "{text}");
        }
        assert_eq!(malformed(address("C0A80016:x")), "bad port: \"x\"");
    }

    #[test]
    fn refuses_what_is_cut_short_or_no_number() {
        assert_eq!(malformed(totals("a\nb\n")), "bad third line: \"\"");
        assert_eq!(malformed(totals("a\nb\n1 2 3 4\n")), "bad total: \"\"");
        assert_eq!(malformed(totals("a\nb\n1 2 3 4 5 6")), "bad third line: \"1 2 3 4 5 6\"");
        let parse = |line: &str| each(&format!("a\nb\nc\n{line}"), |_| ());
        assert_eq!(parse("\n"), Ok(()));
        assert_eq!(malformed(parse("TCP")), "bad local address: \"\"");
        assert_eq!(malformed(parse("FWM")), "bad firewall mark: \"\"");
        assert_eq!(malformed(parse("  -> C0A80016:0CEA Masq")), "bad weight: \"\"");
        assert_eq!(
            malformed(parse("  -> C0A80016:0CEA Masq 1 x 2")),
            "bad active connections: \"x\""
        );
    }

    #[test]
    fn without_ipvs_there_is_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
        let machine = Machine::new().with("proc/net/ip_vs_stats", "a\nb\n1 2 3 4 5\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("node_ipvs_connections_total 1\n"), "{text}");
        assert!(result.unwrap_err().is_absent());
    }
}
