//! The text format 0.0.4, accepted and refused as by node_exporter (`expfmt/text_parse.go` of
//! Prometheus' common library, with names of letters, digits, `_` and `:` only).

mod cursor;
mod family;

pub use family::{Family, Parts};

use crate::{error::Malformed, exposition::Kind};
use cursor::{Cursor, float, unescaped};
use family::Pair;
use hashbrown::HashMap;
use memchr::memchr_iter;
use std::borrow::Cow;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct Refused {
    line: usize,
    wrong: Malformed,
}

/// The part of a histogram or summary that a line has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Point,
    Sum,
    Count,
}

/// Reads a file a few lines at a time; the result does not depend on where the text is cut between
/// lines.
#[derive(Debug, Default)]
pub struct Parser {
    /// The families in the order of their first mention.
    families: Vec<Family>,
    /// The place of each name in `families`.
    names: HashMap<String, usize>,
    /// The number of lines read before.
    lines: usize,
    /// Whether any line has a timestamp.
    pub timestamps: bool,
}

impl Parser {
    /// Reads the next lines. Only the file's last line may lack its end; unless it is blank, the
    /// file is refused for that.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let text = match str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(self.with_odd_comments(bytes)?),
        };
        let mut cursor = Cursor { text: &text, at: 0 };
        let read = self.read(&mut cursor);
        let before = text.as_bytes().get(..cursor.at).unwrap_or_default();
        read.map_err(|wrong| self.refused(before, wrong))?;
        self.lines += ends(before);
        Ok(())
    }

    /// The lines as text: comments may have any bytes, samples may not.
    fn with_odd_comments(&self, bytes: &[u8]) -> Result<String, Refused> {
        let mut text = String::new();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let is_comment = line.trim_start_matches([' ', '\t']).starts_with('#');
            if matches!(line, Cow::Owned(_)) && !is_comment {
                let wrong = Malformed::new("UTF-8", line.trim_end_matches('\n'));
                return Err(self.refused(text.as_bytes(), wrong));
            }
            text.push_str(&line);
        }
        Ok(text)
    }

    fn refused(&self, before: &[u8], wrong: Malformed) -> Refused {
        Refused { line: self.lines + ends(before) + 1, wrong }
    }

    /// The families that have samples.
    pub fn finish(mut self) -> Vec<Family> {
        self.families.retain(|family| !family.is_empty());
        self.families
    }

    fn read(&mut self, at: &mut Cursor<'_>) -> Result<(), Malformed> {
        loop {
            at.skip_blanks();
            let Some(first) = at.rest().bytes().next() else { return Ok(()) };
            match first {
                b'\n' => at.at += 1,
                b'#' => {
                    at.at += 1;
                    self.comment(at)?;
                }
                b'{' => self.sample(at, None)?,
                _ => {
                    let name = at.name(true)?;
                    let of = self.family(at, &name)?;
                    at.skip_blanks();
                    self.sample(at, Some(of))?;
                }
            }
        }
    }

    /// Reads the rest of a line after a `#`.
    fn comment(&mut self, at: &mut Cursor<'_>) -> Result<(), Malformed> {
        at.skip_blanks();
        let keyword = at.word()?;
        if at.peek()? == b'\n' || !matches!(keyword, "HELP" | "TYPE") {
            return at.line().map(drop);
        }
        at.skip_blanks();
        let begin = at.seen();
        let name = at.name(true)?;
        match at.peek()? {
            b'\n' => return at.line().map(drop),
            b' ' | b'\t' => {}
            _ => return Err(Malformed::new("metric name in a comment", begin)),
        }
        let (i, _) = self.family(at, &name)?;
        at.skip_blanks();
        if at.peek()? == b'\n' {
            return at.line().map(drop);
        }
        let text = at.line()?;
        let Some(family) = self.families.get_mut(i) else { return Ok(()) };
        let done = if keyword == "HELP" { help(family, text) } else { kind(family, text) };
        if done.is_err() {
            at.at -= 1; // back to the end of the wrong line
        }
        done
    }

    /// The family that lines of this name belong to, made where it is new, and the part that they
    /// give.
    fn family(&mut self, at: &Cursor<'_>, name: &str) -> Result<(usize, Part), Malformed> {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let seen = if name.is_empty() { at.seen() } else { name };
            return Err(Malformed::new("metric name", seen));
        }
        if let Some(&i) = self.names.get(name) {
            return Ok((i, Part::Point));
        }
        for (suffix, part) in
            [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Point)]
        {
            let base = name.strip_suffix(suffix).filter(|base| !base.is_empty());
            if let Some(&i) = base.and_then(|base| self.names.get(base)) {
                match self.families.get(i).and_then(|family| family.given) {
                    Some(Kind::Histogram) => return Ok((i, part)),
                    Some(Kind::Summary) if part != Part::Point => return Ok((i, part)),
                    _ => {}
                }
            }
        }
        let i = self.families.len();
        self.families.push(Family::new(name));
        self.names.insert(name.to_owned(), i);
        Ok((i, Part::Point))
    }

    /// Reads the rest of a sample's line, from its labels on; where `of` is `None`, the name stands
    /// among the labels.
    fn sample(
        &mut self,
        at: &mut Cursor<'_>,
        mut of: Option<(usize, Part)>,
    ) -> Result<(), Malformed> {
        let begin = at.seen();
        let mut labels = Vec::new();
        if at.peek()? == b'{' {
            at.at += 1;
            self.labels(at, &mut labels, &mut of)?;
            at.skip_blanks();
        }
        let (i, part) = of.ok_or_else(|| Malformed::new("metric name", begin))?;
        let kind = self.families.get(i).map_or(Kind::Untyped, Family::kind);
        let bound = bound(kind, &mut labels)?;
        labels.sort_unstable();
        if labels.windows(2).any(|two| matches!(two, [(a, _), (b, _)] if a == b)) {
            return Err(Malformed::new("labels, two of one name", begin));
        }
        let (word, value) = at.value()?;
        let is_count = bound.is_some() || part == Part::Count;
        if kind == Kind::Histogram && value < 0.0 && is_count {
            return Err(Malformed::new("count of a histogram, negative", word));
        }
        self.timestamps |= at.timestamp()?;
        let Some(family) = self.families.get_mut(i) else { return Ok(()) };
        if !matches!(kind, Kind::Histogram | Kind::Summary) {
            family.push(&labels, value);
            return Ok(());
        }
        if let Some(parts) = family.parts(labels) {
            match part {
                Part::Count => parts.count = value,
                Part::Sum => parts.sum = value,
                Part::Point => parts.points.extend(bound.map(|bound| (bound, value))),
            }
        }
        Ok(())
    }

    /// Reads the labels, up to and with the closing brace.
    fn labels(
        &mut self,
        at: &mut Cursor<'_>,
        labels: &mut Vec<Pair>,
        of: &mut Option<(usize, Part)>,
    ) -> Result<(), Malformed> {
        let name_within = of.is_none();
        loop {
            at.skip_blanks();
            if at.peek()? == b'}' {
                at.at += 1;
                return Ok(());
            }
            let begin = at.seen();
            let name = at.name(false)?;
            if name.is_empty() {
                return Err(Malformed::new("label name", begin));
            }
            at.skip_blanks();
            match at.peek()? {
                b'=' => {
                    at.at += 1;
                    // Names that begin with two underscores are reserved for Prometheus: upstream
                    // panics.
                    if name.contains(':')
                        || name.starts_with("__")
                        || name.starts_with(|c: char| c.is_ascii_digit())
                    {
                        return Err(Malformed::new("label name", &name));
                    }
                    let value = at.label_value()?;
                    labels.push((name, value));
                    at.skip_blanks();
                }
                b',' | b'}' if name_within && of.is_none() => *of = Some(self.family(at, &name)?),
                b',' | b'}' if name_within => {
                    return Err(Malformed::new("sample, with two metric names", begin));
                }
                _ => return Err(Malformed::new("label without =", begin)),
            }
            match at.peek()? {
                b',' => at.at += 1,
                b'}' => {}
                _ => return Err(Malformed::new("end of label value", at.seen())),
            }
        }
    }
}

