//! NFS mounts: bytes, events, transports and operations, from `/proc/self/mountstats`.
//!
//! A line `device` for each mount; NFS mounts alone (`nfs_show_stats()` in fs/nfs/super.c) have
//! more, indented. The server's address is not among it but in `/proc/self/mountinfo`, which
//! lists the same mounts in the same order. Mounts of one export share their counters, which are
//! told once. A mount that is malformed is skipped from there on.

mod metrics;
mod parse;

use crate::{exposition::Label, prelude::*};
use metrics::{AGE, BYTES, EVENTS, MOUNTPOINT, OPERATIONS, TRANSPORTS};
use parse::{IDLE, Line, MILLISECONDS, Mount, Mounts};

pub const SPEC: Spec = Spec {
    name: "mountstats",
    enabled: false,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(MountStats {
            stats: host.proc.file("self/mountstats"),
            info: host.proc.file("self/mountinfo"),
            seen: Vec::new(),
        }))
    },
};

struct MountStats {
    stats: File,
    info: File,
    /// Room for [`Seen`]; empty between scrapes.
    seen: Seen<'static>,
}

/// Export, protocol, address and mount point of what was told. Without mount point: the counters.
type Seen<'a> = Vec<[&'a [u8]; 4]>;

/// The same room, for what lives shorter or longer; nothing is in it.
fn recycle<'a>(seen: Seen<'_>) -> Seen<'a> {
    seen.into_iter().map_while(|_| None).collect()
}

impl Collector for MountStats {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { stats, info, seen: room } = self;
        let (stats, info) = (stats.bytes()?, info.bytes()?);
        let mut seen = recycle(std::mem::take(room));
        let mut lines = info.split(|&byte| byte == b'\n');
        for mount in Mounts(stats) {
            let beside = lines.next().unwrap_or_default();
            if let Some(mount) = mount.nfs() {
                let address = address(&mount, beside, info);
                if let Err(error) = put(&mount, address, &mut seen, out) {
                    let mount = String::from_utf8_lossy(mount.point);
                    tracing::debug!("mountstats: {mount}: {error}");
                }
            }
        }
        *room = recycle(seen);
        Ok(())
    }
}

/// The server's address: from the line of mountinfo beside, or, should mounts have come or gone
/// between reading the files, from that of the same mount.
fn address<'a>(mount: &Mount<'_>, beside: &'a [u8], info: &'a [u8]) -> &'a [u8] {
    let of = |line: &'a [u8]| {
        let mut words = parse::words(line);
        if words.nth(4)? != mount.point {
            return None;
        }
        words.find(|word| *word == b"-")?;
        let (_kind, source, options) = (words.next()?, words.next()?, words.next()?);
        if source != mount.device {
            return None;
        }
        options.split(|&byte| byte == b',').find_map(|option| option.strip_prefix(b"addr="))
    };
    let found = of(beside).or_else(|| info.split(|&byte| byte == b'\n').find_map(of));
    found.unwrap_or_default()
}

fn put<'a>(
    mount: &Mount<'a>,
    address: &'a [u8],
    seen: &mut Seen<'a>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    let Mount { device, point, version, .. } = *mount;
    for line in mount.lines() {
        let Line::Transport(words) = line? else { continue };
        let (protocol, _) = parse::transport(version, words)?;
        if is_new(seen, [device, protocol.as_bytes(), address, point]) {
            out.put(&MOUNTPOINT, [&device, &address, &point, &protocol], 1);
        }
        if !is_new(seen, [device, protocol.as_bytes(), address, b""]) {
            break;
        }
        put_counters(mount, address, protocol, out)?;
    }
    Ok(())
}

fn is_new<'a>(seen: &mut Seen<'a>, key: [&'a [u8]; 4]) -> bool {
    let new = !seen.contains(&key);
    if new {
        seen.push(key);
    }
    new
}

fn put_counters(
    mount: &Mount<'_>,
    address: &[u8],
    protocol: &str,
    out: &mut Sink,
) -> Result<(), Malformed> {
    let device = mount.device;
    let (mut age, mut bytes, mut events) = (0_u64, [0_u64; BYTES.len()], [0_u64; EVENTS.len() + 1]);
    let mut transports = 0_usize;
    for line in mount.lines() {
        match line? {
            Line::Age(mut words) => age = words.number("age")?,
            Line::Bytes(mut words) => bytes = words.numbers("value")?,
            Line::Events(mut words) => events = words.numbers("value")?,
            Line::Transport(words) => {
                let (_, mut values) = parse::transport(mount.version, words)?;
                if let Some(idle) = values.get_mut(IDLE) {
                    *idle %= EXACT;
                }
                for (place, metric) in &TRANSPORTS {
                    let value = values.get(*place).copied().unwrap_or_default();
                    out.put(metric, [&device, &address, &protocol, &transports], value);
                }
                transports += 1;
            }
            Line::Operation(name, mut words) => {
                let values: [u64; OPERATIONS.len()] = words.numbers("value")?;
                for ((place, metric), value) in OPERATIONS.iter().zip(values) {
                    let labels: [&dyn Label; 4] = [&device, &address, &name, &protocol];
                    if MILLISECONDS.contains(place) {
                        out.put(metric, labels, (value % EXACT) as f64 / 1000.0);
                    } else {
                        out.put(metric, labels, value);
                    }
                }
            }
            Line::Other => {}
        }
    }
    let labels: [&dyn Label; 3] = [&device, &address, &protocol];
    out.put(&AGE, labels, age);
    for (place, metric) in &BYTES {
        out.put(metric, labels, bytes.get(*place).copied().unwrap_or_default());
    }
    for (place, metric) in &EVENTS {
        out.put(metric, labels, events.get(*place).copied().unwrap_or_default());
    }
    Ok(())
}

/// Times are unsigned in the file, though the kernel's differences can be negative: what is
/// above the integers that a sample holds exactly begins anew, as upstream.
const EXACT: u64 = 1 << 53;

#[cfg(test)]
mod tests;
