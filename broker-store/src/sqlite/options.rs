//! The options of the SQLite backend, with the spellings Zeek has for them (wire reference 11).

use std::path::PathBuf;

use crate::backend::BackendError;

/// How a SQLite store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    pub(super) path: PathBuf,
    pub(super) synchronous: Option<Synchronous>,
    pub(super) journal_mode: Option<JournalMode>,
    pub(super) failure_mode: FailureMode,
    pub(super) integrity_check: bool,
}

impl SqliteOptions {
    /// The file at `path` with SQLite's own defaults: rollback journal, full synchronisation, no check, and an error
    /// if it cannot be opened. Missing parent directories are created.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: None,
            journal_mode: None,
            failure_mode: FailureMode::Fail,
            integrity_check: false,
        }
    }

    /// How much is synchronised to the disk before a write is acknowledged. Default: SQLite's, [`Synchronous::Full`].
    /// Anything below it may lose acknowledged writes when the machine (not only the process) goes down.
    #[must_use]
    pub const fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = Some(synchronous);
        self
    }

    /// How SQLite keeps transactions atomic. Default: SQLite's, [`JournalMode::Delete`]. The write-ahead log is faster
    /// and keeps two more files beside the store; it does not work on network file systems.
    #[must_use]
    pub const fn journal_mode(mut self, mode: JournalMode) -> Self {
        self.journal_mode = Some(mode);
        self
    }

    /// What to do with a file that cannot be opened. Default: [`FailureMode::Fail`].
    #[must_use]
    pub const fn failure_mode(mut self, mode: FailureMode) -> Self {
        self.failure_mode = mode;
        self
    }

    /// Whether to have SQLite check the whole file on opening. Default: no; it reads everything once.
    #[must_use]
    pub const fn integrity_check(mut self, check: bool) -> Self {
        self.integrity_check = check;
        self
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The options written as `(name, value)` texts: `path`, `synchronous`, `journal_mode`, `failure_mode`,
    /// `integrity_check`. Values are taken as Zeek writes them (`Broker::SQLITE_JOURNAL_MODE_WAL`), without the module
    /// or without the whole prefix, in any case (`wal`).
    ///
    /// # Errors
    /// An option is unknown or missing, or its value is; the error names what is accepted.
    pub fn parse<'a>(
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BackendError> {
        let mut parsed = Self::new(PathBuf::new());
        for (option, value) in options {
            match option {
                "path" => parsed.path = value.into(),
                "synchronous" => {
                    parsed.synchronous = Some(choose(
                        "synchronous",
                        "SQLITE_SYNCHRONOUS_",
                        value,
                        &SYNCHRONOUS,
                        "off, normal, full, extra",
                    )?)
                }
                "journal_mode" => {
                    parsed.journal_mode = Some(choose(
                        "journal_mode",
                        "SQLITE_JOURNAL_MODE_",
                        value,
                        &JOURNAL_MODES,
                        "delete, wal",
                    )?)
                }
                "failure_mode" => {
                    parsed.failure_mode = choose(
                        "failure_mode",
                        "SQLITE_FAILURE_MODE_",
                        value,
                        &FAILURE_MODES,
                        "fail, delete",
                    )?
                }
                "integrity_check" => {
                    parsed.integrity_check =
                        choose("integrity_check", "", value, &BOOLEANS, "true, false")?
                }
                _ => {
                    return Err(BackendError::UnknownOption {
                        backend: BACKEND,
                        option: option.to_owned(),
                        accepted: ACCEPTED,
                    });
                }
            }
        }
        if parsed.path.as_os_str().is_empty() {
            return Err(BackendError::MissingOption {
                backend: BACKEND,
                option: "path",
            });
        }
        Ok(parsed)
    }
}

/// How much is synchronised to the disk before a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// Nothing: a power failure may damage the file.
    Off,
    /// Enough to keep the file whole, not the last writes.
    Normal,
    /// Every acknowledged write survives.
    Full,
    /// As full, and the directory too.
    Extra,
}

