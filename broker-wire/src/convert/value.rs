//! [`Data`] as a typed protobuf value, and back.
//!
//! | depth of containers | written as |
//! |---|---|
//! | at most [`MAX_TYPED_DEPTH`] | typed, unless the binary format was asked for |
//! | more | `encoded`: Broker's binary format |
//!
//! Protobuf readers stop at 100 nested messages, and a table takes three for each level.
//!
//! **Invariant:** what is written reads back equal, and neither direction recurses deeper than the bound.

use broker_core::binary::{self, DecodeRules};
use broker_core::{
    Address, ByteString, Data, DecodeError, EnumValue, Port, Protocol, Set, Subnet, Table,
    Timespan, Timestamp,
};
use bytes::Bytes;

use crate::proto::{self, value::Kind};

/// How deep containers may be nested in a typed value.
pub const MAX_TYPED_DEPTH: usize = 30;

/// Why a protobuf value is no value of the data model. Its sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadValue {
    /// Containers nested deeper than [`MAX_TYPED_DEPTH`].
    #[error("containers are nested deeper than {MAX_TYPED_DEPTH}; send the value encoded")]
    TooDeep,
    /// An address of neither 4 nor 16 bytes.
    #[error("an address of {len} bytes, not 4 or 16")]
    AddressLength {
        /// Its length.
        len: usize,
    },
    /// A prefix longer than an address.
    #[error("a subnet prefix of {length} bits, more than 128")]
    PrefixLength {
        /// Its length.
        length: u32,
    },
    /// A port number above 65535.
    #[error("port {number} is above 65535")]
    PortNumber {
        /// The number.
        number: u32,
    },
    /// A transport protocol there is none.
    #[error("protocol {number} is unknown")]
    PortProtocol {
        /// The number.
        number: i32,
    },
    /// A set with two equal elements, or a table with two equal keys.
    #[error("duplicate {what}")]
    Duplicate {
        /// Element or key.
        what: &'static str,
    },
    /// An encoded value inside a typed one.
    #[error("an encoded value inside a typed one")]
    NestedEncoded,
    /// An encoded value that is none.
    #[error("an encoded value that is not valid")]
    Encoded(#[from] DecodeError),
}

/// Writes `data`, in the binary format if `encoded`.
#[must_use]
pub fn value_to_proto(data: &Data, encoded: bool) -> proto::Value {
    let typed = if encoded {
        None
    } else {
        typed(data, MAX_TYPED_DEPTH)
    };
    proto::Value {
        kind: Some(typed.unwrap_or_else(|| Kind::Encoded(data.to_bytes()))),
    }
}

/// Reads a value. An absent one is none.
///
/// # Errors
/// See [`BadValue`].
pub fn value_from_proto(value: Option<proto::Value>) -> Result<Data, BadValue> {
    match value.and_then(|value| value.kind) {
        Some(Kind::Encoded(bytes)) => Ok(Data::decode(&bytes)?),
        kind => from_typed(kind, MAX_TYPED_DEPTH),
    }
}

/// Reads a value into the binary format, without taking it apart if it comes in it.
pub(crate) fn value_to_encoded(value: Option<proto::Value>) -> Result<Bytes, BadValue> {
    match value.and_then(|value| value.kind) {
        Some(Kind::Encoded(bytes)) => {
            binary::check(&bytes, DecodeRules::DATA)?;
            Ok(bytes)
        }
        kind => Ok(from_typed(kind, MAX_TYPED_DEPTH)?.to_bytes()),
    }
}

/// `None` if containers are nested deeper than `depth`, or a subnet is longer than an address: C++ Broker passes such on,
/// and the typed form has no place for it.
fn typed(data: &Data, depth: usize) -> Option<Kind> {
    let inner = |data: &Data| {
        Some(proto::Value {
            kind: Some(typed(data, depth - 1)?),
        })
    };
    if depth == 0 && matches!(data, Data::Set(_) | Data::Table(_) | Data::Vector(_)) {
        return None;
    }
    Some(match data {
        Data::None => Kind::None(proto::None {}),
        Data::Boolean(value) => Kind::Boolean(*value),
        Data::Count(value) => Kind::Count(*value),
        Data::Integer(value) => Kind::Integer(*value),
        Data::Real(value) => Kind::Real(*value),
        Data::String(value) => Kind::String(Bytes::copy_from_slice(value)),
        Data::Address(value) => Kind::Address(address_to_proto(value)),
        Data::Subnet(value) if value.length > 128 => return None,
        Data::Subnet(value) => Kind::Subnet(proto::Subnet {
            address: address_to_proto(&value.address),
            length: value.length.into(),
        }),
        Data::Port(value) => Kind::Port(proto::Port {
            number: value.number.into(),
            protocol: value.protocol as i32,
        }),
        Data::Timestamp(value) => Kind::Timestamp(value.as_nanos()),
        Data::Timespan(value) => Kind::Timespan(value.as_nanos()),
        Data::Enum(value) => Kind::EnumValue(Bytes::copy_from_slice(value.name())),
        Data::Set(set) => Kind::Set(proto::Set {
            elements: set.iter().map(inner).collect::<Option<_>>()?,
        }),
        Data::Table(table) => {
            let entry = |(key, value): &(Data, Data)| {
                Some(proto::TableEntry {
                    key: Some(inner(key)?),
                    value: Some(inner(value)?),
                })
            };
            Kind::Table(proto::Table {
                entries: table.iter().map(entry).collect::<Option<_>>()?,
            })
        }
        Data::Vector(values) => Kind::Vector(proto::Vector {
            elements: values.iter().map(inner).collect::<Option<_>>()?,
        }),
    })
}

