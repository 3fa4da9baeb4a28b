//! Statistics of `OpenZFS`, from `/proc/spl/kstat/zfs`.
//!
//! A kstat is a head and lines of a name, a type and a value (`spl-kstat.c` in
//! `module/os/linux/spl`); values of the types 3 and 4, whole numbers, are exposed. A pool is a
//! folder: `io` has a line of names and a line of values, `state` a word, and each `objset-*` is
//! the kstat of a dataset. The names depend on the release; `HELP` has the name of the number's
//! sysctl on FreeBSD.

use crate::{
    exposition::Kind,
    parse::{decimal, rows_after},
    prelude::*,
};
use hashbrown::HashMap;

pub const SPEC: Spec = Spec {
    name: "zfs",
    enabled: true,
    capabilities: NONE,
    flags: &[],
    new: |host, _| {
        Ok(Box::new(Zfs {
            folder: host.proc.folder(FOLDER),
            kstats: KSTATS.map(|(file, prefix)| Kstat {
                name: file,
                file: host.proc.file(&format!("{FOLDER}/{file}")),
                known: Known::new(prefix, format!("kstat.zfs.misc.{file}."), []),
            }),
            pool: Known::new("node_zfs_zpool_", "kstat.zfs.misc.io.".into(), ["zpool"]),
            dataset: Known::new(
                "node_zfs_zpool_dataset_",
                "kstat.zfs.misc.objset.".into(),
                ["dataset", "zpool"],
            ),
            names: Names::default(),
            room: Vec::new(),
        }))
    },
};

const FOLDER: &str = "spl/kstat/zfs";

/// The files that are exposed, each with the beginning of its metrics' names. The files depend on
/// the release.
const KSTATS: [(&str, &str); 11] = [
    ("abdstats", "node_zfs_abd_"),
    ("arcstats", "node_zfs_arc_"),
    ("dbufstats", "node_zfs_dbuf_"),
    ("dmu_tx", "node_zfs_dmu_tx_"),
    ("dnodestats", "node_zfs_dnode_"),
    ("fm", "node_zfs_fm_"),
    ("vdev_cache_stats", "node_zfs_vdev_cache_"),
    ("vdev_mirror_stats", "node_zfs_vdev_mirror_"),
    ("xuio_stats", "node_zfs_xuio_"),
    ("zfetchstats", "node_zfs_zfetch_"),
    ("zil", "node_zfs_zil_"),
];

static STATE: Metric<2> =
    gauge("node_zfs_zpool_state", "kstat.zfs.misc.state").by(["state", "zpool"]);

const STATES: [&str; 7] =
    ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

struct Zfs {
    folder: Folder,
    kstats: [Kstat; KSTATS.len()],
    pool: Known<1>,
    dataset: Known<2>,
    /// Room for the names in a pool's folder, and for one of its files.
    names: Names,
    room: Vec<u8>,
}

struct Kstat {
    name: &'static str,
    file: File,
    known: Known<0>,
}

impl Collector for Zfs {
    fn collect(&mut self, out: &mut Sink) -> Result {
        let Self { folder, kstats, pool, dataset, names, room } = self;
        let entries = folder.list().or_no_data()?;
        let mut faults = Faults::default();
        for entry in entries {
            let kstat = kstats.iter_mut().find(|kstat| kstat.name.as_bytes() == entry.bytes());
            faults.keep(match kstat {
                Some(kstat) => kstat.put(out),
                None => put_pool(&entry, (&mut *pool, &mut *dataset), (names, room), out),
            });
        }
        faults.end()
    }
}

impl Kstat {
    fn put(&mut self, out: &mut Sink) -> Result {
        let Self { file, known, .. } = self;
        let put = file.parse(|text| {
            each(text, |name, kind, value| {
                if matches!(kind, "3" | "4") {
                    out.put(known.metric(name), [], decimal("kstat", first(value))?);
                }
                Ok(())
            })
        });
        put.map(Some).unless_unreadable().map(drop)
    }
}

