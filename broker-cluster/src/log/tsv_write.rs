//! Zeek's TSV log files, written (reference, zeek-cluster 6.8).
//!
//! [`TsvWriter`] appends lines to a buffer of the caller and keeps no state between them; files,
//! rotation and the clock belong to whoever owns the buffer.
//!
//! Cost per record: no allocation beyond the buffer's growth, except for strings that need escaping
//! and numbers beyond 2^107.

use super::address::{push_addr, push_subnet};
use super::escape::{self, Cuts};
use super::number::{push_i64, push_seconds, push_tsv_double, push_u64};
use super::schema::Schema;
use super::value::LogValue;

/// How a TSV file is written; the defaults are Zeek's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TsvOptions {
    /// Between columns. Default: a tab.
    pub separator: Vec<u8>,
    /// Between elements of sets and vectors. Default: `,`.
    pub set_separator: Vec<u8>,
    /// For empty strings, sets and vectors. Default: `(empty)`.
    pub empty_field: Vec<u8>,
    /// For values that are not there. Default: `-`.
    pub unset_field: Vec<u8>,
    /// In front of the header's lines. Default: `#`.
    pub meta_prefix: Vec<u8>,
    /// Whether there is a header and a footer. Default: true.
    pub include_meta: bool,
    /// Whether accepted UTF-8 characters are written as they are. Default: true; without it, every
    /// byte outside printable ASCII becomes `\xHH`.
    pub utf8: bool,
    /// Whether the header is only a line of column names, and there is no footer. Default: false.
    pub plain_header: bool,
}

impl Default for TsvOptions {
    fn default() -> Self {
        Self {
            separator: b"\t".to_vec(),
            set_separator: b",".to_vec(),
            empty_field: b"(empty)".to_vec(),
            unset_field: b"-".to_vec(),
            meta_prefix: b"#".to_vec(),
            include_meta: true,
            utf8: true,
            plain_header: false,
        }
    }
}

/// Writes the lines of a TSV log.
#[derive(Clone, Debug)]
pub struct TsvWriter {
    options: TsvOptions,
    /// For each byte whether it passes in a column of its own, and inside a container: printable
    /// ASCII that is no backslash and starts no separator.
    plain: [[bool; 2]; 256],
}

impl TsvWriter {
    /// A writer with these options.
    pub fn new(options: TsvOptions) -> Self {
        let mut plain = [[false; 2]; 256];
        for (byte, passes) in (0_u8..=255).zip(&mut plain) {
            let printable = escape::is_printable(byte) && byte != b'\\';
            let outside = printable && options.separator.first() != Some(&byte);
            *passes = [
                outside,
                outside && options.set_separator.first() != Some(&byte),
            ];
        }
        Self { options, plain }
    }

    /// Appends the header. `open` is the local time the log was opened, as [`meta_time`] forms it.
    ///
    /// [`meta_time`]: super::meta_time
    pub fn header(&self, schema: &Schema, open: &str, out: &mut Vec<u8>) {
        if self.options.plain_header {
            self.names(schema, out);
            out.push(b'\n');
            return;
        }
        if !self.options.include_meta {
            return;
        }
        let options = &self.options;
        out.extend_from_slice(&options.meta_prefix);
        out.extend_from_slice(b"separator ");
        for &byte in &options.separator {
            if escape::is_printable(byte) && byte != b' ' {
                out.push(byte);
            } else {
                escape::push_hex(out, byte);
            }
        }
        out.push(b'\n');
        self.meta(out, "set_separator", &options.set_separator);
        self.meta(out, "empty_field", &options.empty_field);
        self.meta(out, "unset_field", &options.unset_field);
        let mut path = Vec::with_capacity(schema.path.len());
        self.push_string(schema.path.as_bytes(), false, &mut path);
        self.meta(out, "path", &path);
        self.meta(out, "open", open.as_bytes());
        self.meta_start(out, "fields");
        self.names(schema, out);
        out.push(b'\n');
        self.meta_start(out, "types");
        for (index, column) in schema.columns.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&options.separator);
            }
            out.extend_from_slice(column.ty.to_string().as_bytes());
        }
        out.push(b'\n');
    }

    /// Appends the footer. `close` is the local time the log was closed.
    pub fn footer(&self, close: &str, out: &mut Vec<u8>) {
        if self.options.include_meta && !self.options.plain_header {
            self.meta(out, "close", close.as_bytes());
        }
    }

    /// Appends one line.
    pub fn record(&self, record: &[LogValue], out: &mut Vec<u8>) {
        let start = out.len();
        for (index, value) in record.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&self.options.separator);
            }
            self.value(value, out);
        }
        let prefix = &self.options.meta_prefix;
        if !prefix.is_empty() && out[start..].starts_with(prefix) {
            // Or the line would read as part of a header.
            let mut escaped = Vec::with_capacity(4);
            escape::push_hex(&mut escaped, out[start]);
            out.splice(start..=start, escaped);
        }
        out.push(b'\n');
    }

    fn value(&self, value: &LogValue, out: &mut Vec<u8>) {
        let (LogValue::Set(elements) | LogValue::Vector(elements)) = value else {
            return self.plain_value(value, false, out);
        };
        if elements.is_empty() {
            out.extend_from_slice(&self.options.empty_field);
        }
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&self.options.set_separator);
            }
            self.plain_value(element, true, out);
        }
    }

    fn plain_value(&self, value: &LogValue, inside: bool, out: &mut Vec<u8>) {
        match value {
            LogValue::Unset => out.extend_from_slice(&self.options.unset_field),
            LogValue::Bool(value) => out.push(if *value { b'T' } else { b'F' }),
            LogValue::Int(value) => push_i64(out, *value),
            LogValue::Count(value) => push_u64(out, *value),
            LogValue::Double(value) => push_tsv_double(out, *value),
            LogValue::Time(value) | LogValue::Interval(value) => push_seconds(out, *value),
            LogValue::Port(port) => push_u64(out, port.number),
            LogValue::Addr(address) => push_addr(out, *address),
            LogValue::Subnet(subnet) => push_subnet(out, subnet),
            LogValue::String(text)
            | LogValue::Enum(text)
            | LogValue::Func(text)
            | LogValue::File(text) => {
                self.text(text, inside, out);
            }
            // No column type has these; a record that reaches a writer was checked against its columns.
            LogValue::Set(_) | LogValue::Vector(_) => {
                out.extend_from_slice(&self.options.unset_field)
            }
        }
    }

    fn text(&self, text: &[u8], inside: bool, out: &mut Vec<u8>) {
        if text.is_empty() {
            out.extend_from_slice(&self.options.empty_field);
        } else if text == self.options.unset_field || text == self.options.empty_field {
            escape::push_hex(out, text[0]);
            self.push_string(&text[1..], inside, out);
        } else {
            self.push_string(text, inside, out);
        }
    }

    fn push_string(&self, text: &[u8], inside: bool, out: &mut Vec<u8>) {
        if text
            .iter()
            .all(|&byte| self.plain[usize::from(byte)][usize::from(inside)])
        {
            out.extend_from_slice(text);
            return;
        }
        let set_separator = if inside {
            &self.options.set_separator[..]
        } else {
            b""
        };
        let cuts = Cuts {
            separator: &self.options.separator,
            set_separator,
            utf8: self.options.utf8,
        };
        escape::push_tsv(out, text, &cuts);
    }

    fn names(&self, schema: &Schema, out: &mut Vec<u8>) {
        for (index, column) in schema.columns.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(&self.options.separator);
            }
            self.push_string(column.name.as_bytes(), false, out);
        }
    }

    fn meta(&self, out: &mut Vec<u8>, keyword: &str, text: &[u8]) {
        self.meta_start(out, keyword);
        out.extend_from_slice(text);
        out.push(b'\n');
    }

    fn meta_start(&self, out: &mut Vec<u8>, keyword: &str) {
        out.extend_from_slice(&self.options.meta_prefix);
        out.extend_from_slice(keyword.as_bytes());
        out.extend_from_slice(&self.options.separator);
    }
}

