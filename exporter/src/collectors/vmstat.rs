//! Virtual memory events and states, from `/proc/vmstat`.
//!
//! One name and one number a line (`mm/vmstat.c`). Which names there are depends on the kernel;
//! which are exposed, on `--collector.vmstat.fields`. Both are settled when a name is first seen.

use crate::{exposition::Kind, prelude::*};

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
    /// The fields in the order of the file; those that are not wanted have no metric.
    known: Vec<(Box<str>, Option<Metric>)>,
}

impl Collector for VmStat {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { file, wanted, known } = self;
        let mut place = 0;
        file.parse(|text| {
            each(text, |name, value| {
                if known.get(place).is_none_or(|(known, _)| **known != *name) {
                    known.truncate(place); // the first scrape, or another kernel's file
                    known.push((name.into(), wanted.matches(name).then(|| metric(name))));
                }
                if let Some((_, Some(metric))) = known.get(place) {
                    out.put(metric, [], value);
                }
                place += 1;
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

fn each(text: &str, mut field: impl FnMut(&str, u64)) -> Result<(), Malformed> {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let Some(name) = words.next() {
            field(name, words.number("vmstat value")?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, check, expect, malformed};

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
    fn refuses_what_is_no_number() {
        let parse = |text| each(text, |_, _| ());
        assert_eq!(parse("\na 1\n\n"), Ok(()));
        assert_eq!(malformed(parse("a")), "bad vmstat value: \"\"");
        assert_eq!(malformed(parse("a b")), "bad vmstat value: \"b\"");
        let machine =
            Machine::new().with("proc/vmstat", "pgpgin 1\npgpgout 18446744073709551616\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("\nnode_vmstat_pgpgin 1\n") && !text.contains("pgpgout"));
        let error = result.unwrap_err().to_string();
        assert!(
            error.ends_with("proc/vmstat: bad vmstat value: \"18446744073709551616\""),
            "{error}"
        );
    }
}
