//! The disk spool of a writer: batches that no logger could take, in order, until one does.
//!
//! A directory holds `spool.id`, one line with the spool's identity and the first number the next process may use, and
//! segments `N.spool`, each a row of entries:
//!
//! ```text
//! | state u8: W waiting, D done | body length u32 | CRC-32 of the body u32 | body |
//! body := number u64, records u32, stream, writer, path (u16 length and bytes each), LogCreate (u32 length and bytes),
//!         the LogWrites, to the end
//! ```
//!
//! Integers are big-endian. Batches keep the identity of the spool and their number over restarts, so that a logger knows one
//! that comes again. An entry that is done is marked in place, and a segment is deleted once all of its entries are. When
//! [`SpoolOptions::max_bytes`] are reached, the oldest segment goes (a sixteenth of the spool), or the new batch is refused.
//!
//! What is written survives the death of the process, not that of the machine. An entry that a kill left half written
//! is cut off; one whose checksum is wrong is given up and counted. Does file I/O and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use broker_core::EndpointId;
use bytes::{Buf, Bytes};

use super::lock::lock;
use super::outbox::StreamKey;

/// A spool of log records on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Its directory; no other node may use it.
    pub dir: PathBuf,
    /// Bytes on disk at most. Default: 1 GiB.
    pub max_bytes: u64,
    /// Whether the oldest batches give way to new ones when it is full; otherwise the new ones are dropped if no logger is up,
    /// and writers wait if one is. Default: the new ones are dropped.
    pub drop_oldest: bool,
    /// Whether every batch goes through the spool, also while a logger is up, so that the death of the process costs
    /// hardly more than what had not become a batch. It costs a write and a read for each batch. Default: no.
    pub always: bool,
}

impl SpoolOptions {
    /// A spool in `dir` with the default settings.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: 1 << 30,
            drop_oldest: false,
            always: false,
        }
    }
}

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

/// A batch as the spool has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpooledBatch {
    pub(crate) key: StreamKey,
    pub(crate) number: u64,
    pub(crate) records: u32,
    pub(crate) create: Bytes,
    pub(crate) entries: Bytes,
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
        let mut entry = Vec::with_capacity(needed as usize);
        entry.push(WAITING);
        entry.extend_from_slice(&(body.len() as u32).to_be_bytes());
        entry.extend_from_slice(&checksum(&body).to_be_bytes());
        entry.extend_from_slice(&body);
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

struct Entry {
    body: u32,
    /// Number, records and stream of an entry that waits.
    waiting: Option<(u64, u32, StreamKey)>,
}

/// The entry at `offset`. None: there is no whole one.
fn read_entry(file: &mut File, offset: u64, size: u64) -> io::Result<Option<Entry>> {
    if size - offset < HEAD {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut head = [0; HEAD as usize];
    file.read_exact(&mut head)?;
    let body = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if !matches!(head[0], WAITING | DONE) || u64::from(body) > size - offset - HEAD {
        return Ok(None);
    }
    if head[0] == DONE {
        return Ok(Some(Entry {
            body,
            waiting: None,
        }));
    }
    // Names are short: this is far more than they may take.
    let mut names = vec![0; body.min(MAX_NAMES) as usize];
    file.read_exact(&mut names)?;
    let mut names = Bytes::from(names);
    Ok(parse_names(&mut names).map(|waiting| Entry {
        body,
        waiting: Some(waiting),
    }))
}

fn parse_names(body: &mut Bytes) -> Option<(u64, u32, StreamKey)> {
    let number = body.try_get_u64().ok()?;
    let records = body.try_get_u32().ok()?;
    let mut name = || {
        let len = usize::from(body.try_get_u16().ok()?);
        if body.len() < len {
            return None;
        }
        String::from_utf8(body.split_to(len).to_vec()).ok()
    };
    let key = StreamKey {
        stream: name()?,
        writer: name()?,
        path: name()?,
    };
    Some((number, records, key))
}

fn parse(mut body: Bytes) -> Option<SpooledBatch> {
    let (number, records, key) = parse_names(&mut body)?;
    let len = body.try_get_u32().ok()? as usize;
    if body.len() < len {
        return None;
    }
    Some(SpooledBatch {
        key,
        number,
        records,
        create: body.split_to(len),
        entries: body,
    })
}

fn body_of(batch: &SpooledBatch) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + batch.create.len() + batch.entries.len());
    body.extend_from_slice(&batch.number.to_be_bytes());
    body.extend_from_slice(&batch.records.to_be_bytes());
    for name in [&batch.key.stream, &batch.key.writer, &batch.key.path] {
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(name.as_bytes());
    }
    body.extend_from_slice(&(batch.create.len() as u32).to_be_bytes());
    body.extend_from_slice(&batch.create);
    body.extend_from_slice(&batch.entries);
    body
}

