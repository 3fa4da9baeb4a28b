//! TCP sockets: `SOCK_DIAG_BY_FAMILY`, `struct inet_diag_msg`.

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, BadMessage},
};

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`: question and answers.
const BY_FAMILY: u16 = 20;

/// `struct inet_diag_sockid` of `include/uapi/linux/inet_diag.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct SockId {
    ports: [u16; 2],
    addresses: [u32; 8],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2` of the same header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct RequestV2 {
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    states: u32,
    id: SockId,
}

/// `struct inet_diag_msg` of the same header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Message {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: SockId,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    user: u32,
    inode: u32,
}

/// A TCP socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpSocket {
    /// `TCP_…` of `include/net/tcp_states.h`.
    pub state: u8,
    /// Bytes received and not yet read; of a listener, connections not yet accepted.
    pub receive_queue: u32,
    /// Bytes not yet acknowledged; of a listener, the most connections that may wait.
    pub send_queue: u32,
}

impl TcpSocket {
    fn parse(payload: &[u8]) -> Result<Self, BadMessage> {
        let (message, _) = wire::split::<Message>(payload, "a socket is cut short")?;
        let Message { state, receive_queue, send_queue, .. } = message;
        Ok(Self { state, receive_queue, send_queue })
    }
}

impl Socket {
    /// Gives `each` the TCP sockets of `family` (`AF_INET` or `AF_INET6`) that are in one of
    /// `states`, a bit for each. Nothing beyond the fixed structure is asked for: no
    /// `struct tcp_info`, which costs the kernel a lock and four times the bytes.
    pub fn tcp_sockets(
        &mut self,
        family: u8,
        states: u32,
        mut each: impl FnMut(Step<TcpSocket>),
    ) -> Result<(), Error> {
        let protocol = 6; // IPPROTO_TCP
        let body = RequestV2 { family, protocol, states, ..RequestV2::zeroed() };
        let request = Request {
            name: "SOCK_DIAG_BY_FAMILY",
            kind: BY_FAMILY,
            flags: NLM_F_DUMP,
            answer: BY_FAMILY,
            body: bytemuck::bytes_of(&body),
        };
        self.dump(&request, |step| {
            each(step.parse(TcpSocket::parse)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_and_may_be_cut_anywhere() {
        let message = Message { state: 10, receive_queue: 3, send_queue: 128, ..Message::zeroed() };
        let mut bytes = bytemuck::bytes_of(&message).to_vec();
        assert_eq!(bytes.len(), 72);
        for length in 0..bytes.len() {
            assert!(TcpSocket::parse(&bytes[..length]).is_err(), "{length}");
        }
        bytes.extend([0xff; 8]);
        let socket = TcpSocket { state: 10, receive_queue: 3, send_queue: 128 };
        assert_eq!(TcpSocket::parse(&bytes), Ok(socket));
    }

    #[test]
    fn the_request_has_the_kernels_layout() {
        assert_eq!(size_of::<RequestV2>(), 56);
        assert_eq!(std::mem::offset_of!(RequestV2, id), 8);
        assert_eq!(std::mem::offset_of!(Message, receive_queue), 56);
    }
}
