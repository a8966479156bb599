//! Digests: whether two copies of a store hold the same.
//!
//! The digest of a store is the sum of the hashes of its entries, so it does not depend on their order and moves with each
//! change by what was taken away and what was added. It covers keys and values, not deadlines, which copies know only in
//! part. The hash is XXH3 with 128 bits over the canonical encodings: it tells accidents, not adversaries.

use std::fmt;

use broker_core::{Data, binary};
use xxhash_rust::xxh3::xxh3_128;

use crate::backend::with_scratch;

/// The digest of a set of entries; zero is that of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(u128);

impl Digest {
    /// That of a single entry.
    #[must_use]
    pub fn of(key: &Data, value: &Data) -> Self {
        with_scratch(|bytes| {
            binary::encode_to_vec(key, bytes);
            binary::encode_to_vec(value, bytes);
            Self(xxh3_128(bytes))
        })
    }

    /// That of both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// That of the set without those of `other`, which are in it.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    /// The bytes, most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_follows_changes_and_knows_no_order() {
        let (a, b) = (
            Digest::of(&"a".into(), &1u64.into()),
            Digest::of(&"b".into(), &2u64.into()),
        );
        assert_eq!(a.with(b), b.with(a));
        assert_eq!(a.with(b).without(a), b);
        assert_eq!(a.without(a), Digest::default());
        assert_eq!(Digest::from_bytes(a.to_bytes()), a);
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        let digest = Digest::of(&"k".into(), &7u64.into());
        assert_eq!(digest.to_string(), "2e8dfec529519db1c2bd297c2c63911d");
    }
}
