//! Kernel settings that the command line chooses, from `/proc/sys`.
//!
//! `--collector.sysctl.include=NAME` exposes numbers, by `index` where the setting has several;
//! `NAME:KEY,KEY…` exposes a family for each number. `include-info` exposes the words of any value
//! as labels. Dots in the name stand for slashes. A setting that fails does not hide the others.

use crate::{exposition::Kind, parse::any_base, prelude::*};

pub const SPEC: Spec = Spec {
    name: "sysctl",
    enabled: false,
    capabilities: NONE,
    flags: &[&INCLUDE, &INCLUDE_INFO],
    new: |host, flags| {
        Ok(Box::new(Sysctl {
            numbers: flags.get(&INCLUDE).iter().map(|text| Setting::new(host, text)).collect(),
            infos: flags.get(&INCLUDE_INFO).iter().map(|text| Setting::new(host, text)).collect(),
        }))
    },
};

static INCLUDE: Flag<Vec<String>> =
    texts("collector.sysctl.include", "Select sysctl metrics to include");
static INCLUDE_INFO: Flag<Vec<String>> =
    texts("collector.sysctl.include-info", "Select sysctl metrics to include as info metrics");

static INFO: Metric<3> = gauge("node_sysctl_info", "sysctl info").by(["index", "name", "value"]);

struct Sysctl {
    numbers: Vec<Setting>,
    infos: Vec<Setting>,
}

/// One setting, and the metrics of its numbers.
struct Setting {
    name: String,
    file: File,
    single: Metric,
    indexed: Metric<1>,
    keyed: Vec<Metric>,
}

impl Setting {
    /// Reads `NAME` or `NAME:KEY,KEY…`.
    fn new(host: &Host, text: &str) -> Self {
        let (name, keys) =
            text.split_once(':').map_or((text, None), |(name, keys)| (name, Some(keys)));
        let metric = |suffix: &str, help| {
            let name = format!("node_sysctl_{}", as_metric(&format!("{name}{suffix}")));
            Metric::named(Kind::Untyped, name, help, [])
        };
        let single = metric("", format!("sysctl {name}"));
        let keyed = |(i, key): (usize, &str)| {
            metric(&format!("_{key}"), format!("sysctl {name}, field {i}"))
        };
        Self {
            file: host.proc.file(&format!("sys/{}", name.replace('.', "/"))),
            indexed: Metric {
                name: single.name.clone(),
                help: single.help.clone(),
                kind: single.kind,
                labels: ["index"],
            },
            single,
            keyed: keys
                .into_iter()
                .flat_map(|keys| keys.split(','))
                .enumerate()
                .map(keyed)
                .collect(),
            name: name.to_owned(),
        }
    }

    fn numbers(&mut self, out: &mut Sink) -> Result {
        let Self { file, single, indexed, keyed, .. } = self;
        file.parse(|text| {
            let count = check(text, keyed.len())?;
            let mut faults = Faults::default();
            for (i, word) in text.split_ascii_whitespace().enumerate() {
                let Some(number) = faults.keep(any_base(word)) else { continue };
                if let Some(metric) = keyed.get(i) {
                    out.put(metric, [], number);
                } else if count == 1 {
                    out.put(single, [], number);
                } else {
                    out.put(indexed, [&i], number);
                }
            }
            faults.end()
        })
    }

    fn info(&mut self, out: &mut Sink) -> Result {
        let Self { name, file, keyed, .. } = self;
        file.parse(|text| {
            check(text, keyed.len())?;
            if !keyed.is_empty() {
                return Err(Malformed::new("info: it takes no keys, value", text.trim()));
            }
            for (i, word) in text.split_ascii_whitespace().enumerate() {
                out.put(&INFO, [&i, &*name, &word], true);
            }
            Ok(())
        })
    }
}

impl Collector for Sysctl {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let mut faults = Faults::default();
        for setting in &mut self.numbers {
            faults.keep(setting.numbers(out));
        }
        for setting in &mut self.infos {
            faults.keep(setting.info(out));
        }
        faults.end()
    }
}

/// The number of words, which must equal the number of keys where keys are given. A setting may be
/// empty, for example the list `net.ipv4.ip_local_reserved_ports`.
fn check(text: &str, keys: usize) -> Result<usize, Malformed> {
    let count = text.split_ascii_whitespace().count();
    if count > 0 && keys > 0 && keys != count {
        return Err(Malformed::new("number of keys for the values", text.trim()));
    }
    Ok(count)
}

