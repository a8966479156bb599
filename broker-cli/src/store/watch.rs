//! `watch`: the changes of a store as they happen.

use std::time::Duration;

use broker_core::{Data, StoreChange, WatchItem, WatchRequest};

use super::{Remote, json_object};
use crate::output::Output;
use crate::signals::StopSignals;
use crate::value;

/// Prints what comes until there have been `count` changes.
pub(super) async fn watch(
    remote: &Remote,
    request: WatchRequest,
    count: Option<u64>,
) -> anyhow::Result<()> {
    let mut signals = StopSignals::install()?;
    let mut items = remote.door.watch(request).await?;
    crate::supervisor::eprintln_line("watching");
    let mut output = Output::stdout();
    let mut left = count;
    while left != Some(0) {
        let item = tokio::select! {
            item = items.recv() => item?,
            _ = signals.received() => break,
        };
        let line = if remote.json {
            json_line(&item)
        } else {
            text_line(&item).map(String::into_bytes)
        };
        if let Some(line) = line {
            output.line(line)?;
            output.flush()?;
        }
        if matches!(item, WatchItem::Change { .. }) {
            left = left.map(|left| left - 1);
        }
    }
    Ok(())
}

/// What happened, to which key, with which values, until when.
struct Change<'a> {
    what: &'static str,
    key: &'a Data,
    old: Option<&'a Data>,
    value: Option<&'a Data>,
    expiry: Option<Duration>,
}

impl<'a> From<&'a StoreChange> for Change<'a> {
    fn from(change: &'a StoreChange) -> Self {
        match change {
            StoreChange::Insert { key, value, expiry } => Self {
                what: "insert",
                key,
                old: None,
                value: Some(value),
                expiry: *expiry,
            },
            StoreChange::Update {
                key,
                old,
                new,
                expiry,
            } => Self {
                what: "update",
                key,
                old: Some(old),
                value: Some(new),
                expiry: *expiry,
            },
            StoreChange::Erase { key } => Self {
                what: "erase",
                key,
                old: None,
                value: None,
                expiry: None,
            },
            StoreChange::Expire { key } => Self {
                what: "expire",
                key,
                old: None,
                value: None,
                expiry: None,
            },
            // The enum may grow; a change of a kind we do not know is none we can print.
            _ => Self {
                what: "unknown",
                key: &Data::None,
                old: None,
                value: None,
                expiry: None,
            },
        }
    }
}

/// `update KEY VALUE`, separated by tabs; positions are for programs.
fn text_line(item: &WatchItem) -> Option<String> {
    let (what, key, value) = match item {
        WatchItem::Change { change, .. } => {
            let change = Change::from(change);
            (change.what, change.key, change.value)
        }
        WatchItem::Entry(entry) => ("entry", &entry.key, Some(&entry.value)),
        WatchItem::Reset => return Some("reset".to_owned()),
        _ => return None,
    };
    let mut line = format!("{what}\t{}", value::print(key));
    if let Some(data) = value {
        line.push('\t');
        line.push_str(&value::print(data));
    }
    Some(line)
}

/// `{"change":"update","key":V,"old":V,"value":V,"expiry":SECS,"revision":TEXT}`.
fn json_line(item: &WatchItem) -> Option<Vec<u8>> {
    let (change, revision) = match item {
        WatchItem::Change { revision, change } => (Change::from(change), *revision),
        WatchItem::Entry(entry) => (
            Change {
                what: "entry",
                key: &entry.key,
                old: None,
                value: Some(&entry.value),
                expiry: entry.expires_in,
            },
            None,
        ),
        WatchItem::Reset => return Some(b"{\"change\":\"reset\"}".to_vec()),
        WatchItem::Position(Some(at)) => {
            return Some(format!("{{\"change\":\"none\",\"revision\":\"{at}\"}}").into_bytes());
        }
        _ => return None,
    };
    let mut members = vec![("key", change.key)];
    members.extend(change.old.map(|old| ("old", old)));
    members.extend(change.value.map(|value| ("value", value)));
    let mut line = format!("{{\"change\":\"{}\",", change.what).into_bytes();
    line.extend(&json_object(&members)[1..]);
    line.pop();
    if let Some(expiry) = change.expiry {
        let (secs, nanos) = (expiry.as_secs(), expiry.subsec_nanos());
        line.extend(format!(",\"expiry\":{secs}.{nanos:09}").into_bytes());
    }
    if let Some(at) = revision {
        line.extend(format!(",\"revision\":\"{at}\"").into_bytes());
    }
    line.push(b'}');
    Some(line)
}

#[cfg(test)]
mod tests {
    use broker_core::Revision;

    use super::*;

    #[test]
    fn a_change_is_one_line_either_way() {
        let change = StoreChange::Update {
            key: Data::from("k"),
            old: Data::from(1u64),
            new: Data::from(2u64),
            expiry: Some(Duration::from_millis(2_500)),
        };
        let item = WatchItem::Change {
            revision: Some(Revision {
                history: 1,
                number: 2,
            }),
            change,
        };
        let json = |item: &WatchItem| -> serde_json::Value {
            serde_json::from_slice(&json_line(item).expect("a line")).expect("json")
        };
        assert_eq!(text_line(&item).as_deref(), Some("update\t\"k\"\t2u"));
        let line = json(&item);
        assert_eq!(line["change"], "update");
        assert_eq!(line["old"]["data"], 1);
        assert_eq!(line["expiry"].as_f64(), Some(2.5));
        assert_eq!(line["revision"], "0000000000000001-2");
        let erased = json(&WatchItem::Change {
            revision: None,
            change: StoreChange::Erase {
                key: Data::from("k"),
            },
        });
        assert_eq!(erased["key"]["data"], "k");
        assert_eq!(json(&WatchItem::Reset)["change"], "reset");
        assert_eq!(text_line(&WatchItem::Position(None)), None);
    }
}
