//! Opening a file: the start sequence of wire reference 11, and what to do with a file that refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::lock::StoreLock;
use super::problem::open_error;
use super::{FailureMode, Sqlite, SqliteOptions, deadlines, notes};
use crate::backend::{BackendError, Problem};

pub(super) fn open(options: &SqliteOptions) -> Result<Sqlite, BackendError> {
    let path = options.path.as_path();
    let refused = |error: std::io::Error| BackendError::Open {
        path: path.to_owned(),
        problem: Problem::of_io(&error),
        source: error.into(),
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(refused)?;
    }
    if path.is_dir() {
        return Err(refused(std::io::ErrorKind::IsADirectory.into()));
    }
    let lock = StoreLock::take(path)?;
    let store = match open_locked(options) {
        Err(error) if options.failure_mode == FailureMode::Delete && is_hopeless(&error) => {
            tracing::warn!(path = %path.display(), error = &error as &dyn std::error::Error, "deleting a store that cannot be opened");
            delete_store(path).map_err(refused)?;
            open_locked(options)?
        }
        opened => opened?,
    };
    Ok(Sqlite {
        _lock: Some(lock),
        ..store
    })
}

pub(super) fn open_in_memory() -> rusqlite::Result<Sqlite> {
    let connection = Connection::open_in_memory()?;
    begin_session(&connection)?;
    let limited = deadlines::load(&connection)?;
    Ok(Sqlite::over(connection, limited, None))
}

/// Whether a file is beyond repair. One that somebody has locked, or that the disk has no room for, is not, nor is the
/// whole database of another program.
fn is_hopeless(error: &BackendError) -> bool {
    match error {
        BackendError::Damaged { .. } => true,
        BackendError::Open { problem, .. } => {
            matches!(problem, Problem::Damaged | Problem::NotAStore)
        }
        _ => false,
    }
}

fn open_locked(options: &SqliteOptions) -> Result<Sqlite, BackendError> {
    let path = options.path.as_path();
    let failed = |error| open_error(path, error);
    // The path is a path, never a URI with settings of its own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    configure(&connection, options)?;
    let limited = deadlines::load(&connection).map_err(failed)?;
    Ok(Sqlite::over(connection, limited, Some(path.to_owned())))
}

/// The start sequence of the reference: synchronous, journal mode, tables, version, integrity check.
fn configure(connection: &Connection, options: &SqliteOptions) -> Result<(), BackendError> {
    let failed = |error| open_error(&options.path, error);
    connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
    connection
        .pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(failed)?;
    connection
        .pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
        .map_err(failed)?;
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
                problem: Problem::NoAccess,
                source: format!("journal mode {} is refused, it stays {set}", mode.pragma()).into(),
            });
        }
    }
    if begin_session(connection).map_err(failed)? {
        tracing::info!(path = %options.path.display(), "another program has had the store open: its content begins a new history");
    }
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

/// Creates the tables where they are missing and writes the version row. Returns whether notes were dropped.
fn begin_session(connection: &Connection) -> rusqlite::Result<bool> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS meta(key text primary key, value text);
         CREATE TABLE IF NOT EXISTS store(key blob primary key, value blob, expiry integer);",
    )?;
    // Before anything is kept: the database of another program gets no tables of ours.
    super::prepare(connection)?;
    let dropped = notes::sign(connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(dropped)
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

/// Pages kept in memory, in KiB: 16 MiB.
const CACHE_KIB: i32 = 16 << 10;

/// Pages in the write-ahead log before they are moved to the database: 16 MiB at the usual page size. Keys come in no order,
/// so a group changes about as many pages as it has entries: at SQLite's own 1000 every group would end in a move.
const CHECKPOINT_PAGES: i32 = 4096;

/// How long another program that is busy with the file may hold up a call. Clones look for a new master after five seconds
/// of silence.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
