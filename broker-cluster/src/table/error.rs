//! Why a table cannot be opened or written, and what goes wrong with it while it is open.

use broker_core::{ConversionError, Data};
use broker_store::{AttachError, BackendError, StoreError};

/// Why a table cannot be opened, or does not take a write.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The name cannot be that of a global in Zeek.
    #[error(
        "{name:?} cannot name a table: letters, digits, _ and ::, at most {} bytes",
        super::MAX_NAME
    )]
    Name {
        /// The name given.
        name: String,
    },
    /// A table in a store cannot expire by reading: reads are local, and nobody else would hear of them. Zeek refuses it too.
    #[error("read_expire cannot be had for a table in a store; use write_expire or create_expire")]
    ReadExpire,
    /// The storage of the master cannot be opened.
    #[error("cannot open the storage of the table")]
    Backend(#[from] BackendError),
    /// The store cannot be attached.
    #[error("cannot attach the store of the table")]
    Attach(#[from] AttachError),
    /// The store cannot be read.
    #[error("cannot read the store of the table")]
    Store(#[from] StoreError),
    /// An entry that was there before is not of the table's types; they have probably changed.
    #[error("the store has an element of another type at {key}")]
    Import {
        /// Its key.
        key: Data,
        /// What does not fit.
        source: ConversionError,
    },
    /// The key has a NaN in it, which equals nothing, or is nested too deep.
    #[error("{key} cannot be a key")]
    Key {
        /// The key.
        key: Data,
    },
    /// The value is none, which stands for an element of a set.
    #[error("a value cannot be none")]
    NoValue,
    /// As many writes wait for the master as may; the table is as it was.
    #[error("{waiting} writes wait for the master already, no more are kept")]
    Full {
        /// How many wait.
        waiting: usize,
    },
    /// The table is closed: its node shut down, or the storage broke.
    #[error("the table is closed")]
    Closed,
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Runtime(#[source] tokio::task::JoinError),
}

/// What went wrong with an open table, after the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableProblem {
    /// A write of this node failed; the element is again what the store says.
    Write {
        /// The element; `None` is all of them.
        key: Option<Data>,
        /// Why.
        error: StoreError,
    },
    /// The life of an element was over before the master could be told of it.
    Late {
        /// The element.
        key: Data,
    },
    /// An element in the store is not of this table's types, and was skipped: nodes probably declare the table with different
    /// types.
    Conversion {
        /// The element.
        key: Data,
        /// What does not fit.
        error: ConversionError,
    },
    /// Changes came faster than they were taken, and all of the store was read again.
    Reread,
}

impl std::fmt::Display for TableProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write {
                key: Some(key),
                error,
            } => write!(f, "write to {key} failed: {error}"),
            Self::Write { key: None, error } => write!(f, "clear failed: {error}"),
            Self::Late { key } => {
                write!(f, "{key} expired before the master could be told of it")
            }
            Self::Conversion { key, error } => write!(
                f,
                "element {key} skipped, the table probably has other types on other nodes: {error}"
            ),
            Self::Reread => f.write_str("changes came too fast, all of the store is read again"),
        }
    }
}
