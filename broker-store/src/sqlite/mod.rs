//! The SQLite backend, with the schema of C++ Broker (wire reference 11).
//!
//! ```text
//! meta  (key text primary key, value text)                     the row 'broker_version'; notes of ours, see `notes`
//! store (key blob primary key, value blob, expiry integer)     encoded values; nanoseconds since the epoch or NULL
//! ```
//!
//! A file written by Zeek opens here and one written here opens in Zeek. The content stays on disk, and so does the index
//! of deadlines, see `deadlines`: memory holds a page cache of a fixed size.
//!
//! Beside the store lies `PATH-lock`, see `lock`: a file has one master at a time.
//!
//! **Invariant:** a group of mutations is one transaction, and [`apply`](Backend::apply) returns after its commit.

mod backup;
mod deadlines;
#[cfg(test)]
mod golden;
mod lock;
mod notes;
mod open;
mod options;
mod problem;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use broker_core::{Data, Timestamp, binary};
use rusqlite::{Connection, OptionalExtension, params};

pub use self::options::{FailureMode, JournalMode, SqliteOptions, Synchronous};

use self::backup::Gate;
use self::deadlines::{DUE, EXPIRY_OF, FORGET, FORGET_ALL, REMEMBER};
use self::lock::StoreLock;
use self::notes::{ERASE_NOTE, GET_NOTE, PUT_NOTE, hex, note_key, unhex};
use self::options::BACKEND;
use crate::backend::{
    Backend, BackendError, Backup, Entry, Mutation, decode_key, decode_value, key_bytes,
};

/// Keeps entries in a SQLite file.
pub struct Sqlite {
    connection: Connection,
    /// Where the file is; nothing if it is in memory.
    path: Option<PathBuf>,
    /// How many keys have a deadline.
    limited: usize,
    /// Closed while a transaction or a step of a backup is under way.
    gate: Gate,
    /// Buffers that the encodings of one mutation are written to, kept between mutations.
    scratch: Vec<u8>,
    /// Given up after the connection is closed.
    _lock: Option<StoreLock>,
}

impl Sqlite {
    /// Opens or creates the file that `options` name, waiting up to a second for another process to let go of it.
    ///
    /// # Errors
    /// The file cannot be opened, is no store, is damaged (and the failure mode is not to delete it), or is the store of
    /// another process or master.
    pub fn open(options: &SqliteOptions) -> Result<Self, BackendError> {
        open::open(options)
    }

    /// An empty store in memory, for tests.
    ///
    /// # Errors
    /// SQLite cannot set it up.
    pub fn open_in_memory() -> Result<Self, BackendError> {
        open::open_in_memory().map_err(BackendError::engine)
    }

    fn over(connection: Connection, limited: usize, path: Option<PathBuf>) -> Self {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Self {
            connection,
            path,
            limited,
            gate: Gate::default(),
            scratch: Vec::new(),
            _lock: None,
        }
    }

    fn failed(&self, error: rusqlite::Error) -> BackendError {
        match &self.path {
            Some(path) => problem::failed(path, error),
            None => BackendError::engine(error),
        }
    }

    fn apply_in_transaction(&mut self, batch: &[Mutation]) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            // A rollback has failed.
            self.connection.prepare_cached(ROLLBACK)?.execute([])?;
        }
        self.connection.prepare_cached(BEGIN)?.execute([])?;
        let before = self.limited;
        let applied = self
            .apply_each(batch)
            .and_then(|()| self.connection.prepare_cached(COMMIT)?.execute([]));
        if let Err(error) = applied {
            self.limited = before;
            // Some errors have rolled it back already.
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.prepare_cached(ROLLBACK)?.execute([])
            {
                tracing::error!(store = ?self.path, %error, "a transaction cannot be rolled back");
            }
            return Err(error);
        }
        Ok(())
    }

    fn apply_each(&mut self, batch: &[Mutation]) -> rusqlite::Result<()> {
        let Self {
            connection,
            limited,
            scratch,
            ..
        } = self;
        let connection = &*connection;
        let mut put = connection.prepare_cached(PUT)?;
        let mut erase = connection.prepare_cached(ERASE)?;
        let mut expiry_of = connection.prepare_cached(EXPIRY_OF)?;
        let mut remember = connection.prepare_cached(REMEMBER)?;
        let mut forget = connection.prepare_cached(FORGET)?;
        for mutation in batch {
            scratch.clear();
            let (key, deadline) = match mutation {
                Mutation::Put {
                    key, expires_at, ..
                } => (key, expires_at.map(Timestamp::as_nanos)),
                Mutation::Erase { key } => (key, None),
                Mutation::Clear => {
                    connection.prepare_cached(CLEAR)?.execute([])?;
                    connection.prepare_cached(FORGET_ALL)?.execute([])?;
                    *limited = 0;
                    continue;
                }
                Mutation::Note { name, value } => {
                    let name = note_key(name);
                    match value {
                        Some(value) => connection
                            .prepare_cached(PUT_NOTE)?
                            .execute([name, hex(value)])?,
                        None => connection.prepare_cached(ERASE_NOTE)?.execute([name])?,
                    };
                    continue;
                }
            };
            binary::encode_to_vec(key, scratch);
            let key_len = scratch.len();
            if *limited > 0 {
                let former: Option<Option<i64>> = expiry_of
                    .query_row([&scratch[..key_len]], |row| row.get(0))
                    .optional()?;
                if let Some(former) = former.flatten()
                    && Some(former) != deadline
                {
                    *limited -= forget
                        .execute(params![former, &scratch[..key_len]])?
                        .min(*limited);
                }
            }
            if let Some(deadline) = deadline {
                *limited += remember.execute(params![deadline, &scratch[..key_len]])?;
            }
            if let Mutation::Put { value, .. } = mutation {
                binary::encode_to_vec(value, scratch);
                let (key, value) = scratch.split_at(key_len);
                put.execute(params![key, value, deadline])?;
            } else {
                erase.execute([&scratch[..key_len]])?;
            }
        }
        Ok(())
    }
}

