//! Memory, from `/proc/meminfo`.
//!
//! One field a line (`fs/proc/meminfo.c`), in kB save for counts of huge pages. Only fields that
//! `node_exporter` knows are exposed, under its names for them; kernels add fields at will.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "meminfo",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| Ok(Box::new(MemInfo(host.proc.single_file("meminfo")))),
};

/// The kernel's name of a field, and what it is exposed as.
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
        let values = self.0.parse(parse)?;
        for ((_, metric), value) in FIELDS.iter().zip(values) {
            if let Some(value) = value {
                out.put(metric, [], value);
            }
        }
        Ok(())
    }
}

/// The value of each of [`FIELDS`] that is there.
fn parse(text: &str) -> Result<[Option<u64>; COUNT], Malformed> {
    let mut values = [None; COUNT];
    for line in text.lines() {
        let Some((field, rest)) = line.split_once(':') else {
            if line.trim().is_empty() {
                continue;
            }
            return Err(Malformed::new("meminfo line", line));
        };
        let known = FIELDS.iter().position(|(name, _)| *name == field);
        let Some(slot) = known.and_then(|i| values.get_mut(i)) else { continue };
        let mut words = rest.split_ascii_whitespace();
        let number: u64 = words.number("meminfo value")?;
        let unit = match words.next() {
            None => 1,
            Some("kB") => 1024,
            Some(unit) => return Err(Malformed::new("meminfo unit", unit)),
        };
        if words.next().is_some() {
            return Err(Malformed::new("meminfo line", line));
        }
        let bytes =
            number.checked_mul(unit).ok_or_else(|| Malformed::new("meminfo value", line))?;
        *slot = Some(bytes);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    #[test]
    fn takes_a_field_without_unit_as_it_is() {
        let values = parse("MemTotal: 7\n\nMemFree: 2 kB\nNovel: ?\n").unwrap();
        assert_eq!((values[0], values[1], values[2]), (Some(7), Some(2048), None));
    }

    #[test]
    fn refuses_what_is_no_number_of_kilobytes() {
        assert_eq!(malformed(parse("MemTotal")), "bad meminfo line: \"MemTotal\"");
        assert_eq!(malformed(parse("MemTotal:")), "bad meminfo value: \"\"");
        assert_eq!(malformed(parse("MemTotal: -1 kB")), "bad meminfo value: \"-1\"");
        assert_eq!(malformed(parse("MemTotal: 1 MB")), "bad meminfo unit: \"MB\"");
        assert_eq!(malformed(parse("MemTotal: 1 kB x")), "bad meminfo line: \"MemTotal: 1 kB x\"");
        assert_eq!(
            malformed(parse("MemTotal: 18446744073709551615 kB")),
            "bad meminfo value: \"MemTotal: 18446744073709551615 kB\""
        );
    }

    #[test]
    fn exposes_all_or_nothing() {
        let machine = Machine::new().with("proc/meminfo", "MemTotal: 1 kB\nMemFree: x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert_eq!(text, "");
        assert!(
            result.unwrap_err().to_string().ends_with("proc/meminfo: bad meminfo value: \"x\"")
        );
    }
}
