//! Query strings and the headers that a scrape is negotiated by, read as Go reads them.

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
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
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

/// Whether an `Accept-Encoding` header takes gzip.
pub(super) fn takes_gzip(header: &str) -> bool {
    let items = items(header);
    let weight = |wanted: &str| {
        items.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(wanted)).map(|item| item.0)
    };
    weight("gzip").or_else(|| weight("*")).is_some_and(|weight| weight > 0.0)
}

/// The escaping scheme that an `Accept` header asks names to be in. Ours need none, so it only
/// shows in the answer's content type.
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

    #[test]
    fn gzip_is_taken_by_its_weight() {
        for (header, taken) in [
            ("gzip", true),
            ("", false),
            ("gzip;q=0", false),
            ("zstd, GZIP;q=0.3,*", true),
            ("*", true),
            ("identity", false),
            ("*;q=0, gzip", true),
            ("gzip;q=x", false),
        ] {
            assert_eq!(takes_gzip(header), taken, "{header}");
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
