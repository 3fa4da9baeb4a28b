//! Size and use of mounted file systems, from statfs(2) on the mount points of process 1.
//!
//! statfs(2) may never return (a dead NFS server, a hung FUSE daemon), so it is called by the
//! threads of a [`Crew`], but for file systems that answer from memory: to wake a thread
//! takes longer than their answer. A mount that does not answer in time has `device_error` 1 until it
//! answers. The time is `--collector.filesystem.mount-timeout`, or half of the time left to a
//! scrape that must be answered earlier. Mountinfo is read at each scrape, since poll(2) does not
//! report that an error made a file system read-only; it is parsed only where its text differs from
//! the last scrape's. Device names keep the kernel's escapes (`\040`), as in `node_exporter`.

mod mounts;
mod words;

use crate::{
    host::{
        Shared,
        crew::{Crew, Panicked},
        mounts::Mounts,
    },
    prelude::*,
};
use mounts::{Mount, Place, Table, Wanted};
use rustix::{fs::StatFs, io::Errno};
use std::{
    ffi::{CStr, CString},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use words::words;

pub const SPEC: Spec = Spec {
    name: "filesystem",
    enabled: true,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[
        &POINTS_EXCLUDE,
        &OLD_POINTS_EXCLUDE,
        &POINTS_INCLUDE,
        &KINDS_EXCLUDE,
        &OLD_KINDS_EXCLUDE,
        &KINDS_INCLUDE,
        &TIMEOUT,
        &WORKERS,
    ],
    new: |host, flags| {
        let ask: Ask = Arc::new(|path| rustix::fs::statfs(path).map(|answer| Usage::from(&answer)));
        Ok(Box::new(FileSystem::new(host, flags, ask)?))
    },
};

static POINTS: FilterFlags = FilterFlags {
    old_exclude: Some(&OLD_POINTS_EXCLUDE),
    ..FilterFlags::new(&POINTS_INCLUDE, &POINTS_EXCLUDE)
};
static KINDS: FilterFlags = FilterFlags {
    old_exclude: Some(&OLD_KINDS_EXCLUDE),
    ..FilterFlags::new(&KINDS_INCLUDE, &KINDS_EXCLUDE)
};
const POINTS_EXCLUDE: Flag<Option<Pattern>> = Flag::value(
    "collector.filesystem.mount-points-exclude",
    &["^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"],
    "Regexp of mount points to exclude for filesystem collector. (mutually exclusive to \
     mount-points-include)",
);
const OLD_POINTS_EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.filesystem.ignored-mount-points",
    "Regexp of mount points to ignore for filesystem collector.",
)
.hidden();
const POINTS_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.filesystem.mount-points-include",
    "Regexp of mount points to include for filesystem collector. (mutually exclusive to \
     mount-points-exclude)",
);
const KINDS_EXCLUDE: Flag<Option<Pattern>> = Flag::value(
    "collector.filesystem.fs-types-exclude",
    &["^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|\
       iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|\
       erofs|sysfs|tracefs)$"],
    "Regexp of filesystem types to exclude for filesystem collector. (mutually exclusive to \
     fs-types-include)",
);
const OLD_KINDS_EXCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.filesystem.ignored-fs-types",
    "Regexp of filesystem types to ignore for filesystem collector.",
)
.hidden();
const KINDS_INCLUDE: Flag<Option<Pattern>> = pattern(
    "collector.filesystem.fs-types-include",
    "Regexp of filesystem types to include for filesystem collector. (mutually exclusive to \
     fs-types-exclude)",
);
const TIMEOUT: Flag<Duration> = Flag::value(
    "collector.filesystem.mount-timeout",
    &["5s"],
    "how long to wait for a mount to respond before marking it as stale",
)
.hidden();
const WORKERS: Flag<u64> = Flag::value(
    "collector.filesystem.stat-workers",
    &["4"],
    "how many stat calls to process simultaneously",
)
.hidden();

macro_rules! gauges {
    ($($name:ident $key:literal $help:literal;)*) => {$(
        static $name: Metric<4> = gauge(concat!("node_filesystem_", $key), $help)
            .by(["device", "device_error", "fstype", "mountpoint"]);
    )*};
}

gauges! {
    SIZE "size_bytes" "Filesystem size in bytes.";
    FREE "free_bytes" "Filesystem free space in bytes.";
    AVAIL "avail_bytes" "Filesystem space available to non-root users in bytes.";
    FILES "files" "Filesystem total file nodes.";
    FILES_FREE "files_free" "Filesystem total free file nodes.";
    PURGEABLE "purgeable_bytes"
        "Filesystem space available including purgeable space (MacOS specific).";
    READONLY "readonly" "Filesystem read-only status.";
    DEVICE_ERROR "device_error"
        "Whether an error occurred while getting statistics for the given device.";
}
static MOUNT_INFO: Metric<4> = gauge("node_filesystem_mount_info", "Filesystem mount information.")
    .by(["device", "major", "minor", "mountpoint"]);

type Answer = Result<Usage, Errno>;
type Ask = Arc<dyn Fn(&CStr) -> Answer + Send + Sync>;

