//! From JSON to values.
//!
//! One pass in the usual order of members, `@data-type` before `data`; in the other order the content is passed over
//! first and read when the type is known.

use std::borrow::Cow;

use super::MAX_LEVELS;
use super::error::JsonError;
use super::number::{parse_i64, parse_real, parse_u64, special_real};
use super::parser::Parser;
use super::string::parse_hex;
use super::time::{parse_timespan, parse_timestamp};
use crate::address::{Address, Subnet};
use crate::binary::MAX_DEPTH;
use crate::byte_string::ByteString;
use crate::data::{Data, DataKind, EnumValue};
use crate::port::{Port, Protocol};
use crate::set::Set;
use crate::table::Table;
use crate::visit::Visitor;

/// The value that a text is.
///
/// # Errors
/// What is wrong with the text. One that is no JSON is always called so, whatever else is wrong with it.
pub fn parse_value(text: &[u8]) -> Result<Data, JsonError> {
    read(text, MAX_LEVELS, None)
}

/// The value that a text is, nested as deep as values in the binary format may be: what is written with
/// [`Style::Exact`](super::Style::Exact) and read back by ourselves.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_deep_value(text: &[u8]) -> Result<Data, JsonError> {
    let data = read(text, MAX_DEEP_LEVELS, None)?;
    let mut depth = Depth::default();
    data.visit(&mut depth);
    if depth.deepest > MAX_DEPTH {
        return Err(JsonError::TooDeep {
            limit: MAX_DEEP_LEVELS,
        });
    }
    Ok(data)
}

/// JSON levels of the deepest value: a table takes three, the innermost value two if it is none.
const MAX_DEEP_LEVELS: u16 = 3 * MAX_DEPTH + 2;

/// How deep containers are nested in each other.
#[derive(Default)]
struct Depth {
    open: u16,
    deepest: u16,
}

impl Depth {
    fn open(&mut self) {
        self.open += 1;
        self.deepest = self.deepest.max(self.open);
    }
}

impl Visitor for Depth {
    fn set(&mut self, _: usize) {
        self.open();
    }

    fn table(&mut self, _: usize) {
        self.open();
    }

    fn vector(&mut self, _: usize) {
        self.open();
    }

    fn end(&mut self) {
        self.open -= 1;
    }
}

/// A message, with what its envelope says.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The member `type`, if it is there and a string.
    pub message_type: Option<ByteString>,
    /// The member `topic`, if it is there and a string. It may be empty.
    pub topic: Option<ByteString>,
    /// The value.
    pub data: Data,
}

/// The message that a text is, whatever its type and topic, as Zeek reads it.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_envelope(text: &[u8]) -> Result<Envelope, JsonError> {
    let mut head = Head::default();
    let data = read(text, MAX_LEVELS, Some(&mut head))?;
    Ok(Envelope {
        message_type: head.message_type,
        topic: head.topic_bytes.or(head.topic),
        data,
    })
}

/// The data message that a text is: `type` must be `data-message` and `topic` a string that is not empty.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_message(text: &[u8]) -> Result<(ByteString, Data), JsonError> {
    let envelope = parse_envelope(text)?;
    if envelope
        .message_type
        .is_none_or(|kind| kind != "data-message")
    {
        return Err(JsonError::NotADataMessage);
    }
    let topic = envelope
        .topic
        .filter(|topic| !topic.is_empty())
        .ok_or(JsonError::NoTopic)?;
    Ok((topic, envelope.data))
}

/// What an envelope says besides the value; of each member the first one counts.
#[derive(Default)]
struct Head {
    message_type: Option<ByteString>,
    topic: Option<ByteString>,
    topic_bytes: Option<ByteString>,
}

