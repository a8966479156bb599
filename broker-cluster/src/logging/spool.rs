//! The disk spool of a writer: batches that no logger could take, in order, until one does.
//!
//! A directory holds `spool.id`, one line with the spool's identity and the first number the next process may use, and
//! segments `N.spool`, each a row of entries (`entry`). Batches keep the identity of the spool and their number over restarts, so
//! that a logger knows one that comes again. An entry that is done is marked in place, and a segment is deleted once all of its
//! entries are. When [`SpoolOptions::max_bytes`] are reached, the oldest segment goes (a sixteenth of the spool), or the new
//! batch is refused.
//!
//! What is written survives the death of the process, not that of the machine. An entry that a kill left half written
//! is cut off; one whose checksum is wrong is given up and counted. Does file I/O and nothing else.

mod entry;
mod identity;
mod options;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use broker_core::EndpointId;
use bytes::Bytes;

pub(crate) use self::entry::SpooledBatch;
use self::entry::{DONE, HEAD, body_of, checksum, entry_of, parse, read_entry};
use self::identity::identify;
pub use self::options::SpoolOptions;
use super::lock::lock;
use super::outbox::StreamKey;

/// What became of a batch that was to go into a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is there.
    Kept,
    /// There is no room now.
    Full,
    /// There never will be.
    TooLarge,
}

/// What a spool holds of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) key: StreamKey,
    pub(crate) create: Bytes,
    pub(crate) batches: u64,
    pub(crate) records: u64,
}

/// A batch that is in the spool no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) key: StreamKey,
    pub(crate) number: u64,
    pub(crate) records: u32,
}

pub(crate) struct Spool {
    options: SpoolOptions,
    _lock: File,
    identity: EndpointId,
    first_number: u64,
    segments: VecDeque<Segment>,
    next_segment: u64,
    /// What waits, by number.
    slots: BTreeMap<u64, Slot>,
    /// What of it [`Spool::next`] has not given, or is to give again.
    untaken: BTreeSet<u64>,
    keys: Vec<StreamKey>,
    bytes: u64,
}

struct Segment {
    id: u64,
    path: PathBuf,
    file: File,
    len: u64,
    /// Entries that wait.
    live: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    segment: u64,
    offset: u64,
    body: u32,
    records: u32,
    key: usize,
}

impl Spool {
    /// Opens the spool, and makes it if it is not there.
    ///
    /// # Errors
    /// The directory or a file in it cannot be used, or another process uses it.
    pub(crate) fn open(options: SpoolOptions) -> io::Result<Self> {
        let named = |error: io::Error| {
            let dir = options.dir.display();
            io::Error::new(error.kind(), format!("log spool {dir}: {error}"))
        };
        fs::create_dir_all(&options.dir).map_err(named)?;
        let lock = lock(&options.dir, "another node").map_err(named)?;
        let (identity, first_number) = identify(&options.dir).map_err(named)?;
        let mut spool = Self {
            _lock: lock,
            identity,
            first_number,
            segments: VecDeque::new(),
            next_segment: 1,
            slots: BTreeMap::new(),
            untaken: BTreeSet::new(),
            keys: Vec::new(),
            bytes: 0,
            options: options.clone(),
        };
        spool.load().map_err(named)?;
        Ok(spool)
    }

    /// Who wrote the batches, as loggers know it: the same after every restart.
    pub(crate) const fn identity(&self) -> EndpointId {
        self.identity
    }

    /// The first number this process may give a batch.
    pub(crate) const fn first_number(&self) -> u64 {
        self.first_number
    }

    /// Whether every batch goes through it.
    pub(crate) const fn takes_all(&self) -> bool {
        self.options.always
    }

