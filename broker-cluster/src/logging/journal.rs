//! What a logger has promised: beside each log file a journal of the batches that are in it.
//!
//! ```text
//! open OFFSET TIME [SUFFIX]        the file's header ends here, or writing went on from here, since TIME (Unix seconds)
//! WRITER NUMBER RECORDS OFFSET     a batch of WRITER (an endpoint ID) is in the file up to OFFSET
//! rotate OFFSET STEM               the file and this journal are about to be called STEM
//! close OFFSET                     the file was closed in order
//! ```
//!
//! SUFFIX is what the file's name ends with, where that is not `log`. Journals of older releases have no TIME.
//!
//! A batch goes to the file first, then into the journal, and only then to its writer as a receipt. So what stands in
//! the file behind the journal's last offset was never acknowledged: it may be half written, and its writer sends it
//! again. Who opens the file next cuts it off there. The journal also tells, after a restart, which batches the file
//! has, so that a batch whose receipt was lost is not written twice. Records that came without a number (from Zeek)
//! stand under the nil ID and the number 0.
//!
//! Reading tolerates a half-written last line, and nothing else.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use broker_core::EndpointId;
use jiff::Timestamp;

use super::suffix::LogSuffix;

/// The suffix of a journal's name, where the log has `log`.
pub(crate) const SUFFIX: &str = "batches";

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Open {
        offset: u64,
        time: Option<i64>,
        /// What the file's name ends with.
        suffix: LogSuffix,
    },
    Batch {
        writer: EndpointId,
        number: u64,
        records: u64,
        offset: u64,
    },
    Rotate {
        offset: u64,
        stem: Box<str>,
    },
    Close {
        offset: u64,
    },
}

impl Entry {
    /// The end of the file as far as this line knows.
    pub(crate) const fn offset(&self) -> u64 {
        match self {
            Self::Open { offset, .. }
            | Self::Batch { offset, .. }
            | Self::Rotate { offset, .. }
            | Self::Close { offset } => *offset,
        }
    }

    /// Appends the line.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        let written = match self {
            Self::Open {
                offset, time: None, ..
            } => writeln!(out, "open {offset}"),
            Self::Open {
                offset,
                time: Some(time),
                suffix,
            } if suffix.is_default() => writeln!(out, "open {offset} {time}"),
            Self::Open {
                offset,
                time: Some(time),
                suffix,
            } => writeln!(out, "open {offset} {time} {suffix}"),
            Self::Rotate { offset, stem } => writeln!(out, "rotate {offset} {stem}"),
            Self::Batch {
                writer,
                number,
                records,
                offset,
            } => writeln!(out, "{writer} {number} {records} {offset}"),
            Self::Close { offset } => writeln!(out, "close {offset}"),
        };
        written.expect("writing to memory does not fail");
    }

    fn parse(line: &str) -> Option<Self> {
        if let Some(rest) = line.strip_prefix("rotate ") {
            let (offset, stem) = rest.split_once(' ')?;
            return Some(Self::Rotate {
                offset: offset.parse().ok()?,
                stem: stem.into(),
            });
        }
        if let Some(rest) = line.strip_prefix("open ") {
            let mut words = rest.splitn(3, ' ');
            return Some(Self::Open {
                offset: words.next()?.parse().ok()?,
                time: words.next().map(str::parse).transpose().ok()?,
                suffix: match words.next() {
                    Some(suffix) => suffix.parse().ok()?,
                    None => LogSuffix::default(),
                },
            });
        }
        let mut words = line.split(' ');
        let first = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let entry = match first {
            "close" => Self::Close { offset: number()? },
            writer => Self::Batch {
                writer: writer.parse().ok()?,
                number: number()?,
                records: number()?,
                offset: number()?,
            },
        };
        words.next().is_none().then_some(entry)
    }
}

/// What a journal says of its file as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// What the file's name ends with.
    pub(crate) suffix: LogSuffix,
    /// When it was begun.
    pub(crate) opened: Option<Timestamp>,
    pub(crate) has_records: bool,
    /// The last line; none in a journal without lines.
    pub(crate) last: Option<Entry>,
    /// How long the journal is up to the end of its last whole line.
    pub(crate) whole: u64,
}

