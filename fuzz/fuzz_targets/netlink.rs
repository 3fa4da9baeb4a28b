//! Netlink: whatever a peer answers, each question ends, with entries or with an error.
#![no_main]

use exporter::host::netlink::{Error, Ethtool, InetTable, Links, Nl80211, Protocol, Socket, Step};
use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Asks one of the questions and says how many entries the answer has.
fn ask(question: u8, peer: OwnedFd) -> Result<usize, Error> {
    // SAFETY: the descriptor is open, and nobody else owns it.
    let peer = unsafe { netlink_sys::Socket::from_raw_fd(peer.into_raw_fd()) };
    let mut socket = Socket::to(peer, Protocol::Route);
    let mut entries = 0;
    let mut told = |is_start| entries = if is_start { 0 } else { entries + 1 };
    match question {
        0 => return links(&mut socket),
        1 => socket.neighbours(2, |step| told(matches!(step, Step::Start)))?,
        2 => socket.neighbours_of(10, Some(1), |step| told(matches!(step, Step::Start)))?,
        3 => socket.routes(|step| told(matches!(step, Step::Start)))?,
        4 => socket.addresses(|step| told(matches!(step, Step::Start)))?,
        5 => socket.qdiscs(|step| told(matches!(step, Step::Start)))?,
        6 => socket.conntrack_stats(|step| told(matches!(step, Step::Start)))?,
        7 => socket.inet_sockets(InetTable::Tcp, |step| told(matches!(step, Step::Start)))?,
        8 => socket.inet_sockets(InetTable::Udp(2), |step| told(matches!(step, Step::Start)))?,
        9 => return Ok(usize::from(socket.neighbour_table(2)?.is_some())),
        10 => return Ethtool::new(socket).refresh().map(|()| 0),
        11 => drop(Ethtool::new(socket).all_modes(|_| told(false))?),
        12 => {
            let mut wireless = Nl80211::new(socket);
            wireless.interfaces(|step| told(matches!(step, Step::Start)))?;
        }
        _ => {
            let mut wireless = Nl80211::new(socket);
            wireless.interfaces(|_| {})?;
            if question == 13 {
                wireless.bss(7, |step| told(matches!(step, Step::Start)))?;
            } else {
                wireless.stations(7, |step| told(matches!(step, Step::Start)))?;
            }
        }
    }
    Ok(entries)
}

/// The number of the families `ethtool` and `nl80211`.
const FAMILY: u16 = 20;

/// Answers that come before the fuzzer's: the number of a family, and that there is no interface.
/// Returns them with their number.
fn answers_before(question: u8) -> (Vec<u8>, u32) {
    let family = |name: &[u8]| {
        let mut payload = vec![1, 2, 0, 0];
        payload.extend(attribute(1, &FAMILY.to_ne_bytes()));
        payload.extend(attribute(2, name));
        [message(0x10, 2, 1, &payload), message(DONE, 2, 1, &[0; 4])].concat()
    };
    match question {
        11 => (family(b"ethtool\0"), 1),
        12 => (family(b"nl80211\0"), 1),
        13.. => ([family(b"nl80211\0"), message(DONE, 2, 2, &[0; 4])].concat(), 2),
        _ => (Vec::new(), 0),
    }
}

const DONE: u16 = 3;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([sequence.to_ne_bytes(), [0; 4]].concat());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Links are ordered by name, and each is found by its index.
fn links(socket: &mut Socket) -> Result<usize, Error> {
    let mut links = Links::new();
    socket.links(&mut links)?;
    let names: Vec<_> = links.iter().map(|link| &link.name).collect();
    assert!(names.is_sorted_by(|a, b| a < b));
    for link in links.iter() {
        assert_eq!(links.get(link.index).map(|other| &other.name), Some(&link.name));
        assert!(link.other_names().all(|name| !name.is_empty()));
    }
    Ok(links.len())
}

