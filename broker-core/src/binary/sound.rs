//! The full check of a payload before it is delivered: structure, and nothing twice in a set or table.
//!
//! Writers sort (wire reference 3.2), so comparing each element in place with the one before proves that all
//! differ, without allocating. Only where the order is another one the value is decoded to find out.

use std::cmp::Ordering;

use super::error::DecodeError;
use super::reader::Reader;
use super::{DecodeRules, decode, read_port, read_real};
use crate::data::{DataKind, compare_reals};

/// Whether `bytes` are exactly one value that [`decode`] accepts. Nothing is allocated as long as sets and tables
/// are in ascending order.
///
/// # Errors
/// What is wrong with them.
pub fn check_sound(bytes: &[u8], rules: DecodeRules) -> Result<(), DecodeError> {
    let mut check = Check {
        rules,
        ascending: true,
    };
    let mut reader = Reader::new(bytes);
    check.value(&mut reader, rules.depth_limit())?;
    reader.finish()?;
    if check.ascending {
        Ok(())
    } else {
        decode(bytes, rules).map(drop)
    }
}

struct Check {
    rules: DecodeRules,
    /// Whether every set and table so far is strictly ascending.
    ascending: bool,
}

impl Check {
    /// Walks over one value. Inlined into the loop over elements, so that only a container costs a call and the reader
    /// stays in registers.
    #[inline(always)]
    fn value(&mut self, reader: &mut Reader<'_>, levels: u16) -> Result<(), DecodeError> {
        let tag = reader.u8("type tag")?;
        let Some(kind) = DataKind::from_tag(tag) else {
            return Err(DecodeError::UnknownTag(tag));
        };
        match kind {
            DataKind::None => Ok(()),
            DataKind::Boolean => reader.u8("boolean").map(drop),
            DataKind::Count => reader.u64("count").map(drop),
            DataKind::Integer => reader.u64("integer").map(drop),
            DataKind::Real => reader.u64("real").map(drop),
            DataKind::String => reader.string("string").map(drop),
            DataKind::Address => reader.array::<16>("address").map(drop),
            DataKind::Subnet => reader.array::<17>("subnet").map(drop),
            DataKind::Port => read_port(reader, self.rules).map(drop),
            DataKind::Timestamp => reader.u64("timestamp").map(drop),
            DataKind::Timespan => reader.u64("timespan").map(drop),
            DataKind::Enum => reader.string("enum value").map(drop),
            DataKind::Set | DataKind::Table | DataKind::Vector => {
                *reader = self.container(kind, *reader, levels)?;
                Ok(())
            }
        }
    }

    fn container<'a>(
        &mut self,
        kind: DataKind,
        mut reader: Reader<'a>,
        levels: u16,
    ) -> Result<Reader<'a>, DecodeError> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(DecodeError::TooDeep {
                limit: self.rules.depth_limit(),
            });
        };
        if kind == DataKind::Vector {
            for _ in 0..reader.count(1, "vector size")? {
                self.value(&mut reader, levels)?;
            }
            return Ok(reader);
        }
        let is_table = kind == DataKind::Table;
        let count = if is_table {
            reader.count(2, "table size")?
        } else {
            reader.count(1, "set size")?
        };
        let mut previous: Option<Reader<'a>> = None;
        for _ in 0..count {
            let key = reader;
            self.value(&mut reader, levels)?;
            if let Some(previous) = previous
                && self.ascending
            {
                self.ascending = is_below(previous, key);
            }
            previous = Some(key);
            if is_table {
                self.value(&mut reader, levels)?;
            }
        }
        Ok(reader)
    }
}

/// Whether the value at `left` comes before the one at `right`, both of checked structure.
#[inline]
fn is_below(left: Reader<'_>, right: Reader<'_>) -> bool {
    const STRING: u8 = DataKind::String.tag();
    // Strings are the usual keys, and their first eight bytes mostly tell the order.
    if let ([STRING, left_len @ 0..=0x7f, left @ ..], [STRING, right_len @ 0..=0x7f, right @ ..]) =
        (left.rest(), right.rest())
    {
        if let (Some(left), Some(right)) =
            (first_word(left, *left_len), first_word(right, *right_len))
            && left != right
        {
            return left < right;
        }
        return left.get(..usize::from(*left_len)) < right.get(..usize::from(*right_len));
    }
    compare(&mut { left }, &mut { right }) == Some(Ordering::Less)
}

/// The first eight bytes of a string of `len` bytes, those behind its end zero, as a number that orders like them. `None`
/// if fewer than eight bytes follow, whether of the string or of what comes next.
#[inline]
fn first_word(bytes: &[u8], len: u8) -> Option<u64> {
    let word = u64::from_be_bytes(*bytes.first_chunk()?);
    Some(if len < 8 {
        word & !(u64::MAX >> (8 * len))
    } else {
        word
    })
}

