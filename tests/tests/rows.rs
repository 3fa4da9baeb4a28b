//! One odd value costs itself alone.
//!
//! For each file of the machine `baseline` that a collector reads, one row at a time is spoiled,
//! and the collector must still expose every series that does not depend on the spoiled place. The
//! series that depend on a place are found out, not declared: a number there is changed into
//! another number, a word into another word, and the series that change are those that depend on
//! the place. So a spoiled number may cost the series that show it and sums over it, and no others.
//!
//! Long files with many rows of one form are sampled: the first, the middle and the last of each.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that spoils files, cuts text where it has found digits and prints its findings"
)]

mod rows_machine;

use exporter::collector::Spec;
use rows_machine::{Machine, Output};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Folders whose reader takes each file as a whole, and the reason.
const WHOLE: &[(&str, &str)] = &[
    ("textfile/", "a file that a program wrote wrong is refused, as upstream does"),
    ("qdisc/", "a recording in JSON, which stands in for the kernel in tests"),
    ("ethtool/", "the same"),
    ("wifi/", "the same"),
    ("bus/", "a recording in JSON, which stands in for the bus in tests"),
];

/// Collectors that read no file whose rows could be spoiled, and the reason.
const WITHOUT_ROWS: [(&str, &str); 7] = [
    ("network_route", "asks over netlink"),
    ("ntp", "asks a server"),
    ("qdisc", "asks over netlink, here a recording"),
    ("tcpstat", "asks over netlink"),
    ("textfile", "takes files whole"),
    ("timex", "asks by a system call"),
    ("uname", "asks by a system call"),
];

/// Rows that decide how other rows or files are read, so that these cannot be exposed without the
/// row: the end of the file's path, the beginning of the row, and the reason.
const DECIDES: &[(&str, &str, &str)] = &[
    ("cpufreq/policy0/scaling_governor", "", "the active governor is marked in a series of each"),
    ("cpufreq/policy1/scaling_governor", "", "the active governor is marked in a series of each"),
    ("cpu/cpu0/online", "", "no processor is shown as online where the first has no such file"),
    ("fc_host/host0/port_state", "", "a host without a state has counters of 0"),
    ("block/dm-3/dm/uuid", "", "says whether the device is a multipath device"),
    ("device/state", "", "a disk without a state is no path of a multipath device"),
    ("bonding_slave/mii_status", "", "an interface without it has left the bond"),
    ("device/uevent", "", "says whether amdgpu drives the graphics card"),
    ("md/level", "", "an array without a level only holds other arrays, to which its disks belong"),
    ("self/mountinfo", "70 27 ", "has the server's address, a label of each series of a mount"),
    ("rpc/nfs", "net ", "a missing line counts as 0, a missing file does not"),
    ("nvme1/state", "", "a controller without a state is gone"),
    ("nvme2/state", "", "a controller without a state is gone"),
    ("/power_state", "", "a device without it has no state, and the series of each state is 0"),
    ("selinux/enforce", "", "in a folder of files it stands for the mount of selinuxfs"),
    ("tank/state", "", "a pool without a state was exported"),
];

/// Files whose rows are known by their place alone, so that a repeated row is taken for the next
/// one: the end of the file's path, the number of rows in its head, in which no row may be
/// inserted, and the reason.
const BY_PLACE: &[(&str, usize, &str)] = &[
    ("net/ip_vs_stats", 3, "the third line has the totals"),
    ("net/stat/arp_cache", 1, "a line for each processor, without its number"),
    ("net/stat/ndisc_cache", 1, "a line for each processor, without its number"),
    ("net/stat/nf_conntrack", 1, "a line for each processor, without its number"),
];

/// Numbers that are read as text, or that only tell two states apart: the end of the file's path,
/// the beginning of the row, and the reason why an odd number is neither a sample nor an error.
const NO_NUMBERS: &[(&str, &str, &str)] = &[
    ("etc/os-release", "SUPPORT_END", "a date"),
    ("/online", "", "1 says online, any other text says not"),
    ("/beep_enable", "", "1 says enabled, any other text says not"),
    ("udev/b8:0", "E:ID_ATA", "a property is copied as it is, or left out"),
    ("udev/b8:16", "E:ID_ATA", "a property is copied as it is, or left out"),
];

