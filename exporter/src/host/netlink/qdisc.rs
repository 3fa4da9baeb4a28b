//! Queueing disciplines: `RTM_GETQDISC`, `struct tcmsg`.

use bytemuck::{Pod, Zeroable};
use libc::{RTM_GETQDISC, RTM_NEWQDISC};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, Attributes, BadMessage},
};

/// `struct tcmsg` of `include/uapi/linux/rtnetlink.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct TcMsg {
    family: u8,
    padding: [u8; 3],
    ifindex: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

// include/uapi/linux/rtnetlink.h
const TCA_KIND: u16 = 1;
const TCA_STATS2: u16 = 7;
// include/uapi/linux/gen_stats.h
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;

/// `TC_H_ROOT` of `include/uapi/linux/pkt_sched.h`.
const ROOT: u32 = u32::MAX;

/// `struct gnet_stats_basic` without its padding.
#[repr(C, packed)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Basic {
    bytes: u64,
    packets: u32,
}

/// `struct gnet_stats_queue`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Queue {
    length: u32,
    backlog: u32,
    drops: u32,
    requeues: u32,
    overlimits: u32,
}

/// A queueing discipline and its counters. A counter that the kernel does not send is 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Qdisc<'a> {
    /// Index of the interface.
    pub ifindex: u32,
    /// Whether it is the root, to which the interface hands its packets, and not a discipline below
    /// the root or one for incoming packets.
    pub is_root: bool,
    /// Its kind, such as `fq_codel`; not always UTF-8.
    pub kind: &'a [u8],
    /// Bytes that have been sent.
    pub bytes: u64,
    /// Packets that have been sent. In 32 bits before Linux 5.5.
    pub packets: u64,
    /// Packets that were dropped.
    pub drops: u32,
    /// Packets that the driver gave back.
    pub requeues: u32,
    /// Packets that came over a limit.
    pub overlimits: u32,
    /// Packets that wait.
    pub length: u32,
    /// Bytes that wait.
    pub backlog: u32,
}

impl<'a> Qdisc<'a> {
    /// Reads an `RTM_NEWQDISC` message.
    fn read(payload: &'a [u8]) -> Result<Self, BadMessage> {
        let (head, attributes) = wire::split::<TcMsg>(payload, "a qdisc is cut short")?;
        let mut qdisc = Self {
            ifindex: head.ifindex,
            is_root: head.parent == ROOT || head.parent == 0,
            ..Self::default()
        };
        for attribute in Attributes(attributes) {
            match attribute? {
                (TCA_KIND, value) => qdisc.kind = wire::text(value),
                (TCA_STATS2, value) => qdisc.read_counters(value)?,
                _ => {}
            }
        }
        Ok(qdisc)
    }

    fn read_counters(&mut self, nest: &[u8]) -> Result<(), BadMessage> {
        let mut wide = None;
        for attribute in Attributes(nest) {
            match attribute? {
                (TCA_STATS_BASIC, value) => {
                    let basic: Basic = wire::number(value, "a qdisc's counters are cut short")?;
                    (self.bytes, self.packets) = (basic.bytes, basic.packets.into());
                }
                (TCA_STATS_PKT64, value) => {
                    wide = Some(wire::number(value, "a qdisc's packets are cut short")?);
                }
                (TCA_STATS_QUEUE, value) => {
                    let queue: Queue = wire::number(value, "a qdisc's queue is cut short")?;
                    (self.length, self.backlog) = (queue.length, queue.backlog);
                    self.drops = queue.drops;
                    (self.requeues, self.overlimits) = (queue.requeues, queue.overlimits);
                }
                _ => {}
            }
        }
        self.packets = wide.unwrap_or(self.packets);
        Ok(())
    }
}

impl Socket {
    /// Gives `each` the queueing disciplines of all interfaces.
    ///
    /// # Errors
    /// The kernel refuses, or its answer is broken.
    pub fn qdiscs(&mut self, mut each: impl FnMut(Step<Qdisc<'_>>)) -> Result<(), Error> {
        let body = TcMsg::zeroed();
        let request = Request {
            name: "RTM_GETQDISC",
            kind: RTM_GETQDISC,
            flags: NLM_F_DUMP,
            answer: RTM_NEWQDISC,
            body: bytemuck::bytes_of(&body),
        };
        self.dump(&request, |step| {
            match step {
                Step::Start => each(Step::Start),
                Step::Item(payload) => each(Step::Item(Qdisc::read(payload)?)),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    fn message(parent: u32, nest: &[u8]) -> Vec<u8> {
        let mut bytes =
            bytemuck::bytes_of(&TcMsg { ifindex: 7, parent, ..TcMsg::zeroed() }).to_vec();
        bytes.extend(attribute(TCA_KIND, b"fq\0"));
        bytes.extend(attribute(TCA_STATS2, nest));
        bytes
    }

    #[test]
    fn counters_are_read_and_may_be_cut_anywhere() {
        let mut nest = attribute(
            TCA_STATS_BASIC,
            &[[1, 0, 0, 0, 0, 0, 0, 1].as_slice(), &[5, 0, 0, 0], &[0; 4]].concat(),
        );
        nest.extend(attribute(TCA_STATS_QUEUE, bytemuck::cast_slice(&[1_u32, 2, 3, 4, 5])));
        let bytes = message(ROOT, &nest);
        let want = Qdisc {
            ifindex: 7,
            is_root: true,
            kind: b"fq",
            bytes: 1 << 56 | 1,
            packets: 5,
            drops: 3,
            requeues: 4,
            overlimits: 5,
            length: 1,
            backlog: 2,
        };
        assert_eq!(Qdisc::read(&bytes), Ok(want.clone()));
        nest.extend(attribute(TCA_STATS_PKT64, &(1_u64 << 40).to_ne_bytes()));
        assert_eq!(Qdisc::read(&message(0, &nest)), Ok(Qdisc { packets: 1 << 40, ..want }));
        for length in 0..bytes.len() {
            let _ = Qdisc::read(&bytes[..length]);
        }
        assert!(Qdisc::read(&bytes[..19]).is_err());
        assert!(Qdisc::read(&message(0, &attribute(TCA_STATS_QUEUE, &[0; 19]))).is_err());
        assert!(!Qdisc::read(&message(0xffff_fff1, &[])).unwrap().is_root, "for incoming packets");
    }

    #[test]
    fn the_structures_have_the_kernels_layout() {
        assert_eq!((size_of::<TcMsg>(), size_of::<Basic>(), size_of::<Queue>()), (20, 12, 20));
    }
}
