use super::*;
use crate::testing::{Machine, expect};
use expect_test::Expect;

/// Collects from the folders `args` of a machine with these files; mtimes and the machine's
/// path are as if they were 1 and nothing.
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
fn what_is_not_utf_8_names_its_file() {
    let machine = Machine::new().with("a.prom", b"x{a=\"\xff\"} 1\n");
    let path = machine.path().join("a.prom").display().to_string();
    let error = read(&path).unwrap_err();
    assert!(error.contains(&path) && error.contains("UTF-8"), "{error}");
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
fn names_that_a_histogram_uses_are_taken() {
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
fn paths_are_cleaned_and_patterns_are_gos() {
    assert_eq!(clean("./a//b/../c/./x.prom"), "a/c/x.prom");
    assert_eq!(clean("/../a/x.prom"), "/a/x.prom");
    assert_eq!(clean("../../a"), "../../a");
    let machine = Machine::new().with("a[1/x", "").with("b/x", "").with(".c/x", "");
    let root = machine.path().display();
    let found = |pattern: &str| -> Vec<String> {
        let found = expand(&format!("{root}/{pattern}"));
        found.iter().map(|path| path.replace(&format!("{root}/"), "")).collect()
    };
    assert_eq!(found("**"), [".c", "a[1", "b"]);
    assert_eq!(found("[^a]"), ["b"]);
    assert_eq!(found("a\\[*"), ["a[1"]);
    assert_eq!(found("a["), ["a["]);
    assert_eq!(found("x*"), ["x*"]);
    assert_eq!(expand(""), [""]);
}