/// The ways to spoil a number, and whether a kernel can print such a number.
const NUMBERS: [(&str, &str, bool); 3] = [
    ("too big", "99999999999999999999999", true),
    ("negative", "-7", true),
    ("a word", "x", false),
];

/// The most rows of one form that are spoiled, and the most numbers of a row.
const ROWS: usize = 3;
const COLUMNS: usize = 6;
/// Files with at most this many rows are spoiled row by row, regardless of their form.
const SHORT: usize = 12;

/// A failure of one collector on one spoiled file.
struct Failure {
    collector: &'static str,
    file: String,
    line: usize,
    spoiled: &'static str,
    why: String,
}

/// The ranges of the numbers in a row: digits with or without a fraction, `0x` or a minus, with a
/// unit or a bracket around them, not part of a name.
fn numbers(row: &str) -> Vec<Range<usize>> {
    let bytes = row.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let is_begin = at == 0 || b" \t=:/,([{".contains(&bytes[at - 1]);
        let sign = usize::from(is_begin && bytes[at] == b'-');
        let word = row[at + sign..]
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '.')
            .map_or(row.len(), |len| at + sign + len);
        let text = &row[at + sign..word];
        if !is_begin || text.is_empty() {
            at += 1;
            continue;
        }
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let is_hex = (text.starts_with("0x") && text.len() > 2)
            || (text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_hex {
            let begin = if text.starts_with("0x") { at + sign + 2 } else { at };
            found.push(begin..word);
        } else if digits > 0
            && text[..digits].matches('.').count() <= 1
            && text[digits..].bytes().all(|b| b.is_ascii_alphabetic())
            && text.len() - digits <= 3
        {
            found.push(at..at + sign + digits);
        }
        at = word.max(at + 1);
    }
    found
}

/// The ranges of the words in a row that are no numbers.
fn words(row: &str, numbers: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut begin = 0;
    for word in row.split([' ', '\t', '=']) {
        let range = begin..begin + word.len();
        begin = range.end + 1;
        if !word.is_empty() && !numbers.contains(&range) {
            found.push(range);
        }
    }
    found
}

/// Another number of the same form.
fn other_number(number: &str) -> String {
    let last = number.chars().next_back().unwrap_or('0');
    let other = if last == '9' || !last.is_ascii_digit() {
        '8'
    } else {
        char::from_digit(last.to_digit(10).unwrap_or(0) + 1, 10).unwrap_or('1')
    };
    format!("{}{other}", &number[..number.len() - 1])
}

fn replaced(row: &str, range: &Range<usize>, by: &str) -> String {
    format!("{}{by}{}", &row[..range.start], &row[range.end..])
}

/// At most `most` of many: the first, the last and some between them.
fn sample<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|i| all[i * (all.len() - 1) / (most - 1)].clone()).collect()
}

/// The rows that are spoiled: all of a short file, else some of each form.
fn chosen(rows: &[&str]) -> Vec<usize> {
    if rows.len() <= SHORT {
        return (0..rows.len()).collect();
    }
    let mut forms = BTreeMap::<String, Vec<usize>>::new();
    for (i, row) in rows.iter().enumerate() {
        let mut form = String::new();
        for c in row.chars() {
            let kind = match c {
                '0'..='9' | '.' => '0',
                'a'..='z' | 'A'..='Z' | '_' => 'a',
                c => c,
            };
            if !form.ends_with(kind) {
                form.push(kind);
            }
        }
        forms.entry(form).or_default().push(i);
    }
    let mut chosen: Vec<usize> = forms.values().flat_map(|rows| sample(rows, ROWS)).collect();
    chosen.sort_unstable();
    chosen
}

/// The series of `normal` that `now` lacks or shows with another value.
fn lost(normal: &Output, now: &Output) -> BTreeSet<String> {
    let is_lost = |(series, value): &(&String, &String)| now.series.get(*series) != Some(*value);
    normal.series.iter().filter(is_lost).map(|(series, _)| series.clone()).collect()
}

/// One collector and one file of its machine.
struct Trial<'a> {
    machine: &'a Machine,
    spec: &'static Spec,
    file: &'a str,
    normal: Output,
    failures: Vec<Failure>,
}

