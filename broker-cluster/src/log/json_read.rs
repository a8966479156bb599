//! Zeek's JSON logs, read (reference, zeek-cluster 6.9).
//!
//! A JSON log has no header, so its columns are learned from the first [`SCAN_LINES`] lines: the keys
//! that occur, in an order that fits every line, and their types. Types come from the table of Zeek's
//! standard logs (found by the file's name, by `_path`, or by the keys), unless most values of a
//! column do not fit; then, and for all other logs, from the values: integers are `count`, or `int`
//! if one is negative, or `double` if one has a fraction; arrays are vectors of what they hold. A key
//! that first occurs later, or a value that does not fit the learned type, makes its line a bad one.
//!
//! `null` has two meanings. Zeek writes it for infinities and NaN, and, only when told to
//! (`json_include_unset_fields`), for unset columns. So if no column but those of floating-point
//! numbers is ever `null`, it is read as NaN, and is written as `null` again; else it is unset.
//!
//! Strings are kept as they stand: `\\xff` in the file is four characters here and is written back
//! as the same, since Zeek's JSON does not tell an escaped byte from its spelling.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{parse_addr, parse_subnet};
use super::json_text::{Object, Token};
use super::number::{parse_f64, parse_i64, parse_u64};
use super::read_error::{JsonError, LineReason, excerpt};
use super::schema::{Column, ColumnType, LogType, Schema, is_file_stem};
use super::standard;
use super::tsv_read::MAX_COLUMNS;
use super::value::{LogPort, LogValue, PortProtocol, Record};

/// How many lines are read to learn the columns.
pub const SCAN_LINES: usize = 1000;

/// How many bytes of lines are kept to learn the columns; fewer lines are used if they are long.
pub const SCAN_BYTES: usize = 16 << 20;

/// The columns of a JSON log, ready to read lines with.
#[derive(Debug)]
pub(super) struct JsonFormat {
    schema: Arc<Schema>,
    positions: HashMap<Vec<u8>, usize>,
    /// Whether unset columns are `null` in this file, and not left out.
    nulls_are_unset: bool,
}

