//! `cargo xtask vm`: boots real kernels in QEMU and tests the exporter on each.
//!
//! A machine consists of a kernel and an archive with `tests/src/bin/vm_init.rs` as its first
//! process, the exporter and the live tests, all linked statically. Emulated, not virtualized, so
//! that it runs anywhere; a boot takes some ten seconds. A kernel that complains in its log has
//! failed, even where the tests pass.

#![expect(clippy::disallowed_methods, reason = "runs cargo and QEMU, reads the project")]
#![expect(clippy::print_stdout, reason = "the task's output")]

use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

const USAGE: &str = "\
usage: cargo xtask vm [--stress | --nohz-full] [--boots=N] [--verbose] [KERNEL]…
  --stress     only the stress test, as the first thing that happens in the kernel
  --nohz-full  only whether /proc/stat serves where the kernel tracks contexts on a processor
  --boots=N    boots each kernel so often (1)
  --verbose    shows the machines' consoles
  KERNEL is an image (vmlinuz) with its modules nearby, as packages of distributions unpack them,
  or a folder with such images; target/kernels where none is given.";

/// With a target named, `RUSTFLAGS` make the programs static and leave build scripts and macros alone.
const TARGET: &str = "--target=x86_64-unknown-linux-gnu";

/// Modules of the kernel that the tests use, unless they are built in, by folder; each after those
/// that it needs.
const MODULES: [(&str, &str); 4] = [
    ("drivers/net", "veth"),
    ("net/vmw_vsock", "vsock"),
    ("net/vmw_vsock", "vmw_vsock_virtio_transport_common"),
    ("net/vmw_vsock", "vsock_loopback"),
];

/// How long a machine may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long a machine may take to switch itself off after its verdict.
const END: Duration = Duration::from_secs(20);

/// The console shows warnings and errors. A busy host keeps an emulated processor waiting: a wait
/// is no failure of its timer, and no lockup before two minutes.
const KERNEL_OPTIONS: &str = "console=ttyS0 loglevel=5 panic=-1 no_timer_check \
     watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120";

/// A line of a kernel's log with one of these texts is a complaint.
const SPLATS: [&str; 14] = [
    "------------[ cut here",
    "] BUG: ",
    "] WARNING: ",
    "] Oops",
    "] INFO: task ",
    "] Kernel panic",
    "] Call Trace",
    "general protection fault",
    "unable to handle",
    "possible recursive locking",
    "circular locking dependency",
    "suspicious RCU usage",
    "rcu: INFO",
    "soft lockup",
];

/// The options for running machines.
#[derive(Clone, Copy)]
struct Options {
    /// Words for the kernel's command line.
    words: &'static str,
    verbose: bool,
}

pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no project")?;
    let (mut options, mut boots) = (Options { words: "", verbose: false }, 1);
    let mut kernels = Vec::new();
    for argument in arguments {
        match *argument {
            "--stress" => options.words = "stress",
            "--nohz-full" => options.words = "nohz_full=1",
            "--verbose" => options.verbose = true,
            flag if let Some(n) = flag.strip_prefix("--boots=") => {
                boots = n.parse().context(USAGE)?;
            }
            flag if flag.starts_with('-') => bail!("{USAGE}"),
            path => find(Path::new(path), &mut kernels)?,
        }
    }
    if arguments.iter().all(|argument| argument.starts_with('-')) {
        find(&root.join("target/kernels"), &mut kernels).context(USAGE)?;
    }
    ensure!(!kernels.is_empty(), "no kernels\n{USAGE}");
    kernels.sort();
    let common = programs(root)?;
    let mut failed = 0;
    for kernel in &kernels {
        for _ in 0..boots {
            let start = Instant::now();
            let verdict = boot(kernel, &common, options)
                .unwrap_or_else(|error| format!("{}: FAIL: {error:#}", kernel.display()));
            println!("{verdict} ({} s)", start.elapsed().as_secs());
            failed += usize::from(!verdict.ends_with(": pass"));
        }
    }
    ensure!(failed == 0, "{failed} of {} boots failed", kernels.len() * boots);
    Ok(())
}

/// The images at or below a path.
fn find(path: &Path, kernels: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            let is_image = entry.file_name().is_some_and(|name| {
                name.to_string_lossy().starts_with("vmlinuz") && !entry.is_symlink()
            });
            if is_image || entry.is_dir() && !entry.is_symlink() && !entry.ends_with("kernel") {
                find(&entry, kernels)?;
            }
        }
    } else {
        ensure!(path.exists(), "{} is not there", path.display());
        kernels.push(path.to_owned());
    }
    Ok(())
}

/// Builds the archive that every machine gets.
fn programs(root: &Path) -> Result<Archive> {
    let mut archive = Archive::default();
    let mut cargo = |arguments: &[&str], wanted: &[(&str, &str)]| -> Result<()> {
        let output = Command::new(env!("CARGO"))
            .current_dir(root)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(arguments)
            .args(["--quiet", "--message-format=json", TARGET])
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "cargo {} fails", arguments.join(" "));
        for line in output.stdout.split(|&byte| byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let text = |value: &serde_json::Value| value.as_str().map(ToOwned::to_owned);
            let name = message.pointer("/target/name").and_then(text);
            let file = message.get("executable").and_then(text);
            if let (Some(name), Some(file)) = (name, file)
                && let Some((_, at)) = wanted.iter().find(|(wanted, _)| *wanted == name)
            {
                archive.file(at, &fs::read(&file)?);
            }
        }
        Ok(())
    };
    cargo(
        &["build", "--package=bpf_node_exporter", "--package=tests"],
        &[("bpf_node_exporter", "bpf_node_exporter"), ("vm_init", "init")],
    )?;
    cargo(
        &[
            &["test", "--no-run", "--package=tests"][..],
            &["--test=live", "--test=live_cpu", "--test=live_tasks", "--test=stress"],
        ]
        .concat(),
        &["live", "live_cpu", "live_tasks", "stress"].map(|name| (name, name)),
    )?;
    Ok(archive)
}

