//! `serial_data`: the bytes of a record in a LogWrite (reference, zeek-cluster 6.4).
//!
//! ```text
//! serial_data := i32 number of fields, then that many values
//! value       := i32 type, i32 subtype, u8 present, [payload when present is 1]
//! ```
//!
//! Integers and floats are big-endian. The subtype is written as 0 and ignored when read; the types
//! of elements stand with each element. Bytes behind the last field are ignored, as Zeek does.
//!
//! Zeek checks no value against its column on arrival, and its writer ends at the first mismatch, so
//! [`encode`] refuses such a record before it leaves, and [`decode`] before it is written.
//!
//! **Invariant:** decoding any bytes gives `Ok` or [`SerialError`]; it never panics, and a container
//! never gets room for more elements than the input could hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::schema::{Column, ColumnType, LogType};
use super::value::{LogPort, LogSubnet, LogValue, PortProtocol, Record};

/// Why a record could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The record has another number of values than there are columns.
    #[error("a record of {found} values for {expected} columns")]
    ColumnCount {
        /// The number of columns.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// A value is not of its column's type.
    #[error("column {column} is {expected}, not {found}")]
    Type {
        /// The column, counted from 0.
        column: usize,
        /// The column's type, or that of its elements.
        expected: LogType,
        /// The value's type.
        found: LogType,
    },
    /// A string or container is longer than its length field can say.
    #[error("the value of column {column} is too long")]
    TooLong {
        /// The column, counted from 0.
        column: usize,
    },
}

/// Why a record could not be decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// The leading count is cut off or negative.
    #[error("cannot read the number of fields")]
    FieldCount,
    /// The record has another number of fields than there are columns.
    #[error("expected {expected} fields, got {found}")]
    ColumnCount {
        /// The number of columns.
        expected: usize,
        /// The number the record gives.
        found: usize,
    },
    /// A field does not decode.
    #[error("cannot read field {index}")]
    Field {
        /// The field, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: FieldError,
    },
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// The input ends inside it.
    #[error("the input ends inside it")]
    Truncated,
    /// No value of a log has this type number.
    #[error("unknown type {0}")]
    UnknownType(i32),
    /// The value is not of its column's type.
    #[error("type {found} in a column of {expected}")]
    Type {
        /// The column's type, or that of its elements.
        expected: LogType,
        /// The value's type.
        found: LogType,
    },
    /// A length or count is negative or more than the input holds.
    #[error("bad length {0}")]
    Length(i64),
    /// A container inside a container.
    #[error("a container inside a container")]
    Nested,
    /// Neither 4 nor 6.
    #[error("bad address family {0}")]
    Family(u8),
    /// No protocol has this number.
    #[error("bad port protocol {0}")]
    Protocol(i32),
    /// A subnet longer than its address.
    #[error("bad subnet length {0}")]
    Subnet(u8),
}

