//! A log file, read: whichever form it has, record by record.
//!
//! ```no_run
//! use broker_cluster::log::{LogItem, LogReader};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut log = LogReader::open("conn.log".as_ref())?;
//! println!("{}: {} columns", log.schema().path, log.schema().columns.len());
//! while let Some(item) = log.next() {
//!     match item? {
//!         LogItem::Record { line, record } => println!("line {line}: {} values", record.len()),
//!         LogItem::Schema(schema) => println!("from here on it is {}", schema.path),
//!         LogItem::BadLine(error) => eprintln!("{error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A bad line is reported and passed over. What ends the reading is only an error of the machine.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use super::json_read::{JsonFormat, SCAN_BYTES, SCAN_LINES};
use super::lines::{Found, Lines, MAX_LINE};
use super::read_error::{LineError, LineReason, OpenError};
use super::schema::{Schema, is_file_stem};
use super::style::LogStyle;
use super::tsv_read::TsvFormat;
use super::value::Record;

/// The form of a log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Columns between tabs under a header.
    #[default]
    Tsv,
    /// One object per line.
    Json,
}

/// What a reader comes across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A record, with the number of its line.
    Record {
        /// The line, counted from 1.
        line: u64,
        /// Its values, one per column of the schema.
        record: Record,
    },
    /// Another header: the records that follow have these columns. The first schema is not an item;
    /// [`LogReader::schema`] has it from the start.
    Schema(Arc<Schema>),
    /// A line without a usable record.
    BadLine(LineError),
}

/// Reads a log file. Also an [`Iterator`]; an error is its last item.
#[derive(Debug)]
pub struct LogReader {
    file: Arc<str>,
    lines: Lines,
    line: Vec<u8>,
    /// Lines read ahead while opening.
    ahead: VecDeque<(u64, Found, Vec<u8>)>,
    form: Form,
    /// What the reader's user knows: the schema returned last.
    schema: Arc<Schema>,
    share: Share,
    ended: bool,
}

#[derive(Debug)]
enum Form {
    Tsv(TsvFormat),
    Json(JsonFormat),
}

/// Which data lines a reader returns: those whose number, counted from 0, is `index` modulo `of`.
#[derive(Clone, Copy, Debug)]
struct Share {
    index: u64,
    of: NonZeroU64,
    next: u64,
}

