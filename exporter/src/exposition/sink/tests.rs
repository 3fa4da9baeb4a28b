use super::*;
use crate::exposition::{counter, gauge, text};

static PLAIN: Metric = gauge("node_plain", "A \\ and a\nline break \"here\".");
static LABELED: Metric<2> = counter("node_labeled_total", "Two labels.").by(["a", "b"]);

fn rendered(sink: &Sink) -> String {
    let mut body = Vec::new();
    text::append(&[sink], None, &mut text::Order::default(), &mut body);
    String::from_utf8(body).unwrap()
}

#[test]
fn families_and_series_come_out_in_order() {
    let mut sink = Sink::default();
    sink.begin(1);
    sink.put(&PLAIN, [], 1);
    sink.put(&LABELED, [&"2", &"x"], 2);
    sink.put(&LABELED, [&"10", &"y"], 3);
    sink.put(&LABELED, [&"10", &"x"], 4);
    assert_eq!(
        rendered(&sink),
        "# HELP node_labeled_total Two labels.\n\
         # TYPE node_labeled_total counter\n\
         node_labeled_total{a=\"10\",b=\"x\"} 4\n\
         node_labeled_total{a=\"10\",b=\"y\"} 3\n\
         node_labeled_total{a=\"2\",b=\"x\"} 2\n\
         # HELP node_plain A \\\\ and a\\nline break \"here\".\n\
         # TYPE node_plain gauge\n\
         node_plain 1\n"
    );
}

/// Families are guessed from the order of the last scrape: all pairs of orders in which three names,
/// some of them twice or not at all, come in two scrapes, and a third scrape.
#[test]
fn families_are_found_in_whatever_order_they_come() {
    let names = ["node_c", "node_a", "node_b"];
    let orders: Vec<Vec<usize>> = (0..3_usize.pow(4))
        .map(|n| (0..4).map(|digit| n / 3_usize.pow(digit) % 3).collect())
        .collect();
    let put = |sink: &mut Sink, number: u64, order: &[usize]| {
        sink.begin(number);
        for (value, &name) in order.iter().enumerate() {
            let family = sink.family(names[name], "Help.", Kind::Gauge);
            family.sample(&[("n", &value.to_string())], value as f64);
        }
        let mut found: Vec<(usize, String)> = sink
            .families()
            .flat_map(|family| {
                let name = names.iter().position(|name| *name == family.name()).unwrap();
                let lines = family.text.lines();
                lines.map(move |line| (name, line.to_owned())).collect::<Vec<_>>()
            })
            .collect();
        found.sort();
        let mut want: Vec<(usize, String)> = (order.iter().enumerate())
            .map(|(value, &name)| (name, format!("{{n=\"{value}\"}} {value}")))
            .collect();
        want.sort();
        assert_eq!(found, want);
    };
    for first in &orders {
        for second in &orders {
            let mut sink = Sink::default();
            put(&mut sink, 1, first);
            put(&mut sink, 2, second);
            put(&mut sink, 3, first);
        }
    }
}

#[test]
fn values_are_ordered_as_lists_of_values_not_as_lines() {
    let mut sink = Sink::default();
    sink.begin(1);
    for a in ["a\"", "a", "a b", "a!", "", "a\0b", "a\\", "a\u{1}"] {
        sink.put(&LABELED, [&a, &"z"], 0);
    }
    let text = rendered(&sink);
    let order: Vec<&str> = text.lines().filter_map(|l| l.split('"').nth(1)).collect();
    assert_eq!(order, ["", "a", "a\0b", "a\u{1}", "a b", "a!", "a\\", "a\\\\"]);
}

#[test]
fn label_values_are_escaped_and_made_utf8() {
    let mut sink = Sink::default();
    sink.begin(1);
    sink.put(&LABELED, [&"\\ \" \n", &b"e\xff\xf0\x9f".as_slice()], 1);
    assert!(
        rendered(&sink).contains("node_labeled_total{a=\"\\\\ \\\" \\n\",b=\"e\u{fffd}\"} 1\n")
    );
}

#[test]
fn words_of_a_label_can_be_brought_together() {
    let mut text = String::new();
    for words in ["", "  ", " a ", "a \t b  c"] {
        Spaced(words).append(&mut text);
        text.push(';');
    }
    assert_eq!(text, ";;a;a b c;");
}

#[test]
fn a_series_is_never_given_twice() {
    let mut sink = Sink::default();
    sink.begin(1);
    sink.put(&LABELED, [&"a\0", &"b"], 1);
    sink.put(&LABELED, [&"a", &"\0b"], 2);
    sink.put(&LABELED, [&"a\0", &"b"], 3);
    let text = rendered(&sink);
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 2, "{text}");
    assert!(!text.contains("} 3"), "the first one stays: {text}");
}

#[test]
fn families_that_stay_empty_are_forgotten() {
    let mut sink = Sink::default();
    sink.begin(1);
    sink.put(&PLAIN, [], 1);
    for scrape in 2..20 {
        sink.begin(scrape);
        sink.put(&LABELED, [&1, &2], 1);
        assert!(!rendered(&sink).contains("node_plain"));
    }
    assert_eq!(sink.families.len(), 1);
    sink.put(&PLAIN, [], 2);
    assert!(rendered(&sink).contains("node_plain 2"));
}

