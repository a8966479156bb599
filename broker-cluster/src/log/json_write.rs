//! Zeek's JSON logs, written: one object per line (reference, zeek-cluster 6.9).
//!
//! Keys stand in column order, unset columns are left out, numbers keep all their digits. Names of
//! columns are quoted once, when the writer is made.

use super::address::{push_addr, push_subnet};
use super::escape;
use super::number::{push_i64, push_json_number, push_padded, push_u64};
use super::schema::Schema;
use super::value::LogValue;

/// How a JSON log is written; the defaults are Zeek's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// How times are written. Default: [`JsonTimestamps::Epoch`].
    pub timestamps: JsonTimestamps,
    /// What becomes of bytes that are no printable text. Default: [`JsonEscapes::Hex`].
    pub escapes: JsonEscapes,
    /// Whether unset columns are written as `null`. Default: false, they are left out.
    pub include_unset: bool,
}

/// The form of times in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonTimestamps {
    /// Seconds since 1970 as a number.
    #[default]
    Epoch,
    /// Whole milliseconds since 1970, truncated toward zero.
    Millis,
    /// The same bits read as an unsigned number.
    MillisUnsigned,
    /// `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
    Iso8601,
}

/// The form of strings in JSON that are not all accepted text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonEscapes {
    /// Every byte that is not printable becomes the four characters `\xHH`.
    #[default]
    Hex,
    /// Every such byte becomes a character of a private plane.
    PrivateUse,
    /// The escapes of a TSV file.
    Tsv,
}

/// Writes the lines of a JSON log.
#[derive(Clone, Debug)]
pub struct JsonWriter {
    options: JsonOptions,
    /// `"name":` of every column.
    keys: Vec<Vec<u8>>,
}

impl JsonWriter {
    /// A writer for records of this schema.
    pub fn new(options: JsonOptions, schema: &Schema) -> Self {
        let key = |name: &str| {
            let mut key = Vec::with_capacity(name.len() + 3);
            escape::push_json(&mut key, name.as_bytes());
            key.push(b':');
            key
        };
        Self {
            options,
            keys: schema
                .columns
                .iter()
                .map(|column| key(&column.name))
                .collect(),
        }
    }

    /// Appends one line. Values beyond the schema's columns are not written.
    pub fn record(&self, record: &[LogValue], out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for (value, key) in record.iter().zip(&self.keys) {
            if value.is_unset() && !self.options.include_unset {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(key);
            self.value(value, out);
        }
        out.extend_from_slice(b"}\n");
    }

    fn value(&self, value: &LogValue, out: &mut Vec<u8>) {
        match value {
            LogValue::Set(elements) | LogValue::Vector(elements) => {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.plain_value(element, out);
                }
                out.push(b']');
            }
            plain => self.plain_value(plain, out),
        }
    }

    fn plain_value(&self, value: &LogValue, out: &mut Vec<u8>) {
        match value {
            // No column type has a container inside a container.
            LogValue::Unset | LogValue::Set(_) | LogValue::Vector(_) => {
                out.extend_from_slice(b"null")
            }
            LogValue::Bool(true) => out.extend_from_slice(b"true"),
            LogValue::Bool(false) => out.extend_from_slice(b"false"),
            LogValue::Int(value) => push_i64(out, *value),
            LogValue::Count(value) => push_u64(out, *value),
            LogValue::Double(value) | LogValue::Interval(value) => push_json_number(out, *value),
            LogValue::Time(value) => self.time(*value, out),
            LogValue::Port(port) => push_u64(out, port.number),
            LogValue::Addr(address) => {
                out.push(b'"');
                push_addr(out, *address);
                out.push(b'"');
            }
            LogValue::Subnet(subnet) => {
                out.push(b'"');
                push_subnet(out, subnet);
                out.push(b'"');
            }
            LogValue::String(text)
            | LogValue::Enum(text)
            | LogValue::Func(text)
            | LogValue::File(text) => match self.options.escapes {
                JsonEscapes::Hex => escape::push_json(out, text),
                JsonEscapes::PrivateUse => escape::push_json_private(out, text),
                JsonEscapes::Tsv => escape::push_json_as_tsv(out, text),
            },
        }
    }

