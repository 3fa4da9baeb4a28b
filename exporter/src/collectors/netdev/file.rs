//! `/proc/net/dev`: two lines of heads, then a line for each interface, the name first.

use crate::prelude::*;

/// The counters of one interface; a malformed counter is `None`.
pub(super) type Columns = [Option<f64>; 16];

/// Gives `each` the name and the columns of every `wanted` interface in the text.
pub(super) fn each_line(
    text: &[u8],
    wanted: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(&[u8], &Columns),
) -> Result<(), Malformed> {
    let mut faults = Faults::default();
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')).skip(2) {
        if line.is_empty() {
            continue;
        }
        let parsed = match split(line) {
            Ok((name, counters)) if wanted(name) => {
                let mut columns = [None; 16];
                let parsed = parse(counters, &mut columns);
                each(name, &columns);
                parsed
            }
            split => split.map(drop),
        };
        faults.keep(parsed.map_err(|malformed| malformed.in_line(number)));
    }
    faults.end()
}

/// Name and counters.
fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    // A name may have colons itself.
    let colon = memchr::memrchr(b':', line);
    let split = colon.and_then(|colon| line.split_at_checked(colon));
    (split.map(|(name, counters)| (name.trim_ascii(), counters)))
        .and_then(|(name, counters)| Some((name, counters.strip_prefix(b":")?)))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Malformed::new("interface", &String::from_utf8_lossy(line)))
}

fn parse(counters: &[u8], columns: &mut Columns) -> Result<(), Malformed> {
    let text = String::from_utf8_lossy(counters);
    let mut words = text.split_ascii_whitespace();
    let mut faults = Faults::default();
    for column in columns {
        *column = faults.keep(words.decimal("counter"));
    }
    faults.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::malformed;

    const HEAD: &str = "Inter-|   Receive  |  Transmit\n face |bytes |bytes\n";

    /// The interfaces but `lo`, and the first fault.
    fn read(text: &[u8]) -> (Vec<(Vec<u8>, Columns)>, Result<(), Malformed>) {
        let mut seen = Vec::new();
        let each = |name: &[u8], columns: &Columns| seen.push((name.to_vec(), *columns));
        let result = each_line(text, |name| name != b"lo", each);
        (seen, result)
    }

    #[test]
    fn names_end_at_the_last_colon() {
        let mut text = HEAD.as_bytes().to_vec();
        text.extend(b" e\xff:1:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n");
        let (seen, result) = read(&text);
        result.unwrap();
        let [(name, columns)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(name, b"e\xff:1");
        assert_eq!((columns[0], columns[15]), (Some(1.844_674_407_370_955_2e19), Some(16.0)));
        assert_eq!(read(b""), (vec![], Ok(())));
        assert_eq!(read(HEAD.as_bytes()), (vec![], Ok(())));
    }

    #[test]
    fn lines_without_an_interface_are_refused() {
        let read = |line: &[u8]| malformed(read(&[HEAD.as_bytes(), line].concat()).1);
        assert_eq!(read(b"eth0 1 2"), "bad interface: \"eth0 1 2\"");
        assert_eq!(read(b"  : 1 2"), "bad interface: \"  : 1 2\"");
        assert_eq!(read(b"eth0: 1 2"), "bad counter: \"\"");
        assert_eq!(read(b"eth0: 1 x"), "bad counter: \"x\"");
        assert_eq!(read(b"eth0: \xff"), "bad counter: \"\u{fffd}\"");
    }

    #[test]
    fn a_counter_that_is_odd_costs_itself_alone() {
        let lines = "lo: x y\nnovel 7\n a: 1 x -3\n\n b: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        let (seen, result) = read(&[HEAD, lines].concat().into_bytes());
        assert_eq!(result, Err(Malformed::new("interface", "novel 7").in_line(4)));
        let [(_, a), (_, b)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(a[..4], [Some(1.0), None, Some(-3.0), None]);
        assert!(b.iter().all(Option::is_some));
    }
}
