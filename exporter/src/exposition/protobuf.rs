//! Prometheus' client model (`io.prometheus.client.MetricFamily`) in protobuf: delimited messages,
//! and the two text forms of the same.
//!
//! Rendered from the sample lines of the text format: protobuf is asked for by few, and the text is
//! there. Numbers of observations are whole in this form, and cut to that.

use crate::exposition::{
    Body, Family, Kind, Sink,
    sink::Merged,
    text::{Conflict, Order, merge},
};
use std::{borrow::Cow, fmt::Write as _};

/// How messages are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// In binary, each with its length before it.
    Delimited,
    /// As text, one field a line.
    Text,
    /// As text, one message a line.
    Compact,
}

/// Appends the families of `sinks` to `body`, as [`crate::exposition::text::append`] does.
pub fn append(
    encoding: Encoding,
    sinks: &[&Sink],
    only: Option<&[String]>,
    order: &mut Order,
    body: &mut impl Body,
) -> Vec<Conflict> {
    let mut binary = Binary::default();
    merge(sinks, only, order, |first, same| {
        let merged = Merged::of(same);
        let metrics = merged.samples().map(|(_, lines)| Metric::parse(first.kind(), lines));
        if encoding == Encoding::Delimited {
            binary.append(first, metrics, body);
        } else {
            append_text(first, metrics, encoding == Encoding::Compact, body);
        }
        merged.repeated
    })
}

/// A sample taken apart.
struct Metric<'a> {
    labels: Vec<(&'a str, Cow<'a, str>)>,
    value: Value<'a>,
}

/// Numbers as the text format prints them.
enum Value<'a> {
    Single(&'a str),
    /// A histogram's buckets or a summary's quantiles, with their bounds first.
    Many {
        count: &'a str,
        sum: &'a str,
        parts: Vec<(Cow<'a, str>, &'a str)>,
    },
}

impl<'a> Metric<'a> {
    /// Reads the lines of one sample.
    fn parse(kind: Kind, lines: &'a str) -> Self {
        let mut metric = Self { labels: Vec::new(), value: Value::Single("") };
        if !matches!(kind, Kind::Histogram | Kind::Summary) {
            let (_, labels, value) = parts(lines.trim_end_matches('\n'));
            (metric.labels, metric.value) = (labels, Value::Single(value));
            return metric;
        }
        let (mut count, mut sum, mut all) = ("0", "0", Vec::new());
        for line in lines.lines() {
            let (suffix, mut labels, value) = parts(line);
            match suffix {
                "_sum" => sum = value,
                "_count" => count = value,
                _ => all.extend(labels.pop().map(|(_, bound)| (bound, value))), // le, quantile
            }
            metric.labels = labels;
        }
        metric.value = Value::Many { count, sum, parts: all };
        metric
    }
}

/// The end of the name, the labels and the value of a line.
fn parts(line: &str) -> (&str, Vec<(&str, Cow<'_, str>)>, &str) {
    let mut labels = Vec::new();
    let end = memchr::memchr2(b'{', b' ', line.as_bytes()).unwrap_or(line.len());
    let (suffix, mut rest) = line.split_at(end);
    while let Some((name, quoted)) = rest.get(1..).and_then(|rest| rest.split_once("=\"")) {
        let (text, after) = unquote(quoted);
        labels.push((name, text));
        rest = after;
        if !rest.starts_with(',') {
            break;
        }
    }
    (suffix, labels, rest.trim_start_matches(['}', ' ']))
}

/// A label's value up to its quote, without escapes, and the text behind the quote.
fn unquote(quoted: &str) -> (Cow<'_, str>, &str) {
    let mut text = Cow::Borrowed("");
    let mut rest = quoted;
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        if let Some(after) = special.strip_prefix('"') {
            if text.is_empty() {
                return (Cow::Borrowed(plain), after);
            }
            text.to_mut().push_str(plain);
            return (text, after);
        }
        let mut chars = special.chars();
        let escaped = chars.nth(1).unwrap_or('\\');
        text.to_mut().push_str(plain);
        text.to_mut().push(if escaped == 'n' { '\n' } else { escaped });
        rest = chars.as_str();
    }
    (text, rest)
}

