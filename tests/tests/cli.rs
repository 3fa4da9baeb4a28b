//! The command line, by running the program.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "shells run the program")]

use std::process::Command;
use tests::run;

#[test]
fn help_and_version_are_printed() {
    let help = run(&["-h"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("--[no-]collector.loadavg"));
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("bpf_node_exporter, version "));
}

#[test]
fn mistakes_end_with_1_and_name_the_flag() {
    for (args, text) in [
        (&["--collector.loadavgg"][..], "did you mean '--collector.loadavg'"),
        (&["--collector.vmstat.fields"], "--collector.vmstat.fields"),
        (&["--collector.arp.device-include=a("], "a("),
        (
            &["--collector.arp.device-include=a", "--collector.arp.device-exclude=b"],
            "--collector.arp.device-include and --collector.arp.device-exclude",
        ),
        (&["--web.config.file=x"], "--web.config.file"),
        (&["--web.listen-address=nowhere"], "nowhere"),
        (&["--bpf.required", "--no-bpf"], "--bpf.required"),
        (&["unexpected"], "unexpected"),
        (&["--web.listen-address=9400"], "a port is written behind a colon: :9400"),
        (&["--web.listen-address=::1:9400"], "write [::1]:9400"),
        (&["--web.listen-address=:99999"], "ports are numbers from 0 to 65535"),
        (&["--web.telemetry-path="], "write /metrics"),
        (&["--web.telemetry-path=metrics"], "write /metrics"),
        (&["--web.telemetry-path=/a b"], "cannot be in a path"),
        (&["--collector.loadavg=false"], "write --no-collector.loadavg"),
        (&["--path.procfs=/nonexistent"], "--path.procfs=/nonexistent: it is no directory"),
        (&["--path.sysfs=/etc/passwd"], "--path.sysfs=/etc/passwd: it is no directory"),
        (&["--collector.arp.device-include=(?x)a"], "invalid or unsupported Perl syntax: `(?x`"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(text), "{args:?}: {said}");
    }
}

/// The words that the script for bash offers after the `typed` text.
fn completed(typed: &str) -> String {
    let folder = tests::program().parent().unwrap().display();
    let script = format!(
        r#"PATH={folder}:$PATH; source <(bpf_node_exporter --completion-script-bash) &&
        COMP_WORDS=(bpf_node_exporter {typed}) COMP_CWORD=1 && _bpf_node_exporter &&
        echo "${{COMPREPLY[@]}}""#
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_flags() {
    assert_eq!(completed("--log."), "--log.level --log.format\n");
    assert_eq!(completed("--no-collector.loa"), "--no-collector.loadavg\n");
    assert_eq!(completed("file"), "\n");
}

#[test]
fn the_manual_page_has_no_mistake() {
    let page = run(&["--help-man"]);
    assert!(page.status.success());
    let text = String::from_utf8(page.stdout).unwrap();
    assert!(text.starts_with(".TH bpf_node_exporter 1 "), "{text}");
}

#[test]
fn few_descriptors_end_the_start_with_a_sentence() {
    for most in [8, 12, 20, 63] {
        let output = tests::run_with_limits(&format!("-n {most}"), &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{most}: {said}");
        let sentence = format!("{most} open files are too few, it takes 64 at least: raise");
        assert!(said.contains(&sentence) && !said.contains("panic"), "{most}: {said}");
    }
}

#[test]
fn inherited_descriptors_that_fill_the_limit_end_the_start_with_a_sentence() {
    let open = "for fd in $(seq 3 60); do eval \"exec $fd< /dev/null\"; done; ulimit -n 64";
    let script = format!("{open}; exec timeout 60 {}", tests::program().display());
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("too many open files: raise the limit"), "{said}");
}
