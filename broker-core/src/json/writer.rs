//! From values to JSON.
//!
//! The writer is a [`Visitor`], so it writes owned values and values in a buffer alike, in one pass and without
//! building anything in between.

use std::io::Write;

use super::Style;
use super::number::{write_i64, write_real, write_u64};
use super::string::{write_content, write_hex, write_string};
use super::time::{write_timespan, write_timestamp};
use crate::address::{Address, Subnet};
use crate::data::Data;
use crate::port::Port;
use crate::time::{Timespan, Timestamp};
use crate::view::DataView;
use crate::visit::Visitor;

/// Appends `data` as one JSON object.
pub fn write_value(data: &Data, style: Style, out: &mut Vec<u8>) {
    data.visit(&mut Writer::new(style, out));
}

/// Appends the value in a buffer as one JSON object; sets and tables in the order of the buffer.
pub fn write_view(view: &DataView<'_>, style: Style, out: &mut Vec<u8>) {
    view.visit(&mut Writer::new(style, out));
}

/// Appends `data` on `topic` as a data message, the members of the value inlined.
pub fn write_message(topic: &[u8], data: &Data, style: Style, out: &mut Vec<u8>) {
    let value = write_message_head(topic, style, out);
    write_value(data, style, out);
    out[value] = b',';
}

/// Appends the value in a buffer on `topic` as a data message; sets and tables in the order of the buffer.
pub fn write_view_message(topic: &[u8], view: &DataView<'_>, style: Style, out: &mut Vec<u8>) {
    let value = write_message_head(topic, style, out);
    write_view(view, style, out);
    out[value] = b',';
}

/// `data` as one JSON object in [`Style::Exact`], which is always text.
#[must_use]
pub fn to_string(data: &Data) -> String {
    let mut out = Vec::new();
    write_value(data, Style::Exact, &mut out);
    String::from_utf8(out).expect("the exact writing is valid UTF-8")
}

/// The first members of a data message. The value comes next, at the position returned; its opening brace there is then
/// replaced by a comma, which inlines its members.
fn write_message_head(topic: &[u8], style: Style, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(b"{\"type\":\"data-message\",\"topic\":");
    if !write_string(topic, style, out) {
        out.extend_from_slice(b",\"@topic-bytes\":\"");
        write_hex(topic, out);
        out.push(b'"');
    }
    out.len()
}

/// Where the writer is.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Place {
    /// In no container.
    Outside,
    /// Before the first element of a set or vector.
    First,
    /// Before another element.
    Next,
    /// Before the first key of a table.
    FirstKey,
    /// Before another key.
    NextKey,
    /// Before the value of a key.
    Value,
}

struct Writer<'a> {
    style: Style,
    out: &'a mut Vec<u8>,
    place: Place,
    /// The places that the containers around this one were written at.
    outer: Stack,
}

impl<'a> Writer<'a> {
    const fn new(style: Style, out: &'a mut Vec<u8>) -> Self {
        Self {
            style,
            out,
            place: Place::Outside,
            outer: Stack::new(),
        }
    }

    /// What comes before a value.
    #[inline]
    fn begin(&mut self) {
        // An arm for each, so that each copies a known number of bytes.
        match self.place {
            Place::Outside | Place::First => {}
            Place::Next => self.out.push(b','),
            Place::FirstKey => self.out.extend_from_slice(b"{\"key\":"),
            Place::NextKey => self.out.extend_from_slice(b",{\"key\":"),
            Place::Value => self.out.extend_from_slice(b",\"value\":"),
        }
        self.place = self.place.behind();
    }

    /// What comes after a value that was written at `place`.
    #[inline]
    fn finish(&mut self, place: Place) {
        if let Place::Value = place {
            self.out.push(b'}');
        }
    }

    /// Writes a value that is no container: `head` up to its content, the content, and `tail`.
    #[inline(always)]
    fn scalar(&mut self, head: &[u8], tail: &[u8], content: impl FnOnce(&mut Vec<u8>)) {
        let was = self.place;
        self.begin();
        self.out.extend_from_slice(head);
        content(self.out);
        self.out.extend_from_slice(tail);
        self.finish(was);
    }

