//! Virtual memory events and states, from `/proc/vmstat`.
//!
//! Each line has a name and a number (`mm/vmstat.c`). The names depend on the kernel, and
//! `--collector.vmstat.fields` selects among them: a name's metric is made when the name is first
//! seen.

use crate::{
    exposition::Kind,
    parse::{decimal, rows},
    prelude::*,
};

pub const SPEC: Spec = Spec {
    name: "vmstat",
    enabled: true,
    capabilities: NONE,
    flags: &[&FIELDS],
    new: |host, flags| {
        Ok(Box::new(VmStat {
            file: host.proc.file("vmstat"),
            wanted: flags.get(&FIELDS),
            known: Vec::new(),
        }))
    },
};

static FIELDS: Flag<Pattern> = Flag::value(
    "collector.vmstat.fields",
    &["^(oom_kill|pgpg|pswp|pg.*fault).*"],
    "Regexp of fields to return for vmstat collector.",
);

struct VmStat {
    file: File,
    wanted: Pattern,
    /// The fields in the order of the file; a field that the flag excludes has no metric.
    known: Vec<(Box<str>, Option<Metric>)>,
}

impl Collector for VmStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, wanted, known } = self;
        let mut place = 0;
        file.parse(|text| {
            rows(text, |line| {
                let mut words = line.split_ascii_whitespace();
                let Some(name) = words.next() else { return Ok(()) };
                if known.get(place).is_none_or(|(known, _)| **known != *name) {
                    known.truncate(place); // the first scrape, or another kernel's file
                    known.push((name.into(), wanted.matches(name).then(|| metric(name))));
                }
                if let Some((_, Some(metric))) = known.get(place) {
                    out.put(metric, [], decimal("vmstat value", words.word("vmstat value")?)?);
                }
                place += 1;
                Ok(())
            })
        })
    }
}

fn metric(name: &str) -> Metric {
    Metric::named(
        Kind::Untyped,
        format!("node_vmstat_{name}"),
        format!("/proc/vmstat information field {name}."),
        [],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, check, expect, sample_lines};

    #[test]
    fn fields_are_chosen_by_pattern() {
        check(
            &SPEC,
            &["--collector.vmstat.fields=^nr_(free|dirty)"],
            expect![[r#"
            # HELP node_vmstat_nr_dirty /proc/vmstat information field nr_dirty.
            # TYPE node_vmstat_nr_dirty untyped
            node_vmstat_nr_dirty 44097
            # HELP node_vmstat_nr_dirty_background_threshold /proc/vmstat information field nr_dirty_background_threshold.
            # TYPE node_vmstat_nr_dirty_background_threshold untyped
            node_vmstat_nr_dirty_background_threshold 600564
            # HELP node_vmstat_nr_dirty_threshold /proc/vmstat information field nr_dirty_threshold.
            # TYPE node_vmstat_nr_dirty_threshold untyped
            node_vmstat_nr_dirty_threshold 1.202597e+06
            # HELP node_vmstat_nr_free_pages /proc/vmstat information field nr_free_pages.
            # TYPE node_vmstat_nr_free_pages untyped
            node_vmstat_nr_free_pages 1.673509e+06
            # HELP node_vmstat_nr_free_pages_blocks /proc/vmstat information field nr_free_pages_blocks.
            # TYPE node_vmstat_nr_free_pages_blocks untyped
            node_vmstat_nr_free_pages_blocks 1.496064e+06
        "#]],
        );
    }

    #[test]
    fn a_field_that_is_odd_costs_itself_alone() {
        let machine = Machine::new().with(
            "proc/vmstat",
            "nr_foo x\nnr_bar\n\npgpgin -1\npgpgout 18446744073709551616\npswpin x\npswpout 3\n",
        );
        for _ in 0..2 {
            let (text, result) = machine.collect(&SPEC, &[]);
            assert_eq!(
                sample_lines(&text).collect::<Vec<_>>(),
                [
                    "node_vmstat_pgpgin -1",
                    "node_vmstat_pgpgout 1.8446744073709552e+19",
                    "node_vmstat_pswpout 3"
                ]
            );
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with("proc/vmstat:6: bad vmstat value: \"x\""), "{error}");
        }
        let machine = Machine::new().with("proc/vmstat", "nr_foo -5\npgpgin -1\n");
        machine.collect(&SPEC, &[]).1.unwrap();
    }
}
