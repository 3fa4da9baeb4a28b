//! bcrypt: the form of a hash, as Go's `bcrypt` reads it, and whether a password is its.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bcrypt::{Version, hash_with_salt};

/// A hash of nobody's: the passwords of unknown names are held against it, so that the time of an
/// answer does not tell which names there are.
pub(super) const DECOY: &str = "$2b$10$Vb0uNnGcbSXPq1nTgxZLFuNvmWfUk8nHrFsRLPrXo7yGxqVRB9Wtq";

/// Characters of a whole hash that has a minor version, less one.
const SHORTEST: usize = 59;
const SALT: usize = 22;
/// Characters of the hash behind the salt.
const REST: usize = 31;
const COSTS: std::ops::RangeInclusive<i64> = 4..=31;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BCRYPT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    LENIENT.with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The bytes that a text stands for, if any.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A hash taken apart.
struct Parts<'a> {
    cost: u32,
    /// The salt and the rest of the text.
    tail: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(hash: &'a str) -> Result<Self, String> {
        let wrong = |what: String| Err(format!("crypto/bcrypt: {what}"));
        let bytes = hash.as_bytes();
        if bytes.len() < SHORTEST {
            return wrong("hashedSecret too short to be a bcrypted password".into());
        }
        let [first, major, minor, rest @ ..] = bytes else { return wrong("too short".into()) };
        if *first != b'$' {
            let first = char::from(*first);
            return wrong(format!(
                "bcrypt hashes must start with '$', but hashedSecret started with '{first}'"
            ));
        }
        if *major > b'2' {
            let major = char::from(*major);
            return wrong(format!(
                "bcrypt algorithm version '{major}' requested is newer than current version '2'"
            ));
        }
        // `$2$` has no minor version; whatever stands behind a version or a cost is skipped.
        let rest = if *minor == b'$' { rest } else { rest.get(1..).unwrap_or_default() };
        let (cost, tail) = rest.split_at_checked(2).unwrap_or_default();
        let text = String::from_utf8_lossy(cost);
        let is_number = text.strip_prefix(['+', '-']).unwrap_or(&text).bytes();
        let is_number = is_number.len() > 0 && is_number.into_iter().all(|b| b.is_ascii_digit());
        let cost: i64 = match text.parse() {
            Ok(cost) if is_number => cost,
            _ => return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax")),
        };
        match u32::try_from(cost) {
            Ok(valid) if COSTS.contains(&cost) => {
                Ok(Self { cost: valid, tail: tail.get(1..).unwrap_or_default() })
            }
            _ => wrong(format!(
                "cost {cost} is outside allowed inclusive range {}..{}",
                COSTS.start(),
                COSTS.end()
            )),
        }
    }
}

/// Whether this can be a hash; most of its text is not looked at, as in Go.
///
/// # Errors
/// Go's sentence.
pub(super) fn check(hash: &str) -> Result<(), String> {
    Parts::parse(hash).map(drop)
}

/// Whether the hash is of this password: seconds of work where its cost is high.
pub(super) fn matches(hash: &str, password: &[u8]) -> bool {
    let Ok(Parts { cost, tail }) = Parts::parse(hash) else { return false };
    let Some((salt, rest)) = tail.split_at_checked(SALT) else { return false };
    let Some(salt) = BCRYPT.decode(salt).ok().and_then(|salt| <[u8; 16]>::try_from(salt).ok())
    else {
        return false;
    };
    let Ok(made) = hash_with_salt(password, cost, salt) else { return false };
    let made = made.format_for_version(Version::TwoB);
    let made = made.len().checked_sub(REST).and_then(|at| made.as_bytes().get(at..));
    made.is_some_and(|made| verify_slices_are_equal(made, rest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str = "abcdefghijklmnopqrstuvwxABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";

    #[test]
    fn hashes_are_refused_in_gos_words() {
        for (hash, said) in [
            ("b", "crypto/bcrypt: hashedSecret too short to be a bcrypted password"),
            ("", "crypto/bcrypt: hashedSecret too short to be a bcrypted password"),
            (
                "#2y$10$",
                "crypto/bcrypt: bcrypt hashes must start with '$', but hashedSecret started with '#'",
            ),
            (
                "$3y$10$",
                "crypto/bcrypt: bcrypt algorithm version '3' requested is newer than current version '2'",
            ),
            ("$2y$99$", "crypto/bcrypt: cost 99 is outside allowed inclusive range 4..31"),
            ("$2y$03$", "crypto/bcrypt: cost 3 is outside allowed inclusive range 4..31"),
            ("$2y$-5$", "crypto/bcrypt: cost -5 is outside allowed inclusive range 4..31"),
            ("$2y$xx$", "strconv.Atoi: parsing \"xx\": invalid syntax"),
        ] {
            let hash = if hash.len() > 5 { format!("{hash}{TAIL}") } else { hash.to_owned() };
            assert_eq!(check(&hash).unwrap_err(), said, "{hash}");
        }
        for hash in ["$2y$10$", "$2z$10$", "$2$10$", "$2y$10-", "$1y$10$", "$2y$+5$", "$2y$10$!!!"]
        {
            assert_eq!(check(&format!("{hash}{TAIL}")), Ok(()), "{hash}");
        }
        assert_eq!(check(DECOY), Ok(()));
    }

    #[test]
    fn a_password_is_held_against_its_hash() {
        let made = |password: &[u8], version| {
            hash_with_salt(password, 4, *b"sixteen bytes ok").unwrap().format_for_version(version)
        };
        for version in [Version::TwoA, Version::TwoB, Version::TwoX, Version::TwoY] {
            let hash = made(b"secret", version);
            assert!(matches(&hash, b"secret"), "{hash}");
            for wrong in [&b"Secret"[..], b"", b"secret ", b"secre"] {
                assert!(!matches(&hash, wrong), "{hash}");
            }
            assert!(!matches(&(hash.clone() + "x"), b"secret"), "it is longer");
        }
        let long = [b'x'; 100];
        assert!(matches(&made(&long, Version::TwoB), &[b'x'; 72]), "72 bytes count");
        assert!(matches(&made(b"", Version::TwoB), b""));
        assert!(!matches(&format!("$2y$04$!!{TAIL}"), b""), "no salt");
        // Vectors of others: OpenBSD's and the toolkit's form of them.
        let known = "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.";
        assert!(matches(known, b"") && !matches(known, b"a"));
    }
}
