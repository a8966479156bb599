//! The sled backend: an embedded ordered store, flushed to disk after each group.
//!
//! sled is no longer maintained upstream; it is here because users asked for it, behind the cargo feature `sled`.
//!
//! Everything is in one tree, so that one batch changes it atomically:
//!
//! ```text
//! 'd' key                       deadline i64 or nothing behind a flag byte, value
//! 'e' deadline i64 ^ MIN, key   nothing: the index of deadlines, earliest first
//! 'D' generation u32, key       the same after a clear, and 'E' for the index
//! 'g'                           u32, the generation; 0 if it is missing
//! 'n'                           u64, how many entries there are
//! 's'                           u64, the number of the last group
//! 'o' name                      a note
//! ```
//!
//! Integers are big-endian; the deadline's sign bit is turned over, so that bytewise order is the order of time.
//!
//! A clear begins a new generation in the batch it belongs to, however much there is to clear; what the former one left
//! is removed afterwards, a bounded batch at a time, and if that is interrupted, when the database is opened again.
//!
//! **Invariant:** [`apply`](Backend::apply) returns after the flush of its batch, so an acknowledgement means the same
//! as with SQLite's default. sled refuses everything after an error of the disk; so the database is then opened anew, and
//! the number of the last group tells whether the group is there or not.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker_core::binary::{self, Reader};
use broker_core::{Data, DecodeError, Timestamp};

use crate::backend::{
    Backend, BackendError, Entry, KeyBytes, Mutation, Problem, decode_key, decode_value, key_bytes,
};

/// Keeps entries in a sled database.
#[derive(Debug)]
pub struct Sled {
    /// Nothing after a failure that outlasted an attempt to open it anew.
    db: Option<sled::Db>,
    config: sled::Config,
    path: PathBuf,
    generation: u32,
    len: u64,
    /// The number of the last group.
    groups: u64,
    /// A group that was reported as failed and may be there nevertheless.
    in_doubt: Option<u64>,
}

