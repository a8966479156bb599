//! Zeek's TSV log files, read (reference, zeek-cluster 6.8).
//!
//! The header says how the lines are to be read: separators, marks, columns and types. Logs that
//! were put one behind the other repeat it, and each header holds until the next. What older Zeeks
//! wrote is read as it is meant: `table[T]` is a set, `4.294967e+09` a number, and a backslash that
//! starts no escape a backslash.
//!
//! A text alone does not always tell: `(empty)` may be an empty vector or a vector of one empty
//! string, and is read as the first. Ports have no protocol in a log file.

use std::collections::HashSet;
use std::sync::Arc;

use super::address::{parse_addr, parse_subnet};
use super::escape::unescape;
use super::number::{parse_f64, parse_i64, parse_u64};
use super::read_error::{HeaderError, LineReason, excerpt};
use super::schema::{Column, ColumnType, LogType, Schema, is_file_stem};
use super::value::{LogPort, LogValue, PortProtocol, Record};

/// What the header has said so far.
#[derive(Debug)]
pub(super) struct TsvFormat {
    separator: Vec<u8>,
    set_separator: Vec<u8>,
    empty_field: Vec<u8>,
    unset_field: Vec<u8>,
    path: String,
    fields: Option<Vec<String>>,
    schema: Option<Arc<Schema>>,
}

impl TsvFormat {
    /// The format before any header line. `path` is used until the header names one.
    pub(super) fn new(path: &str) -> Self {
        Self {
            separator: b"\t".to_vec(),
            set_separator: b",".to_vec(),
            empty_field: b"(empty)".to_vec(),
            unset_field: b"-".to_vec(),
            path: path.to_owned(),
            fields: None,
            schema: None,
        }
    }

    /// The schema of the lines that follow, once a header is complete.
    pub(super) fn schema(&self) -> Result<&Arc<Schema>, HeaderError> {
        match (&self.schema, &self.fields) {
            (Some(schema), _) => Ok(schema),
            (None, Some(_)) => Err(HeaderError::NoTypes),
            (None, None) => Err(HeaderError::NoFields),
        }
    }

    /// Whether a line belongs to a header or footer. Data lines never begin so (6.8 rule 5).
    pub(super) fn is_meta(line: &[u8]) -> bool {
        line.first() == Some(&b'#')
    }

    /// Takes in a line of a header or footer. True when it completed a header.
    pub(super) fn meta(&mut self, line: &[u8]) -> Result<bool, HeaderError> {
        let line = line.strip_prefix(b"#").unwrap_or(line);
        if let Some(separator) = line.strip_prefix(b"separator ") {
            self.separator = unescape(separator);
            if self.separator.is_empty() {
                self.separator = b"\t".to_vec();
                return Err(HeaderError::Separator);
            }
            return Ok(false);
        }
        let (keyword, rest) = match memchr::memmem::find(line, &self.separator) {
            Some(at) => (&line[..at], &line[at + self.separator.len()..]),
            None => (line, &b""[..]),
        };
        match keyword {
            b"set_separator" if !rest.is_empty() => self.set_separator = unescape(rest),
            b"empty_field" => self.empty_field = unescape(rest),
            b"unset_field" => self.unset_field = unescape(rest),
            b"path" => {
                let path = String::from_utf8_lossy(&unescape(rest)).into_owned();
                if !is_file_stem(&path) {
                    return Err(HeaderError::Path(excerpt(path.as_bytes())));
                }
                self.path = path;
            }
            b"fields" => {
                self.schema = None;
                self.fields = None;
                self.fields = Some(self.field_names(rest)?);
            }
            b"types" => {
                let fields = self.fields.as_ref().ok_or(HeaderError::NoFields)?;
                let columns = columns(fields, &self.split(rest))?;
                self.schema = Some(Arc::new(Schema {
                    path: self.path.clone(),
                    columns,
                }));
                return Ok(true);
            }
            // `open`, `close` and remarks.
            _ => {}
        }
        Ok(false)
    }

    /// Reads a data line.
    pub(super) fn record(&self, line: &[u8], schema: &Schema) -> Result<Record, LineReason> {
        let mut record = Record::with_capacity(schema.columns.len());
        let mut rest = Some(line);
        for column in &schema.columns {
            let Some(text) = rest else {
                return Err(self.wrong_count(line, schema));
            };
            let (field, after) = split_first(text, &self.separator);
            rest = after;
            match self.value(field, &column.ty) {
                Some(value) => record.push(value),
                // A shifted line has wrong values too; its number of columns says more.
                None if self.split(line).len() != schema.columns.len() => {
                    return Err(self.wrong_count(line, schema));
                }
                None => {
                    let (column, text) = (column.name.clone(), excerpt(field));
                    let ty = schema.columns[record.len()].ty;
                    return Err(LineReason::Value { column, ty, text });
                }
            }
        }
        if rest.is_some() {
            return Err(self.wrong_count(line, schema));
        }
        Ok(record)
    }

