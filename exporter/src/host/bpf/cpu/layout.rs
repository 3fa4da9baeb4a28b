//! Where the running kernel keeps a processor's accounting, and in which form its idle time.

use exporter_common::cpu::{EVENTS, IDLE, Layout, Reading, SEQUENCE, TICK, TRACKING};

use super::interpret::{Form, Idle};
use crate::host::bpf::{
    Error,
    btf::{self, Bits, Btf},
};

/// The questions that the kernel's types are asked here.
pub(super) trait Types {
    /// A member, or a member of a member.
    fn bits(&mut self, structure: &'static str, path: &[&str]) -> Option<Bits>;
    /// Offset and size of a per-CPU variable.
    fn per_cpu(&mut self, variable: &'static str) -> Option<(u32, u32)>;
    /// The value of an enumerator.
    fn enumerator(&mut self, of: &'static str, name: &str) -> Option<u32>;
}

impl Types for Btf<'_> {
    fn bits(&mut self, structure: &'static str, path: &[&str]) -> Option<Bits> {
        self.bits(structure, path)
    }

    fn per_cpu(&mut self, variable: &'static str) -> Option<(u32, u32)> {
        self.per_cpu(variable)
    }

    fn enumerator(&mut self, of: &'static str, name: &str) -> Option<u32> {
        self.enumerator(of, name)
    }
}

/// All names that [`layout`] asks for.
pub(super) const NAMES: [&str; 39] = [
    btf::PER_CPU,
    "runqueues",
    "kernel_cpustat",
    "tick_cpu_sched",
    "context_tracking",
    "kstat",
    "task_struct",
    "se",
    "cfs_rq",
    "rq",
    "cpu",
    "online",
    "nr_iowait",
    "nr_switches",
    "cpustat",
    "idle_entrytime",
    "idle_elapse",
    "idle_sleeptime_seq",
    "idle_stealtime",
    "tick_sched",
    "idle_sleeptime",
    "iowait_sleeptime",
    "idle_active",
    "nohz_mode",
    "flags",
    "active",
    "kernel_stat",
    "softirqs",
    "cpu_usage_stat",
    "CPUTIME_USER",
    "CPUTIME_NICE",
    "CPUTIME_SYSTEM",
    "CPUTIME_SOFTIRQ",
    "CPUTIME_IRQ",
    "CPUTIME_IDLE",
    "CPUTIME_IOWAIT",
    "CPUTIME_STEAL",
    "CPUTIME_GUEST",
    "CPUTIME_GUEST_NICE",
];

/// `enum cpu_usage_stat` of `include/linux/kernel_stat.h`, in its order.
const MODES: [&str; 10] = [
    "CPUTIME_USER",
    "CPUTIME_NICE",
    "CPUTIME_SYSTEM",
    "CPUTIME_SOFTIRQ",
    "CPUTIME_IRQ",
    "CPUTIME_IDLE",
    "CPUTIME_IOWAIT",
    "CPUTIME_STEAL",
    "CPUTIME_GUEST",
    "CPUTIME_GUEST_NICE",
];

/// `TS_FLAG_IDLE_ACTIVE` of kernel/time/tick-sched.h, a macro and thus not in BTF. The validation
/// against /proc/stat finds a kernel that has moved the flag.
const IDLE_ACTIVE: u8 = 1 << 2;
/// `TS_FLAG_NOHZ`, likewise.
const NOHZ: u8 = 1 << 4;

/// Asks for all that the programs and the interpretation need. All parts are to be copied that the
/// kernel has.
///
/// # Errors
/// The kernel has no description of its per-CPU variables, or lacks a member.
pub(super) fn layout(types: &mut impl Types) -> Result<(Layout, Form), Error> {
    for (i, mode) in MODES.iter().enumerate() {
        if types.enumerator("cpu_usage_stat", mode).map(|value| value as usize) != Some(i) {
            return Err(Error::Unlike("enum cpu_usage_stat"));
        }
    }
    let mut asked = Asked(types);
    let runqueues = asked.variable("runqueues")?.0;
    let relative = |variable: u32| i64::from(variable) - i64::from(runqueues);
    let (cpustat, cpustat_size) = asked.variable("kernel_cpustat")?;
    let softirqs = relative(asked.variable("kstat")?.0);
    let mut layout = Layout {
        cpustat: relative(cpustat),
        tick: 0,
        active: 0,
        sequence: 0,
        tracking: 0,
        softirqs: softirqs + i64::from(asked.offset("kernel_stat", &["softirqs"])?),
        task_cfs_rq: asked.offset("task_struct", &["se", "cfs_rq"])?,
        cfs_rq_rq: asked.offset("cfs_rq", &["rq"])?,
        rq_cpu: asked.offset("rq", &["cpu"])?,
        rq_online: asked.offset("rq", &["online"])?,
        rq_nr_iowait: asked.offset("rq", &["nr_iowait"])?,
        rq_nr_switches: asked.offset("rq", &["nr_switches"])?,
        cpustat_size,
        tick_size: 0,
        parts: EVENTS,
        padding: 0,
    };
    let form = Form { cpustat: asked.offset("kernel_cpustat", &["cpustat"])?, idle: asked.idle()? };
    match form.idle {
        Idle::Counted => {}
        Idle::Tick { active, sequence, .. } => {
            let (tick, size) = asked.variable("tick_cpu_sched")?;
            (layout.tick, layout.tick_size) = (relative(tick), size);
            layout.parts |= TICK | IDLE;
            layout.active = layout.tick + i64::from(active.byte);
            if let Some(sequence) = sequence {
                layout.parts |= SEQUENCE;
                layout.sequence = layout.tick + i64::from(sequence);
            }
        }
        Idle::Cpustat { active, sequence, .. } => {
            layout.parts |= IDLE | SEQUENCE;
            layout.active = layout.cpustat + i64::from(active.byte);
            layout.sequence = layout.cpustat + i64::from(sequence);
        }
    }
    if cpustat_size as usize > size_of::<[u64; 16]>() {
        return Err(Error::Unlike("struct kernel_cpustat"));
    }
    if layout.tick_size as usize > size_of::<[u64; 32]>() {
        return Err(Error::Unlike("struct tick_sched"));
    }
    if let (Ok((variable, _)), Ok(active)) =
        (asked.variable("context_tracking"), asked.offset("context_tracking", &["active"]))
    {
        layout.parts |= TRACKING;
        layout.tracking = relative(variable) + i64::from(active);
    }
    Ok((layout, form))
}

/// One bit or more of a byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flag {
    /// Bytes from the start of the structure.
    pub(super) byte: u32,
    /// The bits.
    pub(super) mask: u8,
}

/// The kernel's types, whose silence is an error that names the member.
struct Asked<'a, T>(&'a mut T);

