//! IP Virtual Server: totals from `/proc/net/ip_vs_stats`, backends from `/proc/net/ip_vs`.
//!
//! The second file (`ip_vs_info_seq_show()` in `net/netfilter/ipvs/ip_vs_ctl.c`) has a line for
//! each virtual service, by address or by firewall mark, and below it one for each of its real
//! servers. Where the flag selects fewer labels, real servers that share the selected labels are
//! added up.

use crate::{
    exposition::Kind,
    parse::{hex, number, rows_after},
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
            stats: host.net.file("ip_vs_stats"),
            table: host.net.file("ip_vs"),
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

/// The totals, in the order of the file.
const TOTALS: [&Metric; 5] =
    [&CONNECTIONS, &INCOMING_PACKETS, &OUTGOING_PACKETS, &INCOMING_BYTES, &OUTGOING_BYTES];

/// The metrics of a backend, in the order of [`Sum`].
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

/// Ends a label's value in a key, and sorts before all characters of values.
const END: char = '\0';

/// For each of [`NAMES`], whether `--collector.ipvs.backend-labels` selects it.
type Wanted = [bool; NAMES.len()];

/// Active and inactive connections, and weight; NaN where the value of one of the backends that
/// are added up is malformed: a sum without it would be wrong.
type Sum = [f64; BACKEND.len()];

struct Ipvs {
    stats: File,
    table: File,
    wanted: Wanted,
    /// Room for the selected labels of one backend.
    key: String,
    /// The sums by the values of the selected labels; `None` for values that no backend has at this
    /// scrape.
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
        let mut faults = Faults::default();
        let read = stats.parse(|text| totals(text, |metric, value| out.put(metric, [], value)));
        if read.as_ref().is_err_and(Error::is_absent) && !table.exists() {
            return Err(Error::NoData);
        }
        faults.keep(read);
        for sum in sums.values_mut() {
            *sum = None;
        }
        faults.keep(table.parse(|text| {
            each(text, |backend| {
                backend.write(*wanted, key);
                if !sums.contains_key(key.as_str()) {
                    sums.insert(key.as_str().into(), None);
                }
                if let Some(sum) = sums.get_mut(key.as_str()) {
                    let sum = sum.get_or_insert_default();
                    for (sum, value) in sum.iter_mut().zip(backend.values) {
                        *sum += value;
                    }
                }
            })
        }));
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
                let value = sum.and_then(|sum| sum.get(i).copied());
                if let Some(value) = value.filter(|value| !value.is_nan()) {
                    family.sample(labels.get(..n).unwrap_or_default(), value);
                }
            }
        }
        faults.end()
    }
}

/// Gives `put` the totals since the module was loaded, which are on the third line.
fn totals(text: &str, mut put: impl FnMut(&'static Metric, f64)) -> Result<(), Malformed> {
    const LINE: usize = 3;
    let mut faults = Faults::default();
    let line = text.lines().nth(LINE - 1).unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    for metric in TOTALS {
        let total = words.hexadecimal("total").map_err(|error| error.in_line(LINE));
        if let Some(total) = faults.keep(total) {
            put(metric, total);
        }
    }
    faults.end()
}

/// A virtual service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Service<'a> {
    /// `TCP`, `UDP`, `SCTP`; `FWM` for a service by firewall mark.
    protocol: &'a str,
    mark: &'a str,
    address: Option<(IpAddr, u16)>,
}

/// One of the real servers of a virtual service.
#[derive(Debug, PartialEq)]
struct Backend<'a> {
    service: Service<'a>,
    remote: (IpAddr, u16),
    values: Sum,
}