    fn wrong_count(&self, line: &[u8], schema: &Schema) -> LineReason {
        LineReason::ColumnCount {
            expected: schema.columns.len(),
            found: self.split(line).len(),
        }
    }

    fn value(&self, text: &[u8], ty: &ColumnType) -> Option<LogValue> {
        if text == self.unset_field {
            return Some(LogValue::Unset);
        }
        let Some(element) = ty.element() else {
            return self.plain_value(text, ty.log_type());
        };
        let mut elements = Vec::new();
        let mut rest = (text != self.empty_field && !text.is_empty()).then_some(text);
        while let Some(text) = rest {
            let (first, after) = split_first(text, &self.set_separator);
            rest = after;
            elements.push(if first == self.unset_field {
                LogValue::Unset
            } else {
                self.plain_value(first, element)?
            });
        }
        Some(if ty.log_type() == LogType::Set {
            LogValue::Set(elements)
        } else {
            LogValue::Vector(elements)
        })
    }

    fn plain_value(&self, text: &[u8], ty: LogType) -> Option<LogValue> {
        Some(match ty {
            LogType::Bool => LogValue::Bool(match text {
                b"T" => true,
                b"F" => false,
                _ => return None,
            }),
            LogType::Int => LogValue::Int(parse_i64(text)?),
            LogType::Count => LogValue::Count(parse_u64(text)?),
            LogType::Double => LogValue::Double(parse_f64(text)?),
            LogType::Time => LogValue::Time(parse_f64(text)?),
            LogType::Interval => LogValue::Interval(parse_f64(text)?),
            LogType::Port => LogValue::Port(parse_port(text)?),
            LogType::Addr => LogValue::Addr(parse_addr(text)?),
            LogType::Subnet => LogValue::Subnet(parse_subnet(text)?),
            LogType::String => LogValue::String(self.text(text)),
            LogType::Enum => LogValue::Enum(self.text(text)),
            LogType::Func => LogValue::Func(self.text(text)),
            LogType::File => LogValue::File(self.text(text)),
            LogType::Set | LogType::Vector => return None,
        })
    }

    fn text(&self, text: &[u8]) -> Vec<u8> {
        if text == self.empty_field {
            Vec::new()
        } else {
            unescape(text)
        }
    }

    fn split<'a>(&self, text: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (first, after) = split_first(text, &self.separator);
            parts.push(first);
            rest = after;
        }
        parts
    }

    fn field_names(&self, text: &[u8]) -> Result<Vec<String>, HeaderError> {
        let parts = self.split(text);
        if parts.len() > MAX_COLUMNS {
            return Err(HeaderError::TooManyColumns { limit: MAX_COLUMNS });
        }
        let mut seen = HashSet::with_capacity(parts.len());
        let mut names = Vec::with_capacity(parts.len());
        for part in parts {
            let name = String::from_utf8(unescape(part)).map_err(|_| HeaderError::ColumnName)?;
            if name.is_empty() {
                return Err(HeaderError::ColumnName);
            }
            if !seen.insert(part) {
                return Err(HeaderError::DuplicateColumn(excerpt(part)));
            }
            names.push(name);
        }
        Ok(names)
    }
}

fn columns(fields: &[String], words: &[&[u8]]) -> Result<Vec<Column>, HeaderError> {
    if fields.len() != words.len() {
        return Err(HeaderError::TypeCount {
            fields: fields.len(),
            types: words.len(),
        });
    }
    let columns = fields.iter().zip(words).map(|(name, word)| {
        let ty = std::str::from_utf8(word).ok().and_then(ColumnType::parse);
        let ty = ty.ok_or_else(|| HeaderError::UnknownType {
            column: name.clone(),
            word: excerpt(word),
        })?;
        Ok(Column::new(name.clone(), ty))
    });
    columns.collect()
}

