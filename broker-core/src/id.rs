//! Identities: an endpoint is a UUID, an entity is something living on an endpoint.
//!
//! On the wire an endpoint ID is 16 raw bytes, all zero meaning nil, and an entity ID is an endpoint
//! ID plus a big-endian u64 object number (broker-wire reference, section 0). The text form is the
//! canonical lower-case 8-4-4-4-12 one. IDs drawn here are version 4, because a C++ peer cannot turn
//! texts with a version nibble above 5 back into IDs.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The identity of one endpoint, new at each start.
///
/// Ordering is bytewise, first byte most significant; of two peers the one with the smaller ID is the
/// originator of the handshake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EndpointId([u8; 16]);

impl EndpointId {
    /// Nobody in particular: as a receiver, everybody who subscribed.
    pub const NIL: Self = Self([0; 16]);

    /// A fresh random ID (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self(*Uuid::new_v4().as_bytes())
    }

    /// The ID with exactly these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes that go on the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is the nil ID.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an endpoint ID (expected a UUID)")]
pub struct InvalidEndpointId {
    text: String,
}

impl FromStr for EndpointId {
    type Err = InvalidEndpointId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text)
            .map(|uuid| Self(*uuid.as_bytes()))
            .map_err(|_| InvalidEndpointId {
                text: text.chars().take(64).collect(),
            })
    }
}

/// Something on an endpoint that sends or receives store commands: a master, a clone, a requester.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId {
    /// Where it lives.
    pub endpoint: EndpointId,
    /// Which one it is there.
    pub object: u64,
}

impl EntityId {
    /// Nobody in particular; as the receiver of a command, everybody.
    pub const NIL: Self = Self {
        endpoint: EndpointId::NIL,
        object: 0,
    };

    /// Object `object` of `endpoint`.
    #[must_use]
    pub const fn new(endpoint: EndpointId, object: u64) -> Self {
        Self { endpoint, object }
    }

    /// Whether this is the nil entity.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.object, self.endpoint)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_canonical_form_and_reads_back() {
        let id = EndpointId::from_bytes([
            0x8a, 0xaa, 0x18, 0x6e, 0x98, 0x2c, 0x59, 0x0e, 0xaa, 0xd7, 0x58, 6, 0x25, 0xaa, 0xa0,
            0x20,
        ]);
        assert_eq!(id.to_string(), "8aaa186e-982c-590e-aad7-580625aaa020");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("worker-1".parse::<EndpointId>().is_err());
    }

    #[test]
    fn random_ids_differ_and_are_version_4() {
        let (a, b) = (EndpointId::random(), EndpointId::random());
        assert_ne!(a, b);
        assert_eq!(a.as_bytes()[6] >> 4, 4);
    }

    #[test]
    fn the_smaller_id_is_decided_by_the_first_byte() {
        let mut low = [0xff; 16];
        low[0] = 0;
        assert!(EndpointId::from_bytes(low) < EndpointId::from_bytes([1; 16]));
        assert!(EndpointId::NIL.is_nil());
    }
}