fn from_typed(kind: Option<Kind>, depth: usize) -> Result<Data, BadValue> {
    if depth == 0 && matches!(kind, Some(Kind::Set(_) | Kind::Table(_) | Kind::Vector(_))) {
        return Err(BadValue::TooDeep);
    }
    let inner = |value: proto::Value| from_typed(value.kind, depth - 1);
    let optional = |value: Option<proto::Value>| value.map_or(Ok(Data::None), inner);
    Ok(match kind {
        None | Some(Kind::None(proto::None {})) => Data::None,
        Some(Kind::Boolean(value)) => Data::Boolean(value),
        Some(Kind::Count(value)) => Data::Count(value),
        Some(Kind::Integer(value)) => Data::Integer(value),
        Some(Kind::Real(value)) => Data::Real(value),
        Some(Kind::String(value)) => Data::String(ByteString::copy_from_slice(&value)),
        Some(Kind::Address(value)) => Data::Address(address_from_proto(&value)?),
        Some(Kind::Subnet(proto::Subnet { address, length })) => {
            let narrow = u8::try_from(length).ok().filter(|length| *length <= 128);
            let length = narrow.ok_or(BadValue::PrefixLength { length })?;
            Data::Subnet(Subnet::from_raw(address_from_proto(&address)?, length))
        }
        Some(Kind::Port(proto::Port { number, protocol })) => {
            let protocol = u8::try_from(protocol)
                .ok()
                .and_then(Protocol::from_u8)
                .ok_or(BadValue::PortProtocol { number: protocol })?;
            Data::Port(Port::new(
                u16::try_from(number).map_err(|_| BadValue::PortNumber { number })?,
                protocol,
            ))
        }
        Some(Kind::Timestamp(nanos)) => Data::Timestamp(Timestamp::from_nanos(nanos)),
        Some(Kind::Timespan(nanos)) => Data::Timespan(Timespan::from_nanos(nanos)),
        Some(Kind::EnumValue(name)) => Data::Enum(EnumValue::new(&name[..])),
        Some(Kind::Set(proto::Set { elements })) => {
            let elements = elements.into_iter().map(inner).collect::<Result<_, _>>()?;
            Data::Set(Set::from_unique(elements).ok_or(BadValue::Duplicate { what: "element" })?)
        }
        Some(Kind::Table(proto::Table { entries })) => {
            let entry =
                |entry: proto::TableEntry| Ok((optional(entry.key)?, optional(entry.value)?));
            let entries = entries
                .into_iter()
                .map(entry)
                .collect::<Result<_, BadValue>>()?;
            Data::Table(Table::from_unique(entries).ok_or(BadValue::Duplicate { what: "key" })?)
        }
        Some(Kind::Vector(proto::Vector { elements })) => {
            Data::Vector(elements.into_iter().map(inner).collect::<Result<_, _>>()?)
        }
        Some(Kind::Encoded(_)) => return Err(BadValue::NestedEncoded),
    })
}

fn address_to_proto(address: &Address) -> Bytes {
    Bytes::copy_from_slice(address.octets())
}

