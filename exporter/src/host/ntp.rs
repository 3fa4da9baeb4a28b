//! One question to an NTP server, and the reckoning of its answer (RFC 5905, client mode).

use crate::error::{Error, Result};
use bytemuck::{Pod, Zeroable};
use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Seconds from 1900, where NTP's first era begins, to 1970.
const UNIX: u64 = 2_208_988_800;

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// The packet of RFC 5905, section 7.3, without extensions; numbers are big-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Packet {
    /// Leap indicator (2 bits), version (3), mode (3).
    head: u8,
    stratum: u8,
    poll: u8,
    precision: u8,
    root_delay: [u8; 4],
    root_dispersion: [u8; 4],
    reference: [u8; 4],
    reference_time: [u8; 8],
    origin_time: [u8; 8],
    receive_time: [u8; 8],
    transmit_time: [u8; 8],
}

const CLIENT: u8 = 3;
const SERVER: u8 = 4;

/// The leap indicator of a clock that has not been set.
pub const NOT_IN_SYNC: u8 = 3;

/// A server, and how to ask it.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its address.
    pub address: SocketAddr,
    /// The protocol's version, 2 to 4.
    pub version: u8,
    /// Routers that the question may pass.
    pub ttl: u32,
}

/// An answer. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 1 for a server with a clock of its own, one more for each step from there; 0 refuses.
    pub stratum: u8,
    /// 0 none, 1 a second is inserted at the end of the day, 2 one is left out, 3 not in sync.
    pub leap: u8,
    /// When the server's clock was set last; `None` where it never was.
    pub reference: Option<i128>,
    /// Time from the server to the clock at stratum 1 and back.
    pub root_delay: Duration,
    /// The error of the server's clock against the clock at stratum 1.
    pub root_dispersion: Duration,
    /// When this machine asked, when the server heard it and answered, and when the answer came.
    pub moments: [i128; 4],
}

/// The fault of an answer.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    /// The answer is too short.
    #[error("the answer is cut short")]
    Short,
    /// The answer does not come from a server.
    #[error("the answer is in mode {0}, not in that of a server")]
    Mode(u8),
    /// The answer is to another question.
    #[error("the answer is to another question")]
    Other,
    /// The server heard the question after it answered.
    #[error("the server answered before it was asked")]
    Order,
}

/// The address that `name` spells, or the first address of the host of that name, IPv4 before IPv6.
///
/// # Errors
/// The name is not known.
pub fn resolve(name: &str, port: u16) -> Result<SocketAddr> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let call = |source| Error::Call { call: "getaddrinfo", source };
    let all: Vec<SocketAddr> = (name, port).to_socket_addrs().map_err(call)?.collect();
    let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
    first.copied().ok_or_else(|| call(io::ErrorKind::NotFound.into()))
}

/// Asks the server, and waits for the answer for at most `patience`.
///
/// # Errors
/// The server cannot be reached, is silent, or its answer is broken.
pub fn ask(server: &Server, patience: Duration) -> Result<Answer> {
    let call = |call| move |source| Error::Call { call, source };
    let any: IpAddr = match server.address {
        SocketAddr::V4(_) => [0_u8; 4].into(),
        SocketAddr::V6(_) => [0_u8; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0)).map_err(call("bind"))?;
    set_ttl(&socket, server)
        .map_err(|errno| Error::Call { call: "setsockopt", source: errno.into() })?;
    socket.connect(server.address).map_err(call("connect"))?;
    let deadline = Instant::now() + patience;
    let asked = now();
    let question = Packet {
        head: server.version << 3 | CLIENT,
        transmit_time: timestamp(asked),
        ..Packet::zeroed()
    };
    socket.send(bytemuck::bytes_of(&question)).map_err(call("send"))?;
    let mut answer = [0; 512];
    loop {
        // A timeout of 0 would be no limit.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        socket.set_read_timeout(Some(left)).map_err(call("setsockopt"))?;
        let length = socket.recv(&mut answer).map_err(call("recv"))?;
        let came = now();
        match read(answer.get(..length).unwrap_or_default(), &question, [asked, came]) {
            // A late answer to an earlier question: the answer to this one may follow.
            Err(Wrong::Other) if Instant::now() < deadline => {}
            Err(wrong) => return Err(Error::Source { source_name: "ntp", error: Box::new(wrong) }),
            Ok(answer) => return Ok(answer),
        }
    }
}

