//! Files that the configuration consists of, read again each time that they matter.

use super::Config;
use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use zeroize::Zeroizing;

/// The longest file that is read, in bytes; a chain of certificates has a few thousand.
const LONGEST: u64 = 1 << 20;

/// `--web.config.file`.
#[derive(Debug)]
pub(in super::super) struct Source {
    path: PathBuf,
    /// The text that was read last and its meaning, so that a text is taken apart once.
    last: Mutex<Option<(Zeroizing<Vec<u8>>, Arc<Config>)>>,
}

impl Source {
    pub(in super::super) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: Mutex::default() }
    }

    /// The meaning of the file at this moment.
    ///
    /// # Errors
    /// It cannot be read or has faults.
    pub(in super::super) fn read(&self) -> Result<Arc<Config>, String> {
        let text = read(&self.path)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = &*last
            && *known == text
        {
            return Ok(Arc::clone(config));
        }
        let utf8 = std::str::from_utf8(&text).map_err(|_| "yaml: the text is not UTF-8")?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let config = Arc::new(Config::parse(utf8, folder)?);
        *last = Some((text, Arc::clone(&config)));
        Ok(config)
    }
}

/// A whole file, which may hold a secret: the buffer is emptied of it when it is dropped.
///
/// # Errors
/// Go's sentence for an error of the kernel, or the file is too long.
pub(in super::super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let name = path.display();
    let said = |call: &str, error: &io::Error| {
        let text = error.to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        format!("{call} {name}: {text}")
    };
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK) // a pipe without a writer would be waited for
        .open(path)
        .map_err(|error| said("open", &error))?;
    let len = file.metadata().map_or(0, |metadata| metadata.len()).min(LONGEST);
    // With room for all of it, so that no outgrown buffer is left behind with a part of it.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0) + 4096));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| said("read", &error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("read {name}: it is longer than {LONGEST} bytes"));
    }
    Ok(bytes)
}
