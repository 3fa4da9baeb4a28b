//! TCP and UDP sockets: `TCPDIAG_GETSOCK`, `SOCK_DIAG_BY_FAMILY`, `struct inet_diag_msg`.

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, BadMessage},
};

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`: question and answers.
const BY_FAMILY: u16 = 20;

/// `TCPDIAG_GETSOCK` of `include/uapi/linux/inet_diag.h`, likewise.
const TCPDIAG_GETSOCK: u16 = 18;

/// `struct inet_diag_sockid` of `include/uapi/linux/inet_diag.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct SockId {
    ports: [u16; 2],
    addresses: [u32; 8],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req` of the same header. The kernel takes no notice of a family in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct RequestV1 {
    family: u8,
    source_length: u8,
    destination_length: u8,
    extensions: u8,
    id: SockId,
    states: u32,
    tables: u32,
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

/// A TCP or UDP socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InetSocket {
    /// `TCP_…` of `include/net/tcp_states.h`.
    pub state: u8,
    /// Bytes received and not yet read; of a TCP listener, connections not yet accepted.
    pub receive_queue: u32,
    /// TCP: bytes not yet acknowledged; of a listener, the most connections that may wait. UDP:
    /// memory of the datagrams that are being sent, in bytes.
    pub send_queue: u32,
}

impl InetSocket {
    fn parse(payload: &[u8]) -> Result<Self, BadMessage> {
        let (message, _) = wire::split::<Message>(payload, "a socket is cut short")?;
        let Message { state, receive_queue, send_queue, .. } = message;
        Ok(Self { state, receive_queue, send_queue })
    }
}

/// The sockets of a dump.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InetTable {
    /// TCP sockets of both families. The kernel walks its tables once for both, and once for each
    /// where a dump names a family.
    Tcp,
    /// UDP sockets of `AF_INET` or `AF_INET6`.
    Udp(u8),
}

/// A bit for each state of a socket.
const ALL_STATES: u32 = 0xfff;

impl Socket {
    /// Gives `each` the sockets of a table. Asks for no more than the kernel sends of every socket:
    /// no `struct tcp_info`, which costs the kernel a lock and four times the bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] with `ENOENT` where the kernel has no module for the protocol.
    pub fn inet_sockets(
        &mut self,
        table: InetTable,
        mut each: impl FnMut(Step<InetSocket>),
    ) -> Result<(), Error> {
        let one_pass = RequestV1 { states: ALL_STATES, ..RequestV1::zeroed() };
        let by_family = |family| RequestV2 {
            family,
            protocol: 17, // IPPROTO_UDP
            states: ALL_STATES,
            ..RequestV2::zeroed()
        };
        let request =
            |name, kind, body| Request { name, kind, flags: NLM_F_DUMP, answer: kind, body };
        let parse = |step: Step<&[u8]>| {
            each(step.parse(InetSocket::parse)?);
            Ok(())
        };
        match table {
            InetTable::Tcp => {
                let body = bytemuck::bytes_of(&one_pass);
                self.dump(&request("TCPDIAG_GETSOCK", TCPDIAG_GETSOCK, body), parse)
            }
            InetTable::Udp(family) => {
                let body = by_family(family);
                let body = bytemuck::bytes_of(&body);
                self.dump(&request("SOCK_DIAG_BY_FAMILY", BY_FAMILY, body), parse)
            }
        }
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
            assert!(InetSocket::parse(&bytes[..length]).is_err(), "{length}");
        }
        bytes.extend([0xff; 8]);
        let socket = InetSocket { state: 10, receive_queue: 3, send_queue: 128 };
        assert_eq!(InetSocket::parse(&bytes), Ok(socket));
    }

    #[test]
    fn the_request_has_the_kernels_layout() {
        assert_eq!((size_of::<RequestV1>(), size_of::<RequestV2>()), (60, 56));
        assert_eq!(std::mem::offset_of!(RequestV2, id), 8);
        assert_eq!(std::mem::offset_of!(Message, receive_queue), 56);
    }
}
