//! Entries and changes of stores as protobuf messages, and back.

use std::time::Duration;

use broker_core::{
    CopyOutcome, CopyReport, Difference, DifferenceKind, EndpointId, Revision, RevisionError,
    StoreChange, StoreEntry, VerifyReport, WatchItem, WatchKeys, WatchRequest,
};
use bytes::Bytes;

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

/// `None` is an item this version of the schema cannot tell.
pub(crate) fn item_to_proto(item: &WatchItem, encoded: bool) -> Option<proto::WatchReply> {
    let (revision, item) = match item {
        WatchItem::Position(revision) => (*revision, Item::Position(proto::Position {})),
        WatchItem::Reset => (None, Item::Reset(proto::Reset {})),
        WatchItem::Entry(entry) => (None, Item::Entry(entry_to_proto(entry, encoded))),
        WatchItem::Change { revision, change } => (*revision, change_to_proto(change, encoded)?),
        _ => return None,
    };
    Some(proto::WatchReply {
        revision: revision_to_proto(revision),
        item: Some(item),
    })
}

fn change_to_proto(change: &StoreChange, encoded: bool) -> Option<Item> {
    let value = |data| Some(value_to_proto(data, encoded));
    Some(match change {
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
    })
}

/// `None` is the beginning, or something this version does not know.
pub(crate) fn item_from_proto(reply: proto::WatchReply) -> Result<Option<WatchItem>, BadValue> {
    let revision = reply.revision.parse().ok();
    let change = match reply.item {
        None | Some(Item::Watching(proto::Watching {})) => return Ok(None),
        Some(Item::Position(proto::Position {})) => return Ok(Some(WatchItem::Position(revision))),
        Some(Item::Reset(proto::Reset {})) => return Ok(Some(WatchItem::Reset)),
        Some(Item::Entry(entry)) => {
            return Ok(Some(WatchItem::Entry(entry_from_proto(entry)?)));
        }
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
    };
    Ok(Some(WatchItem::Change { revision, change }))
}

pub(crate) fn watch_to_proto(store: &str, request: &WatchRequest) -> proto::WatchRequest {
    use proto::watch_request::Keys;
    proto::WatchRequest {
        store: store.to_owned(),
        encoded: true,
        keys: match &request.keys {
            WatchKeys::Key(key) => Some(Keys::Key(value_to_proto(key, true))),
            WatchKeys::Prefix(prefix) => Some(Keys::Prefix(value_to_proto(prefix, true))),
            _ => None,
        },
        from: revision_to_proto(request.from),
    }
}

/// What to watch; the error says what is wrong with it.
pub(crate) fn watch_from_proto(
    keys: Option<proto::watch_request::Keys>,
    from: &str,
) -> Result<WatchRequest, String> {
    use proto::watch_request::Keys;
    let value = |value| value_from_proto(Some(value)).map_err(|error| error.to_string());
    let from = match from {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error: RevisionError| error.to_string())?,
        ),
    };
    let keys = match keys {
        None => WatchKeys::All,
        Some(Keys::Key(key)) => WatchKeys::Key(value(key)?),
        Some(Keys::Prefix(prefix)) => WatchKeys::Prefix(value(prefix)?),
    };
    Ok(WatchRequest { keys, from })
}

fn revision_to_proto(revision: Option<Revision>) -> String {
    revision
        .map(|revision| revision.to_string())
        .unwrap_or_default()
}

pub(crate) fn report_to_proto(report: VerifyReport, encoded: bool) -> proto::VerifyReply {
    use proto::difference::Kind;
    let copies = report.copies.into_iter().map(|copy| {
        let (unknown, count, differences) = match copy.outcome {
            CopyOutcome::Unknown { reason } => (reason, 0, Vec::new()),
            CopyOutcome::Differs { differences, count } => (String::new(), count, differences),
            _ => (String::new(), 0, Vec::new()),
        };
        let differences = differences.iter().map(|difference| proto::Difference {
            key: Some(value_to_proto(&difference.key, encoded)),
            kind: match difference.kind {
                DifferenceKind::Missing => Kind::Missing,
                DifferenceKind::Extra => Kind::Extra,
                _ => Kind::Value,
            }
            .into(),
        });
        proto::CopyReport {
            endpoint: Bytes::copy_from_slice(copy.endpoint.as_bytes()),
            name: copy.name,
            unknown,
            count,
            differences: differences.collect(),
        }
    });
    proto::VerifyReply {
        revision: report.revision.to_string(),
        entries: report.entries,
        digest: report.digest,
        copies: copies.collect(),
    }
}