impl Backend<'_> {
    /// Writes the selected labels into `key`, in the order of [`NAMES`].
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
    /// Three lines of titles come first; the third begins as a backend's line does.
    const HEAD: usize = 3;
    let mut service = None;
    rows_after(HEAD, text, |line| {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            None => service = None,
            Some("->") => {
                // Backends below a service that cannot be read are left out.
                let Some(service) = service else { return Ok(()) };
                let remote = address(words.word("remote address")?)?;
                words.word("forwarding method")?;
                let mut faults = Faults::default();
                let [weight, active, inactive] =
                    ["weight", "active connections", "inactive connections"]
                        .map(|what| faults.keep(words.decimal(what)).unwrap_or(f64::NAN));
                backend(&Backend { service, remote, values: [active, inactive, weight] });
                return faults.end();
            }
            Some("FWM") => {
                service = None;
                let mark = words.word("firewall mark")?;
                service = Some(Service { protocol: "FWM", mark, address: None });
            }
            Some(protocol) if words.clone().any(|word| word.contains(':')) => {
                service = None;
                let address = Some(address(words.word("local address")?)?);
                service = Some(Service { protocol, mark: "", address });
            }
            Some(other) => return Err(Malformed::new("service", other)),
        }
        Ok(())
    })
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
    use crate::testing::{Machine, check, expect, malformed, sample_lines};

    #[test]
    fn backends_with_the_same_labels_are_added_up() {
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
    fn truncated_lines_and_malformed_numbers_are_refused() {
        let totals = |text| {
            let mut seen = Vec::new();
            let result = totals(text, |_, total| seen.push(total));
            (seen, result.map_err(|error| error.to_string()))
        };
        assert_eq!(totals("a\nb\n"), (vec![], Err("bad total: \"\"".into())));
        let text = "a\nb\n1 x 3 -4 fffffffffffffffff 6";
        let seen = vec![1.0, 3.0, -4.0, 2_f64.powi(68)];
        assert_eq!(totals(text), (seen, Err("bad total: \"x\"".into())));
        let parse = |line: &str| each(&format!("a\nb\nc\n{line}"), |_| ());
        assert_eq!(parse("\n"), Ok(()));
        assert_eq!(malformed(parse("TCP")), "bad service: \"TCP\"");
        assert_eq!(malformed(parse("FWM")), "bad firewall mark: \"\"");
        let service = "FWM 0000002A rr\n";
        let parse = |line: &str| parse(&format!("{service}{line}"));
        assert_eq!(malformed(parse("  -> C0A80016:0CEA Masq")), "bad weight: \"\"");
        assert_eq!(
            malformed(parse("  -> C0A80016:0CEA Masq 1 x 2")),
            "bad active connections: \"x\""
        );
    }

    #[test]
    fn a_service_backend_or_value_that_is_malformed_hides_no_other() {
        let table = "a\nb\nc\n\
            TCP  C0A80001:x rr\n  -> C0A80002:0050 Masq 1 1 1\n\
            UDP  C0A80001:0035 rr\n  -> C0A80003:0035 Masq -1 x 3\n  -> C0A80004:0035 Masq 1 2 3\n\
            novel 7\n  -> C0A80005 Masq 1 2 3\n";
        let machine = Machine::new()
            .with("proc/net/ip_vs_stats", "a\nb\n1 2 3 4 x\n")
            .with("proc/net/ip_vs", table);
        let args = ["--collector.ipvs.backend-labels=proto,remote_address"];
        let (text, result) = machine.collect(&SPEC, &args);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("net/ip_vs_stats:3: bad total: \"x\""), "{error}");
        expect![[r#"
            node_ipvs_backend_connections_active{proto="UDP",remote_address="192.168.0.4"} 2
            node_ipvs_backend_connections_inactive{proto="UDP",remote_address="192.168.0.3"} 3
            node_ipvs_backend_connections_inactive{proto="UDP",remote_address="192.168.0.4"} 3
            node_ipvs_backend_weight{proto="UDP",remote_address="192.168.0.3"} -1
            node_ipvs_backend_weight{proto="UDP",remote_address="192.168.0.4"} 1
            node_ipvs_connections_total 1
            node_ipvs_incoming_bytes_total 4
            node_ipvs_incoming_packets_total 2
            node_ipvs_outgoing_packets_total 3
        "#]]
        .assert_eq(&sample_lines(&text).flat_map(|line| [line, "\n"]).collect::<String>());

        let (text, _) = machine.collect(&SPEC, &["--collector.ipvs.backend-labels=proto"]);
        assert!(!text.contains("connections_active{"), "a sum without a part would be wrong");
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