fn read(text: &[u8], levels: u16, head: Option<&mut Head>) -> Result<Data, JsonError> {
    let mut parser = Parser::new(text);
    let value = object(&mut parser, levels, head).and_then(|value| parser.finish().map(|()| value));
    value.map_err(|error| {
        // Reading stops at the first thing that is wrong; what comes behind may not even be JSON.
        let mut parser = Parser::new(text);
        match parser.skip(levels).and_then(|()| parser.finish()) {
            Ok(()) => error,
            Err(JsonError::TooDeep { .. }) => JsonError::TooDeep { limit: levels },
            Err(malformed) => malformed,
        }
    })
}

/// What an object has said about its value so far.
struct Members<'a, 'h> {
    /// Where the object begins.
    offset: usize,
    /// Where the members of an envelope go, if it is one.
    head: Option<&'h mut Head>,
    kind: Option<DataKind>,
    /// Whether there was an `@data-type` at all; a second one does not count.
    has_type: bool,
    content: Content<'a>,
    bytes: Option<Vec<u8>>,
}

enum Content<'a> {
    Missing,
    /// Passed over, since the type was not known yet.
    At(Parser<'a>, u16),
    Read(Data),
}

fn value(parser: &mut Parser<'_>, levels: u16) -> Result<Data, JsonError> {
    object(parser, levels, None)
}

fn object<'a>(
    parser: &mut Parser<'a>,
    levels: u16,
    head: Option<&mut Head>,
) -> Result<Data, JsonError> {
    let start = parser.peek();
    let offset = parser.offset();
    if start != Some(b'{') {
        return Err(JsonError::NotAValue { offset });
    }
    let Some(kind) = usual_start(parser) else {
        let mut members = Members::new(offset, head);
        parser.members(levels, |parser, levels, name| {
            members.read(parser, levels, &name)
        })?;
        return members.finish();
    };
    let levels = Parser::descend(levels)?;
    let data = content(parser, levels, kind)?;
    if parser.take(b'}') {
        return Ok(data);
    }
    let mut members = Members::new(offset, head);
    members.has_type = true;
    members.kind = Some(kind);
    members.content = Content::Read(data);
    parser.more_members(levels, |parser, levels, name| {
        members.read(parser, levels, &name)
    })?;
    members.finish()
}

/// The kind, if an object begins as every writer but a human begins it: with its type and its content, without white
/// space. The parser is then at the content, else where it was.
#[inline]
fn usual_start(parser: &mut Parser<'_>) -> Option<DataKind> {
    let mut ahead = *parser;
    if !ahead.literal(br#"{"@data-type":""#) {
        return None;
    }
    let kind = DataKind::from_name(ahead.up_to_quote(LONGEST_NAME + 1)?)?;
    if !ahead.literal(br#"","data":"#) {
        return None;
    }
    *parser = ahead;
    Some(kind)
}

/// The longest name of a type, `enum-value`.
const LONGEST_NAME: usize = 10;

impl<'a, 'h> Members<'a, 'h> {
    const fn new(offset: usize, head: Option<&'h mut Head>) -> Self {
        Self {
            offset,
            head,
            kind: None,
            has_type: false,
            content: Content::Missing,
            bytes: None,
        }
    }

    /// Reads the value of the member called `name`; of each name the first one counts.
    fn read(&mut self, parser: &mut Parser<'a>, levels: u16, name: &[u8]) -> Result<(), JsonError> {
        match name {
            b"@data-type" if !self.has_type => {
                self.has_type = true;
                let kind = string(parser, levels)?.and_then(|name| DataKind::from_name(&name));
                self.kind = Some(kind.ok_or(JsonError::NotAValue {
                    offset: self.offset,
                })?);
            }
            b"data" if matches!(self.content, Content::Missing) => match self.kind {
                Some(kind) => self.content = Content::Read(content(parser, levels, kind)?),
                None => {
                    self.content = Content::At(*parser, levels);
                    parser.skip(levels)?;
                }
            },
            b"@bytes" if self.bytes.is_none() => {
                self.bytes = string(parser, levels)?.and_then(|digits| parse_hex(&digits));
            }
            name => match self.head.as_deref_mut().and_then(|head| head.member(name)) {
                Some(member) => {
                    let mut value = string(parser, levels)?;
                    if name == b"@topic-bytes" {
                        value = value.and_then(|digits| parse_hex(&digits)).map(Cow::Owned);
                    }
                    *member = value.map(to_byte_string);
                }
                None => parser.skip(levels)?,
            },
        }
        Ok(())
    }

