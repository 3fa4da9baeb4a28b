//! Merging of equal pages, from `/sys/kernel/mm/ksm`.
//!
//! Each file has one number (`mm/ksm.c`); the profit may be negative. The files depend on the
//! kernel: none exists without `CONFIG_KSM`, `merge_across_nodes` exists with `CONFIG_NUMA`,
//! `general_profit` since Linux 6.4.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "ksmd",
    enabled: false,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        let file = |name: &str| host.sys.file(&format!("kernel/mm/ksm/{name}"));
        Ok(Box::new(Ksmd {
            files: NUMBERS.each_ref().map(|(name, metric)| (file(name), metric)),
            sleep: file("sleep_millisecs"),
        }))
    },
};

static NUMBERS: [(&str, Metric); 9] = [
    (
        "full_scans",
        counter(
            "node_ksmd_full_scans_total",
            "How many times all mergeable areas have been scanned.",
        ),
    ),
    (
        "general_profit",
        gauge(
            "node_ksmd_general_profit_bytes",
            "How effective is KSM. ksm_saved_pages * sizeof(page) - (all_rmap_items) * sizeof(rmap_item)",
        ),
    ),
    (
        "merge_across_nodes",
        gauge(
            "node_ksmd_merge_across_nodes",
            "Specifies if pages from different NUMA nodes can be merged.",
        ),
    ),
    ("pages_shared", gauge("node_ksmd_pages_shared", "How many shared pages are being used.")),
    (
        "pages_sharing",
        gauge(
            "node_ksmd_pages_sharing",
            "How many more sites are sharing them i.e. how much saved.",
        ),
    ),
    (
        "pages_to_scan",
        gauge("node_ksmd_pages_to_scan", "How many pages to scan before ksmd goes to sleep."),
    ),
    (
        "pages_unshared",
        gauge(
            "node_ksmd_pages_unshared",
            "How many pages unique but repeatedly checked for merging.",
        ),
    ),
    (
        "pages_volatile",
        gauge(
            "node_ksmd_pages_volatile",
            "How many pages changing too fast to be placed in a tree.",
        ),
    ),
    ("run", gauge("node_ksmd_run", "The status of ksmd. stopped = 0, running = 1")),
];
static SLEEP: Metric =
    gauge("node_ksmd_sleep_seconds", "How many seconds ksmd should sleep before next scan.");

struct Ksmd {
    files: [(File, &'static Metric); NUMBERS.len()],
    sleep: File,
}

impl Collector for Ksmd {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        for (file, metric) in &mut self.files {
            if let Some(number) = faults.read(file.decimal().map(Some)) {
                out.put(metric, [], number);
            }
        }
        if let Some(milliseconds) = faults.read(self.sleep.decimal().map(Some)) {
            out.put(&SLEEP, [], milliseconds / 1000.0);
        }
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn files_that_the_kernel_lacks_or_refuses_are_left_out() {
        let (text, result) = Machine::new().collect(&SPEC, &[]);
        assert!(text.is_empty() && result.is_ok());
        let machine = Machine::new().with("sys/kernel/mm/ksm/general_profit", "-4096\n");
        assert!(
            machine.collect(&SPEC, &[]).0.ends_with("\nnode_ksmd_general_profit_bytes -4096\n")
        );
        let machine = machine.with("sys/kernel/mm/ksm/full_scans/a_directory", "");
        assert!(machine.collect(&SPEC, &[]).1.is_ok());
        let machine = machine.with("sys/kernel/mm/ksm/run", "x\n");
        let error = machine.collect(&SPEC, &[]).1.unwrap_err().to_string();
        assert!(error.ends_with("/ksm/run: bad number: \"x\""), "{error}");
    }
}
