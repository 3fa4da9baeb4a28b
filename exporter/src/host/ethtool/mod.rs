//! Names, modes and statistics of the drivers of network interfaces, by ioctl(2): `SIOCETHTOOL`,
//! with the structures of `include/uapi/linux/ethtool.h`. Statistics are told in no other way.
#![expect(unsafe_code, reason = "an ioctl(2) takes addresses")]

mod room;

use std::{io, os::fd::OwnedFd};

use bytemuck::{Pod, Zeroable};
use rustix::{
    fd::AsRawFd as _,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socket_with},
};

use crate::host::netlink::{Modes, bits};
use room::Room;

const GDRVINFO: u32 = 0x03;
const GSTRINGS: u32 = 0x1b;
const GSTATS: u32 = 0x1d;
const GLINKSETTINGS: u32 = 0x4c;
/// `ETH_SS_STATS`.
const STATISTICS: u32 = 1;
/// `ETH_GSTRING_LEN`.
const NAME: usize = 32;

/// Statistics that an interface may have.
const MOST: usize = 1 << 16;
/// How often numbers that do not fit their names are asked for anew.
const TRIES: u32 = 3;

/// `struct ethtool_drvinfo`; texts end at their first NUL, if they have one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Driver {
    command: u32,
    /// The driver's name.
    pub name: [u8; 32],
    /// The driver's version, mostly the kernel's.
    pub version: [u8; 32],
    /// The version of the device's firmware.
    pub firmware: [u8; 32],
    /// The device's address on its bus.
    pub bus: [u8; 32],
    /// The version of the device's boot code.
    pub rom: [u8; 32],
    reserved: [u8; 12],
    private_flags: u32,
    /// How many statistics the interface has.
    pub statistics: u32,
    test_info: u32,
    eeprom: u32,
    registers: u32,
}

impl Driver {
    /// A driver without statistics that has these texts, cut where they are too long: name, version,
    /// firmware, bus and boot code.
    #[must_use]
    pub fn new(texts: [&str; 5]) -> Self {
        let [name, version, firmware, bus, rom] = texts.map(|text| {
            let mut bytes = [0; 32];
            for (to, from) in bytes.iter_mut().zip(text.bytes()) {
                *to = from;
            }
            bytes
        });
        Self { name, version, firmware, bus, rom, ..Self::zeroed() }
    }
}

/// `struct ethtool_link_settings` with room for three sets of up to 127 words after it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct LinkSettings {
    command: u32,
    speed: u32,
    duplex: u8,
    port: u8,
    phy_address: u8,
    autonegotiation: u8,
    mdio: u8,
    crossover: [u8; 2],
    /// Words in each set. The kernel answers a wrong number with the negative of the right one.
    words: i8,
    rest: [u8; 32],
    sets: [u32; 512],
}

/// `struct ifreq` as `SIOCETHTOOL` has it.
#[repr(C)]
struct Ifreq {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    padding: [usize; 2],
}

/// Why an interface's statistics could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the driver refused.
    #[error("{command}: {errno}")]
    Refused {
        /// The command, as the kernel's headers call it.
        command: &'static str,
        /// The reason.
        errno: Errno,
    },
    /// There are more than this exporter reads.
    #[error("{0} statistics are too many")]
    TooMany(u32),
    /// Between names and numbers their count changed, at each try.
    #[error("the statistics change while they are read")]
    Changing,
}

impl Error {
    /// Whether the interface has gone, or its driver does not have the command.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { errno, .. } if [Errno::OPNOTSUPP, Errno::NODEV].contains(errno))
    }
}

/// A socket to ask drivers by, and room for their answers.
#[derive(Default)]
pub struct Ethtool {
    control: Control,
    names: Option<Room>,
    numbers: Option<Room>,
}

