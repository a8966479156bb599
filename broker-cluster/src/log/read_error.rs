//! What can be wrong with a log file, its header and its lines. Every message names the file, the
//! line where there is one, and what would put it right.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::schema::ColumnType;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error("{file}: cannot be read")]
    Io {
        /// The file.
        file: Arc<str>,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("{file}: is empty; give a Zeek log in TSV or JSON")]
    Empty {
        /// The file.
        file: Arc<str>,
    },
    /// It is compressed with gzip.
    #[error("{file}: is compressed; unpack it first (gunzip)")]
    Compressed {
        /// The file.
        file: Arc<str>,
    },
    /// It begins like neither form.
    #[error(
        "{file}:{line}: is no Zeek log; a TSV log begins with `#separator`, a JSON log has an object on every line"
    )]
    Unknown {
        /// The file.
        file: Arc<str>,
        /// The first line that holds something, counted from 1.
        line: u64,
    },
    /// The header of a TSV log cannot be used.
    #[error("{file}:{line}: {reason}")]
    Header {
        /// The file.
        file: Arc<str>,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with the header.
        reason: HeaderError,
    },
    /// None of the first lines of a JSON log is an object.
    #[error("{file}:{line}: {source}; every line of a JSON log must be one object")]
    NoObject {
        /// The file.
        file: Arc<str>,
        /// The first line, counted from 1.
        line: u64,
        /// What is wrong with that line.
        source: JsonError,
    },
}

/// What is wrong with the header of a TSV log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A record before any `#fields` line.
    #[error("a record before the header; add the `#fields` and `#types` lines above it")]
    NoFields,
    /// A `#fields` line and no `#types` line.
    #[error("no `#types` line for the `#fields` above; add one type for each column")]
    NoTypes,
    /// Another number of types than of columns.
    #[error(
        "{types} types for {fields} columns; `#types` must have one word for each column of `#fields`"
    )]
    TypeCount {
        /// The number of columns.
        fields: usize,
        /// The number of types.
        types: usize,
    },
    /// A word that names no type.
    #[error(
        "column `{column}` has the unknown type `{word}`; use one of Zeek's types, such as `string`"
    )]
    UnknownType {
        /// The column.
        column: String,
        /// The word.
        word: String,
    },
    /// Two columns with one name.
    #[error("column `{0}` occurs twice; give each column a name of its own")]
    DuplicateColumn(String),
    /// A name that is no text, or none.
    #[error("a column name is empty or not UTF-8; name every column in `#fields`")]
    ColumnName,
    /// More columns than a reader takes.
    #[error("more than {limit} columns; split the log")]
    TooManyColumns {
        /// The most a reader takes.
        limit: usize,
    },
    /// An empty separator.
    #[error("`#separator` names no byte; write `#separator \\x09` for a tab")]
    Separator,
    /// A path that could not be a file's name.
    #[error("the path `{0}` cannot name a log file; use letters, digits, `_` and `-` in `#path`")]
    Path(String),
}

/// What is wrong with the text of a JSON line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct JsonError {
    /// What should have stood there.
    pub expected: &'static str,
    /// The place in the line, counted from 0.
    pub at: usize,
}

/// A line that holds no usable record. The reader goes on with the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The file.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: LineReason,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

impl std::error::Error for LineError {}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineReason {
    /// Too few or too many columns.
    #[error("expected {expected} columns, got {found}")]
    ColumnCount {
        /// The number of columns in the header.
        expected: usize,
        /// The number in the line.
        found: usize,
    },
    /// A value that is not of its column's type.
    #[error("column `{column}` is {ty}, not `{text}`")]
    Value {
        /// The column.
        column: String,
        /// Its type.
        ty: ColumnType,
        /// What stands there, cut to [`MAX_EXCERPT`] bytes.
        text: String,
    },
    /// A line above the limit.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A header in the middle of the file that cannot be used; records up to the next good header
    /// are reported one by one.
    #[error("{0}")]
    Header(HeaderError),
    /// No JSON object.
    #[error("{0}")]
    Json(JsonError),
    /// A key that no line had while the columns were being learned.
    #[error("unknown key `{0}`: columns are learned from the first lines of a JSON log")]
    UnknownKey(String),
    /// A key that occurs twice.
    #[error("key `{0}` occurs twice")]
    DuplicateKey(String),
}

/// The start of a text for a message.
pub(super) fn excerpt(text: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(&text[..text.len().min(MAX_EXCERPT)]).into_owned();
    if text.len() > MAX_EXCERPT {
        shown.push('…');
    }
    shown
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The most bytes of a bad value that a message repeats.
pub const MAX_EXCERPT: usize = 60;
