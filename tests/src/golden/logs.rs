//! The logs of the recorded Zeek processes: columns and records as their scripts had them, and how a file of ours is compared
//! with one of Zeek's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use broker_cluster::log::{
    Column, ColumnType, LogPort, LogSubnet, LogValue, PortProtocol, Record, Schema,
};
use broker_core::Data;
use broker_core::zeek::{LogCreate, Message as ZeekMessage};

use super::frame::MessageFrame;
use super::recording::path;

/// The stream that has a column of every type.
#[must_use]
pub fn golden_log() -> Schema {
    let optional = ["unset", "unsetc", "nested.s", "nested.a"];
    schema(
        "golden",
        &[
            ("ts", "time"),
            ("b", "bool"),
            ("c", "count"),
            ("i", "int"),
            ("d", "double"),
            ("iv", "interval"),
            ("s", "string"),
            ("empty", "string"),
            ("odd", "string"),
            ("a4", "addr"),
            ("a6", "addr"),
            ("sn4", "subnet"),
            ("sn6", "subnet"),
            ("p", "port"),
            ("e", "enum"),
            ("ss", "set[string]"),
            ("se", "set[string]"),
            ("sa", "set[addr]"),
            ("vc", "vector[count]"),
            ("vd", "vector[double]"),
            ("vs", "vector[string]"),
            ("unset", "string"),
            ("unsetc", "count"),
            ("nested.n", "count"),
            ("nested.s", "string"),
            ("nested.a", "addr"),
        ],
        &optional,
    )
}

/// The `n`-th record of it. `strings` is the order in which the writer's hash table had the elements of `ss`, and so `addresses`
/// those of `sa`.
#[must_use]
#[expect(clippy::approx_constant, reason = "the script wrote that number")]
pub fn golden_record(n: u64, strings: [&str; 3], addresses: [&str; 2]) -> Record {
    let step = f64::from(u32::try_from(n).unwrap());
    let text = |text: &str| LogValue::String(text.as_bytes().to_vec());
    let addr = |text: &str| LogValue::addr(text.parse().unwrap());
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
    vec![
        LogValue::Time(1_700_000_000.123_456 + step),
        LogValue::Bool(n.is_multiple_of(2)),
        LogValue::Count(n),
        LogValue::Int(-5),
        LogValue::Double(3.14159 + step),
        LogValue::Interval(90.5),
        text("plain"),
        text(""),
        LogValue::String(b"tab\there, comma and \\ back, \xff bin, - ".to_vec()),
        addr("192.0.2.1"),
        addr("2001:db8::1"),
        subnet(Ipv4Addr::new(192, 0, 2, 0).into(), 24),
        subnet(v6.into(), 32),
        port(443),
        LogValue::Enum(b"Golden::GREEN".to_vec()),
        LogValue::Set(strings.map(text).to_vec()),
        LogValue::Set(Vec::new()),
        LogValue::Set(addresses.map(addr).to_vec()),
        LogValue::Vector([1, 2, 3].map(LogValue::Count).to_vec()),
        LogValue::Vector([0.5, 1e10].map(LogValue::Double).to_vec()),
        LogValue::Vector(["", "-", "(empty)"].map(text).to_vec()),
        LogValue::Unset,
        LogValue::Unset,
        LogValue::Count(n),
        text("in"),
        LogValue::Unset,
    ]
}

/// Zeek's `broker.log` (zeek-cluster reference, 1.7).
#[must_use]
pub fn broker_log() -> Schema {
    schema(
        "broker",
        &[
            ("ts", "time"),
            ("ty", "enum"),
            ("ev", "string"),
            ("peer.address", "string"),
            ("peer.bound_port", "port"),
            ("message", "string"),
        ],
        &["message"],
    )
}

/// A record of it: a peering with a process behind `number` of this machine. `time` has the bits of the recorded time.
#[must_use]
pub fn peer_added(time: u64, number: u64) -> Record {
    let text = |text: &str| LogValue::String(text.as_bytes().to_vec());
    vec![
        LogValue::Time(f64::from_bits(time)),
        LogValue::Enum(b"Broker::STATUS".to_vec()),
        text("peer-added"),
        text("127.0.0.1"),
        port(number),
        text("handshake successful"),
    ]
}

/// Zeek's `cluster.log` (zeek-cluster reference, 1.7).
#[must_use]
pub fn cluster_log() -> Schema {
    let columns = [("ts", "time"), ("node", "string"), ("message", "string")];
    schema("cluster", &columns, &[])
}

/// A record of it, of worker-1. `time` has the bits of the recorded time.
#[must_use]
pub fn got_hello(time: u64, name: &str, id: &str) -> Record {
    vec![
        LogValue::Time(f64::from_bits(time)),
        LogValue::String(b"worker-1".to_vec()),
        LogValue::String(format!("got hello from {name} ({id})").into_bytes()),
    ]
}

/// The recorded frame with the time of ours, if it announces a log: when that was is part of it.
#[must_use]
pub fn at_our_time(recorded: &MessageFrame, sent: &MessageFrame) -> MessageFrame {
    let (Some(mut create), Some(ours)) = (log_create(recorded), log_create(sent)) else {
        return recorded.clone();
    };
    let time = ours.info.network_time;
    assert!(time > 1_700_000_000.0, "a log announced at {time}");
    create.info.network_time = time;
    MessageFrame {
        payload: create.into_data().to_bytes().to_vec(),
        ..recorded.clone()
    }
}

fn log_create(message: &MessageFrame) -> Option<LogCreate> {
    const DATA: u8 = 1;
    let data = Data::decode(&message.payload).ok()?;
    match ZeekMessage::from_data(&data) {
        Ok(ZeekMessage::LogCreate(create)) if message.kind == DATA => Some(create),
        _ => None,
    }
}

/// A file that Zeek wrote.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn zeeks_file(name: &str) -> String {
    String::from_utf8(std::fs::read(path(name)).unwrap()).unwrap()
}

/// Compares byte for byte, but for the times in the header, which have to be times.
///
/// # Panics
/// At the first difference.
pub fn assert_same_log(ours: &str, zeeks: &str) {
    for (ours, zeeks) in ours.lines().zip(zeeks.lines()) {
        match ["#open\t", "#close\t"]
            .iter()
            .find(|key| zeeks.starts_with(*key))
        {
            Some(key) => assert_is_time(ours.strip_prefix(key).unwrap()),
            None => assert_eq!(ours, zeeks),
        }
    }
    assert_eq!(ours.len(), zeeks.len());
}

fn assert_is_time(text: &str) {
    let form = |text: &str| -> String {
        let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
        text.chars().map(digit).collect()
    };
    assert_eq!(form(text), "0000-00-00-00-00-00", "{text}");
}

fn schema(path: &str, columns: &[(&str, &str)], optional: &[&str]) -> Schema {
    let column = |(name, word): &(&str, &str)| Column {
        optional: optional.contains(name),
        ..Column::new(*name, ColumnType::parse(word).unwrap())
    };
    Schema {
        path: path.to_owned(),
        columns: columns.iter().map(column).collect(),
    }
}

fn port(number: u64) -> LogValue {
    LogValue::Port(LogPort {
        number,
        protocol: PortProtocol::Tcp,
    })
}

fn subnet(address: IpAddr, length: u8) -> LogValue {
    LogValue::Subnet(LogSubnet::new(address, length).unwrap())
}
