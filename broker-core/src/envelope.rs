//! The envelope: what travels between two peers, whatever the transport.
//!
//! The fields are those of the native header (broker-wire reference, 2.1) plus what our own links
//! carry beyond it: the origin with its sequence number, by which a duplicate is known, and a hop
//! limit. The payload stays encoded: a node that only forwards never looks inside.

use bytes::Bytes;

use crate::id::EndpointId;
use crate::queue::Weigh;
use crate::topic::Topic;

/// The hop limit a message starts with, as the native protocol writes it.
pub const INITIAL_HOPS: u8 = 16;

/// What an envelope carries (broker-wire reference, 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// One value for the subscribers of the topic.
    Data = 1,
    /// One store command for the stores of the topic.
    Command = 2,
    /// The sender's complete new filter, as a topic list.
    RoutingUpdate = 3,
    /// Opaque bytes the receiver sends back.
    Ping = 4,
    /// The bytes of a ping.
    Pong = 5,
}

impl MessageKind {
    /// The kind with this tag, if there is one.
    #[must_use]
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Data),
            2 => Some(Self::Command),
            3 => Some(Self::RoutingUpdate),
            4 => Some(Self::Ping),
            5 => Some(Self::Pong),
            _ => None,
        }
    }

    /// The tag on the wire.
    #[must_use]
    pub const fn tag(self) -> u8 {
        self as u8
    }
}

/// One message on its way. Cloning shares topic and payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The last hop. On receipt it is taken from the connection, never from the bytes.
    pub sender: EndpointId,
    /// Whom it is for; nil means every subscriber of the topic.
    pub receiver: EndpointId,
    /// Who published it first; nil where the link does not say.
    pub origin: EndpointId,
    /// The origin's number for it, from 1; 0 where the link does not say.
    pub sequence: u64,
    /// How many more times it may be forwarded.
    pub hops: u8,
    /// What the payload is.
    pub kind: MessageKind,
    /// The topic.
    pub topic: Topic,
    /// The encoded content.
    pub payload: Bytes,
}

impl Envelope {
    /// A message of `kind` from `sender` to `receiver` that is not numbered.
    #[must_use]
    pub const fn unicast(
        kind: MessageKind,
        sender: EndpointId,
        receiver: EndpointId,
        topic: Topic,
        payload: Bytes,
    ) -> Self {
        Self {
            sender,
            receiver,
            origin: EndpointId::NIL,
            sequence: 0,
            hops: INITIAL_HOPS,
            kind,
            topic,
            payload,
        }
    }
}

/// What an envelope counts for in a queue beyond its topic and payload: the header.
const HEADER_WEIGHT: usize = 64;

impl Weigh for Envelope {
    fn weight(&self) -> usize {
        HEADER_WEIGHT + self.topic.as_bytes().len() + self.payload.len()
    }

    fn droppable(&self) -> bool {
        self.kind == MessageKind::Data
    }
}
