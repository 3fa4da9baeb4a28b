//! TCP sockets by state and the bytes in their queues, over netlink (`NETLINK_SOCK_DIAG`).
//!
//! The kernel dumps every socket of both families (`inet_diag_dump_icsk()` in
//! `net/ipv4/inet_diag.c`), 30 KiB at a time: a million of them take time, but no memory. As
//! upstream, the queues of listeners are counted among the bytes, though their numbers are
//! connections: those waiting to be accepted, and the most that may wait.

use crate::{
    host::netlink::{InetSocket, InetTable, Protocol, Socket, Step},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "tcpstat",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |_, _| Ok(Box::new(TcpStat(Socket::new(Protocol::SockDiag)))),
};

static CONNECTIONS: Metric<1> =
    gauge("node_tcp_connection_states", "Number of connection states.").by(["state"]);

/// The names of the states by number: `TCP_…` of `include/net/tcp_states.h`. The first name stands
/// for every other number.
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

struct TcpStat(Socket);

impl Collector for TcpStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut sum = Sum::default();
        self.0.inet_sockets(InetTable::Tcp, |step| match step {
            Step::Start => sum = Sum::default(),
            Step::Item(socket) => sum.add(socket),
        })?;
        sum.put(out);
        Ok(())
    }
}

#[derive(Default)]
struct Sum {
    states: [u64; STATES.len()],
    rx: u64,
    tx: u64,
}

impl Sum {
    fn add(&mut self, socket: InetSocket) {
        let place = usize::from(socket.state);
        let place = if place < STATES.len() { place } else { 0 };
        if let Some(state) = self.states.get_mut(place) {
            *state += 1;
        }
        self.rx += u64::from(socket.receive_queue);
        self.tx += u64::from(socket.send_queue);
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
            |state, receive_queue, send_queue| InetSocket { state, receive_queue, send_queue };
        let mut sum = Sum::default();
        for socket in [socket(1, 5, 7), socket(10, 1, 4096), socket(1, u32::MAX, 0)] {
            sum.add(socket);
        }
        for socket in [socket(1, 0, u32::MAX), socket(11, 0, 0), socket(0, 0, 0), socket(255, 0, 0)]
        {
            sum.add(socket);
        }
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