impl JsonFormat {
    /// Learns the columns from these lines. `stem` is the file's name up to its first dot. Lines
    /// that are no objects are passed over; an error if all are. Columns that are `known` have their types, whether they
    /// occur in these lines or not.
    pub(super) fn learn(
        lines: &[&[u8]],
        stem: &str,
        known: Option<&Schema>,
    ) -> Result<Self, JsonError> {
        let mut scan = Scan::default();
        let known = known.map_or(&[][..], |schema| &schema.columns);
        scan.merge_keys(
            &known
                .iter()
                .map(|column| column.name.as_bytes().to_vec())
                .collect::<Vec<_>>(),
        );
        let mut first_error = None;
        let mut objects = 0;
        for line in lines {
            match keys(line) {
                Ok(keys) => {
                    objects += 1;
                    scan.merge_keys(&keys);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let (0, Some(error)) = (objects, first_error) {
            return Err(error);
        }
        let names = scan.names();
        let path_key = lines.iter().find_map(|line| path_member(line));
        let (path, mut types) = kind(stem, path_key.as_deref(), &names);
        types.extend(known.iter().map(|column| (column.name.as_str(), column.ty)));
        for (column, name) in scan.columns.iter_mut().zip(&names) {
            column.standard = types.get(name.as_str()).copied();
        }
        for line in lines {
            // A line that ends early has shown the values before its fault; they count too.
            let _ = scan.merge_values(line);
        }
        let nulls_are_unset = scan
            .columns
            .iter()
            .any(|seen| seen.nulls > 0 && !is_float(&seen.ty()));
        let columns = scan
            .columns
            .iter()
            .zip(names)
            .map(|(seen, name)| Column::new(name, seen.ty()));
        let schema = Arc::new(Schema {
            path,
            columns: columns.collect(),
        });
        let names = schema
            .columns
            .iter()
            .map(|column| column.name.as_bytes().to_vec());
        let positions = names.zip(0..).collect();
        Ok(Self {
            schema,
            positions,
            nulls_are_unset,
        })
    }

    pub(super) fn nulls_are_unset(&self) -> bool {
        self.nulls_are_unset
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Reads a line.
    pub(super) fn record(&self, line: &[u8]) -> Result<Record, LineReason> {
        let columns = &self.schema.columns;
        let mut record = vec![LogValue::Unset; columns.len()];
        let mut object = Object::open(line).map_err(LineReason::Json)?;
        let mut next = 0;
        while let Some(key) = object.key().map_err(LineReason::Json)? {
            let position = self.position(&key, next);
            let position = position.ok_or_else(|| LineReason::UnknownKey(excerpt(&key)))?;
            next = position + 1;
            let column = &columns[position];
            let start = object.at();
            let token = object.value().map_err(LineReason::Json)?;
            let value = match token {
                Token::Array => elements(&mut object, &column.ty).map_err(LineReason::Json)?,
                Token::Null if !self.nulls_are_unset => not_a_number(&column.ty),
                plain => plain_value(&plain, &column.ty),
            };
            let Some(value) = value else {
                let text = excerpt(line[start..object.at()].trim_ascii());
                return Err(LineReason::Value {
                    column: column.name.clone(),
                    ty: column.ty,
                    text,
                });
            };
            if !record[position].is_unset() {
                return Err(LineReason::DuplicateKey(column.name.clone()));
            }
            record[position] = value;
        }
        Ok(record)
    }

    /// Keys stand in column order in what Zeek writes, so the next column or one soon after it fits.
    fn position(&self, key: &[u8], next: usize) -> Option<usize> {
        let columns = &self.schema.columns;
        let near = columns.iter().enumerate().skip(next).take(NEAR);
        let mut near = near.filter(|(_, column)| column.name.as_bytes() == key);
        near.next()
            .map(|(at, _)| at)
            .or_else(|| self.positions.get(key).copied())
    }
}

/// The value of a column that is no array; none if it does not fit.
fn plain_value(token: &Token<'_>, ty: &ColumnType) -> Option<LogValue> {
    match token {
        Token::Null => Some(LogValue::Unset),
        _ if ty.element().is_some() => None,
        _ => convert(token, ty.log_type()),
    }
}

/// What `null` stands for where unset columns are left out.
fn not_a_number(ty: &ColumnType) -> Option<LogValue> {
    Some(match ty.log_type() {
        LogType::Double => LogValue::Double(f64::NAN),
        LogType::Time => LogValue::Time(f64::NAN),
        LogType::Interval => LogValue::Interval(f64::NAN),
        _ => LogValue::Unset,
    })
}

fn is_float(ty: &ColumnType) -> bool {
    matches!(
        ty.log_type(),
        LogType::Double | LogType::Time | LogType::Interval
    )
}

/// The rest of an array; none if an element does not fit. All of it is read either way.
fn elements(object: &mut Object<'_>, ty: &ColumnType) -> Result<Option<LogValue>, JsonError> {
    let mut values = Vec::new();
    let mut fits = true;
    while let Some(token) = object.element()? {
        let value = match (&token, ty.element()) {
            (_, None) => None,
            (Token::Null, _) => Some(LogValue::Unset),
            (_, Some(element)) => convert(&token, element),
        };
        match value {
            Some(value) => values.push(value),
            None => fits = false,
        }
    }
    Ok(match ty.log_type() {
        _ if !fits => None,
        LogType::Set => Some(LogValue::Set(values)),
        LogType::Vector => Some(LogValue::Vector(values)),
        _ => None,
    })
}

fn convert(token: &Token<'_>, ty: LogType) -> Option<LogValue> {
    Some(match (ty, token) {
        (LogType::Bool, Token::Bool(value)) => LogValue::Bool(*value),
        (LogType::Int, Token::Number(text)) => LogValue::Int(parse_i64(text)?),
        (LogType::Count, Token::Number(text)) => LogValue::Count(parse_u64(text)?),
        (LogType::Double, Token::Number(text)) => LogValue::Double(finite(text)?),
        (LogType::Time, Token::Number(text)) => LogValue::Time(finite(text)?),
        (LogType::Interval, Token::Number(text)) => LogValue::Interval(finite(text)?),
        (LogType::Port, Token::Number(text)) => {
            let number = u16::try_from(parse_u64(text)?).ok()?;
            LogValue::Port(LogPort {
                number: u64::from(number),
                protocol: PortProtocol::Unknown,
            })
        }
        (LogType::Addr, Token::String(text)) => LogValue::Addr(parse_addr(text)?),
        (LogType::Subnet, Token::String(text)) => LogValue::Subnet(parse_subnet(text)?),
        (LogType::String, Token::String(text)) => LogValue::String(text.to_vec()),
        (LogType::Enum, Token::String(text)) => LogValue::Enum(text.to_vec()),
        (LogType::Func, Token::String(text)) => LogValue::Func(text.to_vec()),
        (LogType::File, Token::String(text)) => LogValue::File(text.to_vec()),
        _ => return None,
    })
}

fn finite(text: &[u8]) -> Option<f64> {
    parse_f64(text).filter(|number| number.is_finite())
}

/// The keys of a line, if all of it is well formed.
fn keys(line: &[u8]) -> Result<Vec<Vec<u8>>, JsonError> {
    let mut object = Object::open(line)?;
    let mut keys = Vec::new();
    while let Some(key) = object.key()? {
        keys.push(key.into_owned());
        if object.value()? == Token::Array {
            while object.element()?.is_some() {}
        }
    }
    Ok(keys)
}

/// The `_path` some of Zeek's packages put into every record.
fn path_member(line: &[u8]) -> Option<String> {
    let mut object = Object::open(line).ok()?;
    while let Some(key) = object.key().ok()? {
        match object.value().ok()? {
            Token::String(path) if *key == *b"_path" => {
                return String::from_utf8(path.into_owned()).ok();
            }
            Token::Array => while object.element().ok()?.is_some() {},
            _ => {}
        }
    }
    None
}

/// The log's path, and the types known for its columns.
fn kind(
    stem: &str,
    path_key: Option<&str>,
    names: &[String],
) -> (String, HashMap<&'static str, ColumnType>) {
    // Rotated files are named conn.2026-… or conn-26-…
    let front = stem.split('-').next().unwrap_or(stem);
    let named = [path_key.unwrap_or_default(), stem, front]
        .into_iter()
        .find_map(standard::by_path);
    let known = named.or_else(|| standard::by_columns(names.iter().map(String::as_str)));
    let mut types = standard::common_types();
    if let Some(log) = known {
        types.extend(log.types());
        return (log.path.to_owned(), types);
    }
    let path = path_key.filter(|path| is_file_stem(path)).unwrap_or(stem);
    (
        if is_file_stem(path) { path } else { "log" }.to_owned(),
        types,
    )
}

/// What the first lines have shown.
#[derive(Debug, Default)]
struct Scan {
    keys: Vec<Vec<u8>>,
    columns: Vec<Seen>,
}

impl Scan {
    /// Adds the keys of a line. A new one goes behind the key it follows in this line, so that lines
    /// with different columns left out still give the order in which Zeek wrote them.
    fn merge_keys(&mut self, keys: &[Vec<u8>]) {
        let mut next = 0;
        for key in keys {
            match self.keys.iter().skip(next).position(|known| known == key) {
                Some(ahead) => next += ahead + 1,
                None => match self.keys.iter().position(|known| known == key) {
                    Some(at) => next = at + 1,
                    // A key that is no text, or one too many, makes its line a bad one later.
                    None if std::str::from_utf8(key).is_err() || self.keys.len() >= MAX_COLUMNS => {
                    }
                    None => {
                        self.keys.insert(next, key.clone());
                        self.columns.insert(next, Seen::default());
                        next += 1;
                    }
                },
            }
        }
    }

    fn names(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect()
    }

    fn merge_values(&mut self, line: &[u8]) -> Result<(), JsonError> {
        let mut object = Object::open(line)?;
        let mut next = 0;
        while let Some(key) = object.key()? {
            let ahead = self
                .keys
                .iter()
                .skip(next)
                .position(|known| **known == *key)
                .map(|at| next + at);
            let position = ahead.or_else(|| self.keys.iter().position(|known| **known == *key));
            let mut ignored = Seen::default();
            let seen = match position {
                Some(position) => {
                    next = position + 1;
                    &mut self.columns[position]
                }
                None => &mut ignored,
            };
            match object.value()? {
                Token::Array => seen.array(&mut object)?,
                plain => seen.plain(&plain),
            }
        }
        Ok(())
    }
}

/// What the first lines have shown of a column.
#[derive(Debug, Default)]
struct Seen {
    /// The type the table of standard logs gives.
    standard: Option<ColumnType>,
    /// How many values fitted that type, and how many did not.
    fitting: usize,
    unfitting: usize,
    nulls: usize,
    arrays: usize,
    values: Scalars,
    elements: Scalars,
}

impl Seen {
    fn plain(&mut self, token: &Token<'_>) {
        self.values.add(token);
        if *token == Token::Null {
            self.nulls += 1;
        } else if let Some(ty) = &self.standard {
            let fits = plain_value(token, ty).is_some();
            self.count(fits);
        }
    }

    fn array(&mut self, object: &mut Object<'_>) -> Result<(), JsonError> {
        self.arrays += 1;
        let element = self.standard.and_then(|ty| ty.element());
        let mut fits = element.is_some();
        while let Some(token) = object.element()? {
            self.elements.add(&token);
            fits &= token == Token::Null || element.is_some_and(|ty| convert(&token, ty).is_some());
        }
        self.count(fits);
        Ok(())
    }

    fn count(&mut self, fits: bool) {
        self.fitting += usize::from(fits);
        self.unfitting += usize::from(!fits);
    }

    /// The type of the column. One bad value among good ones must not change it.
    fn ty(&self) -> ColumnType {
        match self.standard {
            Some(ty) if self.fitting >= self.unfitting => return ty,
            _ => {}
        }
        let inferred = if self.arrays > self.values.most().1 {
            ColumnType::vector(self.elements.most().0)
        } else {
            ColumnType::plain(self.values.most().0)
        };
        // `Scalars` names no containers, so there always is one.
        inferred.unwrap_or(ColumnType::STRING)
    }
}

/// How often each kind of plain value was seen.
#[derive(Debug, Default)]
struct Scalars {
    bools: usize,
    strings: usize,
    numbers: usize,
    /// A number with a fraction or an exponent, or one no integer type holds.
    fraction: bool,
    negative: bool,
    /// A number only `count` holds.
    large: bool,
}

impl Scalars {
    fn add(&mut self, token: &Token<'_>) {
        match token {
            Token::Null | Token::Array => {}
            Token::Bool(_) => self.bools += 1,
            Token::String(_) => self.strings += 1,
            Token::Number(text) => {
                self.numbers += 1;
                match (parse_i64(text), parse_u64(text)) {
                    (Some(number), _) => self.negative |= number < 0,
                    (None, Some(_)) => self.large = true,
                    (None, None) => self.fraction = true,
                }
            }
        }
    }

    /// The type of the most frequent kind, and how often it was seen.
    fn most(&self) -> (LogType, usize) {
        let number = if self.fraction || (self.negative && self.large) {
            LogType::Double
        } else if self.negative {
            LogType::Int
        } else {
            LogType::Count
        };
        if self.numbers > self.strings.max(self.bools) {
            (number, self.numbers)
        } else if self.bools > self.strings {
            (LogType::Bool, self.bools)
        } else {
            (LogType::String, self.strings)
        }
    }
}

/// How many columns ahead a key is looked for before the whole table is asked.
const NEAR: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::json_write::{JsonOptions, JsonWriter};
    use crate::log::testing::record_with_schema;
    use proptest::prelude::*;

    fn learn(lines: &[&str], stem: &str) -> JsonFormat {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        JsonFormat::learn(&lines, stem, None).unwrap()
    }

    fn types(format: &JsonFormat) -> String {
        let columns = format
            .schema()
            .columns
            .iter()
            .map(|column| format!("{}:{}", column.name, column.ty));
        columns.collect::<Vec<_>>().join(" ")
    }

    fn rewritten(format: &JsonFormat, line: &str) -> String {
        let writer = JsonWriter::new(JsonOptions::default(), format.schema());
        let mut out = Vec::new();
        writer.record(&format.record(line.as_bytes()).unwrap(), &mut out);
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_standard_log_is_typed_by_the_table() {
        let line = r#"{"ts":1575413096.052279,"id.orig_h":"10.0.0.1","id.orig_p":80,"proto":"tcp","duration":1.0,"tunnel_parents":[]}"#;
        let expected = "ts:time id.orig_h:addr id.orig_p:port proto:enum duration:interval tunnel_parents:set[string]";
        for stem in ["conn", "conn-26-01-02_03"] {
            let format = learn(&[line], stem);
            assert_eq!(types(&format), expected);
            assert_eq!(format.schema().path, "conn");
        }
        // Six of conn.log's columns tell it by themselves, whatever the file is called.
        assert_eq!(learn(&[line], "export").schema().path, "conn");
        let tagged = r#"{"_path":"conn","ts":1.5,"service":"http"}"#;
        assert_eq!(learn(&[tagged], "export").schema().path, "conn");
    }

    #[test]
    fn other_logs_are_typed_by_their_values() {
        let format = learn(
            &[
                r#"{"ts":1,"a":1,"b":-1,"c":1,"d":true,"e":"x","f":[1],"g":[],"h":null,"i":18446744073709551615}"#,
                r#"{"ts":1.5,"a":2,"b":5,"c":1.5,"d":false,"e":"y","f":[2.5,null],"g":[],"i":-1}"#,
            ],
            "mine",
        );
        assert_eq!(format.schema().path, "mine");
        assert_eq!(
            types(&format),
            "ts:time a:count b:int c:double d:bool e:string f:vector[double] g:vector[string] h:string i:double"
        );
    }

    #[test]
    fn a_value_that_does_not_fit_does_not_change_its_column() {
        let good = r#"{"ts":1.5,"uid":"x"}"#;
        let format = learn(&[good, r#"{"ts":"garbage"}"#, good], "conn");
        assert_eq!(types(&format), "ts:time uid:string");
        let format = learn(&[r#"{"ts":"2019-12-03T22:44:56.052279Z"}"#], "conn");
        assert_eq!(types(&format), "ts:string");
    }

    #[test]
    fn keys_that_are_sometimes_left_out_keep_their_order() {
        let lines = [
            r#"{"a":1,"d":4}"#,
            r#"{"a":1,"b":2,"d":4}"#,
            r#"{"b":2,"c":3,"d":4}"#,
        ];
        let format = learn(&lines, "mine");
        assert_eq!(types(&format), "a:count b:count c:count d:count");
        for line in lines {
            assert_eq!(rewritten(&format, line), line);
        }
        assert_eq!(
            rewritten(&format, r#"{ "d":4, "a":1 }"#),
            r#"{"a":1,"d":4}"#
        );
    }

    #[test]
    fn numbers_and_strings_survive() {
        let line = r#"{"ts":1575414114.5012598,"duration":0.0012309551239013672,"history":"\\xff\tü\\","orig_bytes":18446744073709551615}"#;
        assert_eq!(rewritten(&learn(&[line], "conn"), line), line);
    }

    #[test]
    fn other_digits_of_a_number_are_the_same_number() {
        // As a Zeek of 2019 wrote it; today's writes the digits of the test above.
        let line = br#"{"ts":1575414114.5012599}"#;
        let record = learn(&[r#"{"ts":1.5}"#], "ntp").record(line).unwrap();
        assert_eq!(record, [LogValue::Time(1_575_414_114.501_259_8)]);
    }

    #[test]
    fn null_is_nan_unless_the_log_writes_unset_columns_so() {
        let lines = [r#"{"a":1.5,"b":"x"}"#, r#"{"a":null,"b":"y"}"#];
        let format = learn(&lines, "mine");
        assert!(!format.nulls_are_unset());
        assert_eq!(rewritten(&format, lines[1]), lines[1]);
        let format = learn(&[lines[0], r#"{"a":null,"b":null}"#], "mine");
        assert!(format.nulls_are_unset());
        assert_eq!(rewritten(&format, lines[1]), r#"{"b":"y"}"#);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong_with_it() {
        let format = learn(&[r#"{"a":1,"b":["x"],"c":2.5}"#], "mine");
        let value = |line: &str| match format.record(line.as_bytes()) {
            Err(LineReason::Value { column, ty, text }) => format!("{column} {ty} {text}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(value(r#"{"a":"x"}"#), "a count \"x\"");
        assert_eq!(value(r#"{"b":"x"}"#), "b vector[string] \"x\"");
        assert_eq!(value(r#"{"b":[1]}"#), "b vector[string] [1]");
        assert_eq!(value(r#"{"a":[1]}"#), "a count [1]");
        assert_eq!(value(r#"{"c":1e999}"#), "c double 1e999");
        assert_eq!(
            format.record(br#"{"z":1}"#),
            Err(LineReason::UnknownKey("z".to_owned()))
        );
        assert_eq!(
            format.record(br#"{"a":1,"a":2}"#),
            Err(LineReason::DuplicateKey("a".to_owned()))
        );
        assert!(matches!(
            format.record(b"{\"a\":1"),
            Err(LineReason::Json(_))
        ));
    }

    #[test]
    fn a_file_without_any_object_is_no_json_log() {
        assert!(JsonFormat::learn(&[b"{oops"], "x", None).is_err());
        assert!(JsonFormat::learn(&[b"{oops", b"{}"], "x", None).is_ok());
    }

    /// What JSON does not carry: infinities and NaN are null, so are unset columns.
    fn line_of(schema: &Schema, record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        JsonWriter::new(JsonOptions::default(), schema).record(record, &mut out);
        out.pop();
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back((schema, record) in record_with_schema()) {
            // Given the types, so that what is tested is the reading and not the guessing.
            let names = schema.columns.iter().map(|column| column.name.as_bytes().to_vec());
            let positions = names.zip(0..).collect();
            let format = JsonFormat { positions, schema: Arc::new(schema), nulls_are_unset: true };
            let line = line_of(format.schema(), &record);
            let read = format.record(&line).unwrap();
            // Escaped bytes come back as their spelling, everything else as it was; and from then on
            // nothing changes any more.
            prop_assert_eq!(line_of(format.schema(), &read).len() >= line.len(), true);
            for (value, read) in record.iter().zip(&read) {
                let text = |value: &LogValue| match value {
                    LogValue::Set(elements) | LogValue::Vector(elements) => elements.iter().any(|e| e.as_bytes().is_some()),
                    plain => plain.as_bytes().is_some(),
                };
                prop_assert!(text(value) || value == read);
            }
        }

        #[test]
        fn a_learned_log_is_rewritten_as_it_was((schema, record) in record_with_schema()) {
            let first = line_of(&schema, &record);
            let format = JsonFormat::learn(&[&first], "mine", None).unwrap();
            let second = line_of(format.schema(), &format.record(&first).unwrap());
            prop_assert_eq!(String::from_utf8(second).unwrap(), String::from_utf8(first).unwrap());
        }

        #[test]
        fn any_line_is_a_record_or_a_reason(
            line in prop::collection::vec(any::<u8>(), 0..60),
            text in "\\{(\"(a|b|ts)\":[0-9\\[\\],tnul\"e.-]{0,8},?){0,4}\\}?",
        ) {
            let lines = [&line[..], text.as_bytes(), br#"{"a":1,"b":[true],"ts":5}"#];
            let format = JsonFormat::learn(&lines, "x", None).unwrap();
            for line in lines {
                let _ = format.record(line);
            }
        }
    }
}
