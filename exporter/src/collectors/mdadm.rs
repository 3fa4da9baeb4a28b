//! Software RAID, from `/proc/mdstat` and `/sys/block/md*/md`.
//!
//! An array in mdstat is a line with its name, state, level and disks, a line with its size and the
//! status of its level, and at times lines about a resync and its bitmap (`md_seq_show()` in
//! `drivers/md/md.c`); an array without disks has the first line alone. No series of
//! `node_md_state` stands for reshaping or broken: for such an array all its series are 0. The
//! driver of unRAID has a file of the same name with lines `key=value`, which are skipped.

use crate::{parse::decimal, prelude::*};

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
        let mut faults = Faults::default();
        let mut has_data = faults.keep(parsed.unless_absent()).is_none_or(|read| read.is_some());
        let listed = faults.keep(self.block.list().unless_absent()).flatten();
        for entry in listed.into_iter().flatten() {
            if entry.bytes().starts_with(b"md") {
                has_data |= faults.keep(put_attributes(&entry, out)).unwrap_or(true);
            }
        }
        faults.end()?;
        if has_data { Ok(()) } else { Err(Error::NoData) }
    }
}

fn put(array: &Array<'_>, out: &mut Sink) {
    let device = array.name;
    if let Some(now) = array.state {
        for (name, state) in [
            ("active", State::Active),
            ("check", State::Checking),
            ("inactive", State::Inactive),
            ("recovering", State::Recovering),
            ("resync", State::Resyncing),
        ] {
            out.put(&STATE, [&device, &name], now == state);
        }
    }
    for (state, n) in [
        ("active", array.active),
        ("failed", Some(array.failed as f64)),
        ("spare", Some(array.spare as f64)),
    ] {
        if let Some(n) = n {
            out.put(&DISKS, [&device, &state], n);
        }
    }
    for (metric, value) in
        [(&REQUIRED, array.required), (&BLOCKS, array.blocks), (&SYNCED, array.synced)]
    {
        if let Some(value) = value {
            out.put(metric, [&device], value);
        }
    }
}

/// Exposes the attributes in sysfs and returns whether the array has any. `raid_disks` is left out
/// where the level is empty or that of a container, which only holds other arrays.
fn put_attributes(entry: &Entry<'_>, out: &mut Sink) -> Result<bool> {
    let mut faults = Faults::default();
    let Some(device) = faults.read(entry.dir()) else { return Ok(false) };
    let Some(md) = faults.read(device.dir("md")) else { return Ok(false) };
    let Some(level) = faults.read(md.text("level")) else { return Ok(false) };
    let name = entry.name();
    let degraded = match &*level {
        "raid1" | "raid4" | "raid5" | "raid6" | "raid10" => faults.read(md.decimal("degraded")),
        _ => Some(0.0),
    };
    if !matches!(&*level, "" | "container" | "imsm" | "ddf") {
        // Before and after a reshape: `11 (10)`.
        let disks = |text: &str| decimal("number", text.split(' ').next().unwrap_or_default());
        if let Some(disks) = faults.read(md.parse("raid_disks", disks)) {
            out.put(&RAID_DISKS, [&name], disks);
        }
    }
    if let Some(degraded) = degraded {
        out.put(&DEGRADED, [&name], degraded);
    }
    faults.end().map(|()| true)
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

/// An array; a number is `None` where it is malformed or absent.
#[derive(Debug, PartialEq)]
struct Array<'a> {
    name: &'a str,
    state: Option<State>,
    required: Option<f64>,
    active: Option<f64>,
    failed: usize,
    spare: usize,
    blocks: Option<f64>,
    synced: Option<f64>,
}