impl Sled {
    /// Opens or creates the database in the directory `path`, with a cache of 64 MiB.
    ///
    /// # Errors
    /// The directory cannot be opened, holds something else, or is still open elsewhere after a second.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::open_with_cache(path, CACHE_BYTES)
    }

    /// Opens or creates the database in the directory `path`, with a cache of about `cache_bytes`, at least 1 MiB. A cache
    /// smaller than what is in use makes reads slower, nothing else.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_cache(path: impl AsRef<Path>, cache_bytes: u64) -> Result<Self, BackendError> {
        let path = path.as_ref();
        // No flush by timer: each group is flushed before it is acknowledged.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes.max(MIN_CACHE_BYTES))
            .flush_every_ms(None);
        Self::load(config, path)
    }

    /// An empty database in a temporary place, for tests.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open_temporary() -> Result<Self, BackendError> {
        let config = sled::Config::new().temporary(true).flush_every_ms(None);
        let path = config.get_path();
        Self::load(config, &path)
    }

    /// The options written as `(name, value)` texts: `path`, and `cache_bytes` (a number of bytes, at least 1048576;
    /// default 67108864).
    ///
    /// # Errors
    /// Another option is given or `path` is not, a value means nothing, or the database cannot be opened.
    pub fn from_options<'a>(
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BackendError> {
        let (mut path, mut cache_bytes) = ("", CACHE_BYTES);
        for (option, value) in options {
            match option {
                "path" => path = value,
                "cache_bytes" => {
                    cache_bytes = value
                        .parse()
                        .ok()
                        .filter(|bytes| *bytes >= MIN_CACHE_BYTES)
                        .ok_or_else(|| BackendError::InvalidOption {
                            backend: BACKEND,
                            option: "cache_bytes",
                            value: value.to_owned(),
                            accepted: "the numbers of bytes from 1048576 on",
                        })?;
                }
                _ => {
                    return Err(BackendError::UnknownOption {
                        backend: BACKEND,
                        option: option.to_owned(),
                        accepted: "path, cache_bytes",
                    });
                }
            }
        }
        if path.is_empty() {
            return Err(BackendError::MissingOption {
                backend: BACKEND,
                option: "path",
            });
        }
        Self::open_with_cache(path, cache_bytes)
    }

    /// Looks at every entry: the number of entries and the index of deadlines have to say the same as they.
    ///
    /// # Errors
    /// They do not, or the storage failed.
    pub fn check(&self) -> Result<(), BackendError> {
        let damaged = |report: String| {
            Err(BackendError::Damaged {
                path: self.path.clone(),
                report,
            })
        };
        let (mut entries, mut limited) = (0, 0);
        let prefix = entry_prefix(self.generation);
        for item in self.db()?.scan_prefix(&prefix) {
            let (key, value) = item.map_err(|error| self.failed(error))?;
            entries += 1;
            let key = KeyBytes::from(behind(&key, prefix.len()));
            if let (Some(deadline), _) = split_entry(&value)? {
                limited += 1;
                let indexed = self
                    .db()?
                    .contains_key(deadline_key(self.generation, deadline, &key))
                    .map_err(|error| self.failed(error))?;
                if !indexed {
                    return damaged(format!("the deadline of {key:?} is not in the index"));
                }
            }
        }
        if entries != self.len {
            return damaged(format!("there are {entries} entries, not {}", self.len));
        }
        let indexed = self.db()?.scan_prefix(deadline_prefix(self.generation));
        let indexed = indexed.count();
        if indexed != limited {
            return damaged(format!("{indexed} deadlines are kept, not {limited}"));
        }
        Ok(())
    }

    fn load(config: sled::Config, path: &Path) -> Result<Self, BackendError> {
        let db = open_db(&config).map_err(|error| BackendError::Open {
            path: path.to_owned(),
            problem: problem(&error),
            source: error.into(),
        })?;
        let mut store = Self {
            db: None,
            config,
            path: path.to_owned(),
            generation: 0,
            len: 0,
            groups: 0,
            in_doubt: None,
        };
        store.take(db)?;
        store.purge_others();
        Ok(store)
    }

    /// Goes on with what is in `db`.
    fn take(&mut self, db: sled::Db) -> Result<(), BackendError> {
        let number = |key: &[u8]| db.get(key).map_err(|error| self.failed(error));
        let (generation, len, groups) = (
            number(GENERATION_KEY)?,
            number(LEN_KEY)?,
            number(GROUPS_KEY)?,
        );
        let unreadable = |source: DecodeError| BackendError::Unreadable {
            what: "a number",
            source: Some(source),
        };
        let read = |bytes: Option<sled::IVec>| {
            bytes.map_or(Ok(0), |bytes| Reader::new(&bytes).u64("a number"))
        };
        self.generation = generation
            .map_or(Ok(0), |bytes| Reader::new(&bytes).u32("a number"))
            .map_err(unreadable)?;
        self.len = read(len).map_err(unreadable)?;
        self.groups = read(groups).map_err(unreadable)?;
        self.db = Some(db);
        Ok(())
    }

    fn db(&self) -> Result<&sled::Db, BackendError> {
        self.db.as_ref().ok_or_else(|| BackendError::Failed {
            path: self.path.clone(),
            problem: Problem::InputOutput,
            source: "the database is closed since the disk failed".into(),
        })
    }

    fn failed(&self, error: sled::Error) -> BackendError {
        BackendError::Failed {
            path: self.path.clone(),
            problem: problem(&error),
            source: error.into(),
        }
    }

    fn deadline_of(&self, key: &KeyBytes) -> Result<Option<Option<Timestamp>>, BackendError> {
        let stored = self
            .db()?
            .get(entry_key(self.generation, key))
            .map_err(|error| self.failed(error))?;
        stored.map(|bytes| Ok(split_entry(&bytes)?.0)).transpose()
    }

    /// Group number `number` failed, and sled with it. Opens the database anew: either the group is there, or it is not.
    fn recover(&mut self, number: u64, error: sled::Error) -> Result<(), BackendError> {
        let error = self.failed(error);
        self.db = None;
        self.in_doubt = Some(number);
        let Ok(db) = open_db(&self.config) else {
            return Err(error);
        };
        self.take(db)?;
        // If it is in the file it has to be on disk as well.
        if self.groups >= number
            && File::open(self.path.join("db"))
                .and_then(|file| file.sync_all())
                .is_err()
        {
            self.db = None;
            return Err(error);
        }
        self.in_doubt = None;
        if self.groups < number {
            return Err(error);
        }
        Ok(())
    }

    /// Opens the database again that could not be opened right after a failure.
    fn open_anew(&mut self) -> Result<(), BackendError> {
        let db = open_db(&self.config).map_err(|error| self.failed(error))?;
        self.take(db)?;
        if self.in_doubt.is_some_and(|number| self.groups >= number) {
            // Its writer was told that nothing was applied. A master that begins anew reads what is so.
            self.db = None;
            return Err(BackendError::Failed {
                path: self.path.clone(),
                problem: Problem::InputOutput,
                source: "a group that failed is in the database: the store has to be attached anew"
                    .into(),
            });
        }
        self.in_doubt = None;
        Ok(())
    }

    /// Removes what former generations have left.
    fn purge_others(&self) {
        let (entries, deadlines) = (
            entry_prefix(self.generation),
            deadline_prefix(self.generation),
        );
        let mut ranges = vec![
            (vec![LATER_ENTRY], entries.clone()),
            (after(&entries), vec![LATER_DEADLINE]),
            (vec![LATER_DEADLINE], deadlines.clone()),
            (after(&deadlines), vec![LATER_DEADLINE + 1]),
            (vec![ENTRY], vec![DEADLINE + 1]),
        ];
        if self.generation == 0 {
            // Nothing has been cleared.
            ranges.clear();
        }
        for (start, end) in ranges {
            self.purge(start, &end);
        }
    }

    /// Removes everything from `start` to `end`, not at once. What stays is seen by nobody.
    fn purge(&self, mut start: Vec<u8>, end: &[u8]) {
        let Some(db) = &self.db else { return };
        let mut remove = || -> sled::Result<()> {
            while start.as_slice() < end {
                let mut batch = sled::Batch::default();
                let mut last = None;
                for key in db.range(start.as_slice()..end).keys().take(PURGE_GROUP) {
                    let key = key?;
                    batch.remove(&key);
                    last = Some(key);
                }
                let Some(last) = last else { break };
                db.apply_batch(batch)?;
                start = last.to_vec();
            }
            Ok(())
        };
        if let Err(error) = remove() {
            tracing::warn!(path = %self.path.display(), %error, "what was cleared stays in the database until it is opened again");
        }
    }
}

