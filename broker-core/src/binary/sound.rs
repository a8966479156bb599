//! The full check of a payload before it is delivered: structure, and nothing twice in a set or table.
//!
//! Writers sort (wire reference 3.2), so comparing each element in place with the one before proves that all
//! differ, without allocating. Only where the order is another one the value is decoded to find out.

use std::cmp::Ordering;

use super::error::DecodeError;
use super::reader::Reader;
use super::walk::walk_value;
use super::{DecodeRules, decode, read_real};
use crate::data::{DataKind, compare_reals};

/// Whether `bytes` are exactly one value that [`decode`] accepts. Nothing is allocated as long as sets and tables
/// are in ascending order.
///
/// # Errors
/// What is wrong with them.
pub fn check_sound(bytes: &[u8], rules: DecodeRules) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let ascending = walk(&mut reader, rules, rules.depth_limit())?;
    reader.finish()?;
    if ascending {
        Ok(())
    } else {
        decode(bytes, rules).map(drop)
    }
}

/// Walks over one value; whether every set and table in it is strictly ascending.
fn walk<'a>(reader: &mut Reader<'a>, rules: DecodeRules, levels: u16) -> Result<bool, DecodeError> {
    let kind = reader.rest().first().copied().and_then(DataKind::from_tag);
    let Some(kind @ (DataKind::Set | DataKind::Table | DataKind::Vector)) = kind else {
        walk_value(reader, rules, &mut ())?;
        return Ok(true);
    };
    let _tag = reader.u8("type tag")?;
    let levels = levels.checked_sub(1).ok_or_else(|| DecodeError::TooDeep {
        limit: rules.depth_limit(),
    })?;
    let min_len = if kind == DataKind::Table { 2 } else { 1 };
    let count = reader.count(min_len, "container size")?;
    let mut ascending = true;
    let mut previous: Option<Reader<'a>> = None;
    for _ in 0..count {
        let key = *reader;
        ascending &= walk(reader, rules, levels)?;
        if kind != DataKind::Vector && ascending {
            ascending = previous.is_none_or(|mut previous| {
                compare(&mut previous, &mut { key }) == Some(Ordering::Less)
            });
            previous = Some(key);
        }
        if kind == DataKind::Table {
            ascending &= walk(reader, rules, levels)?;
        }
    }
    Ok(ascending)
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
