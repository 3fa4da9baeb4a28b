//! Bytes that wait in the queues of all UDP sockets, over netlink (`NETLINK_SOCK_DIAG`), or from
//! `/proc/net/udp` and `/proc/net/udp6` where the kernel lacks the module `udp_diag`.
//!
//! The files have a line for each socket of the network namespace (`udp4_format_sock()` in
//! `net/ipv4/udp.c`). The fifth column has both queues, hexadecimal: bytes to be sent, a colon,
//! bytes received and not yet read. The kernel goes through the sockets anew for each page of a
//! file, so a file costs the square of the number of sockets; a dump does not.

use crate::{
    collector::Sources,
    host::netlink::{InetTable, Protocol, Socket, Step},
    parse::hexadecimal,
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "udp_queues",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        let mut sources: Vec<(_, Box<dyn Queues>)> = Vec::new();
        if host.is_running() {
            sources.push(("netlink", Box::new(Netlink::default())));
        }
        sources.push(("procfs", Box::new(Procfs)));
        Ok(Box::new(UdpQueues {
            families: FAMILIES.map(|(ip, family, path)| (ip, family, host.net.file(path))),
            sources: Sources::new(SPEC.name, sources),
        }))
    },
};

static QUEUES: Metric<2> = gauge(
    "node_udp_queues",
    "Number of allocated memory in the kernel for UDP datagrams in bytes.",
)
.by(["ip", "queue"]);

/// The value of the label `ip`; `AF_INET` or `AF_INET6`; the file, which is absent where the kernel
/// does not have the family.
const FAMILIES: [(&str, u8, &str); 2] = [("v4", 2, "udp"), ("v6", 10, "udp6")];

/// The most bytes of a line: lines of `net/udp6` (`__ip6_dgram_sock_seq_show()` in
/// `net/ipv6/datagram.c`) have some 190 bytes, and every field has a bounded length.
const LONGEST: usize = 512;

type Families = [(&'static str, u8, File); 2];

struct UdpQueues {
    families: Families,
    sources: Sources<dyn Queues>,
}

/// The bytes in the send and receive queues of each family; `None` where the kernel does not have
/// the family.
#[derive(Default)]
struct Sums([Option<Sum>; 2]);

/// A source of the sums.
trait Queues: Send {
    /// Fills in the sums; an error of one family leaves the other family's sum.
    fn sum(&mut self, families: &mut Families, sums: &mut Sums) -> Result;
}

impl Collector for UdpQueues {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { families, sources } = self;
        let mut sums = Sums::default();
        let result = sources.ask(out, |source, _| {
            sums = Sums::default();
            source.sum(families, &mut sums)
        });
        for ((ip, ..), sum) in families.iter().zip(sums.0) {
            let Some(Sum { tx, rx }) = sum else { continue };
            out.put(&QUEUES, [ip, &"rx"], rx);
            out.put(&QUEUES, [ip, &"tx"], tx);
        }
        result
    }
}

struct Netlink {
    socket: Socket,
    /// Whether the kernel lacks the module for UDP. Each request makes the kernel start a process
    /// to load the module, so only one request is made.
    has_no_module: bool,
    /// The families that the kernel has, and so keeps.
    present: [bool; 2],
}

impl Default for Netlink {
    fn default() -> Self {
        Self { socket: Socket::new(Protocol::SockDiag), has_no_module: false, present: [false; 2] }
    }
}

impl Queues for Netlink {
    fn sum(&mut self, families: &mut Families, sums: &mut Sums) -> Result {
        let Self { socket, has_no_module, present } = self;
        for (((_, family, file), sum), present) in families.iter().zip(&mut sums.0).zip(present) {
            *present = *present || file.exists();
            if *has_no_module || !*present {
                continue;
            }
            let mut queues = Sum::default();
            let dumped = socket.inet_sockets(InetTable::Udp(*family), |step| match step {
                Step::Start => queues = Sum::default(),
                Step::Item(socket) => {
                    queues.tx += f64::from(socket.send_queue);
                    queues.rx += f64::from(socket.receive_queue);
                }
            });
            if let Err(error) = dumped {
                *has_no_module = error.is_unknown();
                return Err(error.into());
            }
            *sum = Some(queues);
        }
        if sums.0.iter().all(Option::is_none) { Err(Error::NoData) } else { Ok(()) }
    }
}

struct Procfs;

impl Queues for Procfs {
    fn sum(&mut self, families: &mut Families, sums: &mut Sums) -> Result {
        let (mut faults, mut absent) = (Faults::default(), 0);
        for ((.., file), of_family) in families.iter_mut().zip(&mut sums.0) {
            let mut sum = Sum::default();
            let mut is_head = true;
            let read = file.lines(LONGEST, |line| {
                if std::mem::take(&mut is_head) { Ok(()) } else { sum.add(line) }
            });
            match &read {
                Err(error) if error.is_absent() => {
                    absent += 1;
                    continue;
                }
                Ok(()) | Err(Error::Parse { .. }) => *of_family = Some(sum),
                Err(_) => {}
            }
            faults.keep(read);
        }
        if absent == families.len() { Err(Error::NoData) } else { faults.end() }
    }
}

/// Bytes in the queues of all sockets whose lines could be read.
#[derive(Debug, Default, PartialEq)]
struct Sum {
    tx: f64,
    rx: f64,
}

impl Sum {
    fn add(&mut self, line: &str) -> Result<(), Malformed> {
        let Self { tx, rx } = self;
        let queues = line.split_ascii_whitespace().nth(4);
        let queues = queues.ok_or_else(|| Malformed::new("line", line))?;
        let queues = queues.split_once(':').ok_or_else(|| Malformed::new("queues", queues))?;
        let mut faults = Faults::default();
        *tx += faults.keep(hexadecimal("tx_queue", queues.0)).unwrap_or_default();
        *rx += faults.keep(hexadecimal("rx_queue", queues.1)).unwrap_or_default();
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn only_the_queues_are_read() {
        let mut sum = Sum::default();
        assert_eq!(sum.add("1: a b 07 0000000F:00000010"), Ok(()));
        assert_eq!(malformed(sum.add("1: a b 07")), "bad line: \"1: a b 07\"");
        assert_eq!(malformed(sum.add("1: a b 07 F")), "bad queues: \"F\"");
        assert_eq!(malformed(sum.add("1: a b 07 x:1")), "bad tx_queue: \"x\"");
        assert_eq!(malformed(sum.add("1: a b 07 1:")), "bad rx_queue: \"\"");
        assert_eq!(sum, Sum { tx: 16.0, rx: 17.0 });
    }

    #[test]
    fn without_both_files_there_is_no_data() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && matches!(result, Err(Error::NoData)));
        let (text, result) = Machine::new().with("proc/net/udp6", "head\n").collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.ends_with("\nnode_udp_queues{ip=\"v6\",queue=\"tx\"} 0\n"), "{text}");
    }

    #[test]
    fn a_broken_line_hides_no_other() {
        let machine = Machine::new()
            .with("proc/net/udp", "head\nx\n1: a b 07 0000000F:00000010\n")
            .with("proc/net/udp6", "head\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("{ip=\"v4\",queue=\"rx\"} 16\n"), "{text}");
        assert!(text.contains("ip=\"v6\""), "{text}");
        assert!(result.unwrap_err().to_string().ends_with("net/udp:2: bad line: \"x\""));
    }
}
