use super::*;
use crate::testing::{Machine, expect, flags, paths, samples};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::channel,
    },
    time::Instant,
};

const USAGE: Usage = Usage {
    block: 4096.0,
    blocks: 1000.0,
    free: 500.0,
    avail: 450.0,
    files: 64.0,
    files_free: 60.0,
};

fn filesystem(machine: &Machine, args: &[&str], ask: Ask) -> FileSystem {
    let mut all = paths(machine.path());
    all.retain(|flag| !flag.starts_with("--path.rootfs"));
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    let flags = flags(&all);
    FileSystem::new(&Host::new(&flags), &flags, ask).unwrap()
}

fn scrape(collector: &mut FileSystem, number: u64) -> (String, Result) {
    let mut result = Ok(());
    let text = samples(|out| {
        out.begin(number);
        result = collector.collect(out);
    });
    (text, result)
}

fn machine(mountinfo: impl AsRef<[u8]>) -> Machine {
    Machine::new().with("proc/1/mountinfo", mountinfo)
}

#[test]
fn a_mount_that_does_not_answer_delays_a_scrape_once_and_comes_back() {
    let (release, hung) = channel::<()>();
    let hung = Mutex::new(hung);
    let machine = machine(
        "1 1 8:1 / / rw - btrfs /dev/sda1 rw\n\
         2 1 0:50 / /mnt/nfs ro - nfs4 server:/export rw\n",
    );
    let mut collector = filesystem(
        &machine,
        &["--collector.filesystem.mount-timeout=500ms", "--collector.filesystem.stat-workers=1"],
        Arc::new(move |path| {
            if path == c"/mnt/nfs" {
                let _ = hung.lock().unwrap().recv();
            }
            Ok(USAGE)
        }),
    );
    let silent = expect![[r#"
        node_filesystem_avail_bytes{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 1.8432e+06
        node_filesystem_device_error{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 0
        node_filesystem_device_error{device="server:/export",device_error="mountpoint timeout",fstype="nfs4",mountpoint="/mnt/nfs"} 1
        node_filesystem_files{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 64
        node_filesystem_files_free{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 60
        node_filesystem_free_bytes{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 2.048e+06
        node_filesystem_mount_info{device="/dev/sda1",major="8",minor="1",mountpoint="/"} 1
        node_filesystem_purgeable_bytes{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 0
        node_filesystem_readonly{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 0
        node_filesystem_readonly{device="server:/export",device_error="mountpoint timeout",fstype="nfs4",mountpoint="/mnt/nfs"} 1
        node_filesystem_size_bytes{device="/dev/sda1",device_error="",fstype="btrfs",mountpoint="/"} 4.096e+06
    "#]];
    let (first, result) = scrape(&mut collector, 1);
    result.unwrap();
    silent.assert_eq(&first);

    // A mount that has not answered is not waited for again, even with a timeout of an hour.
    collector.timeout = Duration::from_secs(3600);
    for number in 2..5 {
        assert_eq!(scrape(&mut collector, number).0, first);
        assert_eq!(collector.crew.threads(), (2, 1), "one thread works, one is parked");
    }
    drop(release);
    while collector.table.places[1].question.answer().is_none() {
        std::thread::yield_now();
    }
    let (text, _) = scrape(&mut collector, 5);
    assert!(text.contains("_size_bytes{device=\"server:/export\",device_error=\"\""), "{text}");
    assert!(!text.contains("timeout"), "{text}");
}

#[test]
fn a_scrape_does_not_wait_beyond_its_own_deadline() {
    let (_release, hung) = channel::<()>();
    let hung = Mutex::new(hung);
    let machine = machine("1 1 0:50 / /mnt rw - nfs4 server:/export rw\n");
    let ask: Ask = Arc::new(move |_| {
        let _ = hung.lock().unwrap().recv();
        Ok(USAGE)
    });
    let mut collector = filesystem(&machine, &["--collector.filesystem.mount-timeout=1h"], ask);
    let text = samples(|out| {
        out.due(Some(Instant::now() + Duration::from_millis(40)));
        collector.collect(out).unwrap();
    });
    assert!(text.contains("mountpoint timeout"), "{text}");
}

#[test]
fn what_answers_from_memory_is_asked_without_a_thread() {
    let machine =
        machine("1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:5 / /run rw - tmpfs tmpfs rw\n");
    let here = std::thread::current().id();
    let ask: Ask = Arc::new(move |_| {
        assert_eq!(std::thread::current().id(), here);
        Ok(USAGE)
    });
    let mut collector = filesystem(&machine, &[], ask);
    let (text, result) = scrape(&mut collector, 1);
    result.unwrap();
    assert_eq!(text.matches("_size_bytes{").count(), 2, "{text}");
    assert_eq!(collector.crew.threads(), (0, 0));
}

#[test]
fn a_panic_is_the_error_of_one_mount_which_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let machine =
        machine("1 1 8:1 / /bad rw - vfat /dev/sda1 rw\n2 1 8:2 / /good rw - vfat /dev/sda2 rw\n");
    let ask: Ask = Arc::new(move |path| {
        assert!(path != c"/bad" || asked.fetch_add(1, SeqCst) > 0, "on purpose");
        Ok(USAGE)
    });
    let mut collector = filesystem(&machine, &[], ask);
    let (text, result) = scrape(&mut collector, 1);
    assert!(
        text.contains("device_error=\"panic\",fstype=\"vfat\",mountpoint=\"/bad\"} 1"),
        "{text}"
    );
    assert!(text.contains("device_error=\"\",fstype=\"vfat\",mountpoint=\"/good\"} 0"), "{text}");
    assert_eq!(result.unwrap_err().to_string(), "statfs: panic in a question");
    let (text, result) = scrape(&mut collector, 2);
    assert!(text.contains("device_error=\"\",fstype=\"vfat\",mountpoint=\"/bad\"} 0"), "{text}");
    result.unwrap();
}

#[test]
fn errors_are_told_in_gos_words() {
    let machine =
        machine("1 1 8:1 / /gone rw - ext4 /dev/sda1 rw\n2 1 8:2 / /odd ro - ext4 /dev/sda2 rw\n");
    let ask: Ask = Arc::new(|path| {
        Err(if path == c"/gone" { Errno::STALE } else { Errno::from_raw_os_error(4000) })
    });
    expect![[r#"
        node_filesystem_device_error{device="/dev/sda1",device_error="stale NFS file handle",fstype="ext4",mountpoint="/gone"} 1
        node_filesystem_device_error{device="/dev/sda2",device_error="errno 4000",fstype="ext4",mountpoint="/odd"} 1
        node_filesystem_readonly{device="/dev/sda1",device_error="stale NFS file handle",fstype="ext4",mountpoint="/gone"} 0
        node_filesystem_readonly{device="/dev/sda2",device_error="errno 4000",fstype="ext4",mountpoint="/odd"} 1
    "#]]
    .assert_eq(&scrape(&mut filesystem(&machine, &[], ask), 1).0);
}

#[test]
fn names_of_any_bytes_reach_the_kernel_as_they_are() {
    let machine = machine(b"1 1 8:1 / /a\\040b\\134c\xff rw - ext4 //server/a\\040b rw\n");
    let ask: Ask =
        Arc::new(
            |path| {
                if path.to_bytes() == b"/a b\\c\xff" { Ok(USAGE) } else { Err(Errno::NOENT) }
            },
        );
    let (text, result) = scrape(&mut filesystem(&machine, &[], ask), 1);
    result.unwrap();
    let want = "node_filesystem_device_error{device=\"//server/a\\\\040b\",device_error=\"\",\
                fstype=\"ext4\",mountpoint=\"/a b\\\\c\u{fffd}\"} 0\n";
    assert!(text.contains(want), "{text}");
}

#[test]
fn changed_mounts_are_seen_at_the_next_scrape_and_a_broken_line_is_reported() {
    let ask = || -> Ask { Arc::new(|_| Ok(USAGE)) };
    let machine = machine("1 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    let mut collector = filesystem(&machine, &[], ask());
    assert!(scrape(&mut collector, 1).0.contains(
        "readonly{device=\"/dev/sda1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 0"
    ));
    let machine = machine.with("proc/1/mountinfo", "1 1 8:1 / / ro - ext4 /dev/sda1 rw\nx\n");
    for number in 2..4 {
        let (text, result) = scrape(&mut collector, number);
        assert!(text.contains(
            "readonly{device=\"/dev/sda1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/\"} 1"
        ));
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("/proc/1/mountinfo:2: bad parent's mount ID: \"x\""), "{error}");
    }
    drop(machine);
}

#[test]
fn mounts_over_one_another_give_each_series_once() {
    let machine = machine(
        "1 1 0:30 / /shm rw - tmpfs tmpfs rw\n\
         2 1 0:31 / /shm ro - tmpfs tmpfs rw\n\
         3 1 8:1 / /shm rw - ext4 /dev/sda1 rw\n",
    );
    let (text, _) = scrape(&mut filesystem(&machine, &[], Arc::new(|_| Ok(USAGE))), 1);
    let lines: String = (text.split_inclusive('\n'))
        .filter(|line| line.contains("mount_info") || line.contains("readonly"))
        .collect();
    expect![[r#"
        node_filesystem_mount_info{device="/dev/sda1",major="8",minor="1",mountpoint="/shm"} 1
        node_filesystem_mount_info{device="tmpfs",major="0",minor="30",mountpoint="/shm"} 1
        node_filesystem_mount_info{device="tmpfs",major="0",minor="31",mountpoint="/shm"} 1
        node_filesystem_readonly{device="/dev/sda1",device_error="",fstype="ext4",mountpoint="/shm"} 0
        node_filesystem_readonly{device="tmpfs",device_error="",fstype="tmpfs",mountpoint="/shm"} 1
    "#]]
    .assert_eq(&lines);
}

#[test]
fn mounts_are_chosen_by_place_and_type() {
    let machine = machine(
        "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         2 1 0:5 / /dev rw - tmpfs tmpfs rw\n\
         3 1 0:6 / /run rw - tmpfs tmpfs rw\n\
         4 1 0:7 / /snap rw - squashfs /dev/loop0 ro\n",
    );
    let seen = |args: &[&str]| {
        let (text, _) = scrape(&mut filesystem(&machine, args, Arc::new(|_| Ok(USAGE))), 1);
        let part =
            |line: &str| Some(line.split_once("mountpoint=\"")?.1.split_once('"')?.0.to_owned());
        (text.lines().filter(|line| line.contains("_files{"))).filter_map(part).collect::<Vec<_>>()
    };
    assert_eq!(seen(&[]), ["/", "/run"]);
    assert_eq!(seen(&["--collector.filesystem.fs-types-include=^tmpfs$"]), ["/run"]);
    assert_eq!(
        seen(&[
            "--collector.filesystem.mount-points-include=^/(dev|snap)$",
            "--collector.filesystem.ignored-fs-types=^$",
        ]),
        ["/snap", "/dev"]
    );
    assert_eq!(seen(&["--collector.filesystem.ignored-mount-points=^/$"]), ["/dev", "/run"]);
}
