//! How a log is written, and a writer for either form.
//!
//! The settings of one log travel in LogCreate's writer info as a table of strings (reference,
//! zeek-cluster 6.3 and 6.8): `use_json`, `tsv`, `set_separator` and so on, with `T` and `F` for
//! booleans. A logger applies them to its own defaults; settings it does not know, Zeek's or
//! anybody's, are passed over, as Zeek does.

use std::sync::Arc;

use super::json_write::{JsonEscapes, JsonOptions, JsonTimestamps, JsonWriter};
use super::reader::LogFormat;
use super::schema::Schema;
use super::tsv_write::{TsvOptions, TsvWriter};
use super::value::LogValue;

/// How a log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStyle {
    /// Which form the file has. Default: TSV.
    pub format: LogFormat,
    /// What holds if that is TSV.
    pub tsv: TsvOptions,
    /// What holds if that is JSON.
    pub json: JsonOptions,
}

/// A setting of LogCreate with a value that is none of those it may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log setting `{name}` cannot be `{value}`; use {allowed}")]
pub struct StyleError {
    /// The setting.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The values it may have.
    pub allowed: &'static str,
}

impl LogStyle {
    /// The default style of a form.
    pub fn of(format: LogFormat) -> Self {
        Self {
            format,
            tsv: TsvOptions::default(),
            json: JsonOptions::default(),
        }
    }

