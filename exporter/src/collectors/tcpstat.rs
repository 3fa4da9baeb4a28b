//! TCP sockets by state and the bytes in their queues, over netlink (`NETLINK_SOCK_DIAG`).
//!
//! The kernel dumps every socket (`inet_sk_diag_fill()` in `net/ipv4/inet_diag.c`), 30 KiB at a
//! time: a million of them take time, but no memory. IPv6 is asked where `/proc/net/tcp6` is. The
//! queues of listeners are counted among the bytes as they are upstream, though theirs are
//! connections: those that wait to be accepted, and how many may.

use crate::{
    host::netlink::{Protocol, Socket, Step, TcpSocket},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "tcpstat",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(TcpStat {
            socket: Socket::new(Protocol::SockDiag),
            ipv6: host.proc.file("net/tcp6"),
        }))
    },
};

static CONNECTIONS: Metric<1> =
    gauge("node_tcp_connection_states", "Number of connection states.").by(["state"]);

/// By number: `TCP_…` of `include/net/tcp_states.h`. The first is for numbers without a name.
const STATES: [&str; 12] = [
    "unknown",
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// A bit for each.
const WANTED: u32 = 0xfff;

/// `AF_INET`, `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];

struct TcpStat {
    socket: Socket,
    ipv6: File,
}

impl Collector for TcpStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let [ipv4, ipv6] = FAMILIES;
        let mut sum = count(&mut self.socket, ipv4)?;
        if self.ipv6.exists() {
            sum.join(&count(&mut self.socket, ipv6)?);
        }
        sum.put(out);
        Ok(())
    }
}

fn count(socket: &mut Socket, family: u8) -> Result<Sum> {
    let mut sum = Sum::default();
    socket.tcp_sockets(family, WANTED, |step| match step {
        Step::Start => sum = Sum::default(),
        Step::Item(socket) => sum.add(socket),
    })?;
    Ok(sum)
}

#[derive(Default)]
struct Sum {
    states: [u64; STATES.len()],
    rx: u64,
    tx: u64,
}

impl Sum {
    fn add(&mut self, socket: TcpSocket) {
        let place = usize::from(socket.state);
        let place = if place < STATES.len() { place } else { 0 };
        if let Some(state) = self.states.get_mut(place) {
            *state += 1;
        }
        self.rx += u64::from(socket.receive_queue);
        self.tx += u64::from(socket.send_queue);
    }

    fn join(&mut self, other: &Self) {
        for (state, other) in self.states.iter_mut().zip(other.states) {
            *state += other;
        }
        self.rx += other.rx;
        self.tx += other.tx;
    }

    fn put(&self, out: &mut Sink) {
        let mut any = false;
        for (name, &n) in STATES.iter().zip(&self.states).filter(|&(_, &n)| n > 0) {
            out.put(&CONNECTIONS, [name], n);
            any = true;
        }
        if any {
            out.put(&CONNECTIONS, [&"rx_queued_bytes"], self.rx);
            out.put(&CONNECTIONS, [&"tx_queued_bytes"], self.tx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{expect, exposed};

    #[test]
    fn states_that_have_no_socket_are_left_out() {
        let socket =
            |state, receive_queue, send_queue| TcpSocket { state, receive_queue, send_queue };
        let mut sum = Sum::default();
        for socket in [socket(1, 5, 7), socket(10, 1, 4096), socket(1, u32::MAX, 0)] {
            sum.add(socket);
        }
        let mut ipv6 = Sum::default();
        for socket in [socket(1, 0, u32::MAX), socket(11, 0, 0), socket(0, 0, 0), socket(255, 0, 0)]
        {
            ipv6.add(socket);
        }
        sum.join(&ipv6);
        assert_eq!(exposed(|out| Sum::default().put(out)), "");
        expect![[r#"
            # HELP node_tcp_connection_states Number of connection states.
            # TYPE node_tcp_connection_states gauge
            node_tcp_connection_states{state="closing"} 1
            node_tcp_connection_states{state="established"} 3
            node_tcp_connection_states{state="listen"} 1
            node_tcp_connection_states{state="rx_queued_bytes"} 4.294967301e+09
            node_tcp_connection_states{state="tx_queued_bytes"} 4.294971398e+09
            node_tcp_connection_states{state="unknown"} 2
        "#]]
        .assert_eq(&exposed(|out| sum.put(out)));
    }
}
