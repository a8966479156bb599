//! The texts of the protocol: data messages, acks, errors, subscriptions (zeek-cluster 7.3).
//!
//! Values are written as C++ Broker and Zeek write them. Where those would write what is no JSON or no UTF-8 (zeek-cluster
//! 7.4), this is written instead:
//!
//! | C++ writes | we write |
//! |---|---|
//! | a control character as it is, or `\v` | `\u00XX` |
//! | bytes that are not UTF-8 as they are | U+FFFD |
//! | `inf`, `-inf` | `1e999`, `-1e999`, which every reader takes for infinity |
//! | `nan` | the string `"nan"`, as our other writing does |

use std::collections::BTreeSet;
use std::fmt;

use broker_core::json::{self, Style};
use broker_core::{Filter, Message, Topic};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tungstenite::Utf8Bytes;

use super::settings::MAX_SUBSCRIPTIONS;

/// A message for a client, as C++ writes it; `None` for a payload that is no value, which core logs where it came in.
pub(crate) fn for_client(message: &Message) -> Option<Utf8Bytes> {
    let view = message.view().ok()?;
    let mut text = Vec::with_capacity(4 * message.encoded().len() + 128);
    json::write_view_message(message.topic().as_bytes(), &view, Style::Broker, &mut text);
    Some(utf8(mended(text)))
}

/// A message for a server, written exactly: servers read more than they write.
pub(crate) fn for_server(topic: &Topic, data: &broker_core::DataView<'_>) -> Utf8Bytes {
    let mut text = Vec::with_capacity(256);
    json::write_view_message(topic.as_bytes(), data, Style::Exact, &mut text);
    utf8(text)
}

fn utf8(text: Vec<u8>) -> Utf8Bytes {
    Utf8Bytes::try_from(text).expect("the exact writing is UTF-8, and the other one is mended")
}

/// Makes valid JSON of what the C++ writing wrote.
fn mended(text: Vec<u8>) -> Vec<u8> {
    if is_sound(&text) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len() + 64);
    let mut rest = text.as_slice();
    let mut inside = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => {
                inside = !inside;
                out.push(byte);
            }
            b'\\' => {
                let Some((&letter, tail)) = rest.split_first() else {
                    break;
                };
                rest = tail;
                match letter {
                    b'v' => out.extend_from_slice(br"\u000b"),
                    letter => out.extend_from_slice(&[b'\\', letter]),
                }
            }
            0x00..=0x1f if inside => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            }
            b'i' if !inside && rest.starts_with(b"nf") => {
                out.extend_from_slice(b"1e999");
                rest = &rest[2..];
            }
            b'n' if !inside && rest.starts_with(b"an") => {
                out.extend_from_slice(b"\"nan\"");
                rest = &rest[2..];
            }
            byte => out.push(byte),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => text.into_bytes(),
        Err(error) => String::from_utf8_lossy(error.as_bytes())
            .into_owned()
            .into_bytes(),
    }
}

/// Whether there is nothing to mend. May say no for what needs no mending.
fn is_sound(text: &[u8]) -> bool {
    let plain = text
        .iter()
        .fold(true, |plain, byte| plain & matches!(byte, 0x20..=0x7e));
    let no_control = || !text.iter().any(|byte| *byte < 0x20);
    if !(plain || no_control() && std::str::from_utf8(text).is_ok()) {
        return false;
    }
    let mut pairs = text.windows(2);
    !pairs.any(|pair| matches!(pair, br"\v" | b":i" | b":n" | b"-i"))
}

/// The answer to a subscription.
pub(crate) fn ack(endpoint: &str, version: &str) -> String {
    let members = [
        ("type", "ack"),
        ("endpoint", endpoint),
        ("version", version),
    ];
    object(&members)
}

/// What a client is told when something is wrong.
pub(crate) fn error(code: &str, context: &str) -> String {
    object(&[("type", "error"), ("code", code), ("context", context)])
}

/// An object of strings, in this order and without white space, as C++ writes it.
fn object(members: &[(&str, &str)]) -> String {
    let mut text = Vec::new();
    for (name, value) in members {
        text.push(if text.is_empty() { b'{' } else { b',' });
        json::write_string(name.as_bytes(), Style::Exact, &mut text);
        text.push(b':');
        json::write_string(value.as_bytes(), Style::Exact, &mut text);
    }
    text.push(b'}');
    String::from_utf8(text).expect("strings of UTF-8 are written as UTF-8")
}