impl LogReader {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_file(path, None)
    }

    /// Opens a file of a log whose columns are known: those of a JSON file have these types, and may all occur in it.
    pub fn open_as(path: &Path, known: &Schema) -> Result<Self, OpenError> {
        Self::open_file(path, Some(known))
    }

    fn open_file(path: &Path, known: Option<&Schema>) -> Result<Self, OpenError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| OpenError::Io {
            file: name.as_str().into(),
            source,
        })?;
        Self::from_input(&name, BufReader::with_capacity(READ_BUFFER, file), known)
    }

    /// Reads a log from anywhere. `name` is used in messages, and to tell which log this is where the
    /// log itself does not say: the part behind its last `/`, up to the first dot.
    pub fn from_reader(
        name: &str,
        input: impl BufRead + Send + 'static,
    ) -> Result<Self, OpenError> {
        Self::from_input(name, input, None)
    }

    /// Like [`from_reader`](Self::from_reader), of a log whose columns are known: see [`open_as`](Self::open_as).
    pub fn from_reader_as(
        name: &str,
        input: impl BufRead + Send + 'static,
        known: &Schema,
    ) -> Result<Self, OpenError> {
        Self::from_input(name, input, Some(known))
    }

    fn from_input(
        name: &str,
        input: impl BufRead + Send + 'static,
        known: Option<&Schema>,
    ) -> Result<Self, OpenError> {
        let file: Arc<str> = name.into();
        let mut lines = Lines::new(Box::new(input));
        let io = |source| OpenError::Io {
            file: file.clone(),
            source,
        };
        let mut ahead = VecDeque::new();
        let form = match lines.first_byte().map_err(io)? {
            None => return Err(OpenError::Empty { file }),
            Some(b'#') => Form::Tsv(open_tsv(&file, &mut lines, &mut ahead)?),
            Some(b'{') => Form::Json(open_json(&file, &mut lines, &mut ahead, known)?),
            Some(0x1f) => return Err(OpenError::Compressed { file }),
            Some(_) => {
                return Err(OpenError::Unknown {
                    line: lines.number() + 1,
                    file,
                });
            }
        };
        let schema = match &form {
            Form::Tsv(format) => {
                let line = lines.number().max(1);
                format
                    .schema()
                    .map_err(|reason| OpenError::Header {
                        file: file.clone(),
                        line,
                        reason,
                    })?
                    .clone()
            }
            Form::Json(format) => format.schema().clone(),
        };
        let share = Share {
            index: 0,
            of: NonZeroU64::MIN,
            next: 0,
        };
        Ok(Self {
            file,
            lines,
            line: Vec::new(),
            ahead,
            form,
            schema,
            share,
            ended: false,
        })
    }

    /// Returns only the data lines whose number, counted from 0, is `index` modulo `of`; the others
    /// are not parsed. So several readers of one file share its lines, bad ones included.
    #[must_use]
    pub fn share(mut self, index: u64, of: NonZeroU64) -> Self {
        self.share = Share { index, of, next: 0 };
        self
    }

    /// The columns of the record returned last, or of the first one to come.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The form of the file.
    pub fn format(&self) -> LogFormat {
        match self.form {
            Form::Tsv(_) => LogFormat::Tsv,
            Form::Json(_) => LogFormat::Json,
        }
    }

    /// The style in which a copy of this log is to be written: its form, and whether unset columns are
    /// `null`. Separators and marks are today's, whatever the log has.
    pub fn style(&self) -> LogStyle {
        let mut style = LogStyle::of(self.format());
        if let Form::Json(format) = &self.form {
            style.json.include_unset = format.nulls_are_unset();
        }
        style
    }

    /// The file's name, as messages have it.
    pub fn file(&self) -> &str {
        &self.file
    }

    fn read(&mut self) -> io::Result<Option<LogItem>> {
        loop {
            let (number, found) = match self.ahead.pop_front() {
                Some((number, found, line)) => {
                    self.line = line;
                    (number, found)
                }
                None => {
                    let found = self.lines.read(&mut self.line)?;
                    (self.lines.number(), found)
                }
            };
            let result = match found {
                Found::End => return Ok(None),
                Found::TooLong if self.share.takes() => {
                    Err(LineReason::TooLong { limit: MAX_LINE })
                }
                Found::Line if !self.line.is_empty() => match self.take_line(number) {
                    Ok(Some(item)) => Ok(item),
                    Ok(None) => continue,
                    Err(reason) => Err(reason),
                },
                Found::TooLong | Found::Line => continue,
            };
            return Ok(Some(result.unwrap_or_else(|reason| {
                LogItem::BadLine(LineError {
                    file: self.file.clone(),
                    line: number,
                    reason,
                })
            })));
        }
    }

    /// What a line holds for the reader's user, if anything.
    fn take_line(&mut self, line: u64) -> Result<Option<LogItem>, LineReason> {
        let record = match &mut self.form {
            Form::Tsv(format) if TsvFormat::is_meta(&self.line) => {
                let completed = format.meta(&self.line).map_err(LineReason::Header)?;
                return Ok(match format.schema() {
                    Ok(schema) if completed && *schema != self.schema => {
                        self.schema = schema.clone();
                        Some(LogItem::Schema(schema.clone()))
                    }
                    _ => None,
                });
            }
            _ if !self.share.takes() => return Ok(None),
            Form::Tsv(format) => {
                let schema = format.schema().map_err(LineReason::Header)?;
                format.record(&self.line, schema)?
            }
            Form::Json(format) => format.record(&self.line)?,
        };
        Ok(Some(LogItem::Record { line, record }))
    }
}

