//! Where a master keeps its entries: the trait a user's own storage implements, and what it speaks in.
//!
//! The trait is small and stores nothing but entries: add, subtract, expiry, snapshots and the protocol are above it,
//! once. `examples/own_backend.rs` shows a complete one in one file, and [`conformance::run`](crate::conformance::run)
//! is the real specification: every backend passes it.
//!
//! **Keys.** A key is identified by its canonical encoding ([`KeyBytes`]), and key order is the bytewise order of these
//! encodings, in every backend alike. The master hands in keys in [normal form](crate::semantics::normalize_key), for
//! which equal encodings and equal values are the same thing.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use broker_core::{ByteString, Data, DecodeError, Timestamp, binary};

pub use crate::backup::{Backup, BackupProgress};

/// Where a master keeps its entries.
///
/// Calls may block, so a store runs its backend off the async threads unless [`may_block`](Backend::may_block) says
/// otherwise. Time is an argument: expiry is the same in tests, in simulation and in production.
pub trait Backend: Send + 'static {
    /// Applies all of `batch`, in order, or none of it; returns when it is as durable as configured.
    ///
    /// # Errors
    /// The storage failed; then nothing of `batch` is visible, now or after a restart.
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError>;

    /// The entry at `key`.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError>;

    /// At most `limit` entries in key order, beginning behind `after`. Fewer than `limit` are returned only at the end.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError>;

    /// At most `limit` keys whose time is strictly before `now`, earliest first. Called ten times a second: a backend
    /// answers it without looking at entries that are not due.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError>;

    /// The note called `name`. Notes are no entries: they are not counted, scanned or cleared.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError>;

    /// How many entries there are. Called once, when the master starts, and may take a pass over the keys.
    ///
    /// # Errors
    /// The storage failed.
    fn len(&self) -> Result<u64, BackendError>;

    /// What status reports call it: `memory`, `sqlite`, or a name of your own.
    fn name(&self) -> &str;

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// The storage failed or holds something unreadable.
    fn is_empty(&self) -> Result<bool, BackendError> {
        Ok(self.scan(None, 1)?.is_empty())
    }

    /// Whether there is an entry at `key`.
    ///
    /// # Errors
    /// The storage failed.
    fn contains(&self, key: &Data) -> Result<bool, BackendError> {
        Ok(self.get(key)?.is_some())
    }

    /// Whether a call may wait for a disk or a lock. A backend that says no is called on async threads.
    fn may_block(&self) -> bool {
        true
    }

    /// What copies everything to a file while the backend goes on.
    ///
    /// # Errors
    /// The backend has no such thing, which is so unless it says otherwise.
    fn backup(&self) -> Result<Backup, BackendError> {
        Err(BackendError::NoBackup {
            backend: self.name().to_owned(),
        })
    }
}

impl Backend for Box<dyn Backend> {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        (**self).apply(batch)
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        (**self).get(key)
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        (**self).scan(after, limit)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        (**self).due(now, limit)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        (**self).note(name)
    }

    fn len(&self) -> Result<u64, BackendError> {
        (**self).len()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn is_empty(&self) -> Result<bool, BackendError> {
        (**self).is_empty()
    }

    fn contains(&self, key: &Data) -> Result<bool, BackendError> {
        (**self).contains(key)
    }

    fn may_block(&self) -> bool {
        (**self).may_block()
    }

    fn backup(&self) -> Result<Backup, BackendError> {
        (**self).backup()
    }
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Data,
    /// When it vanishes; `None` is never.
    pub expires_at: Option<Timestamp>,
}

impl Entry {
    /// A value that stays.
    pub fn lasting(value: impl Into<Data>) -> Self {
        Self {
            value: value.into(),
            expires_at: None,
        }
    }
}

/// One change of the stored entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Stores a value and its deadline, replacing both if the key is there.
    Put {
        /// The key.
        key: Data,
        /// The value.
        value: Data,
        /// When it vanishes; `None` is never.
        expires_at: Option<Timestamp>,
    },
    /// Removes a key; a missing one is no error.
    Erase {
        /// The key.
        key: Data,
    },
    /// Removes all entries. Notes stay.
    Clear,
    /// Stores a small record of the master's own beside the entries, or removes it.
    Note {
        /// What it is called: letters, digits, `-`, `_`, `/` and `.`, at most 100 of them.
        name: String,
        /// What it holds; `None` removes it.
        value: Option<Vec<u8>>,
    },
}

