//! `/proc/net/dev`: two lines of heads, then a line for each interface, the name first.

use crate::prelude::*;

/// The counters of one interface.
pub(super) type Columns = [u64; 16];

/// Gives `each` the name and the columns of each interface in it.
pub(super) fn each_line(
    text: &[u8],
    mut each: impl FnMut(&[u8], &Columns),
) -> Result<(), Malformed> {
    for line in text.split(|&byte| byte == b'\n').skip(2).filter(|line| !line.is_empty()) {
        let wrong = |what| Malformed::new(what, &String::from_utf8_lossy(line));
        // A name may have colons itself.
        let colon = memchr::memrchr(b':', line).ok_or_else(|| wrong("interface"))?;
        let (name, rest) = line.split_at_checked(colon).ok_or_else(|| wrong("interface"))?;
        let name = name.trim_ascii();
        if name.is_empty() {
            return Err(wrong("interface"));
        }
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let rest = std::str::from_utf8(rest).map_err(|_| wrong("counters"))?;
        let mut words = rest.split_ascii_whitespace();
        let mut columns = [0; 16];
        for column in &mut columns {
            *column = words.number("counter")?;
        }
        each(name, &columns);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    const HEAD: &str = "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n";

    fn read(text: &[u8]) -> Result<Vec<(Vec<u8>, [u64; 16])>, Malformed> {
        let mut seen = Vec::new();
        each_line(text, |name, words| seen.push((name.to_vec(), *words)))?;
        Ok(seen)
    }

    #[test]
    fn names_are_what_is_before_the_last_colon() {
        let mut text = HEAD.as_bytes().to_vec();
        text.extend(b" e\xff:1:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n");
        let words = [u64::MAX, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(read(&text), Ok(vec![(b"e\xff:1".to_vec(), words)]));
        assert_eq!(read(b""), Ok(vec![]));
        assert_eq!(read(HEAD.as_bytes()), Ok(vec![]));
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        let read = |line: &[u8]| malformed(read(&[HEAD.as_bytes(), line].concat()));
        assert_eq!(read(b"eth0 1 2"), "bad interface: \"eth0 1 2\"");
        assert_eq!(read(b"  : 1 2"), "bad interface: \"  : 1 2\"");
        assert_eq!(read(b"eth0: 1 2"), "bad counter: \"\"");
        assert_eq!(read(b"eth0: 1 -2"), "bad counter: \"-2\"");
        assert_eq!(read(b"eth0: \xff"), "bad counters: \"eth0: \u{fffd}\"");
    }
}
