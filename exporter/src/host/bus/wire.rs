//! Messages of D-Bus: how a call is written and an answer read (the D-Bus Specification, "Message
//! Protocol").
//!
//! Every value is padded to a multiple of its size from the beginning of the message. Nothing that
//! a message says is believed before there are bytes for it.

use super::Object;

/// The bytes with which every message begins, and which tell how long it is.
pub(super) const HEAD: usize = 16;

/// No message may be longer than this, in bytes: the list of 50,000 units.
const LONGEST: usize = 16 << 20;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

const SHORT: Malformed = Malformed("a message is cut short");

impl Malformed {
    /// A line that does not end.
    pub(super) const ENDLESS: Self = Self("a line without an end");
}

/// The part of a message in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    Refusal,
    /// A signal, a call, or a type of a later version.
    Other,
}

/// The types of messages and of the fields in their heads.
mod code {
    pub(super) const CALL: u8 = 1;
    pub(super) const ANSWER: u8 = 2;
    pub(super) const REFUSAL: u8 = 3;
    pub(super) const NO_AUTO_START: u8 = 2;
    pub(super) const VERSION: u8 = 1;
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

/// Appends a call whose arguments are texts, and which starts no service that is not running.
pub(super) fn append_call(
    out: &mut Vec<u8>,
    serial: u32,
    object: &Object<'_>,
    member: &str,
    arguments: &[&str],
) {
    let begin = out.len();
    out.extend([b'l', code::CALL, code::NO_AUTO_START, code::VERSION, 0, 0, 0, 0]);
    out.extend(serial.to_le_bytes());
    out.extend([0; 4]);
    let fields = [
        (code::PATH, b'o', object.path),
        (code::DESTINATION, b's', object.service),
        (code::INTERFACE, b's', object.interface),
        (code::MEMBER, b's', member),
    ];
    for (code, kind, text) in fields {
        pad(out, begin, 8);
        out.extend([code, 1, kind, 0]);
        append_text(out, begin, text);
    }
    if !arguments.is_empty() {
        pad(out, begin, 8);
        out.extend([code::SIGNATURE, 1, b'g', 0]);
        out.push(u8::try_from(arguments.len()).unwrap_or_default());
        out.extend(arguments.iter().map(|_| b's'));
        out.push(0);
    }
    let fields = out.len() - begin - HEAD;
    pad(out, begin, 8);
    let body = out.len();
    for text in arguments {
        append_text(out, begin, text);
    }
    let body = out.len() - body;
    for (at, length) in [(4, body), (12, fields)] {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(begin + at..begin + at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

fn append_text(out: &mut Vec<u8>, begin: usize, text: &str) {
    pad(out, begin, 4);
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

fn pad(out: &mut Vec<u8>, begin: usize, to: usize) {
    out.resize(begin + (out.len() - begin).next_multiple_of(to), 0);
}

/// The length of the message that begins with these bytes.
pub(super) fn length(head: &[u8; HEAD]) -> Result<usize, Malformed> {
    let mut row = Row::new(head)?;
    row.at = 4;
    let body = row.number()? as usize;
    row.at = 12;
    let fields = row.number()? as usize;
    if body > LONGEST || fields > LONGEST {
        return Err(Malformed("a message is too long"));
    }
    Ok((HEAD + fields).next_multiple_of(8) + body)
}

/// A message that was received.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    /// The serial number of the call that it answers.
    pub(super) answers: Option<u32>,
    /// The error's name; empty for all that is no refusal.
    pub(super) error: &'a str,
    /// The types of the values in the body.
    pub(super) signature: &'a str,
    /// The body.
    pub(super) body: Row<'a>,
}

impl<'a> Message<'a> {
    /// Reads a whole message.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut row = Row::new(bytes)?;
        let kind = match bytes.get(1) {
            Some(&code::ANSWER) => Kind::Answer,
            Some(&code::REFUSAL) => Kind::Refusal,
            _ => Kind::Other,
        };
        row.at = 12;
        let mut fields = row.array(8)?;
        let (mut answers, mut error, mut signature) = (None, "", "");
        while !fields.is_empty() {
            fields.pad(8)?;
            let code = fields.byte()?;
            match (code, fields.value()?) {
                (code::REPLY_SERIAL, Value::Number(serial)) => answers = u32::try_from(serial).ok(),
                (code::ERROR_NAME, Value::Text(name)) => error = name,
                (code::SIGNATURE, Value::Text(text)) => signature = text,
                (_, Value::Other(_)) => return Err(Malformed("a field of an unknown type")),
                _ => {}
            }
        }
        row.pad(8)?;
        Ok(Self { kind, answers, error, signature, body: row })
    }
}

/// A value of a type that says itself which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
    /// Of this type, which nobody here asks for. It is not read.
    Other(&'a str),
}

/// Values one after the other.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The message, up to the end of the values.
    bytes: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

impl<'a> Row<'a> {
    fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        let is_big_endian = match message {
            [b'l', _, _, code::VERSION, ..] => false,
            [b'B', _, _, code::VERSION, ..] => true,
            [_, _, _, _, ..] => return Err(Malformed("bytes that are no message")),
            _ => return Err(SHORT),
        };
        Ok(Self { bytes: message, at: 0, is_big_endian })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    fn pad(&mut self, to: usize) -> Result<(), Malformed> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.take(padding).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1)?.first().copied().ok_or(SHORT)
    }

    /// The next value, a number of 32 bits.
    ///
    /// # Errors
    /// There is none.
    pub fn number(&mut self) -> Result<u32, Malformed> {
        self.pad(4)?;
        let bytes = self.take(4)?.try_into().map_err(|_| SHORT)?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The next value, a number of 64 bits.
    ///
    /// # Errors
    /// There is none.
    pub fn long(&mut self) -> Result<u64, Malformed> {
        self.pad(8)?;
        let bytes = self.take(8)?.try_into().map_err(|_| SHORT)?;
        Ok(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// The next value, a text or a path.
    ///
    /// # Errors
    /// There is none.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.number()?;
        self.text_of(length as usize)
    }

    fn signature(&mut self) -> Result<&'a str, Malformed> {
        let length = self.byte()?;
        self.text_of(length.into())
    }

    fn text_of(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let text = self.take(length)?;
        if self.byte()? != 0 {
            return Err(Malformed("a text does not end where it should"));
        }
        std::str::from_utf8(text).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// The elements of the next value, an array; each is padded to a multiple of `to`.
    pub(super) fn array(&mut self, to: usize) -> Result<Self, Malformed> {
        let length = self.number()? as usize;
        self.pad(to)?;
        let begin = self.at;
        self.take(length)?;
        let bytes = self.bytes.get(..self.at).ok_or(SHORT)?;
        Ok(Self { bytes, at: begin, ..*self })
    }

    /// Gives each structure of the next value, an array of them, to `each`, which reads all that
    /// it has.
    pub(super) fn structures(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut rows = self.array(8)?;
        while !rows.is_empty() {
            let begin = rows.at;
            rows.pad(8)?;
            each(&mut rows)?;
            debug_assert!(rows.at > begin, "a structure that nobody reads has no end");
        }
        Ok(())
    }

    /// The next values, texts or paths.
    ///
    /// # Errors
    /// There are fewer.
    pub fn texts<const N: usize>(&mut self) -> Result<[&'a str; N], Malformed> {
        let mut texts = [""; N];
        for text in &mut texts {
            *text = self.text()?;
        }
        Ok(texts)
    }

    /// The next value, which is of any type.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        Ok(match self.signature()? {
            "s" | "o" => Value::Text(self.text()?),
            "g" => Value::Text(self.signature()?),
            "u" => Value::Number(self.number()?.into()),
            "t" => Value::Number(self.long()?),
            "b" => Value::Flag(self.number()? != 0),
            other => Value::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of systemd 257, as `busctl capture` recorded them: the type of a service, the seats
    /// and a refusal.
    const TYPE: &[u8] = b"l\x02\x01\x01\x10\0\0\0\x9d\x05\0\0-\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x05\0\0\0:1.97\0\0\0\x08\x01g\0\x01v\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0\x01s\0\0\x07\0\0\0oneshot\0";
    const SEATS: &[u8] = b"l\x02\x01\x01;\0\0\0,\0\0\x005\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x06\0\0\0:1.881\0\0\x08\x01g\0\x05a(so)\0\0\0\0\0\0\x07\x01s\0\x04\0\0\0:1.1\0\0\0\x003\0\0\0\0\0\0\0\x05\0\0\0seat0\0\0\0\"\0\0\0/org/freedesktop/login1/seat/seat0\0";
    const REFUSAL: &[u8] = b"l\x03\x01\x01/\0\0\0C\0\0\0e\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x06\0\0\0:1.904\0\0\x04\x01s\0(\0\0\0org.freedesktop.DBus.Error.UnknownObject\0\0\0\0\0\0\0\0\x08\x01g\0\x01s\0\0\x07\x01s\0\x04\0\0\0:1.1\0\0\0\0*\0\0\0Unknown object '/org/freedesktop/nothing'.\0";

    fn seats(message: &[u8]) -> Result<Vec<[&str; 2]>, Malformed> {
        let mut seats = Vec::new();
        Message::read(message)?.body.structures(|row| {
            seats.push(row.texts()?);
            Ok(())
        })?;
        Ok(seats)
    }

    #[test]
    fn what_systemd_answered_is_read() {
        for message in [TYPE, SEATS, REFUSAL] {
            let head = message.first_chunk().unwrap();
            assert_eq!(length(head), Ok(message.len()));
            assert_eq!(Message::read(message).unwrap().answers, Some(2));
        }
        let mut message = Message::read(TYPE).unwrap();
        assert_eq!((message.kind, message.signature, message.error), (Kind::Answer, "v", ""));
        assert_eq!(message.body.value(), Ok(Value::Text("oneshot")));
        assert!(message.body.is_empty());
        assert_eq!(seats(SEATS), Ok(vec![["seat0", "/org/freedesktop/login1/seat/seat0"]]));
        let message = Message::read(REFUSAL).unwrap();
        assert_eq!(message.kind, Kind::Refusal);
        assert_eq!(message.error, "org.freedesktop.DBus.Error.UnknownObject");
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_malformed() {
        for end in 0..TYPE.len() {
            let read = Message::read(&TYPE[..end]).and_then(|mut message| message.body.value());
            assert!(read.is_err(), "{end}");
        }
        for end in 0..SEATS.len() {
            assert!(seats(&SEATS[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn any_byte_may_be_wrong() {
        for message in [TYPE, SEATS, REFUSAL] {
            for place in 0..message.len() {
                for byte in [0, 1, 0x7f, 0xff] {
                    let mut spoiled = message.to_vec();
                    spoiled[place] = byte;
                    let _ = length(spoiled.first_chunk().unwrap());
                    let _ = seats(&spoiled);
                    let _ = Message::read(&spoiled).map(|mut message| message.body.value());
                }
            }
        }
        let endless = *b"l\x02\x01\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
        assert_eq!(length(&endless), Err(Malformed("a message is too long")));
    }

    #[test]
    fn numbers_may_be_big_endian() {
        let message = b"B\x02\0\x01\0\0\0\x10\0\0\0\x09\0\0\0\x0f\x05\x01u\0\0\0\0\x07\x08\x01g\0\x01v\0\0\x01t\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02";
        assert_eq!(length(message.first_chunk().unwrap()), Ok(message.len()));
        let mut read = Message::read(message).unwrap();
        assert_eq!(read.answers, Some(7));
        assert_eq!(read.body.value(), Ok(Value::Number(0x102)));
    }

    #[test]
    fn a_call_is_written_as_the_specification_says() {
        let object = Object { service: "a.b", path: "/p", interface: "c.d" };
        let mut call = Vec::new();
        append_call(&mut call, 3, &object, "Get", &["x", "yz"]);
        let want = b"l\x01\x02\x01\x0f\0\0\0\x03\0\0\0H\0\0\0\
            \x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0\
            \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
            \x02\x01s\0\x03\0\0\0c.d\0\0\0\0\0\
            \x03\x01s\0\x03\0\0\0Get\0\0\0\0\0\
            \x08\x01g\0\x02ss\0\
            \x01\0\0\0x\0\0\0\x02\0\0\0yz\0";
        assert_eq!(call.escape_ascii().to_string(), want.escape_ascii().to_string());
        call.clear();
        append_call(&mut call, 3, &object, "List", &[]);
        assert_eq!(call.len() % 8, 0);
        assert_eq!(length(call.first_chunk().unwrap()), Ok(call.len()));
    }
}
