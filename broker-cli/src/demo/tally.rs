//! What a proxy has counted: which events of which worker, and which hosts.
//!
//! Before an event is answered for, it stands in the proxy's journal, a text file with one line each:
//!
//! ```text
//! worker-1 17 192.0.2.7      event 17 of worker-1 named this host
//! applied                    the store holds everything above
//! ```
//!
//! The journal outlives a killed process (not a power cut: it is not synced), so a proxy that is started again goes on
//! where it ended and can tell each worker what it has counted. Events behind the last `applied` may be in the store or
//! not; they are added once more. The count of a host is thus exact unless a proxy is killed, and then never too low.
//!
//! **Invariant:** an event is counted once however often it arrives, as long as the worker keeps to its window.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::Context as _;
use broker_core::Address;

use super::outbox::WINDOW;

/// The counts of one proxy.
#[derive(Debug)]
pub(crate) struct Tally {
    journal: std::fs::File,
    received: u64,
    hosts: HashSet<Address>,
    /// The latest numbers of each worker, at most [`WINDOW`] back.
    recent: BTreeMap<String, BTreeSet<u64>>,
    /// What `recent` was when the journal had been read, and whenever a worker went away. A worker whose window has moved
    /// on since, because another proxy answered for what this one could not, still has to learn of these.
    restored: BTreeMap<String, BTreeSet<u64>>,
    /// Counted, but not known to be in the store.
    unapplied: BTreeMap<Address, u64>,
    buffer: Vec<u8>,
}

impl Tally {
    /// Opens the journal at `path`, and takes over what stands in it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let journal = opened.with_context(|| format!("cannot open {}", path.display()))?;
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut tally = Self {
            journal,
            received: 0,
            hosts: HashSet::new(),
            recent: BTreeMap::new(),
            restored: BTreeMap::new(),
            unapplied: BTreeMap::new(),
            buffer: Vec::new(),
        };
        // What stands behind the last line feed was cut off by the kill, and was not answered for.
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        for (index, line) in text[..whole]
            .split(|byte| *byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
        {
            tally.replay(line).with_context(|| {
                format!("{}:{}: no line of this journal", path.display(), index + 1)
            })?;
        }
        tally
            .journal
            .set_len(whole as u64)
            .and_then(|()| tally.journal.seek(SeekFrom::End(0)).map(drop))
            .context("journal")?;
        tally.restored.clone_from(&tally.recent);
        Ok(tally)
    }

    fn replay(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?;
        if line == APPLIED {
            self.unapplied.clear();
            return Some(());
        }
        let mut words = line.split(' ');
        let (worker, number, host) = (
            words.next()?,
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
        );
        self.count(worker, number, host);
        Some(())
    }

    /// Counts an event unless it is counted already. [`write`](Self::write) must follow before it is answered for.
    pub(crate) fn add(&mut self, worker: &str, number: u64, host: Address) {
        if self.count(worker, number, host) {
            // Writing to a Vec does not fail.
            let _ = writeln!(self.buffer, "{worker} {number} {host}");
        }
    }

    fn count(&mut self, worker: &str, number: u64, host: Address) -> bool {
        if !self.recent.contains_key(worker) {
            self.recent.insert(worker.to_owned(), BTreeSet::new());
        }
        let Some(recent) = self.recent.get_mut(worker) else {
            return false;
        };
        let floor = recent
            .last()
            .map_or(0, |newest| newest.saturating_sub(WINDOW));
        if number < floor || !recent.insert(number) {
            return false;
        }
        while recent
            .first()
            .is_some_and(|oldest| oldest + WINDOW < number)
        {
            recent.pop_first();
        }
        self.received += 1;
        self.hosts.insert(host);
        *self.unapplied.entry(host).or_default() += 1;
        true
    }

    /// Writes what was added to the journal.
    pub(crate) fn write(&mut self) -> std::io::Result<()> {
        let result = self.journal.write_all(&self.buffer);
        self.buffer.clear();
        result
    }

    /// How often each host has to be added to the store.
    pub(crate) fn unapplied(&self) -> impl Iterator<Item = (Address, u64)> {
        self.unapplied.iter().map(|(host, times)| (*host, *times))
    }

    /// The store holds everything.
    pub(crate) fn applied(&mut self) -> std::io::Result<()> {
        if !self.unapplied.is_empty() {
            self.unapplied.clear();
            self.journal.write_all(format!("{APPLIED}\n").as_bytes())?;
        }
        Ok(())
    }

    /// `worker` is not there any more: it may not have got the answers to its latest events. At most [`MAX_RESTORED`] are
    /// remembered, of the newest.
    pub(crate) fn away(&mut self, worker: &str) {
        let Some(recent) = self.recent.get(worker) else {
            return;
        };
        let restored = self.restored.entry(worker.to_owned()).or_default();
        restored.extend(recent);
        while restored.len() > MAX_RESTORED {
            restored.pop_first();
        }
    }