impl Iterator for LogReader {
    type Item = io::Result<LogItem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Share {
    /// Counts a data line; true when it is one to return.
    fn takes(&mut self) -> bool {
        let number = self.next;
        self.next += 1;
        number % self.of == self.index
    }
}

/// Reads the header, and one line more.
fn open_tsv(
    file: &Arc<str>,
    lines: &mut Lines,
    ahead: &mut VecDeque<(u64, Found, Vec<u8>)>,
) -> Result<TsvFormat, OpenError> {
    let mut format = TsvFormat::new(stem(file));
    let mut line = Vec::new();
    loop {
        let io = |source| OpenError::Io {
            file: file.clone(),
            source,
        };
        let found = lines.read(&mut line).map_err(io)?;
        if found == Found::Line && (line.is_empty() || TsvFormat::is_meta(&line)) {
            let header = |reason| OpenError::Header {
                file: file.clone(),
                line: lines.number(),
                reason,
            };
            format.meta(&line).map_err(header)?;
            continue;
        }
        ahead.push_back((lines.number(), found, line));
        return Ok(format);
    }
}

/// Reads the lines from which the columns are learned.
fn open_json(
    file: &Arc<str>,
    lines: &mut Lines,
    ahead: &mut VecDeque<(u64, Found, Vec<u8>)>,
    known: Option<&Schema>,
) -> Result<JsonFormat, OpenError> {
    let mut bytes = 0;
    let first = lines.number() + 1;
    while ahead.len() < SCAN_LINES && bytes < SCAN_BYTES {
        let mut line = Vec::new();
        let found = lines.read(&mut line).map_err(|source| OpenError::Io {
            file: file.clone(),
            source,
        })?;
        if found == Found::End {
            break;
        }
        bytes += line.len();
        ahead.push_back((lines.number(), found, line));
    }
    let scanned = ahead
        .iter()
        .filter(|(_, found, line)| *found == Found::Line && !line.is_empty());
    let scanned: Vec<&[u8]> = scanned.map(|(_, _, line)| &line[..]).collect();
    JsonFormat::learn(&scanned, stem(file), known).map_err(|source| OpenError::NoObject {
        file: file.clone(),
        line: first,
        source,
    })
}

/// The part of a file's name that says which log it is.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let stem = name.split('.').next().unwrap_or(name);
    if is_file_stem(stem) { stem } else { "log" }
}