impl Synchronous {
    pub(super) const fn pragma(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
            Self::Extra => "EXTRA",
        }
    }
}

/// How SQLite keeps transactions atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalMode {
    /// A rollback journal, deleted after each transaction.
    Delete,
    /// A write-ahead log.
    Wal,
}

impl JournalMode {
    pub(super) const fn pragma(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Wal => "wal",
        }
    }
}

/// What to do with a file that cannot be opened as a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureMode {
    /// Leave it alone and fail.
    Fail,
    /// Delete it, if it is a regular file, and start with an empty store.
    Delete,
}

pub(super) const BACKEND: &str = "sqlite";
const ACCEPTED: &str = "path, synchronous, journal_mode, failure_mode, integrity_check";
const SYNCHRONOUS: [(&str, Synchronous); 4] = [
    ("OFF", Synchronous::Off),
    ("NORMAL", Synchronous::Normal),
    ("FULL", Synchronous::Full),
    ("EXTRA", Synchronous::Extra),
];
const JOURNAL_MODES: [(&str, JournalMode); 2] =
    [("DELETE", JournalMode::Delete), ("WAL", JournalMode::Wal)];
const FAILURE_MODES: [(&str, FailureMode); 2] =
    [("FAIL", FailureMode::Fail), ("DELETE", FailureMode::Delete)];
const BOOLEANS: [(&str, bool); 4] = [("TRUE", true), ("FALSE", false), ("T", true), ("F", false)];

fn choose<T: Copy>(
    option: &'static str,
    prefix: &str,
    value: &str,
    choices: &[(&str, T)],
    accepted: &'static str,
) -> Result<T, BackendError> {
    let upper = value.to_ascii_uppercase();
    let name = upper.strip_prefix("BROKER::").unwrap_or(&upper);
    let name = name.strip_prefix(prefix).unwrap_or(name);
    let chosen = choices.iter().find(|(spelling, _)| *spelling == name);
    chosen
        .map(|(_, choice)| *choice)
        .ok_or_else(|| BackendError::InvalidOption {
            backend: BACKEND,
            option,
            value: value.to_owned(),
            accepted,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeeks_spellings_and_short_ones_mean_the_same() {
        let expected = SqliteOptions::new("a/b.sqlite")
            .synchronous(Synchronous::Normal)
            .journal_mode(JournalMode::Wal)
            .failure_mode(FailureMode::Delete)
            .integrity_check(true);
        let long = [
            ("path", "a/b.sqlite"),
            ("synchronous", "Broker::SQLITE_SYNCHRONOUS_NORMAL"),
            ("journal_mode", "SQLITE_JOURNAL_MODE_WAL"),
            ("failure_mode", "Broker::SQLITE_FAILURE_MODE_DELETE"),
            ("integrity_check", "T"),
        ];
        let short = [
            ("path", "a/b.sqlite"),
            ("synchronous", "normal"),
            ("journal_mode", "wal"),
            ("failure_mode", "Delete"),
            ("integrity_check", "true"),
        ];
        assert_eq!(SqliteOptions::parse(long).unwrap(), expected);
        assert_eq!(SqliteOptions::parse(short).unwrap(), expected);
    }

    #[test]
    fn a_wrong_option_is_told_what_is_accepted() {
        let error = |options: &[(&str, &str)]| {
            SqliteOptions::parse(options.iter().copied())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&[("path", "x"), ("journal_mode", "truncate")]),
            "option journal_mode of sqlite cannot be \"truncate\"; it is one of delete, wal"
        );
        assert!(
            error(&[("path", "x"), ("synchronous", "2")]).ends_with("off, normal, full, extra")
        );
        assert!(error(&[("file", "x")]).contains("it has path, synchronous"));
        assert_eq!(error(&[]), "sqlite needs the option path");
    }
}
