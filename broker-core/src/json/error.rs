//! Why a text is no value in JSON v1.

use crate::code::ErrorCode;
use crate::data::DataKind;

/// Why a text is no value or message in JSON v1. The text came from a client, a file or the command line, and that is
/// where the fault lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is no JSON.
    #[error("malformed JSON at byte {offset}: expected {expected}")]
    Syntax {
        /// Where reading stopped.
        offset: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// Objects and arrays nested too deep.
    #[error("JSON is nested more than {limit} levels deep")]
    TooDeep {
        /// The limit.
        limit: u16,
    },
    /// A set holds an element twice.
    #[error("the set at byte {offset} holds an element twice")]
    DuplicateElement {
        /// Where the set begins.
        offset: usize,
    },
    /// A table holds a key twice.
    #[error("the table at byte {offset} holds a key twice")]
    DuplicateKey {
        /// Where the table begins.
        offset: usize,
    },
    /// The member `type` is not `data-message`.
    #[error("the member \"type\" is not \"data-message\"")]
    NotADataMessage,
    /// The member `topic` is missing, empty or not a string.
    #[error("the member \"topic\" is not a topic")]
    NoTopic,
    /// A value is no object with a known `@data-type`.
    #[error("no object with a known \"@data-type\" at byte {offset}")]
    NotAValue {
        /// Where the value begins.
        offset: usize,
    },
    /// The content of a value does not fit its type.
    #[error("no {kind} at byte {offset}")]
    Content {
        /// The type that `@data-type` names.
        kind: DataKind,
        /// Where the content begins.
        offset: usize,
    },
}

impl JsonError {
    /// The code C++ Broker gives for it (wire reference 4.5).
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Syntax { .. } | Self::TooDeep { .. } => ErrorCode::InvalidJson,
            Self::DuplicateElement { .. }
            | Self::DuplicateKey { .. }
            | Self::NotADataMessage
            | Self::NoTopic => ErrorCode::DeserializationFailed,
            Self::NotAValue { .. } | Self::Content { .. } => ErrorCode::TypeClash,
        }
    }

    /// Whether the text is no JSON at all.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.code() == ErrorCode::InvalidJson
    }
}
