//! Immutable bytes, the content of strings, enum names and topics.
//!
//! Zeek strings are any bytes, not text. Up to 22 bytes are held in the value itself, so that the
//! short strings that make up most events cost no allocation; longer ones are one boxed slice.
//!
//! **Invariant:** order, equality and hash are those of the bytes, whichever way they are held.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest string that needs no allocation.
pub(crate) const INLINE_CAPACITY: usize = 22;

/// Immutable bytes; a string of the data model.
#[derive(Clone)]
pub struct ByteString(Repr);

#[derive(Clone)]
enum Repr {
    /// `len` is at most `INLINE_CAPACITY`; the bytes behind it are zero.
    Inline {
        len: u8,
        bytes: [u8; INLINE_CAPACITY],
    },
    Heap(Box<[u8]>),
}

impl ByteString {
    /// The empty string.
    #[must_use]
    pub const fn new() -> Self {
        Self(Repr::Inline {
            len: 0,
            bytes: [0; INLINE_CAPACITY],
        })
    }

    /// A copy of `bytes`.
    #[must_use]
    #[inline]
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(len) if bytes.len() <= INLINE_CAPACITY => {
                let mut inline = [0; INLINE_CAPACITY];
                inline[..bytes.len()].copy_from_slice(bytes);
                Self(Repr::Inline { len, bytes: inline })
            }
            _ => Self(Repr::Heap(bytes.into())),
        }
    }

    /// The bytes.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }

    /// The bytes as text, if they are UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(self).ok()
    }

    /// The bytes as text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self)
    }

    /// A copy of `bytes`, which `block` begins with if there is one.
    #[inline(always)]
    pub(crate) fn from_block(bytes: &[u8], block: Option<&[u8; INLINE_CAPACITY]>) -> Self {
        match (block, MASKS.get(bytes.len())) {
            (Some(block), Some(mask)) => {
                let masked = std::array::from_fn(|index| block[index] & mask[index]);
                Self(Repr::Inline {
                    len: bytes.len() as u8,
                    bytes: masked,
                })
            }
            _ => Self::copy_from_slice(bytes),
        }
    }

    /// The block that holds a short string, and how much of it is the string: copying a block of fixed size is faster
    /// than copying a few bytes.
    #[inline]
    pub(crate) const fn inline_block(&self) -> Option<(&[u8; INLINE_CAPACITY], u8)> {
        match &self.0 {
            Repr::Inline { len, bytes } => Some((bytes, *len)),
            Repr::Heap(_) => None,
        }
    }

    /// The first eight bytes of a short string, those behind its end zero, as a number that orders like them.
    #[inline]
    const fn first_word(&self) -> Option<u64> {
        match &self.0 {
            Repr::Inline {
                bytes: [a, b, c, d, e, f, g, h, ..],
                ..
            } => Some(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            Repr::Heap(_) => None,
        }
    }

    /// The bytes held outside the value itself.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => bytes.len(),
        }
    }
}

