//! Whether a sysfs shows the links that netlink tells of.
//!
//! A sysfs shows the interfaces of the network namespace of the process that mounted it, which may
//! be another than the collectors': the host's, seen from a container.

use std::collections::HashSet;

use super::{
    netlink::{Link, LinkDump},
    shared::Shared,
    tree::{Dir, Names, Tree},
};
use crate::exposition::Label as _;

/// How often sysfs and netlink are compared: a link may be renamed meanwhile.
const TRIES: usize = 5;

/// Whether the two agree; compared several times where they do not.
pub(super) fn shows(sys: &Tree, links: &Shared<LinkDump>) -> bool {
    (0..TRIES).any(|_| agree(links, sys).unwrap_or(false))
}

/// Compares sysfs with dumps taken before and after it is listed: a link in both dumps must be in
/// sysfs, and a link in sysfs must be in one of the dumps, or gone already. `None` where sysfs or a
/// dump cannot be read.
fn agree(links: &Shared<LinkDump>, sys: &Tree) -> Option<bool> {
    let folder = sys.folder("class/net");
    let before = links.get_anew().ok()?;
    let net = folder.dir().ok()??;
    let mut names = Names::default();
    let shown = net.list(&mut names).ok()?;
    let hidden: Vec<&Link> = before.iter().filter(|link| !is_shown(link, &net)).collect();
    let after = links.get_anew().ok()?;

    let stayed = |link: &Link| {
        let same = |now: &Link| now.name == link.name && now.address == link.address;
        after.get(link.index).is_some_and(same)
    };
    let told: HashSet<&[u8]> = before.iter().chain(after.iter()).map(|link| &*link.name).collect();
    let is_link = |name: &[u8]| matches!(net.entry(name).dir(), Ok(Some(_)));
    let all_shown = !hidden.into_iter().any(stayed);
    let all_told = shown
        .map(|entry| entry.bytes())
        .filter(|name| !told.contains(name))
        .all(|name| !is_link(name));
    Some(!before.is_empty() && all_shown && all_told)
}

fn is_shown(link: &Link, net: &Dir<'_>) -> bool {
    let Ok(Some(dir)) = net.entry(&link.name).dir() else { return false };
    let mut address = String::new();
    link.address.append(&mut address);
    matches!(dir.number::<u32>("ifindex"), Ok(Some(index)) if link.index == index)
        && matches!(dir.text("address"), Ok(Some(shown)) if *shown == *address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    /// A folder that shows this machine's links.
    fn mirror(links: &Shared<LinkDump>) -> Machine {
        links.get_anew().unwrap().iter().fold(Machine::new(), |machine, link| {
            let folder = format!("sys/class/net/{}", String::from_utf8_lossy(&link.name));
            let mut address = String::new();
            link.address.append(&mut address);
            machine
                .with(&format!("{folder}/ifindex"), format!("{}\n", link.index))
                .with(&format!("{folder}/address"), format!("{address}\n"))
        })
    }

    #[test]
    fn a_sysfs_with_the_same_links_is_own() {
        let links = Shared::new(LinkDump::default());
        let agree = |machine: &Machine| agree(&links, &Tree::new(machine.path().join("sys")));
        assert_eq!(agree(&Machine::new()), None);
        let machine = mirror(&links).with("sys/class/net/bonding_masters", "\n");
        assert_eq!(agree(&machine), Some(true));
        let machine = machine.with("sys/class/net/another0/ifindex", "4711\n");
        assert_eq!(agree(&machine), Some(false));
        let machine = mirror(&links).with("sys/class/net/lo/ifindex", "4711\n");
        assert_eq!(agree(&machine), Some(false));
        let machine = mirror(&links).with("sys/class/net/lo/address", "02:00:00:00:00:00\n");
        assert_eq!(agree(&machine), Some(false));
    }
}