/// Exposes the files of a pool's folder. A file vanishes when its pool is exported.
fn put_pool(
    entry: &Entry<'_>,
    (pool, dataset): (&mut Known<1>, &mut Known<2>),
    (names, room): (&mut Names, &mut Vec<u8>),
    out: &mut Sink,
) -> Result {
    let Some(dir) = entry.dir().unless_unreadable()? else { return Ok(()) };
    let zpool = entry.name();
    let mut faults = Faults::default();
    for file in dir.list(names)? {
        let name = file.name();
        let is_objset = name.starts_with("objset-");
        if !is_objset && !matches!(&*name, "io" | "state") {
            continue;
        }
        let Some(bytes) = faults.read(dir.whole(&name, room)) else { continue };
        let text = String::from_utf8_lossy(bytes);
        let put = match &*name {
            "io" => put_io(&text, &zpool, pool, out),
            "state" => {
                put_state(&text, &zpool, out);
                Ok(())
            }
            _ => put_dataset(&text, &zpool, dataset, out),
        };
        faults.keep(put.map_err(|source| Error::Parse { path: dir.path(&name), source }));
    }
    faults.end()
}

fn put_state(text: &str, zpool: &str, out: &mut Sink) {
    let now = text.lines().next().unwrap_or_default();
    for state in STATES {
        out.put(&STATE, [&state, &zpool], now.eq_ignore_ascii_case(state));
    }
}

fn put_io(text: &str, zpool: &str, known: &mut Known<1>, out: &mut Sink) -> Result<(), Malformed> {
    let head = text.lines().position(|line| line.trim_ascii_start().starts_with("nread"));
    let head = head.ok_or_else(|| Malformed::new("names of a pool's numbers", text))?;
    let names = || text.lines().nth(head).unwrap_or_default().split_ascii_whitespace();
    rows_after(head + 1, text, |line| {
        let values = line.split_ascii_whitespace();
        // A row cut short ends with a wrong number; of more numbers than names, the first have them.
        if values.clone().count() < names().count() {
            return Err(Malformed::new("number of a pool's numbers", line));
        }
        let mut faults = Faults::default();
        for (name, word) in names().zip(values) {
            if let Some(value) = faults.keep(decimal("pool's number", word)) {
                out.put(known.metric(name), [&zpool], value);
            }
        }
        faults.end()
    })
}

fn put_dataset(
    text: &str,
    zpool: &str,
    known: &mut Known<2>,
    out: &mut Sink,
) -> Result<(), Malformed> {
    let dataset = text.lines().map(fields).find(|(name, ..)| *name == "dataset_name");
    let (_, _, dataset) = dataset.ok_or_else(|| Malformed::new("dataset_name", text))?;
    each(text, |name, kind, value| {
        if kind == "4" {
            let value = decimal("dataset's number", first(value))?;
            out.put(known.metric(name), [&dataset, &zpool], value);
        }
        Ok(())
    })
}

/// Gives `line` the name, the type and the value of each line after the head.
fn each<'a>(
    text: &'a str,
    mut line: impl FnMut(&'a str, &'a str, &'a str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let is_head = |line: &str| line.split_ascii_whitespace().eq(["name", "type", "data"]);
    let head = text.lines().position(is_head);
    let head = head.ok_or_else(|| Malformed::new("head of a kstat", text))?;
    rows_after(head + 1, text, |whole| {
        let (name, kind, value) = fields(whole);
        if value.is_empty() { Ok(()) } else { line(name, kind, value) }
    })
}

/// The name, the type and the value of a line, of which the value may have spaces.
fn fields(line: &str) -> (&str, &str, &str) {
    fn split(text: &str) -> (&str, &str) {
        let text = text.trim_ascii_start();
        text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""))
    }
    let (name, rest) = split(line);
    let (kind, value) = split(rest);
    (name, kind, value.trim_ascii_start())
}

fn first(value: &str) -> &str {
    value.split_ascii_whitespace().next().unwrap_or_default()
}