fn checksum(body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    crc.sum()
}

/// The spool's identity and the first number of this process; the next one begins beyond all this one can use.
fn identify(dir: &Path) -> io::Result<(EndpointId, u64)> {
    let path = dir.join("spool.id");
    let (identity, first) = match fs::read_to_string(&path) {
        Ok(text) => {
            let mut words = text.split_ascii_whitespace();
            let read = (|| Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?)))();
            read.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "spool.id is damaged"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (EndpointId::random(), 1),
        Err(error) => return Err(error),
    };
    let next: u64 = first + NUMBERS;
    let partial = dir.join("spool.id.part");
    let mut file = File::create(&partial)?;
    writeln!(file, "{identity} {next}")?;
    // A number that is used twice would cost records, so this is to survive the machine too.
    file.sync_all()?;
    fs::rename(partial, path)?;
    File::open(dir)?.sync_all()?;
    Ok((identity, first))
}

fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:08}.{SUFFIX}"))
}

/// A segment is full at a sixteenth of the spool.
fn segment_bytes(options: &SpoolOptions) -> u64 {
    (options.max_bytes / 16).clamp(1, 16 << 20)
}

const SUFFIX: &str = "spool";
const WAITING: u8 = b'W';
const DONE: u8 = b'D';
const HEAD: u64 = 9;
/// Numbers of one process.
const NUMBERS: u64 = 1 << 32;
/// Batches in a spool at most: what their places take in memory is bounded by this.
const MAX_SLOTS: usize = 1 << 20;
const MAX_NAMES: u32 = 12 + 3 * (2 + 0xffff);

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, size: usize) -> SpooledBatch {
        SpooledBatch {
            key: StreamKey {
                stream: "Conn::LOG".to_owned(),
                writer: "Log::WRITER_ASCII".to_owned(),
                path: "conn".to_owned(),
            },
            number,
            records: 10,
            create: Bytes::from_static(b"create"),
            entries: Bytes::from(vec![number as u8; size]),
        }
    }

    fn open(dir: &Path, max_bytes: u64, drop_oldest: bool) -> Spool {
        Spool::open(SpoolOptions {
            max_bytes,
            drop_oldest,
            ..SpoolOptions::new(dir)
        })
        .unwrap()
    }

    fn numbers(spool: &mut Spool) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(batch) = spool.next(&mut Vec::new()).unwrap() {
            all.push(batch.number);
        }
        all
    }

    fn fill(spool: &mut Spool, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let stored = spool.append(&batch(number, 100), &mut Vec::new());
            assert_eq!(stored.unwrap(), Stored::Kept);
        }
    }

    #[test]
    fn batches_come_back_in_order_also_after_a_restart_and_what_is_done_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20, false);
        let (identity, first) = (spool.identity(), spool.first_number());
        fill(&mut spool, [3, 1, 2, 5, 4]);
        assert_eq!(spool.next(&mut Vec::new()).unwrap(), Some(batch(1, 100)));
        assert_eq!(numbers(&mut spool), [2, 3, 4, 5]);
        spool.give_again(4);
        spool.give_again(99);
        assert_eq!(numbers(&mut spool), [4]);
        for number in [1, 3] {
            spool.done(number).unwrap();
        }
        drop(spool);
        let mut spool = open(dir.path(), 1 << 20, false);
        assert_eq!(spool.identity(), identity);
        assert_eq!(spool.first_number(), first + NUMBERS);
        let backlog = spool.backlog().unwrap();
        assert_eq!(backlog.len(), 1);
        assert_eq!((backlog[0].batches, backlog[0].records), (3, 30));
        assert_eq!(numbers(&mut spool), [2, 4, 5]);
        for number in [2, 4, 5] {
            spool.done(number).unwrap();
        }
        assert_eq!(spool.bytes, 0);
        drop(spool);
        let mut spool = open(dir.path(), 1 << 20, false);
        assert!(numbers(&mut spool).is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_spool_drops_the_oldest_or_the_newest() {
        for drop_oldest in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = open(dir.path(), 16 << 10, drop_oldest);
            let mut lost = Vec::new();
            let mut refused = 0;
            for number in 1..=200 {
                match spool.append(&batch(number, 400), &mut lost).unwrap() {
                    Stored::Kept => {}
                    Stored::Full => refused += 1,
                    Stored::TooLarge => panic!("it would fit"),
                }
            }
            let kept = numbers(&mut spool);
            assert_eq!(kept.len() + lost.len() + refused, 200);
            assert!(spool.bytes <= 16 << 10);
            let on_disk: u64 = fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .sum();
            assert!(on_disk <= (16 << 10) + 100, "{on_disk}");
            assert!(kept.len() >= 30, "{kept:?}");
            if drop_oldest {
                assert_eq!(refused, 0);
                assert_eq!(kept.last(), Some(&200));
                assert_eq!(lost[0].number, 1);
            } else {
                assert_eq!(lost, []);
                assert_eq!(kept[0], 1);
            }
            let stored = spool.append(&batch(999, 20_000), &mut lost);
            assert_eq!(stored.unwrap(), Stored::TooLarge);
        }
    }

    #[test]
    fn a_half_written_end_is_cut_off_and_a_damaged_batch_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20, false);
        fill(&mut spool, 1..=3);
        let end = spool.segments[0].len;
        drop(spool);
        let path = segment_path(dir.path(), 1);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        // The last byte of the second, and half of the third.
        file.write_all_at(b"x", end / 3 * 2 - 1).unwrap();
        file.set_len(end - 50).unwrap();
        let mut spool = open(dir.path(), 1 << 20, false);
        assert_eq!(fs::metadata(&path).unwrap().len(), end / 3 * 2);
        let mut lost = Vec::new();
        assert_eq!(spool.next(&mut lost).unwrap(), Some(batch(1, 100)));
        assert_eq!(spool.next(&mut lost).unwrap(), None);
        assert_eq!((lost.len(), lost[0].number, lost[0].records), (1, 2, 10));
        fill(&mut spool, [4]);
        assert_eq!(numbers(&mut spool), [4]);
    }

    #[test]
    fn any_bytes_in_a_segment_are_an_end() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [
            &b"garbage that is no entry"[..],
            &[b'W', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1],
            &[b'W', 0, 0, 0, 1, 0, 0, 0, 0, 1],
        ] {
            fs::write(segment_path(dir.path(), 7), bytes).unwrap();
            let mut spool = open(dir.path(), 1 << 20, false);
            assert!(numbers(&mut spool).is_empty());
            fill(&mut spool, [1]);
            assert_eq!(numbers(&mut spool), [1]);
            spool.done(1).unwrap();
        }
        fs::write(dir.path().join("spool.id"), "nonsense").unwrap();
        assert!(Spool::open(SpoolOptions::new(dir.path())).is_err());
    }

    #[test]
    fn a_spool_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path(), 1 << 20, false);
        let error = Spool::open(SpoolOptions::new(dir.path())).err().unwrap();
        assert!(
            error.to_string().ends_with("another node writes here"),
            "{error}"
        );
    }
}
