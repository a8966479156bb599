//! From values to bytes.
//!
//! One pass finds the length, a second one writes into a buffer of that size. Short strings are written as one block of
//! fixed size of which only the string's length counts, so the buffer is [`SLACK`] bytes longer while it is written.

use bytes::{BufMut, Bytes, BytesMut};

use super::real;
use crate::address::{Address, Subnet};
use crate::byte_string::{ByteString, INLINE_CAPACITY};
use crate::data::{Data, DataKind};
use crate::port::Port;

/// Appends `data` to `out`.
///
/// Sets and tables come out in ascending order. Subnormal reals are written as zero, since C++ cannot read them.
///
/// # Panics
/// If a string or container has 2^32 elements or more, which the format cannot express.
pub fn encode(data: &Data, out: &mut BytesMut) {
    let (start, len) = (out.len(), encoded_len(data));
    out.resize(start + len + SLACK, 0);
    let written = Cursor::new(&mut out[start..]).finish(data);
    debug_assert_eq!(written, len, "both passes see the same value");
    out.truncate(start + written);
}

/// Appends `data` to `out`; as [`encode`].
///
/// # Panics
/// As [`encode`].
pub fn encode_to_vec(data: &Data, out: &mut Vec<u8>) {
    let (start, len) = (out.len(), encoded_len(data));
    out.resize(start + len + SLACK, 0);
    let written = Cursor::new(&mut out[start..]).finish(data);
    debug_assert_eq!(written, len, "both passes see the same value");
    out.truncate(start + written);
}

/// `data` as bytes.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn to_bytes(data: &Data) -> Bytes {
    let mut out = BytesMut::new();
    encode(data, &mut out);
    out.freeze()
}

/// How many bytes [`encode`] writes for `data`.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn encoded_len(data: &Data) -> usize {
    1 + match data {
        Data::None => 0,
        Data::Boolean(_) => 1,
        Data::Port(_) => 3,
        Data::Count(_)
        | Data::Integer(_)
        | Data::Real(_)
        | Data::Timestamp(_)
        | Data::Timespan(_) => 8,
        Data::Address(_) => 16,
        Data::Subnet(_) => 17,
        Data::String(bytes) => string_len(bytes.len()),
        Data::Enum(value) => string_len(value.0.len()),
        Data::Set(elements) => {
            varbyte_len(size(elements.len())) + elements.iter().map(encoded_len).sum::<usize>()
        }
        Data::Vector(elements) => {
            varbyte_len(size(elements.len())) + elements.iter().map(encoded_len).sum::<usize>()
        }
        Data::Table(entries) => {
            varbyte_len(size(entries.len()))
                + entries
                    .iter()
                    .map(|(k, v)| encoded_len(k) + encoded_len(v))
                    .sum::<usize>()
        }
    }
}

/// How many bytes a string of `len` bytes takes: its length as a varbyte, and the bytes.
///
/// # Panics
/// As [`encode`].
#[must_use]
#[inline]
pub fn string_len(len: usize) -> usize {
    varbyte_len(size(len)) + len
}

/// How many bytes a varbyte takes.
#[must_use]
#[inline]
pub const fn varbyte_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        0x0020_0000..=0x0fff_ffff => 4,
        _ => 5,
    }
}

