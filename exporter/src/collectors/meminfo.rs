//! Memory, from `/proc/meminfo`.
//!
//! One field a line (`fs/proc/meminfo.c`), in kB save for counts of huge pages. Only fields that
//! `node_exporter` knows are exposed, under its names for them; kernels add fields at will.

use crate::{parse::rows, prelude::*};

pub const SPEC: Spec = Spec {
    name: "meminfo",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(MemInfo(host.proc.single_file("meminfo")))),
};

/// Each field under the kernel's name, with its metric.
macro_rules! fields {
    ($($field:literal => $name:literal,)*) => {
        [$((
            $field,
            gauge(
                concat!("node_memory_", $name),
                concat!("Memory information field ", $name, "."),
            ),
        )),*]
    };
}

const COUNT: usize = 51;

/// In the order of `/proc/meminfo`.
static FIELDS: [(&str, Metric); COUNT] = fields! {
    "MemTotal" => "MemTotal_bytes",
    "MemFree" => "MemFree_bytes",
    "MemAvailable" => "MemAvailable_bytes",
    "Buffers" => "Buffers_bytes",
    "Cached" => "Cached_bytes",
    "SwapCached" => "SwapCached_bytes",
    "Active" => "Active_bytes",
    "Inactive" => "Inactive_bytes",
    "Active(anon)" => "Active_anon_bytes",
    "Inactive(anon)" => "Inactive_anon_bytes",
    "Active(file)" => "Active_file_bytes",
    "Inactive(file)" => "Inactive_file_bytes",
    "Unevictable" => "Unevictable_bytes",
    "Mlocked" => "Mlocked_bytes",
    "SwapTotal" => "SwapTotal_bytes",
    "SwapFree" => "SwapFree_bytes",
    "Zswap" => "Zswap_bytes",
    "Zswapped" => "Zswapped_bytes",
    "Dirty" => "Dirty_bytes",
    "Writeback" => "Writeback_bytes",
    "AnonPages" => "AnonPages_bytes",
    "Mapped" => "Mapped_bytes",
    "Shmem" => "Shmem_bytes",
    "Slab" => "Slab_bytes",
    "SReclaimable" => "SReclaimable_bytes",
    "SUnreclaim" => "SUnreclaim_bytes",
    "KernelStack" => "KernelStack_bytes",
    "PageTables" => "PageTables_bytes",
    "NFS_Unstable" => "NFS_Unstable_bytes",
    "Bounce" => "Bounce_bytes",
    "WritebackTmp" => "WritebackTmp_bytes",
    "CommitLimit" => "CommitLimit_bytes",
    "Committed_AS" => "Committed_AS_bytes",
    "VmallocTotal" => "VmallocTotal_bytes",
    "VmallocUsed" => "VmallocUsed_bytes",
    "VmallocChunk" => "VmallocChunk_bytes",
    "Percpu" => "Percpu_bytes",
    "HardwareCorrupted" => "HardwareCorrupted_bytes",
    "AnonHugePages" => "AnonHugePages_bytes",
    "ShmemHugePages" => "ShmemHugePages_bytes",
    "ShmemPmdMapped" => "ShmemPmdMapped_bytes",
    "CmaTotal" => "CmaTotal_bytes",
    "CmaFree" => "CmaFree_bytes",
    "HugePages_Total" => "HugePages_Total",
    "HugePages_Free" => "HugePages_Free",
    "HugePages_Rsvd" => "HugePages_Rsvd",
    "HugePages_Surp" => "HugePages_Surp",
    "Hugepagesize" => "Hugepagesize_bytes",
    "DirectMap4k" => "DirectMap4k_bytes",
    "DirectMap2M" => "DirectMap2M_bytes",
    "DirectMap1G" => "DirectMap1G_bytes",
};

struct MemInfo(SingleFile);

impl Collector for MemInfo {
    fn collect(&mut self, out: &mut Sink) -> Result {
        self.0.parse(|text| {
            let mut values = [None; COUNT];
            let parsed = parse(text, &mut values);
            for ((_, metric), value) in FIELDS.iter().zip(values) {
                if let Some(value) = value {
                    out.put(metric, [], value);
                }
            }
            parsed
        })
    }
}

/// Puts the value of each of [`FIELDS`] that the file has into `values`.
fn parse(text: &str, values: &mut [Option<f64>; COUNT]) -> Result<(), Malformed> {
    rows(text, |line| {
        let Some((field, rest)) = line.split_once(':') else {
            let is_blank = line.trim_ascii().is_empty();
            return if is_blank { Ok(()) } else { Err(Malformed::new("meminfo line", line)) };
        };
        let known = FIELDS.iter().position(|(name, _)| *name == field);
        if let Some(slot) = known.and_then(|i| values.get_mut(i)) {
            *slot = Some(bytes(rest)?);
        }
        Ok(())
    })
}

/// The bytes of a value such as `7 kB`; a value without unit is a count.
pub(super) fn bytes(text: &str) -> Result<f64, Malformed> {
    let mut words = text.split_ascii_whitespace();
    let number = words.decimal("meminfo value")?;
    match (words.next(), words.next()) {
        (None, _) => Ok(number),
        (Some("kB"), None) => Ok(number * 1024.0),
        _ => Err(Malformed::new("meminfo unit", text.trim_ascii())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed, sample_lines};

    #[test]
    fn a_value_that_is_no_number_of_kilobytes_is_refused() {
        assert_eq!((bytes(" 7"), bytes(" 2 kB")), (Ok(7.0), Ok(2048.0)));
        assert_eq!(malformed(bytes("")), "bad meminfo value: \"\"");
        assert_eq!(malformed(bytes(" 1 MB")), "bad meminfo unit: \"1 MB\"");
        assert_eq!(malformed(bytes(" 1 kB x")), "bad meminfo unit: \"1 kB x\"");
    }

    #[test]
    fn a_line_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/meminfo",
            "MemTotal: 1 kB\n\nMemFree: x\nNovel: ?\nBuffers: -1 kB\nMlocked\n\
             SwapFree: 18446744073709551488 kB\nHugePages_Total: 3\n",
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        assert_eq!(
            sample_lines(&text).collect::<Vec<_>>(),
            [
                "node_memory_Buffers_bytes -1024",
                "node_memory_HugePages_Total 3",
                "node_memory_MemTotal_bytes 1024",
                "node_memory_SwapFree_bytes 1.888946593147858e+22",
            ]
        );
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/meminfo:3: bad meminfo value: \"x\""), "{error}");
        let machine = machine.with("proc/meminfo", "SwapFree: 18446744073709551488 kB\n");
        machine.collect(&SPEC, &[]).1.unwrap();
    }
}
