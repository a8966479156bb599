//! What SQLite's error codes mean to somebody who is not SQLite.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::backend::{BackendError, Problem};

pub(super) fn problem(error: &rusqlite::Error) -> Problem {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Problem::DiskFull,
        Some(ErrorCode::ReadOnly) => Problem::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Problem::Locked,
        Some(ErrorCode::DatabaseCorrupt) => Problem::Damaged,
        Some(ErrorCode::NotADatabase) => Problem::NotAStore,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Problem::NoAccess,
        Some(ErrorCode::SystemIoFailure) => Problem::InputOutput,
        _ => Problem::Other,
    }
}

pub(super) fn open_error(path: &Path, error: rusqlite::Error) -> BackendError {
    BackendError::Open {
        path: path.to_owned(),
        problem: problem(&error),
        source: error.into(),
    }
}

pub(super) fn failed(path: &Path, error: rusqlite::Error) -> BackendError {
    BackendError::Failed {
        path: path.to_owned(),
        problem: problem(&error),
        source: error.into(),
    }
}

pub(super) fn backup_error(path: &Path, error: rusqlite::Error) -> BackendError {
    BackendError::Backup {
        path: path.to_owned(),
        problem: problem(&error),
        source: error.into(),
    }
}
