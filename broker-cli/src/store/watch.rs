//! `watch`: the changes of a store as they happen.

use std::time::Duration;

use broker_core::{Data, StoreChange};

use super::{Remote, json_object};
use crate::output::Output;
use crate::signals::StopSignals;
use crate::value;

/// Prints changes until there have been `count`.
pub(super) async fn watch(remote: &Remote, count: Option<u64>) -> anyhow::Result<()> {
    let mut signals = StopSignals::install()?;
    let mut changes = remote.door.watch().await?;
    crate::supervisor::eprintln_line("watching");
    let mut output = Output::stdout();
    let mut left = count;
    while left != Some(0) {
        let change = tokio::select! {
            change = changes.recv() => change?,
            _ = signals.received() => break,
        };
        output.line(if remote.json {
            json_line(&change)
        } else {
            text_line(&change).into_bytes()
        })?;
        output.flush()?;
        left = left.map(|left| left - 1);
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

/// `update KEY VALUE`, separated by tabs.
fn text_line(change: &StoreChange) -> String {
    let change = Change::from(change);
    let mut line = format!("{}\t{}", change.what, value::print(change.key));
    if let Some(data) = change.value {
        line.push('\t');
        line.push_str(&value::print(data));
    }
    line
}

/// `{"change":"update","key":V,"old":V,"value":V,"expiry":SECS}`.
fn json_line(change: &StoreChange) -> Vec<u8> {
    let change = Change::from(change);
    let mut members = vec![("key", change.key)];
    members.extend(change.old.map(|old| ("old", old)));
    members.extend(change.value.map(|value| ("value", value)));
    let mut line = format!("{{\"change\":\"{}\",", change.what).into_bytes();
    line.extend(&json_object(&members)[1..]);
    if let Some(expiry) = change.expiry {
        line.pop();
        line.extend(
            format!(
                ",\"expiry\":{}.{:09}}}",
                expiry.as_secs(),
                expiry.subsec_nanos()
            )
            .into_bytes(),
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_either_way() {
        let change = StoreChange::Update {
            key: Data::from("k"),
            old: Data::from(1u64),
            new: Data::from(2u64),
            expiry: Some(Duration::from_millis(2_500)),
        };
        assert_eq!(text_line(&change), "update\t\"k\"\t2u");
        let json: serde_json::Value = serde_json::from_slice(&json_line(&change)).expect("json");
        assert_eq!(json["change"], "update");
        assert_eq!(json["old"]["data"], 1);
        assert_eq!(json["expiry"].as_f64(), Some(2.5));
        let erased: serde_json::Value = serde_json::from_slice(&json_line(&StoreChange::Erase {
            key: Data::from("k"),
        }))
        .expect("json");
        assert_eq!(erased["key"]["data"], "k");
    }
}
