use super::*;

#[derive(Debug)]
struct Content {
    families: Vec<Family>,
    timestamps: bool,
}

fn parse(text: &str) -> Result<Content, Refused> {
    let mut parser = Parser::default();
    parser.feed(text.as_bytes())?;
    Ok(Content { timestamps: parser.timestamps, families: parser.finish() })
}

/// The labels of the first sample.
fn labels(family: &Family) -> Vec<(&str, &str)> {
    family.samples().next().unwrap().0.collect()
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn one(text: &str) -> Family {
    let mut content = parse(text).unwrap();
    assert_eq!(content.families.len(), 1, "{text}");
    content.families.remove(0)
}

#[test]
fn numbers_are_read_as_go_reads_them() {
    for (text, want) in [
        ("1", 1.0),
        ("+1.", 1.0),
        (".5", 0.5),
        ("-1e-3", -0.001),
        ("1E+2", 100.0),
        ("Inf", f64::INFINITY),
        ("+inf", f64::INFINITY),
        ("-INFINITY", f64::NEG_INFINITY),
        ("1e-999", 0.0),
    ] {
        assert_eq!(float(text), Some(want), "{text}");
    }
    assert!(float("NaN").unwrap().is_nan() && float("nan").unwrap().is_nan());
    for text in
        ["", "+", ".", "e5", "1_0", "0x1p3", "0x10", "1e400", "-nan", "+NaN", "1\r", "infin", "1f"]
    {
        assert_eq!(float(text), None, "{text}");
    }
}

#[test]
fn odd_but_right() {
    for text in [
        "x 1\n",
        " \t x\t1\n",
        "x{}1\n",
        "x{a=\"b\",} 1\n",
        "x { a = \"b\" , } 1\n",
        "\n\n# c\n#\n#c \nx 1\n  ",
        "# HELP x\n# TYPE x\n# HELP x \nx 1\n",
        "#HELP x a\n#\tTYPE x GaUGe\nx 1\n",
        "\"x\" 1\n",
        "{\"x\"} 1\n",
        "{\"x\",a=\"b\"} 1\n",
        "{a=\"b\",\"x\"} 1\n",
        "x{\"a\"=\"b\"} 1\n",
        "# HELPx \\y\nx 1\n",
    ] {
        assert_eq!(one(text).name, "x", "{text:?}");
    }
    assert_eq!(one("{\"x\"} 1\n").kind(), Kind::Untyped);
    assert_eq!(one("# TYPE x gauge\n{\"x\"} 1\n").kind(), Kind::Gauge);
    assert_eq!(one("x 1\n").kind(), Kind::Untyped);
    assert_eq!(one("# HELP x a\\\\b\\nc\\\"d \nx 1\n").help.unwrap(), "a\\b\nc\"d ");
    assert_eq!(labels(&one("x{a=\"\\\\\\n\\\"é}\"} 1\n")), [("a", "\\\n\"é}")]);
    assert!(
        parse("").unwrap().families.is_empty()
            && parse("# TYPE x gauge\n").unwrap().families.is_empty()
    );
    assert!(parse("x 1 -5\n").unwrap().timestamps && !parse("x 1\n").unwrap().timestamps);
}

#[test]
fn wrong() {
    for (text, want) in [
        ("x 1", "line 1: bad last line, which has no end: \"x 1\""),
        ("x 1\n# c", "line 2: bad last line, which has no end: \"# c\""),
        ("x 1 \n", "line 1: bad timestamp: \"\""),
        ("x 1 2.5\n", "line 1: bad timestamp: \"2.5\""),
        ("x 1 2 \n", "line 1: bad end of line: \" \""),
        ("x\n", "line 1: bad value: \"\""),
        ("x 1\r\n", "line 1: bad value: \"1\\r\""),
        ("\n9x 1\n", "line 2: bad metric name: \"9x 1\""),
        ("\"x.y\" 1\n", "line 1: bad name: \"\\\"x.y\\\" 1\""),
        ("x.y 1\n", "line 1: bad value: \".y\""),
        ("{a=\"b\"} 1\n", "line 1: bad metric name: \"{a=\\\"b\\\"} 1\""),
        ("{} 1\n", "line 1: bad metric name: \"{} 1\""),
        ("x{a:b=\"\"} 1\n", "line 1: bad label without =: \"a:b=\\\"\\\"} 1\""),
        ("x{__name__=\"y\"} 1\n", "line 1: bad label name: \"__name__\""),
        (
            "x{a=\"1\",a=\"2\"} 1\n",
            "line 1: bad labels, two of one name: \"{a=\\\"1\\\",a=\\\"2\\\"} 1\"",
        ),
        ("x{a=b} 1\n", "line 1: bad label value, not in quotes: \"b} 1\""),
        ("x{a=\"b\nc\"} 1\n", "line 1: bad label value, with a line's end: \"b\""),
        ("x{a=\"\\t\"} 1\n", "line 1: bad escape: \"\\\\t\\\"} 1\""),
        ("x{a=\"b\" c=\"d\"} 1\n", "line 1: bad end of label value: \"c=\\\"d\\\"} 1\""),
        ("x{,} 1\n", "line 1: bad label name: \",} 1\""),
        ("# HELP x a\n# HELP x a\n", "line 2: bad second HELP line: \"x\""),
        (
            "# TYPE x gauge\n# TYPE x gauge\n",
            "line 2: bad TYPE line, second or after samples: \"x\"",
        ),
        ("x 1\n# TYPE x gauge\n", "line 2: bad TYPE line, second or after samples: \"x\""),
        ("# TYPE x gauge \n", "line 1: bad metric type: \"gauge \""),
        ("# TYPE x unknown\n", "line 1: bad metric type: \"unknown\""),
        ("{\"x\"} 1\n# TYPE x gauge\n", "line 2: bad TYPE line, second or after samples: \"x\""),
        ("{\"x\",\"y\"} 1\n", "line 1: bad sample, with two metric names: \"\\\"y\\\"} 1\""),
        ("# HELP x.y a\n", "line 1: bad metric name in a comment: \"x.y a\""),
        ("# TYPE s summary\ns{quantile=\"a\"} 1\n", "line 2: bad le or quantile: \"a\""),
    ] {
        assert_eq!(refused(text), want, "{text:?}");
    }
}

#[test]
fn histograms_and_summaries_are_assembled() {
    let h = one(
        "# TYPE h histogram\nh_bucket{a=\"1\",le=\"2\"} 3\nh_sum{a=\"1\"} 4\nh_count{a=\"1\"} 5\nh_count 6\nh 7\n",
    );
    let parts: Vec<&Parts> =
        h.samples().map(|(_, sample)| sample.parts.as_deref().unwrap()).collect();
    let [first, second] = &parts[..] else { panic!("{h:?}") };
    assert_eq!((&first.points[..], first.sum, first.count), (&[(2.0, 3.0)][..], 4.0, 5.0));
    assert_eq!((second.points.len(), second.count), (0, 6.0));
    let content = parse("# TYPE s summary\ns_bucket 1\ns_count 2\n_sum 3\n").unwrap();
    let names: Vec<&str> = content.families.iter().map(|family| family.name.as_str()).collect();
    assert_eq!(names, ["s", "s_bucket", "_sum"]);
}

#[test]
fn counts_of_a_histogram_are_not_negative() {
    for sample in ["h_bucket{le=\"1\"} -1", "h_count -0.5", "h{le=\"1\"} -Inf"] {
        let value = sample.rsplit(' ').next().unwrap();
        assert_eq!(
            refused(&format!("# TYPE h histogram\n{sample}\n")),
            format!("line 2: bad count of a histogram, negative: {value:?}")
        );
    }
    let odd = "# TYPE h histogram\nh_bucket{le=\"1\"} -0\nh_sum -3\nh -4\n\
        # TYPE s summary\ns{quantile=\"0.5\"} -1\ns_sum -2\ns_count -3\n";
    assert_eq!(parse(odd).unwrap().families.len(), 2);
}

#[test]
fn a_gauge_histogram_is_taken_number_by_number() {
    let content = parse("# TYPE g gaugehistogram\ng_bucket{le=\"1\"} 2\ng_gcount 3\n").unwrap();
    let families: Vec<_> = (content.families.iter())
        .map(|family| {
            (family.name.as_str(), family.kind(), family.samples().next().unwrap().1.value)
        })
        .collect();
    assert_eq!(families, [("g_bucket", Kind::Untyped, 2.0), ("g_gcount", Kind::Untyped, 3.0)]);
}

#[test]
fn no_truncation_or_changed_byte_panics() {
    let text = "# HELP h é\\n\\\\\n# TYPE h histogram\nh_bucket{a=\"é\\\"\",le=\"+Inf\"} 1e3\nh_sum 1\n\
        # TYPE s summary\ns{quantile=\"0.5\"} NaN\n{\"x\",b=\"\"} 1 17\ny { } 2\n";
    assert!(parse(text).is_ok());
    for end in 0..text.len() {
        let Some(part) = text.get(..end) else { continue };
        assert_eq!(parse(part).is_ok(), part.is_empty() || part.ends_with('\n'), "{part:?}");
        for byte in ["\n", "\"", "\\", "{", "}", " ", "#", "=", ",", "é", ""] {
            let after = text.get(end + 1..).unwrap_or_default();
            drop(parse(&format!("{part}{byte}{after}")));
        }
    }
}

#[test]
fn lines_can_be_fed_one_by_one() {
    let text = "# HELP h é\n# TYPE h histogram\nh_bucket{a=\"é\",le=\"+Inf\"} 1e3\n\nh_sum{a=\"é\"} 1\n\
        x{a=\"1\",b=\"\"} 1 17\nx{c=\"2\"} 2\nx 3\n";
    let mut parser = Parser::default();
    text.split_inclusive('\n').for_each(|line| parser.feed(line.as_bytes()).unwrap());
    assert!(parser.timestamps);
    let said = |families: &[Family]| -> String {
        let samples = families.iter().flat_map(|family| {
            family.samples().map(|(labels, sample)| {
                format!("{} {:?} {sample:?}", family.name, labels.collect::<Vec<_>>())
            })
        });
        samples.collect::<Vec<_>>().join("\n")
    };
    let whole = said(&parse(text).unwrap().families);
    assert_eq!(said(&parser.finish()), whole);
    for labels in
        ["h [(\"a\", \"é\")]", "x [(\"a\", \"1\"), (\"b\", \"\")]", "x [(\"c\", \"2\")]", "x []"]
    {
        assert_eq!(whole.lines().filter(|line| line.starts_with(labels)).count(), 1, "{whole}");
    }

    let mut parser = Parser::default();
    parser.feed(b"x 1\ny 2\n").unwrap();
    assert_eq!(
        parser.feed(b"z 3\n9 4\n").unwrap_err().to_string(),
        "line 4: bad metric name: \"9 4\""
    );
    parser.lines = 2;
    let odd = parser.feed(b"z 3\nz{a=\"\xff\"} 4\n").unwrap_err().to_string();
    assert_eq!(odd, "line 4: bad UTF-8: \"z{a=\\\"\u{fffd}\\\"} 4\"");

    let mut parser = Parser::default();
    parser.feed(b"# \xff\n\t# HELP x a\xffb\nx 1\n").unwrap();
    let help: Vec<_> = parser.finish().into_iter().map(|family| family.help).collect();
    assert_eq!(help, [Some("a\u{fffd}b".to_owned())]);
}