/// A number of observations.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut, as documented")]
fn whole(text: &str) -> u64 {
    text.parse::<f64>().map_or(0, |value| value as u64)
}

/// The number of a kind in the enumeration `MetricType`.
const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Summary => 2,
        Kind::Untyped => 3,
        Kind::Histogram => 4,
    }
}

/// The field of a `Metric` that has the value of this kind, by number and name.
const fn field(kind: Kind) -> (u8, &'static str) {
    match kind {
        Kind::Gauge => (2, "gauge"),
        Kind::Counter => (3, "counter"),
        Kind::Summary => (4, "summary"),
        Kind::Untyped => (5, "untyped"),
        Kind::Histogram => (7, "histogram"),
    }
}

/// The one of all NaNs that Go's `math.NaN` returns.
const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Types of fields on the wire.
const VARINT: u8 = 0;
const DOUBLE: u8 = 1;
const BYTES: u8 = 2;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "seven bits are left")]
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_whole(out: &mut Vec<u8>, field: u8, text: &str) {
    out.push(field << 3 | VARINT);
    put_varint(out, whole(text));
}

fn put_double(out: &mut Vec<u8>, field: u8, text: &str) {
    out.push(field << 3 | DOUBLE);
    let value = text.parse().ok().filter(|value: &f64| !value.is_nan()).unwrap_or(NAN);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Buffers for messages within messages: the length of each comes before it.
#[derive(Default)]
struct Binary {
    family: Vec<u8>,
    metric: Vec<u8>,
    value: Vec<u8>,
    part: Vec<u8>,
}

impl Binary {
    fn append<'a>(
        &mut self,
        family: &Family,
        metrics: impl Iterator<Item = Metric<'a>>,
        body: &mut impl Body,
    ) {
        self.family.clear();
        put_bytes(&mut self.family, 1, family.name().as_bytes());
        put_bytes(&mut self.family, 2, family.help().as_bytes());
        self.family.extend_from_slice(&[3 << 3 | VARINT, number(family.kind())]);
        for metric in metrics {
            self.metric(family.kind(), &metric);
            put_bytes(&mut self.family, 4, &self.metric);
        }
        self.part.clear();
        put_varint(&mut self.part, self.family.len() as u64);
        body.append_bytes(&self.part);
        body.append_bytes(&self.family);
    }

    fn metric(&mut self, kind: Kind, metric: &Metric<'_>) {
        self.metric.clear();
        for (name, value) in &metric.labels {
            self.part.clear();
            put_bytes(&mut self.part, 1, name.as_bytes());
            put_bytes(&mut self.part, 2, value.as_bytes());
            put_bytes(&mut self.metric, 1, &self.part);
        }
        self.value.clear();
        match &metric.value {
            Value::Single(value) => put_double(&mut self.value, 1, value),
            Value::Many { count, sum, parts } => {
                put_whole(&mut self.value, 1, count);
                put_double(&mut self.value, 2, sum);
                for (bound, value) in parts {
                    self.part.clear();
                    if kind == Kind::Histogram {
                        put_whole(&mut self.part, 1, value);
                        put_double(&mut self.part, 2, bound);
                    } else {
                        put_double(&mut self.part, 1, bound);
                        put_double(&mut self.part, 2, value);
                    }
                    put_bytes(&mut self.value, 3, &self.part);
                }
            }
        }
        put_bytes(&mut self.metric, field(kind).0, &self.value);
    }
}

/// A message as text.
struct Writer<'a, B> {
    body: &'a mut B,
    compact: bool,
    depth: usize,
    /// Whether the message has begun with a field already.
    follows: bool,
}