impl Default for TsvWriter {
    fn default() -> Self {
        Self::new(TsvOptions::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::schema::{Column, ColumnType};

    fn line(options: TsvOptions, record: &[LogValue]) -> String {
        let mut out = Vec::new();
        TsvWriter::new(options).record(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn string(text: &str) -> LogValue {
        LogValue::String(text.as_bytes().to_vec())
    }

    fn schema() -> Schema {
        let column = |name, word| Column::new(name, ColumnType::parse(word).unwrap());
        Schema {
            path: "x".to_owned(),
            columns: vec![column("a", "time"), column("b.c", "table[addr]")],
        }
    }

    #[test]
    fn a_line_that_would_look_like_a_header_is_escaped() {
        assert_eq!(
            line(TsvOptions::default(), &[string("#x"), string("#x")]),
            "\\x23x\t#x\n"
        );
        let options = TsvOptions {
            meta_prefix: b"//".to_vec(),
            ..TsvOptions::default()
        };
        assert_eq!(line(options, &[string("//x")]), "\\x2f/x\n");
    }

    #[test]
    fn other_marks_and_separators_are_escaped_instead() {
        let options = TsvOptions {
            separator: b"|".to_vec(),
            set_separator: b";".to_vec(),
            empty_field: b"EMPTY".to_vec(),
            unset_field: b"NA".to_vec(),
            ..TsvOptions::default()
        };
        let record = [
            string("a|b;c,-"),
            string("NA"),
            LogValue::Set(vec![string("a;b"), string(""), string("EMPTY")]),
            LogValue::Unset,
            LogValue::Vector(Vec::new()),
        ];
        assert_eq!(
            line(options, &record),
            "a\\x7cb;c,-|\\x4eA|a\\x3bb;EMPTY;\\x45MPTY|NA|EMPTY\n"
        );
    }

    #[test]
    fn the_header_follows_the_options() {
        let mut out = Vec::new();
        let writer = TsvWriter::default();
        writer.header(&schema(), "2026-01-02-03-04-05", &mut out);
        writer.footer("2026-01-02-03-04-06", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx\n\
             #open\t2026-01-02-03-04-05\n#fields\ta\tb.c\n#types\ttime\tset[addr]\n#close\t2026-01-02-03-04-06\n"
        );

        let mut out = Vec::new();
        let writer = TsvWriter::new(TsvOptions {
            separator: b"|".to_vec(),
            ..TsvOptions::default()
        });
        writer.header(&schema(), "now", &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("#separator |\n#set_separator|,\n"));
        assert!(text.ends_with("#fields|a|b.c\n#types|time|set[addr]\n"));

        let mut out = Vec::new();
        let writer = TsvWriter::new(TsvOptions {
            plain_header: true,
            ..TsvOptions::default()
        });
        writer.header(&schema(), "now", &mut out);
        writer.footer("then", &mut out);
        assert_eq!(out, b"a\tb.c\n");

        let mut out = Vec::new();
        let writer = TsvWriter::new(TsvOptions {
            include_meta: false,
            ..TsvOptions::default()
        });
        writer.header(&schema(), "now", &mut out);
        writer.footer("then", &mut out);
        assert_eq!(out, b"");
    }
}
