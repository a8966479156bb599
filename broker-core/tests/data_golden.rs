//! The binary format against the worked examples of the wire reference and against recorded traffic.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use broker_core::zeek::{Event, IdentifierUpdate, Message, MessageType};
use broker_core::{Data, DataView, Port, Protocol, Set, Subnet, Table, Timespan, Timestamp};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Lines of `HEX NOTE`, comments aside.
fn fixture(text: &str) -> impl Iterator<Item = (Vec<u8>, &str)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (hex, note) = line.split_once(' ').unwrap();
            (unhex(hex), note)
        })
}

fn assert_encodes(data: &Data, hex: &str) {
    let bytes = unhex(hex);
    assert_eq!(data.to_bytes(), bytes, "{data:?}");
    assert_eq!(data.encoded_len(), bytes.len());
    assert_eq!(Data::decode(&bytes).as_ref(), Ok(data));
    assert_eq!(
        DataView::parse(&bytes).unwrap().to_data().as_ref(),
        Ok(data)
    );
}

/// Wire reference 13.1.
#[test]
fn values_encode_as_in_the_worked_examples() {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    for (data, hex) in [
        (Data::None, "00"),
        (true.into(), "01 01"),
        (false.into(), "01 00"),
        (0u64.into(), "02 00 00 00 00 00 00 00 00"),
        (1_234_567_890u64.into(), "02 00 00 00 00 49 96 02 d2"),
        (u64::MAX.into(), "02 ff ff ff ff ff ff ff ff"),
        (42i64.into(), "03 00 00 00 00 00 00 00 2a"),
        ((-1i64).into(), "03 ff ff ff ff ff ff ff ff"),
        (1.5.into(), "04 3f f8 00 00 00 00 00 00"),
        (0.1.into(), "04 3f b9 99 99 99 99 99 9a"),
        ((-1.0).into(), "04 bf f0 00 00 00 00 00 00"),
        (f64::INFINITY.into(), "04 ff f0 00 00 00 00 00 00"),
        (f64::NEG_INFINITY.into(), "04 7f f0 00 00 00 00 00 00"),
        (f64::NAN.into(), "04 ff ff ff ff ff ff ff ff"),
        ("".into(), "05 00"),
        (
            "hello world".into(),
            "05 0b 68 65 6c 6c 6f 20 77 6f 72 6c 64",
        ),
        (
            "x".repeat(200).into(),
            &format!("05 c8 01 {}", "78".repeat(200)),
        ),
        (
            Ipv4Addr::new(192, 168, 9, 8).into(),
            "06 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 09 08",
        ),
        (
            v6.into(),
            "06 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01",
        ),
        (
            Subnet::new(Ipv4Addr::new(192, 168, 9, 0), 24).into(),
            "07 00 00 00 00 00 00 00 00 00 00 ff ff c0 a8 09 00 78",
        ),
        (
            Subnet::new(v6, 32).into(),
            "07 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 20",
        ),
        (Port::tcp(8080).into(), "08 1f 90 01"),
        (Port::udp(9000).into(), "08 23 28 02"),
        (Port::new(8, Protocol::Icmp).into(), "08 00 08 03"),
        (Port::new(1, Protocol::Unknown).into(), "08 00 01 00"),
        (
            Timestamp::from_nanos(1_404_901_004_000_000_000).into(),
            "09 13 7f 36 05 08 02 78 00",
        ),
        (
            Timestamp::from_nanos(-1).into(),
            "09 ff ff ff ff ff ff ff ff",
        ),
        (
            Timespan::from_nanos(1_500_000_000).into(),
            "0a 00 00 00 00 59 68 2f 00",
        ),
        (
            Timespan::from_nanos(-1500).into(),
            "0a ff ff ff ff ff ff fa 24",
        ),
        (
            Data::enum_value("Foo::BAR"),
            "0b 08 46 6f 6f 3a 3a 42 41 52",
        ),
        (Set::new().into(), "0c 00"),
        (
            Set::from_iter([Data::from("b"), 1u64.into()]).into(),
            "0c 02 02 00 00 00 00 00 00 00 01 05 01 62",
        ),
        (
            Set::from_iter(["b", "aa"]).into(),
            "0c 02 05 02 61 61 05 01 62",
        ),
        (
            Table::from_iter([("a", 1u64)]).into(),
            "0d 01 05 01 61 02 00 00 00 00 00 00 00 01",
        ),
        (Data::Vector(vec![]), "0e 00"),
        (
            Data::vector([Data::from(false), 1u64.into(), "hello world".into()]),
            "0e 03 01 00 02 00 00 00 00 00 00 00 01 05 0b 68 65 6c 6c 6f 20 77 6f 72 6c 64",
        ),
    ] {
        assert_encodes(&data, hex);
    }
}

