use super::*;
use crate::testing::{Machine, malformed, sample_lines};

const HEAD: &str = "device a:/x mounted on /x with fstype nfs4 statvers=1.1\n";

fn collect(stats: &[u8], info: &str) -> (String, Result) {
    let machine =
        Machine::new().with("proc/self/mountstats", stats).with("proc/self/mountinfo", info);
    let (text, result) = machine.collect(&SPEC, &[]);
    (sample_lines(&text).flat_map(|line| [line, "\n"]).collect(), result)
}

fn run(stats: &[u8], info: &str) -> String {
    let (text, result) = collect(stats, info);
    result.unwrap();
    text
}

fn info(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("node_mountstats_nfs_mountpoint_info")).collect()
}

#[test]
fn transports_have_the_places_of_tcp() {
    let read = |version: &str, line: &'static str| {
        let mut values = [None; 13];
        let mut words = line.split_ascii_whitespace();
        let protocol = words.next().unwrap_or_default();
        (parse::transport(version.as_bytes(), protocol, words, &mut values), values)
    };
    let all = |values: [u32; 13]| (Ok(()), values.map(|value| Some(f64::from(value))));
    let tcp = all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(read("1.1", "tcp 1 2 3 4 5 6 7 8 9 10 11 12 13"), tcp);
    assert_eq!(read("1.1", "tcp 1 2 3 4 5 6 7 8 9 10 11 12 13 x"), tcp);
    let old = all([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0]);
    assert_eq!(read("1.0", "tcp 1 2 3 4 5 6 7 8 9 10"), old);
    let udp = all([1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(read("1.1", "udp 1 2 6 7 8 9 10 11 12 13"), udp);
    let old_udp = all([1, 2, 0, 0, 0, 6, 7, 8, 9, 10, 0, 0, 0]);
    assert_eq!(read("1.0", "udp 1 2 6 7 8 9 10"), old_udp);
    let rdma = "rdma 1 2 3 4 5 6 7 8 9 10 99 99 99 99 99 99 99 99 99 99";
    assert_eq!(read("1.1", rdma), old);
    assert_eq!(malformed(read("1.1", "tcp 1 2").0), "bad number of values: \"tcp\"");
    let (result, values) = read("1.0", "tcp 1 x 3 4 -5 6 7 8 9 18446744073709551616");
    assert_eq!(malformed(result), "bad value: \"x\"");
    assert_eq!((values[1], values[4]), (None, Some(-5.0)));
    assert_eq!(values[9], Some(1.844_674_407_370_955_2e19));
    for other in [read("1.0", "rdma 1"), read("1.2", "tcp 1"), read("1.1", "local 1 2")] {
        assert_eq!(other, (Ok(()), [None; 13]));
    }
}

#[test]
fn a_malformed_line_hides_no_other() {
    let other = HEAD.replace("/x", "/y");
    let good = "\txprt:\tudp 1 2 6 7 8 9 10 11 12 13\n";
    for (bad, wrong) in [
        (&b"\txprt:\ttcp 1\n"[..], "2: bad number of values: \"tcp\""),
        (b"\txprt:\n", "2: bad protocol: \"\""),
        (b"\txprt:\tsctp 1\n", ""),
        (b"\tx\n", ""),
        (b"", ""),
    ] {
        let text = [HEAD.as_bytes(), bad, b"\n", other.as_bytes(), good.as_bytes()].concat();
        let (text, result) = collect(&text, "");
        let error = result.map_or_else(|error| error.to_string(), |()| String::new());
        assert!(error.ends_with(wrong) && error.is_empty() == wrong.is_empty(), "{error}");
        let line = concat!(
            "node_mountstats_nfs_mountpoint_info",
            r#"{export="a:/y",mountaddr="",mountpoint="/y",protocol="udp"} 1"#
        );
        assert!(info(&text).contains(&line), "{bad:?}: {text}");
    }
    let lines = b"\tage:\tx\n\tbytes:\t1 y 3 4 5 6 7 8\n\t\xff\n\tper-op statistics\n\
        \tREAD: 1 2\n\tnovel 7\n\tWRITE: -1 2 3 4 5 -6000 7 8 9\n";
    let (text, result) = collect(&[HEAD.as_bytes(), good.as_bytes(), lines].concat(), "");
    let error = result.unwrap_err().to_string();
    assert!(error.ends_with("self/mountstats:3: bad value: \"x\""), "{error}");
    let of = |name: &str| {
        let lines = text.lines().filter(|line| line.contains(name));
        lines.map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        (of("_age_"), of("nfs_read_bytes"), of("nfs_write_bytes")),
        (vec![], vec!["1"], vec![])
    );
    assert_eq!(of("operations_requests"), ["1", "-1"]);
    assert_eq!(of("operations_queue_time"), ["-6"]);
    assert_eq!(of("transport_bind"), ["2"]);
}

#[test]
fn mounts_of_one_export_share_counters_and_keep_their_mount_points() {
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
fn without_mountinfo_there_is_no_address() {
    let stats = [HEAD, "\txprt:\tudp 1 2 6 7 8 9 10 11 12 13\n"].concat();
    let (text, result) = Machine::new().with("proc/self/mountstats", stats).collect(&SPEC, &[]);
    assert!(result.unwrap_err().to_string().contains("self/mountinfo: "));
    assert_eq!(info(&text).len(), 1, "{text}");
}
