//! `[logging]`: rotation, archiving, sinks, spool and switches of remote logging.
//!
//! ```toml
//! [logging]
//! rotation_interval = "1 hr"             # default: never; further: rotation_size = "500 MB", rotation_base = "0:00"
//! rotated_names = "zeek"                 # zeek | open-close | archiver
//! rotated_dir = "log-queue"              # default: beside the log
//! leftovers = "continue"                 # continue | rotate, what a kill left behind
//! keep_batches = "7 days"                # how long batches of rotated files are known
//! log_suffix = "log"                     # what names of files end with; default: ZEEK_LOG_SUFFIX, or "log"
//! gzip_level = 6                         # compress rotated files; default: no
//! post_command = ["archive-log", "{file}", "{path}", "{open}", "{close}", "{terminating}", "{writer}"]
//! post_timeout = "60 s"                  # further: post_jobs = 2
//! spool_dir = "spool"                    # writers keep what no logger takes; default: in memory only
//! spool_bytes = "1 GiB"                  # further: spool_full = drop_newest | drop_oldest
//! spool_when = "down"                    # down | always
//! log_local = false                      # the defaults of both depend on the role
//! log_remote = true
//! limits = "none"                        # none | zeek; further: max_field_string_bytes and so on
//! node_streams = true                    # whether nodes write cluster.log and broker.log
//!
//! [logging.stream."Conn::LOG"]           # log_local, log_remote, include, exclude, limits, rotation_interval, rotation_size
//! exclude = ["orig_l2_addr"]
//!
//! [logging.sink.siem]
//! url = "https://collector:8080/logs"    # or http://HOST:PORT/PATH, tcp://HOST:PORT, unix:///PATH
//! tls = { cafile = "ca.pem" }            # for https: the keys of [tls]
//! streams = ["Conn::LOG"]                # default: all
//! queue_bytes = "64 MiB"                 # further: when_full = drop_oldest | drop_newest
//! ```

mod files;
mod quantity;
mod sinks;

use std::collections::BTreeMap;
use std::path::Path;

use self::files::{archive, rotation, suffix};
use self::quantity::{directory, flag, out_of_range, size};
use self::sinks::sink;
use super::error::LayoutError;
use super::table::{Table, shortened};
use crate::log::{Limits, LogFormat};
use crate::logging::{
    ArchiveOptions, LogSettings, LogSuffix, LoggerOptions, RotatedNames, RotationOptions,
    RotationRule, SinkOptions, SpoolOptions, StreamSettings,
};

/// What a layout says about logs, beside where and in which form they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoggingSpec {
    /// What names of log files end with, if it says so.
    pub suffix: Option<LogSuffix>,
    /// When files are rotated; directories are those of all nodes together.
    pub rotation: RotationOptions,
    /// Rules of single streams.
    pub stream_rules: BTreeMap<String, RotationRule>,
    /// What happens to rotated files.
    pub archive: ArchiveOptions,
    /// Where loggers send records beside the files.
    pub sinks: Vec<SinkOptions>,
    /// Where writers keep what no logger takes; the directory is that of all nodes together.
    pub spool: Option<SpoolOptions>,
    /// Whether records are written into files of the node that has them; by default on nodes that write logs.
    pub log_local: Option<bool>,
    /// Whether records go to the loggers; by default from nodes that do not write logs.
    pub log_remote: Option<bool>,
    /// How much of a record is kept.
    pub limits: Option<Limits>,
    /// Settings of single streams.
    pub streams: BTreeMap<String, StreamSettings>,
    /// Whether nodes write the streams `Cluster::LOG` and `Broker::LOG`, if it says so.
    pub node_streams: Option<bool>,
}

impl LoggingSpec {
    /// What the logger of the node called `node` does; `for_peers`: it writes what others send, too, and feeds the sinks.
    #[must_use]
    pub fn logger_options(&self, format: LogFormat, node: &str, for_peers: bool) -> LoggerOptions {
        let mut rotation = self.rotation.clone();
        // Names for the archiver have the node in them, and it looks into one directory.
        if rotation.names != RotatedNames::Archiver {
            rotation.dir = rotation.dir.map(|dir| dir.join(node));
        }
        LoggerOptions {
            format,
            suffix: self.suffix.clone().unwrap_or_default(),
            rotation,
            stream_rules: self.stream_rules.clone(),
            archive: self.archive.clone(),
            sinks: if for_peers {
                self.sinks.clone()
            } else {
                Vec::new()
            },
            tls: None,
        }
    }

    /// Where records of a node go that writes logs, or does not.
    #[must_use]
    pub fn log_settings(&self, writes_logs: bool) -> LogSettings {
        LogSettings {
            log_local: self.log_local.unwrap_or(writes_logs),
            log_remote: self.log_remote.unwrap_or(!writes_logs),
            limits: self.limits,
            streams: self.streams.clone(),
        }
    }

    /// The spool of the node called `node`.
    #[must_use]
    pub fn spool_of(&self, node: &str) -> Option<SpoolOptions> {
        self.spool.clone().map(|spool| SpoolOptions {
            dir: spool.dir.join(node),
            ..spool
        })
    }
}