/// The type of the messages that answer a question. The last five ask a family of generic netlink:
/// for its number first, to which the fuzzer answers in the first of them.
const ANSWERS: [u16; 15] = [
    libc::RTM_NEWLINK,
    libc::RTM_NEWNEIGH,
    libc::RTM_NEWNEIGH,
    libc::RTM_NEWROUTE,
    libc::RTM_NEWADDR,
    libc::RTM_NEWQDISC,
    0x0104,
    18,
    20,
    libc::RTM_NEWNEIGHTBL,
    0x10,
    FAMILY,
    FAMILY,
    FAMILY,
    FAMILY,
];

/// Makes messages of the fuzzer's bytes: mostly such as have the right length and number.
struct Maker<'a> {
    bytes: &'a [u8],
    /// The number of the question that is answered.
    sequence: u32,
}

impl<'a> Maker<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.byte()?;
        let (bytes, rest) = self.bytes.split_at(usize::from(len).min(self.bytes.len()));
        self.bytes = rest;
        Some(bytes)
    }

    /// An attribute of the right length, with others in it where its first byte says so.
    fn attribute(&mut self, depth: u8) -> Option<Vec<u8>> {
        let (kind, nested) = (self.byte()?, self.byte()?);
        let mut value = Vec::new();
        if depth < 3 && nested >= 0xf0 {
            for _ in 0xf0..nested {
                value.extend(self.attribute(depth + 1)?);
            }
        } else {
            value.extend(self.bytes()?);
        }
        Some(attribute(kind.into(), &value))
    }

    /// A message; says whether it may end an answer.
    fn message(&mut self, answer: u16) -> Option<(Vec<u8>, bool)> {
        let control = self.byte()?;
        let mut payload = self.bytes()?.to_vec();
        for _ in 0..control >> 5 {
            payload.resize(payload.len().next_multiple_of(4), 0);
            payload.extend(self.attribute(0)?);
        }
        let mut len = None;
        let (mut kind, mut flags, mut sequence) = (answer, 2_u16, self.sequence);
        match control & 0x1f {
            0 => kind = DONE,
            1 => kind = 2,      // NLMSG_ERROR
            2 => kind = 4,      // NLMSG_OVERRUN
            3 => flags |= 0x10, // NLM_F_DUMP_INTR
            4 => sequence = self.byte()?.into(),
            5 => (kind, sequence) = (DONE, self.byte()?.into()),
            6 => len = Some(u32::from(self.byte()?)),
            7 => kind = self.byte()?.into(),
            8 => return Some((self.bytes()?.to_vec(), true)),
            _ => {}
        }
        let mut bytes = message(kind, flags, sequence, &payload);
        if let Some(len) = len {
            bytes[..4].copy_from_slice(&len.to_ne_bytes());
        }
        Some((bytes, kind == 2 || kind == DONE))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&question, data)) = data.split_first() else { return };
    let (kernel, peer) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("two sockets");
    let question = question % ANSWERS.len() as u8;
    let answer = ANSWERS[usize::from(question)];
    let (before, answered) = answers_before(question);
    if !before.is_empty() {
        rustix::net::send(&kernel, &before, SendFlags::empty()).expect("room for one part");
    }
    let mut maker = Maker { bytes: data, sequence: answered + 1 };
    let (mut told, mut may_end) = (0, false);
    // Each part: how many messages, how often all of them are repeated, then the messages.
    while let (Some(messages), Some(repeat)) = (maker.byte(), maker.byte()) {
        let mut part = Vec::new();
        for _ in 0..messages % 16 {
            let Some((message, ends)) = maker.message(answer) else { break };
            part.extend(message);
            may_end |= ends;
        }
        let repeat = usize::from(repeat).saturating_sub(200).max(1);
        let part = part.repeat(repeat.min((64 << 10) / part.len().max(1)).max(1));
        if part.is_empty() || rustix::net::send(&kernel, &part, SendFlags::DONTWAIT).is_err() {
            break; // as many as the socket takes
        }
        told += part.len();
    }
    rustix::net::shutdown(&kernel, Shutdown::Write).expect("a socket");
    if let Ok(entries) = ask(question, peer) {
        // The question for a table is answered once the table is told.
        let is_whole = may_end || answer == libc::RTM_NEWNEIGHTBL;
        assert!(is_whole, "an answer without an end was taken for a whole one");
        // The shortest entry is a way of a route.
        assert!(entries * 8 <= told, "{entries} entries out of {told} bytes");
    }
});
