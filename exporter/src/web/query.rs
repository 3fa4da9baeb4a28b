//! Query strings, and the headers that choose the form of an answer, read as Go reads them.

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

/// An item's weight, name and parameters.
type Item<'a> = (f32, &'a str, Vec<(&'a str, &'a str)>);

/// The weight of each item in a header such as `gzip;q=0.5, *`, best first, with the item's
/// parameters.
fn items(header: &str) -> Vec<Item<'_>> {
    let mut items: Vec<_> = (header.split(','))
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?;
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let weight: f32 = (parameters.iter())
                .find(|(name, _)| *name == "q")
                .map_or(1.0, |(_, weight)| weight.parse().unwrap_or(0.0));
            Some((weight, name, parameters))
        })
        .collect();
    items.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable
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

/// The escaping scheme for names that an `Accept` header asks for. This exporter's names need no
/// escaping, so the scheme only shows in the answer's content type.
pub(super) fn escaping(header: &str) -> &'static str {
    let mut scheme = "underscores";
    for (_, name, parameters) in items(header) {
        let get = |key: &str| parameters.iter().find(|(name, _)| *name == key).map(|(_, v)| *v);
        scheme = match get("escaping") {
            Some("allow-utf-8") => "allow-utf-8",
            Some("underscores") => "underscores",
            Some("dots") => "dots",
            Some("values") => "values",
            _ => scheme,
        };
        if name == "text/plain" && matches!(get("version"), None | Some("" | "0.0.4")) {
            break;
        }
    }
    scheme
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

    #[test]
    fn the_escaping_is_that_of_the_best_text_asked_for() {
        assert_eq!(escaping(""), "underscores");
        assert_eq!(escaping("*/*"), "underscores");
        assert_eq!(
            escaping(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"
            ),
            "allow-utf-8"
        );
        assert_eq!(escaping("text/plain, x/y;escaping=dots;q=0.1"), "underscores");
    }
}
