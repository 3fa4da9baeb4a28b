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

impl Error {
    /// Whether the file or call failed because what it names does not exist, or was a process's
    /// that is gone.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let Self::Read { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(libc::ESRCH)
    }

    /// Whether the kernel forbade to open the file.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the file does not exist or may not be seen.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.is_absent() || self.is_forbidden()
    }
}

/// What need not exist on every machine.
pub trait Absent<T>: Sized {
    /// `None` where it does not exist.
    ///
    /// # Errors
    /// It is there and failed.
    fn if_there(self) -> Result<Option<T>>;

    /// For what a collector tells nothing without.
    ///
    /// # Errors
    /// [`Error::NoData`] where it does not exist, or it is there and failed.
    fn or_no_data(self) -> Result<T> {
        self.if_there()?.ok_or(Error::NoData)
    }
}

impl<T> Absent<T> for Result<T> {
    fn if_there(self) -> Result<Option<T>> {
        match self {
            Err(error) if error.is_absent() => Ok(None),
            other => other.map(Some),
        }
    }
}

/// What one device of several may fail to tell, without hiding what the others tell.
pub trait Optional: Sized {
    /// `None` also where it cannot be read: forbidden, or the device is asleep or broken.
    ///
    /// # Errors
    /// It was read and is malformed.
    #[must_use]
    fn optional(self) -> Self;
}

impl<T> Optional for Result<Option<T>> {
    fn optional(self) -> Self {
        match self {
            Err(Error::Read { .. }) => Ok(None),
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
