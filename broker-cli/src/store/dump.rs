//! `dump` and `load`: all entries as typed JSON lines, with the time they still have.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Data, StoreEntry, StoreOperation, StoreReply, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Remote, json_object};
use crate::failure::complain;
use crate::input::each_line;
use crate::output::Output;

/// Prints all entries, a page at a time.
pub(super) async fn dump(remote: &Remote) -> anyhow::Result<()> {
    if !remote.door.knows_expiries() {
        complain("expiries are not known over this address, and left out");
    }
    let mut output = Output::stdout();
    let mut after = None;
    loop {
        let reply = remote
            .door
            .execute(StoreOperation::Scan {
                after: after.take(),
                limit: PAGE,
            })
            .await?;
        let StoreReply::Entries(entries) = reply else {
            anyhow::bail!("the node answered without entries")
        };
        let Some(last) = entries.last() else { break };
        after = Some(last.key.clone());
        for entry in &entries {
            output.line(write_entry(entry))?;
        }
    }
    output.flush()
}

/// Puts the entries of stdin. The first bad line or refused entry ends it; what was put before stays.
pub(super) async fn load(remote: &Remote) -> anyhow::Result<()> {
    let (sender, mut entries) = mpsc::channel(WRITES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        each_line(std::io::stdin().lock(), read_entry, |entry| {
            sender.blocking_send(entry).is_ok()
        })
    });
    // Many writes are under way at once, but never two of one key, so that the last line of a key counts.
    let mut writes = JoinSet::new();
    let mut keys = HashSet::new();
    while let Some(entry) = entries.recv().await {
        while writes.len() >= WRITES_AHEAD || keys.contains(&entry.key) {
            finish_one(&mut writes, &mut keys).await?;
        }
        keys.insert(entry.key.clone());
        let door = remote.door.clone();
        writes.spawn(async move {
            let operation = StoreOperation::Put {
                key: entry.key.clone(),
                value: entry.value,
                expiry: entry.expires_in,
            };
            (entry.key, door.execute(operation).await)
        });
    }
    while !writes.is_empty() {
        finish_one(&mut writes, &mut keys).await?;
    }
    reader.await.context("reading stdin")?
}

type Write = (Data, anyhow::Result<StoreReply>);

async fn finish_one(writes: &mut JoinSet<Write>, keys: &mut HashSet<Data>) -> anyhow::Result<()> {
    let Some(done) = writes.join_next().await else {
        return Ok(());
    };
    let (key, result) = done.context("a write ended early")?;
    keys.remove(&key);
    result
        .map(drop)
        .with_context(|| format!("put {}", crate::value::print(&key)))
}

/// An entry as a line of a dump.
fn write_entry(entry: &StoreEntry) -> Vec<u8> {
    let mut line = json_object(&[("key", &entry.key), ("value", &entry.value)]);
    if let Some(left) = entry.expires_in {
        line.pop();
        let mut expiry = String::new();
        write!(
            expiry,
            ",\"expiry\":{}.{:09}}}",
            left.as_secs(),
            left.subsec_nanos()
        )
        .expect("writing to a String does not fail");
        line.extend(expiry.into_bytes());
    }
    line
}

fn read_entry(line: &[u8]) -> anyhow::Result<StoreEntry> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        key: &'a serde_json::value::RawValue,
        #[serde(borrow)]
        value: &'a serde_json::value::RawValue,
        expiry: Option<f64>,
    }
    let line: Line<'_> = serde_json::from_slice(line)
        .context("expected {\"key\":V,\"value\":V} and maybe \"expiry\":SECS")?;
    let expires_in = line.expiry.map(|seconds| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| anyhow::anyhow!("expiry {seconds} is no time to come"))
    });
    Ok(StoreEntry {
        key: json::parse_deep_value(line.key.get().as_bytes()).context("key")?,
        value: json::parse_deep_value(line.value.get().as_bytes()).context("value")?,
        expires_in: expires_in.transpose()?,
    })
}

/// Entries asked for at once.
const PAGE: usize = 1000;

/// Writes under way at once.
const WRITES_AHEAD: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_it_was_dumped() {
        for expires_in in [
            None,
            Some(Duration::from_millis(1_500)),
            Some(Duration::ZERO),
        ] {
            let entry = StoreEntry {
                key: Data::from("a\nb"),
                value: Data::vector([1u64, 2]),
                expires_in,
            };
            let line = write_entry(&entry);
            assert!(!line.contains(&b'\n'));
            assert_eq!(read_entry(&line).expect("an entry"), entry);
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let input = b"{\"key\":{\"@data-type\":\"count\",\"data\":1},\"value\":{\"@data-type\":\"none\"}}\n\nnonsense\n";
        let mut entries = Vec::new();
        let error = each_line(&input[..], read_entry, |entry| {
            entries.push(entry);
            true
        })
        .expect_err("bad");
        assert_eq!(entries.len(), 1);
        assert!(format!("{error:#}").starts_with("stdin:3: "), "{error:#}");
    }
}
