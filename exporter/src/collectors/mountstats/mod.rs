//! NFS mounts: bytes, events, transports and operations, from `/proc/self/mountstats`.
//!
//! Each mount has a line `device`; only NFS mounts (`nfs_show_stats()` in fs/nfs/super.c) have
//! further, indented lines. The server's address stands in `/proc/self/mountinfo`, which lists the
//! same mounts in the same order. Mounts of one export share their counters, which are exposed
//! once.

mod metrics;
mod parse;

use crate::{exposition::Label, prelude::*};
use metrics::{AGE, BYTES, EVENTS, MOUNTPOINT, OPERATIONS, TRANSPORTS};
use parse::{Line, MILLISECONDS, Mount, Mounts, Value, numbers};

pub const SPEC: Spec = Spec {
    name: "mountstats",
    enabled: false,
    capabilities: CapabilitySet::DAC_READ_SEARCH,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(MountStats {
            // With `--web.config.file` it is root's soon, and readable for its owner alone.
            stats: host.proc.file("self/mountstats").opened(),
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

/// Export, protocol, address and mount point of each mount exposed so far; an entry with an empty
/// mount point stands for counters exposed so far.
type Seen<'a> = Vec<[&'a [u8]; 4]>;

/// The same memory, empty, for entries of another lifetime.
fn recycle<'a>(seen: Seen<'_>) -> Seen<'a> {
    seen.into_iter().map_while(|_| None).collect()
}

impl Collector for MountStats {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { stats, info, seen: room } = self;
        stats.bytes()?;
        let mut faults = Faults::default();
        let info = faults.keep(info.bytes()).unwrap_or_default();
        let mut seen = recycle(std::mem::take(room));
        let mut lines = info.split(|&byte| byte == b'\n');
        for mount in Mounts::new(stats.last()) {
            let beside = lines.next().unwrap_or_default();
            if let Some(mount) = mount.nfs() {
                let address = address(&mount, beside, info);
                let put = put(&mount, address, &mut seen, out);
                let path = stats.path();
                faults.keep(put.map_err(|source| Error::Parse { path: path.into(), source }));
            }
        }
        *room = recycle(seen);
        faults.end()
    }
}

/// The server's address: from the mountinfo line at the same place or, should mounts have come or
/// gone between reading the two files, from the line of the same mount.
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
    let Mount { device, point, .. } = *mount;
    let mut faults = Faults::default();
    for (number, line) in mount.lines() {
        // Faults in other lines are kept by `put_counters`.
        let Ok(Line::Transport(mut words)) = line else { continue };
        let protocol = words.word("protocol").map_err(|malformed| malformed.in_line(number));
        let Some(protocol) = faults.keep(protocol) else { continue };
        if is_new(seen, [device, protocol.as_bytes(), address, point]) {
            out.put(&MOUNTPOINT, [&device, &address, &point, &protocol], 1);
        }
        if !is_new(seen, [device, protocol.as_bytes(), address, b""]) {
            break;
        }
        faults.keep(put_counters(mount, address, protocol, out));
    }
    faults.end()
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
    let labels: [&dyn Label; 3] = [&mount.device, &address, &protocol];
    let mut age = [Some(0.0); 1];
    let (mut bytes, mut events) = ([Some(0.0); BYTES.len()], [Some(0.0); EVENTS.len() + 1]);
    let mut transports = 0_usize;
    let mut faults = Faults::default();
    for (number, line) in mount.lines() {
        let put = line.and_then(|line| match line {
            Line::Age(words) => numbers(words, |_| false, &mut age),
            Line::Bytes(words) => numbers(words, |_| false, &mut bytes),
            Line::Events(words) => numbers(words, |_| false, &mut events),
            Line::Transport(words) => {
                transports += 1;
                put_transport(mount.version, words, transports - 1, labels, out)
            }
            Line::Operation(name, words) => put_operation(name, words, labels, out),
            Line::Other => Ok(()),
        });
        faults.keep(put.map_err(|malformed| malformed.in_line(number)));
    }
    for (metric, value) in
        at(&BYTES, &bytes).chain(at(&EVENTS, &events)).chain([&AGE].into_iter().zip(age))
    {
        if let Some(value) = value {
            out.put(metric, labels, value);
        }
    }
    faults.end()
}

/// Pairs each metric of a table with the value at the metric's place.
fn at<'a, const N: usize>(
    table: &'a [(usize, Metric<N>)],
    values: &'a [Value],
) -> impl Iterator<Item = (&'a Metric<N>, Value)> {
    table.iter().map(|(place, metric)| (metric, values.get(*place).copied().flatten()))
}

fn put_transport<'a>(
    version: &[u8],
    mut words: impl Iterator<Item = &'a str> + Clone,
    transport: usize,
    [device, address, protocol]: [&dyn Label; 3],
    out: &mut Sink,
) -> Result<(), Malformed> {
    let mut values = [None; 13];
    let own_protocol = words.next().unwrap_or_default();
    let parsed = parse::transport(version, own_protocol, words, &mut values);
    for (metric, value) in at(&TRANSPORTS, &values) {
        if let Some(value) = value {
            out.put(metric, [device, address, protocol, &transport], value);
        }
    }
    parsed
}

fn put_operation<'a>(
    name: &str,
    words: impl Words<'a>,
    [device, address, protocol]: [&dyn Label; 3],
    out: &mut Sink,
) -> Result<(), Malformed> {
    let is_time = |place| MILLISECONDS.contains(&place);
    let mut values = [None; OPERATIONS.len()];
    let parsed = numbers(words, is_time, &mut values);
    for ((place, metric), value) in OPERATIONS.iter().zip(values) {
        if let Some(value) = value {
            let unit = if is_time(*place) { 1000.0 } else { 1.0 };
            out.put(metric, [device, address, &name, protocol], value / unit);
        }
    }
    parsed
}

#[cfg(test)]
mod tests;
