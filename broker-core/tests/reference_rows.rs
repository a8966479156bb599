//! Tables of the broker-wire reference that are lists: the order of values (3.4), what decoding takes and refuses (3.3), error
//! and status codes (8.4, 8.5).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::{Ipv4Addr, Ipv6Addr};

use broker_core::binary::{self, DecodeRules};
use broker_core::{
    Data, ErrorCode, Port, Protocol, Set, StatusCode, Subnet, Table, Timespan, Timestamp,
};

/// Wire reference 3.4: each value is smaller than all behind it.
#[test]
fn values_order_as_the_reference_says() {
    let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let v4 = |last| Ipv4Addr::new(10, 0, 0, last);
    let set = |all: &[u64]| Data::from(Set::from_iter(all.iter().copied()));
    let table = |all: &[(&str, u64)]| Data::from(Table::from_iter(all.iter().copied()));
    let ascending: Vec<Data> = vec![
        Data::None,
        false.into(),
        true.into(),
        0u64.into(),
        u64::MAX.into(),
        i64::MIN.into(),
        (-1i64).into(),
        0i64.into(),
        i64::MAX.into(),
        f64::NEG_INFINITY.into(),
        (-0.5).into(),
        0.0.into(),
        1e300.into(),
        f64::INFINITY.into(),
        // Bytewise, a shorter prefix first; no letter is special.
        "".into(),
        "A".into(),
        "AB".into(),
        "B".into(),
        "a".into(),
        (&b"\xff"[..]).into(),
        // Over all 16 bytes, so IPv4 is before global IPv6.
        Ipv6Addr::LOCALHOST.into(),
        v4(1).into(),
        v4(2).into(),
        v6(0).into(),
        v6(1).into(),
        // By address, then by length.
        Subnet::new(v4(0), 8).into(),
        Subnet::new(v4(0), 24).into(),
        Subnet::new(Ipv4Addr::new(10, 1, 0, 0), 16).into(),
        Subnet::new(v6(0), 32).into(),
        // By number, then by protocol.
        Port::new(53, Protocol::Unknown).into(),
        Port::tcp(53).into(),
        Port::udp(53).into(),
        Port::new(53, Protocol::Icmp).into(),
        Port::tcp(80).into(),
        Timestamp::from_nanos(i64::MIN).into(),
        Timestamp::from_nanos(-1).into(),
        Timestamp::from_nanos(1).into(),
        Timespan::from_nanos(-1).into(),
        Timespan::from_nanos(1).into(),
        Data::enum_value("A"),
        Data::enum_value("AB"),
        Data::enum_value("B"),
        set(&[]),
        set(&[1]),
        set(&[1, 2]),
        set(&[2]),
        table(&[]),
        table(&[("a", 1)]),
        table(&[("a", 1), ("b", 0)]),
        table(&[("a", 2)]),
        table(&[("b", 0)]),
        Data::Vector(vec![]),
        Data::vector([1u64]),
        Data::vector([1u64, 0]),
        Data::vector([2u64]),
        Data::vector([Data::vector([0u64])]),
    ];
    for (at, smaller) in ascending.iter().enumerate() {
        assert_eq!(smaller.cmp(smaller), std::cmp::Ordering::Equal);
        for larger in &ascending[at + 1..] {
            assert!(smaller < larger, "{smaller:?} and {larger:?}");
            assert!(larger > smaller && smaller != larger);
        }
    }
    // So are the elements of a set on the wire, however they were put in.
    let scrambled: Vec<Data> = ascending.iter().rev().cloned().collect();
    let in_order: Vec<u8> = ascending.iter().flat_map(Data::to_bytes).collect();
    let bytes = Data::from(Set::from_iter(scrambled)).to_bytes();
    assert_eq!(bytes[2..], in_order);
}