impl Backend for Sled {
    fn apply(&mut self, mutations: &[Mutation]) -> Result<(), BackendError> {
        if self.db.is_none() {
            self.open_anew()?;
        }
        let group = Group::fold(mutations);
        let mut batch = sled::Batch::default();
        // All numbers come from the file, which may say anything.
        let (mut len, mut generation) = (self.len, self.generation);
        if group.cleared {
            generation = generation.checked_add(1).ok_or_else(|| {
                BackendError::engine(
                    "the store was cleared too often: dump it and load it into a new one",
                )
            })?;
            batch.insert(GENERATION_KEY, &generation.to_be_bytes());
            len = 0;
        }
        for (key, put) in &group.last {
            let former = if group.cleared {
                None
            } else {
                self.deadline_of(key)?
            };
            if let Some(Some(deadline)) = former {
                batch.remove(deadline_key(generation, deadline, key));
            }
            match put {
                Some((value, expires_at)) => {
                    batch.insert(entry_key(generation, key), join_entry(value, *expires_at));
                    if let Some(deadline) = expires_at {
                        batch.insert(deadline_key(generation, *deadline, key), &[]);
                    }
                    len = len.saturating_add(u64::from(former.is_none()));
                }
                None => {
                    batch.remove(entry_key(generation, key));
                    len = len.saturating_sub(u64::from(former.is_some()));
                }
            }
        }
        for (name, value) in group.notes {
            match value {
                Some(value) => batch.insert(note_key(name), value),
                None => batch.remove(note_key(name)),
            }
        }
        let number = self.groups.saturating_add(1);
        batch.insert(LEN_KEY, &len.to_be_bytes());
        batch.insert(GROUPS_KEY, &number.to_be_bytes());
        let db = self.db()?;
        if let Err(error) = db.apply_batch(batch).and_then(|()| db.flush()) {
            return self.recover(number, error);
        }
        let former = self.generation;
        (self.len, self.generation, self.groups) = (len, generation, number);
        if group.cleared {
            for prefix in [entry_prefix(former), deadline_prefix(former)] {
                let end = after(&prefix);
                self.purge(prefix, &end);
            }
        }
        Ok(())
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        let stored = self
            .db()?
            .get(entry_key(self.generation, &key_bytes(key)))
            .map_err(|error| self.failed(error))?;
        stored.map(|bytes| read_entry(&bytes)).transpose()
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        let prefix = entry_prefix(self.generation);
        let end = self::after(&prefix);
        let start = match after {
            Some(after) => Bound::Excluded(entry_key(self.generation, &key_bytes(after))),
            None => Bound::Included(prefix.clone()),
        };
        let mut page = Vec::new();
        for item in self.db()?.range((start, Bound::Excluded(end))).take(limit) {
            let (key, value) = item.map_err(|error| self.failed(error))?;
            page.push((decode_key(behind(&key, prefix.len()))?, read_entry(&value)?));
        }
        Ok(page)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        let prefix = deadline_prefix(self.generation);
        let before_key = prefix.len() + size_of::<i64>();
        let end = deadline_key(self.generation, now, &KeyBytes::new());
        let keys = self.db()?.range(prefix..end).keys().take(limit);
        keys.map(|key| {
            let key = key.map_err(|error| self.failed(error))?;
            decode_key(behind(&key, before_key))
        })
        .collect()
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let note = self
            .db()?
            .get(note_key(name))
            .map_err(|error| self.failed(error))?;
        Ok(note.map(|note| note.to_vec()))
    }

    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.len)
    }

    fn name(&self) -> &str {
        BACKEND
    }
}

