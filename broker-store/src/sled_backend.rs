//! The sled backend: an embedded ordered store, flushed to disk after each group.
//!
//! sled is no longer maintained upstream; it is here because users asked for it, behind the cargo feature `sled`.
//!
//! Everything is in one tree, so that one batch changes it atomically:
//!
//! ```text
//! 'd' key                       deadline i64 or nothing behind a flag byte, value
//! 'e' deadline i64 ^ MIN, key   nothing: the index of deadlines, earliest first
//! 'n'                           u64, how many entries there are
//! 'o' name                      a note
//! ```
//!
//! Integers are big-endian; the deadline's sign bit is turned over, so that bytewise order is the order of time.
//!
//! **Invariant:** [`apply`](Backend::apply) returns after the flush of its batch, so an acknowledgement means the same
//! as with SQLite's default.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use broker_core::binary::{self, Reader};
use broker_core::{Data, Timestamp};

use crate::backend::{
    Backend, BackendError, Entry, KeyBytes, Mutation, Problem, decode_key, decode_value, key_bytes,
};

/// Keeps entries in a sled database.
#[derive(Debug)]
pub struct Sled {
    db: sled::Db,
    len: u64,
}

impl Sled {
    /// Opens or creates the database in the directory `path`, with a cache of 64 MiB.
    ///
    /// # Errors
    /// The directory cannot be opened, holds something else, or is still open elsewhere after a second.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        let path = path.as_ref();
        let failed = |error: sled::Error| BackendError::Open {
            path: path.to_owned(),
            problem: problem(&error),
            source: error.into(),
        };
        // No flush by timer: each group is flushed before it is acknowledged.
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match config.open() {
                Ok(db) => return Self::load(db),
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    std::thread::sleep(LOCK_RETRY);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// An empty database in a temporary place, for tests.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn open_temporary() -> Result<Self, BackendError> {
        Self::load(
            sled::Config::new()
                .temporary(true)
                .flush_every_ms(None)
                .open()
                .map_err(BackendError::engine)?,
        )
    }

    /// The options written as `(name, value)` texts; there is only `path`.
    ///
    /// # Errors
    /// Another option is given or `path` is not, or the database cannot be opened.
    pub fn from_options<'a>(
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BackendError> {
        let mut path = None;
        for (option, value) in options {
            if option != "path" {
                return Err(BackendError::UnknownOption {
                    backend: BACKEND,
                    option: option.to_owned(),
                    accepted: "path",
                });
            }
            path = Some(value);
        }
        Self::open(
            path.filter(|path| !path.is_empty())
                .ok_or(BackendError::MissingOption {
                    backend: BACKEND,
                    option: "path",
                })?,
        )
    }

    fn load(db: sled::Db) -> Result<Self, BackendError> {
        let len = match db.get(LEN_KEY).map_err(BackendError::engine)? {
            Some(bytes) => Reader::new(&bytes)
                .u64("the number of entries")
                .map_err(|source| BackendError::Unreadable {
                    what: "a number",
                    source: Some(source),
                })?,
            None => 0,
        };
        Ok(Self { db, len })
    }

    fn deadline_of(&self, key: &KeyBytes) -> Result<Option<Option<Timestamp>>, BackendError> {
        let stored = self.db.get(entry_key(key)).map_err(BackendError::engine)?;
        stored.map(|bytes| Ok(split_entry(&bytes)?.0)).transpose()
    }

    /// Adds the removal of everything to `batch`.
    fn clear_into(&self, batch: &mut sled::Batch) -> Result<(), BackendError> {
        // Entries and their deadlines; notes stay.
        for key in self.db.range([ENTRY]..[DEADLINE + 1]).keys() {
            batch.remove(key.map_err(BackendError::engine)?);
        }
        Ok(())
    }
}

impl Backend for Sled {
    fn apply(&mut self, mutations: &[Mutation]) -> Result<(), BackendError> {
        let group = Group::fold(mutations);
        let mut batch = sled::Batch::default();
        let mut len = self.len;
        if group.cleared {
            self.clear_into(&mut batch)?;
            len = 0;
        }
        for (key, put) in &group.last {
            let former = if group.cleared {
                None
            } else {
                self.deadline_of(key)?
            };
            if let Some(Some(deadline)) = former {
                batch.remove(deadline_key(deadline, key));
            }
            match put {
                Some((value, expires_at)) => {
                    batch.insert(entry_key(key), join_entry(value, *expires_at));
                    if let Some(deadline) = expires_at {
                        batch.insert(deadline_key(*deadline, key), &[]);
                    }
                    len += u64::from(former.is_none());
                }
                None => {
                    batch.remove(entry_key(key));
                    len -= u64::from(former.is_some());
                }
            }
        }
        for (name, value) in group.notes {
            match value {
                Some(value) => batch.insert(note_key(name), value),
                None => batch.remove(note_key(name)),
            }
        }
        batch.insert(LEN_KEY, &len.to_be_bytes());
        self.db.apply_batch(batch).map_err(BackendError::engine)?;
        self.len = len;
        self.db.flush().map_err(BackendError::engine)?;
        Ok(())
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        let stored = self
            .db
            .get(entry_key(&key_bytes(key)))
            .map_err(BackendError::engine)?;
        stored.map(|bytes| read_entry(&bytes)).transpose()
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        let start = after.map_or_else(
            || Bound::Included(vec![ENTRY]),
            |after| Bound::Excluded(entry_key(&key_bytes(after))),
        );
        let mut page = Vec::new();
        for item in self
            .db
            .range((start, Bound::Excluded(vec![ENTRY + 1])))
            .take(limit)
        {
            let (key, value) = item.map_err(BackendError::engine)?;
            page.push((decode_key(behind(&key, 1))?, read_entry(&value)?));
        }
        Ok(page)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        let end = deadline_key(now, &KeyBytes::new());
        let keys = self.db.range(vec![DEADLINE]..end).keys().take(limit);
        keys.map(|key| decode_key(behind(&key.map_err(BackendError::engine)?, 9)))
            .collect()
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let note = self.db.get(note_key(name)).map_err(BackendError::engine)?;
        Ok(note.map(|note| note.to_vec()))
    }

    fn len(&self) -> Result<u64, BackendError> {
        Ok(self.len)
    }

    fn name(&self) -> &str {
        BACKEND
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
const ENTRY: u8 = b'd';
const DEADLINE: u8 = b'e';
const LEN_KEY: &[u8] = b"n";
const NOTE: u8 = b'o';

fn entry_key(key: &KeyBytes) -> Vec<u8> {
    [&[ENTRY], key.as_slice()].concat()
}

fn deadline_key(deadline: Timestamp, key: &KeyBytes) -> Vec<u8> {
    let ordered = deadline.as_nanos() ^ i64::MIN;
    [
        &[DEADLINE],
        ordered.to_be_bytes().as_slice(),
        key.as_slice(),
    ]
    .concat()
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
    fn the_only_option_is_the_path() {
        assert!(matches!(
            Sled::from_options([("path", "x"), ("synchronous", "off")]),
            Err(BackendError::UnknownOption {
                accepted: "path",
                ..
            })
        ));
        assert!(matches!(
            Sled::from_options([]),
            Err(BackendError::MissingOption { option: "path", .. })
        ));
    }
}
