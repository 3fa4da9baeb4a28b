//! Software RAID, from `/proc/mdstat` and `/sys/block/md*/md`.
//!
//! An array in mdstat is a line with its name, state, level and disks, a line with its size and
//! what its level says of itself, and where there are any, lines about a resync and its bitmap
//! (`md_seq_show()` in `drivers/md/md.c`). `node_md_state` has no series of its own for an array
//! that is reshaping or broken: then all are 0.

use crate::{parse::number, prelude::*};

pub const SPEC: Spec = Spec {
    name: "mdadm",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(MdAdm { file: host.proc.file("mdstat"), block: host.sys.folder("block") }))
    },
};

static STATE: Metric<2> =
    gauge("node_md_state", "Indicates the state of md-device.").by(["device", "state"]);
static DISKS: Metric<2> = gauge("node_md_disks", "Number of active/failed/spare disks of device.")
    .by(["device", "state"]);
static REQUIRED: Metric<1> =
    gauge("node_md_disks_required", "Total number of disks of device.").by(["device"]);
static BLOCKS: Metric<1> =
    gauge("node_md_blocks", "Total number of blocks on device.").by(["device"]);
static SYNCED: Metric<1> =
    gauge("node_md_blocks_synced", "Number of blocks synced on device.").by(["device"]);
static RAID_DISKS: Metric<1> =
    gauge("node_md_raid_disks", "Number of raid disks on device.").by(["device"]);
static DEGRADED: Metric<1> =
    gauge("node_md_degraded", "Number of degraded disks on device.").by(["device"]);

struct MdAdm {
    file: File,
    block: Folder,
}

impl Collector for MdAdm {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let parsed = self.file.parse(|text| each(text, |array| put(array, out)));
        if parsed.as_ref().is_err_and(Error::is_absent) {
            return Err(Error::NoData);
        }
        let listed = self.block.list().unless_absent().and_then(|entries| {
            (entries.into_iter().flatten())
                .filter(|entry| entry.bytes().starts_with(b"md"))
                .map(|entry| put_attributes(&entry, out))
                .fold(Ok(()), Result::and)
        });
        parsed.and(listed)
    }
}

fn put(array: &Array<'_>, out: &mut Sink) {
    let device = array.name;
    for (name, state) in [
        ("active", State::Active),
        ("check", State::Checking),
        ("inactive", State::Inactive),
        ("recovering", State::Recovering),
        ("resync", State::Resyncing),
    ] {
        out.put(&STATE, [&device, &name], array.state == state);
    }
    for (state, n) in [("active", array.active), ("failed", array.failed), ("spare", array.spare)] {
        out.put(&DISKS, [&device, &state], n);
    }
    out.put(&REQUIRED, [&device], array.required);
    out.put(&BLOCKS, [&device], array.blocks);
    out.put(&SYNCED, [&device], array.synced);
}

/// What sysfs says; a level that knows no number of disks is one of those that only hold others.
fn put_attributes(entry: &Entry<'_>, out: &mut Sink) -> Result {
    let Some(device) = entry.dir()? else { return Ok(()) };
    let Some(md) = device.dir("md")? else { return Ok(()) };
    let Some(level) = md.text("level")? else { return Ok(()) };
    let name = entry.name();
    let degraded = match &*level {
        "raid1" | "raid4" | "raid5" | "raid6" | "raid10" => md.number("degraded")?,
        _ => Some(0_u64),
    };
    if !matches!(&*level, "" | "container" | "imsm" | "ddf")
        && let Some(text) = md.text("raid_disks")?
        // Before and after a reshape: `11 (10)`.
        && let Some(disks) = text.split(' ').next().and_then(|n| n.parse::<u64>().ok())
    {
        out.put(&RAID_DISKS, [&name], disks);
    }
    if let Some(degraded) = degraded {
        out.put(&DEGRADED, [&name], degraded);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Active,
    Inactive,
    Checking,
    Recovering,
    Resyncing,
    Other,
}

#[derive(Debug, PartialEq)]
struct Array<'a> {
    name: &'a str,
    state: State,
    required: u64,
    active: u64,
    failed: u64,
    spare: u64,
    blocks: u64,
    synced: u64,
}

