//! Copies of a store made while it runs.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::backend::BackendError;

/// Copies a backend to a file while the backend goes on. Cloning is cheap and gives another handle to the same backend.
///
/// The copy is what was committed at one moment after the call: everything acknowledged before is in it. It opens as a
/// store of its own, without the notes of the master, so that it is never taken for the same line of changes.
#[derive(Clone)]
pub struct Backup {
    run: Arc<Run>,
}

type Run = dyn Fn(&Path, &mut dyn FnMut(BackupProgress)) -> Result<(), BackendError> + Send + Sync;

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// Units copied; it falls back if the copy has to begin anew.
    pub done: u64,
    /// Units there are; it may grow meanwhile.
    pub total: u64,
}

impl Backup {
    /// A backup that `run` makes: write everything to the path, whole or not at all, telling how far it is now and then.
    pub fn new(
        run: impl Fn(&Path, &mut dyn FnMut(BackupProgress)) -> Result<(), BackendError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { run: Arc::new(run) }
    }

    /// Writes the copy to the file `to`, replacing what is there only when the copy is complete and on disk. Blocks:
    /// call it on a thread that may.
    ///
    /// # Errors
    /// The copy cannot be made or written; `to` is then as it was.
    pub fn run(
        &self,
        to: &Path,
        mut progress: impl FnMut(BackupProgress),
    ) -> Result<(), BackendError> {
        (self.run)(to, &mut progress)
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").finish_non_exhaustive()
    }
}