/// Why a storage backend could not be opened or failed later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// No backend of that name exists.
    #[error("no storage backend is called {kind:?}; there are memory, sqlite and sled")]
    UnknownBackend {
        /// The name asked for.
        kind: String,
    },
    /// The backend exists, but not in this build.
    #[error(
        "this build has no backend {kind:?}: build broker-store with the cargo feature {feature:?}"
    )]
    NotBuilt {
        /// The name asked for.
        kind: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The backend has no such option.
    #[error("{backend} has no option {option:?}; it has {accepted}")]
    UnknownOption {
        /// The backend.
        backend: &'static str,
        /// The option given.
        option: String,
        /// The options there are.
        accepted: &'static str,
    },
    /// An option has a value that means nothing.
    #[error("option {option} of {backend} cannot be {value:?}; it is one of {accepted}")]
    InvalidOption {
        /// The backend.
        backend: &'static str,
        /// The option.
        option: &'static str,
        /// The value given.
        value: String,
        /// The values it takes.
        accepted: &'static str,
    },
    /// An option that has no default is not given.
    #[error("{backend} needs the option {option}")]
    MissingOption {
        /// The backend.
        backend: &'static str,
        /// The option.
        option: &'static str,
    },
    /// The file or directory cannot be opened as a store.
    #[error("cannot open the store at {path}: {problem}")]
    Open {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, and what helps.
        problem: Problem,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The storage failed while it was open; nothing of the call was applied.
    #[error("the store at {path} failed: {problem}")]
    Failed {
        /// Where it is.
        path: PathBuf,
        /// What is wrong, and what helps.
        problem: Problem,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A copy of the store could not be written.
    #[error("cannot back the store up to {path}: {problem}")]
    Backup {
        /// Where the copy was to be.
        path: PathBuf,
        /// What is wrong, and what helps.
        problem: Problem,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The backend cannot be copied while it runs.
    #[error(
        "the backend {backend} has no backup of its own; dump the entries and load them instead"
    )]
    NoBackup {
        /// The backend.
        backend: String,
    },
    /// The file is damaged.
    #[error(
        "the store at {path} is damaged: {report}; restore a backup, or open it with failure_mode delete to begin with an empty store"
    )]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What the check found.
        report: String,
    },
    /// The storage holds bytes that are no key or value.
    #[error("the store holds {what} that cannot be read")]
    Unreadable {
        /// A key, a value, or a deadline.
        what: &'static str,
        /// What is wrong with it.
        source: Option<DecodeError>,
    },
    /// The storage engine failed in a way of its own.
    #[error("the storage engine failed")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
}

/// What is wrong with a storage. Its text says what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// There is no room.
    DiskFull,
    /// The file or its file system cannot be written.
    ReadOnly,
    /// Another program is in the middle of a transaction.
    Locked,
    /// Another process, or another master, has it open as its store.
    InUse,
    /// What is stored cannot be right.
    Damaged,
    /// It is something else.
    NotAStore,
    /// It is a directory where a file is needed, or the other way round.
    WrongKindOfFile,
    /// It does not let itself be opened.
    NoAccess,
    /// The disk or the file system refused.
    InputOutput,
    /// Something else; the source says what.
    Other,
}

#[cfg(any(feature = "sqlite", feature = "sled"))]
impl Problem {
    /// What an error of the file system means.
    pub(crate) fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Self::DiskFull,
            Kind::ReadOnlyFilesystem => Self::ReadOnly,
            Kind::PermissionDenied | Kind::NotFound => Self::NoAccess,
            Kind::IsADirectory | Kind::NotADirectory | Kind::AlreadyExists => Self::WrongKindOfFile,
            Kind::InvalidData | Kind::UnexpectedEof => Self::Damaged,
            _ => Self::InputOutput,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "the disk is full; make room and write again",
            Self::ReadOnly => "the file is read-only; make it and its directory writable",
            Self::Locked => "the database is locked by another program; write again when that has finished",
            Self::InUse => "another process or master has it open; stop that one or use another path",
            Self::Damaged => {
                "it is damaged; restore a backup, or open it with failure_mode delete to begin with an empty store"
            }
            Self::NotAStore => "it is no store of this kind; use another path, or failure_mode delete to replace it",
            Self::WrongKindOfFile => "there is a directory where a file is needed, or the other way round; use another path",
            Self::NoAccess => "it cannot be opened; the directory must exist and this user may read and write there",
            Self::InputOutput => "the system refused to read or write; look at the disk",
            Self::Other => "the storage engine refused",
        })
    }
}

impl BackendError {
    /// An error of the storage engine underneath.
    pub fn engine(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Engine(error.into())
    }
}

/// The canonical encoding of a key: what identifies and orders it.
pub type KeyBytes = ByteString;

/// The canonical encoding of `key`.
#[must_use]
pub fn key_bytes(key: &Data) -> KeyBytes {
    with_scratch(|bytes| {
        binary::encode_to_vec(key, bytes);
        KeyBytes::from(bytes.as_slice())
    })
}

/// Lends an empty buffer that this thread keeps, so that encoding something for a moment costs no allocation.
pub(crate) fn with_scratch<R>(write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    SCRATCH.with(|scratch| {
        let mut bytes = scratch.take();
        bytes.clear();
        let result = write(&mut bytes);
        if bytes.capacity() <= MAX_SCRATCH {
            scratch.set(bytes);
        }
        result
    })
}

/// A larger buffer is not kept.
const MAX_SCRATCH: usize = 64 << 10;

/// The key that `bytes` encode.
///
/// # Errors
/// They are no value.
pub fn decode_key(bytes: &[u8]) -> Result<Data, BackendError> {
    decode(bytes, "a key")
}

/// The value that `bytes` encode.
///
/// # Errors
/// They are no value.
pub fn decode_value(bytes: &[u8]) -> Result<Data, BackendError> {
    decode(bytes, "a value")
}

fn decode(bytes: &[u8], what: &'static str) -> Result<Data, BackendError> {
    // A C++ master stores what came in commands, so the laxer rules hold here as well.
    binary::decode(bytes, binary::DecodeRules::COMMAND).map_err(|source| BackendError::Unreadable {
        what,
        source: Some(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_bytes() {
        for key in [Data::from("k"), Data::Count(7), Data::vector(["a", "b"])] {
            assert_eq!(decode_key(&key_bytes(&key)).unwrap(), key);
        }
        assert!(matches!(
            decode_value(&[99]),
            Err(BackendError::Unreadable {
                what: "a value",
                ..
            })
        ));
    }
}
