//! FNV-1a, in the 32-bit form that Zeek's pools use for keys and site ids (reference, zeek-cluster
//! 3.3 and 3.4) and in the 64-bit form that weighted pools of our own use.

use std::hash::Hasher;

/// FNV-1a with 32 bits of `bytes`.
#[must_use]
pub const fn fnv1a32(bytes: &[u8]) -> u32 {
    Fnv32::new().update(bytes).finish()
}

/// A running 32-bit FNV-1a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv32(u32);

impl Fnv32 {
    pub(crate) const fn new() -> Self {
        Self(0x811c_9dc5)
    }

    #[must_use]
    pub(crate) const fn update(self, bytes: &[u8]) -> Self {
        let mut hash = self.0;
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        Self(hash)
    }

    pub(crate) const fn finish(self) -> u32 {
        self.0
    }
}

/// A running 64-bit FNV-1a. As a [`Hasher`] it has no seed and takes bytes exactly as written, so
/// that nodes built by different compilers agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv64(u64);

impl Fnv64 {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Default for Fnv64 {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher for Fnv64 {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_32_bit_form_agrees_with_the_reference() {
        assert_eq!(fnv1a32(b""), 0x811c_9dc5);
        assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn the_64_bit_form_agrees_with_its_published_values() {
        let hash = |bytes: &[u8]| {
            let mut hasher = Fnv64::new();
            hasher.write(bytes);
            hasher.finish()
        };
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
