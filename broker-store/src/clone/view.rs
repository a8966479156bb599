//! What readers of a clone see, shared between them and the clone's task.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::content::Content;
use crate::error::StoreError;

/// The content of a clone and how fresh it is.
#[derive(Debug)]
pub(crate) struct CloneView {
    pub(crate) content: Content,
    freshness: AtomicU8,
    /// Whether there is no content because the master is asked.
    remote: AtomicBool,
}

/// How fresh a clone's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Freshness {
    /// No master was found yet; there is nothing to read.
    Empty = 0,
    /// The clone follows its master.
    Live = 1,
    /// The master is lost; what it last said can still be read.
    Lost = 2,
    /// The master is lost for longer than allowed; nothing can be read.
    Stale = 3,
}

impl Freshness {
    /// Its name in status reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Live => "live",
            Self::Lost => "lost",
            Self::Stale => "stale",
        }
    }
}

impl CloneView {
    pub(crate) fn new() -> Self {
        Self {
            content: Content::new(),
            freshness: AtomicU8::new(Freshness::Empty as u8),
            remote: AtomicBool::new(false),
        }
    }

    pub(crate) fn freshness(&self) -> Freshness {
        match self.freshness.load(Ordering::Acquire) {
            1 => Freshness::Live,
            2 => Freshness::Lost,
            3 => Freshness::Stale,
            _ => Freshness::Empty,
        }
    }

    pub(crate) fn set_freshness(&self, freshness: Freshness) {
        self.freshness.store(freshness as u8, Ordering::Release);
    }

    /// The content, if it may be read.
    pub(crate) fn readable(&self) -> Result<&Content, StoreError> {
        match self.freshness() {
            Freshness::Live | Freshness::Lost => Ok(&self.content),
            Freshness::Empty | Freshness::Stale => Err(StoreError::Stale),
        }
    }

    /// Whether there is no content because the master is asked.
    pub(crate) fn is_remote(&self) -> bool {
        self.remote.load(Ordering::Acquire)
    }

    pub(crate) fn set_remote(&self, remote: bool) {
        self.remote.store(remote, Ordering::Release);
    }
}