/// Boots one machine and returns its verdict.
fn boot(kernel: &Path, common: &Archive, options: Options) -> Result<String> {
    let mut archive = common.clone();
    archive.folder("modules");
    for (number, module) in modules(kernel).iter().enumerate() {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        let (tool, plain) = match module.extension().and_then(|e| e.to_str()) {
            Some("xz") => ("xz", name.trim_end_matches(".xz")),
            Some("zst") => ("zstd", name.trim_end_matches(".zst")),
            Some("gz") => ("gzip", name.trim_end_matches(".gz")),
            _ => ("cat", &*name),
        };
        let mut command = Command::new(tool);
        if tool != "cat" {
            command.arg("-dc");
        }
        let unpacked = command.arg(module).output().with_context(|| tool.to_owned())?;
        ensure!(unpacked.status.success(), "{} cannot be unpacked", module.display());
        archive.file(&format!("modules/{number}-{plain}"), &unpacked.stdout);
    }
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("image");
    fs::write(&image, archive.end())?;

    let mut qemu = Command::new("qemu-system-x86_64")
        // One thread emulates both processors. With two threads a processor at times runs code that
        // the other is patching, as the kernel does when a tracepoint is switched on ("Oops:
        // int3").
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2"])
        .args(["-m", "2G", "-nographic"])
        .args(["-no-reboot", "-nic", "none", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(&image)
        .arg("-append")
        .arg(format!("{KERNEL_OPTIONS} {}", options.words))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")?;
    let console = BufReader::new(qemu.stdout.take().context("no console")?);
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in console.split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                return;
            }
        }
    });
    let said = listen(&lines, options.verbose);
    let _ = qemu.kill();
    qemu.wait()?;
    let shown = said.lines.len().saturating_sub(if options.verbose { 0 } else { 60 });
    let shown = said.lines.get(shown..).unwrap_or_default().join("\n");
    match (said.verdict, said.splat) {
        (Ok(verdict), Some(splat)) => {
            bail!("{verdict}, but the kernel complains: {splat}\n{shown}")
        }
        (Err(what), Some(splat)) => bail!("{what}; the kernel complains: {splat}\n{shown}"),
        (Err(what), None) => bail!("{what}\n{shown}"),
        (Ok(verdict), None) if verdict.ends_with(": pass") => Ok(verdict),
        (Ok(verdict), None) => bail!("{verdict}\n{shown}"),
    }
}

/// The console of a machine until it ended.
struct Said {
    lines: Vec<String>,
    verdict: Result<String, &'static str>,
    /// The first line in which the kernel complains.
    splat: Option<String>,
}

/// Listens until the machine ends, which it is to do soon after its verdict.
fn listen(console: &Receiver<String>, verbose: bool) -> Said {
    let mut said = Said { lines: Vec::new(), verdict: Err("ended without a verdict"), splat: None };
    let mut until = Instant::now() + PATIENCE;
    loop {
        let line = match console.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) if said.verdict.is_err() => {
                said.verdict = Err("took too long");
                return said;
            }
            Err(_) => return said,
        };
        if verbose {
            println!("{line}");
        }
        if said.splat.is_none() && SPLATS.iter().any(|splat| line.contains(splat)) {
            said.splat = Some(line.clone());
        }
        if let Some((_, verdict)) = line.split_once("verdict: ") {
            said.verdict = Ok(verdict.to_owned());
            until = Instant::now() + END;
        }
        said.lines.push(line);
    }
}

/// Those of [`MODULES`] that belong to an image.
fn modules(kernel: &Path) -> Vec<PathBuf> {
    let image = kernel.file_name().unwrap_or_default().to_string_lossy();
    let version = image.strip_prefix("vmlinuz-").unwrap_or_default();
    let around = kernel.ancestors().skip(1).take(3).flat_map(|folder| {
        ["", "lib/modules", "usr/lib/modules"]
            .map(|below| folder.join(below).join(version).join("kernel"))
    });
    let Some(folder) = around.into_iter().find(|folder| folder.is_dir()) else {
        return Vec::new();
    };
    let built = |(below, name): (&str, &str)| {
        let file = folder.join(below).join(name);
        ["ko", "ko.xz", "ko.zst", "ko.gz"].map(|end| file.with_extension(end))
    };
    MODULES.into_iter().flat_map(built).filter(|file| file.is_file()).collect()
}

/// An archive in the form "newc" of cpio, which the kernel unpacks at boot:
/// Documentation/driver-api/early-userspace/buffer-format.rst.
#[derive(Clone, Default)]
struct Archive {
    bytes: Vec<u8>,
    folders: Vec<String>,
    entries: u32,
}

impl Archive {
    fn file(&mut self, path: &str, content: &[u8]) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(path, 0o100_755, content);
    }

    fn folder(&mut self, path: &str) {
        if self.folders.iter().any(|folder| folder == path) {
            return;
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above);
        }
        self.folders.push(path.to_owned());
        self.entry(path, 0o040_755, b"");
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        // Number, mode, owner, group, links, time, length, four of devices, name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }
}
