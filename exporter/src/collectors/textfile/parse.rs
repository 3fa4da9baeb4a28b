//! The text format 0.0.4, accepted and refused as by node_exporter (`expfmt/text_parse.go` of
//! Prometheus' common library, with names of letters, digits, `_` and `:` only).

use crate::{error::Malformed, exposition::Kind};
use hashbrown::HashMap;
use memchr::{memchr, memchr2, memchr3};

/// A label's name and value.
pub type Pair = (String, String);

/// The samples of one name in a file.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub help: Option<String>,
    pub kind: Option<Kind>,
    pub samples: Vec<Sample>,
    /// Where the histogram or summary with these labels is in `samples`.
    index: HashMap<Vec<Pair>, usize>,
}

impl Family {
    /// The type; untyped where no line of the file gives one.
    pub fn kind(&self) -> Kind {
        self.kind.unwrap_or(Kind::Untyped)
    }
}

/// One line, or the lines of one histogram or summary.
#[derive(Debug, Default)]
pub struct Sample {
    /// In the order of their names, without `le` and `quantile`.
    pub labels: Vec<Pair>,
    pub value: f64,
    /// Values by bound or quantile, as in the file.
    pub points: Vec<(f64, f64)>,
    pub sum: f64,
    pub count: f64,
}

/// The families of a whole file.
#[derive(Debug, Default)]
pub struct Content {
    /// In the order of their first mention, each with samples.
    pub families: Vec<Family>,
    /// Whether any line has a timestamp.
    pub timestamps: bool,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct Refused {
    line: usize,
    wrong: Malformed,
}

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Content, Refused> {
    let mut parser = Parser { text, at: 0, content: Content::default(), names: HashMap::new() };
    match parser.lines() {
        Ok(()) => {
            let mut content = parser.content;
            content.families.retain(|family| !family.samples.is_empty());
            Ok(content)
        }
        Err(wrong) => {
            let before = text.as_bytes().iter().take(parser.at);
            Err(Refused { line: 1 + before.filter(|&&byte| byte == b'\n').count(), wrong })
        }
    }
}

/// The part of a histogram or summary that a line has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Point,
    Sum,
    Count,
}

struct Parser<'a> {
    text: &'a str,
    /// Always at a character's begin.
    at: usize,
    content: Content,
    /// Where families are in `content`.
    names: HashMap<String, usize>,
}

impl<'a> Parser<'a> {
    fn lines(&mut self) -> Result<(), Malformed> {
        loop {
            self.skip_blanks();
            let Some(first) = self.rest().bytes().next() else { return Ok(()) };
            match first {
                b'\n' => self.at += 1,
                b'#' => {
                    self.at += 1;
                    self.comment()?;
                }
                b'{' => self.sample(None)?,
                _ => {
                    let name = self.name(true)?;
                    let of = self.family(&name)?;
                    self.skip_blanks();
                    self.sample(Some(of))?;
                }
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The byte that comes next. Only what precedes a line may be the file's end.
    fn peek(&self) -> Result<u8, Malformed> {
        self.rest().bytes().next().ok_or_else(|| self.ended())
    }

    /// What comes next, up to the end of the line.
    fn seen(&self) -> &'a str {
        self.rest().lines().next().unwrap_or_default()
    }

    fn ended(&self) -> Malformed {
        Malformed::new(
            "last line, which has no end",
            self.text.lines().next_back().unwrap_or_default(),
        )
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().bytes().take_while(|byte| b" \t".contains(byte)).count();
    }

    /// What comes before `end`, a place in the rest; passes it.
    fn take(&mut self, end: Option<usize>) -> Result<&'a str, Malformed> {
        let token = end.and_then(|end| self.rest().get(..end)).ok_or_else(|| self.ended())?;
        self.at += token.len();
        Ok(token)
    }

    fn word(&mut self) -> Result<&'a str, Malformed> {
        self.take(memchr3(b' ', b'\t', b'\n', self.rest().as_bytes()))
    }