impl Trial<'_> {
    fn with(&self, text: &str) -> Output {
        self.machine.write(self.file, text);
        self.machine.collect(self.spec)
    }

    fn fail(&mut self, line: usize, spoiled: &'static str, why: String) {
        let (collector, file) = (self.spec.name, self.file.to_owned());
        self.failures.push(Failure { collector, file, line, spoiled, why });
    }

    /// Notes the series that `now` lacks and must not lack.
    fn hold(
        &mut self,
        (line, spoiled): (usize, &'static str),
        now: &Output,
        allowed: &BTreeSet<String>,
    ) {
        if now.panicked {
            self.fail(line, spoiled, "panic".into());
        }
        let lost = lost(&self.normal, now);
        let mut more = lost.difference(allowed);
        if let Some(one) = more.next() {
            let why = format!("{} and {} more ({})", one, more.count(), now.error);
            self.fail(line, spoiled, why);
        }
    }

    /// The series that depend on one place of a row, and whether they only change their value.
    fn depend(&self, rows: &[&str], row: usize, others: &[String]) -> (BTreeSet<String>, bool) {
        for other in others {
            let now = self.with(&joined(rows, row, &[other]));
            let lost = lost(&self.normal, &now);
            if !lost.is_empty() {
                let same = lost.iter().all(|series| now.series.contains_key(series));
                return (lost, same);
            }
        }
        (BTreeSet::new(), false)
    }

    /// A file that is no text costs its own series alone, which are those that go with it.
    fn run_bytes(&mut self, good: &[u8]) {
        self.machine.remove(self.file);
        let of_file = lost(&self.normal, &self.machine.collect(self.spec));
        if of_file.is_empty() || of_file.len() == self.normal.series.len() {
            self.fail(0, "no file", format!("{} series are lost", of_file.len()));
        }
        let (half, _) = good.split_at(good.len() / 2);
        let longer = [good, b"7"].concat();
        for (spoiled, bytes) in [("cut short", half), ("empty", b""), ("longer", &longer)] {
            self.machine.write(self.file, bytes);
            let now = self.machine.collect(self.spec);
            self.hold((0, spoiled), &now, &of_file);
        }
        self.machine.write(self.file, good);
    }

    fn run(&mut self, good: &str) {
        let rows: Vec<&str> = good.lines().collect();
        let is = |list: &[(&str, &str, &str)], row: &str| {
            list.iter().any(|(file, begin, _)| self.file.ends_with(file) && row.starts_with(begin))
        };
        let (decides, texts): (Vec<bool>, Vec<bool>) =
            rows.iter().map(|row| (is(DECIDES, row), is(NO_NUMBERS, row))).unzip();
        let by_place = BY_PLACE.iter().find(|(file, ..)| self.file.ends_with(file));
        let chosen = chosen(&rows);
        let mut of_file = BTreeSet::new();
        for &i in &chosen {
            let row = rows[i];
            let numbers = numbers(row);
            let mut of_row = BTreeSet::new();
            let columns = sample(&numbers, COLUMNS);
            for range in &numbers {
                let number = &row[range.clone()];
                let others = [other_number(number), format!("1{number}"), "1".into(), "0".into()];
                let others = others.map(|other| replaced(row, range, &other));
                let (of_number, is_value) = self.depend(&rows, i, &others);
                of_row.extend(of_number.iter().cloned());
                if !columns.contains(range) || decides[i] {
                    continue;
                }
                let is_prefixed = row[..range.start].ends_with("0x");
                for (spoiled, by, can_be) in NUMBERS {
                    if is_prefixed && by.starts_with('-') {
                        continue; // no kernel prints 0x-7
                    }
                    let now = self.with(&joined(&rows, i, &[&replaced(row, range, by)]));
                    self.hold((i + 1, spoiled), &now, &of_number);
                    if is_value && !texts[i] && now.success != can_be {
                        let said = format!("success {} ({})", now.success, now.error);
                        self.fail(i + 1, spoiled, said);
                    }
                }
            }
            for range in words(row, &numbers) {
                let word = &row[range.clone()];
                let others = [format!("{word}q"), format!("q{word}")];
                let others = others.map(|other| replaced(row, &range, &other));
                of_row.append(&mut self.depend(&rows, i, &others).0);
            }
            of_file.extend(of_row.iter().cloned());
            if decides[i] {
                continue;
            }
            let mut half = row.len() / 2;
            while !row.is_char_boundary(half) {
                half -= 1;
            }
            for (spoiled, spoil) in
                [("cut short", &[&row[..half]][..]), ("empty", &[""]), ("doubled", &[row, row])]
            {
                if by_place.is_some() && spoil.len() > 1 {
                    continue;
                }
                let now = self.with(&joined(&rows, i, spoil));
                self.hold((i + 1, spoiled), &now, &of_row);
            }
            if rows.len() > 1 && by_place.is_none_or(|(_, head, _)| i + 1 >= *head) {
                let now = self.with(&joined(&rows, i, &[row, "novel_row 7"]));
                self.hold((i + 1, "a row more"), &now, &BTreeSet::new());
            }
        }
        let is_told = !good.trim().is_empty();
        if is_told && chosen.len() == rows.len() && !decides.contains(&true) {
            let now = self.with("");
            self.hold((0, "empty file"), &now, &of_file);
            self.machine.remove(self.file);
            let now = self.machine.collect(self.spec);
            self.hold((0, "no file"), &now, &of_file);
        }
        self.machine.write(self.file, good);
    }
}

