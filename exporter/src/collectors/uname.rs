//! Names of the kernel and of the machine, from uname(2).
//!
//! The nodename and the domainname are the bytes that were set by `sethostname()` and
//! `setdomainname()`, UTF-8 or not.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "uname",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |_, _| Ok(Box::new(Uname)),
};

static INFO: Metric<6> =
    gauge("node_uname_info", "Labeled system information as provided by the uname system call.")
        .by(["domainname", "machine", "nodename", "release", "sysname", "version"]);

struct Uname;

impl Collector for Uname {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let uname = rustix::system::uname();
        out.put(
            &INFO,
            [
                &uname.domainname().to_bytes(),
                &uname.machine().to_bytes(),
                &uname.nodename().to_bytes(),
                &uname.release().to_bytes(),
                &uname.sysname().to_bytes(),
                &uname.version().to_bytes(),
            ],
            1,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn the_running_kernel_is_named() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        result.unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert_eq!(lines[1], "# TYPE node_uname_info gauge");
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy();
        assert!(lines[2].starts_with("node_uname_info{domainname=\""), "{text}");
        assert!(lines[2].contains(&format!(",release=\"{release}\",sysname=\"Linux\",version=\"")));
        assert!(lines[2].ends_with("\"} 1"), "{text}");
    }
}
