//! Entries and changes of stores as protobuf messages, and back.

use std::time::Duration;

use broker_core::{StoreChange, StoreEntry};

use super::value::{BadValue, value_from_proto, value_to_proto};
use crate::proto::{self, watch_reply::Item};

/// Nanoseconds; what does not fit is as good as for ever.
pub(crate) fn duration_to_proto(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn duration_from_proto(nanos: Option<u64>) -> Option<Duration> {
    nanos.map(Duration::from_nanos)
}

pub(crate) fn entry_to_proto(entry: &StoreEntry, encoded: bool) -> proto::Entry {
    proto::Entry {
        key: Some(value_to_proto(&entry.key, encoded)),
        value: Some(value_to_proto(&entry.value, encoded)),
        expires_in_ns: duration_to_proto(entry.expires_in),
    }
}

pub(crate) fn entry_from_proto(entry: proto::Entry) -> Result<StoreEntry, BadValue> {
    Ok(StoreEntry {
        key: value_from_proto(entry.key)?,
        value: value_from_proto(entry.value)?,
        expires_in: duration_from_proto(entry.expires_in_ns),
    })
}

/// `None` is a change this version of the schema cannot tell.
pub(crate) fn change_to_proto(change: &StoreChange, encoded: bool) -> Option<proto::WatchReply> {
    let value = |data| Some(value_to_proto(data, encoded));
    let item = match change {
        StoreChange::Insert {
            key,
            value: new,
            expiry,
        } => Item::Inserted(proto::Inserted {
            key: value(key),
            value: value(new),
            expiry_ns: duration_to_proto(*expiry),
        }),
        StoreChange::Update {
            key,
            old,
            new,
            expiry,
        } => Item::Updated(proto::Updated {
            key: value(key),
            old_value: value(old),
            new_value: value(new),
            expiry_ns: duration_to_proto(*expiry),
        }),
        StoreChange::Erase { key } => Item::Erased(proto::Erased { key: value(key) }),
        StoreChange::Expire { key } => Item::Expired(proto::Expired { key: value(key) }),
        _ => return None,
    };
    Some(proto::WatchReply { item: Some(item) })
}

/// `None` is no change: the beginning, or something this version does not know.
pub(crate) fn change_from_proto(reply: proto::WatchReply) -> Result<Option<StoreChange>, BadValue> {
    Ok(Some(match reply.item {
        None | Some(Item::Watching(proto::Watching {})) => return Ok(None),
        Some(Item::Inserted(change)) => StoreChange::Insert {
            key: value_from_proto(change.key)?,
            value: value_from_proto(change.value)?,
            expiry: duration_from_proto(change.expiry_ns),
        },
        Some(Item::Updated(change)) => StoreChange::Update {
            key: value_from_proto(change.key)?,
            old: value_from_proto(change.old_value)?,
            new: value_from_proto(change.new_value)?,
            expiry: duration_from_proto(change.expiry_ns),
        },
        Some(Item::Erased(change)) => StoreChange::Erase {
            key: value_from_proto(change.key)?,
        },
        Some(Item::Expired(change)) => StoreChange::Expire {
            key: value_from_proto(change.key)?,
        },
    }))
}

#[cfg(test)]
mod tests {
    use broker_core::Data;

    use super::*;

    #[test]
    fn every_change_reads_back() {
        let (key, old, new) = (Data::from("k"), Data::from(1u64), Data::from(2u64));
        let expiry = Some(Duration::from_secs(3));
        for change in [
            StoreChange::Insert {
                key: key.clone(),
                value: new.clone(),
                expiry,
            },
            StoreChange::Update {
                key: key.clone(),
                old,
                new,
                expiry: None,
            },
            StoreChange::Erase { key: key.clone() },
            StoreChange::Expire { key },
        ] {
            let reply = change_to_proto(&change, false).unwrap();
            assert_eq!(change_from_proto(reply), Ok(Some(change)));
        }
        assert_eq!(change_from_proto(proto::WatchReply::default()), Ok(None));
    }

    #[test]
    fn an_entry_reads_back() {
        let entry = StoreEntry {
            key: Data::from("k"),
            value: Data::None,
            expires_in: Some(Duration::from_nanos(5)),
        };
        assert_eq!(entry_from_proto(entry_to_proto(&entry, true)), Ok(entry));
        assert_eq!(duration_to_proto(Some(Duration::MAX)), Some(u64::MAX));
    }
}