    fn finish(self) -> Result<Data, JsonError> {
        let offset = self.offset;
        let kind = self.kind.ok_or(JsonError::NotAValue { offset })?;
        let data = match self.content {
            Content::Read(data) => data,
            Content::At(mut parser, levels) => content(&mut parser, levels, kind)?,
            Content::Missing if kind == DataKind::None => Data::None,
            Content::Missing => return Err(JsonError::Content { kind, offset }),
        };
        Ok(match (data, self.bytes) {
            (Data::String(_), Some(bytes)) => Data::String(bytes.into()),
            (Data::Enum(_), Some(bytes)) => Data::Enum(EnumValue(bytes.into())),
            (Data::Subnet(subnet), Some(bytes)) => {
                Data::Subnet(raw_subnet(&bytes).unwrap_or(subnet))
            }
            (data, _) => data,
        })
    }
}

impl Head {
    /// Where the member of this name goes, if it is one of ours and the first of its name.
    fn member(&mut self, name: &[u8]) -> Option<&mut Option<ByteString>> {
        let member = match name {
            b"type" => &mut self.message_type,
            b"topic" => &mut self.topic,
            b"@topic-bytes" => &mut self.topic_bytes,
            _ => return None,
        };
        if member.is_none() { Some(member) } else { None }
    }
}

/// The string the parser is at; `None` for another value, which is passed over.
fn string<'a>(parser: &mut Parser<'a>, levels: u16) -> Result<Option<Cow<'a, [u8]>>, JsonError> {
    if parser.peek() == Some(b'"') {
        parser.string().map(Some)
    } else {
        parser.skip(levels)?;
        Ok(None)
    }
}

/// Reads the content of a value of this kind.
fn content(parser: &mut Parser<'_>, levels: u16, kind: DataKind) -> Result<Data, JsonError> {
    let start = parser.peek();
    let offset = parser.offset();
    let data = match (kind, start) {
        (DataKind::None, _) => {
            parser.skip(levels)?;
            Some(Data::None)
        }
        (DataKind::Set, Some(b'[')) => {
            let elements = elements(parser, levels)?;
            Some(Data::Set(
                Set::from_unique(elements).ok_or(JsonError::DuplicateElement { offset })?,
            ))
        }
        (DataKind::Vector, Some(b'[')) => Some(Data::Vector(elements(parser, levels)?)),
        (DataKind::Table, Some(b'[')) => {
            let mut entries = Vec::new();
            parser.elements(levels, |parser, levels| {
                entries.push(entry(parser, levels)?);
                Ok(())
            })?;
            Some(Data::Table(
                Table::from_unique(entries).ok_or(JsonError::DuplicateKey { offset })?,
            ))
        }
        (DataKind::Set | DataKind::Vector | DataKind::Table, _) | (_, Some(b'[' | b'{')) => None,
        (_, Some(b'"')) => text_content(kind, parser.string()?),
        _ => token_content(kind, parser.token()?),
    };
    data.ok_or(JsonError::Content { kind, offset })
}

fn elements(parser: &mut Parser<'_>, levels: u16) -> Result<Vec<Data>, JsonError> {
    let mut elements = Vec::new();
    parser.elements(levels, |parser, levels| {
        elements.push(value(parser, levels)?);
        Ok(())
    })?;
    Ok(elements)
}

