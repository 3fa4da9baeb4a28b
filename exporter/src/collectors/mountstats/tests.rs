use super::*;
use crate::testing::{Machine, malformed, sample_lines};

const HEAD: &str = "device a:/x mounted on /x with fstype nfs4 statvers=1.1\n";

fn run(stats: &[u8], info: &str) -> String {
    let machine =
        Machine::new().with("proc/self/mountstats", stats).with("proc/self/mountinfo", info);
    let (text, result) = machine.collect(&SPEC, &[]);
    result.unwrap();
    sample_lines(&text).flat_map(|line| [line, "\n"]).collect()
}

fn info(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("node_mountstats_nfs_mountpoint_info")).collect()
}

#[test]
fn transports_have_the_places_of_tcp() {
    let read = |version: &str, line: &'static str| {
        parse::transport(version.as_bytes(), line.split_ascii_whitespace())
    };
    let tcp = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
    assert_eq!(read("1.1", "tcp 1 2 3 4 5 6 7 8 9 10 11 12 13"), Ok(("tcp", tcp)));
    assert_eq!(read("1.1", "tcp 1 2 3 4 5 6 7 8 9 10 11 12 13 14"), Ok(("tcp", tcp)));
    let old = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0];
    assert_eq!(read("1.0", "tcp 1 2 3 4 5 6 7 8 9 10"), Ok(("tcp", old)));
    let udp = [1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13];
    assert_eq!(read("1.1", "udp 1 2 6 7 8 9 10 11 12 13"), Ok(("udp", udp)));
    let old_udp = [1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 0, 0, 0];
    assert_eq!(read("1.0", "udp 1 2 6 7 8 9 10"), Ok(("udp", old_udp)));
    let rdma = "rdma 1 2 3 4 5 6 7 8 9 10 99 99 99 99 99 99 99 99 99 99";
    assert_eq!(read("1.1", rdma), Ok(("rdma", old)));
    assert_eq!(malformed(read("1.1", "tcp 1 2")), "bad number of values: \"tcp\"");
    assert_eq!(malformed(read("1.1", "tcp 1 x")), "bad value: \"x\"");
    assert_eq!(malformed(read("1.0", "rdma 1")), "bad protocol: \"rdma\"");
    assert_eq!(malformed(read("1.2", "tcp 1")), "bad protocol: \"tcp\"");
    assert_eq!(malformed(read("1.1", "")), "bad protocol: \"\"");
}

#[test]
fn a_malformed_mount_does_not_hide_the_others() {
    let other = HEAD.replace("/x", "/y");
    let good = "\txprt:\tudp 1 2 6 7 8 9 10 11 12 13\n";
    for bad in
        [&b"\txprt:\ttcp 1\n"[..], b"\txprt:\n", b"\txprt:\tsctp 1\n", b"\t\xff\n", b"\tx\n", b""]
    {
        let text = [HEAD.as_bytes(), bad, b"\n", other.as_bytes(), good.as_bytes()].concat();
        let text = run(&text, "");
        assert_eq!(
            info(&text),
            [concat!(
                "node_mountstats_nfs_mountpoint_info",
                r#"{export="a:/y",mountaddr="",mountpoint="/y",protocol="udp"} 1"#
            )],
            "{bad:?}"
        );
    }
}

#[test]
fn mounts_of_one_export_are_told_once_and_all_their_points() {
    let transport = "\txprt:\ttcp 1 2 3 4 5 6 7 8 9 10 11 12 13\n";
    let stats: String = ["/x", "/z"]
        .iter()
        .map(|point| {
            [&HEAD.replace("on /x", &format!("on {point}")), transport, transport].concat()
        })
        .collect();
    let text = run(stats.as_bytes(), "");
    assert_eq!(info(&text).len(), 2, "{text}");
    let binds: Vec<_> = text.lines().filter(|line| line.contains("_bind_total")).collect();
    assert_eq!(binds.len(), 2, "{text}");
    assert!(binds.iter().any(|line| line.ends_with("transport=\"1\"} 2")), "{text}");
}

#[test]
fn the_address_is_that_of_the_same_mount() {
    let mount = |point: &str, device: &str, options: &str| {
        format!("1 2 0:3 / {point} rw shared:1 - nfs4 {device} {options}\n")
    };
    let stats = format!(
        "no device mounted on / with fstype rootfs\n{HEAD}\txprt:\tudp 1 2 6 7 8 9 10 11 12 13\n"
    );
    for (lines, wanted) in [
        (
            [mount("/", "none", "rw"), mount("/x", "a:/x", "rw,mountaddr=1,addr=::2")].concat(),
            "::2",
        ),
        ([mount("/x", "a:/x", "addr=3"), mount("/", "none", "rw")].concat(), "3"),
        ([mount("/", "none", "rw"), mount("/w", "a:/x", "addr=4")].concat(), ""),
        (mount("/x", "b:/x", "addr=5"), ""),
        ("\n\n".into(), ""),
    ] {
        let text = run(stats.as_bytes(), &lines);
        assert!(info(&text)[0].contains(&format!("mountaddr=\"{wanted}\"")), "{lines}{text}");
    }
}

#[test]
fn counters_have_64_bits_and_negative_times_begin_anew() {
    const XPRT: &str = "\txprt:\tudp 1 2 6 7 8 9 10 11 12 13\n";
    const MAX: u64 = u64::MAX;
    let bytes = format!("\tage:\t{MAX}\n\tbytes:\t{MAX} 1 2 3 4 5 6 7 \n");
    let events = format!("\tevents:\t{MAX} {}\n", "0 ".repeat(26));
    let operation = format!("\tper-op statistics\n\t  READ: 1 2 3 4 5 {} 7 8 9\n", MAX - 999);
    let text = run([HEAD, &bytes, &events, XPRT, &operation].concat().as_bytes(), "");
    let value = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(&format!("node_mountstats_nfs_{name}{{")));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value("age_seconds_total"), "1.8446744073709552e+19");
    assert_eq!(value("read_bytes_total"), "1.8446744073709552e+19");
    assert_eq!(value("event_inode_revalidate_total"), "1.8446744073709552e+19");
    assert_eq!(value("operations_queue_time_seconds_total"), "9.007199254739992e+12");
    assert_eq!(value("operations_request_time_seconds_total"), "0.008");
}

#[test]
fn both_files_are_needed() {
    let (_, result) = Machine::new().with("proc/self/mountstats", "").collect(&SPEC, &[]);
    assert!(result.unwrap_err().to_string().contains("self/mountinfo: "));
}
