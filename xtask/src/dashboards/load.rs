//! Neighbours that come, go, fail, change and find their table full, on interfaces made for it.
//!
//! The interfaces are in the initial network namespace, since that one alone shows the thresholds
//! of the tables. Their addresses are those that are reserved for benchmarks and documentation.

use anyhow::{Context as _, Result, ensure};
use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An interface: its name, the second half of its IPv4 network, the mean number of its neighbours
/// and how far the number goes up and down in so many seconds.
struct Network {
    name: &'static str,
    third: u8,
    mean: f64,
    swing: f64,
    period: f64,
}

const NETWORKS: [Network; 3] = [
    Network { name: "lan0", third: 0, mean: 240.0, swing: 110.0, period: 90.0 },
    Network { name: "dmz0", third: 64, mean: 80.0, swing: 40.0, period: 55.0 },
    Network { name: "vpn0", third: 128, mean: 40.0, swing: 25.0, period: 35.0 },
];

/// The most entries that an interface gets in a turn.
const STEP: u32 = 24;

/// More entries than the table takes by default.
const BURST: u32 = 1500;

impl Network {
    const fn ipv4(&self, i: u32) -> Ipv4Addr {
        let [_, _, third, fourth] = i.to_be_bytes();
        Ipv4Addr::new(198, 18, self.third + 1 + third, fourth)
    }

    /// Writes the lines that add an entry, with the link-layer address of this station.
    fn add(&self, n: u8, i: u32, station: u32, lines: &mut String) -> std::fmt::Result {
        let link = format!("lladdr 02:00:{station:02x}:{n:02x}:{:02x}:{:02x}", i >> 8, i & 255);
        let rest = format!("{link} dev {} nud reachable", self.name);
        writeln!(lines, "neigh replace {} {rest}", self.ipv4(i))?;
        if i.is_multiple_of(3) {
            writeln!(lines, "neigh replace 2001:db8:{n}::1:{i:x} {rest}")?;
        }
        Ok(())
    }

    /// Writes the lines that remove an entry. The kernel may have done so already, and `ip` ends at
    /// an entry that is not there: the entry is added first.
    fn remove(&self, n: u8, i: u32, lines: &mut String) -> std::fmt::Result {
        self.add(n, i, 0, lines)?;
        writeln!(lines, "neigh del {} dev {}", self.ipv4(i), self.name)?;
        if i.is_multiple_of(3) {
            writeln!(lines, "neigh del 2001:db8:{n}::1:{i:x} dev {}", self.name)?;
        }
        Ok(())
    }
}

/// The load; its interfaces go when it is dropped.
pub(super) struct Load {
    sizes: [u32; NETWORKS.len()],
    socket: [Option<UdpSocket>; 2],
}

impl Drop for Load {
    fn drop(&mut self) {
        for Network { name, .. } in NETWORKS {
            let _ = batch(&format!("link del {name}\n"));
        }
    }
}

impl Load {
    pub(super) fn new() -> Result<Self> {
        let load = Self {
            sizes: [0; NETWORKS.len()],
            socket: [UdpSocket::bind("0.0.0.0:0").ok(), UdpSocket::bind("[::]:0").ok()],
        };
        for (Network { name, third, .. }, n) in NETWORKS.iter().zip(1..) {
            batch(&format!(
                "link add {name} type veth peer name {name}-peer\n\
                 addr add 198.18.{third}.1/18 dev {name}\n\
                 addr add 2001:db8:{n}::1/64 dev {name} nodad\n\
                 link set {name} up\n\
                 link set {name}-peer up\n"
            ))?;
        }
        Ok(load)
    }

    /// Keeps the neighbours moving for this time; the table overflows after two thirds of it.
    pub(super) fn run(&mut self, time: Duration) -> Result<()> {
        let (began, mut burst) = (Instant::now(), Some(time.mul_f64(0.65)));
        for turn in 0.. {
            let elapsed = began.elapsed();
            if elapsed >= time {
                break;
            }
            self.move_on(turn, elapsed.as_secs_f64())?;
            self.seek(turn);
            if burst.is_some_and(|at| elapsed >= at) {
                burst = None;
                overflow()?;
            }
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Adds or removes entries of each interface, makes some anew and changes the address of one.
    fn move_on(&mut self, turn: u32, elapsed: f64) -> Result<()> {
        for ((network, size), n) in NETWORKS.iter().zip(&mut self.sizes).zip(1_u8..) {
            let Network { mean, swing, period, .. } = network;
            let wave = (elapsed / period * std::f64::consts::TAU).sin();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let wanted = ((mean + swing * wave) as u32).min(*size + STEP);
            let mut lines = String::new();
            for i in *size..wanted {
                network.add(n, i, 0, &mut lines)?;
            }
            // Traffic keeps the others from being cleaned away.
            for i in (0..wanted.min(*size)).skip((turn % 16) as usize).step_by(16) {
                network.add(n, i, 0, &mut lines)?;
            }
            for i in wanted..*size {
                network.remove(n, i, &mut lines)?;
            }
            // Some go and come back, another number on each interface.
            for i in 1..wanted.min(8 * u32::from(n)) {
                network.remove(n, i, &mut lines)?;
                network.add(n, i, 0, &mut lines)?;
            }
            if turn.is_multiple_of(4 * u32::from(n)) {
                network.add(n, 0, turn / 4 % 2, &mut lines)?;
            }
            *size = wanted;
            force(&lines)?;
        }
        Ok(())
    }

    /// Sends to addresses where nobody is.
    fn seek(&self, turn: u32) {
        let [ipv4, ipv6] = &self.socket;
        for i in 0..turn % 7 {
            let [.., last] = (turn * 7 + i).to_be_bytes();
            if let Some(socket) = ipv4 {
                let _ = socket.send_to(b"?", (Ipv4Addr::new(198, 18, 80, last), 9));
            }
            if let Some(socket) = ipv6 {
                let address = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 2, last.into());
                let _ = socket.send_to(b"?", (address, 9));
            }
        }
    }
}

/// Fills the table of IPv4, asks for some entries more, and takes all away.
fn overflow() -> Result<()> {
    /// `ip` ends at the first entry that is refused, so that each refusal takes a process.
    const REFUSALS: u32 = 40;
    let line = |i: u32| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 32, 0)) + i);
        format!("neigh replace {address} lladdr 02:00:00:00:00:01 dev lan0 nud reachable\n")
    };
    force(&(1..BURST).fold(String::new(), |lines, i| lines + &line(i)))?;
    for i in BURST..BURST + REFUSALS {
        force(&line(i))?;
    }
    // A scrape shall see the full table.
    thread::sleep(Duration::from_millis(2500));
    force("neigh flush to 198.18.32.0/19 dev lan0 nud all\n")
}

/// Runs `ip` on these lines.
fn batch(lines: &str) -> Result<()> {
    let output = ip(&["-batch", "-"], lines)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip: {}", said.trim());
    Ok(())
}

/// As [`batch`], where the kernel may refuse a line, at which `ip` ends.
fn force(lines: &str) -> Result<()> {
    ip(&["-force", "-batch", "-"], lines).map(drop)
}

fn ip(arguments: &[&str], lines: &str) -> Result<std::process::Output> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip")?;
    let mut input = child.stdin.take().context("no input")?;
    let lines = lines.to_owned();
    // The errors of many lines fill a pipe: they are read while the lines are written.
    let writer = thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    Ok(output)
}
