//! YAML as Go's `yaml.v2` reads it strictly: a tree of untyped nodes, and readers for the types that
//! the configuration has.
//!
//! A value of the wrong type is a fault that is noted, and reading goes on, so that all faults are
//! told at once. The text of a scalar in a secret's place is never part of a fault.

use super::scalar::{self, Scalar};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use std::{borrow::Cow, collections::HashMap};
use zeroize::Zeroizing;

/// How deep nodes may lie within each other.
const DEEPEST: usize = 32;
/// How many nodes there may be; each use of an alias counts the nodes that it stands for.
const MOST: usize = 10_000;

/// A value, and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    line: usize,
    /// How many nodes it consists of, itself included.
    size: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Zeroizing<String>, Style),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Whether the text of a scalar may stand for something other than text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Also quoted, with a tag such as `!!int`.
    Plain,
    /// Quoted, a block, or with the tag `!!str`.
    Text,
}

/// Values of the wrong type, and keys that are unknown or repeated.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, line: usize, what: &str) {
        self.0.push(format!("line {line}: {what}"));
    }

    /// # Errors
    /// All faults, if there are any.
    pub(super) fn into_result(self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(format!("yaml: unmarshal errors:\n  {}", self.0.join("\n  ")))
    }
}

/// Reads the first document of `text`; None where it is empty.
///
/// # Errors
/// It is no YAML, or of a size that no configuration has.
pub(super) fn load(text: &str) -> Result<Option<Node>, String> {
    let events = Parser::new_from_str(text.trim_start_matches('\u{feff}')).map(|event| {
        event
            .map(|(event, span)| (event, span.start.line()))
            .map_err(|error| format!("yaml: line {}: {}", error.marker().line(), error.info()))
    });
    let mut tree = Tree { events, anchors: HashMap::new(), nodes: 0 };
    loop {
        match tree.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(None),
            (event, line) => {
                let root = tree.node(event, line, 0)?;
                tree.next()?; // the end of the document, or a fault behind its only value
                return Ok(Some(root));
            }
        }
    }
}

struct Tree<I> {
    events: I,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, usize), String>>> Tree<I> {
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        self.events.next().unwrap_or_else(|| Err("yaml: unexpected end".into()))
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST {
            return Err(format!("yaml: line {line}: more than {MOST} values"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err(format!("yaml: line {line}: values lie too deep within each other"));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let (anchor, kind) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(format!("yaml: line {line}: an anchor within itself"));
                };
                self.count(node.size, line)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let style = match core_tag(tag.as_ref()) {
                    Some("str") => Style::Text,
                    None if style != ScalarStyle::Plain => Style::Text,
                    _ => Style::Plain,
                };
                (anchor, Kind::Scalar(Zeroizing::new(text.into_owned()), style))
            }
            Event::SequenceStart(anchor, _) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, line) => list.push(self.node(event, line, depth + 1)?),
                    }
                }
                (anchor, Kind::List(list))
            }
            Event::MappingStart(anchor, _) => {
                let mut map = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (event, line) => {
                            let key = self.node(event, line, depth + 1)?;
                            let (event, line) = self.next()?;
                            map.push((key, self.node(event, line, depth + 1)?));
                        }
                    }
                }
                (anchor, Kind::Map(map))
            }
            _ => return Err(format!("yaml: line {line}: a value is missing")),
        };
        let node = Node { line, size: self.nodes.saturating_sub(before), kind };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }
}

/// The tag of YAML's own that a value is given, such as `int` for `!!int`.
fn core_tag<'a>(tag: Option<&'a Cow<'_, Tag>>) -> Option<&'a str> {
    tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str())
}

impl Node {
    /// Notes that this is no `what`.
    fn wrong(&self, what: &str, faults: &mut Faults) {
        let is = match &self.kind {
            Kind::List(_) => "!!seq".to_owned(),
            Kind::Map(_) => "!!map".to_owned(),
            Kind::Scalar(..) if what.ends_with("config.Secret") => "!!str".to_owned(),
            Kind::Scalar(text, style) => {
                let tag = if *style == Style::Plain { scalar::tag(text) } else { "str" };
                if text.chars().count() > 10 {
                    let begin: String = text.chars().take(7).collect();
                    format!("!!{tag} `{begin}...`")
                } else {
                    format!("!!{tag} `{}`", text.as_str())
                }
            }
        };
        faults.add(self.line, &format!("cannot unmarshal {is} into {what}"));
    }