fn set_ttl(socket: &UdpSocket, server: &Server) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    match server.address {
        SocketAddr::V4(_) => sockopt::set_ip_ttl(socket, server.ttl),
        SocketAddr::V6(_) => {
            let hops = u8::try_from(server.ttl).unwrap_or(u8::MAX);
            sockopt::set_ipv6_unicast_hops(socket, Some(hops))
        }
    }
}

/// The answer's meaning, for a question that was sent at the first moment and whose answer came at
/// the second.
fn read(bytes: &[u8], question: &Packet, [asked, came]: [i128; 2]) -> Result<Answer, Wrong> {
    let bytes = bytes.get(..size_of::<Packet>()).ok_or(Wrong::Short)?;
    let packet: Packet = bytemuck::try_pod_read_unaligned(bytes).map_err(|_| Wrong::Short)?;
    if packet.origin_time != question.transmit_time {
        return Err(Wrong::Other);
    }
    if packet.head & 7 != SERVER {
        return Err(Wrong::Mode(packet.head & 7));
    }
    let (heard, answered) = (moment(packet.receive_time), moment(packet.transmit_time));
    if packet.transmit_time == [0; 8] || heard > answered {
        return Err(Wrong::Order);
    }
    let is_set = packet.reference_time != [0; 8];
    Ok(Answer {
        stratum: packet.stratum,
        leap: packet.head >> 6,
        reference: is_set.then(|| moment(packet.reference_time)),
        root_delay: short(packet.root_delay),
        root_dispersion: short(packet.root_dispersion),
        moments: [asked, heard, answered, came],
    })
}

impl Answer {
    /// Time on the way to the server and back.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let [asked, heard, answered, came] = self.moments;
        duration((came - asked) - (answered - heard))
    }

    /// Seconds by which the server's clock is ahead of this machine's.
    #[must_use]
    pub fn offset(&self) -> f64 {
        let [asked, heard, answered, came] = self.moments;
        ((heard - asked) + (answered - came)) as f64 / 2e9
    }

    /// The least difference between the two clocks: by their times, the server heard the question
    /// before it was sent, or the answer came before it was sent.
    #[must_use]
    pub fn least_error(&self) -> Duration {
        let [asked, heard, answered, came] = self.moments;
        duration((asked - heard).max(answered - came))
    }

    /// The largest error that the server's clock can have, as seen from this machine.
    #[must_use]
    pub fn root_distance(&self) -> Duration {
        (self.round_trip().saturating_add(self.root_delay) / 2).saturating_add(self.root_dispersion)
    }

    /// Whether the answer may be used to set a clock, by RFC 5905 and its limits.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        /// Servers of this stratum or a higher one are not in sync.
        const STRATA: u8 = 16;
        /// `MAXPOLL`: a clock that was set longer ago is not fresh.
        const FRESH: i128 = (1 << 17) * SECOND;
        /// `MAXDISP`
        const DISPERSION: Duration = Duration::from_secs(16);
        let [.., answered, _] = self.moments;
        let since = self.reference.map(|reference| answered - reference);
        (1..STRATA).contains(&self.stratum)
            && self.leap != NOT_IN_SYNC
            && since.is_some_and(|since| (0..=FRESH).contains(&since))
            && (self.root_delay / 2).saturating_add(self.root_dispersion) <= DISPERSION
    }
}

/// Nanoseconds as a duration; a negative number as zero.
fn duration(nanoseconds: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
}

fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or_default()
}

/// A time in NTP's format: 32 bits of seconds of this era, 32 bits of their fraction.
fn timestamp(nanoseconds: i128) -> [u8; 8] {
    let fraction = (nanoseconds.rem_euclid(SECOND) << 32) / SECOND;
    let seconds = nanoseconds.div_euclid(SECOND) + i128::from(UNIX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the era is cut off"
    )]
    let whole = ((seconds << 32) | fraction) as u64;
    whole.to_be_bytes()
}

/// The moment of a time in NTP's format. Eras last 136 years: times before 1968 are of the next.
fn moment(time: [u8; 8]) -> i128 {
    let time = u64::from_be_bytes(time);
    let (seconds, fraction) = (time >> 32, time & u64::from(u32::MAX));
    let era = if seconds >> 31 == 0 { 1_i128 << 32 } else { 0 };
    let seconds = i128::from(seconds) + era - i128::from(UNIX);
    seconds * SECOND + ((i128::from(fraction) * SECOND) >> 32)
}

