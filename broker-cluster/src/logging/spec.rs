//! What a program says of a log that it writes.

use broker_core::Timestamp;
use broker_core::zeek::{LogCreate, LogField, WriterInfo};

use super::hook::{LogHook, LogOrigin};
use super::settings::StreamSettings;
use crate::log::{Column, Limits, LogFormat, LogStyle, Record, Schema};

/// The writer Zeek uses for files, and the only one our loggers have.
pub const ASCII_WRITER: &str = "Log::WRITER_ASCII";

/// A log to write: its stream, path, columns and settings, and what happens to its records before they leave.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSpec {
    pub(super) stream: String,
    pub(super) schema: Schema,
    pub(super) config: Vec<(String, String)>,
    pub(super) settings: StreamSettings,
    pub(super) hooks: Vec<LogHook>,
    pub(super) expendable: bool,
}

impl LogSpec {
    /// A log with these columns, in the stream that Zeek has for its path.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        Self {
            stream: schema.stream_id().into_owned(),
            schema,
            config: Vec::new(),
            settings: StreamSettings::default(),
            hooks: Vec::new(),
            expendable: false,
        }
    }

    /// Records that nobody waits for at the end if there is no logger.
    pub(crate) const fn expendable(mut self) -> Self {
        self.expendable = true;
        self
    }

    /// Whether records are written into files of this node. Default: on nodes that write logs. What the node's own settings
    /// say of the stream goes before.
    #[must_use]
    pub const fn log_local(mut self, on: bool) -> Self {
        self.settings.log_local = Some(on);
        self
    }

    /// Whether records go to the loggers. Default: on all nodes but those that write logs. What the node's own settings say
    /// of the stream goes before.
    #[must_use]
    pub const fn log_remote(mut self, on: bool) -> Self {
        self.settings.log_remote = Some(on);
        self
    }

    /// How much of a record is kept. Default: all of it; Zeek's limits are [`Limits::default`].
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = Some(limits);
        self
    }

    /// Leaves out all columns but these. Default: none are left out.
    #[must_use]
    pub fn include(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.include = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves out these columns. Default: none.
    #[must_use]
    pub fn exclude(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.exclude = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Shows every record to `hook` before it is written; see [`LogHook`]. Hooks run in the order in which they were added.
    #[must_use]
    pub fn hook(
        mut self,
        hook: impl Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(LogHook::new(hook));
        self
    }

    /// Names the stream, such as `Conn::LOG`, if it is another than the path's.
    #[must_use]
    pub fn stream(mut self, id: impl Into<String>) -> Self {
        self.stream = id.into();
        self
    }

    /// Asks the logger for a form; by default it is the logger's choice.
    #[must_use]
    pub fn format(self, format: LogFormat) -> Self {
        self.style(&LogStyle::of(format))
    }

    /// Asks the logger for a style in all its details.
    #[must_use]
    pub fn style(mut self, style: &LogStyle) -> Self {
        self.config = style
            .to_config()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if !self.config.iter().any(|(name, _)| name == "use_json") {
            let json = if style.format == LogFormat::Json {
                "T"
            } else {
                "F"
            };
            self.config.push(("use_json".to_owned(), json.to_owned()));
        }
        self.config.sort_unstable();
        self
    }

    pub(super) fn to_create(&self, columns: &[Column]) -> LogCreate {
        let fields = columns.iter().map(|column| {
            let (name, type_tag, subtype, optional) = column.to_wire();
            LogField {
                name: name.into(),
                secondary: None,
                type_tag,
                subtype,
                optional,
            }
        });
        LogCreate {
            stream: self.stream.as_str().into(),
            writer: ASCII_WRITER.into(),
            info: WriterInfo {
                path: self.schema.path.as_str().into(),
                rotation_base: 0.0,
                rotation_interval: 0.0,
                network_time: Timestamp::now().as_secs_f64(),
                config: self
                    .config
                    .iter()
                    .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                    .collect(),
                // A Zeek logger ends at the name of a function it does not have.
                post_processor: "".into(),
            },
            fields: fields.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use broker_core::Data;
    use broker_core::zeek::Message as ZeekMessage;

    use super::*;
    use crate::log::ColumnType;
    use crate::topics;

    fn create_of(spec: LogSpec) -> LogCreate {
        let columns = spec.schema.columns.clone();
        spec.to_create(&columns)
    }

    fn columns(names: &[(&str, &str)]) -> Vec<Column> {
        let column = |(name, ty): &(&str, &str)| Column {
            optional: false,
            ..Column::new(*name, ColumnType::parse(ty).unwrap())
        };
        names.iter().map(column).collect()
    }

    #[test]
    fn our_log_create_is_byte_for_byte_zeek_s() {
        let recorded = include_str!("../../tests/golden/cluster-worker-logger.txt")
            .lines()
            .nth(1)
            .unwrap();
        let (topic, hex) = recorded.split_once(' ').unwrap();
        let payload: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let Ok(ZeekMessage::LogCreate(theirs)) =
            ZeekMessage::from_data(&Data::decode(&payload).unwrap())
        else {
            panic!("a LogCreate")
        };
        let schema = Schema {
            path: "cluster".to_owned(),
            columns: columns(&[("ts", "time"), ("node", "string"), ("message", "string")]),
        };
        let mut ours = create_of(LogSpec::new(schema));
        ours.info.network_time = theirs.info.network_time;
        assert_eq!(ours.into_data().to_bytes().as_ref(), payload);
        assert_eq!(
            topics::log_topic(b"Cluster::LOG").as_bytes(),
            topic.as_bytes()
        );
    }

    #[test]
    fn a_format_asked_for_is_said_and_none_is_not() {
        let schema = Schema {
            path: "x".to_owned(),
            columns: Vec::new(),
        };
        let config = |spec: LogSpec| create_of(spec).info.config;
        assert_eq!(config(LogSpec::new(schema.clone())), []);
        assert_eq!(
            config(LogSpec::new(schema.clone()).format(LogFormat::Tsv)),
            [("use_json".into(), "F".into())]
        );
        assert_eq!(
            config(LogSpec::new(schema).format(LogFormat::Json)),
            [("use_json".into(), "T".into())]
        );
    }
}