/// Reads `[logging]` within `root`; relative paths start at `base`. `rule` is when files are rotated if it does not say so.
pub(super) fn read(
    root: &Table<'_>,
    base: &Path,
    rule: RotationRule,
) -> Result<LoggingSpec, LayoutError> {
    let Some(table) = root.table("logging", "[logging]".to_owned())? else {
        let mut spec = LoggingSpec::default();
        spec.rotation.rule = rule;
        return Ok(spec);
    };
    table.only(KEYS)?;
    let mut spec = LoggingSpec {
        suffix: suffix(&table)?,
        rotation: rotation(&table, base, rule)?,
        archive: archive(&table)?,
        spool: spool(&table, base)?,
        log_local: flag(&table, "log_local")?,
        log_remote: flag(&table, "log_remote")?,
        limits: limits(&table)?,
        node_streams: flag(&table, "node_streams")?,
        ..LoggingSpec::default()
    };
    for (id, table) in tables(&table, "stream")? {
        table.only(STREAM_KEYS)?;
        let settings = StreamSettings {
            log_local: flag(&table, "log_local")?,
            log_remote: flag(&table, "log_remote")?,
            limits: limits(&table)?,
            include: table.strings("include")?,
            exclude: table.strings("exclude")?,
        };
        if let Some(rule) = files::rule(&table)? {
            spec.stream_rules.insert(id.to_owned(), rule);
        }
        spec.streams.insert(id.to_owned(), settings);
    }
    for (name, table) in tables(&table, "sink")? {
        spec.sinks.push(sink(&table, name, base)?);
    }
    Ok(spec)
}

/// The tables within the table `key` of `[logging]`, in the order of the file, with their names.
fn tables<'a>(outer: &Table<'a>, key: &str) -> Result<Vec<(&'a str, Table<'a>)>, LayoutError> {
    let Some(outer) = outer.table(key, format!("[logging.{key}]"))? else {
        return Ok(Vec::new());
    };
    let mut names: Vec<_> = outer.entries.keys().collect();
    names.sort_by_key(|name| name.span().start);
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let text: &'a str = name.get_ref();
        let shown = format!("[logging.{key}.{}]", shortened(text));
        if let Some(table) = outer.table(text, shown)? {
            all.push((text, table));
        }
    }
    Ok(all)
}

fn spool(table: &Table<'_>, base: &Path) -> Result<Option<SpoolOptions>, LayoutError> {
    let max_bytes = size(table, "spool_bytes")?;
    let full = table.word("spool_full", &["drop_newest", "drop_oldest"])?;
    let when = table.word("spool_when", &["down", "always"])?;
    let Some(dir) = directory(table, "spool_dir", base)? else {
        if max_bytes.is_some() || full.is_some() || when.is_some() {
            return Err(table.missing("spool_dir", "spool_dir = \"spool\""));
        }
        return Ok(None);
    };
    let mut options = SpoolOptions::new(dir);
    if let Some(max_bytes) = max_bytes {
        if max_bytes < MIN_SPOOL {
            return Err(out_of_range(
                table,
                "spool_bytes",
                &max_bytes.to_string(),
                "at least 65536 bytes",
            ));
        }
        options.max_bytes = max_bytes;
    }
    options.drop_oldest = full.is_some_and(|word| word.text == "drop_oldest");
    options.always = when.is_some_and(|word| word.text == "always");
    Ok(Some(options))
}

fn limits(table: &Table<'_>) -> Result<Option<Limits>, LayoutError> {
    let word = table.word("limits", &["none", "zeek"])?;
    let none = Limits {
        field_bytes: 0,
        total_bytes: 0,
        field_elements: 0,
        total_elements: 0,
    };
    let mut limits = match word.as_ref().map(|word| word.text) {
        Some("zeek") => Limits::default(),
        _ => none,
    };
    let mut said = word.is_some();
    for (key, value) in [
        ("max_field_string_bytes", &mut limits.field_bytes),
        ("max_total_string_bytes", &mut limits.total_bytes),
        ("max_field_container_elements", &mut limits.field_elements),
        ("max_total_container_elements", &mut limits.total_elements),
    ] {
        if let Some(number) = table.number(key)? {
            *value = number;
            said = true;
        }
    }
    Ok(said.then_some(limits))
}

const KEYS: &[&str] = &[
    "log_suffix",
    "rotation_interval",
    "rotation_size",
    "rotation_base",
    "rotated_names",
    "rotated_dir",
    "leftovers",
    "keep_batches",
    "gzip_level",
    "post_command",
    "post_timeout",
    "post_jobs",
    "spool_dir",
    "spool_bytes",
    "spool_full",
    "spool_when",
    "log_local",
    "log_remote",
    "limits",
    "max_field_string_bytes",
    "max_total_string_bytes",
    "max_field_container_elements",
    "max_total_container_elements",
    "node_streams",
    "stream",
    "sink",
];
const STREAM_KEYS: &[&str] = &[
    "log_local",
    "log_remote",
    "include",
    "exclude",
    "limits",
    "max_field_string_bytes",
    "max_total_string_bytes",
    "max_field_container_elements",
    "max_total_container_elements",
    "rotation_interval",
    "rotation_size",
];
/// A spool has to hold a batch.
const MIN_SPOOL: u64 = 64 << 10;

#[cfg(test)]
mod tests;
