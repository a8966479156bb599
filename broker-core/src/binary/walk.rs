//! Reading a value front to back without building it: the check a relay makes, and the visit of a receiver.
//!
//! Lengths, tags, port protocols and nesting are checked. Duplicates in sets and tables are not found: that takes
//! comparing elements, which is left to [`decode`](super::decode).

use super::error::DecodeError;
use super::reader::Reader;
use super::{DecodeRules, real};
use crate::address::{Address, Subnet};
use crate::data::DataKind;
use crate::port::{Port, Protocol};
use crate::time::{Timespan, Timestamp};
use crate::visit::Visitor;

/// Whether `bytes` have the structure of exactly one value; nothing is allocated.
///
/// # Errors
/// What is wrong with the structure.
pub fn check(bytes: &[u8], rules: DecodeRules) -> Result<(), DecodeError> {
    walk(bytes, rules, &mut ())
}

/// The length of the value that `bytes` begin with, after checking its structure; nothing is allocated.
///
/// # Errors
/// What is wrong with the structure.
pub fn check_prefix(bytes: &[u8], rules: DecodeRules) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    skip(&mut reader, rules)?;
    Ok(bytes.len() - reader.remaining())
}

/// Moves `reader` behind the value it is at, after checking its structure; the bytes of the value.
///
/// # Errors
/// What is wrong with the structure.
pub fn skip<'a>(reader: &mut Reader<'a>, rules: DecodeRules) -> Result<&'a [u8], DecodeError> {
    let mut ahead = *reader;
    walk_value(&mut ahead, rules, &mut ())?;
    reader.bytes(reader.remaining() - ahead.remaining(), "value")
}

/// Tells `visitor` every value inside the one value that `bytes` are, checking the structure on the way.
///
/// # Errors
/// What is wrong with the structure; the visitor was then told what came before.
pub fn walk(
    bytes: &[u8],
    rules: DecodeRules,
    visitor: &mut impl Visitor,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    walk_value(&mut reader, rules, visitor)?;
    reader.finish()
}

/// Walks over one value and leaves `reader` behind it.
#[inline]
pub(crate) fn walk_value(
    reader: &mut Reader<'_>,
    rules: DecodeRules,
    visitor: &mut impl Visitor,
) -> Result<(), DecodeError> {
    *reader = walk_values(*reader, 1, rules, visitor, rules.depth_limit())?;
    Ok(())
}

/// Walks over `count` values in a row; the reader behind them.
///
/// One call for each container, not for each value, and the reader goes in and out by value: so it stays in registers,
/// which makes this several times faster than the plain recursion.
fn walk_values<'a, V: Visitor>(
    mut reader: Reader<'a>,
    count: usize,
    rules: DecodeRules,
    visitor: &mut V,
    levels: u16,
) -> Result<Reader<'a>, DecodeError> {
    for _ in 0..count {
        let tag = reader.u8("type tag")?;
        let Some(kind) = DataKind::from_tag(tag) else {
            return Err(DecodeError::UnknownTag(tag));
        };
        let inner = match kind {
            DataKind::None => {
                visitor.none();
                continue;
            }
            DataKind::Boolean => {
                visitor.boolean(reader.bool("boolean")?);
                continue;
            }
            DataKind::Count => {
                visitor.count(reader.u64("count")?);
                continue;
            }
            DataKind::Integer => {
                visitor.integer(reader.i64("integer")?);
                continue;
            }
            DataKind::Real => {
                visitor.real(read_real(&mut reader)?);
                continue;
            }
            DataKind::String => {
                visitor.string(reader.string("string")?);
                continue;
            }
            DataKind::Address => {
                visitor.address(read_address(&mut reader)?);
                continue;
            }
            DataKind::Subnet => {
                visitor.subnet(read_subnet(&mut reader)?);
                continue;
            }
            DataKind::Port => {
                visitor.port(read_port(&mut reader, rules)?);
                continue;
            }
            DataKind::Timestamp => {
                visitor.timestamp(read_timestamp(&mut reader)?);
                continue;
            }
            DataKind::Timespan => {
                visitor.timespan(read_timespan(&mut reader)?);
                continue;
            }
            DataKind::Enum => {
                visitor.enum_value(reader.string("enum value")?);
                continue;
            }
            DataKind::Set => {
                let count = reader.count(1, "set size")? as usize;
                visitor.set(count);
                count
            }
            DataKind::Table => {
                let count = reader.count(2, "table size")? as usize;
                visitor.table(count);
                2 * count
            }
            DataKind::Vector => {
                let count = reader.count(1, "vector size")? as usize;
                visitor.vector(count);
                count
            }
        };
        let Some(levels) = levels.checked_sub(1) else {
            return Err(DecodeError::TooDeep {
                limit: rules.depth_limit(),
            });
        };
        reader = walk_values(reader, inner, rules, visitor, levels)?;
        visitor.end();
    }
    Ok(reader)
}

#[inline]
pub(crate) fn read_real(reader: &mut Reader<'_>) -> Result<f64, DecodeError> {
    reader.u64("real").map(real::from_wire)
}

#[inline]
pub(crate) fn read_address(reader: &mut Reader<'_>) -> Result<Address, DecodeError> {
    reader
        .array("address")
        .map(|octets| Address::from_octets(*octets))
}

#[inline]
pub(crate) fn read_subnet(reader: &mut Reader<'_>) -> Result<Subnet, DecodeError> {
    let address = Address::from_octets(*reader.array("subnet")?);
    Ok(Subnet::from_raw(address, reader.u8("subnet length")?))
}

#[inline]
pub(crate) fn read_port(reader: &mut Reader<'_>, rules: DecodeRules) -> Result<Port, DecodeError> {
    let number = reader.u16("port")?;
    let protocol = reader.u8("port protocol")?;
    match Protocol::from_u8(protocol) {
        Some(protocol) => Ok(Port::new(number, protocol)),
        None if rules.any_protocol => Ok(Port::new(number, Protocol::Unknown)),
        None => Err(DecodeError::UnknownProtocol(protocol)),
    }
}

#[inline]
pub(crate) fn read_timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    reader.i64("timestamp").map(Timestamp::from_nanos)
}

#[inline]
pub(crate) fn read_timespan(reader: &mut Reader<'_>) -> Result<Timespan, DecodeError> {
    reader.i64("timespan").map(Timespan::from_nanos)
}
