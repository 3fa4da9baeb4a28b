//! The sockets that the exporter listens on: TCP, Unix and vsock, its own and those that systemd
//! hands over.

use super::listen;
use listenfd::ListenFd;
use nix::sys::socket::VsockAddr;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    fs::{Mode, chmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with},
};
use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use tokio::io::{Interest, unix::AsyncFd};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
const VSOCK: &str = "vsock://";
const UNIX: &str = "unix://";
/// The families that `LISTEN_FDS` may hold, and the names of their sockets.
const KINDS: [(libc::c_int, &str); 3] = [
    (libc::AF_INET, "TCP socket"),
    (libc::AF_UNIX, "Unix stream socket"),
    (libc::AF_VSOCK, "vsock stream socket"),
];

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    address: String,
    /// The file of a Unix socket, which is taken away with it.
    _file: Option<SocketFile>,
}

/// A `--web.listen-address`, read.
#[derive(Debug, PartialEq, Eq)]
enum Address<'a> {
    Tcp,
    Vsock { cid: u32, port: u32 },
    Unix { path: &'a Path, mode: Option<u32> },
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix(VSOCK) {
            let (cid, port) =
                rest.rsplit_once(':').ok_or("the port is missing: write vsock://:9100")?;
            let cid = if cid.is_empty() { Ok(libc::VMADDR_CID_ANY) } else { cid.parse() };
            let cid =
                cid.map_err(|_| "a vsock address has a number before its port, or nothing")?;
            let port = port.trim_end_matches('/').parse();
            let port = port.map_err(|_| "ports of vsock are numbers from 0 to 4294967295")?;
            return Ok(Self::Vsock { cid, port });
        }
        if let Some(rest) = text.strip_prefix(UNIX) {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            if !path.starts_with('/') {
                return Err(
                    "a Unix socket has a whole path: write unix:///run/exporter.sock".into()
                );
            }
            let mode = match query.strip_prefix("mode=") {
                None if query.is_empty() => None,
                Some(mode) => Some(u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o777)),
                None => Some(None),
            };
            return match mode {
                Some(None) => Err("the mode of a Unix socket is written ?mode=660".into()),
                mode => Ok(Self::Unix { path: Path::new(path), mode: mode.flatten() }),
            };
        }
        listen::Address::parse(text).map(|_| Self::Tcp)
    }
}

/// Refuses a text that is no address.
///
/// # Errors
/// The correction.
pub(super) fn check(address: &str) -> Result<(), String> {
    Address::parse(address).map(drop)
}

impl Listener {
    /// Binds one `--web.listen-address`: one of TCP, `vsock://:9100`, or
    /// `unix:///run/exporter.sock?mode=660`.
    ///
    /// # Errors
    /// It is no address, or cannot be bound.
    pub fn bind(address: &str) -> Result<Self, String> {
        let wrong =
            |kind: &str, error: &dyn fmt::Display| format!("listen {kind} {address}: {error}");
        match Address::parse(address) {
            Ok(Address::Vsock { cid, port }) => {
                listen_vsock(cid, port).map_err(|error| wrong("vsock", &error))
            }
            Ok(Address::Unix { path, mode }) => {
                listen_unix(path, mode).map_err(|error| wrong("unix", &error))
            }
            Ok(Address::Tcp) | Err(_) => {
                Self::new(listen::bind(address)?.into(), None).map_err(|error| wrong("tcp", &error))
            }
        }
    }

    /// The sockets that systemd has bound and hands over, to be asked for once.
    ///
    /// # Errors
    /// There are none, or one of them does not listen.
    pub fn activated() -> Result<Vec<Self>, String> {
        let mut given = ListenFd::from_env();
        let mut all = Vec::with_capacity(given.len().min(64));
        for i in 0..given.len() {
            let taken = KINDS.iter().find_map(|(family, kind)| {
                given.take_custom::<OwnedFd>(i, *family, libc::SOCK_STREAM, kind).ok().flatten()
            });
            let number = i + 3;
            let socket = taken.ok_or_else(|| {
                format!("descriptor {number} of LISTEN_FDS is no TCP, Unix or vsock stream socket")
            })?;
            let listener = rustix::io::ioctl_fionbio(&socket, true)
                .map_err(io::Error::from)
                .and_then(|()| Self::new(socket, None))
                .map_err(|error| format!("descriptor {number} of LISTEN_FDS: {error}"))?;
            all.push(listener);
        }
        if all.is_empty() {
            return Err("no socket activation file descriptors found".into());
        }
        Ok(all)
    }

    fn new(socket: OwnedFd, file: Option<SocketFile>) -> io::Result<Self> {
        let address = address(&socket)?;
        Ok(Self { socket, address, _file: file })
    }

