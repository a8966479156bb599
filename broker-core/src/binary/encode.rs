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
/// Sets and tables come out in ascending order. Subnormal reals are written as zero, since C++ cannot read them; so a
/// set must not hold two that only subnormals tell apart.
///
/// # Panics
/// If a string or container has 2^32 elements or more, which the format cannot express.
pub fn encode(data: &Data, out: &mut BytesMut) {
    let (start, len) = (out.len(), encoded_len(data));
    out.resize(start + len + SLACK, 0);
    let written = put(data, &mut out[start..], 0);
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
    let written = put(data, &mut out[start..], 0);
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
    len_of(data)
}

/// As [`encoded_len`]; inlined into the loops over elements, so that only a container costs a call.
#[inline(always)]
fn len_of(data: &Data) -> usize {
    match data {
        Data::String(bytes) => 1 + string_len(bytes.len()),
        Data::None => 1,
        Data::Boolean(_) => 2,
        Data::Port(_) => 4,
        Data::Count(_)
        | Data::Integer(_)
        | Data::Real(_)
        | Data::Timestamp(_)
        | Data::Timespan(_) => 9,
        Data::Address(_) => 17,
        Data::Subnet(_) => 18,
        Data::Enum(value) => 1 + string_len(value.0.len()),
        Data::Set(elements) => elements_len(elements.as_slice()),
        Data::Table(entries) => entries_len(entries.as_slice()),
        Data::Vector(elements) => elements_len(elements),
    }
}

fn elements_len(elements: &[Data]) -> usize {
    let mut len = 1 + varbyte_len(size(elements.len()));
    for element in elements {
        len += len_of(element);
    }
    len
}

fn entries_len(entries: &[(Data, Data)]) -> usize {
    let mut len = 1 + varbyte_len(size(entries.len()));
    for (key, value) in entries {
        len += len_of(key) + len_of(value);
    }
    len
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

/// Writes `data` at `at` into a buffer that has room for it and [`SLACK`] more; the position behind it.
///
/// Inlined into the loops over elements, so that only a container costs a call and the position stays in a register.
#[inline(always)]
fn put(data: &Data, buffer: &mut [u8], at: usize) -> usize {
    match data {
        Data::None => put_array([DataKind::None.tag()], buffer, at),
        Data::Boolean(value) => put_array([DataKind::Boolean.tag(), u8::from(*value)], buffer, at),
        Data::Count(value) => put_word(DataKind::Count, *value, buffer, at),
        Data::Integer(value) => put_word(DataKind::Integer, value.cast_unsigned(), buffer, at),
        Data::Real(value) => put_word(DataKind::Real, real::to_wire(*value), buffer, at),
        Data::String(value) => put_bytes(DataKind::String, value, buffer, at),
        Data::Address(value) => put_address(DataKind::Address, value, buffer, at),
        Data::Subnet(Subnet { address, length }) => {
            let at = put_address(DataKind::Subnet, address, buffer, at);
            put_array([*length], buffer, at)
        }
        Data::Port(Port { number, protocol }) => {
            let [high, low] = number.to_be_bytes();
            put_array(
                [DataKind::Port.tag(), high, low, *protocol as u8],
                buffer,
                at,
            )
        }
        Data::Timestamp(value) => put_word(
            DataKind::Timestamp,
            value.as_nanos().cast_unsigned(),
            buffer,
            at,
        ),
        Data::Timespan(value) => put_word(
            DataKind::Timespan,
            value.as_nanos().cast_unsigned(),
            buffer,
            at,
        ),
        Data::Enum(value) => put_bytes(DataKind::Enum, &value.0, buffer, at),
        Data::Set(elements) => put_elements(DataKind::Set, elements.as_slice(), buffer, at),
        Data::Table(entries) => put_entries(entries.as_slice(), buffer, at),
        Data::Vector(elements) => put_elements(DataKind::Vector, elements, buffer, at),
    }
}

fn put_elements(kind: DataKind, elements: &[Data], buffer: &mut [u8], at: usize) -> usize {
    let mut at = put_head(kind, elements.len(), buffer, at);
    for element in elements {
        at = put(element, buffer, at);
    }
    at
}

fn put_entries(entries: &[(Data, Data)], buffer: &mut [u8], at: usize) -> usize {
    let mut at = put_head(DataKind::Table, entries.len(), buffer, at);
    for (key, value) in entries {
        at = put(key, buffer, at);
        at = put(value, buffer, at);
    }
    at
}

#[inline]
fn put_array<const N: usize>(bytes: [u8; N], buffer: &mut [u8], at: usize) -> usize {
    buffer[at..at + N].copy_from_slice(&bytes);
    at + N
}

#[inline]
fn put_word(kind: DataKind, value: u64, buffer: &mut [u8], at: usize) -> usize {
    let slot = &mut buffer[at..at + 9];
    slot[0] = kind.tag();
    slot[1..].copy_from_slice(&value.to_be_bytes());
    at + 9
}

#[inline]
fn put_address(kind: DataKind, address: &Address, buffer: &mut [u8], at: usize) -> usize {
    let slot = &mut buffer[at..at + 17];
    slot[0] = kind.tag();
    slot[1..].copy_from_slice(address.octets());
    at + 17
}

#[inline(always)]
fn put_bytes(kind: DataKind, string: &ByteString, buffer: &mut [u8], at: usize) -> usize {
    if let Some((block, len)) = string.inline_block() {
        let slot = &mut buffer[at..at + 2 + INLINE_CAPACITY];
        slot[0] = kind.tag();
        slot[1] = len;
        slot[2..].copy_from_slice(block);
        at + 2 + usize::from(len)
    } else {
        let at = put_head(kind, string.len(), buffer, at);
        let end = at + string.len();
        buffer[at..end].copy_from_slice(string);
        end
    }
}

#[inline(always)]
fn put_head(kind: DataKind, len: usize, buffer: &mut [u8], at: usize) -> usize {
    let mut at = put_array([kind.tag()], buffer, at);
    let mut rest = size(len);
    while rest > 0x7f {
        at = put_array([rest as u8 | 0x80], buffer, at);
        rest >>= 7;
    }
    put_array([rest as u8], buffer, at)
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
