//! Query strings, and the headers that choose the form of an answer, read as Go reads them.

use crate::exposition::{Format, protobuf::Encoding};

/// All values of `key`, percent-decoded; pairs with a bad escape or a `;` are dropped.
pub(super) fn values(query: &str, key: &str) -> Vec<String> {
    (query.split('&'))
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            (name == key).then_some(value)
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let bytes = unescape(&text.replace('+', " "))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of a text with `%` and two hexadecimal digits for some of them; `None` where the
/// digits are missing.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

/// A media type's weight, name and parameters.
type Item<'a> = (f32, String, Vec<(&'a str, &'a str)>);

/// The media types of an `Accept` header, best first.
fn items(header: &str) -> Vec<Item<'_>> {
    let mut items: Vec<_> = (header.split(','))
        .filter_map(|item| {
            let mut parts = item.split(';');
            let kind = parts.next()?.trim();
            let name = match kind.split_once('/') {
                Some((_, rest)) if rest.contains('/') => return None,
                Some((kind, rest)) => format!("{}/{}", kind.trim(), rest.trim()),
                None if kind == "*" => "*/*".into(),
                None => return None,
            };
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect();
            let weight = parameters.iter().rfind(|(name, _)| *name == "q").map(|(_, text)| *text);
            let weight = weight.filter(|text| !text.is_empty());
            Some((weight.map_or(1.0, |text| text.parse().unwrap_or(0.0)), name, parameters))
        })
        .collect();
    items.sort_by(|a: &Item<'_>, b| b.0.total_cmp(&a.0)); // stable
    items
}

/// Whether the answer is to be compressed: gzip has more weight than the plain answer, which is
/// preferred where both have the same weight. `Accept-Encoding` lines are read as the Go client
/// library reads them: a malformed item ends its line.
pub(super) fn takes_gzip<'a>(lines: impl IntoIterator<Item = &'a str>) -> bool {
    let mut best = (-1.0, -1.0); // plain, gzip
    for line in lines {
        let mut rest = line.trim_start();
        loop {
            let end = rest.find(|c| !is_coding(c)).unwrap_or(rest.len());
            let (coding, tail) = rest.split_at(end);
            let Some((weight, tail)) = weight(tail.trim_start()) else { break };
            match coding {
                "" => break,
                "*" => best = (f64::max(best.0, weight), f64::max(best.1, weight)),
                "identity" => best.0 = f64::max(best.0, weight),
                "gzip" => best.1 = f64::max(best.1, weight),
                _ => {}
            }
            match tail.trim_start().strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None => break,
            }
        }
    }
    best.1 > best.0 && best.1 > 0.0
}

fn is_coding(c: char) -> bool {
    c.is_ascii_graphic() && !"\"(),:;<=>?@[]\\{}".contains(c)
}

/// The weight in `;q=0.5`, 1 where the text has none, and the text after it; `None` where the
/// weight is malformed.
fn weight(text: &str) -> Option<(f64, &str)> {
    let Some(parameter) = text.strip_prefix(';') else { return Some((1.0, text)) };
    let number = parameter.trim_start().strip_prefix("q=")?;
    let tail = number.strip_prefix(['0', '1'])?;
    let end = match tail.strip_prefix('.') {
        Some(digits) => 2 + digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 1,
    };
    let (number, tail) = number.split_at_checked(end)?;
    Some((number.parse().ok()?, tail))
}

const PROTOBUF: &str = "application/vnd.google.protobuf";
const MESSAGE: &str = "io.prometheus.client.MetricFamily";
const ENCODINGS: [(&str, Encoding); 3] = [
    ("delimited", Encoding::Delimited),
    ("text", Encoding::Text),
    ("compact-text", Encoding::Compact),
];

