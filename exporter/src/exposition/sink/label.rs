//! Label values: appended to a key that orders series, and escaped into their lines.

use std::borrow::Cow;

/// Ends a value in a key. A NUL within a value is written as [`NUL`], which sorts after this end,
/// so that keys compare like lists of values.
const END_OF_VALUE: &str = "\0\0";
const NUL: &str = "\0\u{1}";

/// Types that can be a label's value.
pub trait Label {
    /// Appends the value, unescaped.
    fn append(&self, text: &mut String);
}

impl<T: Label + ?Sized> Label for &T {
    fn append(&self, text: &mut String) {
        (**self).append(text);
    }
}

impl Label for str {
    fn append(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl Label for String {
    fn append(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl Label for Box<str> {
    fn append(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl Label for Cow<'_, str> {
    fn append(&self, text: &mut String) {
        text.push_str(self);
    }
}

/// A name from the kernel need not be UTF-8: each run of invalid bytes becomes one U+FFFD.
impl Label for [u8] {
    fn append(&self, text: &mut String) {
        if let Ok(all) = std::str::from_utf8(self) {
            return text.push_str(all);
        }
        let mut replaced = false;
        for chunk in self.utf8_chunks() {
            text.push_str(chunk.valid());
            replaced &= chunk.valid().is_empty();
            if !chunk.invalid().is_empty() && !replaced {
                text.push(char::REPLACEMENT_CHARACTER);
                replaced = true;
            }
        }
    }
}

impl Label for Vec<u8> {
    fn append(&self, text: &mut String) {
        self.as_slice().append(text);
    }
}

impl Label for Box<[u8]> {
    fn append(&self, text: &mut String) {
        (**self).append(text);
    }
}

/// A text that is shown with one space between its words, and no space around them.
pub struct Spaced<'a>(pub &'a str);

impl Label for Spaced<'_> {
    fn append(&self, text: &mut String) {
        let mut space = "";
        for word in self.0.split_ascii_whitespace() {
            text.push_str(space);
            text.push_str(word);
            space = " ";
        }
    }
}

macro_rules! integer {
    ($($integer:ty)*) => {$(
        impl Label for $integer {
            fn append(&self, text: &mut String) {
                text.push_str(itoa::Buffer::new().format(*self));
            }
        }
    )*};
}
integer!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

/// Appends `value` to `key`, and its escaped form to `text`.
pub(super) fn append_key(key: &mut String, text: &mut String, value: &dyn Label) {
    let begin = key.len();
    value.append(key);
    append_escaped(text, key.get(begin..).unwrap_or_default());
    end_value(key, begin);
}

/// Ends the value that begins there in a key.
fn end_value(key: &mut String, begin: usize) {
    let value = key.get(begin..).unwrap_or_default();
    if memchr::memchr(0, value.as_bytes()).is_some() {
        let escaped = value.replace('\0', NUL);
        key.truncate(begin);
        key.push_str(&escaped);
    }
    key.push_str(END_OF_VALUE);
}

/// Appends to `key` the values of the first `labels` labels of a line, as [`append_key`] does.
pub(super) fn read_key(line: &str, labels: u32, key: &mut String) {
    let mut rest = line;
    for _ in 0..labels {
        // No name has such a character, so this one begins the value.
        let Some((_, value)) = rest.split_once('"') else { return };
        rest = value;
        let begin = key.len();
        while let Some(end) = memchr::memchr2(b'"', b'\\', rest.as_bytes()) {
            let (plain, special) = rest.split_at(end);
            key.push_str(plain);
            let mut chars = special.chars();
            let is_end = chars.next() == Some('"');
            if !is_end {
                key.push(match chars.next() {
                    Some('n') => '\n',
                    Some(escaped) => escaped,
                    None => '\\',
                });
            }
            rest = chars.as_str();
            if is_end {
                break;
            }
        }
        end_value(key, begin);
    }
}

/// Appends `value` in the escaped form that stands between the quotes of a label.
pub(super) fn append_escaped(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(i) = memchr::memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        let (plain, special) = rest.split_at(i);
        text.push_str(plain);
        let mut chars = special.chars();
        text.push_str(match chars.next() {
            Some('\\') => "\\\\",
            Some('"') => "\\\"",
            _ => "\\n",
        });
        rest = chars.as_str();
    }
    text.push_str(rest);
}