#[test]
fn a_family_gives_back_the_room_of_one_large_scrape() {
    let mut sink = Sink::default();
    let mut room_after = |scrape, samples: u32| {
        sink.begin(scrape);
        for n in 0..samples {
            sink.put(&LABELED, [&n, &"x"], 1);
        }
        let family = sink.families().next().unwrap();
        (family.text.capacity(), family.samples.capacity())
    };
    let large = room_after(1, 100_000);
    for scrape in 2..=u64::from(KEPT_WHILE_SMALL) + 1 {
        assert_eq!(room_after(scrape, 10), large, "{scrape}");
    }
    room_after(20, 100_000);
    for scrape in 21..=u64::from(KEPT_WHILE_SMALL) + 21 {
        assert_eq!(room_after(scrape, 10), large, "counted anew: {scrape}");
    }
    let (text, samples) = room_after(40, 10);
    assert!(text < SMALL && samples < SMALL, "{text} {samples}");
}

#[test]
fn histograms_and_summaries_have_their_lines_in_order() {
    let mut sink = Sink::default();
    sink.begin(1);
    let labels = [("x", "y\"")];
    sink.family("h", "H.", Kind::Histogram).histogram(&labels, &[(0.5, 1.0), (1.0, 3.0)], 2.5, 4.0);
    sink.family("s", "S.", Kind::Summary).summary(&[], &[(0.9, 7.0)], 8.0, 9.0);
    assert_eq!(
        rendered(&sink),
        "# HELP h H.\n# TYPE h histogram\n\
         h_bucket{x=\"y\\\"\",le=\"0.5\"} 1\n\
         h_bucket{x=\"y\\\"\",le=\"1\"} 3\n\
         h_bucket{x=\"y\\\"\",le=\"+Inf\"} 4\n\
         h_sum{x=\"y\\\"\"} 2.5\n\
         h_count{x=\"y\\\"\"} 4\n\
         # HELP s S.\n# TYPE s summary\n\
         s{quantile=\"0.9\"} 7\n\
         s_sum 8\n\
         s_count 9\n"
    );
}

#[test]
fn a_collector_may_wait_for_half_of_the_time_left_but_not_too_short() {
    let patience = |left: Option<u64>, most: u64| {
        let mut sink = Sink::default();
        sink.due(left.map(|seconds| Instant::now() + Duration::from_secs(seconds)));
        sink.patience(Duration::from_secs(most))
    };
    assert_eq!(patience(None, 5), Duration::from_secs(5));
    assert_eq!(patience(Some(3600), 5), Duration::from_secs(5));
    let half = patience(Some(3600), 3600);
    assert!(half > LEAST && half <= Duration::from_secs(1800), "{half:?}");
    assert_eq!(patience(Some(0), 5), LEAST);
    assert_eq!(patience(Some(0), 0), Duration::ZERO);
}

#[test]
fn a_kept_order_is_not_used_for_other_families() {
    let mut order = text::Order::default();
    let [mut first, mut second] = [Sink::default(), Sink::default()];
    for names in [["b", "a", "c"], ["b", "a", "c"], ["a", "c", "b"], ["c", "c", "c"]] {
        for (scrape, sink) in (1..).zip([&mut first, &mut second]) {
            sink.begin(scrape);
        }
        for (value, name) in (0..).zip(names) {
            let sink = if value == 1 { &mut second } else { &mut first };
            sink.family(name, "", Kind::Gauge).sample(&[], f64::from(value));
        }
        let mut body = Vec::new();
        text::append(&[&first, &second], None, &mut order, &mut body);
        let text = String::from_utf8(body).unwrap();
        let seen: Vec<&str> = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.split(' ').next())
            .collect();
        let mut wanted = names.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        assert_eq!(seen, wanted);
    }
}

#[test]
fn a_failed_attempt_leaves_nothing() {
    let mut sink = Sink::default();
    sink.begin(1);
    sink.put(&LABELED, [&"1", &"x"], 1);
    let before = rendered(&sink);
    let failed = sink.attempt(|out| {
        out.put(&LABELED, [&"0", &"x"], 2);
        out.put(&PLAIN, [], 3);
        Err("no")
    });
    assert_eq!((failed, rendered(&sink)), (Err("no"), before.clone()));
    let attempt = |out: &mut Sink| {
        out.put(&LABELED, [&"2", &"x"], 4);
        Ok::<_, ()>(())
    };
    sink.attempt(attempt).unwrap();
    assert_eq!(rendered(&sink), before + "node_labeled_total{a=\"2\",b=\"x\"} 4\n");
    // The last sample that stayed is known, so that its series is not given twice.
    let failed = sink.attempt(|out| {
        out.put(&LABELED, [&"3", &"x"], 5);
        Err("no")
    });
    assert_eq!(failed, Err("no"));
    let before = rendered(&sink);
    sink.put(&LABELED, [&"2", &"x"], 6);
    assert_eq!(rendered(&sink), before);
}

#[test]
fn values_are_read_from_lines_as_they_were_put() {
    const VALUES: [&str; 9] =
        ["", "a", "\\", "\"", "\n", "n\\n\"=\"\\\\", "\0", "a\0\u{1}b", "é,}="];
    for (a, b) in VALUES.iter().flat_map(|a| VALUES.iter().map(move |b| (a, b))) {
        let (mut put, mut line, mut read) = (String::new(), String::new(), String::new());
        for (name, value) in [("{a", a), (",b", b)] {
            line.push_str(name);
            line.push_str("=\"");
            append_key(&mut put, &mut line, value);
            line.push('"');
        }
        line.push_str(",le=\"1\"} 2\n");
        read_key(&line, 2, &mut read);
        assert_eq!(read, put, "{line}");
    }
}
