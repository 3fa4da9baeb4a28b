//! Members of bonds, from `/sys/class/net/bonding_masters` and each bond's own folder.
//!
//! A member counts as active while its link is up (`mii_status`, see
//! `drivers/net/bonding/bond_sysfs_slave.c`), whether or not the bond sends over it. The folder of
//! a member is `lower_<name>`, on old kernels `slave_<name>`.

use crate::{host::tree::Dir, prelude::*};

pub const SPEC: Spec = Spec {
    name: "bonding",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Bonding {
            masters: host.sys.file("class/net/bonding_masters"),
            interfaces: host.sys.folder("class/net"),
            path: String::new(),
        }))
    },
};

static SLAVES: Metric<1> =
    gauge("node_bonding_slaves", "Number of configured slaves per bonding interface.")
        .by(["master"]);
static ACTIVE: Metric<1> =
    gauge("node_bonding_active", "Number of active slaves per bonding interface.").by(["master"]);

struct Bonding {
    masters: File,
    interfaces: Folder,
    /// Room for the path of a file.
    path: String,
}

impl Collector for Bonding {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { masters, interfaces, path } = self;
        let masters = masters.bytes().or_no_data()?; // no such module
        let masters = String::from_utf8_lossy(masters);
        let Some(interfaces) = interfaces.dir()? else { return Err(Error::NoData) };
        for master in masters.split_ascii_whitespace() {
            // A bond that has vanished meanwhile, or cannot be read, hides no other bond.
            let slaves = interfaces.text(join(path, &[master, "/bonding/slaves"]));
            let Some(slaves) = there(slaves) else { continue };
            let (mut configured, mut active) = (0, 0);
            for slave in slaves.split_ascii_whitespace() {
                let Some(up) = is_up(&interfaces, master, slave, path) else { continue };
                configured += 1;
                active += u64::from(up);
            }
            out.put(&SLAVES, [&master], configured);
            out.put(&ACTIVE, [&master], active);
        }
        Ok(())
    }
}

/// Whether the member's link is up; `None` where it has left the bond.
fn is_up(interfaces: &Dir<'_>, master: &str, slave: &str, path: &mut String) -> Option<bool> {
    ["/lower_", "/slave_"].iter().find_map(|prefix| {
        let path = join(path, &[master, prefix, slave, "/bonding_slave/mii_status"]);
        there(interfaces.text(path)).map(|status| *status == *"up")
    })
}

fn join<'a>(path: &'a mut String, parts: &[&str]) -> &'a str {
    path.clear();
    path.extend(parts.iter().copied());
    path
}

fn there<T>(read: Result<Option<T>>) -> Option<T> {
    read.unwrap_or_else(|error| {
        tracing::debug!(%error, "left out");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    fn exposed(machine: &Machine) -> Vec<String> {
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        sample_lines(&text).map(str::to_owned).collect()
    }

    #[test]
    fn older_kernels_name_members_otherwise_and_a_vanished_or_odd_bond_hides_no_other() {
        let machine = Machine::new()
            .with("sys/class/net/bonding_masters", b"bond1 gone b\xffnd bond0\n")
            .with("sys/class/net/bond0/bonding/slaves", "eth0 eth1 left\n")
            .with("sys/class/net/bond0/slave_eth0/bonding_slave/mii_status", "up\n")
            .with("sys/class/net/bond0/lower_eth1/bonding_slave/mii_status", "going back\n")
            .with("sys/class/net/bond1/bonding/slaves", "\n");
        assert_eq!(
            exposed(&machine),
            [
                r#"node_bonding_active{master="bond0"} 1"#,
                r#"node_bonding_active{master="bond1"} 0"#,
                r#"node_bonding_slaves{master="bond0"} 2"#,
                r#"node_bonding_slaves{master="bond1"} 0"#,
            ]
        );
    }

    #[test]
    fn without_bonds_nothing_is_exposed_and_without_the_module_no_data() {
        let machine = Machine::new();
        let (_, result) = machine.collect(&SPEC, &[]);
        assert!(matches!(result, Err(Error::NoData)));
        let machine = machine.with("sys/class/net/bonding_masters", "\n");
        assert_eq!(exposed(&machine), [""; 0]);
    }
}
