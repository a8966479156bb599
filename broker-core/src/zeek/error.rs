//! Why a value is no Zeek message.

use crate::binary::DecodeError;

/// Why a value is no Zeek message. The value came from a peer, and that is where the fault lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A field is missing or has another type than it must have.
    #[error("a {message} has no valid {field}")]
    Field {
        /// The kind of message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A format version other than 1.
    #[error("version {0} of the message format is unknown")]
    Version(u64),
    /// A message type that does not exist.
    #[error("{0} is no message type")]
    Type(u64),
    /// Batches inside batches beyond the limit.
    #[error("batches are nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A value inside the message holds something twice.
    #[error("a message holds an invalid value")]
    Value(#[from] DecodeError),
}