    /// The same, for tokio to tell when a client connects.
    pub(super) fn watched(self) -> io::Result<AsyncFd<Self>> {
        #[expect(unsafe_code, reason = "a descriptor is watched, and must stay what it is")]
        // SAFETY: the listener owns its socket, which it neither changes nor gives away.
        let watched = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) };
        watched.map_err(|error| error.into_parts().1)
    }

    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Where a socket listens.
fn address(socket: &OwnedFd) -> io::Result<String> {
    if let Ok(vsock) = nix::sys::socket::getsockname::<VsockAddr>(socket.as_raw_fd()) {
        let cid = Some(vsock.cid()).filter(|cid| *cid != libc::VMADDR_CID_ANY);
        let cid = cid.map(|cid| cid.to_string()).unwrap_or_default();
        return Ok(format!("{VSOCK}{cid}:{}", vsock.port()));
    }
    let address = rustix::net::getsockname(socket)?;
    if let Ok(ip) = SocketAddr::try_from(address.clone()) {
        return Ok(ip.to_string());
    }
    let unix = SocketAddrUnix::try_from(address)?;
    let path = unix.path_bytes().unwrap_or_default();
    Ok(String::from_utf8_lossy(path).into_owned())
}

fn listen_vsock(cid: u32, port: u32) -> io::Result<Listener> {
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, FLAGS, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &VsockAddr::new(cid, port))?;
    rustix::net::listen(&socket, listen::BACKLOG)?;
    Listener::new(socket, None)
}

/// The file of a Unix socket, by its number, so that it is not mistaken for another's of that name.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen_unix(path: &Path, mode: Option<u32>) -> io::Result<Listener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    let address = SocketAddrUnix::new(path)?;
    match rustix::net::bind(&socket, &address) {
        Err(rustix::io::Errno::ADDRINUSE) if is_stale(path) => {
            fs::remove_file(path)?;
            rustix::net::bind(&socket, &address)?;
        }
        done => done?,
    }
    let file = SocketFile { path: path.to_owned(), inode: inode(path)? };
    if let Some(mode) = mode {
        chmod(path, Mode::from_raw_mode(mode))?; // nobody is let in before it listens
    }
    rustix::net::listen(&socket, listen::BACKLOG)?;
    Listener::new(socket, Some(file))
}

/// Whether a socket's file is there, and nobody listens behind it.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).is_err_and(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn addresses_are_taken_apart() {
        let any = libc::VMADDR_CID_ANY;
        let unix = |path, mode| Address::Unix { path: Path::new(path), mode };
        for (text, want) in [
            (":9100", Address::Tcp),
            ("vsock://:9100", Address::Vsock { cid: any, port: 9100 }),
            ("vsock://:9100/", Address::Vsock { cid: any, port: 9100 }),
            ("vsock://3:4294967295", Address::Vsock { cid: 3, port: u32::MAX }),
            ("unix:///run/x.sock", unix("/run/x.sock", None)),
            ("unix:///run/x.sock?mode=0660", unix("/run/x.sock", Some(0o660))),
        ] {
            assert_eq!(Address::parse(text), Ok(want), "{text}");
        }
        for (text, said) in [
            ("vsock://9100", "the port is missing: write vsock://:9100"),
            ("vsock://host:1", "a vsock address has a number before its port, or nothing"),
            ("vsock://:4294967296", "ports of vsock are numbers from 0 to 4294967295"),
            ("unix://x", "a Unix socket has a whole path: write unix:///run/exporter.sock"),
            ("unix:///x?mode=8", "the mode of a Unix socket is written ?mode=660"),
            ("unix:///x?mode=1777", "the mode of a Unix socket is written ?mode=660"),
            ("unix:///x?mod=660", "the mode of a Unix socket is written ?mode=660"),
            ("http://:1", "an address is written without a scheme, as :9100 or host:9100"),
        ] {
            assert_eq!(Address::parse(text).unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn the_file_of_a_unix_socket_comes_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let address = format!("unix://{}?mode=620", path.display());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(listener.address(), path.display().to_string());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        let taken = Listener::bind(&address).unwrap_err();
        assert!(taken.contains("ddress already in use") || taken.contains("in use"), "{taken}");
        drop(listener);
        assert!(!path.exists());
        // Left behind by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).unwrap();
        // Another's by now.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(listener);
        assert!(path.exists(), "a file that is not the listener's");
        assert!(Listener::bind(&address).is_err(), "a file that is no socket is left alone");
        assert!(path.exists());
    }

    #[test]
    fn tcp_is_shown_as_before() {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        assert!(listener.address().starts_with("127.0.0.1:"), "{}", listener.address());
        let every = Listener::bind(":0").unwrap();
        assert!(every.address().starts_with("[::]:") || every.address().starts_with("0.0.0.0:"));
    }
}