/// Wire reference 3.2 and 3.3: bytes, and what comes of them in a data message and inside a command.
#[test]
fn decoding_takes_and_refuses_what_the_reference_says() {
    let subnet = |last: u8, length: u8| {
        let head = b"\x07\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02";
        [&head[..], &[last, length]].concat()
    };
    let rows: Vec<(&str, Vec<u8>, bool, bool)> = vec![
        ("an unknown tag", b"\x0f".to_vec(), false, false),
        ("nothing", vec![], false, false),
        ("a number cut off", b"\x02\0\0".to_vec(), false, false),
        ("a string cut off", b"\x05\x03ab".to_vec(), false, false),
        ("a boolean of 2", b"\x01\x02".to_vec(), true, true),
        ("a boolean of 255", b"\x01\xff".to_vec(), true, true),
        ("a protocol of 3", b"\x08\0\x50\x03".to_vec(), true, true),
        ("a protocol of 4", b"\x08\0\x50\x04".to_vec(), false, true),
        ("host bits", subnet(3, 120), true, true),
        ("an IPv4 length below 96", subnet(0, 5), true, true),
        ("a length of 129", subnet(0, 129), true, true),
        (
            "a string of any bytes",
            b"\x05\x02\xff\0".to_vec(),
            true,
            true,
        ),
        (
            "an enum of any bytes",
            b"\x0b\x02\xff\0".to_vec(),
            true,
            true,
        ),
        (
            "any timestamp",
            b"\x09\x80\0\0\0\0\0\0\0".to_vec(),
            true,
            true,
        ),
        (
            "any timespan",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            true,
            true,
        ),
        (
            "a set out of order",
            b"\x0c\x02\x01\x01\x01\0".to_vec(),
            true,
            true,
        ),
        (
            "an element twice",
            b"\x0c\x02\x01\x01\x01\x01".to_vec(),
            false,
            false,
        ),
        (
            "a key twice",
            b"\x0d\x02\x01\x01\0\x01\x01\0".to_vec(),
            false,
            false,
        ),
        (
            "a length in a padded form",
            b"\x05\x81\x80\x80\x80\0a".to_vec(),
            true,
            true,
        ),
        (
            "a length of six bytes",
            b"\x05\x81\x80\x80\x80\x80\0a".to_vec(),
            false,
            false,
        ),
        ("one value and more", b"\0\0".to_vec(), false, false),
        ("a vector cut off", b"\x0e\x02\0".to_vec(), false, false),
    ];
    for (what, bytes, in_message, in_command) in rows {
        assert_eq!(Data::decode(&bytes).is_ok(), in_message, "{what}");
        let command = binary::decode(&bytes, DecodeRules::COMMAND);
        assert_eq!(command.is_ok(), in_command, "{what}");
        if bytes[..].first() == Some(&7) {
            assert_eq!(Data::decode(&bytes).unwrap().to_bytes(), bytes, "{what}");
        }
    }
}

/// Wire reference 8.4.
#[test]
fn every_error_code_has_the_number_and_name_of_the_reference() {
    let names = [
        "none",
        "unspecified",
        "peer_incompatible",
        "peer_invalid",
        "peer_unavailable",
        "peer_disconnect_during_handshake",
        "peer_timeout",
        "master_exists",
        "no_such_master",
        "no_such_key",
        "request_timeout",
        "type_clash",
        "invalid_data",
        "backend_failure",
        "stale_data",
        "cannot_open_file",
        "cannot_write_file",
        "invalid_topic_key",
        "end_of_file",
        "invalid_tag",
        "invalid_message",
        "invalid_status",
        "conversion_failed",
        "consumer_exists",
        "connection_timeout",
        "bad_member_function_call",
        "repeated_request_id",
        "broken_clone",
        "shutting_down",
        "invalid_peering_request",
        "repeated_peering_handshake_request",
        "unexpected_handshake_message",
        "invalid_handshake_state",
        "no_path_to_peer",
        "no_connector_available",
        "cannot_open_resource",
        "serialization_failed",
        "deserialization_failed",
        "wrong_magic_number",
        "redundant_connection",
        "logic_error",
        "invalid_json",
    ];
    assert_eq!(names.len(), 42);
    for (number, name) in (0u8..).zip(names) {
        let code = ErrorCode::from_u8(number).unwrap();
        assert_eq!((code.number(), code.name()), (number, name));
        assert_eq!(ErrorCode::from_name(name.as_bytes()), Some(code));
    }
    assert_eq!(ErrorCode::from_u8(42), None);
}

/// Wire reference 8.5.
#[test]
fn every_status_code_has_the_number_and_name_of_the_reference() {
    let names = [
        "unspecified",
        "peer_added",
        "peer_removed",
        "peer_lost",
        "endpoint_discovered",
        "endpoint_unreachable",
    ];
    for (number, name) in (0u8..).zip(names) {
        let code = StatusCode::from_u8(number).unwrap();
        assert_eq!((code.number(), code.name()), (number, name));
    }
    assert_eq!(StatusCode::from_u8(6), None);
}