    /// Changes one setting by its name in LogCreate. Returns whether there is such a setting.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, StyleError> {
        let wrong = |allowed| StyleError {
            name: name.to_owned(),
            value: value.to_owned(),
            allowed,
        };
        let flag = || match value {
            "T" => Ok(true),
            "F" => Ok(false),
            _ => Err(wrong("T or F")),
        };
        let bytes = || match value {
            "" => Err(wrong("at least one character")),
            _ => Ok(value.as_bytes().to_vec()),
        };
        match name {
            "use_json" => {
                self.format = if flag()? {
                    LogFormat::Json
                } else {
                    LogFormat::Tsv
                }
            }
            "tsv" => self.tsv.plain_header = flag()?,
            "enable_utf_8" => self.tsv.utf8 = flag()?,
            "separator" => self.tsv.separator = bytes()?,
            "set_separator" => self.tsv.set_separator = bytes()?,
            "empty_field" => self.tsv.empty_field = value.as_bytes().to_vec(),
            "unset_field" => self.tsv.unset_field = value.as_bytes().to_vec(),
            "meta_prefix" => self.tsv.meta_prefix = value.as_bytes().to_vec(),
            "json_include_unset_fields" => self.json.include_unset = flag()?,
            "json_timestamps" => {
                let found = TIMESTAMPS.iter().find(|(_, word)| *word == value);
                self.json.timestamps = found
                    .ok_or_else(|| wrong("JSON::TS_EPOCH or another of JSON's"))?
                    .0;
            }
            "json_string_escape_policy" => {
                let found = ESCAPES.iter().find(|(_, word)| *word == value);
                self.json.escapes = found
                    .ok_or_else(|| wrong("JSON::STRING_ESCAPE_POLICY_HEX, _PUA or _TSV"))?
                    .0;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The settings that differ from the defaults, as LogCreate carries them. Whether a TSV file has a
    /// header at all is no such setting in Zeek, and settings that are no text cannot be said.
    pub fn to_config(&self) -> Vec<(&'static str, String)> {
        let flag = |value: bool| if value { "T" } else { "F" }.to_owned();
        let default = Self::default();
        let mut config = Vec::new();
        if self.format == LogFormat::Json {
            config.push(("use_json", flag(true)));
        }
        for (name, value, usual) in [
            ("tsv", self.tsv.plain_header, default.tsv.plain_header),
            ("enable_utf_8", self.tsv.utf8, default.tsv.utf8),
            (
                "json_include_unset_fields",
                self.json.include_unset,
                default.json.include_unset,
            ),
        ] {
            if value != usual {
                config.push((name, flag(value)));
            }
        }
        for (name, value, usual) in [
            ("separator", &self.tsv.separator, &default.tsv.separator),
            (
                "set_separator",
                &self.tsv.set_separator,
                &default.tsv.set_separator,
            ),
            (
                "empty_field",
                &self.tsv.empty_field,
                &default.tsv.empty_field,
            ),
            (
                "unset_field",
                &self.tsv.unset_field,
                &default.tsv.unset_field,
            ),
            (
                "meta_prefix",
                &self.tsv.meta_prefix,
                &default.tsv.meta_prefix,
            ),
        ] {
            match std::str::from_utf8(value) {
                Ok(text) if value != usual => config.push((name, text.to_owned())),
                _ => {}
            }
        }
        let timestamps = TIMESTAMPS
            .iter()
            .find(|(form, _)| *form == self.json.timestamps);
        if let (Some((_, word)), true) =
            (timestamps, self.json.timestamps != default.json.timestamps)
        {
            config.push(("json_timestamps", (*word).to_owned()));
        }
        let escapes = ESCAPES
            .iter()
            .find(|(policy, _)| *policy == self.json.escapes);
        if let (Some((_, word)), true) = (escapes, self.json.escapes != default.json.escapes) {
            config.push(("json_string_escape_policy", (*word).to_owned()));
        }
        config
    }
}

impl Default for LogStyle {
    fn default() -> Self {
        Self::of(LogFormat::Tsv)
    }
}

/// Writes the lines of one log in its style, into buffers of the caller.
#[derive(Clone, Debug)]
pub struct LogWriter {
    schema: Arc<Schema>,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    // Boxed for its table of bytes.
    Tsv(Box<TsvWriter>),
    Json(JsonWriter),
}

impl LogWriter {
    /// A writer for a log of these columns.
    pub fn new(style: LogStyle, schema: Arc<Schema>) -> Self {
        let form = match style.format {
            LogFormat::Tsv => Form::Tsv(Box::new(TsvWriter::new(style.tsv))),
            LogFormat::Json => Form::Json(JsonWriter::new(style.json, &schema)),
        };
        Self { schema, form }
    }

    /// The log's path and columns.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Appends what stands at the beginning of the file. `time` is now, in the form of [`meta_time`].
    ///
    /// [`meta_time`]: super::meta_time
    pub fn begin(&self, time: &str, out: &mut Vec<u8>) {
        if let Form::Tsv(writer) = &self.form {
            writer.header(&self.schema, time, out);
        }
    }

    /// Appends a record.
    pub fn record(&self, record: &[LogValue], out: &mut Vec<u8>) {
        match &self.form {
            Form::Tsv(writer) => writer.record(record, out),
            Form::Json(writer) => writer.record(record, out),
        }
    }

    /// Appends what stands at the end of the file.
    pub fn end(&self, time: &str, out: &mut Vec<u8>) {
        if let Form::Tsv(writer) = &self.form {
            writer.footer(time, out);
        }
    }
}

const TIMESTAMPS: [(JsonTimestamps, &str); 4] = [
    (JsonTimestamps::Epoch, "JSON::TS_EPOCH"),
    (JsonTimestamps::Millis, "JSON::TS_MILLIS"),
    (JsonTimestamps::MillisUnsigned, "JSON::TS_MILLIS_UNSIGNED"),
    (JsonTimestamps::Iso8601, "JSON::TS_ISO8601"),
];

const ESCAPES: [(JsonEscapes, &str); 3] = [
    (JsonEscapes::Hex, "JSON::STRING_ESCAPE_POLICY_HEX"),
    (JsonEscapes::PrivateUse, "JSON::STRING_ESCAPE_POLICY_PUA"),
    (JsonEscapes::Tsv, "JSON::STRING_ESCAPE_POLICY_TSV"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::schema::{Column, ColumnType};

    #[test]
    fn the_default_style_needs_no_settings() {
        assert_eq!(LogStyle::default().to_config(), []);
        let json = LogStyle::of(LogFormat::Json);
        assert_eq!(json.to_config(), [("use_json", "T".to_owned())]);
    }

    #[test]
    fn settings_come_back_from_their_table() {
        let settings = [
            ("use_json", "T"),
            ("tsv", "T"),
            ("enable_utf_8", "F"),
            ("json_include_unset_fields", "T"),
            ("separator", "|"),
            ("set_separator", ";"),
            ("empty_field", ""),
            ("unset_field", "NA"),
            ("meta_prefix", "//"),
            ("json_timestamps", "JSON::TS_ISO8601"),
            (
                "json_string_escape_policy",
                "JSON::STRING_ESCAPE_POLICY_PUA",
            ),
        ];
        let mut style = LogStyle::default();
        for (name, value) in settings {
            assert_eq!(style.set(name, value), Ok(true), "{name}");
        }
        let config = style.to_config();
        assert!(
            config
                .iter()
                .map(|(name, value)| (*name, &value[..]))
                .eq(settings)
        );
    }

    #[test]
    fn unknown_settings_are_passed_over_and_bad_values_named() {
        let mut style = LogStyle::default();
        assert_eq!(style.set("gzip_level", "9"), Ok(false));
        let error = style.set("use_json", "yes").unwrap_err().to_string();
        assert_eq!(error, "log setting `use_json` cannot be `yes`; use T or F");
        for (name, value) in [
            ("separator", ""),
            ("json_timestamps", "x"),
            ("json_string_escape_policy", "x"),
        ] {
            assert!(style.set(name, value).is_err(), "{name}");
        }
        assert_eq!(style, LogStyle::default());
    }

    #[test]
    fn a_writer_writes_the_form_of_its_style() {
        let columns = vec![Column::new("s", ColumnType::STRING)];
        let schema = Arc::new(Schema {
            path: "x".to_owned(),
            columns,
        });
        let file = |format| {
            let writer = LogWriter::new(LogStyle::of(format), schema.clone());
            let mut out = Vec::new();
            writer.begin("now", &mut out);
            writer.record(&[LogValue::String(b"a".to_vec())], &mut out);
            writer.end("then", &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(file(LogFormat::Json), "{\"s\":\"a\"}\n");
        assert!(file(LogFormat::Tsv).starts_with("#separator \\x09\n"));
        assert!(file(LogFormat::Tsv).ends_with("#types\tstring\na\n#close\tthen\n"));
    }
}