/// The rows with one of them replaced.
fn joined(rows: &[&str], row: usize, by: &[&str]) -> String {
    let all = rows[..row].iter().chain(by).chain(&rows[row + 1..]);
    all.flat_map(|row| [row, "\n"]).collect()
}

/// With `ROWS=NAME`, only that collector is tried.
#[test]
fn one_odd_value_costs_itself_alone() {
    let only = std::env::var("ROWS").ok();
    let is_tried = |spec: &Spec| only.as_ref().is_none_or(|only| only == spec.name);
    let readers = Machine::new().readers();
    assert!(readers.len() > 500, "only {} files are read", readers.len());
    let of_rows: BTreeSet<&str> = readers
        .iter()
        .filter(|(file, _)| !WHOLE.iter().any(|(name, _)| file.starts_with(name)))
        .flat_map(|(_, specs)| specs.iter().map(|spec| spec.name))
        .collect();
    let names = exporter::collectors::ALL.iter().map(|spec| spec.name);
    let without: Vec<&str> = names.filter(|name| !of_rows.contains(name)).collect();
    assert_eq!(without, WITHOUT_ROWS.map(|(name, _)| name));
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let machine = Machine::new();
                let mut normal = BTreeMap::new();
                while let Some((file, specs)) = readers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let good = machine.read(file);
                    if WHOLE.iter().any(|(name, _)| file.starts_with(name)) {
                        continue;
                    }
                    for &spec in specs.iter().filter(|spec| is_tried(spec)) {
                        let normal =
                            normal.entry(spec.name).or_insert_with(|| machine.collect(spec));
                        let (machine, normal) = (&machine, normal.clone());
                        let mut trial = Trial { machine, spec, file, normal, failures: vec![] };
                        match str::from_utf8(&good) {
                            Ok(good) => trial.run(good),
                            Err(_) => trial.run_bytes(&good),
                        }
                        failures.lock().unwrap().append(&mut trial.failures);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort_by(|a, b| (a.collector, &a.file, a.line).cmp(&(b.collector, &b.file, b.line)));
    let mut by_collector = BTreeMap::<_, usize>::new();
    for Failure { collector, file, line, spoiled, why } in &failures {
        println!("{collector}: {file}:{line}: {spoiled}: {why}");
        *by_collector.entry(collector).or_default() += 1;
    }
    assert!(failures.is_empty(), "{} failures: {by_collector:?}", failures.len());
}

#[test]
fn numbers_are_found_in_rows() {
    let found = |row: &str| numbers(row).into_iter().map(|n| row[n].to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found("cpu0 1 -22 3.5 eth1 0x1f a=7,8 99% 12kB"),
        ["1", "-22", "3.5", "1f", "7", "8", "99", "12"]
    );
    assert_eq!(found("00015c73 10.0.0.1 1.1M x1 2x3y"), ["00015c73", "1.1"]);
}