    /// The rest of the line; passes its end.
    fn line(&mut self) -> Result<&'a str, Malformed> {
        let line = self.take(memchr(b'\n', self.rest().as_bytes()))?;
        self.at += 1;
        Ok(line)
    }

    /// A name, which may be quoted in whole or in part; empty where no name begins.
    fn name(&mut self, colon: bool) -> Result<String, Malformed> {
        let begin = self.rest();
        let wrong = || Malformed::new("name", begin.lines().next().unwrap_or_default());
        let mut name = String::new();
        let mut quoted = false;
        let starts = |byte: u8| {
            byte.is_ascii_alphabetic() || b"_\"".contains(&byte) || (colon && byte == b':')
        };
        if !starts(self.peek()?) {
            return Ok(name);
        }
        loop {
            match self.peek()? {
                b'"' => {
                    quoted = !quoted;
                    if !quoted {
                        self.at += 1;
                        return Ok(name);
                    }
                }
                // Within quotes all else would be part of the name, then refused for it.
                byte if byte.is_ascii_alphanumeric() || b"_:".contains(&byte) => {
                    name.push(char::from(byte));
                }
                _ => return Err(wrong()),
            }
            self.at += 1;
            let next = self.peek()?;
            if !quoted && !starts(next) && !next.is_ascii_digit() {
                return Ok(name);
            }
        }
    }

    /// Everything after a `#`.
    fn comment(&mut self) -> Result<(), Malformed> {
        self.skip_blanks();
        let keyword = self.word()?;
        if self.peek()? == b'\n' || !matches!(keyword, "HELP" | "TYPE") {
            return self.line().map(drop);
        }
        self.skip_blanks();
        let begin = self.seen();
        let name = self.name(true)?;
        match self.peek()? {
            b'\n' => return self.line().map(drop),
            b' ' | b'\t' => {}
            _ => return Err(Malformed::new("metric name in a comment", begin)),
        }
        let (i, _) = self.family(&name)?;
        self.skip_blanks();
        if self.peek()? == b'\n' {
            return self.line().map(drop);
        }
        let text = self.line()?;
        let Some(family) = self.content.families.get_mut(i) else { return Ok(()) };
        let wrong = match keyword {
            "HELP" if family.help.is_none() => {
                family.help = Some(unescaped(text).ok_or_else(|| Malformed::new("escape", text))?);
                None
            }
            "HELP" => Some("second HELP line"),
            _ if family.kind.is_some() || !family.samples.is_empty() => {
                Some("TYPE line, second or after samples")
            }
            // The numbers of a gauge histogram are exposed as they are, one by one.
            _ if is_gauge_histogram(text) => None,
            _ => {
                family.kind = kind(text);
                family.kind.is_none().then_some("metric type")
            }
        };
        match wrong {
            Some(what) => {
                self.at -= 1; // back to the line that is wrong
                Err(Malformed::new(what, if what == "metric type" { text } else { &name }))
            }
            None => Ok(()),
        }
    }

    /// The family that lines of this name belong to, made if need be, and as what part.
    fn family(&mut self, name: &str) -> Result<(usize, Part), Malformed> {
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Malformed::new(
                "metric name",
                if name.is_empty() { self.seen() } else { name },
            ));
        }
        if let Some(&i) = self.names.get(name) {
            return Ok((i, Part::Point));
        }
        for (suffix, part) in
            [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Point)]
        {
            let base = name.strip_suffix(suffix).filter(|base| !base.is_empty());
            if let Some(&i) = base.and_then(|base| self.names.get(base)) {
                match self.content.families.get(i).and_then(|family| family.kind) {
                    Some(Kind::Histogram) => return Ok((i, part)),
                    Some(Kind::Summary) if part != Part::Point => return Ok((i, part)),
                    _ => {}
                }
            }
        }
        let i = self.content.families.len();
        self.content.families.push(Family {
            name: name.to_owned(),
            help: None,
            kind: None,
            samples: Vec::new(),
            index: HashMap::new(),
        });
        self.names.insert(name.to_owned(), i);
        Ok((i, Part::Point))
    }

    /// The rest of a sample's line, from its labels on; where `of` is `None`, the name is among
    /// them.
    fn sample(&mut self, mut of: Option<(usize, Part)>) -> Result<(), Malformed> {
        let begin = self.seen();
        let mut labels = Vec::new();
        if self.peek()? == b'{' {
            self.at += 1;
            self.labels(&mut labels, &mut of)?;
            self.skip_blanks();
        }
        let (i, part) = of.ok_or_else(|| Malformed::new("metric name", begin))?;
        let kind = self.content.families.get(i).map_or(Kind::Untyped, Family::kind);
        let special = match kind {
            Kind::Histogram => Some("le"),
            Kind::Summary => Some("quantile"),
            _ => None,
        };
        let mut point = f64::NAN;
        let mut wrong = None;
        labels.retain(|(name, value): &Pair| {
            let is_special = Some(name.as_str()) == special;
            if is_special {
                match float(value) {
                    Some(bound) => point = bound,
                    None => wrong = Some(Malformed::new("le or quantile", value)),
                }
            }
            !is_special
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        labels.sort_unstable();
        if labels.windows(2).any(|two| matches!(two, [(a, _), (b, _)] if a == b)) {
            return Err(Malformed::new("labels, two of one name", begin));
        }
        let word = self.word()?;
        let value = float(word).ok_or_else(|| Malformed::new("value", word))?;
        let is_bucket = part == Part::Point && !point.is_nan();
        if kind == Kind::Histogram && value < 0.0 && (is_bucket || part == Part::Count) {
            return Err(Malformed::new("count of a histogram, negative", word));
        }
        if self.peek()? != b'\n' {
            self.skip_blanks();
            let word = self.word()?;
            word.parse::<i64>().map_err(|_| Malformed::new("timestamp", word))?;
            self.content.timestamps = true;
            if self.peek()? != b'\n' {
                return Err(Malformed::new("end of line", self.seen()));
            }
        }
        self.at += 1;
        let Some(family) = self.content.families.get_mut(i) else { return Ok(()) };
        if special.is_none() {
            family.samples.push(Sample { labels, value, ..Sample::default() });
            return Ok(());
        }
        let next = family.samples.len();
        let at = *family.index.entry_ref(&labels).or_insert(next);
        if at == next {
            family.samples.push(Sample { labels, ..Sample::default() });
        }
        if let Some(sample) = family.samples.get_mut(at) {
            match part {
                Part::Count => sample.count = value,
                Part::Sum => sample.sum = value,
                Part::Point if point.is_nan() => {}
                Part::Point => sample.points.push((point, value)),
            }
        }
        Ok(())
    }

    /// Labels up to and with the closing brace.
    fn labels(
        &mut self,
        labels: &mut Vec<Pair>,
        of: &mut Option<(usize, Part)>,
    ) -> Result<(), Malformed> {
        let name_within = of.is_none();
        loop {
            self.skip_blanks();
            if self.peek()? == b'}' {
                self.at += 1;
                return Ok(());
            }
            let begin = self.seen();
            let name = self.name(false)?;
            if name.is_empty() {
                return Err(Malformed::new("label name", begin));
            }
            self.skip_blanks();
            match self.peek()? {
                b'=' => {
                    self.at += 1;
                    // Names that begin with two underscores are Prometheus' own: upstream panics.
                    if name.contains(':')
                        || name.starts_with("__")
                        || name.starts_with(|c: char| c.is_ascii_digit())
                    {
                        return Err(Malformed::new("label name", &name));
                    }
                    let value = self.label_value()?;
                    labels.push((name, value));
                    self.skip_blanks();
                }
                b',' | b'}' if name_within && of.is_none() => *of = Some(self.family(&name)?),
                b',' | b'}' if name_within => {
                    return Err(Malformed::new("sample, with two metric names", begin));
                }
                _ => return Err(Malformed::new("label without =", begin)),
            }
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {}
                _ => return Err(Malformed::new("end of label value", self.seen())),
            }
        }
    }

    fn label_value(&mut self) -> Result<String, Malformed> {
        self.skip_blanks();
        if self.peek()? != b'"' {
            return Err(Malformed::new("label value, not in quotes", self.seen()));
        }
        self.at += 1;
        let begin = self.seen();
        let mut value = String::new();
        loop {
            value.push_str(self.take(memchr3(b'"', b'\\', b'\n', self.rest().as_bytes()))?);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(value);
                }
                b'\\' => {
                    self.at += 1;
                    value
                        .push(escape(self.peek()?).ok_or_else(|| Malformed::new("escape", begin))?);
                    self.at += 1;
                }
                _ => return Err(Malformed::new("label value, with a line's end", begin)),
            }
        }
    }
}