impl<B: Body> Writer<'_, B> {
    /// Writes the space or the indentation before a field.
    fn begin(&mut self) {
        if self.compact {
            self.body.append(&[if self.follows { " " } else { "" }]);
        } else {
            for _ in 0..self.depth {
                self.body.append(&["  "]);
            }
        }
        self.follows = true;
    }

    fn field(&mut self, name: &str, value: &str) {
        self.begin();
        let (colon, end) = if self.compact { (":", "") } else { (": ", "\n") };
        self.body.append(&[name, colon, value, end]);
    }

    fn text(&mut self, name: &str, value: &str) {
        let mut quoted = String::with_capacity(value.len() + 2);
        quoted.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\0'..' ' | '\x7f' => {
                    let _ = write!(quoted, "\\x{:02x}", u32::from(c));
                }
                c => quoted.push(c),
            }
        }
        quoted.push('"');
        self.field(name, &quoted);
    }

    fn double(&mut self, name: &str, value: &str) {
        self.field(
            name,
            match value {
                "+Inf" => "inf",
                "-Inf" => "-inf",
                "NaN" => "nan",
                other => other,
            },
        );
    }

    fn whole(&mut self, name: &str, value: &str) {
        self.field(name, itoa::Buffer::new().format(whole(value)));
    }

    fn message(&mut self, name: &str, fields: impl FnOnce(&mut Self)) {
        self.begin();
        self.body.append(&[name, if self.compact { ":{" } else { ": {\n" }]);
        self.depth += 1;
        self.follows = false;
        fields(self);
        self.depth -= 1;
        self.follows = true;
        if self.compact {
            self.body.append(&["}"]);
        } else {
            for _ in 0..self.depth {
                self.body.append(&["  "]);
            }
            self.body.append(&["}\n"]);
        }
    }
}

