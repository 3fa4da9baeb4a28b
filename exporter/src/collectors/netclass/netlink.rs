//! The attributes of sysfs at a fraction of their cost: from the dump of links that all collectors
//! share, a dump of the links' speeds, and the few files in [`Kept`].
//!
//! Each attribute is derived as net/core/net-sysfs.c derives the content of its file. Reading the
//! files instead would wait for the lock of the network configuration (RTNL) twice for each
//! interface: once for the speed, once for the duplex mode.

use std::cell::OnceCell;

use super::{
    Source, Wanted,
    kept::{Files, Kept, Rest},
    metrics::{
        IFF_ALLMULTI, IFF_DORMANT, IFF_LOWER_UP, IFF_PROMISC, IFF_RUNNING, IFF_UP, INFO, Numbers,
        OPERSTATES, admin_state,
    },
};
use crate::{
    exposition::Label,
    host::{
        Shared,
        netlink::{Ethtool, Link, LinkDump, Links, Mode},
    },
    prelude::*,
};

pub(super) struct Netlink {
    links: Shared<LinkDump>,
    ethtool: Ethtool,
    kept: Kept,
    /// Places of the interfaces, sorted by the labels of [`INFO`].
    by_address: Vec<usize>,
}

impl Netlink {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            links: host.links.clone(),
            ethtool: Ethtool::default(),
            kept: Kept::new(host),
            by_address: Vec::new(),
        }
    }

    /// Sorts by address first, since `address` is the first label.
    fn order(&mut self, links: &Links) {
        let Self { by_address, .. } = self;
        if by_address.len() != links.len() {
            by_address.clear();
            by_address.extend(0..links.len());
        }
        let key = |&place: &usize| {
            let link = links.nth(place)?;
            Some((link.address.bytes(), link.flags & IFF_UP, link.broadcast.bytes(), place))
        };
        by_address.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    }
}

impl Source for Netlink {
    fn collect(&mut self, wanted: &Wanted, out: &mut Sink) -> Result {
        let links = self.links.get(out.scrape())?;
        self.kept.refresh(&links, wanted);
        if let Err(error) = self.ethtool.refresh() {
            tracing::debug!(%error, "not all speeds over netlink");
        }
        self.order(&links);

        let Self { ethtool, kept, by_address, .. } = self;
        let rest = OnceCell::new();
        let shown = |link: &'_ Link| {
            let rest = || rest.get_or_init(|| kept.rest());
            Shown { mode: ethtool.get(link.index), complete: ethtool.is_complete(), rest }
        };
        for link in links.iter() {
            // An interface without files has vanished meanwhile, or is not wanted.
            if let Some(files) = kept.get(link.index) {
                shown(link).numbers(link, files, wanted).put(&link.name, out);
            }
        }
        for link in by_address.iter().filter_map(|&place| links.nth(place)) {
            if kept.get(link.index).is_some() {
                shown(link).put_info(link, out);
            }
        }
        Ok(())
    }
}

/// The sources of one interface's attributes beside the dump of links.
struct Shown<F> {
    mode: Option<Mode>,
    /// Whether the dump of modes is complete: then an interface missing in it has no mode.
    complete: bool,
    rest: F,
}

impl<'a, F: Fn() -> &'a Rest<'a>> Shown<F> {
    fn numbers(&self, link: &Link, files: Files, wanted: &Wanted) -> Numbers {
        let signed = |number: Option<u32>| number.map(|number| f64::from(number.cast_signed()));
        let running = link.flags & IFF_UP != 0;
        Numbers {
            up: operstate(link) == "up",
            address_assign_type: files.address_assign_type,
            carrier: link.carrier.filter(|_| running).map(f64::from),
            carrier_changes: signed(link.carrier_changes),
            carrier_downs: signed(link.carrier_downs),
            carrier_ups: signed(link.carrier_ups),
            device_id: files.device_id,
            dormant: running.then_some(f64::from(link.flags & IFF_DORMANT != 0)),
            flags: flags(link).or_else(|| (self.rest)().number(link, "flags")),
            group: signed(link.group),
            index: Some(link.index.into()),
            kind: Some(link.kind.into()),
            link: signed(Some(link.link.unwrap_or(link.index))),
            link_mode: link.mode.map(f64::from),
            mtu: signed(link.mtu),
            name_assign_type: files.name_assign_type,
            queue_length: link.queue_length.map(f64::from),
            speed: wanted.speed(match self.mode {
                _ if !running => None,
                Some(mode) => Some(mode.speed.into()),
                None if self.complete => None,
                None => (self.rest)().number(link, "speed"),
            }),
        }
    }

    fn put_info(&self, link: &Link, out: &mut Sink) {
        let file;
        let duplex = match self.mode {
            _ if link.flags & IFF_UP == 0 => "",
            Some(Mode { duplex: 0, .. }) => "half",
            Some(Mode { duplex: 1, .. }) => "full",
            Some(_) => "unknown",
            None if self.complete => "",
            None => {
                file = (self.rest)().text(link, "duplex");
                file.as_deref().unwrap_or_default()
            }
        };
        let admin = admin_state(Some(link.flags.into()));
        let (operstate, alias) = (operstate(link), link.alias.trim_ascii());
        let labels: [&dyn Label; 7] =
            [&link.address, &admin, &link.broadcast, &link.name, &duplex, &alias, &operstate];
        out.put(&INFO, labels, 1);
    }
}