/// The character that `\` and this byte stand for.
const fn escape(byte: u8) -> Option<char> {
    match byte {
        b'\\' => Some('\\'),
        b'"' => Some('"'),
        b'n' => Some('\n'),
        _ => None,
    }
}

/// A help text; none where an escape is wrong.
fn unescaped(mut text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    while let Some((before, after)) = text.split_once('\\') {
        plain.push_str(before);
        plain.push(escape(after.bytes().next()?)?);
        text = after.get(1..)?;
    }
    plain.push_str(text);
    Some(plain)
}

/// A type, in letters of either case. (Upstream passes over backslashes.)
fn kind(text: &str) -> Option<Kind> {
    let text = text.replace('\\', "");
    [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Untyped]
        .into_iter()
        .find(|kind| text.eq_ignore_ascii_case(kind.name()))
}

/// A type that the exposition has no lines for.
fn is_gauge_histogram(text: &str) -> bool {
    ["gauge_histogram", "gaugehistogram"].iter().any(|kind| text.eq_ignore_ascii_case(kind))
}

/// A number as Go reads it, without hexadecimal exponents and underscores. A number that is too
/// large for a float64 is wrong, and NaN has no sign.
fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let named = memchr2(b'n', b'N', text.as_bytes()).is_some();
    let right = if value.is_nan() { text.len() == 3 } else { value.is_finite() || named };
    right.then_some(value)
}

#[cfg(test)]
mod tests;