    /// The events of `worker` that this proxy claims: its latest ones, and the latest ones of the journal. All that it
    /// may still wait for are among them, and all that it may have sent elsewhere while this proxy was down.
    pub(crate) fn claims(&self, worker: &str) -> Vec<u64> {
        let mut numbers = self.restored.get(worker).cloned().unwrap_or_default();
        numbers.extend(self.recent.get(worker).into_iter().flatten());
        numbers.into_iter().collect()
    }

    /// Events counted.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Different hosts among them.
    pub(crate) fn hosts(&self) -> u64 {
        self.hosts.len() as u64
    }
}

/// Events of one worker that are remembered beyond the window at most.
const MAX_RESTORED: usize = 65_536;

const APPLIED: &str = "applied";

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(last: u8) -> Address {
        Address::from(Ipv4Addr::new(192, 0, 2, last))
    }

    fn journal() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        (directory, path)
    }

    #[test]
    fn an_event_counts_once_however_often_it_arrives() {
        let (_directory, path) = journal();
        let mut tally = Tally::open(&path).expect("open");
        for (worker, number, last) in [("w1", 1, 1), ("w1", 1, 1), ("w2", 1, 1), ("w1", 2, 2)] {
            tally.add(worker, number, host(last));
        }
        assert_eq!((tally.received(), tally.hosts()), (3, 2));
        assert_eq!(
            tally.unapplied().collect::<Vec<_>>(),
            [(host(1), 2), (host(2), 1)]
        );
        assert_eq!(tally.claims("w1"), [1, 2]);
        assert_eq!(tally.claims("w3"), [0; 0]);
    }

    #[test]
    fn a_proxy_that_is_killed_goes_on_where_its_journal_ends() {
        let (_directory, path) = journal();
        let mut tally = Tally::open(&path).expect("open");
        tally.add("w1", 1, host(1));
        tally
            .write()
            .and_then(|()| tally.applied())
            .expect("written");
        tally.add("w1", 2, host(2));
        tally.write().expect("written");
        tally.add("w1", 3, host(3));
        drop(tally);
        // The kill came in the middle of a write.
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"w1 3 192.0"))
            .expect("written");

        let mut tally = Tally::open(&path).expect("open again");
        assert_eq!((tally.received(), tally.hosts()), (2, 2));
        assert_eq!(tally.unapplied().collect::<Vec<_>>(), [(host(2), 1)]);
        tally.add("w1", 2, host(2));
        tally.add("w1", 3, host(3));
        tally.write().expect("written");
        assert_eq!(tally.received(), 3);
        assert!(
            std::fs::read_to_string(&path)
                .expect("text")
                .ends_with("w1 2 192.0.2.2\nw1 3 192.0.2.3\n")
        );
    }

    #[test]
    fn what_the_journal_held_is_claimed_also_after_the_window_has_moved_on() {
        let (_directory, path) = journal();
        let mut tally = Tally::open(&path).expect("open");
        tally.add("w1", 1, host(1));
        tally.write().expect("written");
        drop(tally);

        let mut tally = Tally::open(&path).expect("open again");
        // The worker comes up late, and its events from far ahead are here before it is greeted.
        tally.add("w1", 3 * WINDOW, host(1));
        assert_eq!(tally.claims("w1"), [1, 3 * WINDOW]);
    }

    #[test]
    fn what_a_worker_may_not_have_heard_before_it_went_away_is_claimed_when_it_is_back() {
        let (_directory, path) = journal();
        let mut tally = Tally::open(&path).expect("open");
        tally.add("w1", 1, host(1));
        tally.away("w1");
        tally.add("w1", 3 * WINDOW, host(1));
        assert_eq!(tally.claims("w1"), [1, 3 * WINDOW]);
        for number in 3 * WINDOW..3 * WINDOW + 2 * MAX_RESTORED as u64 {
            tally.add("w1", number, host(1));
            if number % 1000 == 0 {
                tally.away("w1");
            }
        }
        assert!(
            tally.claims("w1").len() <= MAX_RESTORED + usize::try_from(WINDOW).expect("small") + 1
        );
    }

    #[test]
    fn a_journal_that_is_none_is_named() {
        let (_directory, path) = journal();
        std::fs::write(&path, "w1 1 192.0.2.1\nnonsense\n").expect("written");
        let error = Tally::open(&path).expect_err("refused");
        assert!(format!("{error:#}").contains("journal:2"), "{error:#}");
    }

    #[test]
    fn no_more_than_the_window_is_remembered_of_a_worker() {
        let (_directory, path) = journal();
        let mut tally = Tally::open(&path).expect("open");
        for number in 1..=3 * WINDOW {
            tally.add("w1", number, host(1));
        }
        assert_eq!(tally.claims("w1").len() as u64, WINDOW + 1);
        assert_eq!(tally.received(), 3 * WINDOW);
    }
}