/// Opens the database, waiting a moment for the lock.
fn open_db(config: &sled::Config) -> sled::Result<sled::Db> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open() {
            Err(error) if is_locked(&error) && Instant::now() < deadline => {
                std::thread::sleep(LOCK_RETRY);
            }
            opened => return opened,
        }
    }
}

/// What is left of a batch when only the last change of each key counts.
struct Group<'a> {
    cleared: bool,
    last: HashMap<KeyBytes, Option<(&'a Data, Option<Timestamp>)>>,
    notes: HashMap<&'a str, Option<&'a [u8]>>,
}

impl<'a> Group<'a> {
    fn fold(mutations: &'a [Mutation]) -> Self {
        let mut group = Self {
            cleared: false,
            last: HashMap::with_capacity(mutations.len()),
            notes: HashMap::new(),
        };
        for mutation in mutations {
            match mutation {
                Mutation::Put {
                    key,
                    value,
                    expires_at,
                } => {
                    group
                        .last
                        .insert(key_bytes(key), Some((value, *expires_at)));
                }
                Mutation::Erase { key } => {
                    group.last.insert(key_bytes(key), None);
                }
                Mutation::Clear => {
                    group.cleared = true;
                    group.last.clear();
                }
                Mutation::Note { name, value } => {
                    group.notes.insert(name, value.as_deref());
                }
            }
        }
        group
    }
}

const BACKEND: &str = "sled";
const CACHE_BYTES: u64 = 64 << 20;
const MIN_CACHE_BYTES: u64 = 1 << 20;
const ENTRY: u8 = b'd';
const DEADLINE: u8 = b'e';
const LATER_ENTRY: u8 = b'D';
const LATER_DEADLINE: u8 = b'E';
const GENERATION_KEY: &[u8] = b"g";
const LEN_KEY: &[u8] = b"n";
const NOTE: u8 = b'o';
const GROUPS_KEY: &[u8] = b"s";

/// Keys of a former generation removed at a time.
const PURGE_GROUP: usize = 4096;

fn entry_prefix(generation: u32) -> Vec<u8> {
    prefix(generation, ENTRY, LATER_ENTRY)
}

