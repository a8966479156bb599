//! Events and identifier updates.

use super::error::MessageError;
use super::message::{MessageType, envelope};
use super::node::Node;
use crate::byte_string::ByteString;
use crate::data::Data;
use crate::time::Timestamp;

/// The metadata key of an event's network time, a timestamp. Keys up to 199 belong to Zeek, 200 and up to its users.
pub const NETWORK_TIMESTAMP: u64 = 1;

/// An event: a name, arguments, and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The name; fully qualified, except that an event of the global scope goes by its bare name.
    pub name: ByteString,
    /// The arguments.
    pub args: Vec<Data>,
    /// Values by key. `None` and `Some` of nothing differ on the wire but mean the same.
    pub metadata: Option<Vec<(u64, Data)>>,
}

impl Event {
    /// An event without metadata.
    #[must_use]
    pub fn new(name: impl Into<ByteString>, args: Vec<Data>) -> Self {
        Self {
            name: name.into(),
            args,
            metadata: None,
        }
    }

    /// This event with a network time.
    #[must_use]
    pub fn with_network_timestamp(mut self, time: Timestamp) -> Self {
        let metadata = self.metadata.get_or_insert_default();
        metadata.retain(|(key, _)| *key != NETWORK_TIMESTAMP);
        metadata.push((NETWORK_TIMESTAMP, time.into()));
        self
    }

    /// The network time, if the event carries one.
    #[must_use]
    pub fn network_timestamp(&self) -> Option<Timestamp> {
        self.metadata_value(NETWORK_TIMESTAMP)?.as_timestamp()
    }

    /// The first value under a metadata key.
    #[must_use]
    pub fn metadata_value(&self, key: u64) -> Option<&Data> {
        self.metadata
            .iter()
            .flatten()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }

    /// The event as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        let mut content = Vec::with_capacity(3);
        content.push(Data::String(self.name));
        content.push(Data::Vector(self.args));
        if let Some(metadata) = self.metadata {
            let entries = metadata
                .into_iter()
                .map(|(key, value)| Data::Vector(vec![Data::Count(key), value]));
            content.push(Data::Vector(entries.collect()));
        }
        envelope(MessageType::Event, content)
    }

    pub(super) fn from_parts<'a, V: Node<'a>>(
        name: &[u8],
        arguments: V,
        metadata: Option<V>,
    ) -> Result<Self, MessageError> {
        let args = arguments
            .vector()
            .into_iter()
            .flatten()
            .map(V::to_owned_data)
            .collect::<Result<_, _>>()?;
        let metadata = metadata
            .map(|metadata| {
                metadata
                    .vector()
                    .into_iter()
                    .flatten()
                    .map(metadata_entry)
                    .collect()
            })
            .transpose()?;
        Ok(Self {
            name: name.into(),
            args,
            metadata,
        })
    }
}

fn metadata_entry<'a, V: Node<'a>>(entry: V) -> Result<(u64, Data), MessageError> {
    let bad = MessageError::Field {
        message: "event",
        field: "metadata",
    };
    let mut entry = entry.vector().ok_or_else(|| bad.clone())?;
    let key = entry.next().and_then(V::count).ok_or_else(|| bad.clone())?;
    Ok((key, entry.next().ok_or(bad)?.to_owned_data()?))
}

/// A new value for a global variable of the receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentifierUpdate {
    /// The name of the variable.
    pub name: ByteString,
    /// Its new value.
    pub value: Data,
}

impl IdentifierUpdate {
    /// The update as a value.
    #[must_use]
    pub fn into_data(self) -> Data {
        envelope(
            MessageType::IdentifierUpdate,
            vec![Data::String(self.name), self.value],
        )
    }
}
