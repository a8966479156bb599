//! One master to a file: a lock file beside the store, held as long as the store is open.
//!
//! SQLite's own locks last for a transaction, so two masters would share a file without noticing. The database file itself
//! is never opened outside SQLite: closing it would give up SQLite's locks of the whole process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::{BackendError, Problem};

/// Keeps others from opening the store; the lock ends with the value, or with the process.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: Option<File>,
}

impl StoreLock {
    /// Locks the store at `path`, waiting a moment for one that is just being closed.
    pub(super) fn take(path: &Path) -> Result<Self, BackendError> {
        let beside = lock_path(path);
        let failed =
            |problem, source: Box<dyn std::error::Error + Send + Sync>| BackendError::Open {
                path: path.to_owned(),
                problem,
                source,
            };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&beside);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if beside.exists() => {
                return Err(failed(Problem::of_io(&error), error.into()));
            }
            // SQLite will not be able to write here either, and says so.
            Err(error) => {
                tracing::warn!(path = %beside.display(), %error, "no lock file can be made: nothing keeps a second process from opening the store");
                return Ok(Self { _file: None });
            }
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(failed(Problem::InUse, holder(&mut file).into()));
                }
                Err(TryLockError::Error(error)) => {
                    tracing::warn!(path = %beside.display(), %error, "the file system has no locks: nothing keeps a second process from opening the store");
                    return Ok(Self { _file: None });
                }
            }
        }
        // Only for whoever is refused; the lock holds without.
        if let Err(error) = sign(&mut file) {
            tracing::debug!(path = %beside.display(), %error, "cannot write into the lock file");
        }
        Ok(Self { _file: Some(file) })
    }

    /// Whether somebody has the store at `path` open.
    pub(super) fn is_taken(path: &Path) -> bool {
        let Ok(file) = File::open(lock_path(path)) else {
            return false;
        };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }
}

/// The same for every way to name the file.
fn lock_path(path: &Path) -> PathBuf {
    let real = fs::canonicalize(path).or_else(|_| {
        let name = path.file_name().unwrap_or_default();
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        fs::canonicalize(parent.unwrap_or_else(|| Path::new("."))).map(|parent| parent.join(name))
    });
    let mut beside = real.unwrap_or_else(|_| path.to_owned()).into_os_string();
    beside.push("-lock");
    beside.into()
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(id) if read.is_ok() => format!("process {id} has it"),
        _ => "its lock file is locked".to_owned(),
    }
}

/// How long to wait: a process that was killed takes a moment to be gone.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(5);
