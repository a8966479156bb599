//! Keeps others out of a directory.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
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

/// Whether `dir` is still the directory that was locked by `handle`, not one that was made later.
pub(crate) fn is_locked_by(dir: &Path, handle: &File) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let there = std::fs::metadata(dir).map(id).ok();
    there.is_some() && there == handle.metadata().map(id).ok()
}