impl<T: Types> Asked<'_, T> {
    fn offset(&mut self, structure: &'static str, path: &[&str]) -> Result<u32, Error> {
        match self.0.bits(structure, path) {
            Some(Bits { offset, width: 0 }) if offset % 8 == 0 => Ok(offset / 8),
            _ => Err(Error::NoMember { structure, member: path.join(".") }),
        }
    }

    fn variable(&mut self, name: &'static str) -> Result<(u32, u32), Error> {
        self.0.per_cpu(name).ok_or(Error::NoVariable(name))
    }

    /// Tells the forms apart by their members: since Linux 7.2 idle time is kept in
    /// `kernel_cpustat`, before in `tick_sched`, which got flags and a sequence count in 6.x and
    /// had bit fields earlier. Without `CONFIG_NO_HZ_COMMON` there is neither.
    fn idle(&mut self) -> Result<Idle, Error> {
        if let Ok(entry) = self.offset("kernel_cpustat", &["idle_entrytime"]) {
            let mut stat = |member| self.offset("kernel_cpustat", &[member]);
            return Ok(Idle::Cpustat {
                active: Flag { byte: stat("idle_elapse")?, mask: u8::MAX },
                entry,
                sequence: stat("idle_sleeptime_seq")?,
                steal: stat("idle_stealtime")?,
            });
        }
        let Ok(idle) = self.offset("tick_sched", &["idle_sleeptime"]) else {
            return Ok(Idle::Counted);
        };
        let field = self.0.bits("tick_sched", &["idle_active"]);
        let mut tick = |member| self.offset("tick_sched", &[member]);
        let (active, nohz) = match field {
            Some(field) => {
                let active = flag(field).ok_or(Error::Unlike("tick_sched.idle_active"))?;
                (active, Flag { byte: tick("nohz_mode")?, mask: u8::MAX })
            }
            None => {
                let byte = tick("flags")?;
                (Flag { byte, mask: IDLE_ACTIVE }, Flag { byte, mask: NOHZ })
            }
        };
        Ok(Idle::Tick {
            active,
            nohz,
            entry: tick("idle_entrytime")?,
            idle,
            iowait: tick("iowait_sleeptime")?,
            sequence: tick("idle_sleeptime_seq").ok(),
        })
    }
}

