//! The errors of collectors.

use std::{io, path::PathBuf};

/// The result of the functions of collectors.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// An error, with the file, call or source that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has nothing for the collector to expose. Logged at level debug; all other
    /// errors at level error.
    #[error("collector returned no data")]
    NoData,
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file does not have the form it should have.
    #[error("{}{}: {source}", path.display(), source.place())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The part that is wrong.
        source: Malformed,
    },
    /// A system call failed.
    #[error("{call}: {source}")]
    Call {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A source other than a file failed.
    #[error("{source_name}: {error}")]
    Source {
        /// The source: `netlink`, `ebpf`.
        source_name: &'static str,
        /// The source's own error.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The command line asks for something impossible.
    #[error("{0}")]
    Flag(String),
}

/// The meaning of an errno of open(2) or read(2) for the thing that the file stands for. This is
/// the only table of such errnos; each rule below names the meanings that are no errors under it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The thing does not exist, or belonged to a process that is gone.
    Absent,
    /// This process may not see the thing.
    Forbidden,
    /// The device or its driver does not offer this attribute.
    Untold,
    /// The thing exists and should have been readable: the device is asleep, broken or gone.
    Failed,
}

impl Refusal {
    /// The meaning of an errno.
    #[must_use]
    pub const fn of(errno: i32) -> Self {
        match errno {
            libc::ENOENT | libc::ENOTDIR | libc::ESRCH => Self::Absent,
            libc::EACCES | libc::EPERM => Self::Forbidden,
            libc::ENODEV | libc::ENXIO | libc::EINVAL | libc::ENODATA | libc::EOPNOTSUPP => {
                Self::Untold
            }
            _ => Self::Failed,
        }
    }

    /// Whether a device without this attribute has this answer.
    #[must_use]
    pub const fn is_no_attribute(self) -> bool {
        matches!(self, Self::Absent | Self::Untold)
    }
}

impl Error {
    /// The reason why a file could not be read; `None` for every other error.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let Self::Read { source, .. } = self else { return None };
        Some(source.raw_os_error().map_or(Refusal::Failed, Refusal::of))
    }

    /// Whether a file does not exist, or belonged to a process that is gone.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.refusal() == Some(Refusal::Absent)
    }

    /// Whether the kernel forbade to open a file.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.refusal() == Some(Refusal::Forbidden)
    }

    /// Whether a file does not exist or may not be seen.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.is_absent() || self.is_forbidden()
    }
}

/// The rules for things that some machines lack.
pub trait Absent<T>: Sized {
    /// `None` where the thing is [`Refusal::Absent`].
    ///
    /// # Errors
    /// Every other one.
    fn unless_absent(self) -> Result<Option<T>>;

    /// The rule for things without which a collector has nothing to expose.
    ///
    /// # Errors
    /// [`Error::NoData`] where the thing is [`Refusal::Absent`], and every other error.
    fn or_no_data(self) -> Result<T> {
        self.unless_absent()?.ok_or(Error::NoData)
    }
}

impl<T> Absent<T> for Result<T> {
    fn unless_absent(self) -> Result<Option<T>> {
        match self {
            Err(error) if error.is_absent() => Ok(None),
            other => other.map(Some),
        }
    }
}

/// The rule for one device of several, which must not hide the others.
pub trait Unreadable: Sized {
    /// `None` for every [`Refusal`].
    ///
    /// # Errors
    /// The file was read and is malformed.
    #[must_use]
    fn unless_unreadable(self) -> Self;
}

impl<T> Unreadable for Result<Option<T>> {
    fn unless_unreadable(self) -> Self {
        match self {
            Err(error) if error.refusal().is_some() => Ok(None),
            other => other,
        }
    }
}

/// Text from the kernel that does not have the expected form: the only error of parsers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad {what}: {text:?}")]
pub struct Malformed {
    /// The name of the expected thing.
    pub what: &'static str,
    /// The text that was found instead, shortened.
    pub text: Box<str>,
    /// The line of the file, counted from 1, where the parser goes line by line.
    pub line: Option<usize>,
}

