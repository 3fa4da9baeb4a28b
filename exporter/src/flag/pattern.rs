//! Regular expressions given on the command line.

use super::{Form, Value, value::last};
use regex::bytes::{Regex, RegexBuilder};

/// A regular expression; it matches anywhere unless it is anchored, as in node_exporter.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }

    fn new(text: &str) -> Result<Self, String> {
        // As in Go, `\d` and its like are of ASCII; what cannot be said so is of all characters.
        (RegexBuilder::new(text).unicode(false).build())
            .or_else(|_| Regex::new(text))
            .map(Self)
            .map_err(|e| e.to_string())
    }
}

impl Value for Pattern {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Self::new(last(given))
    }
}

/// None where the flag is not given or empty.
impl Value for Option<Pattern> {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Some(last(given)).filter(|text| !text.is_empty()).map(Pattern::new).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_anywhere_and_show_what_is_wrong() {
        let pattern = <Option<Pattern> as Value>::parse(&["th0|lo"]).unwrap().unwrap();
        assert!(pattern.matches("eth0") && pattern.matches("lo") && !pattern.matches("eth1"));
        assert!(<Option<Pattern> as Value>::parse(&[""]).unwrap().is_none());
        assert!(<Option<Pattern> as Value>::parse(&["a(b"]).unwrap_err().contains("a(b"));
    }

    #[test]
    fn patterns_are_gos() {
        let matches = |pattern, text| Pattern::new(pattern).unwrap().matches(text);
        assert!(matches(r"^sd[a-z]\d+$", "sda1") && !matches(r"\d", "\u{665}"));
        assert!(matches("é", "café") && matches(r"^\p{Greek}+$", "αβγ") && matches("^[é]$", "é"));
        assert!(Pattern::new("a(").unwrap_err().contains("a("));
    }
}
