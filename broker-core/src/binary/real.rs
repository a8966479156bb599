//! Real numbers as C++ Broker writes them, which is not quite IEEE 754 (wire reference 3.1).
//!
//! Infinities have each other's pattern, NaN is all ones, and an exponent field of zero is not read as subnormal: a
//! subnormal does not survive C++, so we send zero instead.

const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
const FRACTION: u64 = 0x000f_ffff_ffff_ffff;
const SIGN: u64 = 0x8000_0000_0000_0000;

/// The bits to send for `value`.
#[inline]
pub(super) fn to_wire(value: f64) -> u64 {
    let bits = value.to_bits();
    match bits & EXPONENT {
        EXPONENT if value.is_nan() => u64::MAX,
        EXPONENT => bits ^ SIGN,
        0 => bits & SIGN,
        _ => bits,
    }
}

/// The number that these bits stand for.
#[inline]
pub(super) fn from_wire(bits: u64) -> f64 {
    match (bits & EXPONENT, bits & FRACTION) {
        (EXPONENT, _) if bits == u64::MAX => f64::NAN,
        (EXPONENT, 0) => f64::from_bits(bits ^ SIGN),
        // Any other fraction: (1 + fraction) * 2^1024 is beyond the range, so an infinity of its own sign.
        (EXPONENT, _) => f64::from_bits(bits & (SIGN | EXPONENT)),
        (0, 0) => f64::from_bits(bits),
        // (1 + fraction) * 2^-1023.
        (0, fraction) => {
            let magnitude = (1.0 + fraction as f64 / (1u64 << 52) as f64) * f64::MIN_POSITIVE / 2.0;
            if bits & SIGN == 0 {
                magnitude
            } else {
                -magnitude
            }
        }
        _ => f64::from_bits(bits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_are_swapped_and_nan_is_all_ones() {
        assert_eq!(to_wire(f64::INFINITY), 0xfff0_0000_0000_0000);
        assert_eq!(to_wire(f64::NEG_INFINITY), 0x7ff0_0000_0000_0000);
        assert_eq!(to_wire(f64::NAN), u64::MAX);
        assert_eq!(to_wire(-f64::NAN), u64::MAX);
        assert_eq!(from_wire(0xfff0_0000_0000_0000), f64::INFINITY);
        assert_eq!(from_wire(0x7ff0_0000_0000_0000), f64::NEG_INFINITY);
        assert!(from_wire(u64::MAX).is_nan());
    }

    #[test]
    fn normal_numbers_and_zeros_are_plain() {
        for value in [
            0.0,
            -0.0,
            1.5,
            -1.0,
            0.1,
            f64::MAX,
            f64::MIN_POSITIVE,
            -1e300,
        ] {
            assert_eq!(to_wire(value), value.to_bits());
            assert_eq!(from_wire(value.to_bits()).to_bits(), value.to_bits());
        }
    }

    #[test]
    fn subnormals_are_sent_as_zero() {
        assert_eq!(to_wire(f64::from_bits(1)), 0);
        assert_eq!(to_wire(f64::MIN_POSITIVE / 2.0), 0);
    }

    #[test]
    fn odd_patterns_are_read_arithmetically() {
        assert_eq!(from_wire(0x7ff8_0000_0000_0000), f64::INFINITY);
        assert_eq!(from_wire(0xfff8_0000_0000_0000), f64::NEG_INFINITY);
        assert_eq!(from_wire(0x7fff_ffff_ffff_ffff), f64::INFINITY);
        assert_eq!(to_wire(from_wire(1)), 0);
        assert_eq!(
            from_wire(0x0008_0000_0000_0000),
            1.5 * f64::MIN_POSITIVE / 2.0
        );
    }
}