impl Summary {
    /// Reads the journal at `path`.
    ///
    /// # Errors
    /// See [`read`].
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut summary = Self::default();
        summary.whole = read(path, |entry| summary.take(entry))?;
        Ok(summary)
    }

    /// Takes the next line.
    pub(crate) fn take(&mut self, entry: Entry) {
        match &entry {
            Entry::Open { time, suffix, .. } => {
                self.suffix.clone_from(suffix);
                let time = time.and_then(|time| Timestamp::from_second(time).ok());
                // As long as it has no records it can begin anew.
                if self.opened.is_none() || !self.has_records {
                    self.opened = time;
                }
            }
            Entry::Batch { records, .. } => self.has_records |= *records > 0,
            Entry::Rotate { .. } | Entry::Close { .. } => {}
        }
        self.last = Some(entry);
    }

    /// Whether the file was closed in order.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.last, Some(Entry::Close { .. }))
    }
}

/// Reads a journal line by line: `each` gets every whole line. Returns the length of what is whole.
///
/// # Errors
/// The file cannot be read, or holds a line that is none.
pub(crate) fn read(path: &Path, each: impl FnMut(Entry)) -> io::Result<u64> {
    read_from(BufReader::new(File::open(path)?), path.display(), each)
}

/// As [`read`], from anywhere; errors call it `name`.
pub(crate) fn read_from(
    mut reader: impl BufRead,
    name: impl Display,
    mut each: impl FnMut(Entry),
) -> io::Result<u64> {
    let mut line = Vec::new();
    let mut whole = 0_u64;
    loop {
        line.clear();
        let len = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(whole);
        }
        let entry = std::str::from_utf8(&line)
            .ok()
            .and_then(Entry::parse)
            .ok_or_else(|| {
                let reason = format!("{name}: not a journal of log batches at byte {whole}");
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?;
        each(entry);
        whole += len as u64;
    }
}

/// A name of 255 bytes and a number.
const MAX_LINE: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn entries(content: &[u8]) -> io::Result<(Vec<Entry>, u64)> {
        let file = write(content);
        let mut all = Vec::new();
        let whole = read(file.path(), |entry| all.push(entry))?;
        Ok((all, whole))
    }

    #[test]
    fn lines_read_back_and_a_half_written_one_does_not_count() {
        let all = [
            Entry::Open {
                offset: 7,
                time: None,
                suffix: LogSuffix::default(),
            },
            Entry::Open {
                offset: 7,
                time: Some(-5),
                suffix: LogSuffix::default(),
            },
            Entry::Open {
                offset: 7,
                time: Some(5),
                suffix: "zeek.json".parse().unwrap(),
            },
            Entry::Rotate {
                offset: 8,
                stem: "my log.2026-11-27-09-00-00".into(),
            },
            Entry::Batch {
                writer: EndpointId::from_bytes([1; 16]),
                number: 3,
                records: 400,
                offset: u64::MAX,
            },
            Entry::Close { offset: 9 },
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|entry| entry.push(&mut bytes));
        let whole = bytes.len() as u64;
        assert_eq!(entries(&bytes).unwrap(), (all.to_vec(), whole));
        bytes.extend_from_slice(b"01010101-0101-0101-0101-0101010");
        assert_eq!(entries(&bytes).unwrap(), (all.to_vec(), whole));
    }

    #[test]
    fn a_file_that_is_no_journal_is_an_error() {
        assert!(entries(b"#separator \\x09\n").is_err());
        assert!(entries(b"open 1 2 3 4\n").is_err());
        assert!(entries(b"open 1 2 ../x\n").is_err());
        assert!(entries(b"open 1 2 \n").is_err());
        assert!(entries(b"rotate 1\n").is_err());
        assert!(entries(&[b'x'; 1000]).unwrap().0.is_empty());
    }
}