/// Appends a varbyte in its shortest form.
#[inline]
pub fn put_varbyte(value: u32, out: &mut impl BufMut) {
    let mut rest = value;
    while rest > 0x7f {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Appends a string without a tag: its length as a varbyte, and the bytes.
///
/// # Panics
/// As [`encode`].
#[inline]
pub fn put_string(bytes: &[u8], out: &mut impl BufMut) {
    put_varbyte(size(bytes.len()), out);
    out.put_slice(bytes);
}

impl Data {
    /// Appends this value to `out` in the binary format.
    ///
    /// # Panics
    /// If a string or container has 2^32 elements or more, which the format cannot express.
    pub fn encode(&self, out: &mut BytesMut) {
        encode(self, out);
    }

    /// This value in the binary format.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }

    /// The length of this value in the binary format.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }
}

/// How far a write may reach behind the end of what it writes.
const SLACK: usize = INLINE_CAPACITY;

/// A size as the format has it. C++ cuts sizes to 32 bits without a word; here that is the caller's mistake, and one
/// that takes more than 4 GiB to make.
#[inline]
fn size(len: usize) -> u32 {
    u32::try_from(len).expect("a string or container of 2^32 elements cannot be encoded")
}

/// Writes into a buffer that has room for everything and [`SLACK`] more.
struct Cursor<'a> {
    buffer: &'a mut [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            position: 0,
        }
    }

    fn finish(mut self, data: &Data) -> usize {
        self.value(data);
        self.position
    }

    fn value(&mut self, data: &Data) {
        match data {
            Data::None => self.u8(DataKind::None.tag()),
            Data::Boolean(value) => self.array([DataKind::Boolean.tag(), u8::from(*value)]),
            Data::Count(value) => self.word(DataKind::Count, *value),
            Data::Integer(value) => self.word(DataKind::Integer, value.cast_unsigned()),
            Data::Real(value) => self.word(DataKind::Real, real::to_wire(*value)),
            Data::String(value) => self.string(DataKind::String, value),
            Data::Address(value) => self.address(DataKind::Address, value),
            Data::Subnet(Subnet { address, length }) => {
                self.address(DataKind::Subnet, address);
                self.u8(*length);
            }
            Data::Port(Port { number, protocol }) => {
                let [high, low] = number.to_be_bytes();
                self.array([DataKind::Port.tag(), high, low, *protocol as u8]);
            }
            Data::Timestamp(value) => {
                self.word(DataKind::Timestamp, value.as_nanos().cast_unsigned())
            }
            Data::Timespan(value) => {
                self.word(DataKind::Timespan, value.as_nanos().cast_unsigned())
            }
            Data::Enum(value) => self.string(DataKind::Enum, &value.0),
            Data::Set(elements) => {
                self.head(DataKind::Set, elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
            Data::Table(entries) => {
                self.head(DataKind::Table, entries.len());
                for (key, value) in entries {
                    self.value(key);
                    self.value(value);
                }
            }
            Data::Vector(elements) => {
                self.head(DataKind::Vector, elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
        }
    }

    #[inline]
    fn u8(&mut self, byte: u8) {
        self.array([byte]);
    }

    #[inline]
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        self.buffer[self.position..self.position + N].copy_from_slice(&bytes);
        self.position += N;
    }

    #[inline]
    fn word(&mut self, kind: DataKind, value: u64) {
        let mut bytes = [kind.tag(); 9];
        bytes[1..].copy_from_slice(&value.to_be_bytes());
        self.array(bytes);
    }

    #[inline]
    fn address(&mut self, kind: DataKind, address: &Address) {
        let mut bytes = [kind.tag(); 17];
        bytes[1..].copy_from_slice(address.octets());
        self.array(bytes);
    }

    #[inline]
    fn string(&mut self, kind: DataKind, string: &ByteString) {
        if let Some((block, len)) = string.inline_block() {
            self.array([kind.tag(), len]);
            self.array(*block);
            self.position -= INLINE_CAPACITY - usize::from(len);
        } else {
            self.head(kind, string.len());
            self.buffer[self.position..self.position + string.len()].copy_from_slice(string);
            self.position += string.len();
        }
    }

    #[inline]
    fn head(&mut self, kind: DataKind, len: usize) {
        self.u8(kind.tag());
        let mut rest = size(len);
        while rest > 0x7f {
            self.u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.u8(rest as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::Reader;

    #[test]
    fn varbytes_lead_back_to_their_number() {
        for value in [
            0,
            1,
            0x7f,
            0x80,
            200,
            0x3fff,
            0x4000,
            0x001f_ffff,
            0x0020_0000,
            0x0fff_ffff,
            0x1000_0000,
            u32::MAX,
        ] {
            let mut out = Vec::new();
            put_varbyte(value, &mut out);
            assert_eq!(out.len(), varbyte_len(value));
            assert_eq!(Reader::new(&out).varbyte("n"), Ok(value));
        }
    }

    #[test]
    fn encoding_appends_and_leaves_no_slack() {
        let mut out = BytesMut::from(&b"head"[..]);
        encode(&"x".into(), &mut out);
        encode(&Data::None, &mut out);
        assert_eq!(&out[..], b"head\x05\x01x\x00");
        let mut out = b"head".to_vec();
        encode_to_vec(&"x".repeat(23).as_str().into(), &mut out);
        assert_eq!(out, [b"head\x05\x17".as_slice(), &[b'x'; 23]].concat());
    }
}