fn operstate(link: &Link) -> &'static str {
    link.operstate.and_then(|state| OPERSTATES.get(usize::from(state))).copied().unwrap_or_default()
}

/// The flags as the file shows them. Netlink has `IFF_PROMISC` and `IFF_ALLMULTI` as the
/// administrator has set them, the file as they are in effect; unlike netlink, the file has no bits
/// for states. `None` on kernels before Linux 6.0, which do not tell the flags in effect.
fn flags(link: &Link) -> Option<f64> {
    const OTHERS: u32 = IFF_PROMISC | IFF_ALLMULTI | IFF_RUNNING | IFF_LOWER_UP | IFF_DORMANT;
    let is = |count: u32, flag: u32| if count > 0 { flag } else { 0 };
    let flags = link.flags & !OTHERS
        | is(link.promiscuity?, IFF_PROMISC)
        | is(link.all_multicast?, IFF_ALLMULTI);
    Some(flags.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, flags as flags_of, paths, samples};

    #[test]
    fn flags_are_those_of_the_file() {
        let link = |flags, promiscuity, all_multicast| Link {
            flags,
            promiscuity,
            all_multicast,
            ..Link::default()
        };
        assert_eq!(flags(&link(0x1_1043, Some(0), Some(0))), Some(f64::from(0x1003)));
        assert_eq!(flags(&link(0x3_1043, Some(2), Some(1))), Some(f64::from(0x1303)));
        assert_eq!(flags(&link(0x1_1343, Some(0), Some(0))), Some(f64::from(0x1003)));
        assert_eq!(flags(&link(0x1_1043, Some(0), None)), None);
    }

    #[test]
    fn operstates_beyond_the_known_have_no_name() {
        let link = |operstate| Link { operstate, ..Link::default() };
        assert_eq!(operstate(&link(Some(6))), "up");
        assert_eq!(operstate(&link(Some(7))), "");
        assert_eq!(operstate(&link(None)), "");
    }

    #[test]
    fn attributes_missing_in_netlink_are_read_from_files() {
        let machine = Machine::new()
            .with("sys/class/net/x/flags", "0x1203\n")
            .with("sys/class/net/x/speed", "-1\n")
            .with("sys/class/net/x/duplex", "half\n");
        let kept = Kept::new(&Host::new(&flags_of(&paths(machine.path()))));
        let (rest, wanted) = (kept.rest(), wanted());
        let shown = |complete| Shown { mode: None, complete, rest: || &rest };
        let link = |flags| Link { name: b"x".to_vec(), flags, ..Link::default() };
        let numbers = |complete, flags| {
            let numbers = shown(complete).numbers(&link(flags), Files::default(), &wanted);
            (numbers.flags, numbers.speed)
        };
        assert_eq!(numbers(false, IFF_UP), (Some(f64::from(0x1203)), Some(-1.0)));
        assert_eq!(numbers(true, IFF_UP), (Some(f64::from(0x1203)), None), "it has no speed");
        assert_eq!(numbers(false, 0).1, None, "it is down");
        let info = |complete, flags| samples(|out| shown(complete).put_info(&link(flags), out));
        assert!(info(false, IFF_UP).contains("duplex=\"half\""));
        assert!(info(true, IFF_UP).contains("duplex=\"\""));
        assert!(info(false, 0).contains("duplex=\"\""));
        let gone = Link { name: b"gone".to_vec(), flags: IFF_UP, ..Link::default() };
        assert_eq!(shown(false).numbers(&gone, Files::default(), &wanted).flags, None);
    }

    #[test]
    fn a_mode_is_exposed_while_the_interface_is_up() {
        let (kept, wanted) = (Kept::new(&Host::new(&flags_of(&[]))), wanted());
        let rest = kept.rest();
        let told = |flags, speed, duplex| {
            let link =
                Link { flags, promiscuity: Some(0), all_multicast: Some(0), ..Link::default() };
            let mode = Some(Mode { index: 0, speed, duplex });
            let shown = Shown { mode, complete: true, rest: || &rest };
            let info = samples(|out| shown.put_info(&link, out));
            let duplex =
                info.split("duplex=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
            (shown.numbers(&link, Files::default(), &wanted).speed, duplex)
        };
        assert_eq!(told(IFF_UP, 10_000, 1), (Some(10_000.0), "full".into()));
        assert_eq!(told(IFF_UP, 10, 0), (Some(10.0), "half".into()));
        assert_eq!(told(IFF_UP, -1, 255), (Some(-1.0), "unknown".into()));
        assert_eq!(told(0, 10_000, 1), (None, String::new()));
    }

    fn wanted() -> Wanted {
        Wanted {
            ignored: flags_of(&[]).get(&crate::collectors::netclass::IGNORED),
            invalid_speed: true,
        }
    }
}