/// An entry of a table: an object with `key` and `value`.
fn entry(parser: &mut Parser<'_>, levels: u16) -> Result<(Data, Data), JsonError> {
    let start = parser.peek();
    let bad = JsonError::Content {
        kind: DataKind::Table,
        offset: parser.offset(),
    };
    if start != Some(b'{') {
        return Err(bad);
    }
    let (mut entry_key, mut entry_value) = (None, None);
    parser.members(levels, |parser, levels, name| {
        match &*name {
            b"key" if entry_key.is_none() => entry_key = Some(value(parser, levels)?),
            b"value" if entry_value.is_none() => entry_value = Some(value(parser, levels)?),
            _ => parser.skip(levels)?,
        }
        Ok(())
    })?;
    entry_key.zip(entry_value).ok_or(bad)
}

/// The value of a kind whose content is a string.
fn text_content(kind: DataKind, text: Cow<'_, [u8]>) -> Option<Data> {
    Some(match kind {
        DataKind::String => Data::String(to_byte_string(text)),
        DataKind::Enum => Data::Enum(EnumValue(to_byte_string(text))),
        DataKind::Address => Data::Address(parse_address(&text)?),
        DataKind::Subnet => Data::Subnet(parse_subnet(&text)?),
        DataKind::Port => Data::Port(parse_port(&text)?),
        DataKind::Timestamp => Data::Timestamp(parse_timestamp(&text)?),
        DataKind::Timespan => Data::Timespan(parse_timespan(&text)?),
        DataKind::Real => Data::Real(special_real(&text)?),
        _ => return None,
    })
}

/// The value of a kind whose content is a number or a word.
fn token_content(kind: DataKind, token: &[u8]) -> Option<Data> {
    Some(match kind {
        DataKind::Boolean => Data::Boolean(match token {
            b"true" => true,
            b"false" => false,
            _ => return None,
        }),
        DataKind::Count => Data::Count(parse_u64(token)?),
        DataKind::Integer => Data::Integer(parse_i64(token)?),
        DataKind::Real => Data::Real(special_real(token).or_else(|| parse_real(token))?),
        _ => return None,
    })
}

fn to_byte_string(text: Cow<'_, [u8]>) -> ByteString {
    match text {
        Cow::Borrowed(bytes) => bytes.into(),
        Cow::Owned(bytes) => bytes.into(),
    }
}

fn parse_address(text: &[u8]) -> Option<Address> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A subnet as C++ reads it: a length that is too long for the address, but fits a byte, gives `::/0` without a word.
fn parse_subnet(text: &[u8]) -> Option<Subnet> {
    let slash = text.iter().rposition(|byte| *byte == b'/')?;
    let (address, length) = text.split_at(slash);
    let address = parse_address(address)?;
    let length = u8::try_from(parse_u64(length.get(1..)?)?).ok()?;
    Some(Subnet::new(address, length).unwrap_or_default())
}

/// The 17 bytes of a subnet whose text says less.
fn raw_subnet(bytes: &[u8]) -> Option<Subnet> {
    let (address, [length]) = bytes.split_first_chunk::<16>()? else {
        return None;
    };
    Some(Subnet::from_raw(Address::from_octets(*address), *length))
}

