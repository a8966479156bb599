//! How a spool is set up.

use std::path::PathBuf;

/// A spool of log records on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Its directory; no other node may use it.
    pub dir: PathBuf,
    /// Bytes on disk at most. Default: 1 GiB.
    pub max_bytes: u64,
    /// Whether the oldest batches give way to new ones when it is full; otherwise the new ones are dropped if no logger is up,
    /// and writers wait if one is. Default: the new ones are dropped.
    pub drop_oldest: bool,
    /// Whether every batch goes through the spool, also while a logger is up, so that the death of the process costs
    /// hardly more than what had not become a batch. It costs a write and a read for each batch. Default: no.
    pub always: bool,
}

impl SpoolOptions {
    /// A spool in `dir` with the default settings.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 1 << 30,
            drop_oldest: false,
            always: false,
        }
    }
}
