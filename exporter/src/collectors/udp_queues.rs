//! Bytes that wait in the queues of all UDP sockets, from `/proc/net/udp` and `/proc/net/udp6`.
//!
//! One line for each socket of the network namespace (`udp4_format_sock()` in
//! `net/ipv4/udp.c`). The fifth column has the bytes of both queues, hexadecimal: to be sent, a
//! colon, received and not yet read.

use crate::{parse::hexadecimal, prelude::*};

pub const SPEC: Spec = Spec {
    name: "udp_queues",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(UdpQueues {
            files: [("v4", host.proc.file("net/udp")), ("v6", host.proc.file("net/udp6"))],
        }))
    },
};

static QUEUES: Metric<2> = gauge(
    "node_udp_queues",
    "Number of allocated memory in the kernel for UDP datagrams in bytes.",
)
.by(["ip", "queue"]);

/// Lines of `net/udp6` (`__ip6_dgram_sock_seq_show()` in `net/ipv6/datagram.c`) have some 190
/// bytes, and no field that may be of any length.
const LONGEST: usize = 512;

struct UdpQueues {
    files: [(&'static str, File); 2],
}

impl Collector for UdpQueues {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let (mut faults, mut absent) = (Faults::default(), 0);
        for (ip, file) in &mut self.files {
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
                Ok(()) | Err(Error::Parse { .. }) => {
                    out.put(&QUEUES, [ip, &"rx"], sum.rx);
                    out.put(&QUEUES, [ip, &"tx"], sum.tx);
                }
                Err(_) => {}
            }
            faults.keep(read);
        }
        if absent == self.files.len() { Err(Error::NoData) } else { faults.end() }
    }
}

/// Bytes in the queues of all sockets that could be read.
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
    fn no_file_is_no_data_and_one_is_enough() {
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
