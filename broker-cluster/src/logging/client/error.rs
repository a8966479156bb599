//! Why a log cannot be written.

use crate::log::serial;
use crate::logging::wire::MAX_RECORD;

/// Why a log cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The record does not fit the columns.
    #[error("the record does not fit the log")]
    Record(#[from] serial::EncodeError),
    /// The record is longer than 16 MiB.
    #[error("a record of {size} bytes is too long (at most {MAX_RECORD})")]
    TooLong {
        /// Its encoded size.
        size: usize,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closed,
    /// The record is to be written on this node, which writes no logs.
    #[error("stream {stream} is to be written here, and this node writes no logs")]
    NoLocalLogger {
        /// The stream.
        stream: String,
    },
    /// A setting names a column that the log does not have.
    #[error("there is no column {column:?} in stream {stream}")]
    NoSuchColumn {
        /// The stream.
        stream: String,
        /// The name.
        column: String,
    },
    /// Two fields of a record have the same column.
    #[error("stream {stream} has two columns {column:?}")]
    SameColumn {
        /// The stream.
        stream: String,
        /// The name.
        column: String,
    },
    /// The process has too many log streams.
    #[error("too many log streams (at most {})", crate::logging::MAX_STREAMS)]
    TooManyStreams,
}