/// Gives `array` every array that can be read; an error is that of the first that cannot.
fn each<'a>(text: &'a str, mut array: impl FnMut(&Array<'a>)) -> Result<(), Malformed> {
    let mut result = Ok(());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_detail = |line: &str| line.starts_with([' ', '\t']);
        let is_other = line.starts_with("Personalities") || line.starts_with("unused");
        if line.is_empty() || is_detail(line) || is_other {
            continue;
        }
        let size = lines.next_if(|line| is_detail(line)).unwrap_or_default();
        let mut sync = None;
        while let Some(detail) = lines.next_if(|line| is_detail(line)) {
            if !detail.contains("bitmap") {
                sync = sync.or_else(|| Sync::find(detail));
            }
        }
        match parse(line, size, sync) {
            Ok(found) => array(&found),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

fn parse<'a>(line: &'a str, size: &str, sync: Option<Sync<'_>>) -> Result<Array<'a>, Malformed> {
    let mut words = line.split_ascii_whitespace();
    let name = words.word("array")?;
    let _colon = words.word("array")?;
    let mut state = match words.word("array's state")? {
        "active" => State::Active,
        "inactive" => State::Inactive,
        _ => State::Other,
    };
    let is_disk = |word: &str| word.contains('[');
    let level = words.clone().find(|word| !word.starts_with('(') && !is_disk(word));
    let count = |what: &str| line.matches(what).count() as u64;
    let blocks = size.split_ascii_whitespace().number("number of blocks")?;
    let (required, active) = match level {
        Some("raid0" | "linear") => {
            let disks = words.filter(|word| is_disk(word)).count() as u64;
            (disks, disks)
        }
        _ if state == State::Inactive => (0, 0),
        _ => disks(size).ok_or_else(|| Malformed::new("number of disks", size.trim()))?,
    };
    let mut synced = blocks;
    if let Some(sync) = sync {
        (state, synced) = (sync.state, sync.done()?);
    }
    let (failed, spare) = (count("(F)"), count("(S)"));
    Ok(Array { name, state, required, active, failed, spare, blocks, synced })
}

/// Required and active disks: the numbers in `[3/2] [UU_]`.
fn disks(line: &str) -> Option<(u64, u64)> {
    let (before, _flags) = line.rsplit_once("] [")?;
    let (required, active) = before.rsplit_once('[')?.1.split_once('/')?;
    Some((required.parse().ok()?, active.parse().ok()?))
}

/// A line about a resync and its like.
#[derive(Clone, Copy)]
struct Sync<'a> {
    state: State,
    line: &'a str,
}

impl<'a> Sync<'a> {
    fn find(line: &'a str) -> Option<Self> {
        let state = [
            ("recovery", State::Recovering),
            ("reshape", State::Other),
            ("check", State::Checking),
            ("resync", State::Resyncing),
        ]
        .into_iter()
        .find(|(word, _)| line.contains(word))?
        .1;
        Some(Self { state, line })
    }

    /// Blocks that are done: the first of the numbers in `(1024/4096)`. One that waits for
    /// another to end, or that another node does, has none.
    fn done(self) -> Result<u64, Malformed> {
        if ["PENDING", "DELAYED", "REMOTE"].iter().any(|word| self.line.contains(word)) {
            return Ok(0);
        }
        let done = self.line.split_once('(').and_then(|(_, rest)| rest.split_once('/'));
        match done {
            Some((done, _)) => number("blocks synced", done),
            None => Err(Malformed::new("blocks synced", self.line.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    fn parse(text: &str) -> Result<Vec<Array<'_>>, Malformed> {
        let mut arrays = Vec::new();
        each(text, |array| arrays.push(Array { ..*array }))?;
        Ok(arrays)
    }

    fn one(text: &str) -> (State, u64, u64, u64, u64, u64, u64) {
        let arrays = parse(text).unwrap();
        let [Array { state, required, active, failed, spare, blocks, synced, .. }] = arrays[..]
        else {
            panic!("{arrays:?}")
        };
        (state, required, active, failed, spare, blocks, synced)
    }

    #[test]
    fn levels_say_differently_how_many_disks_they_have() {
        assert_eq!(
            one(
                "md1 : active raid5 a[0] b[1](F) c[2](S) d[3]\n  90 blocks level 5, 64k [3/2] [U_U]\n"
            ),
            (State::Active, 3, 2, 1, 1, 90, 90)
        );
        assert_eq!(
            one("md1 : active (auto-read-only) raid0 b[1] a[0]\n  90 blocks 512k chunks\n\n"),
            (State::Active, 2, 2, 0, 0, 90, 90)
        );
        assert_eq!(
            one("md1 : inactive a[1](S) b[0](S)\n  90 blocks super external:imsm\n\n"),
            (State::Inactive, 0, 0, 0, 2, 90, 90)
        );
        assert_eq!(one("md1 : broken raid0 a[0]\n  9 blocks\n").0, State::Other);
    }

    #[test]
    fn a_resync_stands_before_or_after_the_bitmap() {
        let array = "md1 : active raid1 a[0] b[1]\n  90 blocks [2/2] [UU]\n";
        for (lines, state, synced) in [
            ("  [=>..]  recovery = 8.5% (7/90) finish=1min speed=1K/sec\n", State::Recovering, 7),
            ("  [=>..]  resync = 8.5% (7/90)\n  bitmap: 0/3 pages\n", State::Resyncing, 7),
            ("  bitmap: 0/3 pages\n  [=>..]  check = 8.5% (7/90)\n", State::Checking, 7),
            ("  [=>..]  reshape = 8.5% (7/90)\n", State::Other, 7),
            ("\tresync=PENDING\n", State::Resyncing, 0),
            ("  recovery=DELAYED\n", State::Recovering, 0),
            ("  resync=REMOTE\n", State::Resyncing, 0),
            ("  bitmap: 0/3 pages [0KB], 64KB chunk\n", State::Active, 90),
        ] {
            let text = format!("{array}{lines}\n");
            assert_eq!(one(&text), (state, 2, 2, 0, 0, 90, synced), "{lines}");
        }
    }

    #[test]
    fn refuses_what_is_no_array() {
        assert_eq!(parse("Personalities : \nunused devices: <none>\n"), Ok(vec![]));
        assert_eq!(malformed(parse("md1 :")), "bad array's state: \"\"");
        assert_eq!(malformed(parse("md1 : active raid1 a[0]\n")), "bad number of blocks: \"\"");
        let array = "md1 : active raid1 a[0]\n  9 blocks";
        assert_eq!(malformed(parse(array)), "bad number of disks: \"9 blocks\"");
        let array = format!("{array} [1/1] [U]\n  check = 1%\n");
        assert_eq!(malformed(parse(&array)), "bad blocks synced: \"check = 1%\"");
    }

    #[test]
    fn an_array_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("proc/mdstat", "md1 : active x\n\nmd2 : active raid0 a[0]\n  9 blocks\n")
            .with("sys/block/md1/md/level", "raid1\n")
            .with("sys/block/md1/md/degraded", "x\n")
            .with("sys/block/md2/md/level", "raid0\n")
            .with("sys/block/md2/md/raid_disks", "2 (1)\n")
            .with("sys/block/md3/size", "1\n")
            .with("sys/block/md4/md/level", "\n")
            .with("sys/block/md4/md/raid_disks", "2\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(
            result.unwrap_err().to_string().ends_with("proc/mdstat: bad number of blocks: \"\"")
        );
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("d{") || line.contains("raid_disks{"))
            .collect();
        assert_eq!(
            lines,
            [
                "node_md_blocks_synced{device=\"md2\"} 9",
                "node_md_degraded{device=\"md2\"} 0",
                "node_md_degraded{device=\"md4\"} 0",
                "node_md_disks_required{device=\"md2\"} 1",
                "node_md_raid_disks{device=\"md2\"} 2",
            ]
        );
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