/// The numbers that statfs(2) returns.
#[derive(Clone, Copy)]
struct Usage {
    block: f64,
    blocks: f64,
    free: f64,
    avail: f64,
    files: f64,
    files_free: f64,
}

impl From<&StatFs> for Usage {
    fn from(answer: &StatFs) -> Self {
        Self {
            block: answer.f_bsize as f64,
            blocks: answer.f_blocks as f64,
            free: answer.f_bfree as f64,
            avail: answer.f_bavail as f64,
            files: answer.f_files as f64,
            files_free: answer.f_ffree as f64,
        }
    }
}

/// The labels of a mount; mounts over one another may have the same labels.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Labels {
    device: Box<str>,
    fstype: Box<str>,
    mountpoint: Box<str>,
}

struct FileSystem {
    mounts: Shared<Mounts>,
    root: PathBuf,
    wanted: Wanted,
    timeout: Duration,
    ask: Ask,
    crew: Crew<CString, Answer>,
    /// Mountinfo as it was last parsed without an error …
    text: Vec<u8>,
    /// … and the mounts in it.
    table: Table<Answer>,
    /// The answers of this scrape.
    answers: Vec<Option<Result<Answer, Panicked>>>,
}

impl FileSystem {
    fn new(host: &Host, flags: &Flags, ask: Ask) -> Result<Self> {
        let workers = usize::try_from(flags.get(&WORKERS)).unwrap_or(1);
        host.mounts.open();
        Ok(Self {
            mounts: host.mounts.clone(),
            root: host.root.root().into(),
            wanted: Wanted { points: POINTS.read(flags)?, kinds: KINDS.read(flags)? },
            timeout: flags.get(&TIMEOUT),
            ask: Arc::clone(&ask),
            crew: Crew::new("statfs", workers, move |path: &CString| ask(path)),
            text: Vec::new(),
            table: Table::default(),
            answers: Vec::new(),
        })
    }

    /// Reads the table of mounts; a malformed line hides no other.
    fn refresh(&mut self, scrape: u64) -> Result<Result> {
        let Self { mounts, root, wanted, text, table, .. } = self;
        mounts.read(scrape, |new, path| {
            if new == *text {
                return Ok(Ok(()));
            }
            text.clear();
            let malformed = table.update(new, root, wanted);
            Ok(match malformed {
                None => {
                    text.extend_from_slice(new);
                    Ok(())
                }
                Some(source) => Err(Error::Parse { path: path.into(), source }),
            })
        })
    }

    /// Logs the mounts that stopped answering and those that answer again.
    fn log(&self) {
        for (Place { question, .. }, answer) in self.table.places.iter().zip(&self.answers) {
            if question.note(answer.is_none()) {
                let mountpoint = question.subject().to_string_lossy();
                if answer.is_some() {
                    tracing::info!(collector = "filesystem", %mountpoint, "mount point answers again");
                } else {
                    tracing::warn!(collector = "filesystem", %mountpoint, "mount point does not answer");
                }
            }
        }
    }
}

impl Collector for FileSystem {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let understood = self.refresh(out.scrape())?;
        let far = self.table.places.iter().filter(|place| !place.is_near);
        let asked = self.crew.ask(far.map(|place| &place.question), out.patience(self.timeout));
        self.answers.clear();
        self.answers.extend(self.table.places.iter().map(|Place { question, is_near, .. }| {
            if *is_near { Some(Ok((self.ask)(question.subject()))) } else { question.answer() }
        }));
        self.log();
        for mount in &self.table.mounts {
            put(mount, self.answers.get(mount.place).copied().flatten(), out);
        }
        let panicked = |answer: &Option<Result<Answer, Panicked>>| answer.and_then(Result::err);
        let panicked = self.answers.iter().find_map(panicked);
        understood.and(asked).and(panicked.map_or(Ok(()), |panicked| Err(panicked.of("statfs"))))
    }
}

fn put(mount: &Mount, answer: Option<Result<Answer, Panicked>>, out: &mut Sink) {
    let Labels { device, fstype, mountpoint } = &mount.labels;
    let (error, usage) = match answer {
        None => ("mountpoint timeout".into(), None),
        Some(Err(Panicked)) => ("panic".into(), None),
        Some(Ok(Err(error))) => (words(error), None),
        Some(Ok(Ok(usage))) => ("".into(), Some(usage)),
    };
    let mut gauge = |metric, value: f64| {
        if !mount.covered {
            out.put(metric, [device, &error, fstype, mountpoint], value);
        }
    };
    gauge(&DEVICE_ERROR, if usage.is_none() { 1.0 } else { 0.0 });
    gauge(&READONLY, if mount.read_only { 1.0 } else { 0.0 });
    let Some(usage) = usage else { return };
    gauge(&SIZE, usage.blocks * usage.block);
    gauge(&FREE, usage.free * usage.block);
    gauge(&AVAIL, usage.avail * usage.block);
    gauge(&FILES, usage.files);
    gauge(&FILES_FREE, usage.files_free);
    gauge(&PURGEABLE, 0.0);
    if let Some((major, minor)) = mount.numbers.filter(|_| !mount.repeated) {
        out.put(&MOUNT_INFO, [device, &major, &minor, mountpoint], 1);
    }
}

#[cfg(test)]
mod tests;