fn address_from_proto(bytes: &[u8]) -> Result<Address, BadValue> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(std::net::Ipv4Addr::from(octets).into());
    }
    bytes
        .try_into()
        .map(Address::from_octets)
        .map_err(|_| BadValue::AddressLength { len: bytes.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn scalar() -> impl Strategy<Value = Data> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            Just(Data::None),
            any::<bool>().prop_map(Data::from),
            any::<u64>().prop_map(Data::from),
            any::<i64>().prop_map(Data::from),
            // The binary format flushes subnormal numbers to zero.
            any::<f64>().prop_map(|real| Data::from(if real.is_subnormal() { 0.0 } else { real })),
            bytes().prop_map(Data::from),
            bytes().prop_map(Data::enum_value),
            any::<[u8; 16]>().prop_map(|octets| Address::from_octets(octets).into()),
            (any::<[u8; 16]>(), 0..=128u8).prop_map(|(octets, length)| Subnet::from_raw(
                Address::from_octets(octets),
                length
            )
            .into()),
            (any::<u16>(), 0..4u8).prop_map(|(number, protocol)| Port::new(
                number,
                Protocol::from_u8(protocol).unwrap()
            )
            .into()),
            any::<i64>().prop_map(|nanos| Timestamp::from_nanos(nanos).into()),
            any::<i64>().prop_map(|nanos| Timespan::from_nanos(nanos).into()),
        ]
    }

    fn a_value() -> impl Strategy<Value = Data> {
        scalar().prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Data::Vector),
                proptest::collection::vec(inner.clone(), 0..5)
                    .prop_map(|values| Data::Set(values.into_iter().collect())),
                proptest::collection::vec((inner.clone(), inner), 0..5)
                    .prop_map(|entries| Data::Table(entries.into_iter().collect())),
            ]
        })
    }

    fn nested(depth: usize) -> Data {
        (0..depth).fold(Data::None, |inner, _| {
            Data::Table([(Data::None, inner)].into_iter().collect())
        })
    }

    fn over_the_wire(value: &proto::Value) -> proto::Value {
        // The deepest message around a value that the services have.
        let request = proto::AttachRequest {
            item: Some(proto::attach_request::Item::Publish(
                proto::PublishRequest {
                    messages: vec![proto::Message {
                        topic: Bytes::new(),
                        value: Some(value.clone()),
                    }],
                },
            )),
        };
        let Some(proto::attach_request::Item::Publish(publish)) =
            proto::AttachRequest::decode(request.encode_to_vec().as_slice())
                .unwrap()
                .item
        else {
            panic!("not what was sent");
        };
        publish.messages[0].value.clone().unwrap()
    }

    #[test]
    fn deep_values_travel_encoded_and_the_deepest_typed_ones_can_be_read() {
        for (depth, is_typed) in [
            (MAX_TYPED_DEPTH, true),
            (MAX_TYPED_DEPTH + 1, false),
            (200, false),
        ] {
            let value = value_to_proto(&nested(depth), false);
            assert_eq!(!matches!(value.kind, Some(Kind::Encoded(_))), is_typed);
            assert_eq!(
                value_from_proto(Some(over_the_wire(&value))),
                Ok(nested(depth))
            );
        }
        let deep = (0..=MAX_TYPED_DEPTH).fold(proto::Value::default(), |inner, _| proto::Value {
            kind: Some(Kind::Vector(proto::Vector {
                elements: vec![inner],
            })),
        });
        assert_eq!(value_from_proto(Some(deep)), Err(BadValue::TooDeep));
    }

    #[test]
    fn a_subnet_longer_than_an_address_travels_encoded() {
        let subnet = Subnet::from_raw(Address::from_octets([0xff; 16]), 129);
        let data = Data::vector([Data::from(subnet)]);
        let value = value_to_proto(&data, false);
        assert!(matches!(value.kind, Some(Kind::Encoded(_))));
        assert_eq!(value_from_proto(Some(value)), Ok(data));
    }

    #[test]
    fn values_that_are_none_of_the_model_are_named() {
        let read = |kind| value_from_proto(Some(proto::Value { kind: Some(kind) })).unwrap_err();
        let one = proto::Value {
            kind: Some(Kind::Count(1)),
        };
        let entry = proto::TableEntry {
            key: Some(one.clone()),
            value: None,
        };
        assert_eq!(
            read(Kind::Address(Bytes::from_static(b"12345"))),
            BadValue::AddressLength { len: 5 }
        );
        assert_eq!(
            read(Kind::Subnet(proto::Subnet {
                address: vec![0; 16].into(),
                length: 129
            })),
            BadValue::PrefixLength { length: 129 }
        );
        assert_eq!(
            read(Kind::Port(proto::Port {
                number: 65536,
                protocol: 0
            })),
            BadValue::PortNumber { number: 65536 }
        );
        assert_eq!(
            read(Kind::Port(proto::Port {
                number: 1,
                protocol: 4
            })),
            BadValue::PortProtocol { number: 4 }
        );
        assert_eq!(
            read(Kind::Set(proto::Set {
                elements: vec![one.clone(), one]
            })),
            BadValue::Duplicate { what: "element" }
        );
        assert_eq!(
            read(Kind::Table(proto::Table {
                entries: vec![entry.clone(), entry]
            })),
            BadValue::Duplicate { what: "key" }
        );
        assert!(matches!(
            read(Kind::Encoded(Bytes::from_static(&[99]))),
            BadValue::Encoded(_)
        ));
        let nested = proto::Value {
            kind: Some(Kind::Encoded(Bytes::from_static(&[0]))),
        };
        assert_eq!(
            read(Kind::Vector(proto::Vector {
                elements: vec![nested]
            })),
            BadValue::NestedEncoded
        );
    }

    #[test]
    fn four_bytes_are_an_ipv4_address_and_nothing_is_none() {
        let value = proto::Value {
            kind: Some(Kind::Address(Bytes::from_static(&[10, 0, 0, 1]))),
        };
        assert_eq!(
            value_from_proto(Some(value)),
            Ok(std::net::Ipv4Addr::new(10, 0, 0, 1).into())
        );
        assert_eq!(value_from_proto(None), Ok(Data::None));
        assert_eq!(
            value_from_proto(Some(proto::Value::default())),
            Ok(Data::None)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_value_reads_back_in_both_forms(data in a_value()) {
            for encoded in [false, true] {
                let value = over_the_wire(&value_to_proto(&data, encoded));
                prop_assert_eq!(value_to_encoded(Some(value.clone())).unwrap(), data.to_bytes());
                prop_assert_eq!(value_from_proto(Some(value)).unwrap(), data.clone());
            }
        }
    }
}
