//! A mount that hangs, on the running kernel: a FUSE file system whose daemon (this test) does
//! not answer statfs(2), in a mount namespace of its own.
//!
//! Needs root and `/dev/fuse`; does nothing elsewhere, unless `FUSE_REQUIRED` is set: then it
//! fails.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::CloneFlags,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use tests::{
    Server,
    namespace::{enter, in_a_thread},
};

#[test]
fn a_hung_mount_is_reported_in_time_and_comes_back() {
    in_a_thread("FUSE_REQUIRED", in_namespace);
}

fn in_namespace() -> Result<(), String> {
    enter(CloneFlags::CLONE_NEWNS)?;
    let folder = tempfile::tempdir().unwrap();
    let point = folder.path().join("mnt");
    fs::create_dir(&point).unwrap();
    // Before the mount, so that a failure unmounts before it waits for the exporter's end.
    let server = exporter(folder.path());
    let fuse = Fuse::mount(&point)?;
    scrapes(&server, &fuse);
    Ok(())
}

/// An exporter that reads its own mounts as those of process 1, which is in another namespace.
fn exporter(folder: &Path) -> Server {
    let proc = folder.join("proc");
    fs::create_dir_all(proc.join("1")).unwrap();
    symlink("/proc/self/mountinfo", proc.join("1/mountinfo")).unwrap();
    for file in ["loadavg", "meminfo", "stat", "vmstat"] {
        symlink(Path::new("/proc").join(file), proc.join(file)).unwrap();
    }
    Server::start(&[
        "--no-bpf",
        "--collector.disable-defaults",
        "--collector.filesystem",
        "--collector.loadavg",
        "--collector.meminfo",
        "--collector.stat",
        "--collector.time",
        "--collector.vmstat",
        "--web.disable-exporter-metrics",
        &format!("--path.procfs={}", proc.display()),
        &format!("--collector.filesystem.mount-points-include=^(/|{}/mnt)$", folder.display()),
    ])
}