/// The lines of one array, each with its number.
#[derive(Clone, Copy)]
struct Lines<'a> {
    head: (usize, &'a str),
    size: Option<(usize, &'a str)>,
    sync: Option<(usize, State, &'a str)>,
}

/// Gives `array` every array.
fn each<'a>(text: &'a str, mut array: impl FnMut(&Array<'a>)) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    let mut current: Option<Lines<'a>> = None;
    let mut end = |lines: Option<Lines<'a>>, faults: &mut Faults<Malformed>| {
        if let Some(lines) = lines {
            array(&lines.parse(faults));
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with([' ', '\t']) {
            // A second line of sizes belongs to another array, whose head cannot be read.
            let is_other = |(_, size): (usize, &str)| size != line;
            if line.contains(" blocks")
                && current.is_some_and(|lines| lines.size.is_some_and(is_other))
            {
                end(current.take(), &mut faults);
            }
            if let Some(lines) = &mut current {
                lines.add(number, line);
            }
        } else if is_other(line) {
            // describes no array
        } else if is_head(line) {
            let head = Lines { head: (number, line), size: None, sync: None };
            end(current.replace(head), &mut faults);
        } else {
            faults.keep::<()>(Err(Malformed::new("array", line).in_line(number)));
        }
    }
    end(current, &mut faults);
    faults.end()
}

/// Whether a line begins an array: `md0 : active raid1 sda1[0] sdb1[1]`.
fn is_head(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.nth(1) == Some(":")
}

/// Whether a line describes no array.
fn is_other(line: &str) -> bool {
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    first.is_empty() || first == "Personalities" || first == "unused" || first.contains('=')
}

impl<'a> Lines<'a> {
    fn add(&mut self, number: usize, line: &'a str) {
        if line.contains("bitmap") {
            // not exposed
        } else if line.contains(" blocks") {
            self.size = Some((number, line));
        } else if self.sync.is_none() {
            self.sync = State::of_sync(line).map(|state| (number, state, line));
        }
    }

    fn parse(self, faults: &mut Faults<Malformed>) -> Array<'a> {
        let Self { head: (number, head), size, sync } = self;
        let mut words = head.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let _colon = words.next();
        let state = words.word("array's state").map_err(|malformed| malformed.in_line(number));
        let mut state = faults.keep(state).map(|word| match word {
            "active" => State::Active,
            "inactive" => State::Inactive,
            _ => State::Other,
        });
        let is_disk = |word: &&str| word.contains('[');
        let disks = words.clone().filter(is_disk).count();
        let level = words.find(|word| !word.starts_with('(') && !is_disk(word));
        if size.is_none() && disks > 0 {
            faults.keep::<()>(Err(Malformed::new("number of blocks", "").in_line(number)));
        }
        let blocks = size.and_then(|(number, line)| {
            let blocks = line.split_ascii_whitespace().decimal("number of blocks");
            faults.keep(blocks.map_err(|malformed| malformed.in_line(number)))
        });
        let (required, active) = match level {
            Some("raid0" | "linear") => (Some(disks as f64), Some(disks as f64)),
            _ if state == Some(State::Inactive) => (Some(0.0), Some(0.0)),
            _ => size.map_or((None, None), |size| status(size, level, faults)),
        };
        let mut synced = blocks;
        if let Some((number, sync, line)) = sync {
            state = Some(sync);
            synced = faults.keep(done(line).map_err(|malformed| malformed.in_line(number)));
        }
        let (failed, spare) = (head.matches("(F)").count(), head.matches("(S)").count());
        Array { name, state, required, active, failed, spare, blocks, synced }
    }
}

/// Required and active disks: the numbers in `[3/2] [UU_]`, which arrays of some levels lack.
fn status(
    (number, line): (usize, &str),
    level: Option<&str>,
    faults: &mut Faults<Malformed>,
) -> (Option<f64>, Option<f64>) {
    let numbers = line.rsplit_once("] [").and_then(|(before, _flags)| {
        let (_, numbers) = before.rsplit_once('[')?;
        numbers.split_once('/')
    });
    let mut count =
        |text| faults.keep(decimal("number of disks", text).map_err(|wrong| wrong.in_line(number)));
    match numbers {
        Some((required, active)) => (count(required), count(active)),
        None if matches!(level, Some("faulty")) => (None, None),
        None => (count(line.trim_ascii()), None),
    }
}

impl State {
    /// The state of an array that has this line about a resync or a similar action; `None` for
    /// other lines.
    fn of_sync(line: &str) -> Option<Self> {
        line.split([' ', '\t', '=']).find_map(|word| match word {
            "recovery" | "recover" => Some(Self::Recovering),
            "reshape" => Some(Self::Other),
            "check" => Some(Self::Checking),
            "resync" => Some(Self::Resyncing),
            _ => None,
        })
    }
}

/// The number of synced blocks: the first in `(1024/4096)`; 0 for a resync that waits for another
/// resync or runs on another node of a cluster.
fn done(line: &str) -> Result<f64, Malformed> {
    if ["PENDING", "DELAYED", "REMOTE"].iter().any(|word| line.contains(word)) {
        return Ok(0.0);
    }
    let done = line.split_once('(').and_then(|(_, rest)| rest.split_once('/'));
    let (done, _) = done.ok_or_else(|| Malformed::new("blocks synced", line.trim_ascii()))?;
    decimal("blocks synced", done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, malformed};

    fn parse(text: &str) -> (Vec<Array<'_>>, Result<(), Malformed>) {
        let mut arrays = Vec::new();
        let result = each(text, |array| arrays.push(Array { ..*array }));
        (arrays, result)
    }

    /// State; required, active, failed and spare disks; blocks and synced blocks.
    type Numbers =
        (Option<State>, Option<f64>, Option<f64>, usize, usize, Option<f64>, Option<f64>);

    fn one(text: &str) -> Numbers {
        let (arrays, result) = parse(text);
        result.unwrap();
        let [Array { state, required, active, failed, spare, blocks, synced, .. }] = arrays[..]
        else {
            panic!("{arrays:?}")
        };
        (state, required, active, failed, spare, blocks, synced)
    }

    const fn whole(
        state: State,
        [required, active]: [f64; 2],
        [failed, spare]: [usize; 2],
        [blocks, synced]: [f64; 2],
    ) -> Numbers {
        (Some(state), Some(required), Some(active), failed, spare, Some(blocks), Some(synced))
    }

    #[test]
    fn disks_are_counted_at_each_level() {
        assert_eq!(
            one(
                "md1 : active raid5 a[0] b[1](F) c[2](S) d[3]\n  90 blocks level 5, 64k [3/2] [U_U]\n"
            ),
            whole(State::Active, [3.0, 2.0], [1, 1], [90.0, 90.0])
        );
        assert_eq!(
            one("md1 : active (auto-read-only) raid0 b[1] a[0]\n  90 blocks 512k chunks\n\n"),
            whole(State::Active, [2.0, 2.0], [0, 0], [90.0, 90.0])
        );
        assert_eq!(
            one("md1 : inactive a[1](S) b[0](S)\n  90 blocks super external:imsm\n\n"),
            whole(State::Inactive, [0.0, 0.0], [0, 2], [90.0, 90.0])
        );
        assert_eq!(one("md1 : broken raid0 a[0]\n  9 blocks\n").0, Some(State::Other));
    }

    #[test]
    fn a_resync_stands_before_or_after_the_bitmap() {
        let array = "md1 : active raid1 a[0] b[1]\n  90 blocks [2/2] [UU]\n";
        for (lines, state, synced) in [
            ("  [=>..]  recovery = 8.5% (7/90) finish=1min speed=1K/sec\n", State::Recovering, 7.0),
            ("  [=>..]  resync = 8.5% (7/90)\n  bitmap: 0/3 pages\n", State::Resyncing, 7.0),
            ("  bitmap: 0/3 pages\n  [=>..]  check = 8.5% (7/90)\n", State::Checking, 7.0),
            ("  [=>..]  reshape = 8.5% (7/90)\n", State::Other, 7.0),
            ("\tresync=PENDING\n", State::Resyncing, 0.0),
            ("  recovery=DELAYED\n", State::Recovering, 0.0),
            ("  resync=REMOTE\n", State::Resyncing, 0.0),
            ("  recover=REMOTE\n", State::Recovering, 0.0),
            ("  reshape=REMOTE\n", State::Other, 0.0),
            ("  bitmap: 0/3 pages [0KB], 64KB chunk\n", State::Active, 90.0),
        ] {
            let text = format!("{array}{lines}\n");
            assert_eq!(one(&text), whole(state, [2.0, 2.0], [0, 0], [90.0, synced]), "{lines}");
        }
    }

    #[test]
    fn an_array_without_disks_has_no_size() {
        let (arrays, result) = parse(
            "Personalities : [raid1]\nmd127 : inactive super external:imsm\n       \n\
             md1 : active raid0 a[0]\n  9 blocks\n\nunused devices: <none>\n",
        );
        result.unwrap();
        let [Array { state, required, active, failed, spare, blocks, synced, .. }, other] =
            &arrays[..]
        else {
            panic!("{arrays:?}")
        };
        assert_eq!((*state, *required, *active), (Some(State::Inactive), Some(0.0), Some(0.0)));
        assert_eq!((*failed, *spare, *blocks, *synced), (0, 0, None, None));
        assert_eq!((other.name, other.blocks), ("md1", Some(9.0)));
        let faulty = one("md1 : active faulty a[0]\n  9 blocks super 1.2 nfaults=0\n");
        assert_eq!((faulty.1, faulty.2, faulty.5), (None, None, Some(9.0)));
    }

    #[test]
    fn lines_of_another_driver_are_skipped() {
        let lines = "sbName=/boot/config/super.dat\nmdState=STARTED\n\ndiskId.1=WDC : x (sda)\n";
        assert_eq!(parse(lines), (vec![], Ok(())));
        assert_eq!(parse("Personalities : \nunused devices: <none>\n"), (vec![], Ok(())));
    }

    #[test]
    fn a_line_that_is_odd_costs_itself_alone() {
        let bad = |text| malformed(parse(text).1);
        assert_eq!(bad("md1 :"), "bad array's state: \"\"");
        assert_eq!(bad("md1 active raid1\n"), "bad array: \"md1 active raid1\"");
        assert_eq!(bad("md1 : active raid1 a[0]\n"), "bad number of blocks: \"\"");
        let array = "md1 : active raid1 a[0]\n  9 blocks";
        assert_eq!(bad(array), "bad number of disks: \"9 blocks\"");
        let (arrays, result) = parse(
            "md1 : active raid1 a[0](F)\nnovel 7\n  x blocks [y/2] [U]\n  check = 1%\n\
             md2 active raid1 b[0]\n  3 blocks [1/1] [U]\n  resync = 1% (1/3)\n\
             md3 : active raid1 c[0]\n  -4 blocks [18446744073709551616/1] [U]\n",
        );
        assert_eq!(result, Err(Malformed::new("array", "novel 7").in_line(2)));
        let [first, third] = &arrays[..] else { panic!("{arrays:?}") };
        assert_eq!((first.state, first.failed), (Some(State::Checking), 1));
        assert_eq!((first.required, first.active), (None, Some(2.0)));
        assert_eq!((first.blocks, first.synced), (None, None));
        assert_eq!(
            (third.name, third.state, third.blocks),
            ("md3", Some(State::Active), Some(-4.0))
        );
        assert_eq!((third.required, third.active), (Some(1.844_674_407_370_955_2e19), Some(1.0)));
    }

    #[test]
    fn an_array_that_cannot_be_read_hides_no_other() {
        let machine = Machine::new()
            .with("proc/mdstat", "md1 : active x[0]\n\nmd2 : active raid0 a[0]\n  9 blocks\n")
            .with("sys/block/md1/md/level", "raid1\n")
            .with("sys/block/md1/md/degraded", "x\n")
            .with("sys/block/md2/md/level", "raid0\n")
            .with("sys/block/md2/md/raid_disks", "2 (1)\n")
            .with("sys/block/md3/size", "1\n")
            .with("sys/block/md4/md/level", "\n")
            .with("sys/block/md4/md/raid_disks", "2\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("proc/mdstat:1: bad number of blocks: \"\""), "{error}");
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
        let machine = Machine::new().with("sys/block/md2/md/level", "raid0\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        assert!(text.contains("node_md_degraded{device=\"md2\"} 0") && result.is_ok(), "{text}");
    }
}
