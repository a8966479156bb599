//! `dump`: all entries as typed JSON lines, with the time they still have; and how `load` reads them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use broker_core::{Data, StoreEntry, StoreOperation, StoreReply, json};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Remote, json_object};
use crate::failure::complain;
use crate::output::Output;

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

/// The entries of a store in key order.
#[derive(Default)]
pub(super) struct Pages {
    after: Option<Data>,
}

impl Pages {
    pub(super) async fn next(
        &mut self,
        remote: &Remote,
    ) -> anyhow::Result<Option<Vec<StoreEntry>>> {
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

pub(super) fn entries_text(count: u64) -> String {
    let noun = if count == 1 { "entry" } else { "entries" };
    format!("{count} {noun}")
}

/// One line on stderr that counts, where stderr is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    done: u64,
    verb: &'static str,
}

impl Progress {
    pub(super) fn new(verb: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
        Self { bar, done: 0, verb }
    }

    fn add(&mut self, entries: u64) {
        self.show(self.done + entries);
    }

    /// So many are done.
    pub(super) fn show(&mut self, done: u64) {
        let before = std::mem::replace(&mut self.done, done);
        if before / SHOW_EVERY != done / SHOW_EVERY {
            self.bar
                .set_message(format!("{} {}", self.verb, entries_text(done)));
            self.bar.tick();
        }
    }

    pub(super) fn finish(&self) {
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

/// Reads a line of a dump.
pub(super) fn read_entry(line: &[u8]) -> anyhow::Result<StoreEntry> {
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

/// Progress is shown anew after so many entries.
const SHOW_EVERY: u64 = 1000;

#[cfg(test)]
mod tests {
    use crate::input::each_line;

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