pub(crate) fn report_from_proto(reply: proto::VerifyReply) -> Result<VerifyReport, String> {
    use proto::difference::Kind;
    let difference = |difference: proto::Difference| {
        let kind = match difference.kind() {
            Kind::Missing => DifferenceKind::Missing,
            Kind::Extra => DifferenceKind::Extra,
            Kind::Value => DifferenceKind::Value,
        };
        let key = value_from_proto(difference.key).map_err(|error| error.to_string())?;
        Ok::<_, String>(Difference { key, kind })
    };
    let copies = reply.copies.into_iter().map(|copy| {
        let endpoint = <[u8; 16]>::try_from(&copy.endpoint[..])
            .map_err(|_| "an endpoint ID has 16 bytes".to_owned())?;
        let outcome = match (copy.unknown, copy.count) {
            (reason, _) if !reason.is_empty() => CopyOutcome::Unknown { reason },
            (_, 0) => CopyOutcome::Equal,
            (_, count) => CopyOutcome::Differs {
                differences: copy
                    .differences
                    .into_iter()
                    .map(difference)
                    .collect::<Result<_, _>>()?,
                count,
            },
        };
        Ok(CopyReport {
            endpoint: EndpointId::from_bytes(endpoint),
            name: copy.name,
            outcome,
        })
    });
    Ok(VerifyReport {
        revision: reply
            .revision
            .parse()
            .map_err(|error: RevisionError| error.to_string())?,
        entries: reply.entries,
        digest: reply.digest,
        copies: copies.collect::<Result<_, String>>()?,
    })
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
            let item = WatchItem::Change {
                revision: Some(Revision {
                    history: 1,
                    number: 2,
                }),
                change,
            };
            let reply = item_to_proto(&item, false).unwrap();
            assert_eq!(item_from_proto(reply), Ok(Some(item)));
        }
        for item in [WatchItem::Position(None), WatchItem::Reset] {
            let reply = item_to_proto(&item, false).unwrap();
            assert_eq!(item_from_proto(reply), Ok(Some(item)));
        }
        assert_eq!(item_from_proto(proto::WatchReply::default()), Ok(None));
    }

    #[test]
    fn a_request_to_watch_reads_back_or_says_what_is_wrong() {
        for keys in [
            WatchKeys::All,
            WatchKeys::Key("k".into()),
            WatchKeys::Prefix("k".into()),
        ] {
            let from = Some(Revision {
                history: 7,
                number: 8,
            });
            let request = WatchRequest { keys, from };
            let sent = watch_to_proto("s", &request);
            assert_eq!(watch_from_proto(sent.keys, &sent.from), Ok(request));
        }
        assert!(watch_from_proto(None, "seven").is_err());
    }

    #[test]
    fn a_report_reads_back() {
        let copy = |outcome| CopyReport {
            endpoint: EndpointId::from_bytes([7; 16]),
            name: "worker".to_owned(),
            outcome,
        };
        let report = VerifyReport {
            revision: Revision {
                history: 1,
                number: 2,
            },
            entries: 3,
            digest: "00".to_owned(),
            copies: vec![
                copy(CopyOutcome::Equal),
                copy(CopyOutcome::Unknown {
                    reason: "why".to_owned(),
                }),
                copy(CopyOutcome::Differs {
                    differences: vec![Difference {
                        key: "k".into(),
                        kind: DifferenceKind::Extra,
                    }],
                    count: 9,
                }),
            ],
        };
        let sent = report_to_proto(report.clone(), false);
        assert_eq!(report_from_proto(sent), Ok(report));
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
