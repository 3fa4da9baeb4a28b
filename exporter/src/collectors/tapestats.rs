//! Counters of SCSI tape drives, from `/sys/class/scsi_tape/<device>/stats`
//! (`Documentation/scsi/st.rst`).
//!
//! A drive has an entry for each way to open it; its counters are taken from `st<n>`.

use crate::prelude::*;

pub const SPEC: Spec = Spec {
    name: "tapestats",
    enabled: true,
    capabilities: NONE,
    flags: &[&IGNORED],
    new: |host, flags| {
        Ok(Box::new(TapeStats {
            folder: host.sys.folder("class/scsi_tape"),
            ignored: flags.get(&IGNORED),
        }))
    },
};

const IGNORED: Flag<Pattern> = Flag::value(
    "collector.tapestats.ignored-devices",
    &["^$"],
    "Regexp of devices to ignore for tapestats.",
);

const NANOSECONDS: f64 = 1e-9;

macro_rules! files {
    ($($file:literal => $kind:ident $name:literal $unit:expr, $help:literal;)*) => {
        [$(($file, $kind(concat!("node_tape_", $name), $help).by(["device"]), $unit)),*]
    };
}

/// Each file with its metric, and the factor from the file's unit to the metric's.
static FILES: [(&str, Metric<1>, f64); 10] = files! {
    "in_flight" => gauge "io_now" 1.0, "The number of I/Os currently outstanding to this device.";
    "io_ns" => counter "io_time_seconds_total" NANOSECONDS,
        "The amount of time spent waiting for all I/O to complete (including read and write). This includes tape movement commands such as seeking between file or set marks and implicit tape movement such as when rewind on close tape devices are used.";
    "other_cnt" => counter "io_others_total" 1.0,
        "The number of I/Os issued to the tape drive other than read or write commands. The time taken to complete these commands uses the following calculation io_time_seconds_total-read_time_seconds_total-write_time_seconds_total";
    "read_byte_cnt" => counter "read_bytes_total" 1.0,
        "The number of bytes read from the tape drive.";
    "read_cnt" => counter "reads_completed_total" 1.0,
        "The number of read requests issued to the tape drive.";
    "read_ns" => counter "read_time_seconds_total" NANOSECONDS,
        "The amount of time spent waiting for read requests to complete.";
    "resid_cnt" => counter "residual_total" 1.0,
        "The number of times during a read or write we found the residual amount to be non-zero. This should mean that a program is issuing a read larger thean the block size on tape. For write not all data made it to tape.";
    "write_byte_cnt" => counter "written_bytes_total" 1.0,
        "The number of bytes written to the tape drive.";
    "write_cnt" => counter "writes_completed_total" 1.0,
        "The number of write requests issued to the tape drive.";
    "write_ns" => counter "write_time_seconds_total" NANOSECONDS,
        "The amount of time spent waiting for write requests to complete.";
};

struct TapeStats {
    folder: Folder,
    ignored: Pattern,
}

impl Collector for TapeStats {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, ignored } = self;
        let entries = match folder.list() {
            Err(error) if error.is_absent() => return Err(Error::NoData),
            entries => entries?,
        };
        let mut faults = Faults::default();
        for entry in entries {
            if is_drive(entry.bytes()) && !ignored.matches(&entry.name()) {
                faults.keep(put(&entry, out));
            }
        }
        faults.end()
    }
}

/// Whether the name is `st<n>`, not `nst<n>`, `st<n>a` or that of another way to open the drive.
fn is_drive(name: &[u8]) -> bool {
    name.strip_prefix(b"st")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn put(entry: &Entry<'_>, out: &mut Sink) -> Result {
    let mut faults = Faults::default();
    let Some(dir) = faults.read(entry.dir()) else { return faults.end() };
    let Some(stats) = faults.read(dir.dir("stats")) else { return faults.end() };
    for (file, metric, unit) in &FILES {
        if let Some(value) = faults.read(stats.decimal(file)) {
            out.put(metric, [&entry.name()], value * unit);
        }
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;

    #[test]
    fn each_drive_is_exposed_once() {
        let machine = ["st0", "nst0", "st0a", "st", "st1", "st2"]
            .iter()
            .fold(Machine::new(), |machine, name| {
                machine.with(&format!("sys/class/scsi_tape/{name}/stats/in_flight"), "1\n")
            })
            .with("sys/class/scsi_tape/st2/stats/io_ns", "x\n")
            .with("sys/class/scsi_tape/st2/stats/write_ns", "-1000000000\n")
            .with("sys/class/scsi_tape/st2/stats/read_cnt/is_a_directory", "");
        let now = |args: &[&str]| {
            let (text, result) = machine.collect(&SPEC, args);
            let error = result.unwrap_err().to_string();
            assert!(error.ends_with("st2/stats/io_ns: bad number: \"x\""), "{error}");
            assert!(!text.contains("reads_completed") && text.contains("write_time_seconds_total"));
            text.lines().filter(|line| line.starts_with("node_tape_io_now")).count()
        };
        assert_eq!(now(&[]), 3);
        assert_eq!(now(&["--collector.tapestats.ignored-devices=^st0$"]), 2);
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