/// The form that an `Accept` header asks for, and its `Content-Type`: the best that is known, text
/// where none is. Our names need no escaping, so that the scheme shows in the content type alone:
/// it is the last known one of all that come before the form, as in the Go client library.
pub(super) fn negotiate(header: &str) -> (Format, String) {
    let mut scheme = "underscores";
    for (_, name, parameters) in items(header) {
        let get = |key: &str| parameters.iter().rfind(|(name, _)| *name == key).map(|(_, v)| *v);
        scheme = match get("escaping") {
            Some("allow-utf-8") => "allow-utf-8",
            Some("underscores") => "underscores",
            Some("dots") => "dots",
            Some("values") => "values",
            _ => scheme,
        };
        if name == PROTOBUF
            && get("proto") == Some(MESSAGE)
            && let Some((word, encoding)) = ENCODINGS.iter().find(|e| get("encoding") == Some(e.0))
        {
            let kind = format!("{PROTOBUF}; proto={MESSAGE}; encoding={word}; escaping={scheme}");
            return (Format::Protobuf(*encoding), kind);
        }
        if name == "text/plain" && matches!(get("version"), None | Some("" | "0.0.4")) {
            break;
        }
    }
    (Format::Text, format!("text/plain; version=0.0.4; charset=utf-8; escaping={scheme}"))
}