/// The first message of a client.
pub(crate) fn subscriptions(filter: &Filter) -> String {
    let mut text = b"[".to_vec();
    for prefix in filter.iter() {
        if text.len() > 1 {
            text.push(b',');
        }
        // JSON has no other strings. A shorter prefix brings more than was asked for, never less.
        let bytes = prefix.as_bytes();
        let valid = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        json::write_string(valid.as_bytes(), Style::Exact, &mut text);
    }
    text.push(b']');
    String::from_utf8(text).expect("strings of UTF-8 are written as UTF-8")
}

/// Why a first message is no list of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadSubscriptions {
    NotAnArray,
    NotAString,
    TooMany,
    TooLong,
}

impl fmt::Display for BadSubscriptions {
    /// The words are Zeek's where it has any (zeek-cluster 7.3).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnArray => f.write_str("subscriptions not an array"),
            Self::NotAString => f.write_str("individual subscription not a string"),
            Self::TooMany => write!(f, "more than {MAX_SUBSCRIPTIONS} subscriptions"),
            Self::TooLong => write!(f, "subscription longer than {} bytes", Topic::MAX_LEN),
        }
    }
}

/// Reads the first message of a client: its prefixes, sorted and without repeats.
pub(crate) fn parse_subscriptions(text: &[u8]) -> Result<BTreeSet<Topic>, BadSubscriptions> {
    serde_json::from_slice::<Prefixes>(text)
        .map_err(|_| BadSubscriptions::NotAnArray)?
        .0
}

struct Prefixes(Result<BTreeSet<Topic>, BadSubscriptions>);

impl<'de> Deserialize<'de> for Prefixes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PrefixVisitor)
    }
}

struct PrefixVisitor;

impl<'de> Visitor<'de> for PrefixVisitor {
    type Value = Prefixes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of topic prefixes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Prefixes, A::Error> {
        let mut found = Ok(BTreeSet::new());
        let mut count = 0;
        while let Some(Prefix(prefix)) = array.next_element()? {
            count += 1;
            // The rest is read all the same: what is no JSON is called so.
            let Ok(topics) = &mut found else { continue };
            match prefix {
                _ if count > MAX_SUBSCRIPTIONS => found = Err(BadSubscriptions::TooMany),
                None => found = Err(BadSubscriptions::NotAString),
                Some(text) => match Topic::new(text.into_bytes()) {
                    Ok(topic) => {
                        topics.insert(topic);
                    }
                    Err(_) => found = Err(BadSubscriptions::TooLong),
                },
            }
        }
        Ok(Prefixes(found))
    }
}

/// A string, or something else.
struct Prefix(Option<String>);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringOrOther)
    }
}

struct StringOrOther;