impl Ethtool {
    /// The driver of an interface.
    ///
    /// # Errors
    /// The interface is gone, or has no driver that tells.
    pub fn driver(&mut self, interface: &[u8]) -> Result<Driver, Error> {
        let mut driver = Driver { command: GDRVINFO, ..Driver::zeroed() };
        // SAFETY: the kernel writes one `struct ethtool_drvinfo`, for which any bits are a value.
        unsafe { self.control.ask("ETHTOOL_GDRVINFO", interface, (&raw mut driver).cast())? };
        Ok(driver)
    }

    /// The modes of an interface, by the way that kernels without `ETHTOOL_MSG_LINKMODES_GET` have.
    /// Their `index` is 0.
    ///
    /// # Errors
    /// The interface is gone, or has no modes.
    pub fn modes(&mut self, interface: &[u8]) -> Result<Modes, Error> {
        const COMMAND: &str = "ETHTOOL_GLINKSETTINGS";
        let mut settings = LinkSettings { command: GLINKSETTINGS, ..LinkSettings::zeroed() };
        // SAFETY: the kernel writes the structure's head and three sets of at most 127 words each,
        // for which there is room.
        unsafe { self.control.ask(COMMAND, interface, (&raw mut settings).cast())? };
        settings.words = settings.words.saturating_neg();
        settings.command = GLINKSETTINGS;
        // SAFETY: as above.
        unsafe { self.control.ask(COMMAND, interface, (&raw mut settings).cast())? };
        Ok(settings.modes())
    }

    /// Gives `each` the name and the number of every statistic of an interface; `driver` has told
    /// how many there are.
    ///
    /// # Errors
    /// The interface is gone, or has none, or too many, or they keep changing.
    pub fn statistics(
        &mut self,
        interface: &[u8],
        driver: &Driver,
        mut each: impl FnMut(&[u8], u64),
    ) -> Result<(), Error> {
        let mut count = driver.statistics;
        for _ in 0..TRIES {
            if count == 0 {
                return Ok(());
            }
            let entries = count as usize;
            if entries > MOST {
                return Err(Error::TooMany(count));
            }
            let Self { control, names, numbers } = self;
            let names = control.list("ETHTOOL_GSTRINGS", interface, NAMES, count, names)?;
            let numbers = control.list("ETHTOOL_GSTATS", interface, NUMBERS, count, numbers)?;
            if let (Some(names), Some(numbers)) = (names, numbers) {
                for (name, number) in names.chunks_exact(NAME).zip(numbers.chunks_exact(8)) {
                    each(text(name), bytemuck::pod_read_unaligned(number));
                }
                return Ok(());
            }
            count = self.driver(interface)?.statistics;
        }
        Err(Error::Changing)
    }
}

/// How a list of something about each statistic is asked for.
#[derive(Clone, Copy)]
struct List {
    /// The begin of the request. The number of entries follows, and then the entries.
    head: &'static [u32],
    /// Bytes in an entry.
    entry: usize,
}

const NAMES: List = List { head: &[GSTRINGS, STATISTICS], entry: NAME };
const NUMBERS: List = List { head: &[GSTATS], entry: size_of::<u64>() };

/// A socket, opened at first use, in the network namespace of the thread.
#[derive(Default)]
struct Control(Option<OwnedFd>);