impl Default for ByteString {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for ByteString {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for ByteString {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for ByteString {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from_slice(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for ByteString {
    fn from(bytes: &[u8; N]) -> Self {
        Self::copy_from_slice(bytes)
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self::copy_from_slice(text.as_bytes())
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.len() <= INLINE_CAPACITY {
            Self::copy_from_slice(&bytes)
        } else {
            Self(Repr::Heap(bytes.into_boxed_slice()))
        }
    }
}

impl From<String> for ByteString {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<ByteString> for Vec<u8> {
    fn from(bytes: ByteString) -> Self {
        match bytes.0 {
            Repr::Inline { .. } => bytes.to_vec(),
            Repr::Heap(heap) => heap.into_vec(),
        }
    }
}

impl PartialEq for ByteString {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (
                Repr::Inline { len, bytes },
                Repr::Inline {
                    len: other_len,
                    bytes: other_bytes,
                },
            ) => len == other_len && bytes == other_bytes,
            _ => self.as_slice() == other.as_slice(),
        }
    }
}

impl Eq for ByteString {}

impl PartialEq<[u8]> for ByteString {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_slice() == other
    }
}

impl PartialEq<str> for ByteString {
    fn eq(&self, other: &str) -> bool {
        self.as_slice() == other.as_bytes()
    }
}

impl PartialEq<&str> for ByteString {
    fn eq(&self, other: &&str) -> bool {
        self.as_slice() == other.as_bytes()
    }
}

impl PartialEq<&[u8]> for ByteString {
    fn eq(&self, other: &&[u8]) -> bool {
        self.as_slice() == *other
    }
}

impl PartialOrd for ByteString {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByteString {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        // What follows a short string is zero, so where the first eight bytes differ they tell the order: either a byte
        // of both strings differs, or one string has ended and the other goes on with a byte above zero.
        if let (Some(a), Some(b)) = (self.first_word(), other.first_word())
            && a != b
        {
            return a.cmp(&b);
        }
        self.as_slice().cmp(other.as_slice())
    }
}

impl Hash for ByteString {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

/// For every length of a short string, ones where its bytes are.
static MASKS: [[u8; INLINE_CAPACITY]; INLINE_CAPACITY + 1] = {
    let mut masks = [[0; INLINE_CAPACITY]; INLINE_CAPACITY + 1];
    let mut len = 0;
    while len <= INLINE_CAPACITY {
        let mut index = 0;
        while index < len {
            masks[len][index] = 0xff;
            index += 1;
        }
        len += 1;
    }
    masks
};

/// As a byte string literal of Rust: `"caf\xe9"`.
impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_three_words_long() {
        assert_eq!(size_of::<ByteString>(), 24);
    }

    #[test]
    fn strings_up_to_the_inline_capacity_need_no_heap() {
        for len in 0..64usize {
            let bytes = vec![b'x'; len];
            let string = ByteString::from(bytes.as_slice());
            assert_eq!(string, bytes.as_slice());
            assert_eq!(string.heap_size() == 0, len <= INLINE_CAPACITY);
            assert_eq!(string, ByteString::from(bytes.clone()));
            assert_eq!(Vec::from(string), bytes);
        }
    }

    #[test]
    fn strings_order_bytewise_with_the_shorter_prefix_first() {
        let long = "b".repeat(40);
        let mut strings = [
            ByteString::from("b"),
            ByteString::from(long),
            ByteString::from("aa"),
            ByteString::from(&[0xff]),
            ByteString::new(),
        ];
        strings.sort();
        assert_eq!(strings.map(|s| s.len()), [0, 2, 1, 40, 1]);
    }

    #[test]
    fn a_string_from_a_block_is_the_string_and_nothing_else() {
        let block = [b'x'; INLINE_CAPACITY];
        for len in 0..=INLINE_CAPACITY {
            let string = ByteString::from_block(&block[..len], Some(&block));
            assert_eq!(string, ByteString::from(&block[..len]));
            assert_eq!(
                string.inline_block(),
                ByteString::from(&block[..len]).inline_block()
            );
        }
    }

    #[test]
    fn order_is_bytewise_whatever_the_first_bytes_are() {
        let strings = [
            "",
            "\0",
            "\0\0",
            "a",
            "a\0",
            "a\0b",
            "a\x01",
            "abcdefgh",
            "abcdefgh\0",
            "abcdefghi",
            "abcdefgi",
            "b",
        ];
        for (i, a) in strings.iter().enumerate() {
            for (j, b) in strings.iter().enumerate() {
                assert_eq!(
                    ByteString::from(*a).cmp(&ByteString::from(*b)),
                    i.cmp(&j),
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn debug_escapes_what_is_not_printable() {
        assert_eq!(
            format!("{:?}", ByteString::from(b"a\"\xe9\n")),
            r#""a\"\xe9\n""#
        );
    }
}