fn deadline_prefix(generation: u32) -> Vec<u8> {
    prefix(generation, DEADLINE, LATER_DEADLINE)
}

fn prefix(generation: u32, first: u8, later: u8) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(64);
    if generation == 0 {
        prefix.push(first);
    } else {
        prefix.push(later);
        prefix.extend(generation.to_be_bytes());
    }
    prefix
}

/// The first key that is behind all those with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn entry_key(generation: u32, key: &KeyBytes) -> Vec<u8> {
    let mut bytes = entry_prefix(generation);
    bytes.extend_from_slice(key);
    bytes
}

fn deadline_key(generation: u32, deadline: Timestamp, key: &KeyBytes) -> Vec<u8> {
    let ordered = deadline.as_nanos() ^ i64::MIN;
    let mut bytes = deadline_prefix(generation);
    bytes.extend(ordered.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

fn note_key(name: &str) -> Vec<u8> {
    [&[NOTE], name.as_bytes()].concat()
}

fn behind(key: &[u8], prefix: usize) -> &[u8] {
    key.get(prefix..).unwrap_or_default()
}

fn join_entry(value: &Data, expires_at: Option<Timestamp>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + binary::encoded_len(value));
    match expires_at {
        Some(deadline) => {
            bytes.push(1);
            bytes.extend_from_slice(&deadline.as_nanos().to_be_bytes());
        }
        None => bytes.push(0),
    }
    binary::encode_to_vec(value, &mut bytes);
    bytes
}

fn split_entry(bytes: &[u8]) -> Result<(Option<Timestamp>, &[u8]), BackendError> {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        let deadline = if reader.bool("deadline")? {
            Some(Timestamp::from_nanos(reader.i64("deadline")?))
        } else {
            None
        };
        Ok((deadline, reader.rest()))
    };
    read().map_err(|source| BackendError::Unreadable {
        what: "a deadline",
        source: Some(source),
    })
}

fn read_entry(bytes: &[u8]) -> Result<Entry, BackendError> {
    let (expires_at, value) = split_entry(bytes)?;
    Ok(Entry {
        value: decode_value(value)?,
        expires_at,
    })
}

fn problem(error: &sled::Error) -> Problem {
    match error {
        error if is_locked(error) => Problem::InUse,
        sled::Error::Io(error) => Problem::of_io(error),
        sled::Error::Corruption { .. } => Problem::Damaged,
        sled::Error::Unsupported(_) => Problem::NotAStore,
        _ => Problem::Other,
    }
}

