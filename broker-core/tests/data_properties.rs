//! What must hold for every value and for every sequence of bytes.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use broker_core::binary::{self, DecodeRules};
use broker_core::json::{self, JsonError, Style};
use broker_core::zeek::Message;
use broker_core::{
    Address, ByteString, Data, DataView, Port, Protocol, Set, Subnet, Table, Timespan, Timestamp,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes as they come: mostly short text, sometimes long, sometimes no UTF-8.
fn byte_string() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        "[a-z]{0,3}".prop_map(ByteString::from),
        any::<String>().prop_map(ByteString::from),
        vec(any::<u8>(), 0..40).prop_map(ByteString::from),
        vec(any::<u8>(), 120..300).prop_map(ByteString::from),
    ]
}

/// Reals that C++ can read: no subnormals, which are sent as zero.
fn real() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("subnormals are sent as zero", |value| !value.is_subnormal()),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            0.1,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN
        ]),
    ]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).into()),
        any::<[u8; 16]>().prop_map(Address::from_octets)
    ]
}

fn subnet() -> impl Strategy<Value = Subnet> {
    (address(), any::<u8>(), any::<bool>()).prop_map(|(address, length, clean)| {
        if clean {
            Subnet::new(address, length % 33).unwrap()
        } else {
            Subnet::from_raw(address, length)
        }
    })
}

fn port() -> impl Strategy<Value = Port> {
    (any::<u16>(), 0..4u8)
        .prop_map(|(number, protocol)| Port::new(number, Protocol::from_u8(protocol).unwrap()))
}

fn scalar() -> impl Strategy<Value = Data> {
    prop_oneof![
        Just(Data::None),
        any::<bool>().prop_map(Data::from),
        any::<u64>().prop_map(Data::from),
        (0..4u64).prop_map(Data::from),
        any::<i64>().prop_map(Data::from),
        real().prop_map(Data::from),
        byte_string().prop_map(Data::from),
        address().prop_map(Data::from),
        subnet().prop_map(Data::from),
        port().prop_map(Data::from),
        any::<i64>().prop_map(|nanos| Timestamp::from_nanos(nanos).into()),
        any::<i64>().prop_map(|nanos| Timespan::from_nanos(nanos).into()),
        byte_string().prop_map(Data::enum_value),
    ]
}

fn data() -> impl Strategy<Value = Data> {
    scalar().prop_recursive(4, 40, 6, |element| {
        prop_oneof![
            vec(element.clone(), 0..6).prop_map(Data::Vector),
            vec(element.clone(), 0..6).prop_map(|elements| Set::from_iter(elements).into()),
            vec((element.clone(), element), 0..6)
                .prop_map(|entries| Table::from_iter(entries).into()),
        ]
    })
}

/// The value as reading from a view gives it.
fn rebuilt(view: DataView<'_>) -> Data {
    if let Some(elements) = view.as_vector() {
        Data::Vector(elements.map(rebuilt).collect())
    } else if let Some(elements) = view.as_set() {
        elements.map(rebuilt).collect::<Set>().into()
    } else if let Some(entries) = view.as_table() {
        entries
            .map(|(key, value)| (rebuilt(key), rebuilt(value)))
            .collect::<Table>()
            .into()
    } else {
        view.as_bool()
            .map(Data::from)
            .or_else(|| view.as_count().map(Data::from))
            .or_else(|| view.as_integer().map(Data::from))
            .or_else(|| view.as_real().map(Data::from))
            .or_else(|| view.as_str_bytes().map(Data::from))
            .or_else(|| view.as_address().map(Data::from))
            .or_else(|| view.as_subnet().map(Data::from))
            .or_else(|| view.as_port().map(Data::from))
            .or_else(|| view.as_timestamp().map(Data::from))
            .or_else(|| view.as_timespan().map(Data::from))
            .or_else(|| view.as_enum_name().map(Data::enum_value))
            .unwrap_or_default()
    }
}

