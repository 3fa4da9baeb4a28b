//! Counters of connection tracking: `IPCTNL_MSG_CT_GET_STATS_CPU`, `struct nfgenmsg`.

use bytemuck::{Pod, Zeroable};
use netlink_packet_core::NLM_F_DUMP;

use super::{
    Error, Request, Socket, Step,
    wire::{self, Attributes, BadMessage},
};

/// `IPCTNL_MSG_CT_GET_STATS_CPU` of `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, after
/// its subsystem, `NFNL_SUBSYS_CTNETLINK`: question and answers.
const GET_STATS_CPU: u16 = 0x0104;

/// `struct nfgenmsg` of `include/uapi/linux/netfilter/nfnetlink.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct NfGenMsg {
    family: u8,
    version: u8,
    resource: u16,
}

/// Counters of one processor: `CTA_STATS_…` of the first header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the kernel's names")]
pub struct ConntrackStats {
    pub found: u32,
    pub invalid: u32,
    pub ignore: u32,
    pub insert: u32,
    pub insert_failed: u32,
    pub drop: u32,
    pub early_drop: u32,
    pub search_restart: u32,
}

impl ConntrackStats {
    fn parse(payload: &[u8]) -> Result<Self, BadMessage> {
        let (_, attributes) = wire::split::<NfGenMsg>(payload, "counters are cut short")?;
        let mut stats = Self::default();
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            let counter = match kind {
                2 => &mut stats.found,
                4 => &mut stats.invalid,
                5 => &mut stats.ignore,
                8 => &mut stats.insert,
                9 => &mut stats.insert_failed,
                10 => &mut stats.drop,
                11 => &mut stats.early_drop,
                13 => &mut stats.search_restart,
                _ => continue,
            };
            *counter = u32::from_be(wire::number(value, "a counter is cut short")?);
        }
        Ok(stats)
    }
}

impl Socket {
    /// Gives `each` the counters of each processor; the kernel wants `CAP_NET_ADMIN`.
    pub fn conntrack_stats(
        &mut self,
        mut each: impl FnMut(Step<ConntrackStats>),
    ) -> Result<(), Error> {
        let body = NfGenMsg::zeroed();
        let request = Request {
            name: "IPCTNL_MSG_CT_GET_STATS_CPU",
            kind: GET_STATS_CPU,
            flags: NLM_F_DUMP,
            answer: GET_STATS_CPU,
            body: bytemuck::bytes_of(&body),
        };
        self.dump(&request, |step| {
            each(step.parse(ConntrackStats::parse)?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::wire::tests::attribute;

    #[test]
    fn counters_are_big_endian_and_may_be_cut_anywhere() {
        let mut bytes = bytemuck::bytes_of(&NfGenMsg::zeroed()).to_vec();
        for kind in 1..=15 {
            bytes.extend(attribute(kind, &u32::from(kind).to_be_bytes()));
        }
        let stats = ConntrackStats {
            found: 2,
            invalid: 4,
            ignore: 5,
            insert: 8,
            insert_failed: 9,
            drop: 10,
            early_drop: 11,
            search_restart: 13,
        };
        assert_eq!(ConntrackStats::parse(&bytes), Ok(stats));
        for length in 0..bytes.len() {
            let whole = length >= 4 && (length - 4) % 8 == 0;
            assert_eq!(ConntrackStats::parse(&bytes[..length]).is_ok(), whole, "{length}");
        }
        let short = [&[0; 4][..], &attribute(10, &[1, 2])].concat();
        assert_eq!(ConntrackStats::parse(&short), Err(BadMessage("a counter is cut short")));
    }
}
