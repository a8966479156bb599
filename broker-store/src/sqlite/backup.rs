//! Backups through SQLite's own online copy, on a connection of their own, while the store goes on.
//!
//! With a write-ahead log the copy is taken in one read transaction: the writer is not held up, only the log grows until
//! the copy is done. With a rollback journal a read transaction would hold the writer up, so pages are copied a few at a
//! time, and SQLite begins anew whenever something was written between. After a few such restarts the rest is copied in
//! one go, while our writer waits at the gate.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::backup::{Backup as Copying, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::lock::StoreLock;
use super::notes::ERASE_NOTES;
use super::problem::backup_error;
use crate::backend::{BackendError, Backup, BackupProgress, Problem};

/// What the writer of a store holds during a transaction.
pub(super) type Gate = Arc<Mutex<()>>;

pub(super) fn backup(store: PathBuf, gate: Gate) -> Backup {
    Backup::new(move |to, progress| copy(&store, &gate, to, progress))
}

fn copy(
    store: &Path,
    gate: &Gate,
    to: &Path,
    progress: &mut dyn FnMut(BackupProgress),
) -> Result<(), BackendError> {
    refuse_unfit(store, to)?;
    let partial = Partial::beside(to);
    copy_pages(store, gate, &partial.path, progress).map_err(|error| backup_error(to, error))?;
    partial
        .put_in_place(to)
        .map_err(|error| BackendError::Backup {
            path: to.to_owned(),
            problem: Problem::of_io(&error),
            source: error.into(),
        })
}

fn refuse_unfit(store: &Path, to: &Path) -> Result<(), BackendError> {
    let refused = |problem, why: &str| BackendError::Backup {
        path: to.to_owned(),
        problem,
        source: why.into(),
    };
    if to.is_dir() {
        return Err(refused(Problem::WrongKindOfFile, "it is a directory"));
    }
    if to.file_name().is_none() {
        return Err(refused(Problem::WrongKindOfFile, "it names no file"));
    }
    let is_store =
        matches!((fs::canonicalize(store), fs::canonicalize(to)), (Ok(a), Ok(b)) if a == b);
    if is_store || StoreLock::is_taken(to) {
        return Err(refused(Problem::InUse, "it is a store that is open"));
    }
    Ok(())
}

fn copy_pages(
    store: &Path,
    gate: &Gate,
    to: &Path,
    progress: &mut dyn FnMut(BackupProgress),
) -> rusqlite::Result<()> {
    let from = Connection::open_with_flags(
        store,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let mut copy = Connection::open_with_flags(
        to,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Nobody needs half a copy: it is synchronised once, at the end.
    copy.execute_batch("PRAGMA synchronous = OFF")?;
    let mode: String = from.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    let is_wal = mode.eq_ignore_ascii_case("wal");
    if is_wal {
        // The snapshot begins with the first read.
        from.execute_batch("BEGIN; SELECT 1 FROM meta LIMIT 1")?;
    }
    // A step that meets somebody else's lock is tried again below, with the gate open meanwhile.
    from.busy_timeout(Duration::ZERO)?;
    let copying = Copying::new(&from, &mut copy)?;
    let mut restarts = Restarts::default();
    let mut busy = 0;
    loop {
        let in_one_go = restarts.count > MAX_RESTARTS;
        let step = {
            // A step reads under a lock: the writer waits here, not at SQLite's.
            let _closed = (!is_wal).then(|| gate.lock().unwrap_or_else(PoisonError::into_inner));
            copying.step(if in_one_go { -1 } else { PAGES })?
        };
        let now = copying.progress();
        let total = now.pagecount.max(0).unsigned_abs();
        let left = now.remaining.max(0).unsigned_abs();
        let done = total.saturating_sub(left);
        progress(BackupProgress {
            done: done.into(),
            total: total.into(),
        });
        match step {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked => {
                // Somebody else's transaction.
                busy += 1;
                if busy > MAX_BUSY {
                    return Err(rusqlite::Error::SqliteFailure(
                        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                        None,
                    ));
                }
                std::thread::sleep(PAUSE);
            }
            _ => {
                busy = 0;
                restarts.note(done);
                if !is_wal {
                    // Mutexes are not fair: whoever waits for the gate gets its turn.
                    std::thread::sleep(YIELD);
                }
            }
        }
    }
    drop(copying);
    copy.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
    copy.execute(ERASE_NOTES, [])?;
    copy.close().map_err(|(_, error)| error)
}

/// How often the copy had to begin anew.
#[derive(Debug, Default)]
struct Restarts {
    done: u32,
    count: u32,
}

impl Restarts {
    fn note(&mut self, done: u32) {
        // Each step moves on by `PAGES`, unless it began at the first page.
        if done <= self.done {
            self.count += 1;
        }
        self.done = done;
    }
}

/// A file that is no backup yet; it is gone with the value unless it was put in place.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn beside(to: &Path) -> Self {
        let mut name = OsString::from(to.file_name().unwrap_or_default());
        name.push(format!(".{:08x}.partial", fastrand::u32(..)));
        Self {
            path: to.with_file_name(name),
        }
    }

    fn put_in_place(self, to: &Path) -> std::io::Result<()> {
        // For writing: some systems synchronise only what may be written.
        File::options().write(true).open(&self.path)?.sync_all()?;
        // A log left by a former file there would be taken for the new one's.
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut beside = to.as_os_str().to_owned();
            beside.push(suffix);
            match fs::remove_file(PathBuf::from(beside)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, to)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        // Not every system opens directories; there the rename is as durable as it gets.
        if let Ok(parent) = File::open(parent.unwrap_or_else(|| Path::new("."))) {
            parent.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal"] {
            let mut path = self.path.as_os_str().to_owned();
            path.push(suffix);
            let _ = fs::remove_file(PathBuf::from(path));
        }
    }
}

/// Pages copied at a time.
const PAGES: i32 = 256;

/// Restarts after which the rest is copied while the writer waits.
const MAX_RESTARTS: u32 = 3;

/// How long somebody else may keep the file locked: ten seconds.
const MAX_BUSY: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);
const YIELD: Duration = Duration::from_millis(1);
