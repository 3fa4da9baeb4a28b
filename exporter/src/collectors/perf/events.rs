//! The events that have names of their own, and their metrics.

use crate::{
    host::perf::{Event, Type},
    prelude::*,
};

/// A profiler, as the flags call an event: its name, the event and its metric.
pub(super) struct Profiler {
    pub(super) name: &'static str,
    pub(super) event: Event,
    pub(super) metric: Metric<1>,
}

macro_rules! profilers {
    ($kind:ident: $($name:literal $config:expr, $metric:literal, $help:literal;)*) => {
        &[$(Profiler {
            name: $name,
            event: Event { kind: Type::$kind, config: $config },
            metric: counter($metric, $help).by(["cpu"]),
        }),*]
    };
}

/// `PERF_COUNT_HW_…`.
pub(super) static HARDWARE: &[Profiler] = profilers! { Hardware:
    "CpuCycles" 0, "node_perf_cpucycles_total", "Number of CPU cycles (frequency scaled)";
    "CpuInstr" 1, "node_perf_instructions_total", "Number of CPU instructions";
    "CacheRef" 2, "node_perf_cache_refs_total",
        "Number of cache references (non frequency scaled)";
    "CacheMisses" 3, "node_perf_cache_misses_total", "Number of cache misses";
    "BranchInstr" 4, "node_perf_branch_instructions_total", "Number of CPU branch instructions";
    "BranchMisses" 5, "node_perf_branch_misses_total", "Number of CPU branch misses";
    "StalledCyclesFrontend" 7, "node_perf_stalled_cycles_frontend_total",
        "Number of stalled frontend CPU cycles";
    "StalledCyclesBackend" 8, "node_perf_stalled_cycles_backend_total",
        "Number of stalled backend CPU cycles";
    "RefCpuCycles" 9, "node_perf_ref_cpucycles_total", "Number of CPU cycles";
};

/// `PERF_COUNT_SW_…`.
pub(super) static SOFTWARE: &[Profiler] = profilers! { Software:
    "PageFault" 2, "node_perf_page_faults_total", "Number of page faults";
    "ContextSwitch" 3, "node_perf_context_switches_total", "Number of context switches";
    "CpuMigration" 4, "node_perf_cpu_migrations_total", "Number of CPU process migrations";
    "MinorFault" 5, "node_perf_minor_faults_total", "Number of minor page faults";
    "MajorFault" 6, "node_perf_major_faults_total", "Number of major page faults";
};

/// `PERF_COUNT_HW_CACHE_…`.
pub(super) static CACHE: &[Profiler] = profilers! { Cache:
    "L1DataReadHit" L1D | READ | HIT, "node_perf_cache_l1d_read_hits_total",
        "Number L1 data cache read hits";
    "L1DataReadMiss" L1D | READ | MISS, "node_perf_cache_l1d_read_misses_total",
        "Number L1 data cache read misses";
    "L1DataWriteHit" L1D | WRITE | HIT, "node_perf_cache_l1d_write_hits_total",
        "Number L1 data cache write hits";
    "L1InstrReadMiss" L1I | READ | MISS, "node_perf_cache_l1_instr_read_misses_total",
        "Number instruction L1 instruction read misses";
    "InstrTLBReadHit" ITLB | READ | HIT, "node_perf_cache_tlb_instr_read_hits_total",
        "Number instruction TLB read hits";
    "InstrTLBReadMiss" ITLB | READ | MISS, "node_perf_cache_tlb_instr_read_misses_total",
        "Number instruction TLB read misses";
    "DataTLBReadHit" DTLB | READ | HIT, "node_perf_cache_tlb_data_read_hits_total",
        "Number of data TLB read hits";
    "DataTLBReadMiss" DTLB | READ | MISS, "node_perf_cache_tlb_data_read_misses_total",
        "Number of data TLB read misses";
    "DataTLBWriteHit" DTLB | WRITE | HIT, "node_perf_cache_tlb_data_write_hits_total",
        "Number of data TLB write hits";
    "DataTLBWriteMiss" DTLB | WRITE | MISS, "node_perf_cache_tlb_data_write_misses_total",
        "Number of data TLB write misses";
    "LLReadHit" LL | READ | HIT, "node_perf_cache_ll_read_hits_total",
        "Number last level read hits";
    "LLReadMiss" LL | READ | MISS, "node_perf_cache_ll_read_misses_total",
        "Number last level read misses";
    "LLWriteHit" LL | WRITE | HIT, "node_perf_cache_ll_write_hits_total",
        "Number last level write hits";
    "LLWriteMiss" LL | WRITE | MISS, "node_perf_cache_ll_write_misses_total",
        "Number last level write misses";
    "BPUReadHit" BPU | READ | HIT, "node_perf_cache_bpu_read_hits_total",
        "Number BPU read hits";
    "BPUReadMiss" BPU | READ | MISS, "node_perf_cache_bpu_read_misses_total",
        "Number BPU read misses";
};

const L1D: u64 = 0;
const L1I: u64 = 1;
const LL: u64 = 2;
const DTLB: u64 = 3;
const ITLB: u64 = 4;
const BPU: u64 = 5;
const READ: u64 = 0;
const WRITE: u64 = 1 << 8;
const HIT: u64 = 0;
const MISS: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_events_and_metrics_are_each_once() {
        let all = || [HARDWARE, SOFTWARE, CACHE].into_iter().flatten();
        let once = |key: fn(&Profiler) -> String| {
            let mut keys: Vec<_> = all().map(key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), 30);
        };
        once(|profiler| profiler.name.into());
        once(|profiler| format!("{:?}", profiler.event));
        once(|profiler| profiler.metric.name.to_string());
        once(|profiler| profiler.metric.help.to_string());
    }
}
