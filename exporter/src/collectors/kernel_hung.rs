//! Tasks that were found hung, from `/proc/sys/kernel/hung_task_detect_count`.
//!
//! One number (`kernel/hung_task.c`), there since Linux 6.13 with `CONFIG_DETECT_HUNG_TASK`.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "kernel_hung",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(KernelHung(host.proc.single_file("sys/kernel/hung_task_detect_count"))))
    },
};

static TASKS: Metric = counter(
    "node_kernel_hung_tasks_total",
    "Total number of tasks that have been detected as hung since the system booted.",
);

struct KernelHung(SingleFile);

impl Collector for KernelHung {
    fn collect(&mut self, out: &mut Sink) -> Result {
        out.put(&TASKS, [], self.0.number::<u64>().or_no_data()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn a_kernel_without_the_count_has_no_data() {
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
        let machine = Machine::new().with("proc/sys/kernel/hung_task_detect_count", "-1\n");
        let error = machine.collect(&SPEC, &[]).1.unwrap_err().to_string();
        assert!(error.ends_with("/hung_task_detect_count: bad number: \"-1\""), "{error}");
    }
}
