//! A cursor over a frame: the only code of this crate that indexes what a peer sent.

use std::ops::Range;

use bytes::Bytes;

use super::error::FrameError;
use super::limits::BATCH_TARGET;

/// Reads the protobuf wire format in place. Positions are offsets into the whole frame, so that what
/// is found can be shared instead of copied.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    frame: Bytes,
    at: usize,
}

/// The content of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Varint(u64),
    Bytes(Range<usize>),
    /// Of four or eight bytes; no message of ours has one.
    Fixed,
}

impl Reader {
    pub(crate) const fn new(frame: Bytes) -> Self {
        Self { frame, at: 0 }
    }

    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    pub(crate) const fn len(&self) -> usize {
        self.frame.len()
    }

    /// Goes on at `position`, which a [`Field::Bytes`] has shown to lie within the frame.
    pub(crate) fn seek(&mut self, position: usize) {
        self.at = position.min(self.frame.len());
    }

    /// Shares part of the frame; a small part of a frame larger than anybody needs to send is copied, or
    /// who keeps it would keep the whole frame.
    #[inline]
    pub(crate) fn share(&self, range: Range<usize>) -> Bytes {
        if self.frame.len() > OVERSIZED && range.len() < self.frame.len() / 2 {
            return Bytes::copy_from_slice(&self.frame[range]);
        }
        self.frame.slice(range)
    }

    /// Looks at part of the frame.
    pub(crate) fn peek(&self, range: Range<usize>) -> &[u8] {
        &self.frame[range]
    }

    /// The next field: its number and content. `end` bounds the message it belongs to.
    #[inline]
    pub(crate) fn field(
        &mut self,
        end: usize,
        within: &'static str,
    ) -> Result<(u32, Field), FrameError> {
        let key = self.varint(end, within)?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(FrameError::BadKey { within })?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint(end, within)?),
            2 => {
                let len = self.varint(end, within)?;
                let left = end - self.at;
                let len = usize::try_from(len)
                    .ok()
                    .filter(|len| *len <= left)
                    .ok_or(FrameError::Truncated { field: within })?;
                let start = self.at;
                self.at += len;
                Field::Bytes(start..self.at)
            }
            1 => self.skip(8, end, within)?,
            5 => self.skip(4, end, within)?,
            _ => return Err(FrameError::BadKey { within }),
        };
        Ok((number, field))
    }

    fn skip(&mut self, len: usize, end: usize, within: &'static str) -> Result<Field, FrameError> {
        if end - self.at < len {
            return Err(FrameError::Truncated { field: within });
        }
        self.at += len;
        Ok(Field::Fixed)
    }

    #[inline]
    fn varint(&mut self, end: usize, field: &'static str) -> Result<u64, FrameError> {
        let rest = &self.frame[self.at..end];
        match rest.first() {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => {
                let (value, len) = long_varint(rest, field)?;
                self.at += len;
                Ok(value)
            }
        }
    }
}

fn long_varint(rest: &[u8], field: &'static str) -> Result<(u64, usize), FrameError> {
    let mut value = 0u64;
    for (index, &byte) in rest.iter().take(10).enumerate() {
        // The tenth byte has room for one bit.
        if index == 9 && byte > 1 {
            return Err(FrameError::BadVarint { field });
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(if rest.len() < 10 {
        FrameError::Truncated { field }
    } else {
        FrameError::BadVarint { field }
    })
}

/// Batches are cut before this; only a single large message makes a larger frame.
const OVERSIZED: usize = 2 * BATCH_TARGET;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_beyond_the_end_is_found_before_it_is_used() {
        for bytes in [
            &[0x0a, 5, 1, 2][..],
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            &[0x09, 1],
            &[0x0d],
        ] {
            let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
            let end = reader.len();
            assert_eq!(
                reader.field(end, "x"),
                Err(FrameError::Truncated { field: "x" })
            );
        }
    }

    #[test]
    fn groups_and_field_zero_are_no_fields() {
        for byte in [0x0b, 0x0c, 0x0e, 0x00, 0x02] {
            let mut reader = Reader::new(Bytes::copy_from_slice(&[byte, 0]));
            assert_eq!(
                reader.field(2, "x"),
                Err(FrameError::BadKey { within: "x" })
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(Bytes::from(bytes));
            let end = reader.len();
            while reader.position() < end {
                let before = reader.position();
                if reader.field(end, "x").is_err() {
                    break;
                }
                prop_assert!(reader.position() > before && reader.position() <= end);
            }
        }

        #[test]
        fn numbers_are_read_as_prost_reads_them(bytes in proptest::collection::vec(any::<u8>(), 1..12)) {
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            let ours = reader.varint(bytes.len(), "x").ok();
            prop_assert_eq!(ours, prost::encoding::decode_varint(&mut &bytes[..]).ok());
        }
    }
}
