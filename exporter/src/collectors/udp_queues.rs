//! Bytes that wait in the queues of all UDP sockets, from `/proc/net/udp` and `/proc/net/udp6`.
//!
//! One line for each socket of the network namespace (`udp4_format_sock()` in
//! `net/ipv4/udp.c`). Its fifth column has both queues, hexadecimal: what is to be sent, a
//! colon, what was received and not yet read.

use crate::{parse::hex, prelude::*};

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
/// bytes, and no field without an end.
const LONGEST: usize = 512;

struct UdpQueues {
    files: [(&'static str, File); 2],
}

impl Collector for UdpQueues {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let (mut result, mut absent) = (Ok(()), 0);
        for (ip, file) in &mut self.files {
            match sum(file) {
                Ok((tx, rx)) => {
                    out.put(&QUEUES, [ip, &"rx"], rx);
                    out.put(&QUEUES, [ip, &"tx"], tx);
                }
                Err(error) if error.is_absent() => absent += 1,
                Err(error) => result = result.and(Err(error)),
            }
        }
        if absent == self.files.len() { Err(Error::NoData) } else { result }
    }
}

fn sum(file: &mut File) -> Result<(u64, u64)> {
    let (mut tx, mut rx, mut head) = (0_u64, 0_u64, true);
    file.lines(LONGEST, |line| {
        if !std::mem::take(&mut head) {
            let (t, r) = parse(line)?;
            (tx, rx) = (tx.wrapping_add(t), rx.wrapping_add(r));
        }
        Ok(())
    })?;
    Ok((tx, rx))
}

fn parse(line: &str) -> Result<(u64, u64), Malformed> {
    let queues = line.split_ascii_whitespace().nth(4);
    let queues = queues.ok_or_else(|| Malformed::new("line", line))?;
    let (tx, rx) = queues.split_once(':').ok_or_else(|| Malformed::new("queues", queues))?;
    Ok((hex("tx_queue", tx)?, hex("rx_queue", rx)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn only_the_queues_are_read() {
        assert_eq!(parse("1: a b 07 0000000F:00000010"), Ok((15, 16)));
        assert_eq!(malformed(parse("1: a b 07")), "bad line: \"1: a b 07\"");
        assert_eq!(malformed(parse("1: a b 07 F")), "bad queues: \"F\"");
        assert_eq!(malformed(parse("1: a b 07 x:1")), "bad tx_queue: \"x\"");
        assert_eq!(malformed(parse("1: a b 07 1:")), "bad rx_queue: \"\"");
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
    fn a_broken_file_does_not_hide_the_other() {
        let machine =
            Machine::new().with("proc/net/udp", "head\nx\n").with("proc/net/udp6", "head\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("ip=\"v6\"") && !text.contains("ip=\"v4\""), "{text}");
        assert!(result.unwrap_err().to_string().ends_with("net/udp: bad line: \"x\""));
    }
}
