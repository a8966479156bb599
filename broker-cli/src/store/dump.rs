//! `dump` and `load`: all entries as typed JSON lines, with the time they still have.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Data, StoreEntry, StoreOperation, StoreReply, json};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Remote, json_object};
use crate::failure::complain;
use crate::input::each_line;
use crate::output::Output;
use crate::supervisor::eprintln_line;
use crate::value;

/// Prints all entries, a page at a time.
pub(super) async fn dump(remote: &Remote) -> anyhow::Result<()> {
    if !remote.door.knows_expiries() {
        complain("expiries are not known over this address, and left out");
    }
    let mut output = Output::stdout();
    let mut progress = Progress::new("dumped");
    let mut pages = Pages::default();
    while let Some(entries) = pages.next(remote).await? {
        for entry in &entries {
            output.line(write_entry(entry))?;
        }
        progress.add(entries.len() as u64);
    }
    output.flush()
}

/// What becomes of what is in the store already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The input's entries replace it, other keys stay.
    #[default]
    Overwrite,
    /// It stays; only keys that are free are filled.
    Keep,
    /// Keys that are not in the input are erased once all of it is stored.
    Replace,
}

/// Puts the entries of stdin. The first bad line or refused entry ends it; what was put before stays, and loading the same
/// again does no harm.
pub(super) async fn load(remote: &Remote, existing: Existing) -> anyhow::Result<()> {
    let (sender, mut entries) = mpsc::channel(WRITES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || {
        each_line(std::io::stdin().lock(), read_entry, |line, entry| {
            sender.blocking_send((line, entry)).is_ok()
        })
    });
    let mut load = Load::default();
    let mut progress = Progress::new("loaded");
    let mut seen = HashSet::new();
    while let Some((line, entry)) = entries.recv().await {
        while load.writes.len() >= WRITES_AHEAD || load.keys.contains(&entry.key) {
            load.finish_one().await?;
            progress.add(1);
        }
        if existing == Existing::Replace {
            seen.insert(entry.key.clone());
        }
        load.begin(remote, line, entry, existing);
    }
    while !load.writes.is_empty() {
        load.finish_one().await?;
        progress.add(1);
    }
    // Before anything is erased: input that was cut short must not empty a store.
    reader.await.context("reading stdin")??;
    let erased = match existing {
        Existing::Replace => erase_others(remote, &seen).await?,
        Existing::Overwrite | Existing::Keep => 0,
    };
    progress.finish();
    let mut told = format!("loaded {}", entries_text(load.stored));
    if load.kept > 0 {
        told.push_str(&format!(", kept {} that were there", load.kept));
    }
    if erased > 0 {
        told.push_str(&format!(", erased {erased} that were not in the input"));
    }
    eprintln_line(&told);
    Ok(())
}

/// Writes under way. They are many at once, but never two of one key, so that the last line of a key counts.
#[derive(Default)]
struct Load {
    writes: JoinSet<Write>,
    keys: HashSet<Data>,
    stored: u64,
    kept: u64,
}

struct Write {
    line: u64,
    key: Data,
    result: anyhow::Result<StoreReply>,
}

impl Load {
    fn begin(&mut self, remote: &Remote, line: u64, entry: StoreEntry, existing: Existing) {
        self.keys.insert(entry.key.clone());
        let door = remote.door.clone();
        self.writes.spawn(async move {
            let (key, value, expiry) = (entry.key.clone(), entry.value, entry.expires_in);
            let operation = match existing {
                Existing::Keep => StoreOperation::PutUnique { key, value, expiry },
                Existing::Overwrite | Existing::Replace => {
                    StoreOperation::Put { key, value, expiry }
                }
            };
            let (key, result) = (entry.key, door.execute(operation).await);
            Write { line, key, result }
        });
    }

    async fn finish_one(&mut self) -> anyhow::Result<()> {
        let Some(done) = self.writes.join_next().await else {
            return Ok(());
        };
        let Write { line, key, result } = done.context("a write ended early")?;
        self.keys.remove(&key);
        let reply = result.with_context(|| {
            format!("stdin:{line}: put {} (what was stored before stays; loading all of it again does no harm)", value::print(&key))
        })?;
        match reply {
            StoreReply::Value(Data::Boolean(false)) => self.kept += 1,
            _ => self.stored += 1,
        }
        Ok(())
    }
}

/// Erases every key that is not among `wanted`.
async fn erase_others(remote: &Remote, wanted: &HashSet<Data>) -> anyhow::Result<u64> {
    let (mut pages, mut erased) = (Pages::default(), 0);
    while let Some(entries) = pages.next(remote).await? {
        for entry in entries {
            if !wanted.contains(&entry.key) {
                remote
                    .door
                    .execute(StoreOperation::Erase(entry.key.clone()))
                    .await
                    .with_context(|| format!("erase {}", value::print(&entry.key)))?;
                erased += 1;
            }
        }
    }
    Ok(erased)
}

/// The entries of a store in key order.
#[derive(Default)]
struct Pages {
    after: Option<Data>,
}

impl Pages {
    async fn next(&mut self, remote: &Remote) -> anyhow::Result<Option<Vec<StoreEntry>>> {
        let operation = StoreOperation::Scan {
            after: self.after.take(),
            limit: PAGE,
        };
        let StoreReply::Entries(entries) = remote.door.execute(operation).await? else {
            anyhow::bail!("the node answered without entries")
        };
        self.after = entries.last().map(|last| last.key.clone());
        Ok(self.after.is_some().then_some(entries))
    }
}

fn entries_text(count: u64) -> String {
    let noun = if count == 1 { "entry" } else { "entries" };
    format!("{count} {noun}")
}

/// One line on stderr that counts, where stderr is a terminal.
struct Progress {
    bar: ProgressBar,
    done: u64,
    verb: &'static str,
}

impl Progress {
    fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        Self { bar, done: 0, verb }
    }

    fn add(&mut self, entries: u64) {
        let before = self.done / SHOW_EVERY;
        self.done += entries;
        if self.done / SHOW_EVERY != before {
            self.bar
                .set_message(format!("{} {}", self.verb, entries_text(self.done)));
            self.bar.tick();
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A failure leaves no half line behind either.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
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

/// Writes under way at once; those that arrive together at a master are one transaction.
const WRITES_AHEAD: usize = 128;

/// Progress is shown anew after so many entries.
const SHOW_EVERY: u64 = 1000;

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
        let error = each_line(&input[..], read_entry, |_, entry| {
            entries.push(entry);
            true
        })
        .expect_err("bad");
        assert_eq!(entries.len(), 1);
        assert!(format!("{error:#}").starts_with("stdin:3: "), "{error:#}");
    }
}