const READ_BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::read_error::HeaderError;
    use crate::log::value::LogValue;
    use std::io::Cursor;

    fn reader(name: &str, text: &str) -> Result<LogReader, OpenError> {
        LogReader::from_reader(name, Cursor::new(text.as_bytes().to_vec()))
    }

    fn message(name: &str, text: &str) -> String {
        reader(name, text).unwrap_err().to_string()
    }

    /// Lines, schemas and errors as short words.
    fn items(reader: LogReader) -> Vec<String> {
        let show = |item: io::Result<LogItem>| match item.unwrap() {
            LogItem::Record { line, record } => format!("{line}:{}", record.len()),
            LogItem::Schema(schema) => schema.path.clone(),
            LogItem::BadLine(error) => error.to_string(),
        };
        reader.map(show).collect()
    }

    const HEADER: &str = "#separator \\x09\n#path\tconn\n#fields\ta\tb\n#types\tcount\tstring\n";

    #[test]
    fn records_come_with_their_lines_and_bad_lines_with_a_reason() {
        let text = format!("{HEADER}1\tx\n\nx\ty\n2\n3\tz\n#close\tnow\n");
        let reader = reader("dir/conn.log", &text).unwrap();
        assert_eq!(reader.format(), LogFormat::Tsv);
        assert_eq!(reader.schema().path, "conn");
        let expected = [
            "5:2",
            "dir/conn.log:7: column `a` is count, not `x`",
            "dir/conn.log:8: expected 2 columns, got 1",
            "9:2",
        ];
        assert_eq!(items(reader), expected);
    }

    #[test]
    fn logs_put_one_behind_the_other_change_the_schema_on_the_way() {
        let other = "#path\tdns\n#fields\tq\n#types\tstring\nx\n";
        let text = format!("{HEADER}1\tx\n#close\tnow\n{HEADER}2\ty\n{other}");
        assert_eq!(
            items(reader("a", &text).unwrap()),
            ["5:2", "11:2", "dns", "15:1"]
        );
    }

    #[test]
    fn a_broken_header_on_the_way_costs_its_records_only() {
        let text = format!("{HEADER}1\tx\n#fields\ta\n5\n#types\tnothing\n6\n{HEADER}7\tx\n");
        let items = items(reader("a", &text).unwrap());
        assert_eq!(items.first().map(String::as_str), Some("5:2"));
        assert_eq!(items.last().map(String::as_str), Some("14:2"));
        assert_eq!(items.len(), 5);
        assert!(
            items[1].starts_with("a:7: no `#types` line"),
            "{}",
            items[1]
        );
        assert!(
            items[2].starts_with("a:8: column `a` has the unknown type `nothing`"),
            "{}",
            items[2]
        );
    }

    #[test]
    fn json_lines_before_and_behind_the_learned_ones_are_read() {
        let text = "\n{\"ts\":1.5,\"uid\":\"x\"}\n{oops}\n{\"uid\":\"y\"}\n";
        let reader = reader("conn.log", text).unwrap();
        assert_eq!(reader.format(), LogFormat::Json);
        assert_eq!(
            items(reader),
            ["2:2", "conn.log:3: expected a key at byte 1", "4:2"]
        );

        let many = "{\"a\":1}\n".repeat(SCAN_LINES) + "{\"a\":2}\n{\"a\":2.5}\n{\"b\":1}\n";
        let items = items(reader_of(&many));
        assert_eq!(items.len(), SCAN_LINES + 3);
        assert_eq!(items[SCAN_LINES], "1001:1");
        assert_eq!(
            items[SCAN_LINES + 1],
            "x:1002: column `a` is count, not `2.5`"
        );
        assert!(items[SCAN_LINES + 2].starts_with("x:1003: unknown key `b`"));
    }

    fn reader_of(text: &str) -> LogReader {
        reader("x", text).unwrap()
    }

    #[test]
    fn readers_that_share_a_file_return_every_line_once() {
        let rows: String = (0..10)
            .map(|n| {
                if n == 4 {
                    "bad\n".to_owned()
                } else {
                    format!("{n}\tx\n")
                }
            })
            .collect();
        let text = format!("{HEADER}{rows}");
        let of = NonZeroU64::new(3).unwrap();
        let mut all: Vec<_> = (0..3)
            .flat_map(|index| items(reader("a", &text).unwrap().share(index, of)))
            .collect();
        all.sort();
        let mut alone = items(reader("a", &text).unwrap());
        alone.sort();
        assert_eq!(all, alone);
        let first = items(reader("a", &text).unwrap().share(0, of));
        assert_eq!(first, ["5:2", "8:2", "11:2", "14:2"]);
    }

    #[test]
    fn what_is_no_log_is_refused_with_file_line_and_fix() {
        assert_eq!(
            message("a.log", ""),
            "a.log: is empty; give a Zeek log in TSV or JSON"
        );
        assert!(message("a.log", "\nts uid\n").starts_with("a.log:2: is no Zeek log"));
        assert_eq!(
            message("a.gz", "\x1f\x0b"),
            "a.gz: is compressed; unpack it first (gunzip)"
        );
        assert!(
            message("a.log", "#path\tx\n1\t2\n").starts_with("a.log:2: a record before the header")
        );
        assert!(message("a.log", "#fields\tx\n1\n").starts_with("a.log:2: no `#types` line"));
        assert!(
            message("a.log", "#fields\tx\n#types\tint\tint\n")
                .starts_with("a.log:2: 2 types for 1 columns")
        );
        assert!(message("a.log", "{oops\n").starts_with("a.log:1: expected a key at byte 1"));
        assert!(matches!(
            LogReader::open("/nonexistent/x".as_ref()),
            Err(OpenError::Io { .. })
        ));
        let header = reader("a", "#close\n");
        assert!(matches!(
            header,
            Err(OpenError::Header {
                reason: HeaderError::NoFields,
                ..
            })
        ));
    }

    #[test]
    fn a_header_without_records_is_an_empty_log() {
        assert_eq!(items(reader("a", HEADER).unwrap()), [""; 0]);
    }

    #[test]
    fn a_log_without_a_path_is_named_after_its_file() {
        let reader = reader(
            "logs/my_app.2026-01-01.log",
            "#fields\ta\n#types\tcount\n5\n",
        )
        .unwrap();
        assert_eq!(reader.schema().path, "my_app");
        let records: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(
            records,
            [LogItem::Record {
                line: 3,
                record: vec![LogValue::Count(5)]
            }]
        );
    }
}