    fn time(&self, seconds: f64, out: &mut Vec<u8>) {
        match self.options.timestamps {
            JsonTimestamps::Epoch => push_json_number(out, seconds),
            JsonTimestamps::Millis => push_i64(out, millis(seconds)),
            JsonTimestamps::MillisUnsigned => push_u64(out, millis(seconds).cast_unsigned()),
            JsonTimestamps::Iso8601 => {
                out.push(b'"');
                push_iso8601(out, seconds);
                out.push(b'"');
            }
        }
    }
}

/// Milliseconds as the processor Zeek runs on converts them: what does not fit is the least number.
fn millis(seconds: f64) -> i64 {
    let millis = seconds * 1000.0;
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&millis) {
        millis as i64
    } else {
        i64::MIN
    }
}

fn push_iso8601(out: &mut Vec<u8>, seconds: f64) {
    let mut whole = seconds.floor();
    let mut micros = ((seconds - whole) * 1e6).round_ties_even();
    if micros >= 1e6 {
        whole += 1.0;
        micros = 0.0;
    }
    // Zeek's answer to times without a calendar date. Beyond 2^50 seconds the date has no meaning.
    if !(-1.1e15..1.1e15).contains(&whole) {
        out.extend_from_slice(b"2000-01-01T00:00:00.000000");
        return;
    }
    let whole = whole as i64;
    let (days, second) = (
        whole.div_euclid(86_400),
        whole.rem_euclid(86_400).unsigned_abs(),
    );
    let (year, month, day) = civil_date(days);
    if year < 0 {
        out.push(b'-');
    }
    push_padded(out, year.unsigned_abs(), 4);
    for (mark, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', second / 3600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(mark);
        push_padded(out, number, 2);
    }
    out.push(b'.');
    push_padded(out, micros as u64, 6);
    out.push(b'Z');
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn civil_date(days: i64) -> (i64, u64, u64) {
    // Years that begin in March put the leap day at their end; 719468 days lie between 0000-03-01
    // and 1970-01-01, 146097 make up the 400 years after which everything repeats.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months of 31, 30, 31, 30, 31 days repeat every 153 days from March on.
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month.unsigned_abs(), day.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::schema::{Column, ColumnType};

    fn line(options: JsonOptions, value: LogValue) -> String {
        let columns = vec![Column::new("a\"b", ColumnType::parse("time").unwrap())];
        let writer = JsonWriter::new(
            options,
            &Schema {
                path: "x".to_owned(),
                columns,
            },
        );
        let mut out = Vec::new();
        writer.record(&[value], &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unset_columns_are_left_out_unless_asked_for() {
        assert_eq!(line(JsonOptions::default(), LogValue::Unset), "{}\n");
        let options = JsonOptions {
            include_unset: true,
            ..JsonOptions::default()
        };
        assert_eq!(line(options, LogValue::Unset), "{\"a\\\"b\":null}\n");
    }

    #[test]
    fn times_have_four_forms() {
        let time = |timestamps, seconds| {
            let text = line(
                JsonOptions {
                    timestamps,
                    ..JsonOptions::default()
                },
                LogValue::Time(seconds),
            );
            text.trim_start_matches("{\"a\\\"b\":")
                .trim_end_matches("}\n")
                .to_owned()
        };
        assert_eq!(time(JsonTimestamps::Epoch, 1700000000.5), "1700000000.5");
        assert_eq!(time(JsonTimestamps::Millis, -1.5), "-1500");
        assert_eq!(
            time(JsonTimestamps::Millis, f64::NAN),
            "-9223372036854775808"
        );
        assert_eq!(
            time(JsonTimestamps::Millis, f64::INFINITY),
            "-9223372036854775808"
        );
        assert_eq!(
            time(JsonTimestamps::MillisUnsigned, -1.5),
            "18446744073709550116"
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, 1700000000.123456),
            "\"2023-11-14T22:13:20.123456Z\""
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, -1.5),
            "\"1969-12-31T23:59:58.500000Z\""
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, 951782400.0),
            "\"2000-02-29T00:00:00.000000Z\""
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, 253402300800.0),
            "\"10000-01-01T00:00:00.000000Z\""
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, f64::NAN),
            "\"2000-01-01T00:00:00.000000\""
        );
        assert_eq!(
            time(JsonTimestamps::Iso8601, 0.999_999_9),
            "\"1970-01-01T00:00:01.000000Z\""
        );
    }
}
