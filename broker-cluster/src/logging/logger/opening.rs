//! Which log a record is for: its columns, its file, and why there is none.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use broker_core::zeek::{LogCreate, LogField, Message, MessageView};
use jiff::Timestamp;

use super::super::file::LogFile;
use super::super::rotation::Rotation;
use super::super::sink::SinkRecords;
use super::{Key, Logger, MAX_LOGS, Now, OpenLog};
use crate::log::{Column, LogStyle, LogWriter, MAX_COLUMNS, Schema, is_file_stem, meta_time};

/// Why a log is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("failed to unpack remote log writer id {0:?}")]
    Writer(String),
    #[error("log path {0:?} is no file name")]
    Path(String),
    #[error("failed to convert remote log field #{0}")]
    Column(usize),
    #[error("a log of {0} columns")]
    Columns(usize),
    #[error("a log stream id of {0} bytes")]
    Stream(usize),
    #[error("more than {MAX_LOGS} logs")]
    TooMany,
    #[error("the columns of all logs take more than {MAX_SCHEMAS} bytes")]
    TooLarge,
    #[error("cannot open log file {path}: {reason}")]
    File { path: String, reason: io::Error },
}

impl Logger {
    /// The log for these columns: one that is open, or a new one. Without `own_file` the first log of the key is it,
    /// whatever its columns.
    pub(super) fn create(
        &mut self,
        view: MessageView<'_>,
        own_file: bool,
        now: Now,
    ) -> Result<usize, Refusal> {
        let MessageView::LogCreate { stream, writer, .. } = view else {
            return Err(Refusal::Writer(String::new()));
        };
        if writer != ASCII_WRITER {
            return Err(Refusal::Writer(
                String::from_utf8_lossy(writer).chars().take(64).collect(),
            ));
        }
        let Ok(Message::LogCreate(create)) = Message::from_parts(view) else {
            return Err(Refusal::Column(0));
        };
        if stream.len() > MAX_STREAM_ID {
            return Err(Refusal::Stream(stream.len()));
        }
        let key = Key {
            stream: stream.into(),
            path: create.info.path.as_slice().into(),
        };
        if let Some(open) = self.by_key.get(&key) {
            if !own_file {
                return Ok(open[0]);
            }
            if let Some(at) = open
                .iter()
                .copied()
                .find(|&at| same_columns(&self.logs[at].schema, &create))
            {
                return Ok(at);
            }
        }
        if self.logs.len() >= MAX_LOGS {
            return Err(Refusal::TooMany);
        }
        let at = self.open_log(&create, now)?;
        self.by_key.entry(key).or_default().push(at);
        Ok(at)
    }

    fn open_log(&mut self, create: &LogCreate, now: Now) -> Result<usize, Refusal> {
        let path = create.info.path.to_str().filter(|path| is_file_stem(path));
        let path = path
            .ok_or_else(|| {
                Refusal::Path(create.info.path.to_str_lossy().chars().take(64).collect())
            })?
            .to_owned();
        let columns = columns(create)?;
        let size = size_of_columns(&columns);
        if self.schemas + size > MAX_SCHEMAS {
            return Err(Refusal::TooLarge);
        }
        let schema = Arc::new(Schema { path, columns });
        let mut style = LogStyle::of(self.options.format);
        for (name, value) in &create.info.config {
            if let (Some(name), Some(value)) = (
                name.to_str(),
                value.to_str().filter(|value| value.len() <= MAX_SETTING),
            ) && let Err(error) = style.set(name, value)
            {
                tracing::warn!(path = schema.path, %error, "log setting ignored");
            }
        }
        let writer = LogWriter::new(style, Arc::clone(&schema));
        let stem = self.free_stem(&schema.path);
        let stream = create.stream.to_str_lossy().into_owned();
        let rule = self.options.rule_of(&stream);
        let opened = self.open_file(&writer, &stem, now.wall, now);
        let file = opened.map_err(|reason| Refusal::File {
            path: self.log_path(&stem).display().to_string(),
            reason,
        })?;
        self.schemas += size;
        self.stems.insert(stem.clone());
        let rotation = rule.is_on().then(|| {
            let opened = file.opened().to_zoned(self.zone.clone());
            Rotation::new(rule, self.options.rotation.base, &opened)
        });
        let for_sinks = SinkRecords::wanted(&self.sinks, &stream, &schema);
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(stream.clone())
            .or_default();
        self.logs.push(OpenLog {
            stream,
            schema,
            stem,
            writer,
            file: Some(file),
            rotation,
            data: Vec::new(),
            marks: Vec::new(),
            waiting: Vec::new(),
            for_sinks,
            written: self.writes,
            unnumbered: 0,
            received: 0,
            skipped: 0,
        });
        Ok(self.logs.len() - 1)
    }