impl Malformed {
    /// The error about a `text` that is not the expected `what`: at most 80 characters of it are
    /// kept.
    #[must_use]
    pub fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(80).collect(), line: None }
    }

    /// Adds the number of the line in which the text stands, counted from 1.
    #[must_use]
    pub fn in_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The suffix of the file's path: `:7`, or an empty text where the line is unknown.
    fn place(&self) -> String {
        self.line.map_or_else(String::new, |line| format!(":{line}"))
    }
}

/// The first fault among many things that are read one after the other: rows, columns, files,
/// devices. A fault costs the thing that has it; the caller goes on to the next, and [`end`]
/// gives the result of all.
///
/// [`end`]: Faults::end
#[derive(Debug)]
pub struct Faults<E = Error>(Option<E>);

impl<E> Default for Faults<E> {
    fn default() -> Self {
        Self(None)
    }
}

impl<E> Faults<E> {
    /// The value, or `None` in place of an error. The first error is kept.
    pub fn keep<T>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.get_or_insert(error);
                None
            }
        }
    }

    /// The result of everything that was read.
    ///
    /// # Errors
    /// The first error that was given to [`Faults::keep`].
    pub fn end(self) -> Result<(), E> {
        self.0.map_or(Ok(()), Err)
    }
}

impl Faults {
    /// As [`Faults::read`], with `absent` for an attribute that the device does not have.
    pub fn read_or<T>(&mut self, absent: T, result: Result<Option<T>>) -> Option<T> {
        self.read(result.map(|value| value.or(Some(absent))))
    }

    /// The value of one device's attribute; `None` where the device does not have it, where it
    /// cannot be read (see [`Unreadable`]) and where it is malformed. Only a malformed value is a
    /// fault.
    pub fn read<T>(&mut self, result: Result<Option<T>>) -> Option<T> {
        self.keep(result.unless_unreadable()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32) -> Error {
        Error::Read { path: "/f".into(), source: io::Error::from_raw_os_error(errno) }
    }

    #[test]
    fn each_rule_lets_its_own_refusals_pass() {
        use Refusal::{Absent as Gone, Failed, Forbidden, Untold};
        for (errno, refusal) in [
            (libc::ENOENT, Gone),
            (libc::ESRCH, Gone),
            (libc::ENOTDIR, Gone),
            (libc::EACCES, Forbidden),
            (libc::EPERM, Forbidden),
            (libc::ENODEV, Untold),
            (libc::EOPNOTSUPP, Untold),
            (libc::EIO, Failed),
            (libc::ETIMEDOUT, Failed),
        ] {
            assert_eq!(refused(errno).refusal(), Some(refusal), "{errno}");
            let result = || -> Result<u8> { Err(refused(errno)) };
            assert_eq!(result().unless_absent().is_ok(), refusal == Gone, "{errno}");
            let is_no_data = matches!(result().or_no_data(), Err(Error::NoData));
            assert_eq!(is_no_data, refusal == Gone, "{errno}");
            assert_eq!(refused(errno).is_hidden(), matches!(refusal, Gone | Forbidden), "{errno}");
            assert_eq!(refusal.is_no_attribute(), matches!(refusal, Gone | Untold), "{errno}");
            assert!(matches!(result().map(Some).unless_unreadable(), Ok(None)), "{errno}");
        }
        let malformed: Result<Option<u8>> =
            Err(Error::Parse { path: "/f".into(), source: Malformed::new("number", "x") });
        assert!(malformed.unless_unreadable().is_err());
        assert_eq!(Error::NoData.refusal(), None);
    }

    #[test]
    fn the_first_of_many_faults_is_kept_with_its_line() {
        let mut faults = Faults::default();
        let bad = |text, line| -> Result<Option<u8>> {
            let source = Malformed::new("number", text).in_line(line);
            Err(Error::Parse { path: "/f".into(), source })
        };
        assert_eq!(faults.read(Ok(Some(1))), Some(1));
        assert_eq!(faults.read::<u8>(Err(refused(libc::EIO))), None, "refused, not malformed");
        assert_eq!(faults.read(bad("x", 3)), None);
        assert_eq!(faults.read(bad("y", 4)), None);
        assert_eq!(faults.end().unwrap_err().to_string(), "/f:3: bad number: \"x\"");
        assert!(Faults::<Malformed>::default().end().is_ok());
    }
}
