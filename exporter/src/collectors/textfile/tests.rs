use super::*;
use crate::testing::{Machine, expect};
use expect_test::Expect;

/// The text collected from these `folders` of a machine with these files; mtimes become 1, and the
/// machine's own path is removed.
fn run(files: &[(&str, &str)], folders: &[&str]) -> String {
    let machine =
        files.iter().fold(Machine::new(), |machine, (path, text)| machine.with(path, text));
    let root = machine.path().display().to_string();
    let args: Vec<String> = folders
        .iter()
        .map(|folder| format!("--collector.textfile.directory={root}/{folder}"))
        .collect();
    let (text, result) =
        machine.collect(&SPEC, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(result.is_ok());
    let lines = text.replace(&format!("{root}/"), "");
    let lines = lines.lines().map(|line| match line.split_once("} ") {
        Some((begin, _)) if begin.starts_with("node_textfile_mtime") => format!("{begin}}} 1\n"),
        _ => format!("{line}\n"),
    });
    lines.filter(|line| !line.starts_with("# ") || !line.contains("node_textfile_")).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "as the macro makes it")]
fn check(files: &[(&str, &str)], folders: &[&str], want: Expect) {
    want.assert_eq(&run(files, folders));
}

#[test]
fn nothing_is_read_without_a_folder() {
    check(
        &[],
        &[],
        expect![[r#"
        node_textfile_scrape_error 0
    "#]],
    );
}

#[test]
fn files_are_read_from_all_folders() {
    check(
        &[
            ("a1/x.prom", "# HELP x Of a1.\n# TYPE x gauge\nx{b=\"2\",a=\"1\"} 1\nx 2.5\n"),
            ("a2/y.prom", "y 1\n"),
            ("a2/y.txt", "z 1\n"),
            (
                "b/h.prom",
                "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_bucket{le=\"1\"} 2\nh_sum 4\nh_count 3\n",
            ),
            (
                "b/s.prom",
                "# TYPE s summary\ns{quantile=\"0.5\",l=\"\\\"\"} 3\ns_sum{l=\"\\\"\"} 4\ns_count{l=\"\\\"\"} 3\n",
            ),
        ],
        &["a*", "./b/"],
        expect![[r##"
            # HELP h Metric read from b/h.prom
            # TYPE h histogram
            h_bucket{le="1"} 2
            h_bucket{le="+Inf"} 3
            h_sum 4
            h_count 3
            node_textfile_mtime_seconds{file="a1/x.prom"} 1
            node_textfile_mtime_seconds{file="a2/y.prom"} 1
            node_textfile_mtime_seconds{file="b/h.prom"} 1
            node_textfile_mtime_seconds{file="b/s.prom"} 1
            node_textfile_scrape_error 0
            # HELP s Metric read from b/s.prom
            # TYPE s summary
            s{l="\"",quantile="0.5"} 3
            s_sum{l="\""} 4
            s_count{l="\""} 3
            # HELP x Of a1.
            # TYPE x gauge
            x{a="",b=""} 2.5
            x{a="1",b="2"} 1
            # HELP y Metric read from a2/y.prom
            # TYPE y untyped
            y 1
        "##]],
    );
}

#[test]
fn a_broken_file_costs_itself_only() {
    check(
        &[
            ("a/no_end.prom", "x 1"),
            ("a/time.prom", "x 1 1700000000\n"),
            ("a/good.prom", "x 3\n"),
            ("a/folder.prom/file", ""),
            ("a/empty.prom", ""),
        ],
        &["a", "none"],
        expect![[r#"
            node_textfile_mtime_seconds{file="a/empty.prom"} 1
            node_textfile_mtime_seconds{file="a/good.prom"} 1
            node_textfile_scrape_error 1
            # HELP x Metric read from a/good.prom
            # TYPE x untyped
            x 3
        "#]],
    );
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_file() {
    let machine = Machine::new().with("a.prom", b"x{a=\"\xff\"} 1\n");
    let path = machine.path().join("a.prom");
    let error = read(&path, 0).unwrap_err();
    assert!(error.contains(&*path.to_string_lossy()) && error.contains("UTF-8"), "{error}");
}

#[test]
fn families_of_several_files_must_agree() {
    check(
        &[
            (
                "a/1.prom",
                "# HELP x One.\nx{f=\"1\"} 1\n# TYPE k gauge\nk{f=\"1\"} 1\nn{f=\"1\"} 1\n",
            ),
            (
                "a/2.prom",
                "# HELP x Two.\nx{f=\"2\"} 1\n# TYPE k counter\nk{f=\"2\"} 1\nn{f=\"2\"} 1\n",
            ),
            ("a/3.prom", "# HELP x One.\nx{f=\"3\"} 1\nk_count 1\n"),
            (
                "a/4.prom",
                "# TYPE k_count untyped\nk_count{f=\"4\"} 1\n# TYPE n histogram\nn_count 1\n",
            ),
        ],
        &["a"],
        expect![[r##"
            # HELP k Metric read from a/1.prom, a/2.prom
            # TYPE k gauge
            k{f="1"} 1
            # HELP k_count Metric read from a/3.prom, a/4.prom
            # TYPE k_count untyped
            k_count 1
            k_count{f="4"} 1
            # HELP n Metric read from a/1.prom, a/2.prom, a/4.prom
            # TYPE n untyped
            n{f="1"} 1
            n{f="2"} 1
            node_textfile_mtime_seconds{file="a/1.prom"} 1
            node_textfile_mtime_seconds{file="a/2.prom"} 1
            node_textfile_mtime_seconds{file="a/3.prom"} 1
            node_textfile_mtime_seconds{file="a/4.prom"} 1
            node_textfile_scrape_error 1
            # HELP x One.
            # TYPE x untyped
            x{f="1"} 1
        "##]],
    );
}

#[test]
fn a_histogram_reserves_the_names_of_its_samples() {
    check(
        &[
            ("a/1.prom", "# TYPE h histogram\nh_count 1\n"),
            ("a/2.prom", "h_sum 7\nnode_textfile_scrape_error 3\n"),
        ],
        &["a"],
        expect![[r##"
            # HELP h Metric read from a/1.prom
            # TYPE h histogram
            h_bucket{le="+Inf"} 1
            h_sum 0
            h_count 1
            node_textfile_mtime_seconds{file="a/1.prom"} 1
            node_textfile_mtime_seconds{file="a/2.prom"} 1
            node_textfile_scrape_error 0
        "##]],
    );
}

#[test]
fn counts_are_exposed_as_they_are() {
    check(
        &[
            (
                "a/h.prom",
                "# TYPE h histogram\nh_bucket{le=\"-0\"} 1\nh_bucket{le=\"0\"} 1.5\nh_count 1e30\n",
            ),
            ("a/s.prom", "# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_count -2\n"),
            ("a/wrong.prom", "# TYPE w histogram\nw_bucket{le=\"1\"} -1\n"),
            ("a/x.prom", "{\"x\",l=\"y\"} 1\n"),
        ],
        &["a"],
        expect![[r##"
            # HELP h Metric read from a/h.prom
            # TYPE h histogram
            h_bucket{le="0"} 1.5
            h_bucket{le="+Inf"} 1e+30
            h_sum 0
            h_count 1e+30
            node_textfile_mtime_seconds{file="a/h.prom"} 1
            node_textfile_mtime_seconds{file="a/s.prom"} 1
            node_textfile_mtime_seconds{file="a/x.prom"} 1
            node_textfile_scrape_error 1
            # HELP s Metric read from a/s.prom
            # TYPE s summary
            s{quantile="0.5"} NaN
            s_sum 0
            s_count -2
            # HELP x Metric read from a/x.prom
            # TYPE x untyped
            x{l="y"} 1
        "##]],
    );
}

#[test]
fn paths_are_cleaned_and_patterns_matched_as_in_go() {
    let joined = |folder: &str, name: &str| join(folder.as_ref(), name.as_ref());
    assert_eq!(joined("./a//b/../c/.", "x.prom"), Path::new("a/c/x.prom"));
    assert_eq!(joined("/../a", "x.prom"), Path::new("/a/x.prom"));
    assert_eq!(joined("../..", "a"), Path::new("../../a"));
    let machine = Machine::new().with("a[1/x", "").with("b/x", "").with(".c/x", "");
    let root = machine.path().display();
    let found = |pattern: &str| -> Vec<String> {
        let found = expand(&format!("{root}/{pattern}"));
        let root = format!("{root}/");
        found.iter().map(|path| path.display().to_string().replace(&root, "")).collect()
    };
    assert_eq!(found("**"), [".c", "a[1", "b"]);
    assert_eq!(found("[^a]"), ["b"]);
    assert_eq!(found("a\\[*"), ["a[1"]);
    assert_eq!(found("a["), ["a["]);
    assert_eq!(found("x*"), ["x*"]);
    assert_eq!(expand(""), [Path::new("")]);
}

#[test]
fn only_regular_files_up_to_a_size_are_read() {
    use std::os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener};
    let machine = Machine::new()
        .with("t/good.prom", "good 1\n")
        .with("t/long.prom", "long 1\n".repeat(200))
        .with("t/folder.prom/x", "");
    let folder = machine.path().join("t");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff\xfe.prom");
    std::fs::write(folder.join(odd), "odd 1\n").unwrap();
    symlink("/dev/zero", folder.join("device.prom")).unwrap();
    symlink("nothing", folder.join("dangling.prom")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("fifo.prom"), 0o600.into()).unwrap();
    let _socket = UnixListener::bind(folder.join("socket.prom")).unwrap();
    let sparse = std::fs::File::create(folder.join("sparse.prom")).unwrap();
    sparse.set_len(700 << 20).unwrap();
    let args = [
        format!("--collector.textfile.directory={}", folder.display()),
        "--collector.textfile.max-size=1000".into(),
    ];
    let (text, result) = machine.collect(&SPEC, &[&args[0], &args[1]]);
    assert!(result.is_ok());
    for line in ["good 1", "odd 1", "node_textfile_scrape_error 1"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    let label = format!("file=\"{}/odd\u{fffd}\u{fffd}.prom\"", folder.display());
    assert!(text.contains(&label), "{text}");
    assert_eq!(text.matches("\nnode_textfile_mtime_seconds{").count(), 2, "{text}");
    for name in ["device", "fifo", "socket", "folder", "dangling", "sparse", "long"] {
        let path = folder.join(format!("{name}.prom"));
        let error = read(&path, 1000).unwrap_err();
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
    }
    let error = read(&folder.join("sparse.prom"), 0).unwrap_err();
    assert!(error.ends_with("a line is longer than 1 MiB"), "{error}");
    assert_eq!(read(&folder.join("long.prom"), 1400).unwrap().bytes, 1400);
}

#[test]
fn a_file_is_read_in_pieces_of_any_length() {
    let lines: Vec<String> = (0..20_000).map(|n| format!("x{{n=\"{n}\"}} {n}\n")).collect();
    let lines = lines.concat();
    let long = format!("y{{a=\"{}\"}} 1\n", "é".repeat(100_000));
    let machine = Machine::new().with("a.prom", format!("{long}{lines}{long}"));
    let content = read(&machine.path().join("a.prom"), 0).unwrap();
    let [y, x] = &content.families[..] else { panic!("two families") };
    assert_eq!((x.samples().count(), y.samples().count()), (20_000, 2));
    let last: Vec<_> = x.samples().last().unwrap().0.collect();
    assert_eq!(last, [("n", "19999")]);
}

#[test]
fn labels_that_differ_from_line_to_line_do_not_multiply() {
    let lines: Vec<String> = (0..2_000).map(|n| format!("x{{l{n}=\"\"}} 1\n")).collect();
    let lines = lines.concat();
    let text = run(&[("a/x.prom", &lines), ("a/y.prom", "y 1\n")], &["a"]);
    assert!(text.contains("\ny 1\n") && !text.contains("x{"), "{}", text.len());
    assert!(text.contains("node_textfile_scrape_error 1"));
}
