//! `[cluster.telemetry]`: how closely events are counted for metrics (zeek-cluster reference, 2.7).
//!
//! The keys are Zeek's options of the module `Cluster::Telemetry`, and the words those of its levels. What belongs to
//! `info` is always counted, so that naming it changes nothing. `topic_normalizations` has prefixes where Zeek has
//! patterns, besides Zeek's own rule; an empty name leaves such topics out. `message_size_bounds` is fixed.

use std::str::FromStr;

use broker_core::{EventMeter, Topic, TopicLabels};
use toml::de::DeValue;

use super::error::{LayoutError, LayoutProblem};
use super::table::{Table, shortened};

/// How closely nodes count events, if they serve metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySpec {
    /// Events between the node and the cluster.
    pub core: EventLevels,
    /// Events of WebSocket clients.
    pub websocket: EventLevels,
    /// What topics are called.
    pub labels: TopicLabels,
}

/// Which metrics about events there are besides those of level `info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventLevels {
    /// How many, by topic and name.
    pub verbose: bool,
    /// How large, by topic and name.
    pub debug: bool,
}

impl EventLevels {
    /// Whether events have to be counted by topic and name.
    #[must_use]
    pub const fn by_topic(self) -> bool {
        self.verbose || self.debug
    }
}

impl FromIterator<EventLevel> for EventLevels {
    fn from_iter<I: IntoIterator<Item = EventLevel>>(levels: I) -> Self {
        let mut all = Self::default();
        for level in levels {
            match level {
                EventLevel::Info => {}
                EventLevel::Verbose => all.verbose = true,
                EventLevel::Debug => all.debug = true,
            }
        }
        all
    }
}

/// A level of metrics about events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLevel {
    /// How many; always there.
    Info,
    /// How many, by topic and name.
    Verbose,
    /// How large, by topic and name.
    Debug,
}

/// A text that is no [`EventLevel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected info, verbose or debug")]
pub struct UnknownEventLevel;

/// In any case, and with Zeek's module before it or not.
impl FromStr for EventLevel {
    type Err = UnknownEventLevel;

    fn from_str(text: &str) -> Result<Self, UnknownEventLevel> {
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("cluster::telemetry::").unwrap_or(&lower) {
            "info" => Ok(Self::Info),
            "verbose" => Ok(Self::Verbose),
            "debug" => Ok(Self::Debug),
            _ => Err(UnknownEventLevel),
        }
    }
}

const KEYS: &[&str] = &["core_metrics", "websocket_metrics", "topic_normalizations"];

/// Rules for the names of topics at most: they are looked at one after the other for each event.
const MAX_RULES: usize = 64;

/// Reads the table, if the file has it.
pub(super) fn read(cluster: &Table<'_>) -> Result<TelemetrySpec, LayoutError> {
    let Some(table) = cluster.table("telemetry", "[cluster.telemetry]".to_owned())? else {
        return Ok(TelemetrySpec::default());
    };
    table.only(KEYS)?;
    Ok(TelemetrySpec {
        core: levels(&table, "core_metrics")?,
        websocket: levels(&table, "websocket_metrics")?,
        labels: labels(&table, "topic_normalizations")?,
    })
}

fn levels(table: &Table<'_>, key: &str) -> Result<EventLevels, LayoutError> {
    let level = |text: String| {
        text.parse::<EventLevel>().map_err(|_| {
            let problem = LayoutProblem::UnknownWord {
                table: table.name.clone(),
                key: key.to_owned(),
                word: shortened(&text),
                accepted: "info, verbose, debug".to_owned(),
            };
            table.source.error(table.span_of(key), problem)
        })
    };
    table.strings(key)?.into_iter().map(level).collect()
}

fn labels(table: &Table<'_>, key: &str) -> Result<TopicLabels, LayoutError> {
    const EXPECTED: &str = "a table such as { \"site/session/\" = \"site/session/*\" }";
    let mut labels = TopicLabels::default();
    let Some(value) = table.value(key) else {
        return Ok(labels);
    };
    let DeValue::Table(entries) = value.get_ref() else {
        return Err(table.wrong(key, value, EXPECTED));
    };
    let refuse = |value: String, expected| {
        let problem = LayoutProblem::OutOfRange {
            table: table.name.clone(),
            key: key.to_owned(),
            value,
            expected,
        };
        table.source.error(table.span_of(key), problem)
    };
    if entries.len() > MAX_RULES {
        return Err(refuse(entries.len().to_string(), "64 prefixes at most"));
    }
    for (prefix, label) in entries.iter() {
        let DeValue::String(text) = label.get_ref() else {
            return Err(table.wrong(key, label, EXPECTED));
        };
        let prefix = prefix.get_ref();
        if prefix.len() > Topic::MAX_LEN {
            return Err(refuse(shortened(prefix), "prefixes of 65535 bytes at most"));
        }
        if text.len() > EventMeter::MAX_LABEL {
            return Err(refuse(shortened(text), "names of 256 bytes at most"));
        }
        labels = labels.with(prefix.as_bytes(), text.as_bytes());
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    fn layout(telemetry: &str) -> Result<Layout, String> {
        let text = format!(
            "[cluster.telemetry]\n{telemetry}\n[node.m]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n"
        );
        Layout::parse(&text, "lab.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn levels_are_those_of_zeek_for_core_and_websocket_each_and_off_by_default() {
        let none = layout("").unwrap();
        assert_eq!(none.telemetry(), &TelemetrySpec::default());
        assert!(!none.telemetry().core.by_topic());
        let layout = layout(
            "core_metrics = [\"info\", \"VERBOSE\"]\nwebsocket_metrics = [\"Cluster::Telemetry::DEBUG\"]\n\
             topic_normalizations = { \"site/\" = \"site/*\", \"noise/\" = \"\" }",
        );
        let expected = TelemetrySpec {
            core: EventLevels {
                verbose: true,
                debug: false,
            },
            websocket: EventLevels {
                verbose: false,
                debug: true,
            },
            labels: TopicLabels::default()
                .with("site/", "site/*")
                .with("noise/", ""),
        };
        assert_eq!(layout.unwrap().telemetry(), &expected);
    }

    #[test]
    fn what_is_no_level_and_no_name_of_a_topic_is_a_mistake_in_its_line() {
        let long = format!("topic_normalizations = {{ a = \"{}\" }}", "x".repeat(257));
        let many: Vec<String> = (0..65).map(|n| format!("t{n} = \"\"")).collect();
        let many = format!("topic_normalizations = {{ {} }}", many.join(", "));
        for (text, says) in [
            ("core_metrics = [\"loud\"]", "info, verbose, debug"),
            ("core_metrics = \"debug\"", "a list of texts"),
            ("websocket_metrics = [1]", "a list of texts"),
            ("topic_normalizations = { a = 1 }", "a table such as"),
            ("topic_normalizations = [\"a\"]", "a table such as"),
            ("message_size_bounds = [1]", "unknown key"),
            (&long, "256 bytes"),
            (&many, "64 prefixes"),
        ] {
            let error = layout(text).unwrap_err();
            assert!(
                error.starts_with("lab.toml:2: ") && error.contains(says),
                "{text}: {error}"
            );
        }
    }
}
