//! Name, version and end of support of the system, from `/etc/os-release` or, where that file does
//! not exist, `/usr/lib/os-release`, below `--path.rootfs`.
//!
//! The file has assignments in the syntax of a shell (os-release(5)). An update replaces the file,
//! so it is opened at each scrape.

mod release;

use crate::prelude::*;
use release::Release;

pub const SPEC: Spec = Spec {
    name: "os",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Os(["etc/os-release", "usr/lib/os-release"].map(|path| host.root.file(path)))))
    },
};

static INFO: Metric<12> = gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, pretty_name, variant, variant_id, version, version_codename, version_id.",
)
.by([
    "build_id",
    "id",
    "id_like",
    "image_id",
    "image_version",
    "name",
    "pretty_name",
    "variant",
    "variant_id",
    "version",
    "version_codename",
    "version_id",
]);
static VERSION: Metric<3> =
    gauge("node_os_version", "Metric containing the major.minor part of the OS version.")
        .by(["id", "id_like", "name"]);
static SUPPORT_END: Metric = gauge(
    "node_os_support_end_timestamp_seconds",
    "Metric containing the end-of-life date timestamp of the OS.",
);

struct Os([File; 2]);

impl Collector for Os {
    fn collect(&mut self, out: &mut Sink) -> Result {
        for file in &mut self.0 {
            let read = file.parse(|text| {
                let mut release = Release::default();
                let parsed = release.parse(text);
                parsed.and(put(&release, out))
            });
            if let Some(()) = read.unless_absent()? {
                return Ok(());
            }
        }
        Err(Error::NoData)
    }
}

fn put(release: &Release<'_>, out: &mut Sink) -> Result<(), Malformed> {
    out.put(
        &INFO,
        [
            &release.build_id,
            &release.id,
            &release.id_like,
            &release.image_id,
            &release.image_version,
            &release.name,
            &release.pretty_name,
            &release.variant,
            &release.variant_id,
            &release.version,
            &release.version_codename,
            &release.version_id,
        ],
        true,
    );
    let version = release.major_minor();
    if version > 0.0 {
        out.put(&VERSION, [&release.id, &release.id_like, &release.name], version);
    }
    if let Some(seconds) = release.support_end()? {
        out.put(&SUPPORT_END, [], seconds);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn the_copy_below_usr_serves_where_etc_has_none() {
        let machine = Machine::new().with("root/usr/lib/os-release", "ID=a\n");
        assert!(machine.collect(&SPEC, &[]).0.contains(",id=\"a\","));
        let machine = machine.with("root/etc/os-release", "ID=b\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        assert!(text.contains(",id=\"b\",") && !text.contains("node_os_version"), "{text}");
        let machine = machine.with("root/etc/os-release", "ID\n");
        let error = machine.collect(&SPEC, &[]).1.unwrap_err().to_string();
        assert!(error.ends_with("root/etc/os-release:1: bad assignment: \"ID\""), "{error}");
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }

    #[test]
    fn a_line_that_is_wrong_costs_itself_alone() {
        let machine = Machine::new().with(
            "root/etc/os-release",
            "ID=a\nNAME=\"b\n=c\nnovel 7\nSUPPORT_END=2027-1-1\nVERSION_ID=9\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains(",id=\"a\",") && text.contains(",name=\"\","), "{text}");
        assert!(text.ends_with("node_os_version{id=\"a\",id_like=\"\",name=\"\"} 9\n"), "{text}");
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("os-release:2: bad quote: \"\\\"b\""), "{error}");
        let machine = machine.with("root/etc/os-release", "ID=a\nSUPPORT_END=2027-1-1\n");
        let error = machine.collect(&SPEC, &[]).1.unwrap_err().to_string();
        assert!(error.ends_with("bad SUPPORT_END: \"2027-1-1\""), "{error}");
    }
}