    /// Opens a log's file, which counts from `since` on if it is new.
    pub(super) fn open_file(
        &mut self,
        writer: &LogWriter,
        stem: &str,
        since: Timestamp,
        now: Now,
    ) -> io::Result<LogFile> {
        self.make_room();
        let mut header = Vec::new();
        writer.begin(&meta_time(&self.local(now)), &mut header);
        LogFile::open(&self.dir, stem, &self.options.suffix, &header, since)
    }

    /// Where the log of this stem is.
    pub(super) fn log_path(&self, stem: &str) -> PathBuf {
        self.options.suffix.path(&self.dir, stem)
    }

    /// `path`, or the first of `path-2`, `path-3`, … that no open log has.
    fn free_stem(&self, path: &str) -> String {
        let numbered = (2_usize..).map(|number| format!("{path}-{number}"));
        std::iter::once(path.to_owned())
            .chain(numbered)
            .find(|stem| !self.stems.contains(stem))
            .expect("there are more numbers than open logs")
    }

    pub(super) fn find(&mut self, stream: &[u8], writer: &[u8], path: &[u8]) -> Option<usize> {
        if writer != ASCII_WRITER {
            return None;
        }
        let key = Key {
            stream: stream.into(),
            path: path.into(),
        };
        self.by_key.get(&key)?.first().copied()
    }

    /// Makes room for one more open file.
    pub(super) fn make_room(&mut self) {
        let open = |log: &&mut OpenLog| log.file.as_ref().is_some_and(|file| !file.is_parked());
        while self.logs.iter_mut().filter(open).count() >= MAX_OPEN {
            let oldest = self
                .logs
                .iter_mut()
                .filter(open)
                .min_by_key(|log| log.written);
            if let Some(file) = oldest.and_then(|log| log.file.as_mut()) {
                file.park();
            }
        }
    }
}

fn columns(create: &LogCreate) -> Result<Vec<Column>, Refusal> {
    if create.fields.len() > MAX_COLUMNS {
        return Err(Refusal::Columns(create.fields.len()));
    }
    let column = |(number, field): (usize, &LogField)| {
        field
            .name
            .to_str()
            .and_then(|name| Column::from_wire(name, field.type_tag, field.subtype, field.optional))
            .ok_or(Refusal::Column(number + 1))
    };
    create.fields.iter().enumerate().map(column).collect()
}

/// About what they take in memory.
fn size_of_columns(columns: &[Column]) -> usize {
    columns
        .iter()
        .map(|column| size_of::<Column>() + column.name.len())
        .sum()
}

fn same_columns(schema: &Schema, create: &LogCreate) -> bool {
    schema.columns.len() == create.fields.len()
        && schema
            .columns
            .iter()
            .zip(&create.fields)
            .all(|(column, field)| {
                let (name, ty, element, _) = column.to_wire();
                field.name.as_slice() == name.as_bytes()
                    && (field.type_tag, field.subtype) == (ty, element)
            })
}

/// The longest stream id and the longest value of a setting that peers may name.
const MAX_STREAM_ID: usize = 1024;

const MAX_SETTING: usize = 1024;

const ASCII_WRITER: &[u8] = b"Log::WRITER_ASCII";

/// What the columns of all logs may take together, in bytes.
pub(super) const MAX_SCHEMAS: usize = 64 << 20;

/// Log files open at a time; those least recently written give their descriptors up. Each takes two, and a process has 1024 by
/// default: peers must not be able to use up those that connections need.
pub(super) const MAX_OPEN: usize = 384;