/// The order of two values whose structure has been checked (wire reference 3.4); `None` would mean it has not.
fn compare(left: &mut Reader<'_>, right: &mut Reader<'_>) -> Option<Ordering> {
    let tag = left.u8("type tag").ok()?;
    let by_tag = tag.cmp(&right.u8("type tag").ok()?);
    if by_tag.is_ne() {
        return Some(by_tag);
    }
    let bytes = |left: &mut Reader<'_>, right: &mut Reader<'_>, len| {
        Some(
            left.bytes(len, "value")
                .ok()?
                .cmp(right.bytes(len, "value").ok()?),
        )
    };
    match DataKind::from_tag(tag)? {
        DataKind::None => Some(Ordering::Equal),
        DataKind::Boolean => Some(left.bool("boolean").ok()?.cmp(&right.bool("boolean").ok()?)),
        DataKind::Count => bytes(left, right, 8),
        DataKind::Integer | DataKind::Timestamp | DataKind::Timespan => {
            Some(left.i64("integer").ok()?.cmp(&right.i64("integer").ok()?))
        }
        DataKind::Real => Some(compare_reals(read_real(left).ok()?, read_real(right).ok()?)),
        DataKind::String | DataKind::Enum => Some(
            left.string("string")
                .ok()?
                .cmp(right.string("string").ok()?),
        ),
        DataKind::Address => bytes(left, right, 16),
        DataKind::Subnet => bytes(left, right, 17),
        DataKind::Port => {
            let (left, right) = (
                left.array::<3>("port").ok()?,
                right.array::<3>("port").ok()?,
            );
            // Laxer rules read all protocols above 3 as the same one: that is left to decoding.
            (left[2] <= 3 && right[2] <= 3).then(|| left.cmp(right))
        }
        DataKind::Set | DataKind::Table | DataKind::Vector => {
            let values = if tag == DataKind::Table.tag() { 2 } else { 1 };
            let left_len = left.varbyte("container size").ok()?;
            let right_len = right.varbyte("container size").ok()?;
            for _ in 0..u64::from(left_len.min(right_len)) * values {
                let order = compare(left, right)?;
                if order.is_ne() {
                    return Some(order);
                }
            }
            Some(left_len.cmp(&right_len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Data;

    fn verdict(bytes: &[u8]) -> Result<(), DecodeError> {
        let verdict = check_sound(bytes, DecodeRules::DATA);
        // Of several faults the two may name different ones.
        let decoded = Data::decode(bytes);
        assert_eq!(
            verdict.is_ok(),
            decoded.is_ok(),
            "{verdict:?}, {decoded:?} for {bytes:02x?}"
        );
        verdict
    }

    #[test]
    fn it_says_what_decoding_would_say() {
        let strings = |items: &[&str]| {
            let mut bytes = vec![0x0c, u8::try_from(items.len()).expect("few")];
            for item in items {
                bytes.extend([0x05, u8::try_from(item.len()).expect("short")]);
                bytes.extend(item.as_bytes());
            }
            bytes
        };
        assert_eq!(verdict(&strings(&["a", "b"])), Ok(()));
        assert_eq!(verdict(&strings(&["b", "a"])), Ok(()));
        assert_eq!(verdict(&strings(&["aa", "b"])), Ok(()));
        assert_eq!(
            verdict(&strings(&["a", "a"])),
            Err(DecodeError::DuplicateElement)
        );
        assert_eq!(
            verdict(&strings(&["b", "a", "b"])),
            Err(DecodeError::DuplicateElement)
        );
        assert_eq!(
            verdict(&[0x0d, 2, 0, 0, 0, 0]),
            Err(DecodeError::DuplicateKey)
        );
        assert_eq!(
            verdict(&[0x0c, 2, 0x01, 0x01, 0x01, 0x02]),
            Err(DecodeError::DuplicateElement)
        );
        assert_eq!(
            verdict(&[0x0c, 2, 0x0e, 1, 0x01, 0, 0x0e, 1, 0x01, 1]),
            Ok(())
        );
        assert_eq!(
            verdict(&[0x0e, 1, 0x0c, 2, 0, 0]),
            Err(DecodeError::DuplicateElement)
        );
        assert_eq!(
            verdict(&[0x0c, 1, 0, 0]),
            Err(DecodeError::TrailingBytes(1))
        );
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_decoding_on_any_bytes(bytes in proptest::collection::vec(0u8..16, 0..24)) {
            let _ = verdict(&bytes);
        }
    }
}
