//! The codes Broker uses for errors and for changes of a peering.
//!
//! Numbers travel in a `drop_conn` message, names in error and status events. Both lists are complete and fixed
//! (wire reference 8.4 and 8.5): a number or name outside them is `None`, never a guess.

use std::fmt;

/// What went wrong, as Broker numbers it (wire reference 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// No error.
    None = 0,
    /// An error without a code of its own.
    Unspecified = 1,
    /// The peer speaks no version or feature set that we speak.
    PeerIncompatible = 2,
    /// The named peer does not exist or is not valid here.
    PeerInvalid = 3,
    /// The peer could not be reached.
    PeerUnavailable = 4,
    /// The connection ended before the handshake was complete.
    PeerDisconnectDuringHandshake = 5,
    /// The peer took too long.
    PeerTimeout = 6,
    /// A store of that name has a master already.
    MasterExists = 7,
    /// No master of that store is known.
    NoSuchMaster = 8,
    /// The store has no such key.
    NoSuchKey = 9,
    /// A request got no answer in time.
    RequestTimeout = 10,
    /// A value has another type than the operation needs.
    TypeClash = 11,
    /// A value cannot be used here.
    InvalidData = 12,
    /// The storage backend failed.
    BackendFailure = 13,
    /// The data is outdated.
    StaleData = 14,
    /// A file cannot be opened.
    CannotOpenFile = 15,
    /// A file cannot be written.
    CannotWriteFile = 16,
    /// A topic key is not valid.
    InvalidTopicKey = 17,
    /// The input ended too early.
    EndOfFile = 18,
    /// A type tag is out of range.
    InvalidTag = 19,
    /// A message has no valid form.
    InvalidMessage = 20,
    /// A status value is not valid.
    InvalidStatus = 21,
    /// A conversion between types failed.
    ConversionFailed = 22,
    /// The consumer is attached already.
    ConsumerExists = 23,
    /// Connecting took too long.
    ConnectionTimeout = 24,
    /// An operation was called in a state that does not allow it.
    BadMemberFunctionCall = 25,
    /// A request number was used twice.
    RepeatedRequestId = 26,
    /// A clone lost track of its master.
    BrokenClone = 27,
    /// The endpoint is shutting down.
    ShuttingDown = 28,
    /// A peering request is not valid.
    InvalidPeeringRequest = 29,
    /// A peering was asked for twice.
    RepeatedPeeringHandshakeRequest = 30,
    /// A handshake message came in the wrong state.
    UnexpectedHandshakeMessage = 31,
    /// The handshake is in a state that should not be.
    InvalidHandshakeState = 32,
    /// No connection leads to the peer.
    NoPathToPeer = 33,
    /// Nothing here can open connections.
    NoConnectorAvailable = 34,
    /// A resource cannot be opened.
    CannotOpenResource = 35,
    /// A value could not be encoded.
    SerializationFailed = 36,
    /// Bytes could not be decoded.
    DeserializationFailed = 37,
    /// A frame did not start with the protocol's magic number.
    WrongMagicNumber = 38,
    /// The two endpoints are connected already.
    RedundantConnection = 39,
    /// A rule of the program itself was broken.
    LogicError = 40,
    /// A text is not JSON.
    InvalidJson = 41,
}

impl ErrorCode {
    /// Every code, in the order of its numbers.
    pub const ALL: [Self; 42] = [
        Self::None,
        Self::Unspecified,
        Self::PeerIncompatible,
        Self::PeerInvalid,
        Self::PeerUnavailable,
        Self::PeerDisconnectDuringHandshake,
        Self::PeerTimeout,
        Self::MasterExists,
        Self::NoSuchMaster,
        Self::NoSuchKey,
        Self::RequestTimeout,
        Self::TypeClash,
        Self::InvalidData,
        Self::BackendFailure,
        Self::StaleData,
        Self::CannotOpenFile,
        Self::CannotWriteFile,
        Self::InvalidTopicKey,
        Self::EndOfFile,
        Self::InvalidTag,
        Self::InvalidMessage,
        Self::InvalidStatus,
        Self::ConversionFailed,
        Self::ConsumerExists,
        Self::ConnectionTimeout,
        Self::BadMemberFunctionCall,
        Self::RepeatedRequestId,
        Self::BrokenClone,
        Self::ShuttingDown,
        Self::InvalidPeeringRequest,
        Self::RepeatedPeeringHandshakeRequest,
        Self::UnexpectedHandshakeMessage,
        Self::InvalidHandshakeState,
        Self::NoPathToPeer,
        Self::NoConnectorAvailable,
        Self::CannotOpenResource,
        Self::SerializationFailed,
        Self::DeserializationFailed,
        Self::WrongMagicNumber,
        Self::RedundantConnection,
        Self::LogicError,
        Self::InvalidJson,
    ];

