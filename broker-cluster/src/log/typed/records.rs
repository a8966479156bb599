//! A log file, read into structs.

use std::io::{self, BufRead};
use std::path::Path;

use super::read::{FromLogRecord, LogColumnError, LogFieldError, LogRecordReader};
use crate::log::read_error::{LineError, OpenError};
use crate::log::reader::{LogItem, LogReader};
use crate::log::schema::Schema;

/// The records of a log file as structs: an [`Iterator`]. TSV files say what their columns are; in JSON files the types of
/// columns are those of the struct.
///
/// A line that does not fit is an item, too, and what comes behind it is read; only an error of the machine ends it.
///
/// ```no_run
/// # #[derive(broker_cluster::log::LogRecord, broker_cluster::log::FromLogRecord)]
/// # struct Conn { uid: String }
/// use broker_cluster::log::LogRecords;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// for conn in LogRecords::<Conn>::open("conn.log".as_ref())? {
///     match conn {
///         Ok(conn) => println!("{}", conn.uid),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogRecords<R> {
    log: LogReader,
    /// None: the log has other columns, which has been said.
    reader: Option<LogRecordReader<R>>,
    /// What the iterator begins with.
    first: Option<LogRecordsError>,
}

/// Something in a log file that is no record of the struct.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogRecordsError {
    /// The file cannot be read any further.
    #[error("{file}: cannot be read")]
    Io {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// The log, or what follows in it, has other columns.
    #[error("{file}: {source}")]
    Columns {
        /// The file.
        file: String,
        /// What is wrong with them.
        source: LogColumnError,
    },
    /// A line without a usable record.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A record that does not fit the struct.
    #[error("{file}:{line}: {source}")]
    Record {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: u64,
        /// The column, and what is wrong.
        source: LogFieldError,
    },
}

impl<R: FromLogRecord> LogRecords<R> {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is no log. That its columns do not fit is the first item.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        LogReader::open_as(path, &R::schema()).map(Self::of)
    }

    /// Reads a log from anywhere; `name` is used in messages.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn from_reader(
        name: &str,
        input: impl BufRead + Send + 'static,
    ) -> Result<Self, OpenError> {
        LogReader::from_reader_as(name, input, &R::schema()).map(Self::of)
    }

    fn of(log: LogReader) -> Self {
        let schema = log.schema().clone();
        let mut records = Self {
            log,
            reader: None,
            first: None,
        };
        records.first = records.begin(&schema).err();
        records
    }

    fn begin(&mut self, schema: &Schema) -> Result<(), LogRecordsError> {
        self.reader = None;
        let reader = LogRecordReader::new(schema).map_err(|source| LogRecordsError::Columns {
            file: self.log.file().to_owned(),
            source,
        })?;
        self.reader = Some(reader);
        Ok(())
    }

    fn item(&mut self, item: LogItem) -> Option<Result<R, LogRecordsError>> {
        match item {
            LogItem::Schema(schema) => self.begin(&schema).err().map(Err),
            LogItem::BadLine(error) => Some(Err(error.into())),
            LogItem::Record { line, record } => {
                let reader = self.reader.as_ref()?;
                Some(
                    reader
                        .read(&record)
                        .map_err(|source| LogRecordsError::Record {
                            file: self.log.file().to_owned(),
                            line,
                            source,
                        }),
                )
            }
        }
    }
}

impl<R: FromLogRecord> Iterator for LogRecords<R> {
    type Item = Result<R, LogRecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.first.take() {
            return Some(Err(error));
        }
        loop {
            let item = match self.log.next()? {
                Ok(item) => self.item(item),
                Err(source) => Some(Err(LogRecordsError::Io {
                    file: self.log.file().to_owned(),
                    source,
                })),
            };
            if item.is_some() {
                return item;
            }
        }
    }
}