/// A port number; `80/tcp`, which some tools write, keeps its protocol.
fn parse_port(text: &[u8]) -> Option<LogPort> {
    let (number, protocol) = match memchr::memchr(b'/', text) {
        None => (text, PortProtocol::Unknown),
        Some(at) => {
            let protocol = match &text[at + 1..] {
                b"tcp" => PortProtocol::Tcp,
                b"udp" => PortProtocol::Udp,
                b"icmp" => PortProtocol::Icmp,
                b"unknown" => PortProtocol::Unknown,
                _ => return None,
            };
            (&text[..at], protocol)
        }
    };
    let number = u16::try_from(parse_u64(number)?).ok()?;
    Some(LogPort {
        number: u64::from(number),
        protocol,
    })
}

/// The text up to the separator, and what follows it if there is one.
fn split_first<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    let at = match separator {
        [byte] => memchr::memchr(*byte, text),
        _ => memchr::memmem::find(text, separator),
    };
    match at {
        Some(at) => (&text[..at], Some(&text[at + separator.len()..])),
        None => (text, None),
    }
}

/// The most columns a reader takes; Zeek's widest log has about fifty.
pub const MAX_COLUMNS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::record_with_schema;
    use crate::log::tsv_write::{TsvOptions, TsvWriter};
    use proptest::prelude::*;

    fn format(fields: &str, types: &str) -> (TsvFormat, Arc<Schema>) {
        let mut format = TsvFormat::new("x");
        format
            .meta(format!("#fields\t{fields}").as_bytes())
            .unwrap();
        format.meta(format!("#types\t{types}").as_bytes()).unwrap();
        let schema = format.schema().unwrap().clone();
        (format, schema)
    }

    fn read(types: &str, line: &[u8]) -> Result<Record, LineReason> {
        let fields: Vec<_> = (0..types.split('\t').count())
            .map(|at| format!("c{at}"))
            .collect();
        let (format, schema) = format(&fields.join("\t"), types);
        format.record(line, &schema)
    }

    fn string(text: &str) -> LogValue {
        LogValue::String(text.as_bytes().to_vec())
    }

    #[test]
    fn marks_and_escapes_are_told_apart() {
        let line = b"-\t\\x2d\t(empty)\t\\x28empty)\tO=Amazon.com\\, Inc.\ta\\\\, b";
        let record = read("string\tstring\tstring\tstring\tstring\tstring", line).unwrap();
        let expected = [
            LogValue::Unset,
            string("-"),
            string(""),
            string("(empty)"),
            string("O=Amazon.com\\, Inc."),
            string("a\\, b"),
        ];
        assert_eq!(record, expected);
    }

    #[test]
    fn containers_keep_their_order_and_their_unset_elements() {
        let record = read(
            "table[string]\tvector[count]\tset[addr]",
            b"b,a\\x2c,(empty)\t1,-,2\t(empty)",
        )
        .unwrap();
        let expected = [
            LogValue::Set(vec![string("b"), string("a,"), string("")]),
            LogValue::Vector(vec![
                LogValue::Count(1),
                LogValue::Unset,
                LogValue::Count(2),
            ]),
            LogValue::Set(Vec::new()),
        ];
        assert_eq!(record, expected);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        let count = |found| Err(LineReason::ColumnCount { expected: 2, found });
        assert_eq!(read("count\tcount", b"1"), count(1));
        assert_eq!(read("count\tcount", b"1\t2\t3"), count(3));
        assert_eq!(read("count\tcount", b"x\t2\t3"), count(3));
        assert_eq!(read("count\tcount", b""), count(1));
        let ty = ColumnType::parse("count").unwrap();
        let value = LineReason::Value {
            column: "c1".to_owned(),
            ty,
            text: "-2".to_owned(),
        };
        assert_eq!(read("count\tcount", b"1\t-2"), Err(value));
        for (ty, text) in [
            ("bool", "true"),
            ("int", "1.5"),
            ("port", "65536"),
            ("port", "80/sctp"),
            ("addr", "host"),
            ("subnet", "10.0.0.0"),
            ("time", "now"),
            ("interval", ""),
            ("count", "(empty)"),
            ("vector[count]", "1,x"),
        ] {
            assert!(
                matches!(read(ty, text.as_bytes()), Err(LineReason::Value { .. })),
                "{ty} {text}"
            );
        }
    }

    #[test]
    fn a_header_that_cannot_be_used_says_why() {
        let mut format = TsvFormat::new("x");
        assert_eq!(format.schema().unwrap_err(), HeaderError::NoFields);
        assert_eq!(format.meta(b"#types\tint"), Err(HeaderError::NoFields));
        assert_eq!(format.meta(b"#separator "), Err(HeaderError::Separator));
        assert_eq!(
            format.meta(b"#path\t../etc/x"),
            Err(HeaderError::Path("../etc/x".to_owned()))
        );
        assert_eq!(
            format.meta(b"#fields\ta\ta"),
            Err(HeaderError::DuplicateColumn("a".to_owned()))
        );
        assert_eq!(format.meta(b"#fields\ta\t"), Err(HeaderError::ColumnName));
        assert_eq!(format.meta(b"#fields\ta\tb"), Ok(false));
        assert_eq!(format.schema().unwrap_err(), HeaderError::NoTypes);
        assert_eq!(
            format.meta(b"#types\tint"),
            Err(HeaderError::TypeCount {
                fields: 2,
                types: 1
            })
        );
        let unknown = HeaderError::UnknownType {
            column: "b".to_owned(),
            word: "list".to_owned(),
        };
        assert_eq!(format.meta(b"#types\tint\tlist"), Err(unknown));
        assert_eq!(format.meta(b"#types\tint\tstring"), Ok(true));
        assert_eq!(format.meta(b"#close\t2014"), Ok(false));
        assert_eq!(format.schema().unwrap().columns.len(), 2);
    }

    #[test]
    fn a_header_may_set_every_separator_and_mark() {
        let mut format = TsvFormat::new("x");
        for line in [
            "#separator ||",
            "#set_separator||;",
            "#empty_field||E",
            "#unset_field||NA",
            "#path||y",
        ] {
            assert_eq!(format.meta(line.as_bytes()), Ok(false));
        }
        format.meta(b"#fields||a||b||c").unwrap();
        format.meta(b"#types||set[string]||string||int").unwrap();
        let schema = format.schema().unwrap().clone();
        assert_eq!(schema.path, "y");
        let record = format.record(b"p;E||E||NA", &schema).unwrap();
        assert_eq!(
            record,
            [
                LogValue::Set(vec![string("p"), string("")]),
                string(""),
                LogValue::Unset
            ]
        );
    }

    /// What a text cannot tell: see the module's notes.
    fn as_read(mut record: Record) -> Record {
        for value in &mut record {
            let text_cannot_tell = match value {
                LogValue::Set(elements) | LogValue::Vector(elements) => {
                    match elements.as_mut_slice() {
                        [LogValue::Unset] => Some(LogValue::Unset),
                        [only] if only.as_bytes().is_some_and(<[u8]>::is_empty) => {
                            elements.clear();
                            None
                        }
                        _ => None,
                    }
                }
                LogValue::Double(number) if *number == 0.0 => Some(LogValue::Double(0.0)),
                _ => None,
            };
            if let Some(read) = text_cannot_tell {
                *value = read;
            } else if let LogValue::Set(elements) | LogValue::Vector(elements) = value {
                for element in elements {
                    if *element == LogValue::Double(-0.0) {
                        *element = LogValue::Double(0.0);
                    }
                }
            }
        }
        record
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back((schema, record) in record_with_schema()) {
            let mut out = Vec::new();
            let writer = TsvWriter::new(TsvOptions::default());
            writer.header(&schema, "2026-01-01-00-00-00", &mut out);
            writer.record(&record, &mut out);
            writer.footer("2026-01-01-00-00-00", &mut out);
            let mut format = TsvFormat::new("x");
            let mut records = Vec::new();
            for line in out.split_inclusive(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\n").unwrap();
                if TsvFormat::is_meta(line) {
                    format.meta(line).unwrap();
                } else {
                    records.push(format.record(line, &schema).unwrap());
                }
            }
            prop_assert_eq!(format.schema().unwrap().as_ref(), &schema);
            prop_assert_eq!(&records, &vec![as_read(record)]);
            // Once read, writing and reading change nothing any more.
            let mut again = Vec::new();
            writer.record(&records[0], &mut again);
            let line = again.strip_suffix(b"\n").unwrap();
            prop_assert_eq!(&format.record(line, &schema).unwrap(), &records[0]);
        }

        #[test]
        fn any_line_is_a_record_or_a_reason(
            line in prop::collection::vec(any::<u8>(), 0..60),
            text in "[-a(),0-9.:/\t\\\\x#e+]{0,30}",
            word in prop::sample::select(vec!["string", "double", "addr", "subnet", "port", "set[int]", "vector[time]"]),
        ) {
            for line in [&line[..], text.as_bytes()] {
                let _ = read(word, line);
                let _ = read("string\tcount", line);
                let _ = TsvFormat::new("x").meta(line);
            }
        }
    }
}