    /// Writes a string or enum value; `head` ends with the quote.
    #[inline(always)]
    fn bytes(&mut self, head: &[u8], bytes: &[u8]) {
        let style = self.style;
        self.scalar(head, b"}", |out| {
            let complete = write_content(bytes, style, out);
            out.push(b'"');
            if !complete {
                write_exact_bytes(bytes, out);
            }
        });
    }

    #[inline(always)]
    fn open(&mut self, head: &[u8], inside: Place) {
        self.outer.push(self.place);
        self.begin();
        self.out.extend_from_slice(head);
        self.place = inside;
    }
}

/// Places, four bits each, so that nothing is allocated for values nested less than [`Stack::NEAR`] deep.
struct Stack {
    near: u64,
    len: usize,
    far: Vec<u64>,
}

impl Stack {
    const NEAR: usize = 16;

    const fn new() -> Self {
        Self {
            near: 0,
            len: 0,
            far: Vec::new(),
        }
    }

    #[inline]
    fn push(&mut self, place: Place) {
        if self.len > 0 && self.len.is_multiple_of(Self::NEAR) {
            self.far.push(self.near);
        }
        self.near = self.near << 4 | place as u64;
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) -> Place {
        let place = match self.near & 15 {
            0 => Place::Outside,
            1 => Place::First,
            2 => Place::Next,
            3 => Place::FirstKey,
            4 => Place::NextKey,
            _ => Place::Value,
        };
        self.near >>= 4;
        self.len = self.len.saturating_sub(1);
        if self.len > 0 && self.len.is_multiple_of(Self::NEAR) {
            self.near = self.far.pop().unwrap_or(0);
        }
        place
    }
}