    /// The code with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The code with this name, as error events carry it.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| code.name().as_bytes() == name)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The bare name that error events carry as an enum value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unspecified => "unspecified",
            Self::PeerIncompatible => "peer_incompatible",
            Self::PeerInvalid => "peer_invalid",
            Self::PeerUnavailable => "peer_unavailable",
            Self::PeerDisconnectDuringHandshake => "peer_disconnect_during_handshake",
            Self::PeerTimeout => "peer_timeout",
            Self::MasterExists => "master_exists",
            Self::NoSuchMaster => "no_such_master",
            Self::NoSuchKey => "no_such_key",
            Self::RequestTimeout => "request_timeout",
            Self::TypeClash => "type_clash",
            Self::InvalidData => "invalid_data",
            Self::BackendFailure => "backend_failure",
            Self::StaleData => "stale_data",
            Self::CannotOpenFile => "cannot_open_file",
            Self::CannotWriteFile => "cannot_write_file",
            Self::InvalidTopicKey => "invalid_topic_key",
            Self::EndOfFile => "end_of_file",
            Self::InvalidTag => "invalid_tag",
            Self::InvalidMessage => "invalid_message",
            Self::InvalidStatus => "invalid_status",
            Self::ConversionFailed => "conversion_failed",
            Self::ConsumerExists => "consumer_exists",
            Self::ConnectionTimeout => "connection_timeout",
            Self::BadMemberFunctionCall => "bad_member_function_call",
            Self::RepeatedRequestId => "repeated_request_id",
            Self::BrokenClone => "broken_clone",
            Self::ShuttingDown => "shutting_down",
            Self::InvalidPeeringRequest => "invalid_peering_request",
            Self::RepeatedPeeringHandshakeRequest => "repeated_peering_handshake_request",
            Self::UnexpectedHandshakeMessage => "unexpected_handshake_message",
            Self::InvalidHandshakeState => "invalid_handshake_state",
            Self::NoPathToPeer => "no_path_to_peer",
            Self::NoConnectorAvailable => "no_connector_available",
            Self::CannotOpenResource => "cannot_open_resource",
            Self::SerializationFailed => "serialization_failed",
            Self::DeserializationFailed => "deserialization_failed",
            Self::WrongMagicNumber => "wrong_magic_number",
            Self::RedundantConnection => "redundant_connection",
            Self::LogicError => "logic_error",
            Self::InvalidJson => "invalid_json",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a peering changed, as Broker numbers it (wire reference 8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// No status.
    Unspecified = 0,
    /// A peering is complete.
    PeerAdded = 1,
    /// A peering was ended from this side.
    PeerRemoved = 2,
    /// A peering ended without a decision of this side.
    PeerLost = 3,
    /// An endpoint became reachable.
    EndpointDiscovered = 4,
    /// The last path to an endpoint is gone.
    EndpointUnreachable = 5,
}

impl StatusCode {
    /// Every code, in the order of its numbers.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::PeerAdded,
        Self::PeerRemoved,
        Self::PeerLost,
        Self::EndpointDiscovered,
        Self::EndpointUnreachable,
    ];

    /// The code with this number.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The code with this name, as status events carry it.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| code.name().as_bytes() == name)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The bare name that status events carry as an enum value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::PeerAdded => "peer_added",
            Self::PeerRemoved => "peer_removed",
            Self::PeerLost => "peer_lost",
            Self::EndpointDiscovered => "endpoint_discovered",
            Self::EndpointUnreachable => "endpoint_unreachable",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_code() {
        for (number, code) in (0u8..).zip(ErrorCode::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(ErrorCode::from_u8(number), Some(code));
            assert_eq!(ErrorCode::from_name(code.name().as_bytes()), Some(code));
        }
        for (number, code) in (0u8..).zip(StatusCode::ALL) {
            assert_eq!(code.number(), number);
            assert_eq!(StatusCode::from_u8(number), Some(code));
            assert_eq!(StatusCode::from_name(code.name().as_bytes()), Some(code));
        }
    }

    #[test]
    fn what_is_outside_the_lists_has_no_code() {
        assert_eq!(ErrorCode::from_u8(42), None);
        assert_eq!(ErrorCode::from_name(b"No_Such_Key"), None);
        assert_eq!(StatusCode::from_u8(6), None);
        assert_eq!(StatusCode::from_name(b""), None);
    }

    #[test]
    fn the_numbers_seen_in_drop_conn_are_the_reference_ones() {
        assert_eq!(ErrorCode::RedundantConnection.number(), 39);
        assert_eq!(ErrorCode::DeserializationFailed.number(), 37);
        assert_eq!(ErrorCode::TypeClash.number(), 11);
        assert_eq!(ErrorCode::InvalidJson.number(), 41);
    }
}
