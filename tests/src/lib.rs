//! The parts that tests over the whole exporter share: the built program, run on a machine.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::zombie_processes,
    reason = "a test that cannot go on panics"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the program")]

pub mod asleep;
pub mod known;
pub mod source;
pub mod supervisord;
pub mod thresholds;
pub mod tls;

use std::{
    fs::{File, Permissions},
    io::{BufRead as _, BufReader, Read, Write as _},
    net::TcpStream,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;
pub use testbed::{namespace, network};

/// The bcrypt hash of the password `right`, made by libxcrypt.
pub const HASH_OF_RIGHT: &str = "$2b$04$sakqicJS2lInQApP5wHBD.FrvW4I.89of3b7vjpWgr.1IqowOBy7O";

/// The program, built by cargo in the profile of the tests.
///
/// # Panics
/// The program does not build.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--package", "bpf_node_exporter"])
            .current_dir(root)
            .status()
            .expect("cargo");
        assert!(built.success(), "the program does not build");
        let tests = std::env::current_exe().expect("a path"); // target/<profile>/deps/<test>
        let folder = tests.parent().and_then(|deps| deps.parent()).expect("a target folder");
        folder.join("bpf_node_exporter")
    })
}

/// Runs the program to its end, which comes within a minute: a program that serves instead is
/// ended then.
///
/// # Panics
/// The program cannot be started.
pub fn run(args: &[&str]) -> Output {
    run_with_limits("", args)
}

/// The same, under the limits that these options of `ulimit` set.
///
/// # Panics
/// The program cannot be started.
pub fn run_with_limits(ulimit: &str, args: &[&str]) -> Output {
    limited(ulimit, Command::new("timeout").arg("60").arg(program()).args(args))
        .output()
        .expect("the program starts")
}

/// The program, serving on a free port; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The address on which it listens.
    pub address: String,
    /// The rest of its log, where the test leaves it unread.
    log: Option<BufReader<ChildStderr>>,
}

/// A temporary folder, in memory if possible: a copy of the baseline machine has hundreds of files,
/// each of which tests write again and again.
///
/// # Panics
/// The folder cannot be made.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a temporary folder")
}

/// A command that runs the program without privileges, from a copy of it in this folder: nobody may
/// search the folders of the project.
///
/// # Panics
/// The program cannot be copied.
pub fn unprivileged(folder: &Path) -> Command {
    /// The user where the test is root.
    const NOBODY: u32 = 65534;
    let copy = folder.join("bpf_node_exporter");
    if !copy.exists() {
        std::fs::copy(program(), &copy).expect("a copy");
        for path in [folder, &copy] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("permissions");
        }
    }
    let mut command = Command::new(copy);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A command that sets the limits of these options of `ulimit`, and then becomes `command`. Without
/// options `ulimit` prints a limit, which does no harm.
fn limited(ulimit: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit} > /dev/null; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

