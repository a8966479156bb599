//! A message as applications see it: a topic and one value.
//!
//! The payload is held encoded, decoded, or both: it is encoded at most once however many peers get
//! it, and decoded only if somebody reads it. Cloning shares everything.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::binary::DecodeError;
use crate::data::Data;
use crate::id::EndpointId;
use crate::topic::Topic;
use crate::view::DataView;

/// A topic and a value on their way to subscribers.
#[derive(Clone, Debug)]
pub struct Message {
    topic: Topic,
    payload: Payload,
    /// The peer it came from; nil if it was published in this process.
    peer: EndpointId,
}

#[derive(Clone, Debug)]
enum Payload {
    Encoded {
        bytes: Bytes,
        decoded: OnceLock<Arc<Data>>,
    },
    Decoded {
        data: Arc<Data>,
        encoded: OnceLock<Bytes>,
    },
}

impl Message {
    /// A message with a value that is encoded when first needed.
    #[must_use]
    pub fn new(topic: Topic, data: impl Into<Data>) -> Self {
        Self {
            topic,
            payload: Payload::Decoded {
                data: Arc::new(data.into()),
                encoded: OnceLock::new(),
            },
            peer: EndpointId::NIL,
        }
    }

    /// A message whose value is already encoded; it is decoded, and found to be bad, when first read.
    #[must_use]
    pub const fn from_encoded(topic: Topic, bytes: Bytes) -> Self {
        Self {
            topic,
            payload: Payload::Encoded {
                bytes,
                decoded: OnceLock::new(),
            },
            peer: EndpointId::NIL,
        }
    }

    /// The same, come from a peer.
    pub(crate) const fn with_peer(mut self, peer: EndpointId) -> Self {
        self.peer = peer;
        self
    }

    /// The peer that this message came from: the other end of the connection, whatever the message says, and not who published
    /// it first if others have passed it on. `None` if it was published in this process, or by a client of it.
    #[must_use]
    pub fn peer(&self) -> Option<EndpointId> {
        (!self.peer.is_nil()).then_some(self.peer)
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The value, decoded on the first call.
    ///
    /// # Errors
    /// The payload is not exactly one valid value.
    pub fn data(&self) -> Result<&Data, DecodeError> {
        match &self.payload {
            Payload::Decoded { data, .. } => Ok(data),
            Payload::Encoded { bytes, decoded } => {
                if let Some(data) = decoded.get() {
                    return Ok(data);
                }
                let data = Arc::new(Data::decode(bytes)?);
                Ok(decoded.get_or_init(|| data))
            }
        }
    }

    /// The value read in place, without allocation if it came encoded.
    ///
    /// # Errors
    /// The payload is not exactly one valid value.
    pub fn view(&self) -> Result<DataView<'_>, DecodeError> {
        DataView::parse(self.encoded())
    }

    /// The encoded value, encoded on the first call.
    pub fn encoded(&self) -> &Bytes {
        match &self.payload {
            Payload::Encoded { bytes, .. } => bytes,
            Payload::Decoded { data, encoded } => encoded.get_or_init(|| data.to_bytes()),
        }
    }

    /// Topic and value, decoding if need be.
    ///
    /// # Errors
    /// The payload is not exactly one valid value.
    pub fn into_parts(self) -> Result<(Topic, Data), DecodeError> {
        let data = match self.payload {
            Payload::Decoded { data, .. } => Arc::unwrap_or_clone(data),
            Payload::Encoded { bytes, decoded } => match decoded.into_inner() {
                Some(data) => Arc::unwrap_or_clone(data),
                None => Data::decode(&bytes)?,
            },
        };
        Ok((self.topic, data))
    }

    /// What the message counts for in a queue, in bytes; an estimate while it is not encoded.
    pub(crate) fn weight(&self) -> usize {
        const OVERHEAD: usize = 64;
        const UNENCODED_GUESS: usize = 256;
        let payload = match &self.payload {
            Payload::Encoded { bytes, .. } => bytes.len(),
            Payload::Decoded { encoded, .. } => encoded.get().map_or(UNENCODED_GUESS, Bytes::len),
        };
        OVERHEAD + self.topic.as_bytes().len() + payload
    }
}

impl PartialEq for Message {
    /// Same topic and same encoded bytes.
    fn eq(&self, other: &Self) -> bool {
        self.topic == other.topic && self.encoded() == other.encoded()
    }
}
