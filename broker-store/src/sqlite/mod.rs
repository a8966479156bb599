//! The SQLite backend, with the schema of C++ Broker (wire reference 11).
//!
//! ```text
//! meta  (key text primary key, value text)                     one row: 'broker_version'
//! store (key blob primary key, value blob, expiry integer)     encoded values; nanoseconds since the epoch or NULL
//! ```
//!
//! A file written by Zeek opens here and one written here opens in Zeek. The schema has no index over `expiry`, so the
//! deadlines are read once on opening and kept in memory; entries without one cost nothing.
//!
//! **Invariant:** a group of mutations is one transaction, and [`apply`](Backend::apply) returns after its commit.

#[cfg(test)]
mod golden;
mod options;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use broker_core::{Data, Timestamp, binary};
use rusqlite::{Connection, params};

pub use self::options::{FailureMode, JournalMode, SqliteOptions, Synchronous};

use self::options::BACKEND;
use crate::backend::{
    Backend, BackendError, Entry, KeyBytes, Mutation, decode_key, decode_value, key_bytes,
};
use crate::deadlines::Deadlines;

/// Keeps entries in a SQLite file.
pub struct Sqlite {
    connection: Connection,
    deadlines: Deadlines,
    /// Buffers that the encodings of one mutation are written to, kept between mutations.
    scratch: Vec<u8>,
}

impl Sqlite {
    /// Opens or creates the file that `options` name.
    ///
    /// # Errors
    /// The file cannot be opened, is no store, or is damaged, and the failure mode is not to delete it.
    pub fn open(options: &SqliteOptions) -> Result<Self, BackendError> {
        let error = match Self::open_once(options) {
            Err(error) if options.failure_mode == FailureMode::Delete => error,
            opened => return opened,
        };
        tracing::warn!(path = %options.path.display(), %error, "deleting a store that cannot be opened");
        delete_store(&options.path).map_err(|error| open_error(&options.path, error))?;
        Self::open_once(options)
    }

    /// An empty store in memory, for tests.
    ///
    /// # Errors
    /// SQLite cannot set it up.
    pub fn open_in_memory() -> Result<Self, BackendError> {
        let connection = Connection::open_in_memory().map_err(BackendError::engine)?;
        create_tables(&connection).map_err(BackendError::engine)?;
        Ok(Self {
            connection,
            deadlines: Deadlines::default(),
            scratch: Vec::new(),
        })
    }

    fn open_once(options: &SqliteOptions) -> Result<Self, BackendError> {
        let path = options.path.as_path();
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            fs::create_dir_all(parent).map_err(|error| open_error(path, error))?;
        }
        let connection = Connection::open(path).map_err(|error| open_error(path, error))?;
        configure(&connection, options)?;
        connection.set_prepared_statement_cache_capacity(16);
        let deadlines = load_deadlines(&connection).map_err(|error| open_error(path, error))?;
        Ok(Self {
            connection,
            deadlines,
            scratch: Vec::new(),
        })
    }

    fn apply_in_transaction(&mut self, batch: &[Mutation]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            let mut erase = transaction.prepare_cached(ERASE)?;
            for mutation in batch {
                self.scratch.clear();
                match mutation {
                    Mutation::Put {
                        key,
                        value,
                        expires_at,
                    } => {
                        binary::encode_to_vec(key, &mut self.scratch);
                        let key_len = self.scratch.len();
                        binary::encode_to_vec(value, &mut self.scratch);
                        let (key, value) = self.scratch.split_at(key_len);
                        put.execute(params![key, value, expires_at.map(Timestamp::as_nanos)])?;
                    }
                    Mutation::Erase { key } => {
                        binary::encode_to_vec(key, &mut self.scratch);
                        erase.execute([&self.scratch])?;
                    }
                    Mutation::Clear => {
                        transaction.execute(CLEAR, [])?;
                    }
                    Mutation::Note { name, value } => {
                        let name = note_key(name);
                        match value {
                            Some(value) => transaction
                                .prepare_cached(PUT_NOTE)?
                                .execute([name, hex(value)])?,
                            None => transaction.prepare_cached(ERASE_NOTE)?.execute([name])?,
                        };
                    }
                }
            }
        }
        transaction.commit()
    }
}

