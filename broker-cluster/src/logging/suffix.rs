//! What names of log files end with, and the one place where such names are put together.
//!
//! The suffix is `log` unless the layout or `ZEEK_LOG_SUFFIX` says otherwise (reference, zeek-cluster 6.10 and
//! appendix A). Zeek takes any text and then cannot open its files, or opens them elsewhere; here a text that is no end of
//! a file name is refused. A file keeps the suffix with which it was begun, which its journal notes, so that a logger
//! that is started with another one still finds what the last one left.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::archive::PENDING;
use super::journal;

/// The end of a log file's name, behind the dot. Default: `log`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogSuffix(Arc<str>);

/// A text that is no suffix of log files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogSuffixError {
    /// Empty or too long.
    #[error("it has {length} bytes, and may have 1 to {MAX_SUFFIX}")]
    Length {
        /// Its length.
        length: usize,
    },
    /// Something else than letters, digits, `-`, `_` and single dots between them, such as a separator of directories.
    #[error("only ASCII letters, digits, \"-\", \"_\" and dots between them may stand in it")]
    Characters,
    /// Files of another kind end so.
    #[error("files beside the logs end in \".{suffix}\"")]
    Taken {
        /// What it ends with.
        suffix: &'static str,
    },
}

/// The longest suffix, in bytes: with the longest path, a number and what compression adds, a name stays below 255.
const MAX_SUFFIX: usize = 32;
const DEFAULT: &str = "log";
/// What compressed files end with in addition, and those that are not finished yet.
pub(crate) const GZIP: &str = "gz";
pub(crate) const PARTIAL: &str = "part";

impl LogSuffix {
    /// Its text, without a dot in front.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Where the log of this stem is.
    pub(crate) fn path(&self, dir: &Path, stem: &str) -> PathBuf {
        dir.join(format!("{stem}.{self}"))
    }

    /// Where the log is whose journal this is, as long as it stands beside it.
    pub(crate) fn beside(&self, journal_path: &Path) -> PathBuf {
        journal_path.with_extension(self.as_str())
    }
}

impl Default for LogSuffix {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl fmt::Display for LogSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogSuffix {
    type Err = LogSuffixError;

    fn from_str(text: &str) -> Result<Self, LogSuffixError> {
        if text.is_empty() || text.len() > MAX_SUFFIX {
            let length = text.len();
            return Err(LogSuffixError::Length { length });
        }
        let is_part = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !text.split('.').all(is_part) {
            return Err(LogSuffixError::Characters);
        }
        let last = text.rsplit('.').next();
        match [journal::SUFFIX, PENDING, GZIP, PARTIAL]
            .into_iter()
            .find(|taken| last == Some(taken))
        {
            Some(suffix) => Err(LogSuffixError::Taken { suffix }),
            None => Ok(Self(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_the_end_of_a_file_name_and_nothing_else() {
        for text in ["log", "json", "zeek.log", "log-2", &"x".repeat(32)] {
            assert_eq!(text.parse::<LogSuffix>().unwrap().as_str(), text);
        }
        assert!(LogSuffix::default().is_default());
        for text in [
            "",
            ".log",
            "log.",
            "a..b",
            "a/b",
            "../log",
            "a\\b",
            "a:b",
            "a b",
            "a\n",
            "é",
            "batches",
            "x.pending",
            "log.gz",
            "part",
            &"x".repeat(33),
        ] {
            assert!(text.parse::<LogSuffix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_log_and_its_journal_are_found_from_each_other() {
        let suffix: LogSuffix = "zeek.log".parse().unwrap();
        let log = suffix.path(Path::new("logs"), "conn.2026-11-27");
        assert_eq!(log, Path::new("logs/conn.2026-11-27.zeek.log"));
        assert_eq!(
            suffix.beside(Path::new("logs/conn.2026-11-27.batches")),
            log
        );
    }
}