impl Control {
    /// Asks for a list of `count` entries; `None` where there are more or fewer.
    fn list<'a>(
        &mut self,
        command: &'static str,
        interface: &[u8],
        list: List,
        count: u32,
        room: &'a mut Option<Room>,
    ) -> Result<Option<&'a [u8]>, Error> {
        let head: &[u8] = bytemuck::cast_slice(list.head);
        let begin = head.len() + size_of_val(&count);
        let room = match room {
            Some(room) => room,
            none => none.insert(Room::new(begin + MOST * list.entry).map_err(refused("mmap"))?),
        };
        let request = head.iter().chain(bytemuck::bytes_of(&count));
        for (to, from) in room.bytes_mut().iter_mut().zip(request) {
            *to = *from;
        }
        // SAFETY: the kernel writes at the start of the room, and stops where that ends.
        unsafe { self.ask(command, interface, room.address())? };
        let there = room.bytes().get(head.len()..begin).map(bytemuck::pod_read_unaligned::<u32>);
        let entries = room.bytes().get(begin..begin + count as usize * list.entry);
        Ok(entries.filter(|_| there == Some(count)))
    }

    /// Asks the driver of an interface.
    ///
    /// # Safety
    /// At `data` is a command and the structure that the kernel expects after it, with room for the
    /// answer.
    unsafe fn ask(
        &mut self,
        command: &'static str,
        interface: &[u8],
        data: *mut libc::c_void,
    ) -> Result<(), Error> {
        let mut request = Ifreq { name: [0; libc::IFNAMSIZ], data, padding: [0; 2] };
        if interface.len() >= request.name.len() {
            return Err(Error::Refused { command, errno: Errno::NODEV });
        }
        for (to, from) in request.name.iter_mut().zip(interface) {
            *to = *from;
        }
        let socket = match &mut self.0 {
            Some(socket) => socket,
            none => none.insert(
                socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                    .map_err(|errno| Error::Refused { command: "socket", errno })?,
            ),
        };
        // SAFETY: the request is a `struct ifreq`, and the caller answers for its `data`.
        let result =
            unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if result < 0 { Err(refused(command)(io::Error::last_os_error())) } else { Ok(()) }
    }
}

fn refused(command: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::Refused {
        command,
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    }
}

impl LinkSettings {
    fn modes(&self) -> Modes {
        let words = usize::try_from(self.words).unwrap_or_default();
        let set = |n: usize| {
            let words = self.sets.get(n * words..(n + 1) * words).unwrap_or_default();
            bits(bytemuck::cast_slice(words))
        };
        Modes {
            index: 0,
            autonegotiation: self.autonegotiation,
            supported: set(0),
            advertised: set(1),
        }
    }
}

/// A text without the NUL that ends it.
#[must_use]
pub fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_layout() {
        assert_eq!(size_of::<Driver>(), 196);
        assert_eq!(std::mem::offset_of!(LinkSettings, sets), 48);
        assert_eq!(std::mem::offset_of!(LinkSettings, words), 15);
        assert!(size_of::<Ifreq>() >= 32, "as long as the kernel's on every architecture");
    }

    #[test]
    fn sets_of_any_number_of_words_are_read() {
        let mut settings = LinkSettings { words: 2, ..LinkSettings::zeroed() };
        settings.sets[..4].copy_from_slice(&[1, 2, 3, 4]);
        settings.autonegotiation = 1;
        let modes = settings.modes();
        assert_eq!((modes.supported, modes.advertised), (2 << 32 | 1, 4 << 32 | 3));
        assert_eq!(modes.autonegotiation, 1);
        settings.words = -3;
        assert_eq!(settings.modes().supported, 0);
        settings.words = 127;
        assert_eq!(settings.modes().supported, 4 << 96 | 3 << 64 | 2 << 32 | 1);
    }

    #[test]
    fn an_interface_that_is_not_there_is_absent() {
        let mut ethtool = Ethtool::default();
        for name in [&b"no such one"[..], b"a name that is too long for an interface", b""] {
            assert!(ethtool.driver(name).unwrap_err().is_absent(), "{name:?}");
            assert!(ethtool.modes(name).unwrap_err().is_absent(), "{name:?}");
            let driver = Driver { statistics: 1, ..Driver::zeroed() };
            let result = ethtool.statistics(name, &driver, |_, _| panic!("there is none"));
            assert!(result.unwrap_err().is_absent(), "{name:?}");
        }
    }

    #[test]
    fn more_statistics_than_there_is_room_for_are_refused() {
        let driver = Driver { statistics: u32::MAX, ..Driver::zeroed() };
        let result = Ethtool::default().statistics(b"lo", &driver, |_, _| ());
        assert!(matches!(result, Err(Error::TooMany(u32::MAX))));
    }
}