/// The number of line ends in `bytes`.
fn ends(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

/// Takes the text of a HELP line.
fn help(family: &mut Family, text: &str) -> Result<(), Malformed> {
    if family.help.is_some() {
        return Err(Malformed::new("second HELP line", &family.name));
    }
    family.help = Some(unescaped(text).ok_or_else(|| Malformed::new("escape", text))?);
    Ok(())
}

/// Takes the type of a TYPE line, in upper or lower case. (Upstream ignores backslashes.)
fn kind(family: &mut Family, text: &str) -> Result<(), Malformed> {
    if family.given.is_some() || !family.is_empty() {
        return Err(Malformed::new("TYPE line, second or after samples", &family.name));
    }
    let plain = text.replace('\\', "");
    family.given = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped]
        .into_iter()
        .find(|kind| plain.eq_ignore_ascii_case(kind.name()));
    // The samples of a gauge histogram are exposed one by one, untyped.
    let is_known = family.given.is_some() || is_gauge_histogram(&plain);
    if is_known { Ok(()) } else { Err(Malformed::new("metric type", text)) }
}

/// Whether a type is a gauge histogram, which this text format does not have.
fn is_gauge_histogram(kind: &str) -> bool {
    ["gauge_histogram", "gaugehistogram"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Takes the bound of a bucket or the quantile of a summary from the labels. NaN counts as absent.
fn bound(kind: Kind, labels: &mut Vec<Pair>) -> Result<Option<f64>, Malformed> {
    let special = match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        _ => return Ok(None),
    };
    let mut bound = None;
    let mut wrong = None;
    labels.retain(|(name, value)| {
        let is_special = name == special;
        if is_special {
            match float(value) {
                Some(number) => bound = Some(number),
                None => wrong = Some(Malformed::new("le or quantile", value)),
            }
        }
        !is_special
    });
    wrong.map_or(Ok(bound.filter(|bound| !bound.is_nan())), Err)
}

#[cfg(test)]
mod tests;
