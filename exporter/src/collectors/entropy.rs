//! The kernel's random pool, from `/proc/sys/kernel/random`.
//!
//! Each file has one number (`drivers/char/random.c`). Since Linux 5.18 both numbers are 256 once
//! the pool is initialized.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "entropy",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Entropy {
            available: host.proc.single_file("sys/kernel/random/entropy_avail"),
            pool_size: host.proc.single_file("sys/kernel/random/poolsize"),
        }))
    },
};

static AVAILABLE: Metric = gauge("node_entropy_available_bits", "Bits of available entropy.");
static POOL_SIZE: Metric = gauge("node_entropy_pool_size_bits", "Bits of entropy pool.");

struct Entropy {
    available: SingleFile,
    pool_size: SingleFile,
}

impl Collector for Entropy {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        for (metric, file) in [(&AVAILABLE, &mut self.available), (&POOL_SIZE, &mut self.pool_size)]
        {
            if let Some(bits) = faults.keep(file.decimal()) {
                out.put(metric, [], bits);
            }
        }
        faults.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn an_absent_file_does_not_hide_the_other() {
        let machine = Machine::new().with("proc/sys/kernel/random/entropy_avail", "256\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_entropy_available_bits 256\n"));
        assert!(result.unwrap_err().to_string().contains("kernel/random/poolsize: "));
        let machine = Machine::new()
            .with("proc/sys/kernel/random/entropy_avail", "x\n")
            .with("proc/sys/kernel/random/poolsize", "-1\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_entropy_pool_size_bits -1\n"), "{text}");
        assert!(result.unwrap_err().to_string().ends_with("entropy_avail: bad number: \"x\""));
    }
}
