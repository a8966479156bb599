//! The binary format of values, as it travels in every payload.
//!
//! A value is a tag of one byte followed by its content (wire reference 3):
//!
//! ```text
//! | 0 none | 1 boolean u8 | 2 count u64 | 3 integer i64 | 4 real 8 | 5 string | 6 address 16 | 7 subnet 16 + u8 |
//! | 8 port u16 + u8 | 9 timestamp i64 | 10 timespan i64 | 11 enum value string |
//! | 12 set count, values | 13 table count, (key, value) pairs | 14 vector count, values |
//! ```
//!
//! Integers are big-endian; counts and string lengths are varbytes. [`encode`] writes, [`decode`] reads to owned values,
//! [`check`] verifies the structure without allocating, and [`DataView`](crate::DataView) reads in place.
//!
//! **Invariant:** reading any bytes gives a value or a [`DecodeError`]. It never panics, recurses at most
//! [`MAX_DEPTH`] levels, and sizes nothing by a count that the remaining bytes cannot hold.

mod command;
mod decode;
mod encode;
mod error;
mod reader;
mod real;
mod sound;
mod walk;

pub use command::check_command;
pub use decode::{decode, decode_prefix};
pub use encode::{
    encode, encode_to_vec, encoded_len, put_string, put_varbyte, string_len, to_bytes, varbyte_len,
};
pub use error::DecodeError;
pub use reader::Reader;
pub use sound::check_sound;
pub use walk::{check, check_prefix, skip, walk};

pub(crate) use walk::{
    read_address, read_port, read_real, read_subnet, read_timespan, read_timestamp,
};

/// How deep containers may be nested in what we read.
///
/// Broker states no limit and its decoder recurses; thousands of levels end a C++ node (wire reference 3.2). Real
/// payloads stay below 20.
pub const MAX_DEPTH: u16 = 256;

/// What a reader lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeRules {
    /// How deep containers may be nested; at most [`MAX_DEPTH`] has effect.
    pub max_depth: u16,
    /// Whether a port protocol above 3 reads as unknown instead of making the value invalid.
    pub any_protocol: bool,
}

impl DecodeRules {
    /// The rules for the payload of a data message.
    pub const DATA: Self = Self {
        max_depth: MAX_DEPTH,
        any_protocol: false,
    };

    /// The rules for values inside a store command, which are laxer about ports (wire reference 3.3).
    pub const COMMAND: Self = Self {
        max_depth: MAX_DEPTH,
        any_protocol: true,
    };

    pub(crate) const fn depth_limit(self) -> u16 {
        if self.max_depth < MAX_DEPTH {
            self.max_depth
        } else {
            MAX_DEPTH
        }
    }
}

impl Default for DecodeRules {
    fn default() -> Self {
        Self::DATA
    }
}
