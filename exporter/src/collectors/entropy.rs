//! The kernel's random pool, from `/proc/sys/kernel/random`.
//!
//! One number a file (`drivers/char/random.c`). Since Linux 5.18 both are 256 once the pool is
//! initialized.

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
        out.put(&AVAILABLE, [], self.available.number::<u64>()?);
        out.put(&POOL_SIZE, [], self.pool_size.number::<u64>()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn both_files_must_be_there() {
        let machine = Machine::new().with("proc/sys/kernel/random/entropy_avail", "256\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.ends_with("\nnode_entropy_available_bits 256\n"));
        assert!(result.unwrap_err().to_string().contains("kernel/random/poolsize: "));
    }
}