/// Whether somebody else has the database open.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// How long to wait for the lock on a database: sled gives it up a moment after the last handle is gone, on a thread of
/// its own, and a process that was killed takes a moment to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn sled_conforms() {
        conformance::run(|| Sled::open_temporary().expect("open"));
    }

    #[test]
    fn entries_and_deadlines_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let put = |key: &str, at: Option<i64>| Mutation::Put {
            key: key.into(),
            value: key.into(),
            expires_at: at.map(Timestamp::from_nanos),
        };
        let mut store = Sled::open(dir.path()).unwrap();
        store
            .apply(&[put("a", None), put("b", Some(7)), put("c", Some(-5))])
            .unwrap();
        drop(store);
        let store = Sled::open(dir.path()).unwrap();
        assert_eq!(store.len().unwrap(), 3);
        assert_eq!(
            store.due(Timestamp::from_nanos(8), 9).unwrap(),
            ["c".into(), "b".into()]
        );
        assert_eq!(store.get(&"a".into()).unwrap(), Some(Entry::lasting("a")));
    }

    #[test]
    fn a_database_that_is_open_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = Sled::open(dir.path()).unwrap();
        assert!(matches!(
            Sled::open(dir.path()),
            Err(BackendError::Open { .. })
        ));
        drop(open);
        Sled::open(dir.path()).unwrap();
    }

    #[test]
    fn a_wrong_option_is_told_what_is_accepted() {
        assert!(matches!(
            Sled::from_options([("path", "x"), ("synchronous", "off")]),
            Err(BackendError::UnknownOption {
                accepted: "path, cache_bytes",
                ..
            })
        ));
        for wrong in ["", "lots", "-1", "1000"] {
            let error = Sled::from_options([("path", "x"), ("cache_bytes", wrong)]).unwrap_err();
            assert!(error.to_string().contains("from 1048576 on"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        Sled::from_options([("cache_bytes", "2000000"), ("path", path)]).unwrap();
        assert!(matches!(
            Sled::from_options([]),
            Err(BackendError::MissingOption { option: "path", .. })
        ));
    }

    fn many(count: u64) -> Vec<Mutation> {
        let put = |n: u64| Mutation::Put {
            key: n.into(),
            value: n.into(),
            expires_at: n.is_multiple_of(2).then(|| Timestamp::from_nanos(n as i64)),
        };
        (0..count).map(put).collect()
    }

    #[test]
    fn a_clear_leaves_nothing_behind_however_much_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sled::open(dir.path()).unwrap();
        for _ in 0..3 {
            store.apply(&many(10_000)).unwrap();
            store.check().unwrap();
            store
                .apply(&[vec![Mutation::Clear], many(3)].concat())
                .unwrap();
            store.check().unwrap();
            // Three entries, two deadlines, and the three numbers.
            assert_eq!(store.db().unwrap().len(), 8);
            assert_eq!(
                store.due(Timestamp::MAX, 9).unwrap(),
                [0u64.into(), 2u64.into()]
            );
        }
        drop(store);
        let store = Sled::open(dir.path()).unwrap();
        assert_eq!((store.len().unwrap(), store.generation), (3, 3));
        store.check().unwrap();
    }

    #[test]
    fn what_an_interrupted_clear_left_is_removed_on_opening() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sled::open(dir.path()).unwrap();
        store.apply(&[Mutation::Clear]).unwrap();
        store.apply(&many(10)).unwrap();
        for former in [0, 2] {
            let db = store.db().unwrap();
            for n in 0..10u64 {
                let (key, at) = (key_bytes(&n.into()), Timestamp::from_nanos(5));
                db.insert(entry_key(former, &key), join_entry(&n.into(), Some(at)))
                    .unwrap();
                db.insert(deadline_key(former, at, &key), &[]).unwrap();
            }
        }
        assert_eq!(store.db().unwrap().len(), 10 + 5 + 3 + 40);
        drop(store);
        let store = Sled::open(dir.path()).unwrap();
        assert_eq!(store.db().unwrap().len(), 10 + 5 + 3);
        store.check().unwrap();
    }

    #[test]
    fn a_check_finds_what_does_not_fit_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Sled::open(dir.path()).unwrap();
        store.apply(&many(4)).unwrap();
        store.check().unwrap();
        let (key, at) = (key_bytes(&2u64.into()), Timestamp::from_nanos(2));
        let db = store.db().unwrap().clone();
        db.remove(deadline_key(0, at, &key)).unwrap();
        assert!(store.check().is_err());
        db.insert(deadline_key(0, at, &key), &[]).unwrap();
        store.check().unwrap();
        let later = Timestamp::from_nanos(3);
        db.insert(deadline_key(0, later, &key), &[]).unwrap();
        assert!(store.check().is_err());
        db.remove(deadline_key(0, later, &key)).unwrap();
        db.remove(entry_key(0, &key_bytes(&1u64.into()))).unwrap();
        assert!(store.check().is_err());
    }

    #[test]
    fn numbers_that_cannot_be_right_end_nothing() {
        let put = |key: u64| Mutation::Put {
            key: key.into(),
            value: key.into(),
            expires_at: None,
        };
        let mut store = Sled::open_temporary().unwrap();
        store.apply(&[put(1), put(2)]).unwrap();
        (store.len, store.groups) = (0, u64::MAX);
        store
            .apply(&[Mutation::Erase { key: 1u64.into() }])
            .unwrap();
        assert!(store.check().is_err());
        store.len = u64::MAX;
        store.apply(&[put(3)]).unwrap();
        assert_eq!(store.scan(None, 9).unwrap().len(), 2);
        store.apply(&[Mutation::Clear, put(4)]).unwrap();
        store.check().unwrap();
    }
}