impl<'de> Visitor<'de> for StringOrOther {
    type Value = Prefix;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Prefix, E> {
        Ok(Prefix(Some(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Prefix, E> {
        Ok(Prefix(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Prefix, E> {
        Ok(Prefix(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Prefix, E> {
        Ok(Prefix(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Prefix, E> {
        Ok(Prefix(None))
    }

    fn visit_unit<E>(self) -> Result<Prefix, E> {
        Ok(Prefix(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Prefix, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Prefix(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Prefix, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Prefix(None))
    }
}

/// What a server sends that is no data message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Ack { endpoint: String, version: String },
    Error { code: String, context: String },
}

/// The largest text that is read as a control message.
const MAX_CONTROL: usize = 64 << 10;

/// Reads an ack or an error of a server.
pub(crate) fn parse_control(text: &[u8]) -> Option<Control> {
    #[derive(Deserialize)]
    struct Members {
        r#type: String,
        #[serde(default)]
        endpoint: String,
        #[serde(default)]
        version: String,
        #[serde(default)]
        code: String,
        #[serde(default)]
        context: String,
    }
    if text.len() > MAX_CONTROL {
        return None;
    }
    // An error may quote what was wrong, which need not be UTF-8.
    let members: Members = serde_json::from_str(&String::from_utf8_lossy(text)).ok()?;
    match members.r#type.as_str() {
        "ack" => Some(Control::Ack {
            endpoint: members.endpoint,
            version: members.version,
        }),
        "error" => Some(Control::Error {
            code: members.code,
            context: members.context,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::Data;

    fn written(data: impl Into<Data>) -> String {
        let message = Message::new(Topic::from_static("t"), data);
        for_client(&message).unwrap().as_str().to_owned()
    }

    #[test]
    fn values_are_written_as_zeek_writes_them() {
        assert_eq!(
            written(2.5),
            r#"{"type":"data-message","topic":"t","@data-type":"real","data":2.500000}"#
        );
        assert_eq!(
            written("say \"é\"\n"),
            r#"{"type":"data-message","topic":"t","@data-type":"string","data":"say \"é\"\n"}"#
        );
    }

    #[test]
    fn what_zeek_writes_illegally_is_written_legally() {
        let head = r#"{"type":"data-message","topic":"t","@data-type":"#;
        for (data, rest) in [
            (
                Data::from("\u{1}\u{b}\\v\u{7f}"),
                "\"string\",\"data\":\"\\u0001\\u000b\\\\v\u{7f}\"}",
            ),
            (
                Data::String(b"a\xff\xc3(\x01".as_slice().into()),
                "\"string\",\"data\":\"a\u{fffd}\u{fffd}(\\u0001\"}",
            ),
            (Data::from(f64::INFINITY), "\"real\",\"data\":1e999}"),
            (Data::from(f64::NEG_INFINITY), "\"real\",\"data\":-1e999}"),
            (Data::from(f64::NAN), "\"real\",\"data\":\"nan\"}"),
            (
                Data::from("\",\"data\":nan, inf"),
                "\"string\",\"data\":\"\\\",\\\"data\\\":nan, inf\"}",
            ),
        ] {
            let text = written(data);
            assert_eq!(text, format!("{head}{rest}"));
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
            json::parse_message(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn subscriptions_are_an_array_of_strings() {
        let prefixes = parse_subscriptions(br#" ["b", "a", "b", "b/c"] "#).unwrap();
        assert!(
            prefixes
                .iter()
                .eq(&["a", "b", "b/c"].map(Topic::from_static))
        );
        let again =
            |text: &[u8]| subscriptions(&parse_subscriptions(text).unwrap().into_iter().collect());
        assert_eq!(again(br#"["b", "a", "b", "b/c"]"#), r#"["a","b"]"#);
        assert_eq!(again(b"[]"), "[]");
        assert_eq!(again(b"[\"\"]"), "[\"\"]");
        for bad in [
            "",
            "null",
            "{\"a\":1}",
            "hello",
            "\"a\"",
            "[\"a\"",
            "[\"a\"] x",
            "[1e]",
        ] {
            assert_eq!(
                parse_subscriptions(bad.as_bytes()),
                Err(BadSubscriptions::NotAnArray),
                "{bad}"
            );
        }
        for bad in [
            "[1]",
            "[\"a\",null]",
            "[[\"a\"]]",
            "[{}]",
            "[1.5]",
            "[true]",
            "[-1]",
        ] {
            assert_eq!(
                parse_subscriptions(bad.as_bytes()),
                Err(BadSubscriptions::NotAString),
                "{bad}"
            );
        }
        let long = format!("[\"{}\"]", "x".repeat(Topic::MAX_LEN + 1));
        assert_eq!(
            parse_subscriptions(long.as_bytes()),
            Err(BadSubscriptions::TooLong)
        );
        let many = format!("[{}\"\"]", "\"\",".repeat(MAX_SUBSCRIPTIONS));
        assert_eq!(
            parse_subscriptions(many.as_bytes()),
            Err(BadSubscriptions::TooMany)
        );
    }

    #[test]
    fn a_prefix_that_is_no_text_is_cut_short() {
        let filter = Filter::from_iter([Topic::copy_from(b"ab\xffc").unwrap()]);
        assert_eq!(subscriptions(&filter), "[\"ab\"]");
    }

    #[test]
    fn acks_and_errors_are_written_and_read() {
        assert_eq!(
            ack("e-websocket-0", "1"),
            r#"{"type":"ack","endpoint":"e-websocket-0","version":"1"}"#
        );
        assert_eq!(
            parse_control(error("c", "a \"b\"\n").as_bytes()),
            Some(Control::Error {
                code: "c".to_owned(),
                context: "a \"b\"\n".to_owned()
            })
        );
        assert_eq!(parse_control(b"{}"), None);
        assert_eq!(parse_control(b"{\"type\":\"ack\",\"endpoint\":1}"), None);
    }
}