impl Server {
    /// Starts the program and waits until it logs its address.
    ///
    /// # Panics
    /// The program ends instead.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with_limits("", args)
    }

    /// The same, under the limits that these options of `ulimit` set.
    ///
    /// # Panics
    /// The program ends instead.
    pub fn start_with_limits(ulimit: &str, args: &[&str]) -> Self {
        Self::from(&mut limited(ulimit, Command::new(program()).args(args)))
    }

    /// As [`Server::start`], by a command that becomes the program and has all its arguments but
    /// the address to listen on.
    ///
    /// # Panics
    /// The program ends instead.
    pub fn from(command: &mut Command) -> Self {
        let mut server = Self::unread_from(command);
        let mut log = server.log.take();
        std::thread::spawn(move || {
            log.as_mut().map(|log| std::io::copy(log, &mut std::io::sink()))
        });
        server
    }

    /// As [`Server::start_with_limits`], with a pipe as its standard error, which is not read any
    /// more once the program listens.
    ///
    /// # Panics
    /// The program ends instead.
    pub fn start_unread(ulimit: &str, args: &[&str]) -> Self {
        Self::unread_from(&mut limited(ulimit, Command::new(program()).args(args)))
    }

    /// The same, by a command as that of [`Server::from`].
    ///
    /// # Panics
    /// The program ends instead.
    pub fn unread_from(command: &mut Command) -> Self {
        let mut child = command
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut seen = String::new();
        loop {
            let begin = seen.len();
            let read = log.read_line(&mut seen).expect("a line");
            assert!(read > 0, "the program ended: {seen}");
            let line = seen.split_at(begin).1;
            if let Some((_, address)) = line.trim().split_once("msg=\"Listening on\" address=") {
                let address = address.to_owned();
                return Self { child, address, log: Some(log) };
            }
        }
    }

    /// The unread end of its standard error.
    ///
    /// # Panics
    /// The log was taken before.
    pub const fn log(&mut self) -> BufReader<ChildStderr> {
        self.log.take().expect("an unread log")
    }

    /// A connection to the program.
    ///
    /// # Panics
    /// There is no connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        stream
    }

    /// Sends a request and returns the head and the body of the answer.
    ///
    /// # Panics
    /// There is no answer.
    pub fn request(&self, method: &str, target: &str, headers: &str) -> (String, Vec<u8>) {
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        )
        .expect("the request is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let (head, body) = answer.split_at(end + 4);
        (String::from_utf8_lossy(head).to_lowercase(), body.to_vec())
    }

    /// The status and the text of a GET.
    ///
    /// # Panics
    /// There is no answer.
    pub fn get(&self, target: &str) -> (String, String) {
        let (head, body) = self.request("GET", target, "");
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        (status, String::from_utf8(body).expect("UTF-8"))
    }

    /// Asks again and again until `wanted` holds for the status and the text of the answer.
    ///
    /// # Panics
    /// No such answer comes within a minute.
    pub fn until(&self, target: &str, wanted: impl Fn(&str, &str) -> bool) {
        let start = Instant::now();
        loop {
            let (status, text) = self.get(target);
            if wanted(&status, &text) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{status}: {text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number of its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The number of its threads with that name.
    ///
    /// # Panics
    /// The program is gone.
    pub fn threads(&self, name: &str) -> usize {
        self.thread_ids(name).len()
    }

    /// The numbers of its threads with that name.
    ///
    /// # Panics
    /// The program is gone.
    pub fn thread_ids(&self, name: &str) -> Vec<i32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let id = |thread: std::io::Result<std::fs::DirEntry>| {
            let thread = thread.ok()?;
            let comm = std::fs::read_to_string(thread.path().join("comm")).ok()?;
            (comm.trim() == name).then(|| thread.file_name().to_str()?.parse().ok()).flatten()
        };
        threads.expect("its threads").filter_map(id).collect()
    }

    /// Sends it a signal, by the name that kill(1) has for it.
    ///
    /// # Panics
    /// The program is gone.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let killed = Command::new("kill").args([&signal, &pid]).status().expect("kill");
        assert!(killed.success());
    }

    /// Waits for its end and returns its exit status.
    ///
    /// # Panics
    /// The program goes on for a minute.
    pub fn end(mut self) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the program does not end");
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// The program is gone.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Asks it to stop and returns its exit status.
    ///
    /// # Panics
    /// The program goes on for a minute.
    pub fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one answer and leaves the connection open.
///
/// # Panics
/// The connection ends before the answer does, or the answer has no length.
pub fn answer(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let len = stream.read(&mut piece).expect("a piece of the answer");
        assert!(len > 0, "the connection ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(piece.split_at(len).0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() == length.expect("a length").parse::<usize>().expect("a number") {
            return text;
        }
    }
}

/// A machine on which the collector `loadavg` hangs until the test lets it fail.
#[derive(Debug)]
pub struct Hung(TempDir, OnceLock<File>);

impl Default for Hung {
    fn default() -> Self {
        Self::new()
    }
}

impl Hung {
    /// The machine: its `loadavg` is a pipe that has no writer.
    ///
    /// # Panics
    /// There is no temporary folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        nix::unistd::mkfifo(&folder.path().join("loadavg"), nix::sys::stat::Mode::S_IRWXU)
            .expect("a pipe");
        Self(folder, OnceLock::new())
    }

    /// An exporter with that collector and with `uname`, which does not hang.
    ///
    /// # Panics
    /// The exporter does not start.
    pub fn server(&self, args: &[&str]) -> Server {
        let own = self.args();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        Server::start(&[&own[..], args].concat())
    }

    /// The arguments of such an exporter.
    pub fn args(&self) -> [String; 5] {
        [
            "--collector.disable-defaults".into(),
            "--collector.loadavg".into(),
            "--collector.uname".into(),
            "--no-bpf".into(),
            format!("--path.procfs={}", self.0.path().display()),
        ]
    }

    /// Lets the collector go on. Its run fails, and so do later ones, since a pipe has no offset to
    /// read from.
    ///
    /// # Panics
    /// The pipe is gone.
    pub fn answer(&self) {
        let path = self.0.path().join("loadavg");
        let pipe = File::options().read(true).write(true).open(path);
        self.1.set(pipe.expect("the pipe")).expect("the first answer");
    }
}