/// A duration in NTP's short format: 16 bits of seconds, 16 bits of their fraction.
fn short(time: [u8; 4]) -> Duration {
    let time = u64::from(u32::from_be_bytes(time));
    Duration::from_nanos((time * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: i128 = 1_700_000_000 * SECOND;

    fn question() -> Packet {
        Packet { head: 4 << 3 | CLIENT, transmit_time: timestamp(ASKED), ..Packet::zeroed() }
    }

    /// A server whose clock is 2 s ahead, heard the question after 3 ms, answered after 1 ms, and
    /// was set 10 s before.
    fn packet() -> Packet {
        let ahead = 2 * SECOND;
        Packet {
            head: 1 << 6 | 4 << 3 | SERVER,
            stratum: 2,
            root_delay: [0, 0, 0x80, 0],
            root_dispersion: [0, 1, 0x40, 0],
            reference_time: timestamp(ASKED - 10 * SECOND),
            origin_time: timestamp(ASKED),
            receive_time: timestamp(ASKED + ahead + 3_000_000),
            transmit_time: timestamp(ASKED + ahead + 4_000_000),
            ..Packet::zeroed()
        }
    }

    fn answer(packet: Packet) -> Result<Answer, Wrong> {
        read(bytemuck::bytes_of(&packet), &question(), [ASKED, ASKED + 5_000_000])
    }

    #[test]
    fn an_answer_is_reckoned_as_the_standard_says() {
        let answer = answer(packet()).unwrap();
        assert_eq!((answer.stratum, answer.leap), (2, 1));
        assert_eq!(answer.root_delay, Duration::from_millis(500));
        assert_eq!(answer.root_dispersion, Duration::from_millis(1250));
        let near = |a: Duration, b: f64| (a.as_secs_f64() - b).abs() < 1e-8;
        assert!(near(answer.round_trip(), 0.004), "{:?}", answer.round_trip());
        assert!((answer.offset() - 2.001).abs() < 1e-8, "{}", answer.offset());
        assert!(near(answer.least_error(), 1.999), "{:?}", answer.least_error());
        assert!(near(answer.root_distance(), 0.252 + 1.25), "{:?}", answer.root_distance());
        assert!(answer.is_valid());
    }

    #[test]
    fn a_clock_that_nobody_may_follow_is_not_valid() {
        let valid = |change: fn(&mut Packet)| {
            let mut packet = packet();
            change(&mut packet);
            answer(packet).unwrap().is_valid()
        };
        assert!(!valid(|packet| packet.stratum = 0));
        assert!(!valid(|packet| packet.stratum = 16));
        assert!(valid(|packet| packet.stratum = 15));
        assert!(!valid(|packet| packet.head |= 3 << 6));
        assert!(!valid(|packet| packet.reference_time = [0; 8]));
        assert!(!valid(|packet| packet.reference_time = timestamp(ASKED + 3 * SECOND)));
        assert!(!valid(|packet| packet.reference_time = timestamp(ASKED - (1 << 17) * SECOND)));
        assert!(!valid(|packet| packet.root_dispersion = [0, 16, 0, 0]));
    }

    #[test]
    fn malformed_answers_are_refused() {
        let wrong = |change: fn(&mut Packet)| {
            let mut packet = packet();
            change(&mut packet);
            answer(packet).unwrap_err().to_string()
        };
        assert!(wrong(|packet| packet.head = CLIENT).contains("mode 3"));
        assert!(wrong(|packet| packet.origin_time = [0; 8]).contains("another question"));
        assert!(wrong(|packet| packet.transmit_time = [0; 8]).contains("before it was asked"));
        let packet = packet();
        for length in 0..48 {
            let bytes = &bytemuck::bytes_of(&packet)[..length];
            assert!(matches!(read(bytes, &question(), [0, 0]), Err(Wrong::Short)), "{length}");
        }
    }

    #[test]
    fn times_of_both_eras_come_back() {
        for seconds in [0, 1_700_000_000, 2_085_978_495, 2_085_978_496, 4_000_000_000] {
            let time = seconds * SECOND + 250_000_000;
            assert_eq!(moment(timestamp(time)), time);
        }
    }
}