/// Wire reference 13.5.
#[test]
fn zeek_messages_encode_as_in_the_worked_examples() {
    let event = Event::new("event_1", vec![42i64.into(), "test".into()]);
    let time = Timestamp::from_nanos(1_681_827_194_000_000_000);
    for (message, hex) in [
        (
            Message::from(event.clone()),
            "0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 01 0e 02 05 07 65 76 65 6e 74 5f 31 0e 02 03 00 00 00 00 00 00 \
             00 2a 05 04 74 65 73 74",
        ),
        (
            event.with_network_timestamp(time).into(),
            "0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 01 0e 03 05 07 65 76 65 6e 74 5f 31 0e 02 03 00 00 00 00 00 00 \
             00 2a 05 04 74 65 73 74 0e 01 0e 02 02 00 00 00 00 00 00 00 01 09 17 57 0c ec 17 f6 44 00",
        ),
        (
            IdentifierUpdate {
                name: "Foo::x".into(),
                value: 5u64.into(),
            }
            .into(),
            "0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 04 0e 02 05 06 46 6f 6f 3a 3a 78 02 00 00 00 00 00 00 00 05",
        ),
        (
            Message::Batch(vec![Event::new("e", vec![]).into()]),
            "0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 05 0e 01 0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 \
             00 01 0e 02 05 01 65 0e 00",
        ),
    ] {
        assert_encodes(&message.to_data(), hex);
        assert_eq!(
            Message::from_view(DataView::parse(&unhex(hex)).unwrap()),
            Ok(message)
        );
    }
}

/// Wire reference 13.5, last row.
#[test]
fn a_store_event_encodes_as_in_the_worked_examples() {
    let id = "00000000-0000-4000-8000-000000000001";
    let event = Data::vector([
        Data::from("insert"),
        "foo".into(),
        "k".into(),
        7u64.into(),
        Data::None,
        id.into(),
        1u64.into(),
    ]);
    let id_hex: String = id.bytes().map(|b| format!("{b:02x}")).collect();
    let hex = format!(
        "0e 07 05 06 69 6e 73 65 72 74 05 03 66 6f 6f 05 01 6b 02 00 00 00 00 00 00 00 07 00 05 24 {id_hex} 02 00 00 00 00 00 00 00 01"
    );
    assert_encodes(&event, &hex);
}

#[test]
fn values_recorded_from_broker_decode_and_encode_back() {
    let mut seen = 0;
    for (bytes, note) in fixture(include_str!("golden/data-types.hex")) {
        let data = Data::decode(&bytes).unwrap_or_else(|error| panic!("{note}: {error}"));
        assert_eq!(data.to_bytes(), bytes, "{note}");
        let view = DataView::parse(&bytes).unwrap();
        assert_eq!(view.to_data(), Ok(data), "{note}");
        seen += 1;
    }
    assert_eq!(seen, 46);
}

#[test]
fn messages_recorded_from_zeek_decode_and_encode_back() {
    let mut logs = 0;
    for (bytes, topic) in fixture(include_str!("golden/zeek-messages.hex")) {
        let data = Data::decode(&bytes).unwrap_or_else(|error| panic!("{topic}: {error}"));
        assert_eq!(data.to_bytes(), bytes, "{topic}");
        let message = Message::from_view(DataView::parse(&bytes).unwrap())
            .unwrap_or_else(|error| panic!("{topic}: {error}"));
        assert_eq!(Message::from_data(&data).as_ref(), Ok(&message));
        assert!(!matches!(message, Message::UntypedLogCreate(_)), "{topic}");
        logs += usize::from(message.message_type() != MessageType::Event);
        assert_eq!(message.into_data().to_bytes(), bytes, "{topic}");
    }
    assert_eq!(logs, 20);
}