impl Backend for Sqlite {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        let gate = Arc::clone(&self.gate);
        let _closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply_in_transaction(batch)
            .map_err(|error| self.failed(error))
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(GET)
            .map_err(|error| self.failed(error))?;
        let mut rows = select
            .query([key_bytes(key).as_slice()])
            .map_err(|error| self.failed(error))?;
        let row = rows.next().map_err(|error| self.failed(error))?;
        row.map(|row| entry(row, 0)).transpose()
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        // No encoding is empty, so every key is behind the empty one.
        let after = after.map(key_bytes).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut select = self
            .connection
            .prepare_cached(SCAN)
            .map_err(|error| self.failed(error))?;
        let mut rows = select
            .query(params![after.as_slice(), limit])
            .map_err(|error| self.failed(error))?;
        let mut page = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            let key = decode_key(blob(row, 0, "a key")?)?;
            page.push((key, entry(row, 1)?));
        }
        Ok(page)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        if self.limited == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut select = self
            .connection
            .prepare_cached(DUE)
            .map_err(|error| self.failed(error))?;
        let mut rows = select
            .query(params![now.as_nanos(), limit])
            .map_err(|error| self.failed(error))?;
        let mut due = Vec::new();
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            due.push(decode_key(blob(row, 0, "a key")?)?);
        }
        Ok(due)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(GET_NOTE)
            .map_err(|error| self.failed(error))?;
        let mut rows = select
            .query([note_key(name)])
            .map_err(|error| self.failed(error))?;
        let Some(row) = rows.next().map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let text: String = row.get(0).map_err(|error| self.failed(error))?;
        unhex(&text).map(Some).ok_or(BackendError::Unreadable {
            what: "a note",
            source: None,
        })
    }

    fn len(&self) -> Result<u64, BackendError> {
        let count: i64 = self
            .connection
            .query_row("SELECT count(*) FROM store", [], |row| row.get(0))
            .map_err(|error| self.failed(error))?;
        Ok(count.unsigned_abs())
    }

    fn name(&self) -> &str {
        BACKEND
    }

    fn contains(&self, key: &Data) -> Result<bool, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(CONTAINS)
            .map_err(|error| self.failed(error))?;
        select
            .exists([key_bytes(key).as_slice()])
            .map_err(|error| self.failed(error))
    }

    fn backup(&self) -> Result<Backup, BackendError> {
        let path = self.path.clone().ok_or_else(|| BackendError::NoBackup {
            backend: "sqlite in memory".to_owned(),
        })?;
        Ok(backup::backup(path, Arc::clone(&self.gate)))
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const PUT: &str = "INSERT INTO store (key, value, expiry) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value, expiry = excluded.expiry";
const ERASE: &str = "DELETE FROM store WHERE key = ?1";
const CLEAR: &str = "DELETE FROM store";
const GET: &str = "SELECT value, expiry FROM store WHERE key = ?1";
const CONTAINS: &str = "SELECT 1 FROM store WHERE key = ?1";
const SCAN: &str = "SELECT key, value, expiry FROM store WHERE key > ?1 ORDER BY key LIMIT ?2";

/// Prepared statements kept: all there are.
const STATEMENTS: usize = 32;

/// Prepares what the store will need, so that a file with other tables is found out at once.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    for statement in [PUT, ERASE, CLEAR, GET, CONTAINS, SCAN, PUT_NOTE, GET_NOTE] {
        connection.prepare_cached(statement)?;
    }
    Ok(())
}

fn entry(row: &rusqlite::Row<'_>, column: usize) -> Result<Entry, BackendError> {
    let value = decode_value(blob(row, column, "a value")?)?;
    let expiry: Option<i64> = row.get(column + 1).map_err(BackendError::engine)?;
    Ok(Entry {
        value,
        expires_at: expiry.map(Timestamp::from_nanos),
    })
}

fn blob<'row>(
    row: &'row rusqlite::Row<'_>,
    column: usize,
    what: &'static str,
) -> Result<&'row [u8], BackendError> {
    let value = row.get_ref(column).map_err(BackendError::engine)?;
    value
        .as_bytes()
        .map_err(|_| BackendError::Unreadable { what, source: None })
}