    /// What waits, by stream.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(crate) fn backlog(&self) -> io::Result<Vec<Backlog>> {
        let mut all: BTreeMap<usize, Backlog> = BTreeMap::new();
        for (number, slot) in &self.slots {
            if let Some(backlog) = all.get_mut(&slot.key) {
                backlog.batches += 1;
                backlog.records += u64::from(slot.records);
                continue;
            }
            let Some(batch) = self.read(*number, slot)? else {
                continue;
            };
            all.insert(
                slot.key,
                Backlog {
                    key: batch.key,
                    create: batch.create,
                    batches: 1,
                    records: u64::from(slot.records),
                },
            );
        }
        Ok(all.into_values().collect())
    }

    /// Adds a batch, if there is room. What gave way to it is put into `lost`.
    ///
    /// # Errors
    /// It cannot be written; then it is not in the spool.
    pub(crate) fn append(
        &mut self,
        batch: &SpooledBatch,
        lost: &mut Vec<Lost>,
    ) -> io::Result<Stored> {
        let body = body_of(batch);
        let needed = HEAD + body.len() as u64;
        if needed > self.options.max_bytes {
            return Ok(Stored::TooLarge);
        }
        while self.bytes + needed > self.options.max_bytes || self.slots.len() >= MAX_SLOTS {
            if !self.options.drop_oldest {
                return Ok(Stored::Full);
            }
            self.drop_segment(lost)?;
        }
        if self
            .segments
            .back()
            .is_none_or(|last| last.len >= self.segment_bytes())
        {
            self.add_segment()?;
        }
        let key = self.key(&batch.key);
        let segment = self.segments.back_mut().expect("one was added");
        let offset = segment.len;
        let entry = entry_of(&body);
        if let Err(error) = segment.file.write_all_at(&entry, offset) {
            let _ = segment.file.set_len(offset);
            return Err(error);
        }
        segment.len += needed;
        segment.live += 1;
        self.bytes += needed;
        self.slots.insert(
            batch.number,
            Slot {
                segment: segment.id,
                offset,
                body: body.len() as u32,
                records: batch.records,
                key,
            },
        );
        self.untaken.insert(batch.number);
        Ok(Stored::Kept)
    }

    /// The next batch in order that this has not given yet. What turns out to be damaged is put into `lost`.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn next(&mut self, lost: &mut Vec<Lost>) -> io::Result<Option<SpooledBatch>> {
        while let Some(number) = self.untaken.first().copied() {
            let Some(slot) = self.slots.get(&number).copied() else {
                self.untaken.remove(&number);
                continue;
            };
            let read = self.read(number, &slot)?;
            self.untaken.remove(&number);
            if let Some(batch) = read {
                return Ok(Some(batch));
            }
            let key = self.keys[slot.key].clone();
            tracing::error!(dir = %self.options.dir.display(), number, "damaged batch in the log spool");
            self.done(number)?;
            lost.push(Lost {
                key,
                number,
                records: slot.records,
            });
        }
        Ok(None)
    }

    /// Gives a batch again that it has given.
    pub(crate) fn give_again(&mut self, number: u64) {
        if self.slots.contains_key(&number) {
            self.untaken.insert(number);
        }
    }

    /// A batch is where it belongs.
    ///
    /// # Errors
    /// That cannot be noted; then it comes again after a restart.
    pub(crate) fn done(&mut self, number: u64) -> io::Result<()> {
        let Some(slot) = self.slots.remove(&number) else {
            return Ok(());
        };
        self.untaken.remove(&number);
        let last = self.segments.back().map(|segment| segment.id);
        let Some(at) = self
            .segments
            .iter()
            .position(|segment| segment.id == slot.segment)
        else {
            return Ok(());
        };
        let segment = &mut self.segments[at];
        segment.live -= 1;
        if segment.live > 0 {
            return segment.file.write_all_at(&[DONE], slot.offset);
        }
        if last == Some(slot.segment) && segment.len < segment_bytes(&self.options) {
            // It is being filled: begin anew in the same file.
            segment.file.set_len(0)?;
            self.bytes -= std::mem::take(&mut segment.len);
            return Ok(());
        }
        self.remove_segment(at)
    }

    fn read(&self, number: u64, slot: &Slot) -> io::Result<Option<SpooledBatch>> {
        let Some(segment) = self.segments.iter().find(|other| other.id == slot.segment) else {
            return Ok(None);
        };
        let mut head = [0; HEAD as usize];
        segment.file.read_exact_at(&mut head, slot.offset)?;
        let mut body = vec![0; slot.body as usize];
        segment.file.read_exact_at(&mut body, slot.offset + HEAD)?;
        let noted = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if noted != checksum(&body) {
            return Ok(None);
        }
        Ok(parse(Bytes::from(body)).filter(|batch| batch.number == number))
    }

    fn load(&mut self) -> io::Result<()> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.options.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                ids.extend(
                    path.file_stem()
                        .and_then(|stem| stem.to_str()?.parse::<u64>().ok()),
                );
            }
        }
        ids.sort_unstable();
        for id in ids {
            self.next_segment = self.next_segment.max(id + 1);
            self.load_segment(id)?;
        }
        Ok(())
    }

    fn load_segment(&mut self, id: u64) -> io::Result<()> {
        let path = segment_path(&self.options.dir, id);
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let size = file.metadata()?.len();
        let mut offset = 0;
        let mut live = 0;
        while let Some(entry) = read_entry(&mut file, offset, size)? {
            if let Some((number, records, key)) = entry.waiting {
                let key = self.key(&key);
                live += 1;
                self.untaken.insert(number);
                self.slots.insert(
                    number,
                    Slot {
                        segment: id,
                        offset,
                        body: entry.body,
                        records,
                        key,
                    },
                );
            }
            offset += HEAD + u64::from(entry.body);
        }
        if offset < size {
            tracing::warn!(file = %path.display(), bytes = size - offset, "the end of a segment of the log spool is cut off");
            file.set_len(offset)?;
        }
        if live == 0 {
            return fs::remove_file(&path);
        }
        self.bytes += offset;
        self.segments.push_back(Segment {
            id,
            path,
            file,
            len: offset,
            live,
        });
        Ok(())
    }

    fn key(&mut self, key: &StreamKey) -> usize {
        match self.keys.iter().position(|other| other == key) {
            Some(at) => at,
            None => {
                self.keys.push(key.clone());
                self.keys.len() - 1
            }
        }
    }

    fn add_segment(&mut self) -> io::Result<()> {
        let id = self.next_segment;
        let path = segment_path(&self.options.dir, id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        self.next_segment += 1;
        self.segments.push_back(Segment {
            id,
            path,
            file,
            len: 0,
            live: 0,
        });
        Ok(())
    }

    /// Gives up the oldest segment.
    fn drop_segment(&mut self, lost: &mut Vec<Lost>) -> io::Result<()> {
        let Some(id) = self.segments.front().map(|segment| segment.id) else {
            return Err(io::Error::other("an empty spool has no room"));
        };
        self.remove_segment(0)?;
        let numbers: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.segment == id)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.untaken.remove(&number);
            if let Some(slot) = self.slots.remove(&number) {
                lost.push(Lost {
                    key: self.keys[slot.key].clone(),
                    number,
                    records: slot.records,
                });
            }
        }
        Ok(())
    }

    fn remove_segment(&mut self, at: usize) -> io::Result<()> {
        fs::remove_file(&self.segments[at].path)?;
        if let Some(segment) = self.segments.remove(at) {
            self.bytes -= segment.len;
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        segment_bytes(&self.options)
    }
}

fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:08}.{SUFFIX}"))
}

/// A segment is full at a sixteenth of the spool.
fn segment_bytes(options: &SpoolOptions) -> u64 {
    (options.max_bytes / 16).clamp(1, 16 << 20)
}

const SUFFIX: &str = "spool";
/// Batches in a spool at most: what their places take in memory is bounded by this.
const MAX_SLOTS: usize = 1 << 20;

#[cfg(test)]
mod tests;