/// A bit field that lies in one byte.
fn flag(field: Bits) -> Option<Flag> {
    let width = field.width.max(1);
    let first = field.offset % 8;
    if first + width > 8 {
        return None;
    }
    let mask = u8::try_from((1_u32 << width) - 1).ok()? << first;
    Some(Flag { byte: field.offset / 8, mask })
}

const _: () = assert!(size_of::<Reading>().is_multiple_of(8), "an element of an array map");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// The members and variables of a kernel, as `bpftool btf dump` shows them.
    struct Recorded {
        members: HashMap<String, Bits>,
        variables: HashMap<&'static str, (u32, u32)>,
        modes: Vec<&'static str>,
    }

    #[track_caller]
    fn known(name: &str) {
        assert!(NAMES.contains(&name), "{name} is not looked for among the kernel's names");
    }

    impl Types for Recorded {
        fn bits(&mut self, structure: &'static str, path: &[&str]) -> Option<Bits> {
            path.iter().chain([&structure]).for_each(|name| known(name));
            self.members.get(&format!("{structure}.{}", path.join("."))).copied()
        }
        fn per_cpu(&mut self, variable: &'static str) -> Option<(u32, u32)> {
            known(variable);
            self.variables.get(variable).copied()
        }
        fn enumerator(&mut self, of: &'static str, name: &str) -> Option<u32> {
            known(of);
            known(name);
            self.modes.iter().position(|mode| *mode == name).and_then(|i| u32::try_from(i).ok())
        }
    }

    fn kernel(members: &[(&str, u32, u32)]) -> Recorded {
        let common = [
            ("task_struct.se.cfs_rq", 1000, 0),
            ("cfs_rq.rq", 80, 0),
            ("rq.cpu", 2000, 0),
            ("rq.online", 2008, 0),
            ("rq.nr_iowait", 2016, 0),
            ("rq.nr_switches", 2024, 0),
            ("kernel_cpustat.cpustat", 0, 0),
            ("kernel_stat.softirqs", 8, 0),
        ];
        let all = common.iter().chain(members);
        Recorded {
            members: all
                .map(|&(name, bytes, width)| {
                    let offset = if width == 0 { bytes * 8 } else { bytes };
                    (name.to_owned(), Bits { offset, width })
                })
                .collect(),
            variables: HashMap::from([
                ("runqueues", (5000, 3000)),
                ("kernel_cpustat", (4000, 80)),
                ("tick_cpu_sched", (9000, 200)),
                ("kstat", (7000, 50)),
            ]),
            modes: MODES.to_vec(),
        }
    }

    const FLAGS: [(&str, u32, u32); 5] = [
        ("tick_sched.flags", 0, 0),
        ("tick_sched.idle_sleeptime", 100, 0),
        ("tick_sched.iowait_sleeptime", 108, 0),
        ("tick_sched.idle_entrytime", 116, 0),
        ("tick_sched.idle_sleeptime_seq", 124, 0),
    ];

    #[test]
    fn each_form_is_told_by_its_members() {
        let (layout, form) = layout(&mut kernel(&FLAGS)).unwrap();
        assert_eq!((layout.cpustat, layout.tick, layout.sequence), (-1000, 4000, 4124));
        assert_eq!(layout.parts, EVENTS | TICK | IDLE | SEQUENCE);
        assert_eq!(layout.softirqs, 2008);
        let active = Flag { byte: 0, mask: 4 };
        assert!(matches!(form.idle, Idle::Tick { active: a, .. } if a == active));

        let fields = [
            ("tick_sched.idle_active", 7 * 8 + 2, 1),
            ("tick_sched.nohz_mode", 3, 0),
            ("tick_sched.idle_sleeptime", 100, 0),
            ("tick_sched.iowait_sleeptime", 108, 0),
            ("tick_sched.idle_entrytime", 116, 0),
        ];
        let (layout, form) = super::layout(&mut kernel(&fields)).unwrap();
        assert_eq!((layout.parts, layout.active), (EVENTS | TICK | IDLE, 4007));
        let (active, nohz) = (Flag { byte: 7, mask: 4 }, Flag { byte: 3, mask: 255 });
        assert!(
            matches!(form.idle, Idle::Tick { active: a, nohz: n, .. } if (a, n) == (active, nohz))
        );

        let newest = [
            ("kernel_cpustat.idle_entrytime", 88, 0),
            ("kernel_cpustat.idle_elapse", 80, 0),
            ("kernel_cpustat.idle_sleeptime_seq", 84, 0),
            ("kernel_cpustat.idle_stealtime", 96, 0),
        ];
        let (layout, form) = super::layout(&mut kernel(&newest)).unwrap();
        assert_eq!((layout.parts, layout.active), (EVENTS | IDLE | SEQUENCE, -920));
        assert!(matches!(form.idle, Idle::Cpustat { entry: 88, steal: 96, .. }));

        let (layout, form) = super::layout(&mut kernel(&[])).unwrap();
        assert_eq!((layout.parts, form.idle), (EVENTS, Idle::Counted));
    }

    #[test]
    fn a_kernel_that_lacks_something_is_named() {
        let error = |mut types: Recorded| layout(&mut types).unwrap_err().to_string();
        let mut without = kernel(&FLAGS);
        without.variables.remove("kstat");
        assert_eq!(error(without), "the kernel does not tell of its per-CPU variable kstat");
        let mut without = kernel(&FLAGS);
        without.members.remove("rq.cpu");
        assert_eq!(error(without), "the kernel has no rq.cpu");
        let mut without = kernel(&FLAGS);
        without.variables.clear();
        assert!(error(without).ends_with("variable runqueues"));
        let mut other = kernel(&FLAGS);
        other.modes.swap(3, 4);
        assert!(error(other).contains("enum cpu_usage_stat"));
        let mut large = kernel(&FLAGS);
        large.variables.insert("tick_cpu_sched", (9000, 257));
        assert!(error(large).contains("struct tick_sched"));
    }

    #[test]
    fn bit_fields_lie_in_one_byte() {
        assert_eq!(flag(Bits { offset: 17, width: 2 }), Some(Flag { byte: 2, mask: 6 }));
        assert_eq!(flag(Bits { offset: 23, width: 1 }), Some(Flag { byte: 2, mask: 128 }));
        assert_eq!(flag(Bits { offset: 23, width: 2 }), None);
        assert_eq!(flag(Bits { offset: 0, width: 8 }), Some(Flag { byte: 0, mask: 255 }));
    }
}
