//! An event with what is known about it.

use broker_core::convert::{ArgsError, FromArgs};
use broker_core::zeek::{Event, NETWORK_TIMESTAMP};
use broker_core::{ByteString, Data, Timestamp, Topic};

/// An event that came, its arguments read as `A`.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming<A> {
    /// The topic it was published to; empty for an event of the node itself.
    pub topic: Topic,
    /// Its name.
    pub name: ByteString,
    /// Its arguments.
    pub args: A,
    /// What was said about it, by key; see [`NETWORK_TIMESTAMP`].
    pub metadata: Vec<(u64, Data)>,
}

impl<A> Incoming<A> {
    /// The network time at its sender, if it came with it.
    #[must_use]
    pub fn network_timestamp(&self) -> Option<Timestamp> {
        self.metadata_value(NETWORK_TIMESTAMP)?.as_timestamp()
    }

    /// The first value under a metadata key.
    #[must_use]
    pub fn metadata_value(&self, key: u64) -> Option<&Data> {
        self.metadata
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, value)| value)
    }
}

impl<A: FromArgs> Incoming<A> {
    /// Reads the arguments of an event.
    ///
    /// # Errors
    /// They are not those of `A`.
    pub fn read(topic: &Topic, event: &Event) -> Result<Self, ArgsError> {
        Ok(Self {
            topic: topic.clone(),
            name: event.name.clone(),
            args: A::from_args(&event.args)?,
            metadata: event.metadata.clone().unwrap_or_default(),
        })
    }
}
