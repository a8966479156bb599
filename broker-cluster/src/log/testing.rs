//! What the tests of this family share: bytes from hex, and records of every type.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;

use super::schema::{Column, ColumnType, LogType, Schema};
use super::value::{LogPort, LogSubnet, LogValue, PortProtocol, Record};

/// Bytes from hex digits; blanks are skipped.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| super::escape::hex_value(pair[0]) << 4 | super::escape::hex_value(pair[1]))
        .collect()
}

/// A schema of one to eight columns and a record that fits it.
pub(super) fn record_with_schema() -> impl Strategy<Value = (Schema, Record)> {
    prop::collection::vec(
        column_type().prop_flat_map(|ty| (Just(ty), value(ty))),
        1..8,
    )
    .prop_map(|fields| {
        let (types, record): (Vec<_>, Record) = fields.into_iter().unzip();
        let columns = types.into_iter().enumerate();
        let columns = columns
            .map(|(at, ty)| Column::new(format!("column{at}"), ty))
            .collect();
        (
            Schema {
                path: "test".to_owned(),
                columns,
            },
            record,
        )
    })
}

fn plain_type() -> impl Strategy<Value = LogType> {
    prop::sample::select(vec![
        LogType::Bool,
        LogType::Int,
        LogType::Count,
        LogType::Double,
        LogType::Time,
        LogType::Interval,
        LogType::String,
        LogType::Enum,
        LogType::Port,
        LogType::Addr,
        LogType::Subnet,
        LogType::Func,
        LogType::File,
    ])
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    prop_oneof![
        3 => plain_type().prop_filter_map("plain", ColumnType::plain),
        1 => plain_type().prop_filter_map("plain", ColumnType::set),
        1 => plain_type().prop_filter_map("plain", ColumnType::vector),
    ]
}

fn value(ty: ColumnType) -> BoxedStrategy<LogValue> {
    let present = match (ty.log_type(), ty.element()) {
        (LogType::Set, Some(element)) => prop::collection::vec(plain_value(element), 0..4)
            .prop_map(LogValue::Set)
            .boxed(),
        (_, Some(element)) => {
            let element = prop_oneof![5 => plain_value(element), 1 => Just(LogValue::Unset)];
            prop::collection::vec(element, 0..4)
                .prop_map(LogValue::Vector)
                .boxed()
        }
        (plain, None) => plain_value(plain),
    };
    prop_oneof![6 => present, 1 => Just(LogValue::Unset)].boxed()
}

fn plain_value(ty: LogType) -> BoxedStrategy<LogValue> {
    match ty {
        LogType::Bool => any::<bool>().prop_map(LogValue::Bool).boxed(),
        LogType::Int => any::<i64>().prop_map(LogValue::Int).boxed(),
        LogType::Count => any::<u64>().prop_map(LogValue::Count).boxed(),
        LogType::Double => number().prop_map(LogValue::Double).boxed(),
        LogType::Time => number().prop_map(LogValue::Time).boxed(),
        LogType::Interval => number().prop_map(LogValue::Interval).boxed(),
        LogType::Port => any::<u16>()
            .prop_map(|number| {
                LogValue::Port(LogPort {
                    number: number.into(),
                    protocol: PortProtocol::Unknown,
                })
            })
            .boxed(),
        LogType::Addr => address().prop_map(LogValue::addr).boxed(),
        LogType::Subnet => (address(), 0_u8..=128)
            .prop_filter_map("a length that fits", |(address, bits)| {
                LogSubnet::from_wire(address, bits)
            })
            .prop_map(LogValue::Subnet)
            .boxed(),
        LogType::Enum => "[A-Z][a-z]{0,5}::[A-Z]{1,5}"
            .prop_map(|name| LogValue::Enum(name.into_bytes()))
            .boxed(),
        LogType::Func => text().prop_map(LogValue::Func).boxed(),
        LogType::File => text().prop_map(LogValue::File).boxed(),
        _ => text().prop_map(LogValue::String).boxed(),
    }
}

/// Numbers that six decimals hold exactly, so that TSV brings them back; whole ones and -0 too.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-8_000_000_000_000_000_i64..8_000_000_000_000_000).prop_map(|micros| micros as f64 / 1e6),
        (-1000_i32..1000).prop_map(f64::from),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            "-", "(empty)", "", ",", "\\", "\\x2d", "a\tb", "#x", "ü", "null", "\"q\"", " "
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
        "[a-z ]{0,12}".prop_map(String::into_bytes),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        prop::array::uniform8(prop_oneof![Just(0_u16), any::<u16>()])
            .prop_map(|groups| IpAddr::V6(Ipv6Addr::from(groups))),
    ]
}
