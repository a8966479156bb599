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
        rules,
        owed: 0,
        error: None,
    };
    let mut behind = *reader;
    let data = decoder.value(&mut behind, rules.depth_limit());
    match decoder.error {
        None => {
            *reader = behind;
            Ok(data)
        }
        Some(error) => Err(error),
    }
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

/// Builds values where they are to stay.
///
/// Its methods return plain values, so that each is written straight into its place in a vector; a `Result` around it
/// would be put together elsewhere and moved. The first error is kept here, and what is returned from then on is thrown
/// away with it: the reader is at its end then, so nothing more is read or built.
struct Decoder {
    rules: DecodeRules,
    /// How many values the containers around the current one still have to get. Each takes a byte at least, so that
    /// all vectors together are never sized for more elements than there are bytes.
    owed: usize,
    error: Option<DecodeError>,
}

impl Decoder {
    /// Reads one value. Inlined into the loops over elements, so that only a container costs a call.
    #[inline(always)]
    fn value(&mut self, reader: &mut Reader<'_>, levels: u16) -> Data {
        let tag = match reader.u8("type tag") {
            Ok(tag) => tag,
            Err(error) => return self.fail(reader, error),
        };
        let Some(kind) = DataKind::from_tag(tag) else {
            return self.fail(reader, DecodeError::UnknownTag(tag));
        };
        macro_rules! read {
            ($read:expr, $build:expr) => {
                match $read {
                    Ok(value) => $build(value),
                    Err(error) => self.fail(reader, error),
                }
            };
        }
        match kind {
            DataKind::None => Data::None,
            DataKind::Boolean => read!(reader.bool("boolean"), Data::Boolean),
            DataKind::Count => read!(reader.u64("count"), Data::Count),
            DataKind::Integer => read!(reader.i64("integer"), Data::Integer),
            DataKind::Real => read!(read_real(reader), Data::Real),
            DataKind::String => read!(
                reader.string_block("string"),
                |(bytes, block)| Data::String(ByteString::from_block(bytes, block))
            ),
            DataKind::Address => read!(read_address(reader), Data::Address),
            DataKind::Subnet => read!(read_subnet(reader), Data::Subnet),
            DataKind::Port => read!(read_port(reader, self.rules), Data::Port),
            DataKind::Timestamp => read!(read_timestamp(reader), Data::Timestamp),
            DataKind::Timespan => read!(read_timespan(reader), Data::Timespan),
            DataKind::Enum => read!(reader.string_block("enum value"), |(bytes, block)| {
                Data::Enum(EnumValue(ByteString::from_block(bytes, block)))
            }),
            DataKind::Set | DataKind::Table | DataKind::Vector => {
                let (data, behind) = self.container(kind, *reader, levels);
                *reader = behind;
                data
            }
        }
    }

    fn container<'a>(
        &mut self,
        kind: DataKind,
        mut reader: Reader<'a>,
        levels: u16,
    ) -> (Data, Reader<'a>) {
        let Some(levels) = levels.checked_sub(1) else {
            let limit = self.rules.depth_limit();
            return (
                self.fail(&mut reader, DecodeError::TooDeep { limit }),
                reader,
            );
        };
        let data = match kind {
            DataKind::Table => match Table::from_unique(self.entries(&mut reader, levels)) {
                Some(table) => Data::Table(table),
                None => self.fail(&mut reader, DecodeError::DuplicateKey),
            },
            DataKind::Set => match Set::from_unique(self.elements(&mut reader, levels)) {
                Some(set) => Data::Set(set),
                None => self.fail(&mut reader, DecodeError::DuplicateElement),
            },
            _ => Data::Vector(self.elements(&mut reader, levels)),
        };
        (data, reader)
    }

    #[inline]
    fn elements(&mut self, reader: &mut Reader<'_>, levels: u16) -> Vec<Data> {
        let count = self.count(reader, 1, "number of elements");
        let mut ahead = *reader;
        let mut elements = Vec::with_capacity(count);
        elements.extend((0..count).map(|_| {
            self.owed = self.owed.saturating_sub(1);
            self.value(&mut ahead, levels)
        }));
        *reader = ahead;
        elements
    }

    #[inline]
    fn entries(&mut self, reader: &mut Reader<'_>, levels: u16) -> Vec<(Data, Data)> {
        let count = self.count(reader, 2, "number of entries");
        let mut ahead = *reader;
        let mut entries = Vec::with_capacity(count);
        entries.extend((0..count).map(|_| {
            self.owed = self.owed.saturating_sub(1);
            let key = self.value(&mut ahead, levels);
            self.owed = self.owed.saturating_sub(1);
            (key, self.value(&mut ahead, levels))
        }));
        *reader = ahead;
        entries
    }

    /// The number of elements of a container, `values` values each, after making sure that it can be true.
    fn count(&mut self, reader: &mut Reader<'_>, values: usize, field: &'static str) -> usize {
        let count = match reader.varbyte(field) {
            Ok(count) => count,
            Err(error) => {
                self.fail(reader, error);
                return 0;
            }
        };
        let available = reader.remaining().saturating_sub(self.owed);
        let owed = (count as usize).saturating_mul(values);
        if owed > available {
            self.fail(
                reader,
                DecodeError::CountTooLarge {
                    field,
                    count,
                    remaining: available,
                },
            );
            return 0;
        }
        self.owed += owed;
        count as usize
    }

    /// Keeps the first error and ends the reading.
    #[cold]
    fn fail(&mut self, reader: &mut Reader<'_>, error: DecodeError) -> Data {
        *reader = Reader::new(&[]);
        self.error.get_or_insert(error);
        Data::None
    }
}
