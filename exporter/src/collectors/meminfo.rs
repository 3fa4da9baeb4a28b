//! Memory, from `/proc/meminfo`.
//!
//! One field a line (`fs/proc/meminfo.c`), in kB save for counts of huge pages. Only fields that
//! `node_exporter` knows are exposed, under its names for them; kernels add fields at will.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "meminfo",
    enabled: true,
    flags: &[],
    new: |host, _| Ok(Box::new(MemInfo(host.proc.file("meminfo")))),
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

struct MemInfo(File);

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
    use crate::testing::{Machine, check, expect, malformed};

    #[test]
    #[expect(clippy::too_many_lines, reason = "every field, three lines each")]
    fn baseline() {
        check(
            &SPEC,
            &[],
            expect![[r#"
            # HELP node_memory_Active_anon_bytes Memory information field Active_anon_bytes.
            # TYPE node_memory_Active_anon_bytes gauge
            node_memory_Active_anon_bytes 1.564672e+06
            # HELP node_memory_Active_bytes Memory information field Active_bytes.
            # TYPE node_memory_Active_bytes gauge
            node_memory_Active_bytes 7.2245248e+08
            # HELP node_memory_Active_file_bytes Memory information field Active_file_bytes.
            # TYPE node_memory_Active_file_bytes gauge
            node_memory_Active_file_bytes 7.20887808e+08
            # HELP node_memory_AnonHugePages_bytes Memory information field AnonHugePages_bytes.
            # TYPE node_memory_AnonHugePages_bytes gauge
            node_memory_AnonHugePages_bytes 0
            # HELP node_memory_AnonPages_bytes Memory information field AnonPages_bytes.
            # TYPE node_memory_AnonPages_bytes gauge
            node_memory_AnonPages_bytes 1.5044608e+07
            # HELP node_memory_Bounce_bytes Memory information field Bounce_bytes.
            # TYPE node_memory_Bounce_bytes gauge
            node_memory_Bounce_bytes 0
            # HELP node_memory_Buffers_bytes Memory information field Buffers_bytes.
            # TYPE node_memory_Buffers_bytes gauge
            node_memory_Buffers_bytes 5.029888e+06
            # HELP node_memory_Cached_bytes Memory information field Cached_bytes.
            # TYPE node_memory_Cached_bytes gauge
            node_memory_Cached_bytes 1.87244544e+09
            # HELP node_memory_CommitLimit_bytes Memory information field CommitLimit_bytes.
            # TYPE node_memory_CommitLimit_bytes gauge
            node_memory_CommitLimit_bytes 1.263824896e+10
            # HELP node_memory_Committed_AS_bytes Memory information field Committed_AS_bytes.
            # TYPE node_memory_Committed_AS_bytes gauge
            node_memory_Committed_AS_bytes 6.1669376e+07
            # HELP node_memory_DirectMap1G_bytes Memory information field DirectMap1G_bytes.
            # TYPE node_memory_DirectMap1G_bytes gauge
            node_memory_DirectMap1G_bytes 2.5769803776e+10
            # HELP node_memory_DirectMap2M_bytes Memory information field DirectMap2M_bytes.
            # TYPE node_memory_DirectMap2M_bytes gauge
            node_memory_DirectMap2M_bytes 2.11812352e+09
            # HELP node_memory_DirectMap4k_bytes Memory information field DirectMap4k_bytes.
            # TYPE node_memory_DirectMap4k_bytes gauge
            node_memory_DirectMap4k_bytes 2.9360128e+07
            # HELP node_memory_Dirty_bytes Memory information field Dirty_bytes.
            # TYPE node_memory_Dirty_bytes gauge
            node_memory_Dirty_bytes 1.80621312e+08
            # HELP node_memory_HugePages_Free Memory information field HugePages_Free.
            # TYPE node_memory_HugePages_Free gauge
            node_memory_HugePages_Free 0
            # HELP node_memory_HugePages_Rsvd Memory information field HugePages_Rsvd.
            # TYPE node_memory_HugePages_Rsvd gauge
            node_memory_HugePages_Rsvd 0
            # HELP node_memory_HugePages_Surp Memory information field HugePages_Surp.
            # TYPE node_memory_HugePages_Surp gauge
            node_memory_HugePages_Surp 0
            # HELP node_memory_HugePages_Total Memory information field HugePages_Total.
            # TYPE node_memory_HugePages_Total gauge
            node_memory_HugePages_Total 0
            # HELP node_memory_Hugepagesize_bytes Memory information field Hugepagesize_bytes.
            # TYPE node_memory_Hugepagesize_bytes gauge
            node_memory_Hugepagesize_bytes 2.097152e+06
            # HELP node_memory_Inactive_anon_bytes Memory information field Inactive_anon_bytes.
            # TYPE node_memory_Inactive_anon_bytes gauge
            node_memory_Inactive_anon_bytes 7.274496e+06
            # HELP node_memory_Inactive_bytes Memory information field Inactive_bytes.
            # TYPE node_memory_Inactive_bytes gauge
            node_memory_Inactive_bytes 1.154777088e+09
            # HELP node_memory_Inactive_file_bytes Memory information field Inactive_file_bytes.
            # TYPE node_memory_Inactive_file_bytes gauge
            node_memory_Inactive_file_bytes 1.147502592e+09
            # HELP node_memory_KernelStack_bytes Memory information field KernelStack_bytes.
            # TYPE node_memory_KernelStack_bytes gauge
            node_memory_KernelStack_bytes 1.425408e+06
            # HELP node_memory_Mapped_bytes Memory information field Mapped_bytes.
            # TYPE node_memory_Mapped_bytes gauge
            node_memory_Mapped_bytes 1.08544e+07
            # HELP node_memory_MemAvailable_bytes Memory information field MemAvailable_bytes.
            # TYPE node_memory_MemAvailable_bytes gauge
            node_memory_MemAvailable_bytes 2.4733380608e+10
            # HELP node_memory_MemFree_bytes Memory information field MemFree_bytes.
            # TYPE node_memory_MemFree_bytes gauge
            node_memory_MemFree_bytes 2.2909755392e+10
            # HELP node_memory_MemTotal_bytes Memory information field MemTotal_bytes.
            # TYPE node_memory_MemTotal_bytes gauge
            node_memory_MemTotal_bytes 2.5276502016e+10
            # HELP node_memory_Mlocked_bytes Memory information field Mlocked_bytes.
            # TYPE node_memory_Mlocked_bytes gauge
            node_memory_Mlocked_bytes 1.4184448e+07
            # HELP node_memory_NFS_Unstable_bytes Memory information field NFS_Unstable_bytes.
            # TYPE node_memory_NFS_Unstable_bytes gauge
            node_memory_NFS_Unstable_bytes 0
            # HELP node_memory_PageTables_bytes Memory information field PageTables_bytes.
            # TYPE node_memory_PageTables_bytes gauge
            node_memory_PageTables_bytes 2.072576e+06
            # HELP node_memory_Percpu_bytes Memory information field Percpu_bytes.
            # TYPE node_memory_Percpu_bytes gauge
            node_memory_Percpu_bytes 704512
            # HELP node_memory_SReclaimable_bytes Memory information field SReclaimable_bytes.
            # TYPE node_memory_SReclaimable_bytes gauge
            node_memory_SReclaimable_bytes 2.71429632e+08
            # HELP node_memory_SUnreclaim_bytes Memory information field SUnreclaim_bytes.
            # TYPE node_memory_SUnreclaim_bytes gauge
            node_memory_SUnreclaim_bytes 3.4512896e+07
            # HELP node_memory_ShmemHugePages_bytes Memory information field ShmemHugePages_bytes.
            # TYPE node_memory_ShmemHugePages_bytes gauge
            node_memory_ShmemHugePages_bytes 0
            # HELP node_memory_ShmemPmdMapped_bytes Memory information field ShmemPmdMapped_bytes.
            # TYPE node_memory_ShmemPmdMapped_bytes gauge
            node_memory_ShmemPmdMapped_bytes 0
            # HELP node_memory_Shmem_bytes Memory information field Shmem_bytes.
            # TYPE node_memory_Shmem_bytes gauge
            node_memory_Shmem_bytes 9.084928e+06
            # HELP node_memory_Slab_bytes Memory information field Slab_bytes.
            # TYPE node_memory_Slab_bytes gauge
            node_memory_Slab_bytes 3.05942528e+08
            # HELP node_memory_SwapCached_bytes Memory information field SwapCached_bytes.
            # TYPE node_memory_SwapCached_bytes gauge
            node_memory_SwapCached_bytes 0
            # HELP node_memory_SwapFree_bytes Memory information field SwapFree_bytes.
            # TYPE node_memory_SwapFree_bytes gauge
            node_memory_SwapFree_bytes 4.294656e+09
            # HELP node_memory_SwapTotal_bytes Memory information field SwapTotal_bytes.
            # TYPE node_memory_SwapTotal_bytes gauge
            node_memory_SwapTotal_bytes 4.2949632e+09
            # HELP node_memory_Unevictable_bytes Memory information field Unevictable_bytes.
            # TYPE node_memory_Unevictable_bytes gauge
            node_memory_Unevictable_bytes 1.5282176e+07
            # HELP node_memory_VmallocChunk_bytes Memory information field VmallocChunk_bytes.
            # TYPE node_memory_VmallocChunk_bytes gauge
            node_memory_VmallocChunk_bytes 0
            # HELP node_memory_VmallocTotal_bytes Memory information field VmallocTotal_bytes.
            # TYPE node_memory_VmallocTotal_bytes gauge
            node_memory_VmallocTotal_bytes 3.5184372087808e+13
            # HELP node_memory_VmallocUsed_bytes Memory information field VmallocUsed_bytes.
            # TYPE node_memory_VmallocUsed_bytes gauge
            node_memory_VmallocUsed_bytes 1.456128e+07
            # HELP node_memory_WritebackTmp_bytes Memory information field WritebackTmp_bytes.
            # TYPE node_memory_WritebackTmp_bytes gauge
            node_memory_WritebackTmp_bytes 0
            # HELP node_memory_Writeback_bytes Memory information field Writeback_bytes.
            # TYPE node_memory_Writeback_bytes gauge
            node_memory_Writeback_bytes 0
            # HELP node_memory_Zswap_bytes Memory information field Zswap_bytes.
            # TYPE node_memory_Zswap_bytes gauge
            node_memory_Zswap_bytes 0
            # HELP node_memory_Zswapped_bytes Memory information field Zswapped_bytes.
            # TYPE node_memory_Zswapped_bytes gauge
            node_memory_Zswapped_bytes 0
        "#]],
        );
    }

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
