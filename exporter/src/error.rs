//! Why a collector could not deliver.

use std::{io, path::PathBuf};

/// The result of everything a collector does.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// What went wrong, and with what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine has nothing of the kind; logged at debug, all else at error.
    #[error("collector returned no data")]
    NoData,
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file does not have the form it should have.
    #[error("{}: {source}", path.display())]
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
        /// What the kernel said.
        source: io::Error,
    },
    /// A source that is no file failed.
    #[error("{source_name}: {error}")]
    Source {
        /// The source: `netlink`, `ebpf`.
        source_name: &'static str,
        /// Why, in that source's own words.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Flag(String),
}

/// What an errno of open(2) or read(2) says of the thing that the file stands for. This is the one
/// table of such errnos; each rule below names the meanings that it takes for "nothing to tell".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The thing does not exist, or was of a process that is gone.
    Absent,
    /// This process may not see the thing.
    Forbidden,
    /// The device or its driver does not tell this attribute.
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

    /// Whether a device without this attribute would answer so.
    #[must_use]
    pub const fn is_no_attribute(self) -> bool {
        matches!(self, Self::Absent | Self::Untold)
    }
}

impl Error {
    /// Why a file could not be read; `None` for every other error.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let Self::Read { source, .. } = self else { return None };
        Some(source.raw_os_error().map_or(Refusal::Failed, Refusal::of))
    }

    /// Whether a file does not exist, or was of a process that is gone.
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

/// Rules for results about things that not every machine has.
pub trait Absent<T>: Sized {
    /// `None` where the thing is [`Refusal::Absent`].
    ///
    /// # Errors
    /// Every other one.
    fn unless_absent(self) -> Result<Option<T>>;

    /// For things without which a collector has nothing to tell.
    ///
    /// # Errors
    /// [`Error::NoData`] where the thing is [`Refusal::Absent`], and every other one.
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

/// Text from the kernel that does not have the expected form. All a parser may return.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad {what}: {text:?}")]
pub struct Malformed {
    /// What was expected.
    pub what: &'static str,
    /// What was there, shortened.
    pub text: Box<str>,
}

impl Malformed {
    /// Says that `text` is not the `what` it should be; at most 80 characters of it are kept.
    #[must_use]
    pub fn new(what: &'static str, text: &str) -> Self {
        Self { what, text: text.chars().take(80).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32) -> Error {
        Error::Read { path: "/f".into(), source: io::Error::from_raw_os_error(errno) }
    }

    #[test]
    fn each_rule_takes_its_refusals_for_nothing() {
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
}
