//! The command line, by running the program.

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
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(text), "{args:?}: {said}");
    }
}