    /// Whether this is nothing, which every type takes as its zero.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(text, Style::Plain) if scalar::is_null(text))
    }

    /// The scalar that a plain text stands for.
    fn scalar(&self) -> Option<Scalar> {
        match &self.kind {
            Kind::Scalar(text, Style::Plain) => Some(scalar::resolve(text)),
            Kind::Scalar(..) | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// Any scalar is a text; `what` is Go's name for its type.
    pub(super) fn text(&self, what: &str, faults: &mut Faults) -> Option<Zeroizing<String>> {
        match &self.kind {
            _ if self.is_null() => Some(Zeroizing::default()),
            Kind::Scalar(text, _) => Some(text.clone()),
            Kind::List(_) | Kind::Map(_) => {
                self.wrong(what, faults);
                None
            }
        }
    }

    pub(super) fn boolean(&self, faults: &mut Faults) -> Option<bool> {
        match self.scalar() {
            _ if self.is_null() => Some(false),
            Some(Scalar::Bool(value)) => Some(value),
            _ => {
                self.wrong("bool", faults);
                None
            }
        }
    }

    pub(super) fn integer(&self, faults: &mut Faults) -> Option<i64> {
        match self.scalar() {
            _ if self.is_null() => Some(0),
            Some(Scalar::Number(value)) => Some(value),
            _ => {
                self.wrong("int", faults);
                None
            }
        }
    }

    /// Nanoseconds, from a number of them or from a text such as `1m30s`.
    pub(super) fn duration(&self, faults: &mut Faults) -> Option<i64> {
        let quoted = match &self.kind {
            Kind::Scalar(text, Style::Text) => scalar::duration(text),
            Kind::Scalar(..) | Kind::List(_) | Kind::Map(_) => None,
        };
        match self.scalar() {
            _ if self.is_null() => Some(0),
            Some(Scalar::Number(value)) => Some(value),
            Some(Scalar::Text(Some(nanoseconds))) => Some(nanoseconds),
            _ if quoted.is_some() => quoted,
            _ => {
                self.wrong("time.Duration", faults);
                None
            }
        }
    }

    /// The elements of a list of `what`.
    pub(super) fn list(&self, what: &str, faults: &mut Faults) -> &[Self] {
        match &self.kind {
            _ if self.is_null() => &[],
            Kind::List(list) => list,
            Kind::Scalar(..) | Kind::Map(_) => {
                self.wrong(&format!("[]{what}"), faults);
                &[]
            }
        }
    }

    /// Calls `field` with each key and value; `of` is Go's name for the type, whose keys `field`
    /// knows: it says whether it does. Keys of a `<<` come in its place.
    ///
    /// # Errors
    /// Those of `field`.
    pub(super) fn fields(
        &self,
        of: &str,
        faults: &mut Faults,
        field: &mut dyn FnMut(&str, &Self, &mut Faults) -> Result<bool, String>,
    ) -> Result<(), String> {
        let Kind::Map(map) = &self.kind else {
            if !self.is_null() {
                self.wrong(of, faults);
            }
            return Ok(());
        };
        let mut seen: Vec<Zeroizing<String>> = Vec::new();
        for (key, value) in map {
            if key.is_merge() {
                for merged in value.merged() {
                    merged.fields(of, faults, field)?;
                }
                continue;
            }
            let Some(name) = key.text("string", faults) else { continue };
            if seen.contains(&name) {
                let name = name.as_str();
                faults.add(key.line, &format!("field {name} already set in type {of}"));
                continue;
            }
            if !field(&name, value, faults)? {
                let name = name.as_str();
                faults.add(key.line, &format!("field {name} not found in type {of}"));
            }
            seen.push(name);
        }
        Ok(())
    }

    /// The keys and values of a map of texts; `of` and `value` are Go's names for its type and for
    /// that of its values.
    pub(super) fn texts(
        &self,
        of: &str,
        value: &str,
        faults: &mut Faults,
    ) -> Vec<(String, Zeroizing<String>)> {
        let Kind::Map(map) = &self.kind else {
            if !self.is_null() {
                self.wrong(of, faults);
            }
            return Vec::new();
        };
        let mut texts: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (key, node) in map {
            if key.is_merge() {
                for merged in node.merged() {
                    for (name, text) in merged.texts(of, value, faults) {
                        texts.retain(|(other, _)| *other != name);
                        texts.push((name, text));
                    }
                }
                continue;
            }
            let Some(name) = key.text("string", faults) else { continue };
            let Some(text) = node.text(value, faults) else { continue };
            if texts.iter().any(|(other, _)| *other == *name) {
                faults.add(key.line, &format!("key {:?} already set in map", name.as_str()));
                continue;
            }
            texts.push((name.as_str().to_owned(), text));
        }
        texts
    }

    fn is_merge(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(text, Style::Plain) if text.as_str() == "<<")
    }

    /// The maps that stand behind a `<<`: the first of a list has the last word.
    fn merged(&self) -> impl Iterator<Item = &Self> {
        let (one, many) = match &self.kind {
            Kind::List(list) => (None, list.as_slice()),
            Kind::Scalar(..) | Kind::Map(_) => (Some(self), &[][..]),
        };
        one.into_iter().chain(many.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_ok(text: &str) -> Node {
        load(text).unwrap().unwrap()
    }

    #[test]
    fn faults_are_told_together_with_their_lines() {
        let node = load_ok("a: 1\nb: [x]\n\na: 2\nc: {d: e}\n<<: {a: 3, z: 1}\n");
        let mut faults = Faults::default();
        let mut seen = Vec::new();
        node.fields("T", &mut faults, &mut |name, value, faults| {
            if name == "z" {
                return Ok(false);
            }
            seen.push((name.to_owned(), value.integer(faults)));
            Ok(true)
        })
        .unwrap();
        let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(seen, [("a", Some(1)), ("b", None), ("c", None), ("a", Some(3))]);
        assert_eq!(
            faults.into_result().unwrap_err(),
            "yaml: unmarshal errors:\n  line 2: cannot unmarshal !!seq into int\n  \
             line 4: field a already set in type T\n  line 5: cannot unmarshal !!map into int\n  \
             line 6: field z not found in type T"
        );
    }

    #[test]
    fn a_fault_shows_no_secret_and_little_of_the_rest() {
        for (text, what, said) in [
            ("hunter2hunter2", "map[string]config.Secret", "!!str into map[string]config.Secret"),
            ("hunter2hunter2", "bool", "!!str `hunter2...` into bool"),
            ("'1'", "bool", "!!str `1` into bool"),
            ("1", "bool", "!!int `1` into bool"),
            ("1.5", "bool", "!!float `1.5` into bool"),
            ("2001-01-01", "bool", "!!timestamp `2001-01-01` into bool"),
        ] {
            let mut faults = Faults::default();
            load_ok(text).wrong(what, &mut faults);
            assert_eq!(faults.0, [format!("line 1: cannot unmarshal {said}")], "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        assert!(load(&deep).unwrap_err().contains("too deep"));
        let wide = format!("[{}]", "a,".repeat(MOST));
        assert!(load(&wide).unwrap_err().contains("more than"));
        // Nine lines that stand for a thousand million values.
        let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let of = format!("*a{},", i - 1).repeat(10);
            laughs = format!("{laughs}a{i}: &a{i} [{of}]\n");
        }
        assert!(load(&laughs).unwrap_err().contains("more than"));
        assert!(load("&a [*a]").unwrap_err().contains("within itself"));
    }

    #[test]
    fn only_the_first_document_is_read() {
        for (text, there) in [
            ("", false),
            ("# a\n", false),
            ("---\n", true),
            ("a\n---\nb", true),
            ("\u{feff}a", true),
        ] {
            assert_eq!(load(text).unwrap().is_some(), there, "{text:?}");
        }
        for text in ["a: b: c", "a: [b", "a: \"b", "[*y]", "a\nb: c", "{a"] {
            assert!(load(text).unwrap_err().starts_with("yaml: "), "{text:?}");
        }
    }
}