/// The metrics of names that have been seen.
struct Known<const N: usize> {
    prefix: &'static str,
    help: String,
    labels: [&'static str; N],
    metrics: HashMap<String, Metric<N>>,
}

impl<const N: usize> Known<N> {
    fn new(prefix: &'static str, help: String, labels: [&'static str; N]) -> Self {
        Self { prefix, help, labels, metrics: HashMap::new() }
    }

    fn metric(&mut self, name: &str) -> &Metric<N> {
        let Self { prefix, help, labels, metrics } = self;
        metrics.entry_ref(name).or_insert_with(|| {
            let last = name.rsplit('.').next().unwrap_or_default();
            let last = last.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
            Metric::named(
                Kind::Untyped,
                format!("{prefix}{last}"),
                format!("{help}{name}"),
                *labels,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Machine, expect};

    const HEAD: &str = "1 1 0x01 2 96 1 2\nname                            type data\n";

    #[test]
    fn whole_numbers_are_exposed() {
        let machine = Machine::new().with(
            "proc/spl/kstat/zfs/fm",
            format!("{HEAD}erpt-dropped  4  1\na.b  3  -2\nname  7  x\nshort 4\n\n"),
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        expect![[r#"
            # HELP node_zfs_fm_b kstat.zfs.misc.fm.a.b
            # TYPE node_zfs_fm_b untyped
            node_zfs_fm_b -2
            # HELP node_zfs_fm_erpt_dropped kstat.zfs.misc.fm.erpt-dropped
            # TYPE node_zfs_fm_erpt_dropped untyped
            node_zfs_fm_erpt_dropped 1
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn a_dataset_may_have_any_name() {
        let machine = Machine::new().with(
            "proc/spl/kstat/zfs/data/objset-0x36",
            format!("{HEAD}dataset_name  7    data/my  set\nwrites 4 5\nnote 7 x\n"),
        );
        let (text, result) = machine.collect(&SPEC, &[]);
        result.unwrap();
        let want = "\nnode_zfs_zpool_dataset_writes{dataset=\"data/my  set\",zpool=\"data\"} 5\n";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn an_unreadable_file_hides_no_other() {
        let machine = Machine::new()
            .with("proc/spl/kstat/zfs/abdstats", "")
            .with("proc/spl/kstat/zfs/arcstats", format!("{HEAD}hits 4 3\nmisses 4 x\n"))
            .with("proc/spl/kstat/zfs/novel", "x")
            .with(
                "proc/spl/kstat/zfs/tank/io",
                "1 3\nnread nwritten wlentime wupdate\nx -1 18446744073709551616 3 4\n7\n",
            )
            .with("proc/spl/kstat/zfs/tank/objset-0x1", format!("{HEAD}writes 4 5\n"))
            .with(
                "proc/spl/kstat/zfs/tank/objset-0x2",
                format!("{HEAD}reads 4 x\nwrites 4 5\ndataset_name 7 tank/a\n"),
            )
            .with("proc/spl/kstat/zfs/tank/state", "Degraded\n")
            .with("proc/spl/kstat/zfs/tank/txgs", "x\n");
        let (text, result) = machine.collect(&SPEC, &[]);
        let error = result.unwrap_err().to_string();
        assert!(error.ends_with("zfs/abdstats: bad head of a kstat: \"\""), "{error}");
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect();
        assert_eq!(
            lines,
            [
                "node_zfs_arc_hits 3",
                "node_zfs_zpool_dataset_writes{dataset=\"tank/a\",zpool=\"tank\"} 5",
                "node_zfs_zpool_nwritten{zpool=\"tank\"} -1",
                "node_zfs_zpool_state{state=\"degraded\",zpool=\"tank\"} 1",
                "node_zfs_zpool_wlentime{zpool=\"tank\"} 1.8446744073709552e+19",
                "node_zfs_zpool_wupdate{zpool=\"tank\"} 3",
            ]
        );
        assert!(matches!(Machine::new().collect(&SPEC, &[]).1, Err(Error::NoData)));
    }
}
