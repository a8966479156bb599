//! Why bytes are not a value.

use crate::code::ErrorCode;

/// Why bytes are not a value or not a message. The bytes came from a peer or a file, and that is where the fault lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{field} is cut off")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A count is larger than the remaining bytes can hold.
    #[error("{field} says {count}, but only {remaining} bytes follow")]
    CountTooLarge {
        /// What was being counted.
        field: &'static str,
        /// The count that was read.
        count: u32,
        /// The bytes left for these elements.
        remaining: usize,
    },
    /// A varbyte goes on after five bytes.
    #[error("{field} has more than five bytes")]
    VarbyteTooLong {
        /// What was being read.
        field: &'static str,
    },
    /// A type tag above 14.
    #[error("{0} is no type tag")]
    UnknownTag(u8),
    /// A port protocol above 3 where that is not let pass.
    #[error("{0} is no port protocol")]
    UnknownProtocol(u8),
    /// Containers nested too deep.
    #[error("containers are nested more than {limit} deep")]
    TooDeep {
        /// The limit.
        limit: u16,
    },
    /// A set holds an element twice.
    #[error("a set holds an element twice")]
    DuplicateElement,
    /// A table holds a key twice.
    #[error("a table holds a key twice")]
    DuplicateKey,
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
}

impl DecodeError {
    /// The code Broker uses for it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. }
            | Self::CountTooLarge { .. }
            | Self::VarbyteTooLong { .. }
            | Self::UnknownTag(_)
            | Self::UnknownProtocol(_)
            | Self::TooDeep { .. }
            | Self::DuplicateElement
            | Self::DuplicateKey
            | Self::TrailingBytes(_) => ErrorCode::DeserializationFailed,
        }
    }
}
