//! From bytes to owned values.

use super::error::DecodeError;
use super::reader::Reader;
use super::walk::{read_address, read_port, read_real, read_subnet, read_timespan, read_timestamp};
use super::{DecodeRules, MAX_DEPTH};
use crate::byte_string::ByteString;
use crate::data::{Data, DataKind, EnumValue};
use crate::set::Set;
use crate::table::Table;

/// The one value that `bytes` are.
///
/// # Errors
/// What is wrong with the bytes, trailing ones included.
pub fn decode(bytes: &[u8], rules: DecodeRules) -> Result<Data, DecodeError> {
    let mut reader = Reader::new(bytes);
    let data = decode_prefix(&mut reader, rules)?;
    reader.finish()?;
    Ok(data)
}

/// The value at `reader`, which is left behind it; for values inside commands.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_prefix(reader: &mut Reader<'_>, rules: DecodeRules) -> Result<Data, DecodeError> {
    let mut decoder = Decoder {
        reader: *reader,
        rules,
        owed: 0,
    };
    let data = decoder.value(rules.depth_limit())?;
    *reader = decoder.reader;
    Ok(data)
}

impl Data {
    /// The value that the payload of a data message holds: exactly one, nested at most [`MAX_DEPTH`] levels.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const { assert!(MAX_DEPTH == DecodeRules::DATA.max_depth) };
        decode(bytes, DecodeRules::DATA)
    }
}

struct Decoder<'a> {
    reader: Reader<'a>,
    rules: DecodeRules,
    /// How many values the containers around the current one still have to get. Each takes a byte at least, so that
    /// all vectors together are never sized for more elements than there are bytes.
    owed: usize,
}

impl Decoder<'_> {
    fn value(&mut self, levels: u16) -> Result<Data, DecodeError> {
        let reader = &mut self.reader;
        let tag = reader.u8("type tag")?;
        Ok(
            match DataKind::from_tag(tag).ok_or(DecodeError::UnknownTag(tag))? {
                DataKind::None => Data::None,
                DataKind::Boolean => Data::Boolean(reader.bool("boolean")?),
                DataKind::Count => Data::Count(reader.u64("count")?),
                DataKind::Integer => Data::Integer(reader.i64("integer")?),
                DataKind::Real => Data::Real(read_real(reader)?),
                DataKind::String => {
                    Data::String(ByteString::copy_from_slice(reader.string("string")?))
                }
                DataKind::Address => Data::Address(read_address(reader)?),
                DataKind::Subnet => Data::Subnet(read_subnet(reader)?),
                DataKind::Port => Data::Port(read_port(reader, self.rules)?),
                DataKind::Timestamp => Data::Timestamp(read_timestamp(reader)?),
                DataKind::Timespan => Data::Timespan(read_timespan(reader)?),
                DataKind::Enum => Data::Enum(EnumValue(ByteString::copy_from_slice(
                    reader.string("enum value")?,
                ))),
                DataKind::Set => {
                    let elements = self.elements(levels, "set size")?;
                    Data::Set(Set::from_unique(elements).ok_or(DecodeError::DuplicateElement)?)
                }
                DataKind::Table => {
                    let entries = self.entries(levels)?;
                    Data::Table(Table::from_unique(entries).ok_or(DecodeError::DuplicateKey)?)
                }
                DataKind::Vector => Data::Vector(self.elements(levels, "vector size")?),
            },
        )
    }

    fn elements(&mut self, levels: u16, field: &'static str) -> Result<Vec<Data>, DecodeError> {
        let levels = self.enter(levels)?;
        let count = self.count(1, field)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            self.owed -= 1;
            elements.push(self.value(levels)?);
        }
        Ok(elements)
    }

    fn entries(&mut self, levels: u16) -> Result<Vec<(Data, Data)>, DecodeError> {
        let levels = self.enter(levels)?;
        let count = self.count(2, "table size")?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            self.owed -= 1;
            let key = self.value(levels)?;
            self.owed -= 1;
            entries.push((key, self.value(levels)?));
        }
        Ok(entries)
    }

    fn enter(&self, levels: u16) -> Result<u16, DecodeError> {
        levels.checked_sub(1).ok_or_else(|| DecodeError::TooDeep {
            limit: self.rules.depth_limit(),
        })
    }

    /// The number of elements of a container, `values` values each, after making sure that it can be true.
    fn count(&mut self, values: usize, field: &'static str) -> Result<usize, DecodeError> {
        let count = self.reader.varbyte(field)?;
        let available = self.reader.remaining().saturating_sub(self.owed);
        let owed = (count as usize).saturating_mul(values);
        if owed > available {
            return Err(DecodeError::CountTooLarge {
                field,
                count,
                remaining: available,
            });
        }
        self.owed += owed;
        Ok(count as usize)
    }
}
