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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::error::{LayoutError, LayoutProblem};
use super::security;
use super::table::{Table, shortened};
use crate::log::{Limits, LogFormat};
use crate::logging::{
    ArchiveOptions, LogSettings, LogSuffix, LoggerOptions, RotatedNames, RotationOptions,
    RotationRule, SinkOptions, SinkTarget, SinkTargetError, SpoolOptions, StreamSettings,
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

/// Reads `[logging]` within `root`; relative paths start at `base`.
pub(super) fn read(root: &Table<'_>, base: &Path) -> Result<LoggingSpec, LayoutError> {
    let Some(table) = root.table("logging", "[logging]".to_owned())? else {
        return Ok(LoggingSpec::default());
    };
    table.only(KEYS)?;
    let mut spec = LoggingSpec {
        suffix: suffix(&table)?,
        rotation: rotation(&table, base)?,
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
        if let Some(rule) = rule(&table)? {
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

fn suffix(table: &Table<'_>) -> Result<Option<LogSuffix>, LayoutError> {
    let Some(text) = table.string("log_suffix")? else {
        return Ok(None);
    };
    match text.text.parse() {
        Ok(suffix) => Ok(Some(suffix)),
        Err(_) => Err(out_of_range(
            table,
            "log_suffix",
            text.text,
            "the end of a file name such as \"log\" or \"zeek.json\", of letters, digits, \"-\", \"_\" and dots between them, \
             and not batches, pending, gz or part",
        )),
    }
}

fn rotation(table: &Table<'_>, base: &Path) -> Result<RotationOptions, LayoutError> {
    let defaults = RotationOptions::default();
    let names = match table
        .word("rotated_names", &["zeek", "open-close", "archiver"])?
        .map(|word| word.text)
    {
        Some("open-close") => RotatedNames::OpenClose,
        Some("archiver") => RotatedNames::Archiver,
        _ => RotatedNames::Zeek,
    };
    let leftovers = table.word("leftovers", &["continue", "rotate"])?;
    Ok(RotationOptions {
        rule: rule(table)?.unwrap_or_default(),
        base: match table.string("rotation_base")? {
            None => defaults.base,
            Some(text) => time_of_day(text.text).ok_or_else(|| {
                out_of_range(
                    table,
                    "rotation_base",
                    text.text,
                    "a time of day such as \"6:30\"",
                )
            })?,
        },
        names,
        dir: directory(table, "rotated_dir", base)?,
        leftovers: leftovers.is_some_and(|word| word.text == "rotate"),
        keep_batches: duration(table, "keep_batches")?.unwrap_or(defaults.keep_batches),
    })
}

fn rule(table: &Table<'_>) -> Result<Option<RotationRule>, LayoutError> {
    let interval = duration(table, "rotation_interval")?;
    let max_bytes = size(table, "rotation_size")?;
    if interval.is_none() && max_bytes.is_none() {
        return Ok(None);
    }
    // 0 is "never", as in Zeek.
    Ok(Some(RotationRule {
        interval: interval.filter(|interval| !interval.is_zero()),
        max_bytes: max_bytes.filter(|size| *size > 0),
    }))
}

fn archive(table: &Table<'_>) -> Result<ArchiveOptions, LayoutError> {
    let defaults = ArchiveOptions::default();
    let gzip = match table.number("gzip_level")? {
        None | Some(0) => None,
        Some(level @ 1..=9) => Some(level as u32),
        Some(level) => {
            return Err(out_of_range(
                table,
                "gzip_level",
                &level.to_string(),
                "1 to 9, or 0 for no compression",
            ));
        }
    };
    let command = table.strings("post_command")?;
    if command.first().is_some_and(String::is_empty) {
        return Err(out_of_range(
            table,
            "post_command",
            "",
            "a program and its arguments",
        ));
    }
    Ok(ArchiveOptions {
        gzip,
        command,
        command_timeout: duration(table, "post_timeout")?
            .filter(|limit| !limit.is_zero())
            .unwrap_or(defaults.command_timeout),
        jobs: match table.positive("post_jobs")? {
            None => defaults.jobs,
            Some(jobs) if jobs.get() <= 64 => jobs.get(),
            Some(jobs) => {
                return Err(out_of_range(
                    table,
                    "post_jobs",
                    &jobs.to_string(),
                    "1 to 64",
                ));
            }
        },
    })
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

fn sink(table: &Table<'_>, name: &str, base: &Path) -> Result<SinkOptions, LayoutError> {
    table.only(SINK_KEYS)?;
    let url = table
        .string("url")?
        .ok_or_else(|| table.missing("url", "url = \"tcp://127.0.0.1:5170\""))?;
    let target = url.text.parse().map_err(|_: SinkTargetError| {
        out_of_range(
            table,
            "url",
            url.text,
            "tcp://HOST:PORT, unix:///PATH, http://HOST:PORT/PATH or https://HOST:PORT/PATH",
        )
    })?;
    let secure = matches!(target, SinkTarget::Https(_));
    let mut options = SinkOptions::new(name, target);
    let shown = format!("[logging.sink.{}.tls]", shortened(name));
    match table.table("tls", shown)? {
        Some(_) if !secure => {
            return Err(out_of_range(
                table,
                "url",
                url.text,
                "https://HOST:PORT/PATH where there is a tls",
            ));
        }
        Some(files) => options.tls = security::tls(&files, base)?,
        None => {}
    }
    if secure && options.tls.cafile.is_none() && options.tls.capath.is_none() {
        return Err(table.missing("tls", "tls = { cafile = \"ca.pem\" }"));
    }
    options.streams = table.strings("streams")?;
    if let Some(bytes) = size(table, "queue_bytes")? {
        options.max_bytes = usize::try_from(bytes)
            .ok()
            .and_then(std::num::NonZeroUsize::new)
            .ok_or_else(|| {
                out_of_range(table, "queue_bytes", &bytes.to_string(), "at least 1 byte")
            })?;
    }
    if let Some(word) = table.word("when_full", &["drop_oldest", "drop_newest"])? {
        options.drop_oldest = word.text == "drop_oldest";
    }
    Ok(options)
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

fn flag(table: &Table<'_>, key: &str) -> Result<Option<bool>, LayoutError> {
    Ok(table.boolean(key)?.map(|(value, _)| value))
}

fn directory(table: &Table<'_>, key: &str, base: &Path) -> Result<Option<PathBuf>, LayoutError> {
    match table.string(key)? {
        None => Ok(None),
        Some(path) if path.text.is_empty() => {
            Err(out_of_range(table, key, "", "the name of a directory"))
        }
        Some(path) => Ok(Some(base.join(path.text))),
    }
}

/// Seconds as a number, or a text such as `90 s`, `10 min`, `1 hr`, `7 days`.
fn duration(table: &Table<'_>, key: &str) -> Result<Option<Duration>, LayoutError> {
    const EXPECTED: &str = "a time such as \"90 s\", \"10 min\", \"1 hr\" or \"7 days\"";
    let seconds = quantity(table, key, EXPECTED, |unit| match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        "min" | "mins" | "minute" | "minutes" => Some(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3600),
        "day" | "days" => Some(86_400),
        _ => None,
    })?;
    Ok(seconds.map(Duration::from_secs))
}

/// Bytes as a number, or a text such as `500 MB` or `1 GiB`.
fn size(table: &Table<'_>, key: &str) -> Result<Option<u64>, LayoutError> {
    const EXPECTED: &str = "a size such as 65536, \"500 MB\" or \"1 GiB\"";
    quantity(table, key, EXPECTED, |unit| match unit {
        "B" => Some(1),
        "kB" | "KB" => Some(1000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    })
}

fn quantity(
    table: &Table<'_>,
    key: &str,
    expected: &'static str,
    factor: impl Fn(&str) -> Option<u64>,
) -> Result<Option<u64>, LayoutError> {
    let Some(value) = table.value(key) else {
        return Ok(None);
    };
    let DeValue::String(text) = value.get_ref() else {
        return match value.get_ref() {
            DeValue::Integer(_) => Ok(table.number(key)?.map(|number| number as u64)),
            _ => Err(table.wrong(key, value, expected)),
        };
    };
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let read = number
        .parse::<u64>()
        .ok()
        .zip(factor(unit.trim()))
        .and_then(|(number, factor)| number.checked_mul(factor))
        .filter(|quantity| *quantity <= i64::MAX as u64);
    match read {
        Some(quantity) => Ok(Some(quantity)),
        None => Err(table.source.error(
            value.span(),
            LayoutProblem::OutOfRange {
                table: table.name.clone(),
                key: key.to_owned(),
                value: format!("{:?}", shortened(text)),
                expected,
            },
        )),
    }
}

/// `6:30` as time since midnight.
fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.split_once(':')?;
    let hours: u64 = hours.parse().ok().filter(|hours| *hours < 24)?;
    let minutes: u64 = minutes.parse().ok().filter(|minutes| *minutes < 60)?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60))
}

fn out_of_range(table: &Table<'_>, key: &str, value: &str, expected: &'static str) -> LayoutError {
    let span = table
        .value(key)
        .map_or_else(|| table.span.clone(), toml::Spanned::span);
    table.source.error(
        span,
        LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value: format!("{:?}", shortened(value)),
            expected,
        },
    )
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
const SINK_KEYS: &[&str] = &["url", "tls", "streams", "queue_bytes", "when_full"];
/// A spool has to hold a batch.
const MIN_SPOOL: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    const MANAGER: &str = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n";

    fn read(text: &str) -> Result<LoggingSpec, String> {
        Layout::parse(&format!("{text}\n{MANAGER}"), "/etc/x.toml")
            .map(|layout| layout.logging().clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read() {
        let spec = read(
            r#"
            [logging]
            log_suffix = "zeek.json"
            rotation_interval = "1 hr"
            rotation_size = "500 MB"
            rotation_base = "6:30"
            rotated_names = "archiver"
            rotated_dir = "log-queue"
            leftovers = "rotate"
            keep_batches = "1day"
            gzip_level = 6
            post_command = ["archive-log", "{file}"]
            post_timeout = 5
            post_jobs = 3
            spool_dir = "spool"
            spool_bytes = "1 MiB"
            spool_full = "drop_oldest"
            spool_when = "always"
            log_local = true
            log_remote = false
            limits = "zeek"
            max_field_string_bytes = 10
            node_streams = false
            [logging.stream."Conn::LOG"]
            log_remote = true
            exclude = ["uid"]
            rotation_interval = 0
            [logging.sink.siem]
            url = "https://collector/x"
            tls = { cafile = "ca.pem", certificate = "a.pem", key = "/k/a.key", verify_host_name = false }
            streams = ["Conn::LOG"]
            queue_bytes = 1000
            when_full = "drop_newest"
            "#,
        )
        .unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(
            spec.rotation,
            RotationOptions {
                rule: RotationRule {
                    interval: Some(hour),
                    max_bytes: Some(500_000_000)
                },
                base: Duration::from_secs(23_400),
                names: RotatedNames::Archiver,
                dir: Some(PathBuf::from("/etc/log-queue")),
                leftovers: true,
                keep_batches: 24 * hour,
            }
        );
        assert_eq!(spec.stream_rules["Conn::LOG"], RotationRule::default());
        assert_eq!(
            spec.archive,
            ArchiveOptions {
                gzip: Some(6),
                command: vec!["archive-log".to_owned(), "{file}".to_owned()],
                command_timeout: Duration::from_secs(5),
                jobs: 3
            }
        );
        let spool = spec.spool_of("worker-1").unwrap();
        assert_eq!(spool.dir, Path::new("/etc/spool/worker-1"));
        assert_eq!((spool.max_bytes, spool.drop_oldest), (1 << 20, true));
        assert!(spool.always);
        let settings = spec.log_settings(false);
        assert_eq!((settings.log_local, settings.log_remote), (true, false));
        assert_eq!(settings.limits.unwrap().field_bytes, 10);
        assert_eq!(settings.limits.unwrap().total_elements, 500);
        let stream = &settings.streams["Conn::LOG"];
        assert_eq!((stream.log_remote, stream.log_local), (Some(true), None));
        assert_eq!(stream.exclude, ["uid"]);
        assert_eq!(spec.sinks[0].target.to_string(), "https://collector:443/x");
        let tls = &spec.sinks[0].tls;
        assert_eq!(tls.cafile.as_deref(), Some(Path::new("/etc/ca.pem")));
        assert_eq!(tls.key.as_deref(), Some(Path::new("/k/a.key")));
        assert_eq!(tls.verify_host_name, Some(false));
        assert_eq!(spec.sinks[0].max_bytes.get(), 1000);
        assert!(!spec.sinks[0].drop_oldest);
        assert_eq!(spec.node_streams, Some(false));
        let options = spec.logger_options(LogFormat::Tsv, "logger-1", false);
        assert_eq!(options.sinks, []);
        assert_eq!(options.suffix.as_str(), "zeek.json");
        assert_eq!(options.rotation.dir, Some(PathBuf::from("/etc/log-queue")));
    }

    #[test]
    fn without_the_table_nothing_is_rotated_spooled_or_sent_elsewhere() {
        let spec = read("").unwrap();
        assert_eq!(spec, LoggingSpec::default());
        assert!(!spec.rotation.rule.is_on());
        let logger = spec.log_settings(true);
        assert_eq!((logger.log_local, logger.log_remote), (true, false));
        let worker = spec.log_settings(false);
        assert_eq!((worker.log_local, worker.log_remote), (false, true));
    }

    #[test]
    fn mistakes_name_the_line_and_what_it_may_be() {
        for (text, expected) in [
            ("[logging]\nrotation_interval = \"1 fortnight\"", ":2: "),
            ("[logging]\nrotation_size = \"-5\"", "a size such as"),
            ("[logging]\nrotation_size = true", "a size such as"),
            ("[logging]\nrotation_base = \"25:00\"", "a time of day"),
            (
                "[logging]\nrotated_names = \"x\"",
                "zeek, open-close, archiver",
            ),
            ("[logging]\ngzip_level = 10", "1 to 9"),
            ("[logging]\nlog_suffix = \"a/b\"", "the end of a file name"),
            ("[logging]\nlog_suffix = \"gz\"", "not batches, pending, gz"),
            ("[logging]\nlog_suffix = \"\"", "the end of a file name"),
            ("[logging]\nspool_bytes = 100000", "spool_dir"),
            ("[logging]\nspool_when = \"always\"", "spool_dir"),
            ("[logging]\nspool_when = \"now\"", "down, always"),
            ("[logging]\nspool_dir = \"x\"\nspool_bytes = 1", "65536"),
            (
                "[logging]\nrotate = 1",
                "unknown key \"rotate\" in [logging]",
            ),
            ("[logging.stream.\"X\"]\nurl = \"x\"", "[logging.stream.X]"),
            ("[logging.sink.x]\n", "has no \"url\""),
            ("[logging.sink.x]\nurl = \"ftp://x/\"", "tcp://HOST:PORT"),
            ("[logging.sink.x]\nurl = \"https://x/\"", "cafile = "),
            (
                "[logging.sink.x]\nurl = \"https://x/\"\ntls = { key = \"k\" }",
                "cafile = ",
            ),
            (
                "[logging.sink.x]\nurl = \"http://x/\"\ntls = { cafile = \"c\" }",
                "where there is a tls",
            ),
            (
                "[logging.sink.x]\nurl = \"https://x/\"\ntls = { ca = \"c\" }",
                "[logging.sink.x.tls]",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