/// The name as a part of a metric's name: each run of characters that such a name may not have
/// becomes, with the underscores around the run, one underscore.
fn as_metric(name: &str) -> String {
    let mut metric = String::with_capacity(name.len());
    let mut rest = name;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(i) = rest.find(|c| !is_plain(c)) {
        let (before, after) = rest.split_at(i);
        metric.push_str(before.trim_end_matches('_'));
        metric.push('_');
        rest = after.trim_start_matches(|c: char| !is_plain(c));
        rest = rest.trim_start_matches('_');
    }
    metric + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, sample_lines};

    fn collect(file: &str, args: &[&str]) -> (String, Result) {
        let machine = Machine::new().with("proc/sys/net/ipv4/a_b", file);
        let (text, result) = machine.collect(&SPEC, args);
        (sample_lines(&text).collect::<Vec<_>>().join("\n"), result)
    }

    #[test]
    fn values_are_single_indexed_or_keyed() {
        for (file, flag, want) in [
            ("7\n", "include=net.ipv4.a_b", "node_sysctl_net_ipv4_a_b 7"),
            (
                "7\t-8\n",
                "include=net/ipv4/a_b",
                "node_sysctl_net_ipv4_a_b{index=\"0\"} 7\nnode_sysctl_net_ipv4_a_b{index=\"1\"} -8",
            ),
            ("\n", "include=net.ipv4.a_b", ""),
            ("\n", "include=net.ipv4.a_b:low,high", ""),
            (
                "18446744073692774399\n",
                "include=net.ipv4.a_b",
                "node_sysctl_net_ipv4_a_b 1.8446744073692774e+19",
            ),
            (
                "7 8\n",
                "include=net.ipv4.a_b:low,high",
                "node_sysctl_net_ipv4_a_b_high 8\nnode_sysctl_net_ipv4_a_b_low 7",
            ),
            (
                "x y\n",
                "include-info=net.ipv4.a_b",
                "node_sysctl_info{index=\"0\",name=\"net.ipv4.a_b\",value=\"x\"} 1\n\
                 node_sysctl_info{index=\"1\",name=\"net.ipv4.a_b\",value=\"y\"} 1",
            ),
        ] {
            let (text, result) = collect(file, &[&format!("--collector.sysctl.{flag}")]);
            result.unwrap();
            assert_eq!(text, want);
        }
    }

    #[test]
    fn values_that_do_not_fit_the_flag_hide_no_other() {
        for (file, flag, want) in [
            ("1 x\n", "include=net.ipv4.a_b", "bad number: \"x\""),
            ("1\n", "include=net.ipv4.a_b:a,b", "bad number of keys for the values: \"1\""),
            ("1 2\n", "include=net.ipv4.a_b:a", "bad number of keys for the values: \"1 2\""),
            (
                "1 2\n",
                "include-info=net.ipv4.a_b:a,b",
                "bad info: it takes no keys, value: \"1 2\"",
            ),
        ] {
            let flag = format!("--collector.sysctl.{flag}");
            let error = collect(file, &[&flag]).1.unwrap_err().to_string();
            assert!(error.ends_with(&format!("/proc/sys/net/ipv4/a_b: {want}")), "{error}");
        }
        let include = "--collector.sysctl.include";
        let (text, _) = collect("x 0x10\n", &[&format!("{include}=net.ipv4.a_b:low,high")]);
        assert_eq!(text, "node_sysctl_net_ipv4_a_b_high 16");
        let (text, result) =
            collect("7\n", &[&format!("{include}=absent"), &format!("{include}=net.ipv4.a_b")]);
        assert_eq!(text, "node_sysctl_net_ipv4_a_b 7");
        assert!(result.unwrap_err().is_absent());
    }

    #[test]
    fn names_become_metrics_names() {
        assert_eq!(as_metric("net.ipv4.conf.eth0/1._-_x"), "net_ipv4_conf_eth0_1__x");
        assert_eq!(as_metric("a__b.c_"), "a__b_c_");
        assert_eq!(as_metric("a_._"), "a_");
    }

    #[test]
    fn texts_need_not_be_utf8() {
        let machine = Machine::new().with("proc/sys/kernel/domainname", b"ex\xe4mple\n");
        let (text, result) =
            machine.collect(&SPEC, &["--collector.sysctl.include-info=kernel.domainname"]);
        result.unwrap();
        assert!(text.ends_with("value=\"ex\u{fffd}mple\"} 1\n"), "{text}");
    }
}
