//! Store events: what changed at a master or clone, for whoever watches (wire reference 7.9).
//!
//! They are a stream at the store's handle and, as vectors, messages on the local topic
//! `<$>/local/data/store-events/NAME`, which never leaves the node.

use std::sync::Arc;

use broker_core::{Data, EntityId, StoreChange, Timespan};

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEvent {
    /// A new key.
    Insert {
        /// The store.
        store: Arc<str>,
        /// The key.
        key: Data,
        /// Its value.
        value: Data,
        /// Its lifetime, where it is known.
        expiry: Option<Timespan>,
        /// Who caused it.
        publisher: EntityId,
    },
    /// A new value for a key.
    Update {
        /// The store.
        store: Arc<str>,
        /// The key.
        key: Data,
        /// What was there.
        old: Data,
        /// What is there now.
        new: Data,
        /// Its lifetime, where it is known.
        expiry: Option<Timespan>,
        /// Who caused it.
        publisher: EntityId,
    },
    /// A key was removed.
    Erase {
        /// The store.
        store: Arc<str>,
        /// The key.
        key: Data,
        /// Who caused it.
        publisher: EntityId,
    },
    /// A key's time was up.
    Expire {
        /// The store.
        store: Arc<str>,
        /// The key.
        key: Data,
        /// Who noticed: the master.
        publisher: EntityId,
    },
}

impl StoreEvent {
    /// The key that changed.
    #[must_use]
    pub const fn key(&self) -> &Data {
        match self {
            Self::Insert { key, .. }
            | Self::Update { key, .. }
            | Self::Erase { key, .. }
            | Self::Expire { key, .. } => key,
        }
    }

    /// The event as the vector that is published on the local topic.
    #[must_use]
    pub fn to_data(&self) -> Data {
        let (name, store, key, values, publisher) = match self {
            Self::Insert {
                store,
                key,
                value,
                expiry,
                publisher,
            } => (
                "insert",
                store,
                key,
                vec![value.clone(), (*expiry).into()],
                publisher,
            ),
            Self::Update {
                store,
                key,
                old,
                new,
                expiry,
                publisher,
            } => (
                "update",
                store,
                key,
                vec![old.clone(), new.clone(), (*expiry).into()],
                publisher,
            ),
            Self::Erase {
                store,
                key,
                publisher,
            } => ("erase", store, key, Vec::new(), publisher),
            Self::Expire {
                store,
                key,
                publisher,
            } => ("expire", store, key, Vec::new(), publisher),
        };
        let mut vector = Vec::with_capacity(8);
        vector.extend([name.into(), (**store).into(), key.clone()]);
        vector.extend(values);
        if publisher.is_nil() {
            vector.extend([Data::None, Data::None]);
        } else {
            vector.extend([
                publisher.endpoint.to_string().into(),
                publisher.object.into(),
            ]);
        }
        Data::Vector(vector)
    }

    /// The change without store and publisher.
    #[must_use]
    pub fn to_change(&self) -> StoreChange {
        let lifetime = |expiry: &Option<Timespan>| expiry.and_then(Timespan::to_duration);
        match self {
            Self::Insert {
                key, value, expiry, ..
            } => StoreChange::Insert {
                key: key.clone(),
                value: value.clone(),
                expiry: lifetime(expiry),
            },
            Self::Update {
                key,
                old,
                new,
                expiry,
                ..
            } => StoreChange::Update {
                key: key.clone(),
                old: old.clone(),
                new: new.clone(),
                expiry: lifetime(expiry),
            },
            Self::Erase { key, .. } => StoreChange::Erase { key: key.clone() },
            Self::Expire { key, .. } => StoreChange::Expire { key: key.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use broker_core::EndpointId;

    use super::*;

    #[test]
    fn events_are_the_vectors_of_the_reference() {
        let endpoint: EndpointId = "ffffffff-ffff-4fff-bfff-ffffffffffff".parse().unwrap();
        let publisher = EntityId::new(endpoint, 7);
        let store: Arc<str> = "hosts".into();
        let tail = || {
            [
                Data::from("ffffffff-ffff-4fff-bfff-ffffffffffff"),
                Data::Count(7),
            ]
        };
        let vector = |head: &[Data]| Data::Vector(head.iter().cloned().chain(tail()).collect());
        let insert = StoreEvent::Insert {
            store: store.clone(),
            key: "k".into(),
            value: 1u64.into(),
            expiry: Some(Timespan::from_nanos(5)),
            publisher,
        };
        assert_eq!(
            insert.to_data(),
            vector(&[
                "insert".into(),
                "hosts".into(),
                "k".into(),
                1u64.into(),
                Timespan::from_nanos(5).into()
            ])
        );
        let update = StoreEvent::Update {
            store: store.clone(),
            key: "k".into(),
            old: 1u64.into(),
            new: 2u64.into(),
            expiry: None,
            publisher,
        };
        assert_eq!(
            update.to_data(),
            vector(&[
                "update".into(),
                "hosts".into(),
                "k".into(),
                1u64.into(),
                2u64.into(),
                Data::None
            ])
        );
        let erase = StoreEvent::Erase {
            store: store.clone(),
            key: "k".into(),
            publisher,
        };
        assert_eq!(
            erase.to_data(),
            vector(&["erase".into(), "hosts".into(), "k".into()])
        );
        let expire = StoreEvent::Expire {
            store,
            key: "k".into(),
            publisher: EntityId::NIL,
        };
        assert_eq!(
            expire.to_data(),
            Data::vector([
                Data::from("expire"),
                "hosts".into(),
                "k".into(),
                Data::None,
                Data::None
            ])
        );
    }
}
