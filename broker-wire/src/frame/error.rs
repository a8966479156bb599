//! What can be wrong with the bytes of a peering stream.

/// Why bytes are not a frame. The peer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length prefix announces more than is taken.
    #[error("a message of {len} bytes is longer than the limit of {limit}")]
    TooLong {
        /// What the prefix says.
        len: usize,
        /// The limit at that moment.
        limit: usize,
    },
    /// The compression flag is set, or is not a flag at all.
    #[error("compression flag {flag}, but no compression was agreed")]
    Compressed {
        /// The flag.
        flag: u8,
    },
    /// The stream ended within a message.
    #[error("the stream ended within a message")]
    Incomplete,
    /// A field runs beyond the end of its message.
    #[error("{field} runs beyond the end")]
    Truncated {
        /// Which.
        field: &'static str,
    },
    /// A number has more than ten bytes.
    #[error("{field} is no number")]
    BadVarint {
        /// Which.
        field: &'static str,
    },
    /// A field number of zero, a wire type there is none, or not the one the field has.
    #[error("bad key of a field in {within}")]
    BadKey {
        /// In which message.
        within: &'static str,
    },
    /// An identity that is not 16 bytes long.
    #[error("{field} of {len} bytes, not 16")]
    BadId {
        /// Which.
        field: &'static str,
        /// How long it is.
        len: usize,
    },
    /// A topic longer than topics are.
    #[error("a topic of {len} bytes")]
    LongTopic {
        /// How long it is.
        len: usize,
    },
    /// More fields than there can be a use for.
    #[error("more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// Messages in messages in messages.
    #[error("messages are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A frame of the handshake after its end.
    #[error("a frame of the handshake after its end")]
    LateHandshake,
}