fn append_text<'a>(
    family: &Family,
    metrics: impl Iterator<Item = Metric<'a>>,
    compact: bool,
    body: &mut impl Body,
) {
    let kind = family.kind();
    let mut out = Writer { body, compact, depth: 0, follows: false };
    out.text("name", family.name());
    out.text("help", family.help());
    out.field("type", &kind.name().to_uppercase());
    for metric in metrics {
        out.message("metric", |out| {
            for (name, value) in &metric.labels {
                out.message("label", |out| {
                    out.text("name", name);
                    out.text("value", value);
                });
            }
            out.message(field(kind).1, |out| match &metric.value {
                Value::Single(value) => out.double("value", value),
                Value::Many { count, sum, parts } => {
                    out.whole("sample_count", count);
                    out.double("sample_sum", sum);
                    for (bound, value) in parts {
                        if kind == Kind::Histogram {
                            out.message("bucket", |out| {
                                out.whole("cumulative_count", value);
                                out.double("upper_bound", bound);
                            });
                        } else {
                            out.message("quantile", |out| {
                                out.double("quantile", bound);
                                out.double("value", value);
                            });
                        }
                    }
                }
            });
        });
    }
    body.append(&["\n"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{counter, gauge};

    fn rendered(encoding: Encoding, put: impl FnOnce(&mut Sink)) -> Vec<u8> {
        let mut sink = Sink::default();
        sink.begin(1);
        put(&mut sink);
        let mut body = Vec::new();
        append(encoding, &[&sink], None, &mut Order::default(), &mut body);
        body
    }

    fn all_kinds(sink: &mut Sink) {
        static A: Metric2 = gauge("a", "A \"help\".\n\\").by(["x", "y"]);
        sink.put(&A, [&"b\\\"\n,}", &""], 0.5);
        sink.put(&counter("c_total", ""), [], u64::MAX);
        let h = sink.family("h", "H", Kind::Histogram);
        h.histogram(&[("l", "v")], &[(0.1, 1.0), (f64::INFINITY, 300.0)], 5.5, 300.0);
        let s = sink.family("s", "S", Kind::Summary);
        s.summary(&[], &[(0.5, f64::NAN)], -1.0, 7.0);
        sink.family("u", "U", Kind::Untyped).sample(&[("l", "\u{1}é")], f64::NEG_INFINITY);
    }

    type Metric2 = crate::exposition::Metric<2>;

    /// As Go's `prototext` writes them.
    #[test]
    fn text_forms_are_gos() {
        let compact = String::from_utf8(rendered(Encoding::Compact, all_kinds)).unwrap();
        let want = concat!(
            r#"name:"a" help:"A \"help\".\n\\" type:GAUGE metric:{label:{name:"x" value:"b\\\"\n,}"} label:{name:"y" value:""} gauge:{value:0.5}}"#,
            "\n",
            r#"name:"c_total" help:"" type:COUNTER metric:{counter:{value:1.8446744073709552e+19}}"#,
            "\n",
            r#"name:"h" help:"H" type:HISTOGRAM metric:{label:{name:"l" value:"v"} histogram:{sample_count:300 sample_sum:5.5 bucket:{cumulative_count:1 upper_bound:0.1} bucket:{cumulative_count:300 upper_bound:inf}}}"#,
            "\n",
            r#"name:"s" help:"S" type:SUMMARY metric:{summary:{sample_count:7 sample_sum:-1 quantile:{quantile:0.5 value:nan}}}"#,
            "\n",
            r#"name:"u" help:"U" type:UNTYPED metric:{label:{name:"l" value:"\x01é"} untyped:{value:-inf}}"#,
            "\n",
        );
        assert_eq!(compact, want);
        let text = rendered(Encoding::Text, |sink| {
            sink.family("h", "H", Kind::Histogram).histogram(
                &[("l", "v")],
                &[(0.1, 1.0)],
                5.5,
                3.0,
            );
        });
        let want = "name: \"h\"\nhelp: \"H\"\ntype: HISTOGRAM\nmetric: {\n  label: {\n    name: \"l\"\n    value: \"v\"\n  }\n  histogram: {\n    sample_count: 3\n    sample_sum: 5.5\n    bucket: {\n      cumulative_count: 1\n      upper_bound: 0.1\n    }\n    bucket: {\n      cumulative_count: 3\n      upper_bound: inf\n    }\n  }\n}\n\n";
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }

    #[test]
    fn binary_messages_have_their_fields_and_lengths() {
        let body = rendered(Encoding::Delimited, |sink| {
            sink.family("h", "H", Kind::Histogram).histogram(
                &[("l", "v")],
                &[(0.5, 300.0)],
                1.0,
                300.0,
            );
        });
        let double = |value: f64| value.to_le_bytes();
        let bucket = |bound: f64| [&[1 << 3, 0xac, 2, 2 << 3 | 1][..], &double(bound)].concat();
        let len = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let bytes = |field: u8, bytes: &[u8]| [&[field << 3 | 2, len(bytes)], bytes].concat();
        let value = [
            &[1 << 3, 0xac, 2, 2 << 3 | 1][..],
            &double(1.0),
            &bytes(3, &bucket(0.5)),
            &bytes(3, &bucket(f64::INFINITY)),
        ]
        .concat();
        let label = bytes(1, &[bytes(1, b"l"), bytes(2, b"v")].concat());
        let metric = [label, bytes(7, &value)].concat();
        let family = [bytes(1, b"h"), bytes(2, b"H"), vec![3 << 3, 4], bytes(4, &metric)].concat();
        assert_eq!(body, [vec![len(&family)], family].concat());
    }

    #[test]
    fn nan_is_gos() {
        let mut out = Vec::new();
        put_double(&mut out, 1, "NaN");
        assert_eq!(out, [9, 1, 0, 0, 0, 0, 0, 0xf8, 0x7f]);
    }

    #[test]
    fn numbers_of_any_size_are_varints() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
        }
        assert_eq!(["NaN", "-1", "1.5", "+Inf", "7"].map(whole), [0, 0, 1, u64::MAX, 7]);
    }
}