/// Everything that reads bytes agrees on whether these are a value; none of it panics.
fn assert_readers_agree(bytes: &[u8]) {
    let decoded = Data::decode(bytes);
    let checked = binary::check(bytes, DecodeRules::DATA);
    let view = DataView::parse(bytes);
    assert_eq!(checked.is_ok(), view.is_ok());
    let sound = binary::check_sound(bytes, DecodeRules::DATA);
    assert_eq!(sound.is_ok(), decoded.is_ok());
    match (&decoded, view) {
        (Ok(data), Ok(view)) => {
            assert_eq!(rebuilt(view), *data);
            assert_eq!(view.encoded(), bytes);
            assert_eq!(
                binary::check_prefix(bytes, DecodeRules::DATA),
                Ok(bytes.len())
            );
            assert!(binary::decode(bytes, DecodeRules::COMMAND).is_ok());
            assert_eq!(
                Message::from_data(data).is_ok(),
                Message::from_view(view).is_ok()
            );
        }
        (Err(_), Ok(view)) => {
            let error = view.to_data().expect_err("decoding failed");
            assert!(matches!(
                error,
                binary::DecodeError::DuplicateElement | binary::DecodeError::DuplicateKey
            ));
        }
        (Err(_), Err(_)) => {}
        (Ok(data), Err(error)) => panic!("{data:?} decodes but {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn encoding_and_decoding_give_the_value_back(data in data()) {
        let bytes = data.to_bytes();
        prop_assert_eq!(bytes.len(), data.encoded_len());
        let decoded = Data::decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&data));
        let mut appended = b"head".to_vec();
        binary::encode_to_vec(&data, &mut appended);
        prop_assert_eq!(&appended[4..], &bytes[..]);
        assert_readers_agree(&bytes);
    }

    /// Keys in any order and duplicates, which no writer of ours makes.
    #[test]
    fn keys_in_any_order_are_read_by_all_or_by_none(keys in vec(prop_oneof!["[a-c]{0,10}".prop_map(Data::from), scalar()], 0..6), is_set in any::<bool>()) {
        let mut bytes = vec![if is_set { 12 } else { 13 }, keys.len() as u8];
        for key in keys {
            bytes.extend_from_slice(&key.to_bytes());
            if !is_set {
                bytes.push(0);
            }
        }
        assert_readers_agree(&bytes);
    }

    #[test]
    fn encoding_is_canonical(data in data()) {
        let bytes = data.to_bytes();
        prop_assert_eq!(Data::decode(&bytes).unwrap().to_bytes(), bytes);
    }

    #[test]
    fn a_prefix_of_an_encoding_is_never_a_value(data in data()) {
        let bytes = data.to_bytes();
        for len in 0..bytes.len() {
            prop_assert!(Data::decode(&bytes[..len]).is_err());
            prop_assert!(binary::check(&bytes[..len], DecodeRules::DATA).is_err());
        }
    }

    #[test]
    fn values_in_a_row_are_read_one_after_the_other(first in data(), second in data()) {
        let bytes = [first.to_bytes(), second.to_bytes()].concat();
        let mut reader = binary::Reader::new(&bytes);
        prop_assert_eq!(binary::decode_prefix(&mut reader, DecodeRules::COMMAND), Ok(first));
        prop_assert_eq!(DataView::parse_prefix(&mut reader, DecodeRules::COMMAND).unwrap().to_data(), Ok(second));
        prop_assert!(reader.is_empty());
        prop_assert!(Data::decode(&bytes).is_err());
    }

    #[test]
    fn changed_bytes_are_read_by_all_or_by_none(data in data(), position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = data.to_bytes().to_vec();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        assert_readers_agree(&bytes);
    }

    #[test]
    fn the_order_is_total_and_agrees_with_equality_and_hash(a in data(), b in data(), c in data()) {
        prop_assert_eq!(a.cmp(&a), Ordering::Equal);
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
        let hasher = RandomState::new();
        let same = Data::decode(&a.to_bytes()).unwrap();
        prop_assert_eq!(hasher.hash_one(&a), hasher.hash_one(&same));
    }

    #[test]
    fn the_exact_writing_gives_the_value_back(data in data(), topic in byte_string()) {
        let text = json::to_string(&data);
        let read = json::parse_value(text.as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&data));
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        let mut message = Vec::new();
        json::write_message(&topic, &data, Style::Exact, &mut message);
        prop_assert!(std::str::from_utf8(&message).is_ok());
        match json::parse_message(&message) {
            Ok(read) => prop_assert_eq!(read, (topic, data)),
            Err(error) => prop_assert!(topic.is_empty() && error == JsonError::NoTopic),
        }
    }

    #[test]
    fn the_exact_writing_keeps_every_bit_of_a_real(value in any::<f64>()) {
        let read = json::parse_value(json::to_string(&value.into()).as_bytes()).unwrap().as_real().unwrap();
        prop_assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
    }

    #[test]
    fn what_broker_writes_can_be_read(data in data()) {
        let mut text = Vec::new();
        json::write_value(&data, Style::Broker, &mut text);
        match json::parse_value(&text) {
            Ok(read) => prop_assert_eq!(read.kind(), data.kind()),
            // Precision is lost, so what was different may come out equal.
            Err(error) => prop_assert!(matches!(error, JsonError::DuplicateElement { .. } | JsonError::DuplicateKey { .. }), "{}", error),
        }
        let mut from_view = Vec::new();
        json::write_view(&DataView::parse(&data.to_bytes()).unwrap(), Style::Broker, &mut from_view);
        prop_assert_eq!(from_view, text);
    }

    #[test]
    fn changed_json_never_panics(data in data(), position in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut text = json::to_string(&data).into_bytes();
        let position = position.index(text.len());
        text[position] = byte;
        if cut {
            text.truncate(position);
        }
        drop(json::parse_value(&text));
        drop(json::parse_message(&text));
    }

    #[test]
    fn the_two_text_forms_differ_only_in_what_is_no_utf8(value in data()) {
        let mut bytes = Vec::new();
        value.write_text(&mut bytes);
        let plain = |text: &str| text.replace('\u{fffd}', "");
        prop_assert_eq!(plain(&String::from_utf8_lossy(&bytes)), plain(&value.to_string()));
    }

    #[test]
    fn text_of_addresses_subnets_and_ports_reads_back(address in address(), subnet in subnet(), port in port()) {
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(port.to_string().parse(), Ok(port));
        if subnet.is_canonical() {
            prop_assert_eq!(subnet.to_string().parse(), Ok(subnet));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_bytes_are_read_by_all_or_by_none(bytes in vec(any::<u8>(), 0..64)) {
        assert_readers_agree(&bytes);
    }

    /// Bytes that are likely to be tags and small counts get further than random ones.
    #[test]
    fn bytes_that_look_like_values_are_read_by_all_or_by_none(bytes in vec(0u8..16, 0..64)) {
        assert_readers_agree(&bytes);
    }

    #[test]
    fn text_that_looks_like_json_never_panics(text in r#"[{}\[\]",:0-9a-z@\\ .+\-]{0,40}"#) {
        drop(json::parse_value(text.as_bytes()));
    }
}
