//! A cursor over bytes from outside: the only code that takes them apart.
//!
//! Every read names the field it is for, which is what an error then says.
//!
//! **Invariant:** no read goes beyond the bytes given; a failed read leaves the reader where it was.

use super::error::DecodeError;
use crate::byte_string::INLINE_CAPACITY;

/// Reads fields one after the other from a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[must_use]
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are not read yet.
    #[must_use]
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether all bytes are read.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] if there is.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes(self.rest.len()))
        }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer are left; this holds for all reads below.
    #[inline]
    pub const fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<&'a [u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(array)
            }
            None => Err(DecodeError::Truncated { field }),
        }
    }

    /// The next `len` bytes.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub const fn bytes(
        &mut self,
        len: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated { field }),
        }
    }

    /// One byte.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub const fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => Err(DecodeError::Truncated { field }),
        }
    }

    /// A byte as a truth value: any but zero is true.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.u8(field)? != 0)
    }

    /// Two bytes, big-endian.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(*self.array(field)?))
    }

    /// Four bytes, big-endian.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(*self.array(field)?))
    }

    /// Eight bytes, big-endian.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(*self.array(field)?))
    }

    /// Eight bytes, big-endian, two's complement.
    #[inline]
    #[expect(clippy::missing_errors_doc, reason = "said at `array`")]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(*self.array(field)?))
    }

    /// A varbyte: seven bits a byte, the least significant first, the top bit set on all but the last. Padded forms of
    /// up to five bytes are taken; bits beyond the 32nd fall away, as they do in C++ (wire reference 0).
    ///
    /// # Errors
    /// [`DecodeError::VarbyteTooLong`] if a sixth byte would follow.
    #[inline]
    pub fn varbyte(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            _ => self.long_varbyte(field),
        }
    }

    fn long_varbyte(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for (index, &byte) in self.rest.iter().take(MAX_VARBYTE_LEN).enumerate() {
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() < MAX_VARBYTE_LEN {
            Err(DecodeError::Truncated { field })
        } else {
            Err(DecodeError::VarbyteTooLong { field })
        }
    }

    /// A varbyte length and that many bytes.
    ///
    /// # Errors
    /// As [`array`](Self::array) and [`varbyte`](Self::varbyte).
    #[inline]
    pub fn string(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let mut ahead = *self;
        let len = ahead.varbyte(field)?;
        let bytes = ahead.bytes(len as usize, field)?;
        *self = ahead;
        Ok(bytes)
    }

    /// A [`string`](Self::string), and if it is short a block that begins with it: copying a block of fixed size is faster
    /// than copying a few bytes. What follows the string in the block belongs to what comes next.
    ///
    /// # Errors
    /// As [`array`](Self::array) and [`varbyte`](Self::varbyte).
    #[inline(always)]
    pub(crate) fn string_block(
        &mut self,
        field: &'static str,
    ) -> Result<(&'a [u8], Option<&'a [u8; INLINE_CAPACITY]>), DecodeError> {
        let mut ahead = *self;
        let len = ahead.varbyte(field)? as usize;
        let block = if len <= INLINE_CAPACITY {
            ahead.rest.first_chunk()
        } else {
            None
        };
        let bytes = ahead.bytes(len, field)?;
        *self = ahead;
        Ok((bytes, block))
    }

    /// A varbyte count of things that take at least `min_len` bytes each.
    ///
    /// # Errors
    /// [`DecodeError::CountTooLarge`] if the remaining bytes cannot hold that many.
    #[inline]
    pub fn count(&mut self, min_len: usize, field: &'static str) -> Result<u32, DecodeError> {
        let mut ahead = *self;
        let count = ahead.varbyte(field)?;
        if (count as usize).saturating_mul(min_len) > ahead.remaining() {
            return Err(DecodeError::CountTooLarge {
                field,
                count,
                remaining: ahead.remaining(),
            });
        }
        *self = ahead;
        Ok(count)
    }
}

/// The longest varbyte: five groups of seven bits hold 32.
const MAX_VARBYTE_LEN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn varbyte(bytes: &[u8]) -> Result<(u32, usize), DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.varbyte("n")?;
        Ok((value, bytes.len() - reader.remaining()))
    }

    #[test]
    fn varbytes_are_read_in_shortest_and_padded_form() {
        assert_eq!(varbyte(&[0x00]), Ok((0, 1)));
        assert_eq!(varbyte(&[0x7f, 0xff]), Ok((127, 1)));
        assert_eq!(varbyte(&[0xc8, 0x01]), Ok((200, 2)));
        assert_eq!(varbyte(&[0x81, 0x00]), Ok((1, 2)));
        assert_eq!(varbyte(&[0x81, 0x80, 0x80, 0x80, 0x00]), Ok((1, 5)));
        assert_eq!(varbyte(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok((u32::MAX, 5)));
        assert_eq!(varbyte(&[0xff, 0xff, 0xff, 0xff, 0x7f]), Ok((u32::MAX, 5)));
    }

    #[test]
    fn a_sixth_varbyte_byte_is_an_error() {
        assert_eq!(
            varbyte(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x00]),
            Err(DecodeError::VarbyteTooLong { field: "n" })
        );
        assert_eq!(
            varbyte(&[0x80; 5]),
            Err(DecodeError::VarbyteTooLong { field: "n" })
        );
        assert_eq!(
            varbyte(&[0x80; 4]),
            Err(DecodeError::Truncated { field: "n" })
        );
        assert_eq!(varbyte(&[]), Err(DecodeError::Truncated { field: "n" }));
    }

    #[test]
    fn a_block_begins_with_the_string_however_its_length_is_written() {
        let text = b"xy, and what comes next, which is long enough";
        for head in [&[2][..], &[0x82, 0x00], &[0x82, 0x80, 0x80, 0x80, 0x00]] {
            let bytes = [head, text].concat();
            let (string, block) = Reader::new(&bytes).string_block("s").unwrap();
            assert_eq!(string, b"xy");
            assert_eq!(block, text.first_chunk());
        }
        assert_eq!(
            Reader::new(&[1, b'x']).string_block("s"),
            Ok((&b"x"[..], None))
        );
    }

    #[test]
    fn a_failed_read_leaves_the_reader_where_it_was() {
        let mut reader = Reader::new(&[5, b'a', b'b']);
        assert_eq!(
            reader.string("s"),
            Err(DecodeError::Truncated { field: "s" })
        );
        assert_eq!(reader.u64("n"), Err(DecodeError::Truncated { field: "n" }));
        assert_eq!(
            reader.count(1, "c"),
            Err(DecodeError::CountTooLarge {
                field: "c",
                count: 5,
                remaining: 2
            })
        );
        assert_eq!(reader.u8("b"), Ok(5));
        assert_eq!(reader.u16("w"), Ok(0x6162));
        assert_eq!(reader.finish(), Ok(()));
    }
}
