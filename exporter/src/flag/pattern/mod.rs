//! Regular expressions given on the command line, in Go's syntax.

mod class;
mod parse;
mod part;
mod refused;

use super::{Form, Value, value::last};
use regex::{Regex, RegexBuilder};

/// A regular expression; it matches anywhere unless it is anchored, as in node_exporter.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// A compiled pattern takes no more memory than this, in bytes.
const LARGEST: usize = 10 << 20;

impl Pattern {
    /// Whether `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Reads a pattern in the syntax of Go's package `regexp`.
    ///
    /// # Errors
    /// One line: the reason, in Go's words where Go refuses it too, the place and the pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let shown = refused::shown(pattern);
        let translated = parse::translate(pattern)
            .map_err(|refused| format!("{refused} of the pattern `{shown}`"))?;
        RegexBuilder::new(&translated).size_limit(LARGEST).build().map(Self).map_err(|error| {
            match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!(
                        "expression too large: it takes more than {} MB: `{shown}`",
                        limit >> 20
                    )
                }
                error if error.to_string().contains("maximum number of nested") => {
                    format!("expression nests too deeply: `{shown}`")
                }
                // This would be a fault of the translator; a fuzz target looks for it.
                error => {
                    format!("`{shown}` is not understood: {}", refused::shown(&error.to_string()))
                }
            }
        })
    }
}

impl Value for Pattern {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Self::new(last(given))
    }
}

/// `None` where the flag is absent or empty.
impl Value for Option<Pattern> {
    const FORM: Form = Form::Once;
    fn parse(given: &[&str]) -> Result<Self, String> {
        Some(last(given)).filter(|text| !text.is_empty()).map(Pattern::new).transpose()
    }
}

#[cfg(test)]
mod tests;
