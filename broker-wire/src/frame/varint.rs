//! Numbers of the protobuf wire format: seven bits a byte, lowest first.

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn varint_len(value: u64) -> usize {
    // One byte for each seven bits or part of them; 0 takes one as well.
    ((64 - (value | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// Appends `value`.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_length_is_that_of_what_is_written(value: u64, shift in 0u32..64) {
            for value in [value >> shift, 1 << shift, (1 << shift) - 1] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(out.len(), varint_len(value));
                prop_assert_eq!(prost::encoding::decode_varint(&mut &out[..]).unwrap(), value);
            }
        }
    }
}