impl Visitor for Writer<'_> {
    #[inline]
    fn none(&mut self) {
        self.scalar(br#"{"@data-type":"none","data":{}"#, b"}", |_| {});
    }

    #[inline]
    fn boolean(&mut self, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.scalar(br#"{"@data-type":"boolean","data":"#, b"}", |out| {
            out.extend_from_slice(text)
        });
    }

    #[inline]
    fn count(&mut self, value: u64) {
        self.scalar(br#"{"@data-type":"count","data":"#, b"}", |out| {
            write_u64(value, out)
        });
    }

    #[inline]
    fn integer(&mut self, value: i64) {
        self.scalar(br#"{"@data-type":"integer","data":"#, b"}", |out| {
            write_i64(value, out)
        });
    }

    #[inline]
    fn real(&mut self, value: f64) {
        let style = self.style;
        self.scalar(br#"{"@data-type":"real","data":"#, b"}", |out| {
            write_real(value, style, out)
        });
    }

    #[inline]
    fn string(&mut self, value: &[u8]) {
        self.bytes(br#"{"@data-type":"string","data":""#, value);
    }

    #[inline]
    fn address(&mut self, value: Address) {
        self.scalar(br#"{"@data-type":"address","data":""#, b"\"}", |out| {
            write_address(value, out)
        });
    }

    fn subnet(&mut self, value: Subnet) {
        let exact = self.style == Style::Exact;
        self.scalar(br#"{"@data-type":"subnet","data":""#, b"}", |out| {
            write_address(value.address, out);
            out.push(b'/');
            write_u64(u64::from(value.prefix()), out);
            out.push(b'"');
            if exact && !value.is_canonical() {
                let mut raw = [value.length; 17];
                raw[..16].copy_from_slice(value.address.octets());
                write_exact_bytes(&raw, out);
            }
        });
    }

    #[inline]
    fn port(&mut self, value: Port) {
        self.scalar(br#"{"@data-type":"port","data":""#, b"\"}", |out| {
            write_u64(u64::from(value.number), out);
            out.push(b'/');
            out.extend_from_slice(value.protocol.name().as_bytes());
        });
    }

    #[inline]
    fn timestamp(&mut self, value: Timestamp) {
        let style = self.style;
        self.scalar(br#"{"@data-type":"timestamp","data":""#, b"\"}", |out| {
            write_timestamp(value, style, out)
        });
    }

    #[inline]
    fn timespan(&mut self, value: Timespan) {
        self.scalar(br#"{"@data-type":"timespan","data":""#, b"\"}", |out| {
            write_timespan(value, out)
        });
    }

    #[inline]
    fn enum_value(&mut self, name: &[u8]) {
        self.bytes(br#"{"@data-type":"enum-value","data":""#, name);
    }

    #[inline]
    fn set(&mut self, _len: usize) {
        self.open(br#"{"@data-type":"set","data":["#, Place::First);
    }

    #[inline]
    fn table(&mut self, _len: usize) {
        self.open(br#"{"@data-type":"table","data":["#, Place::FirstKey);
    }

    #[inline]
    fn vector(&mut self, _len: usize) {
        self.open(br#"{"@data-type":"vector","data":["#, Place::First);
    }

    #[inline]
    fn end(&mut self) {
        self.out.extend_from_slice(b"]}");
        let place = self.outer.pop();
        self.place = place.behind();
        self.finish(place);
    }
}

impl Place {
    /// The place behind a value that was written here.
    #[inline]
    const fn behind(self) -> Self {
        match self {
            Self::Outside => Self::Outside,
            Self::First | Self::Next => Self::Next,
            Self::FirstKey | Self::NextKey => Self::Value,
            Self::Value => Self::NextKey,
        }
    }
}

/// The member that carries bytes which text cannot.
fn write_exact_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"@bytes\":\"");
    write_hex(bytes, out);
    out.push(b'"');
}

fn write_address(address: Address, out: &mut Vec<u8>) {
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4 @ ..] = address.octets() {
        for (index, octet) in v4.iter().enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            write_u64(u64::from(*octet), out);
        }
    } else {
        write!(out, "{address}").expect("writing to a Vec cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, Set, Table};

    fn broker(data: impl Into<Data>) -> String {
        let mut out = Vec::new();
        write_value(&data.into(), Style::Broker, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn exact(data: impl Into<Data>) -> String {
        to_string(&data.into())
    }

    #[test]
    fn scalars_are_written_as_the_reference_lists_them() {
        assert_eq!(broker(Data::None), r#"{"@data-type":"none","data":{}}"#);
        assert_eq!(broker(true), r#"{"@data-type":"boolean","data":true}"#);
        assert_eq!(broker(42u64), r#"{"@data-type":"count","data":42}"#);
        assert_eq!(broker(-7i64), r#"{"@data-type":"integer","data":-7}"#);
        assert_eq!(broker(-7.5), r#"{"@data-type":"real","data":-7.500000}"#);
        assert_eq!(broker(1e-7), r#"{"@data-type":"real","data":0.000000}"#);
        assert_eq!(
            broker(f64::NEG_INFINITY),
            r#"{"@data-type":"real","data":-inf}"#
        );
        assert_eq!(broker("x"), r#"{"@data-type":"string","data":"x"}"#);
        assert_eq!(
            broker("2001:DB8::1".parse::<Address>().unwrap()),
            r#"{"@data-type":"address","data":"2001:db8::1"}"#
        );
        assert_eq!(
            broker("10.1.2.0/24".parse::<Subnet>().unwrap()),
            r#"{"@data-type":"subnet","data":"10.1.2.0/24"}"#
        );
        assert_eq!(
            broker(Port::tcp(8080)),
            r#"{"@data-type":"port","data":"8080/tcp"}"#
        );
        assert_eq!(
            broker(Port::new(0, Protocol::Unknown)),
            r#"{"@data-type":"port","data":"0/?"}"#
        );
        assert_eq!(
            broker(Timestamp::from_nanos(1_649_574_000_000_000_001)),
            r#"{"@data-type":"timestamp","data":"2022-04-10T07:00:00.000"}"#
        );
        assert_eq!(
            broker(Timespan::from_nanos(1_500_000_000)),
            r#"{"@data-type":"timespan","data":"1500ms"}"#
        );
        assert_eq!(
            broker(Data::enum_value("Foo::BAR")),
            r#"{"@data-type":"enum-value","data":"Foo::BAR"}"#
        );
    }

    #[test]
    fn containers_are_written_without_white_space() {
        let count = |n: u64| format!(r#"{{"@data-type":"count","data":{n}}}"#);
        assert_eq!(
            broker(Data::Vector(vec![])),
            r#"{"@data-type":"vector","data":[]}"#
        );
        assert_eq!(broker(Set::new()), r#"{"@data-type":"set","data":[]}"#);
        assert_eq!(broker(Table::new()), r#"{"@data-type":"table","data":[]}"#);
        assert_eq!(
            broker(Set::from_iter([2u64, 1])),
            format!(
                r#"{{"@data-type":"set","data":[{},{}]}}"#,
                count(1),
                count(2)
            )
        );
        assert_eq!(
            broker(Table::from_iter([(1u64, 2u64), (3, 4)])),
            format!(
                r#"{{"@data-type":"table","data":[{{"key":{},"value":{}}},{{"key":{},"value":{}}}]}}"#,
                count(1),
                count(2),
                count(3),
                count(4)
            )
        );
    }

    #[test]
    fn containers_nest_as_keys_and_as_values() {
        let inner = Table::from_iter([(Data::vector([1u64]), Data::from(Set::from_iter([2u64])))]);
        let data = Data::vector([
            Data::from(inner.clone()),
            Table::from_iter([(inner.clone(), inner), (Table::new(), Table::new())]).into(),
            5u64.into(),
        ]);
        for style in [Style::Broker, Style::Exact] {
            let mut out = Vec::new();
            write_value(&data, style, &mut out);
            assert_eq!(crate::json::parse_value(&out).as_ref(), Ok(&data));
            let mut from_view = Vec::new();
            write_view(
                &DataView::parse(&data.to_bytes()).unwrap(),
                style,
                &mut from_view,
            );
            assert_eq!(from_view, out);
        }
    }

    #[test]
    fn deep_nesting_is_written_as_it_is() {
        let mut data = Data::from(1u64);
        for level in 0..30 {
            data = match level % 3 {
                0 => Table::from_iter([(data, Data::None)]).into(),
                1 => Table::from_iter([(Data::None, data)]).into(),
                _ => Data::vector([data, "x".into()]),
            };
        }
        assert_eq!(
            crate::json::parse_value(to_string(&data).as_bytes()),
            Ok(data)
        );
        let deep = (0..200).fold(Data::None, |inner, _| Data::vector([inner, 1u64.into()]));
        assert!(to_string(&deep).ends_with(&r#",{"@data-type":"count","data":1}]}"#.repeat(200)));
    }

    #[test]
    fn a_message_inlines_the_members_of_its_value() {
        let mut out = Vec::new();
        write_message(b"/foo/bar", &1u64.into(), Style::Broker, &mut out);
        assert_eq!(
            out,
            br#"{"type":"data-message","topic":"/foo/bar","@data-type":"count","data":1}"#
        );
        let mut from_view = Vec::new();
        write_view_message(
            b"/foo/bar",
            &DataView::parse(&Data::from(1u64).to_bytes()).unwrap(),
            Style::Broker,
            &mut from_view,
        );
        assert_eq!(from_view, out);
    }

    #[test]
    fn the_exact_writing_carries_what_text_cannot() {
        assert_eq!(exact(f64::NAN), r#"{"@data-type":"real","data":"nan"}"#);
        assert_eq!(
            exact(&b"a\xff"[..]),
            "{\"@data-type\":\"string\",\"data\":\"a\u{fffd}\",\"@bytes\":\"61ff\"}"
        );
        assert_eq!(
            exact(Timestamp::from_nanos(1)),
            r#"{"@data-type":"timestamp","data":"1970-01-01T00:00:00.000000001"}"#
        );
        assert_eq!(
            exact(Subnet::from_raw("10.1.2.3".parse().unwrap(), 120)),
            r#"{"@data-type":"subnet","data":"10.1.2.3/24","@bytes":"00000000000000000000ffff0a01020378"}"#
        );
        let mut out = Vec::new();
        write_message(b"t\xfe", &Data::None, Style::Exact, &mut out);
        assert_eq!(out, "{\"type\":\"data-message\",\"topic\":\"t\u{fffd}\",\"@topic-bytes\":\"74fe\",\"@data-type\":\"none\",\"data\":{}}".as_bytes());
    }
}