/// Whether an `Accept` header prefers JSON to a page of HTML. Where both have the same weight, the
/// one that comes first is preferred; a page is sent where neither is accepted.
pub(super) fn prefers_json(header: &str) -> bool {
    let items = items(header);
    let refuses_page = items.iter().any(|(weight, name, _)| name == "text/html" && *weight <= 0.0);
    let form = |(weight, name, _): &Item<'_>| match name.as_str() {
        _ if *weight <= 0.0 => None,
        "application/json" | "application/*" => Some(true),
        "text/html" | "text/*" | "application/xhtml+xml" => Some(false),
        "*/*" => Some(refuses_page),
        _ => None,
    };
    items.iter().find_map(form).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_go_reads_them() {
        assert_eq!(values("collect[]=a&collect%5B%5D=b+c&x=y", "collect[]"), ["a", "b c"]);
        assert_eq!(values("collect[]", "collect[]"), [""]);
        assert_eq!(values("collect[]=%zz&collect[]=%4&collect[]=a;b&&=", "collect[]"), [""; 0]);
        assert_eq!(values("collect[]=%ff%00", "collect[]"), ["\u{fffd}\0"]);
    }

    /// The expected values are those of node_exporter 1.11.1.
    #[test]
    fn gzip_is_taken_by_its_weight() {
        for (header, taken) in [
            ("gzip", true),
            ("", false),
            (" gzip ", true),
            ("GZIP", false),
            ("*", false),
            ("identity", false),
            ("gzip, identity", false),
            ("identity, gzip", false),
            ("zstd, gzip", true),
            ("gzip,deflate,br", true),
            ("gzip;q=0", false),
            ("gzip;q=1.0", true),
            ("gzip; q=0.5", true),
            ("gzip;q=0.0001", true),
            ("gzip;q=0.5, identity;q=1", false),
            ("identity;q=0.5, gzip;q=1", true),
            ("identity;q=0.3, gzip;q=0.300", false),
            ("identity;q=0", false),
            ("identity;q=0, gzip;q=0", false),
            ("*;q=0, gzip", true),
            ("*;q=0.5, gzip;q=0.4", false),
            ("gzip;q=0.5,*", false),
            ("gzip;q=x", false),
            ("gzip;q=", false),
            ("gzip;q=2", false),
            ("gzip;q=-1", false),
            ("gzip;Q=0", false),
            ("gzip;x=1", false),
            ("gzip/x", false),
            ("x y, gzip", false),
            (", gzip", false),
        ] {
            assert_eq!(takes_gzip([header]), taken, "{header}");
        }
        for (lines, taken) in [
            (["deflate", "gzip"], true),
            (["gzip", "identity"], false),
            (["identity;q=0.1", "gzip"], true),
            (["gzip;q=0", "gzip"], true),
            (["gzip;q=x", "gzip"], true),
        ] {
            assert_eq!(takes_gzip(lines), taken, "{lines:?}");
        }
    }

    /// The choice of node_exporter 1.11.1; `PB` stands for protobuf of the right message.
    #[test]
    fn the_form_is_the_best_that_is_known() {
        let pb =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=";
        for (header, form, scheme) in [
            ("", "text", "underscores"),
            ("*/*", "text", "underscores"),
            ("*;escaping=dots", "text", "dots"),
            ("x;escaping=dots", "text", "underscores"),
            ("a/b/c;escaping=dots", "text", "underscores"),
            (";escaping=dots", "text", "underscores"),
            ("%%%;;;,", "text", "underscores"),
            ("text/plain;escaping=DOTS", "text", "underscores"),
            ("text/plain;escaping=bogus", "text", "underscores"),
            ("text/plain;version=1.0.0;escaping=values", "text", "values"),
            (" text / plain ; version = 0.0.4 ; escaping=dots", "text", "dots"),
            ("text/plain;escaping=dots;escaping=values", "text", "values"),
            ("text/plain, x/y;escaping=dots;q=0.1", "text", "underscores"),
            ("x/y;escaping=dots;q=0.6,text/plain;q=0.3", "text", "dots"),
            (
                "text/plain;version=1;escaping=dots,text/plain;escaping=values;q=0.5",
                "text",
                "values",
            ),
            ("PBdelimited", "delimited", "underscores"),
            ("PBdelimited;escaping=allow-utf-8", "delimited", "allow-utf-8"),
            ("PBtext", "text protobuf", "underscores"),
            ("PBcompact-text", "compact", "underscores"),
            ("PBother", "text", "underscores"),
            ("PB\"delimited\"", "text", "underscores"),
            ("application/vnd.google.protobuf;proto=x;encoding=delimited", "text", "underscores"),
            ("PBdelimited;q=0", "delimited", "underscores"),
            ("text/plain;q=0,PBdelimited;q=0.1", "delimited", "underscores"),
            ("text/plain;q=0,PBdelimited;q=0", "text", "underscores"),
            ("PBdelimited;q=0.1,text/plain;version=0.0.4;q=0.9", "text", "underscores"),
            ("PBdelimited;q=0.1,text/plain;version=1.0.0;q=0.9", "delimited", "underscores"),
            ("PBdelimited;q=.9,text/plain;q=0.2", "delimited", "underscores"),
            ("PBdelimited;q=1e-1,text/plain;q=0.2", "text", "underscores"),
            ("PBdelimited;q=x,text/plain;q=0.9", "text", "underscores"),
            ("PBdelimited;q=,text/plain;q=0.9", "delimited", "underscores"),
            ("PBdelimited;q,text/plain;q=0.9", "delimited", "underscores"),
            ("PBdelimited;Q=0.1,text/plain;q=0.2", "delimited", "underscores"),
            ("PBdelimited;q=0.1;q=0.9,text/plain;q=0.2", "delimited", "underscores"),
            ("PBdelimited;q=nan,text/plain", "delimited", "underscores"),
            ("PBdelimited;q= 0.5,text/plain;q=0.7", "text", "underscores"),
            ("PBdelimited,text/plain;escaping=dots", "delimited", "underscores"),
        ] {
            let (format, kind) = negotiate(&header.replace("PB", pb));
            let got = match format {
                Format::Text => "text",
                Format::Protobuf(Encoding::Delimited) => "delimited",
                Format::Protobuf(Encoding::Text) => "text protobuf",
                Format::Protobuf(Encoding::Compact) => "compact",
            };
            assert_eq!(got, form, "{header}");
            assert!(kind.ends_with(&format!("; escaping={scheme}")), "{header}: {kind}");
        }
        assert_eq!(
            negotiate(&format!("{pb}compact-text")).1,
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
             encoding=compact-text; escaping=underscores"
        );
        assert_eq!(
            negotiate("").1,
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        );
    }

    #[test]
    fn json_is_sent_where_it_is_preferred() {
        for (header, json) in [
            ("", false),
            ("*/*", false),
            ("application/json", true),
            (" application / json ; charset=utf-8", true),
            ("application/*", true),
            ("application/json, text/plain, */*", true),
            ("application/json;q=0.9, text/html", false),
            ("application/json, text/html;q=0.9", true),
            ("text/html;q=0.5, application/json;q=0.6, */*;q=0.1", true),
            ("text/html, application/json", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json;q=0, */*", false),
            ("application/json;q=0", false),
            ("text/html;q=0, */*", true),
            ("*/*;q=0.9, application/json;q=0.5", false),
            ("application/json;q=x, text/html;q=0.1", false),
            ("text/plain", false),
            ("application/xml", false),
            ("json", false),
        ] {
            assert_eq!(prefers_json(header), json, "{header}");
        }
    }
}
