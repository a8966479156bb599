//! What a logger does with its files: format, rotation, what happens to rotated files, sinks.
//!
//! The defaults are those of a logger without settings: files are never rotated and there are no sinks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::sink::{SinkOptions, SinkTls};
use super::suffix::LogSuffix;
use crate::log::LogFormat;

/// Settings of a logger, for [`LogReceiver::start_with`](super::LogReceiver::start_with).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggerOptions {
    /// The form of logs whose writer asks for none. Default: TSV.
    pub format: LogFormat,
    /// What names of files end with. Default: `log`.
    pub suffix: LogSuffix,
    /// When files are rotated, and where to.
    pub rotation: RotationOptions,
    /// Rules of single streams by their id, such as `Conn::LOG`, instead of [`RotationOptions::rule`].
    pub stream_rules: BTreeMap<String, RotationRule>,
    /// What happens to a rotated file.
    pub archive: ArchiveOptions,
    /// Where records go beside the files.
    pub sinks: Vec<SinkOptions>,
    /// What makes connections to `https://` sinks safe. Default: nothing; then such a sink keeps the logger from starting.
    pub tls: Option<SinkTls>,
}

impl LoggerOptions {
    /// The defaults with another form.
    #[must_use]
    pub fn of(format: LogFormat) -> Self {
        Self {
            format,
            ..Self::default()
        }
    }

    /// When files of this stream are rotated.
    #[must_use]
    pub fn rule_of(&self, stream: &str) -> RotationRule {
        self.stream_rules
            .get(stream)
            .copied()
            .unwrap_or(self.rotation.rule)
    }
}

/// When a log file has had enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotationRule {
    /// At multiples of this, counted from [`RotationOptions::base`]. Whole seconds. Default: never.
    pub interval: Option<Duration>,
    /// Once the file has so many bytes. What is written at one time stays together, so a file may be longer by
    /// up to 8 MiB. Default: never.
    pub max_bytes: Option<u64>,
}

impl RotationRule {
    /// Whether files are rotated at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.interval.is_some() || self.max_bytes.is_some()
    }
}

/// Rotation of log files (reference, zeek-cluster 6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationOptions {
    /// When, for streams without a rule of their own.
    pub rule: RotationRule,
    /// What intervals are counted from, as time since local midnight. Default: midnight.
    pub base: Duration,
    /// What rotated files are called. Default: as Zeek does without settings.
    pub names: RotatedNames,
    /// Where rotated files go, on the file system of the log directory. Default: they stay in the log directory.
    pub dir: Option<PathBuf>,
    /// Whether files that a killed logger left behind are rotated when the next one starts; otherwise it goes on in
    /// them. Default: no.
    pub leftovers: bool,
    /// How long the list of a rotated file's batches is kept, by which a batch that comes again is known. Default: 7
    /// days.
    pub keep_batches: Duration,
}

impl Default for RotationOptions {
    fn default() -> Self {
        Self {
            rule: RotationRule::default(),
            base: Duration::ZERO,
            names: RotatedNames::Zeek,
            dir: None,
            leftovers: false,
            keep_batches: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What rotated files are called; the end `.log` is [`LoggerOptions::suffix`]. Times are local, as `%Y-%m-%d-%H-%M-%S`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RotatedNames {
    /// `conn.OPEN.log`, as Zeek without settings.
    #[default]
    Zeek,
    /// `conn.OPEN-CLOSE.log`.
    OpenClose,
    /// `conn__OPEN__CLOSE__log_suffix=NODE__.log`, as Zeek under its supervisor, for `zeek-archiver`.
    Archiver,
}

/// What happens to a rotated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Compress it with gzip at this level, 1 to 9. Default: no.
    pub gzip: Option<u32>,
    /// The program to run for it and its arguments, without a shell; empty: none, which is the default. In each argument
    /// `{file}` becomes the file, `{path}` the log's path, `{open}` and `{close}` the times, `{node}` the logger, `{writer}` the writer
    /// (`ascii`), `{terminating}` 1 when the logger is closing, else 0.
    pub command: Vec<String>,
    /// How long the program may take; then it is killed. Default: 60 s.
    pub command_timeout: Duration,
    /// How many rotated files are worked on at a time. Default: 2.
    pub jobs: usize,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self {
            gzip: None,
            command: Vec::new(),
            command_timeout: Duration::from_secs(60),
            jobs: 2,
        }
    }
}

impl ArchiveOptions {
    /// Whether there is anything to do.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.gzip.is_some() || !self.command.is_empty()
    }
}
