//! Keeps others out of a directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Locks `dir` for as long as the handle lives; `other` is who would be there otherwise.
pub(crate) fn lock(dir: &Path, other: &str) -> io::Result<File> {
    let handle = File::open(dir)?;
    match handle.try_lock() {
        Ok(()) => Ok(handle),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{other} writes here"),
        )),
        // Some file systems have no locks.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(dir = %dir.display(), %error, "directory is not locked");
            Ok(handle)
        }
    }
}
