//! Character classes: Perl's, POSIX's and Unicode's, and the text of a bracketed one.

use std::fmt::Write as _;

/// A class without characters.
pub(super) const NOTHING: &str = r"[^\x00-\x{10FFFF}]";

/// The items between two brackets.
#[derive(Debug, Default)]
pub(super) struct Class {
    items: String,
}

impl Class {
    /// Adds the characters from `low` to `high`, which are code points. Surrogates are left out:
    /// no text has them.
    pub(super) fn range(&mut self, low: u32, high: u32) {
        for (from, to) in [(low, high.min(0xD7FF)), (low.max(0xE000), high)] {
            if let (true, Some(from), Some(to)) =
                (from <= to, char::from_u32(from), char::from_u32(to))
            {
                push(&mut self.items, from);
                if from < to {
                    self.items.push('-');
                    push(&mut self.items, to);
                }
            }
        }
    }

    /// Adds a class that may stand between brackets as it is written.
    pub(super) fn class(&mut self, class: &str) {
        self.items.push_str(class);
    }

    /// The class, or its complement.
    pub(super) fn finish(self, negated: bool) -> String {
        match (self.items.is_empty(), negated) {
            (true, false) => NOTHING.to_owned(),
            (true, true) => r"[\x00-\x{10FFFF}]".to_owned(),
            (false, _) => format!("[{}{}]", if negated { "^" } else { "" }, self.items),
        }
    }
}

/// Appends a character that stands for itself, inside of brackets and outside.
pub(super) fn push(text: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        text.push(c);
    } else {
        let _ = write!(text, "\\x{:02X}", u32::from(c));
    }
}

/// The class of `\d` and similar escapes, of ASCII alone as in Go; `None` for a letter without a
/// class.
pub(super) const fn perl(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\x0C\r\x20]",
        'S' => r"[^\t\n\x0C\r\x20]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// The class of `[:name:]` by the name between the colons; `None` for an unknown name.
pub(super) fn posix(name: &str) -> Option<String> {
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => ("^", name),
        None => ("", name),
    };
    let items = match name {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => r"\x00-\x7F",
        "blank" => r"\t\x20",
        "cntrl" => r"\x00-\x1F\x7F",
        "digit" => "0-9",
        "graph" => r"\x21-\x7E",
        "lower" => "a-z",
        "print" => r"\x20-\x7E",
        "punct" => r"\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E",
        "space" => r"\t-\r\x20",
        "upper" => "A-Z",
        "word" => "0-9A-Za-z_",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    };
    Some(format!("[{negated}{items}]"))
}

/// Unicode's general categories and their long names, as [`canonical`] writes them.
const CATEGORIES: &str = "\
    c cc cf cn co l lc ll lm lo lt lu m mc me mn n nd nl no p pc pd pe pf pi po ps s sc sk sm so \
    z zl zp zs casedletter closepunctuation cntrl combiningmark connectorpunctuation control \
    currencysymbol dashpunctuation decimalnumber digit enclosingmark finalpunctuation format \
    initialpunctuation letter letternumber lineseparator lowercaseletter mark mathsymbol \
    modifierletter modifiersymbol nonspacingmark number openpunctuation other otherletter \
    othernumber otherpunctuation othersymbol paragraphseparator privateuse punct punctuation \
    separator spaceseparator spacingmark symbol titlecaseletter unassigned uppercaseletter";

/// Scripts whose whole name has four letters; other names of four letters are abbreviations,
/// which Go does not know.
const SHORT_SCRIPTS: [&str; 9] =
    ["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];

/// The class of `\p{name}`, or its complement; `None` for a name that Go certainly does not know.
/// Other unknown scripts are refused when the regular expression is compiled.
pub(super) fn unicode(name: &str, mut negated: bool) -> Option<String> {
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    let name = canonical(name)?;
    let letter = if negated { 'P' } else { 'p' };
    Some(match name.as_str() {
        "any" | "ascii" | "assigned" => format!("\\{letter}{{{name}}}"),
        "cs" | "surrogate" if negated => r"[\x00-\x{10FFFF}]".to_owned(),
        "cs" | "surrogate" => NOTHING.to_owned(),
        _ if CATEGORIES.split(' ').any(|known| known == name) => {
            format!("\\{letter}{{gc={name}}}")
        }
        _ if name.len() == 4 && !SHORT_SCRIPTS.contains(&name.as_str()) => return None,
        // `regex` takes these for scripts; Go does not.
        "unknown" | "katakanaorhiragana" => return None,
        _ if name.starts_with("is") => return None, // `regex` would ignore this beginning
        _ => format!("\\{letter}{{sc={name}}}"),
    })
}

/// The name in small letters, without the signs that Go and `regex` ignore.
fn canonical(name: &str) -> Option<String> {
    let name: String = (name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(name)
}