impl Backend for Sqlite {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        // A transaction that is dropped before its commit is rolled back.
        self.apply_in_transaction(batch)
            .map_err(BackendError::engine)?;
        for mutation in batch {
            match mutation {
                Mutation::Put {
                    expires_at: None, ..
                }
                | Mutation::Erase { .. }
                    if self.deadlines.is_empty() => {}
                Mutation::Put {
                    key, expires_at, ..
                } => self.deadlines.set(&key_bytes(key), *expires_at),
                Mutation::Erase { key } => self.deadlines.remove(&key_bytes(key)),
                Mutation::Clear => self.deadlines.clear(),
                Mutation::Note { .. } => {}
            }
        }
        Ok(())
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(GET)
            .map_err(BackendError::engine)?;
        let mut rows = select
            .query([key_bytes(key).as_slice()])
            .map_err(BackendError::engine)?;
        let row = rows.next().map_err(BackendError::engine)?;
        row.map(|row| entry(row, 0)).transpose()
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        // No encoding is empty, so every key is behind the empty one.
        let after = after.map(key_bytes).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut select = self
            .connection
            .prepare_cached(SCAN)
            .map_err(BackendError::engine)?;
        let mut rows = select
            .query(params![after.as_slice(), limit])
            .map_err(BackendError::engine)?;
        let mut page = Vec::new();
        while let Some(row) = rows.next().map_err(BackendError::engine)? {
            let key = decode_key(blob(row, 0, "a key")?)?;
            page.push((key, entry(row, 1)?));
        }
        Ok(page)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.deadlines
            .due(now, limit)
            .map(|key| decode_key(key))
            .collect()
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(GET_NOTE)
            .map_err(BackendError::engine)?;
        let mut rows = select
            .query([note_key(name)])
            .map_err(BackendError::engine)?;
        let Some(row) = rows.next().map_err(BackendError::engine)? else {
            return Ok(None);
        };
        let text: String = row.get(0).map_err(BackendError::engine)?;
        unhex(&text).map(Some).ok_or(BackendError::Unreadable {
            what: "a note",
            source: None,
        })
    }

    fn len(&self) -> Result<u64, BackendError> {
        let count: i64 = self
            .connection
            .query_row("SELECT count(*) FROM store", [], |row| row.get(0))
            .map_err(BackendError::engine)?;
        Ok(count.unsigned_abs())
    }

    fn name(&self) -> &str {
        BACKEND
    }

    fn contains(&self, key: &Data) -> Result<bool, BackendError> {
        let mut select = self
            .connection
            .prepare_cached(CONTAINS)
            .map_err(BackendError::engine)?;
        select
            .exists([key_bytes(key).as_slice()])
            .map_err(BackendError::engine)
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.connection.path())
            .finish_non_exhaustive()
    }
}

/// The version of C++ Broker whose format this is.
const BROKER_VERSION: &str = "2.8.0";

const PUT: &str = "INSERT INTO store (key, value, expiry) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value, expiry = excluded.expiry";
const ERASE: &str = "DELETE FROM store WHERE key = ?1";
const CLEAR: &str = "DELETE FROM store";
const GET: &str = "SELECT value, expiry FROM store WHERE key = ?1";
const CONTAINS: &str = "SELECT 1 FROM store WHERE key = ?1";
const SCAN: &str = "SELECT key, value, expiry FROM store WHERE key > ?1 ORDER BY key LIMIT ?2";

const PUT_NOTE: &str = "INSERT INTO meta (key, value) VALUES (?1, ?2) \
                        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const ERASE_NOTE: &str = "DELETE FROM meta WHERE key = ?1";
const GET_NOTE: &str = "SELECT value FROM meta WHERE key = ?1";

/// Notes are rows of the meta table, of which C++ Broker reads none.
fn note_key(name: &str) -> String {
    format!("note/{name}")
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2)
            .then(|| u8::from_str_radix(pair, 16).ok())
            .flatten()
    });
    bytes.collect()
}

/// The start sequence of the reference: synchronous, journal mode, tables, version, integrity check.
fn configure(connection: &Connection, options: &SqliteOptions) -> Result<(), BackendError> {
    let failed = |error| open_error(&options.path, error);
    if let Some(synchronous) = options.synchronous {
        connection
            .pragma_update(None, "synchronous", synchronous.pragma())
            .map_err(failed)?;
    }
    if let Some(mode) = options.journal_mode {
        let set: String = connection
            .pragma_update_and_check(None, "journal_mode", mode.pragma(), |row| row.get(0))
            .map_err(failed)?;
        if !set.eq_ignore_ascii_case(mode.pragma()) {
            return Err(BackendError::Open {
                path: options.path.clone(),
                source: format!("journal mode {} is refused, it stays {set}", mode.pragma()).into(),
            });
        }
    }
    create_tables(connection).map_err(failed)?;
    if options.integrity_check {
        let report: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(failed)?;
        if report != "ok" {
            return Err(BackendError::Damaged {
                path: options.path.clone(),
                report,
            });
        }
    }
    Ok(())
}

fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta(key text primary key, value text);
         CREATE TABLE IF NOT EXISTS store(key blob primary key, value blob, expiry integer);",
    )?;
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('broker_version', ?1)",
        [BROKER_VERSION],
    )?;
    Ok(())
}

fn load_deadlines(connection: &Connection) -> rusqlite::Result<Deadlines> {
    let mut deadlines = Deadlines::default();
    let mut select =
        connection.prepare("SELECT key, expiry FROM store WHERE expiry IS NOT NULL")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let key = KeyBytes::from(row.get_ref(0)?.as_bytes()?);
        deadlines.set(&key, Some(Timestamp::from_nanos(row.get(1)?)));
    }
    Ok(deadlines)
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

fn open_error(
    path: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> BackendError {
    BackendError::Open {
        path: path.to_owned(),
        source: error.into(),
    }
}

/// Deletes the file, if it is a regular one, and what SQLite keeps beside it.
fn delete_store(path: &Path) -> std::io::Result<()> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(std::io::Error::other(
            "it is not a regular file, so it is not deleted",
        ));
    }
    fs::remove_file(path)?;
    for suffix in ["-journal", "-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        match fs::remove_file(PathBuf::from(beside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    fn put(key: &str, value: u64, expires_at: Option<i64>) -> Mutation {
        Mutation::Put {
            key: key.into(),
            value: value.into(),
            expires_at: expires_at.map(Timestamp::from_nanos),
        }
    }

    #[test]
    fn sqlite_conforms() {
        conformance::run(|| Sqlite::open_in_memory().expect("open"));
    }

    #[test]
    fn entries_and_deadlines_survive_a_restart_in_both_journal_modes() {
        for mode in [JournalMode::Delete, JournalMode::Wal] {
            let dir = tempfile::tempdir().unwrap();
            let options = SqliteOptions::new(dir.path().join("deep/er/store.sqlite"))
                .journal_mode(mode)
                .integrity_check(true);
            let mut store = Sqlite::open(&options).unwrap();
            store
                .apply(&[
                    put("a", 1, None),
                    put("b", 2, Some(50)),
                    put("c", 3, Some(40)),
                ])
                .unwrap();
            drop(store);
            let store = Sqlite::open(&options).unwrap();
            assert_eq!(store.len().unwrap(), 3);
            assert_eq!(store.get(&"a".into()).unwrap(), Some(Entry::lasting(1u64)));
            assert_eq!(
                store.due(Timestamp::from_nanos(51), 10).unwrap(),
                ["c".into(), "b".into()]
            );
        }
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_or_deleted_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.sqlite");
        fs::write(
            &path,
            "this is not a database, but long enough to be taken for one".repeat(100),
        )
        .unwrap();
        let options = SqliteOptions::new(&path);
        assert!(matches!(
            Sqlite::open(&options),
            Err(BackendError::Open { .. })
        ));
        assert!(path.exists());
        let store = Sqlite::open(&options.failure_mode(FailureMode::Delete)).unwrap();
        assert_eq!(store.len().unwrap(), 0);
    }

    #[test]
    fn a_directory_is_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path()).failure_mode(FailureMode::Delete);
        assert!(Sqlite::open(&options).is_err());
        assert!(dir.path().exists());
    }

    #[test]
    fn a_locked_database_fails_the_group_and_leaves_the_store_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("s.sqlite"));
        let mut store = Sqlite::open(&options).unwrap();
        store
            .connection
            .busy_timeout(std::time::Duration::ZERO)
            .unwrap();
        let other = Connection::open(options.path()).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        assert!(matches!(
            store.apply(&[put("a", 1, Some(5))]),
            Err(BackendError::Engine(_))
        ));
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(store.due(Timestamp::MAX, 10).unwrap(), []);
        store.apply(&[put("a", 2, None)]).unwrap();
        assert_eq!(store.get(&"a".into()).unwrap(), Some(Entry::lasting(2u64)));
    }
}
