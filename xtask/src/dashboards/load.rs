//! Neighbours that come, go, fail, change and find their table full, on interfaces made for it.
//!
//! The interfaces are in the initial network namespace, since that one alone shows the thresholds
//! of the tables. Their addresses are those that are reserved for benchmarks and documentation.

use anyhow::Result;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    thread,
    time::{Duration, Instant},
};
use testbed::network::{Network, State};

/// An interface: its name, the third byte of its IPv4 network, the mean number of its neighbours and
/// how far the number goes up and down in so many seconds.
struct Lan {
    name: &'static str,
    third: u8,
    mean: f64,
    swing: f64,
    period: f64,
}

const LANS: [Lan; 3] = [
    Lan { name: "lan0", third: 0, mean: 240.0, swing: 110.0, period: 90.0 },
    Lan { name: "dmz0", third: 64, mean: 80.0, swing: 40.0, period: 55.0 },
    Lan { name: "vpn0", third: 128, mean: 40.0, swing: 25.0, period: 35.0 },
];

/// The most entries that an interface gets in a turn.
const STEP: u32 = 24;

/// More entries than the table takes by default.
const BURST: u32 = 1100;

/// A neighbour's address, and its link-layer address.
type Station = (IpAddr, [u8; 6]);

impl Lan {
    const fn ipv4(&self, i: u32) -> Ipv4Addr {
        let [_, _, third, fourth] = i.to_be_bytes();
        Ipv4Addr::new(198, 18, self.third + 1 + third, fourth)
    }

    /// The host `i` of the interface `n`: its address of IPv4 and, for each third host, of IPv6.
    /// `card` chooses between its link-layer addresses.
    fn host(&self, n: u8, i: u32, card: u8) -> impl Iterator<Item = Station> {
        let [.., high, low] = i.to_be_bytes();
        let group = u16::from_be_bytes([high, low]);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, n.into(), 0, 0, 0, 1, group);
        let ipv6 = i.is_multiple_of(3).then_some(IpAddr::V6(ipv6));
        let link = [2, 0, card, n, high, low];
        std::iter::once(self.ipv4(i).into()).chain(ipv6).map(move |address| (address, link))
    }
}

/// The load; its interfaces go when it is dropped.
pub(super) struct Load {
    network: Network,
    sizes: [u32; LANS.len()],
    socket: [Option<UdpSocket>; 2],
}

impl Drop for Load {
    fn drop(&mut self) {
        for Lan { name, .. } in LANS {
            let _ = self.network.remove(name);
        }
    }
}

impl Load {
    pub(super) fn new() -> Result<Self> {
        let load = Self {
            network: Network::open()?,
            sizes: [0; LANS.len()],
            socket: [UdpSocket::bind("0.0.0.0:0").ok(), UdpSocket::bind("[::]:0").ok()],
        };
        let network = &load.network;
        for (Lan { name, third, .. }, n) in LANS.iter().zip(1_u16..) {
            let peer = format!("{name}-peer");
            network.wire(name, &peer)?;
            network.address(name, [198, 18, *third, 1], 18)?;
            network.address(name, [0x2001, 0xdb8, n, 0, 0, 0, 0, 1], 64)?;
            network.up(&[name, &peer])?;
        }
        Ok(load)
    }

    /// Keeps the neighbours moving for this time; the table overflows after two thirds of it.
    pub(super) fn run(&mut self, time: Duration) {
        let (began, mut burst) = (Instant::now(), Some(time.mul_f64(0.65)));
        for turn in 0.. {
            let elapsed = began.elapsed();
            if elapsed >= time {
                break;
            }
            self.move_on(turn, elapsed.as_secs_f64());
            self.seek(turn);
            if burst.is_some_and(|at| elapsed >= at) {
                burst = None;
                self.overflow();
            }
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// Adds or removes entries of each interface, makes some anew and changes the address of one.
    fn move_on(&mut self, turn: u32, elapsed: f64) {
        let Self { network, sizes, .. } = self;
        for ((lan, size), n) in LANS.iter().zip(sizes).zip(1_u8..) {
            let Lan { name, mean, swing, period, .. } = lan;
            let wave = (elapsed / period * std::f64::consts::TAU).sin();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let wanted = ((mean + swing * wave) as u32).min(*size + STEP);
            // Traffic keeps the others from being cleaned away.
            let used = (0..wanted.min(*size)).skip((turn % 16) as usize).step_by(16);
            let came = (*size..wanted).chain(used).flat_map(|i| lan.host(n, i, 0));
            // Some go and come back, another number on each interface.
            let anew = 1..wanted.min(8 * u32::from(n));
            let went = (wanted..*size).chain(anew.clone()).flat_map(|i| lan.host(n, i, 0));
            let mut back: Vec<Station> = anew.flat_map(|i| lan.host(n, i, 0)).collect();
            if turn.is_multiple_of(4 * u32::from(n)) {
                back.extend(lan.host(n, 0, u8::from(turn / 4 % 2 == 1)));
            }
            // The table may be full, and the kernel may have removed an entry already.
            let _ = network.set_stations(name, came, State::Reachable);
            let _ = network.remove_neighbours(name, went.map(|(address, _)| address));
            let _ = network.set_stations(name, back, State::Reachable);
            *size = wanted;
        }
    }

    /// Fills the table of IPv4, asks for some entries more, and takes all away.
    fn overflow(&self) {
        let first = u32::from(Ipv4Addr::new(198, 18, 32, 0));
        let burst = || (1..BURST).map(|i| Ipv4Addr::from(first + i));
        let _ = self.network.set_neighbours("lan0", burst(), State::Reachable);
        // A scrape shall see the full table.
        thread::sleep(Duration::from_millis(2500));
        let _ = self.network.remove_neighbours("lan0", burst());
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