/// A port as C++ reads it: without a slash it is TCP, numbers wrap, and any other word is an unknown protocol.
fn parse_port(text: &[u8]) -> Option<Port> {
    let (number, protocol) = match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&text[..slash], &text[slash + 1..]),
        None => (text, &b"tcp"[..]),
    };
    let number = parse_u64(number)? as u16;
    let protocol = match protocol {
        b"tcp" => Protocol::Tcp,
        b"udp" => Protocol::Udp,
        b"icmp" => Protocol::Icmp,
        _ => Protocol::Unknown,
    };
    Some(Port::new(number, protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::ErrorCode;
    use crate::time::{Timespan, Timestamp};

    fn read_as(kind: &str, content: &str) -> Result<Data, JsonError> {
        parse_value(format!(r#"{{"@data-type":"{kind}","data":{content}}}"#).as_bytes())
    }

    fn code(text: &str) -> Option<ErrorCode> {
        parse_value(text.as_bytes()).err().map(|error| error.code())
    }

    #[test]
    fn accepted_forms_read_as_the_reference_says() {
        let subnet = |text: &str| Data::from(text.parse::<Subnet>().unwrap());
        let address = |text: &str| Data::from(text.parse::<Address>().unwrap());
        for (kind, content, expected) in [
            ("none", "{}", Data::None),
            ("none", "null", Data::None),
            ("none", "[1, {\"x\": 5}]", Data::None),
            ("boolean", "false", false.into()),
            ("count", "18446744073709551615", u64::MAX.into()),
            ("integer", "-9223372036854775808", i64::MIN.into()),
            ("integer", "9223372036854775807", i64::MAX.into()),
            ("integer", "-0", 0i64.into()),
            ("real", "-7.500000", (-7.5).into()),
            ("real", "5.0", 5.0.into()),
            ("real", "1e3", 1000.0.into()),
            ("real", "nan", f64::NAN.into()),
            ("real", "inf", f64::INFINITY.into()),
            ("real", "\"-inf\"", f64::NEG_INFINITY.into()),
            ("real", "1.7976931348623157e308", f64::MAX.into()),
            ("string", r#""\u00e9""#, "é".into()),
            ("address", "\"192.0.2.7\"", address("192.0.2.7")),
            ("address", "\"2001:DB8::1\"", address("2001:db8::1")),
            ("address", "\"::ffff:1.2.3.4\"", address("1.2.3.4")),
            ("subnet", "\"10.1.2.3/24\"", subnet("10.1.2.0/24")),
            ("subnet", "\"2001:db8::1/32\"", subnet("2001:db8::/32")),
            ("subnet", "\"10.0.0.0/33\"", subnet("::/0")),
            ("subnet", "\"::1/255\"", subnet("::/0")),
            ("port", "\"8080/tcp\"", Port::tcp(8080).into()),
            ("port", "\"80\"", Port::tcp(80).into()),
            ("port", "\"0/?\"", Port::new(0, Protocol::Unknown).into()),
            (
                "port",
                "\"0/unknown\"",
                Port::new(0, Protocol::Unknown).into(),
            ),
            ("port", "\"9/TCP\"", Port::new(9, Protocol::Unknown).into()),
            ("port", "\"65537/udp\"", Port::udp(1).into()),
            (
                "timestamp",
                "\"2022-04-10T07:00:00.000\"",
                Timestamp::from_nanos(1_649_574_000_000_000_000).into(),
            ),
            (
                "timespan",
                "\"1500ms\"",
                Timespan::from_nanos(1_500_000_000).into(),
            ),
            ("enum-value", "\"Foo::BAR\"", Data::enum_value("Foo::BAR")),
            ("vector", "[]", Data::Vector(vec![])),
            (
                "set",
                r#"[{"@data-type":"count","data":2},{"@data-type":"count","data":1}]"#,
                Set::from_iter([1u64, 2]).into(),
            ),
            (
                "table",
                r#"[{"value":{"@data-type":"none"},"key":{"@data-type":"count","data":1}}]"#,
                Table::from_iter([(1u64, Data::None)]).into(),
            ),
        ] {
            assert_eq!(read_as(kind, content), Ok(expected), "{kind} {content}");
        }
    }

    #[test]
    fn content_that_does_not_fit_its_type_is_a_bad_value() {
        for (kind, content) in [
            ("boolean", "1"),
            ("boolean", "\"true\""),
            ("boolean", "null"),
            ("count", "1.0"),
            ("count", "1e3"),
            ("count", "-1"),
            ("count", "18446744073709551616"),
            ("count", "\"1\""),
            ("integer", "1.0"),
            ("integer", "9223372036854775808"),
            ("integer", "{}"),
            ("real", "5"),
            ("real", "\"5\""),
            ("real", "true"),
            ("string", "5"),
            ("string", "[]"),
            ("address", "\"[::1]\""),
            ("address", "\"1.2.3\""),
            ("address", "\"\""),
            ("address", "\"\\u00e9\""),
            ("subnet", "\"10.0.0.0\""),
            ("subnet", "\"10.0.0.0/256\""),
            ("subnet", "\"10.0.0.0/x\""),
            ("port", "\"x/tcp\""),
            ("port", "\"-1/tcp\""),
            ("port", "80"),
            ("timestamp", "\"2022-04-10 07:00:00\""),
            ("timestamp", "5"),
            ("timespan", "\"5d\""),
            ("timespan", "5"),
            ("enum-value", "null"),
            ("vector", "{}"),
            ("vector", "[5]"),
            ("vector", "\"x\""),
            ("set", "null"),
            ("table", "[[]]"),
            ("table", r#"[{"key":{"@data-type":"count","data":1}}]"#),
            ("table", "{}"),
            ("nothing", "5"),
        ] {
            assert_eq!(
                read_as(kind, content).map_err(|error| error.code()),
                Err(ErrorCode::TypeClash),
                "{kind} {content}"
            );
        }
    }

    #[test]
    fn duplicates_are_a_wrong_structure() {
        let one = r#"{"@data-type":"count","data":1}"#;
        let error = read_as("set", &format!("[{one},{one}]")).unwrap_err();
        assert_eq!(
            (error.code(), error),
            (
                ErrorCode::DeserializationFailed,
                JsonError::DuplicateElement { offset: 27 }
            )
        );
        let entry = format!(r#"{{"key":{one},"value":{one}}}"#);
        let error = read_as("table", &format!("[{entry},{entry}]")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DeserializationFailed);
    }

    #[test]
    fn what_is_no_value_object_is_a_bad_value() {
        for text in [
            "5",
            "[]",
            "{}",
            "null",
            r#"{"data":5}"#,
            r#"{"@data-type":"count"}"#,
            r#"{"@data-type":5,"data":5}"#,
            r#"{"@data-type":"Count","data":5}"#,
        ] {
            assert_eq!(code(text), Some(ErrorCode::TypeClash), "{text}");
        }
    }

    #[test]
    fn malformed_text_is_called_so_whatever_else_is_wrong() {
        for text in [
            "",
            "{",
            r#"{"@data-type":"count","data":1.0"#,
            r#"{"@data-type":"bogus","data":1} x"#,
            r#"{"@data-type":"count","data":01}"#,
            r#"{"@data-type":"count","data":0x10}"#,
            r#"{"@data-type":"string","data":"\x41"}"#,
            r#"{"@data-type":"string","data":"\ud800"}"#,
            r#"{"@data-type":"real","data":NaN}"#,
            r#"{"@data-type":"count","data":1,}"#,
        ] {
            assert_eq!(code(text), Some(ErrorCode::InvalidJson), "{text}");
        }
    }

    #[test]
    fn member_order_is_free_and_the_first_of_a_name_counts() {
        for text in [
            r#"{"data":1,"@data-type":"count"}"#,
            r#"{"@data-type":"count","data":1,"data":2,"@data-type":"string"}"#,
            r#" { "extra" : [ { } ] , "data" : 1 , "more" : "x" , "@data-type" : "count" } "#,
        ] {
            assert_eq!(parse_value(text.as_bytes()), Ok(1u64.into()), "{text}");
        }
        let nested = r#"{"data":[{"data":[{"data":1,"@data-type":"count"}],"@data-type":"vector"}],"@data-type":"vector"}"#;
        assert_eq!(
            parse_value(nested.as_bytes()),
            Ok(Data::vector([Data::vector([1u64])]))
        );
    }

    #[test]
    fn sixty_three_nested_vectors_are_read_and_sixty_four_are_not() {
        let nested = |count: usize| {
            format!(
                "{}{}",
                r#"{"@data-type":"vector","data":["#.repeat(count),
                "]}".repeat(count)
            )
        };
        assert!(parse_value(nested(63).as_bytes()).is_ok());
        let error = parse_value(nested(64).as_bytes()).unwrap_err();
        assert_eq!(
            (error.code(), error),
            (ErrorCode::InvalidJson, JsonError::TooDeep { limit: 127 })
        );
    }

    #[test]
    fn a_deep_value_that_the_binary_format_takes_reads_back_and_a_deeper_one_does_not() {
        let innermost = || Data::vector([Data::None]);
        let nestings: [fn(Data) -> Data; 3] = [
            |inner| Data::vector([inner]),
            |inner| Data::Set([inner].into_iter().collect()),
            |inner| Data::Table([(Data::from("k"), inner)].into_iter().collect()),
        ];
        for nest in nestings {
            let mut data = innermost();
            for _ in 1..MAX_DEPTH {
                data = nest(data);
            }
            assert!(Data::decode(&data.to_bytes()).is_ok());
            let read = |data: &Data| parse_deep_value(crate::json::to_string(data).as_bytes());
            assert!(read(&data).is_ok_and(|again| again == data));
            let deeper = nest(data);
            assert!(Data::decode(&deeper.to_bytes()).is_err());
            assert_eq!(read(&deeper), Err(JsonError::TooDeep { limit: 770 }));
        }
        let endless = br#"{"@data-type":"vector","data":["#.repeat(100_000);
        assert_eq!(
            parse_deep_value(&endless),
            Err(JsonError::TooDeep { limit: 770 })
        );
    }

    #[test]
    fn a_data_message_has_its_type_and_a_topic() {
        let message = r#"{"type":"data-message","topic":"/foo/bar","@data-type":"count","data":1}"#;
        assert_eq!(
            parse_message(message.as_bytes()),
            Ok(("/foo/bar".into(), 1u64.into()))
        );
        for (text, error) in [
            (
                r#"{"topic":"/foo","@data-type":"count","data":1}"#,
                JsonError::NotADataMessage,
            ),
            (
                r#"{"type":"ack","topic":"/foo","@data-type":"count","data":1}"#,
                JsonError::NotADataMessage,
            ),
            (
                r#"{"type":"data-message","@data-type":"count","data":1}"#,
                JsonError::NoTopic,
            ),
            (
                r#"{"type":"data-message","topic":"","@data-type":"count","data":1}"#,
                JsonError::NoTopic,
            ),
            (
                r#"{"type":"data-message","topic":5,"@data-type":"count","data":1}"#,
                JsonError::NoTopic,
            ),
        ] {
            assert_eq!(parse_message(text.as_bytes()), Err(error.clone()), "{text}");
            assert_eq!(error.code(), ErrorCode::DeserializationFailed);
            assert_eq!(
                parse_envelope(text.as_bytes()).map(|envelope| envelope.data),
                Ok(1u64.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn members_with_bytes_replace_what_text_could_not_carry() {
        let text = r#"{"type":"data-message","topic":"?","@topic-bytes":"74fe","@data-type":"string","data":"?","@bytes":"61ff"}"#;
        assert_eq!(
            parse_message(text.as_bytes()),
            Ok(((&b"t\xfe"[..]).into(), (&b"a\xff"[..]).into()))
        );
        let subnet = r#"{"@data-type":"subnet","data":"10.1.2.3/24","@bytes":"00000000000000000000ffff0a01020378"}"#;
        assert_eq!(
            parse_value(subnet.as_bytes()),
            Ok(Subnet::from_raw("10.1.2.3".parse().unwrap(), 120).into())
        );
        // Of no use here, so of no effect.
        assert_eq!(
            parse_value(br#"{"@data-type":"count","data":1,"@bytes":"61"}"#),
            Ok(1u64.into())
        );
        assert_eq!(
            parse_value(br#"{"@data-type":"string","data":"x","@bytes":"6"}"#),
            Ok("x".into())
        );
    }
}