fn scrapes(server: &Server, fuse: &Fuse) {
    let healthy = scrape(server);
    assert!(healthy.has("node_filesystem_size_bytes", ""), "{healthy:?}");
    assert!(healthy.others.iter().any(|series| series.starts_with("node_vmstat_")));
    assert!(healthy.others.iter().any(|series| series.starts_with("node_filesystem_size_bytes")));

    fuse.hang();
    for _ in 0..4 {
        let hung = scrape(server);
        assert!(hung.has("node_filesystem_device_error", "mountpoint timeout"), "{hung:?}");
        assert!(!hung.has("node_filesystem_size_bytes", ""), "{hung:?}");
        assert_eq!(hung.others, healthy.others, "the rest is complete");
        assert_eq!(fuse.open(), 1, "asked once");
        assert!(server.threads("statfs") <= 2, "one thread works, one is parked");
    }

    fuse.answer();
    let start = Instant::now();
    loop {
        let again = scrape(server);
        if again.has("node_filesystem_size_bytes", "") {
            assert!(again.has("node_filesystem_device_error", ""), "{again:?}");
            assert_eq!(again.others, healthy.others);
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{again:?}");
    }
}

/// The series of one answer: those of the mount, and all others.
#[derive(Debug)]
struct Answer {
    mount: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Answer {
    fn has(&self, family: &str, error: &str) -> bool {
        let error = format!("device_error=\"{error}\"");
        self.mount.iter().any(|series| series.starts_with(family) && series.contains(&error))
    }
}

/// Scrapes as Prometheus does, with a timeout of two seconds, in which the answer must come.
fn scrape(server: &Server) -> Answer {
    let start = Instant::now();
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 2\r\n";
    let (head, body) = server.request("GET", "/metrics", header);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let body = String::from_utf8(body).unwrap();
    let series = body.lines().filter(|line| !line.starts_with('#'));
    let (mount, others) = series
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .partition(|series| series.contains("device=\"hang\""));
    Answer { mount, others }
}

/// The mounted file system, and the daemon's end of it.
struct Fuse {
    daemon: Arc<Daemon>,
    point: PathBuf,
}

struct Daemon {
    device: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hangs: bool,
    /// Calls of statfs(2) that wait for their answer.
    open: Vec<u64>,
}

impl Fuse {
    fn mount(point: &Path) -> Result<Self, String> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let device = device.map_err(|error| format!("/dev/fuse: {error}"))?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("hang"), point, Some("fuse"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|errno| format!("mount: {errno}"))?;
        let daemon = Arc::new(Daemon { device, state: Mutex::default() });
        let served = Arc::clone(&daemon);
        thread::spawn(move || served.serve());
        Ok(Self { daemon, point: point.into() })
    }

    fn hang(&self) {
        self.daemon.state.lock().unwrap().hangs = true;
    }

    /// The number of calls that wait.
    fn open(&self) -> usize {
        self.daemon.state.lock().unwrap().open.len()
    }

    /// Answers the requests that wait, and all that come.
    fn answer(&self) {
        let mut state = self.daemon.state.lock().unwrap();
        state.hangs = false;
        for unique in state.open.drain(..) {
            self.daemon.reply(unique, 0, &statfs()).unwrap();
        }
    }
}

impl Drop for Fuse {
    /// `MNT_FORCE` ends the calls that wait for an answer, and the daemon's thread.
    fn drop(&mut self) {
        let _ = umount2(&self.point, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
}

impl Daemon {
    /// Reads requests (`include/uapi/linux/fuse.h`) until the file system is unmounted.
    fn serve(&self) {
        const FORGET: u32 = 2;
        const GETATTR: u32 = 3;
        const STATFS: u32 = 17;
        const INIT: u32 = 26;
        const INTERRUPT: u32 = 36;
        const BATCH_FORGET: u32 = 42;
        const ENOSYS: i32 = 38;
        let mut request = vec![0; 256 << 10];
        while let Ok(len) = (&self.device).read(&mut request) {
            let Some(head) = request.get(..len).and_then(|request| request.first_chunk::<16>())
            else {
                return;
            };
            let [_, _, _, _, o0, o1, o2, o3, unique @ ..] = *head;
            let unique = u64::from_ne_bytes(unique);
            let replied = match u32::from_ne_bytes([o0, o1, o2, o3]) {
                FORGET | BATCH_FORGET | INTERRUPT => Ok(()),
                INIT => self.reply(unique, 0, &init()),
                GETATTR => self.reply(unique, 0, &attributes()),
                STATFS => {
                    let mut state = self.state.lock().unwrap();
                    if state.hangs {
                        state.open.push(unique);
                        Ok(())
                    } else {
                        self.reply(unique, 0, &statfs())
                    }
                }
                _ => self.reply(unique, -ENOSYS, &[]),
            };
            if replied.is_err() {
                return;
            }
        }
    }

    /// Writes a `struct fuse_out_header` and the answer after it.
    fn reply(&self, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(16 + body.len()).unwrap();
        let mut reply = Vec::from(len.to_ne_bytes());
        reply.extend(error.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        reply.extend(body);
        (&self.device).write_all(&reply)
    }
}

/// A `struct fuse_init_out`: protocol 7.31, writes of 4096 bytes, nothing special.
fn init() -> Vec<u8> {
    let mut words = [0; 16];
    (words[0], words[1], words[5]) = (7, 31, 4096);
    bytes(&words)
}

/// A `struct fuse_attr_out` of a directory.
fn attributes() -> Vec<u8> {
    let mut words = [0; 26];
    // Number, mode and links.
    (words[4], words[19], words[20]) = (1, 0o40755, 2);
    bytes(&words)
}

/// A `struct fuse_statfs_out`: 1000 blocks of 4096 bytes, half of them free.
fn statfs() -> Vec<u8> {
    let mut reply: Vec<u8> =
        [1000_u64, 500, 500, 64, 60].iter().flat_map(|number| number.to_ne_bytes()).collect();
    // Size of a block, longest name, size of a fragment.
    reply.extend(bytes(&[4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]));
    reply
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