/// Appends the `serial_data` of a record. On error `out` is as it was.
pub fn encode(
    record: &[LogValue],
    columns: &[Column],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mismatch = EncodeError::ColumnCount {
        expected: columns.len(),
        found: record.len(),
    };
    if record.len() != columns.len() {
        return Err(mismatch);
    }
    let start = out.len();
    out.extend_from_slice(
        &i32::try_from(record.len())
            .map_err(|_| mismatch)?
            .to_be_bytes(),
    );
    for (index, (value, column)) in record.iter().zip(columns).enumerate() {
        if let Err(error) = encode_value(value, &column.ty, index, out) {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

/// How long the `serial_data` of a record is.
#[must_use]
pub fn encoded_len(record: &[LogValue]) -> usize {
    size_of::<i32>() + record.iter().map(value_len).sum::<usize>()
}

/// Reads a record whose columns are known.
pub fn decode(data: &[u8], columns: &[Column]) -> Result<Record, SerialError> {
    let mut input = Input(data);
    let count = input.field_count()?;
    if count != columns.len() {
        return Err(SerialError::ColumnCount {
            expected: columns.len(),
            found: count,
        });
    }
    let mut record = Record::with_capacity(count);
    for (index, column) in columns.iter().enumerate() {
        let value = input
            .value(Some(&column.ty))
            .map_err(|source| SerialError::Field { index, source })?;
        record.push(value);
    }
    Ok(record)
}

/// Reads a record without knowing its columns, as far as it tells: an unset value has lost its type.
pub fn decode_untyped(data: &[u8]) -> Result<Record, SerialError> {
    let mut input = Input(data);
    let count = input.field_count()?;
    let mut record = Record::with_capacity(count.min(data.len() / HEADER));
    for index in 0..count {
        record.push(
            input
                .value(None)
                .map_err(|source| SerialError::Field { index, source })?,
        );
    }
    Ok(record)
}

fn value_len(value: &LogValue) -> usize {
    let address = |address: std::net::IpAddr| if address.is_ipv4() { 5 } else { 17 };
    let payload = match value {
        LogValue::Unset => 0,
        LogValue::Bool(_)
        | LogValue::Int(_)
        | LogValue::Count(_)
        | LogValue::Double(_)
        | LogValue::Time(_)
        | LogValue::Interval(_) => 8,
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => 4 + bytes.len(),
        LogValue::Port(_) => 12,
        LogValue::Addr(ip) => address(*ip),
        LogValue::Subnet(subnet) => 1 + address(subnet.address()),
        LogValue::Set(elements) | LogValue::Vector(elements) => {
            8 + elements.iter().map(value_len).sum::<usize>()
        }
    };
    HEADER + payload
}

fn encode_value(
    value: &LogValue,
    ty: &ColumnType,
    column: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (LogValue::Set(elements) | LogValue::Vector(elements)) = value else {
        return encode_plain(value, ty.log_type(), column, out);
    };
    check_type(value, ty.log_type(), column)?;
    // A container column always has an element type: the invariant of `ColumnType`.
    let element_type = ty.element().unwrap_or(LogType::String);
    push_header(out, ty.log_type(), true);
    let count = i64::try_from(elements.len()).map_err(|_| EncodeError::TooLong { column })?;
    out.extend_from_slice(&count.to_be_bytes());
    for element in elements {
        encode_plain(element, element_type, column, out)?;
    }
    Ok(())
}

/// A value that is no container, or an unset one of any type.
fn encode_plain(
    value: &LogValue,
    ty: LogType,
    column: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    check_type(value, ty, column)?;
    push_header(out, ty, !value.is_unset());
    match value {
        LogValue::Unset => {}
        LogValue::Bool(value) => out.extend_from_slice(&i64::from(*value).to_be_bytes()),
        LogValue::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
        LogValue::Count(value) => out.extend_from_slice(&value.to_be_bytes()),
        LogValue::Double(value) | LogValue::Time(value) | LogValue::Interval(value) => {
            out.extend_from_slice(&value.to_be_bytes());
        }
        LogValue::String(bytes)
        | LogValue::Enum(bytes)
        | LogValue::Func(bytes)
        | LogValue::File(bytes) => {
            let len = i32::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { column })?;
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        LogValue::Port(port) => {
            out.extend_from_slice(&port.number.to_be_bytes());
            out.extend_from_slice(&port.protocol.tag().to_be_bytes());
        }
        LogValue::Addr(address) => push_address(out, *address),
        LogValue::Subnet(subnet) => {
            out.push(subnet.wire_bits());
            push_address(out, subnet.address());
        }
        // An element that is a container; `check_type` refuses it, since no element type is one.
        LogValue::Set(_) | LogValue::Vector(_) => {
            let found = value.log_type().unwrap_or(LogType::Set);
            return Err(EncodeError::Type {
                column,
                expected: ty,
                found,
            });
        }
    }
    Ok(())
}

fn check_type(value: &LogValue, expected: LogType, column: usize) -> Result<(), EncodeError> {
    match value.log_type() {
        Some(found) if found != expected => Err(EncodeError::Type {
            column,
            expected,
            found,
        }),
        _ => Ok(()),
    }
}

fn push_header(out: &mut Vec<u8>, ty: LogType, present: bool) {
    let [a, b, c, d] = ty.tag().to_be_bytes();
    out.extend_from_slice(&[a, b, c, d, 0, 0, 0, 0, u8::from(present)]);
}

fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

/// What is left of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn field_count(&mut self) -> Result<usize, SerialError> {
        let count = self.i32().map_err(|_| SerialError::FieldCount)?;
        usize::try_from(count).map_err(|_| SerialError::FieldCount)
    }

    fn value(&mut self, column: Option<&ColumnType>) -> Result<LogValue, FieldError> {
        let (ty, present) = self.header(column.map(ColumnType::log_type))?;
        if !present {
            return Ok(LogValue::Unset);
        }
        if !ty.is_container() {
            return self.payload(ty);
        }
        let count = self.i64()?;
        let elements = usize::try_from(count).map_err(|_| FieldError::Length(count))?;
        if elements > self.0.len() / HEADER {
            return Err(FieldError::Length(count));
        }
        let element_type = column.and_then(ColumnType::element);
        let mut values = Vec::with_capacity(elements);
        for _ in 0..elements {
            let (ty, present) = self.header(element_type)?;
            if ty.is_container() {
                return Err(FieldError::Nested);
            }
            values.push(if present {
                self.payload(ty)?
            } else {
                LogValue::Unset
            });
        }
        Ok(if ty == LogType::Set {
            LogValue::Set(values)
        } else {
            LogValue::Vector(values)
        })
    }

    fn header(&mut self, expected: Option<LogType>) -> Result<(LogType, bool), FieldError> {
        let tag = self.i32()?;
        let ty = LogType::from_tag(tag).ok_or(FieldError::UnknownType(tag))?;
        if let Some(expected) = expected
            && expected != ty
        {
            return Err(FieldError::Type {
                expected,
                found: ty,
            });
        }
        let _subtype = self.i32()?;
        Ok((ty, self.u8()? == 1))
    }

    fn payload(&mut self, ty: LogType) -> Result<LogValue, FieldError> {
        Ok(match ty {
            LogType::Bool => LogValue::Bool(self.i64()? != 0),
            LogType::Int => LogValue::Int(self.i64()?),
            LogType::Count => LogValue::Count(u64::from_be_bytes(self.array()?)),
            LogType::Double => LogValue::Double(self.f64()?),
            LogType::Time => LogValue::Time(self.f64()?),
            LogType::Interval => LogValue::Interval(self.f64()?),
            LogType::String => LogValue::String(self.bytes()?),
            LogType::Enum => LogValue::Enum(self.bytes()?),
            LogType::Func => LogValue::Func(self.bytes()?),
            LogType::File => LogValue::File(self.bytes()?),
            LogType::Port => {
                let number = u64::from_be_bytes(self.array()?);
                let tag = self.i32()?;
                let protocol = PortProtocol::from_tag(tag).ok_or(FieldError::Protocol(tag))?;
                LogValue::Port(LogPort { number, protocol })
            }
            LogType::Addr => LogValue::addr(self.address()?),
            LogType::Subnet => {
                let bits = self.u8()?;
                let address = self.address()?;
                LogValue::Subnet(
                    LogSubnet::from_wire(address, bits).ok_or(FieldError::Subnet(bits))?,
                )
            }
            LogType::Set | LogType::Vector => return Err(FieldError::Nested),
        })
    }

    fn address(&mut self) -> Result<IpAddr, FieldError> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            family => Err(FieldError::Family(family)),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, FieldError> {
        let len = self.i32()?;
        let wanted = usize::try_from(len).map_err(|_| FieldError::Length(i64::from(len)))?;
        let (bytes, rest) = self
            .0
            .split_at_checked(wanted)
            .ok_or(FieldError::Truncated)?;
        self.0 = rest;
        Ok(bytes.to_vec())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let (array, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(FieldError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u8(&mut self) -> Result<u8, FieldError> {
        Ok(self.array::<1>()?[0])
    }

    fn i32(&mut self) -> Result<i32, FieldError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, FieldError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    fn f64(&mut self) -> Result<f64, FieldError> {
        Ok(f64::from_be_bytes(self.array()?))
    }
}

/// The least a value takes: type, subtype, present.
const HEADER: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{hex, record_with_schema};
    use proptest::prelude::*;

    fn column(word: &str) -> Column {
        Column::new("x", ColumnType::parse(word).unwrap())
    }

    #[test]
    fn the_documented_values_have_the_documented_bytes() {
        let text = |text: &str| text.as_bytes().to_vec();
        let addr = |text: &str| LogValue::Addr(text.parse().unwrap());
        let port = LogPort {
            number: 443,
            protocol: PortProtocol::Tcp,
        };
        let subnet = LogSubnet::new("10.0.0.0".parse().unwrap(), 8).unwrap();
        let cases = [
            (
                "time",
                LogValue::Time(1.5),
                "00000005 00000000 01 3ff8000000000000",
            ),
            (
                "bool",
                LogValue::Bool(true),
                "00000001 00000000 01 0000000000000001",
            ),
            (
                "int",
                LogValue::Int(-42),
                "00000002 00000000 01 ffffffffffffffd6",
            ),
            (
                "count",
                LogValue::Count(7),
                "00000003 00000000 01 0000000000000007",
            ),
            (
                "interval",
                LogValue::Interval(100.0),
                "00000006 00000000 01 4059000000000000",
            ),
            (
                "port",
                LogValue::Port(port),
                "0000000a 00000000 01 00000000000001bb 00000001",
            ),
            (
                "addr",
                addr("192.168.1.5"),
                "0000000b 00000000 01 04 c0a80105",
            ),
            (
                "addr",
                addr("2001:db8::1"),
                "0000000b 00000000 01 06 20010db8000000000000000000000001",
            ),
            (
                "subnet",
                LogValue::Subnet(subnet),
                "0000000c 00000000 01 68 04 0a000000",
            ),
            (
                "string",
                LogValue::String(text("ab")),
                "00000007 00000000 01 00000002 6162",
            ),
            (
                "enum",
                LogValue::Enum(text("Conn::LOG")),
                "00000009 00000000 01 00000009 436f6e6e3a3a4c4f47",
            ),
            ("string", LogValue::Unset, "00000007 00000000 00"),
            (
                "set[string]",
                LogValue::Set(vec![LogValue::String(text("a"))]),
                "0000000e 00000000 01 0000000000000001 00000007 00000000 01 00000001 61",
            ),
            (
                "vector[count]",
                LogValue::Vector(Vec::new()),
                "00000013 00000000 01 0000000000000000",
            ),
        ];
        for (word, value, expected) in cases {
            let columns = [column(word)];
            let mut out = Vec::new();
            encode(std::slice::from_ref(&value), &columns, &mut out).unwrap();
            assert_eq!(out, hex(&format!("00000001 {expected}")), "{value:?}");
            assert_eq!(decode(&out, &columns).unwrap(), [value]);
        }
    }

    #[test]
    fn the_documented_record_has_65_bytes() {
        let columns = ["time", "addr", "port", "string"].map(column);
        let record = vec![
            LogValue::Time(1.5),
            LogValue::Addr("192.168.1.5".parse().unwrap()),
            LogValue::Port(LogPort {
                number: 443,
                protocol: PortProtocol::Tcp,
            }),
            LogValue::Unset,
        ];
        let mut out = Vec::new();
        encode(&record, &columns, &mut out).unwrap();
        assert_eq!(out.len(), 65);
        assert_eq!(out[..4], [0, 0, 0, 4]);
        assert_eq!(decode(&out, &columns).unwrap(), record);
    }

    #[test]
    fn a_value_of_another_type_does_not_leave() {
        let mut out = b"before".to_vec();
        let columns = [column("count"), column("vector[count]")];
        let wrong = [LogValue::Count(1), LogValue::Vector(vec![LogValue::Int(1)])];
        let error = EncodeError::Type {
            column: 1,
            expected: LogType::Count,
            found: LogType::Int,
        };
        assert_eq!(encode(&wrong, &columns, &mut out), Err(error));
        assert_eq!(out, b"before");
        let nested = [
            LogValue::Unset,
            LogValue::Vector(vec![LogValue::Vector(Vec::new())]),
        ];
        assert!(matches!(
            encode(&nested, &columns, &mut out),
            Err(EncodeError::Type { column: 1, .. })
        ));
        assert_eq!(
            encode(&nested[..1], &columns, &mut out),
            Err(EncodeError::ColumnCount {
                expected: 2,
                found: 1
            })
        );
    }

    #[test]
    fn the_field_that_fails_is_named() {
        let columns = [column("count"), column("string")];
        let good = "00000002 00000003 00000000 01 0000000000000007";
        let field = |index, source| Err(SerialError::Field { index, source });
        assert_eq!(decode(b"\0\0", &columns), Err(SerialError::FieldCount));
        assert_eq!(
            decode(&hex("ffffffff"), &columns),
            Err(SerialError::FieldCount)
        );
        assert_eq!(
            decode(&hex("00000003"), &columns),
            Err(SerialError::ColumnCount {
                expected: 2,
                found: 3
            })
        );
        assert_eq!(
            decode(&hex(good), &columns),
            field(1, FieldError::Truncated)
        );
        assert_eq!(
            decode(&hex(&format!("{good} 00000008 00000000 01")), &columns),
            field(1, FieldError::UnknownType(8))
        );
        assert_eq!(
            decode(&hex(&format!("{good} 00000003 00000000 01")), &columns),
            field(
                1,
                FieldError::Type {
                    expected: LogType::String,
                    found: LogType::Count
                }
            )
        );
        assert_eq!(
            decode(
                &hex(&format!("{good} 00000007 00000000 01 ffffffff")),
                &columns
            ),
            field(1, FieldError::Length(-1))
        );
    }

    #[test]
    fn details_of_reading_are_zeeks() {
        // A present byte other than 1 is unset; the subtype and trailing bytes are ignored.
        let columns = [column("count")];
        let data = hex("00000001 00000003 00000000 02 ffff");
        assert_eq!(decode(&data, &columns).unwrap(), [LogValue::Unset]);
        let data = hex("00000001 00000003 00000007 01 0000000000000005 ffff");
        assert_eq!(decode(&data, &columns).unwrap(), [LogValue::Count(5)]);
        assert_eq!(decode_untyped(&data).unwrap(), [LogValue::Count(5)]);
    }

    #[test]
    fn hostile_lengths_are_refused_before_anything_is_allocated() {
        let columns = [column("vector[count]")];
        for count in [
            "7fffffffffffffff",
            "0000000100000000",
            "ffffffffffffffff",
            "0000000000000001",
        ] {
            let data = hex(&format!("00000001 00000013 00000000 01 {count}"));
            assert!(matches!(
                decode(&data, &columns),
                Err(SerialError::Field {
                    index: 0,
                    source: FieldError::Length(_)
                })
            ));
        }
        let nested = hex(
            "00000001 00000013 00000000 01 0000000000000001 00000013 00000000 00 0000000000000000",
        );
        assert_eq!(
            decode_untyped(&nested),
            Err(SerialError::Field {
                index: 0,
                source: FieldError::Nested
            })
        );
        assert!(decode_untyped(&hex("7fffffff")).is_err());
    }

    proptest! {
        #[test]
        fn records_come_back((schema, record) in record_with_schema()) {
            let mut data = Vec::new();
            encode(&record, &schema.columns, &mut data).unwrap();
            prop_assert_eq!(encoded_len(&record), data.len());
            prop_assert_eq!(&decode(&data, &schema.columns).unwrap(), &record);
            for end in 0..data.len() {
                prop_assert!(decode(&data[..end], &schema.columns).is_err());
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(data in prop::collection::vec(any::<u8>(), 0..200), fields in 0_u8..4) {
            let mut framed = vec![0, 0, 0, fields];
            framed.extend_from_slice(&data);
            let _ = decode_untyped(&framed);
            let _ = decode_untyped(&data);
        }
    }
}
