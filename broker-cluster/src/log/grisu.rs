//! Decimal digits of an `f64` by the Grisu2 method of Florian Loitsch ("Printing floating-point
//! numbers quickly and accurately with integers", PLDI 2010).
//!
//! Zeek's JSON logs use this method (reference, zeek-cluster 6.9). The digits always read back as
//! the same number and are nearly always the shortest that do; for about one number in a thousand
//! they are not, and 1e23 comes out as `9.999999999999999e22`. A method that always finds the
//! shortest digits would therefore write other bytes than Zeek does.
//!
//! **Invariant:** at most [`MAX_DIGITS`] digits, the first of them not zero.

/// The most digits [`digits`] produces.
pub(super) const MAX_DIGITS: usize = 18;

/// Digits `d₁d₂…dₙ` of a number and the place of its decimal point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    buffer: [u8; MAX_DIGITS],
    len: usize,
    /// Power of ten of the last digit.
    exponent: i32,
}

impl Decimal {
    /// The digits as ASCII.
    pub(super) fn digits(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// Where the decimal point stands, counted from the left of the first digit.
    pub(super) fn point(&self) -> i32 {
        // At most MAX_DIGITS, so the conversion keeps the value.
        self.len as i32 + self.exponent
    }

    fn push(&mut self, digit: u64) {
        // The first digit is never zero, and the paper bounds their number at 17.
        if (digit != 0 || self.len != 0) && self.len < MAX_DIGITS {
            self.buffer[self.len] = b'0' + (digit % 10) as u8;
            self.len += 1;
        }
    }

    fn lower_last(&mut self) {
        if let Some(last) = self.buffer[..self.len].last_mut() {
            *last -= 1;
        }
    }
}

/// The digits of `value`, which must be finite and above zero.
pub(super) fn digits(value: f64) -> Decimal {
    let number = Float::of(value);
    let (lower, upper) = number.boundaries();
    let (power, exponent) = cached_power(upper.exponent);
    let exact = number.normalized().times(power);
    let mut upper = upper.times(power);
    let mut lower = lower.times(power);
    // The products are off by up to one unit; staying inside keeps the digits safe.
    upper.fraction -= 1;
    lower.fraction += 1;
    generate(exact, upper, upper.fraction - lower.fraction, exponent)
}

/// `fraction · 2^exponent`.
#[derive(Clone, Copy)]
struct Float {
    fraction: u64,
    exponent: i32,
}

impl Float {
    fn of(value: f64) -> Self {
        let bits = value.to_bits();
        let fraction = bits & (HIDDEN_BIT - 1);
        let biased = ((bits >> 52) & 0x7ff) as i32;
        if biased == 0 {
            Self {
                fraction,
                exponent: -1074,
            }
        } else {
            Self {
                fraction: fraction | HIDDEN_BIT,
                exponent: biased - 1075,
            }
        }
    }

    fn normalized(self) -> Self {
        let shift = self.fraction.leading_zeros();
        Self {
            fraction: self.fraction << shift,
            exponent: self.exponent - shift as i32,
        }
    }

    /// The middles between this number and its neighbours below and above, with one exponent.
    fn boundaries(self) -> (Self, Self) {
        let upper = Self {
            fraction: (self.fraction << 1) + 1,
            exponent: self.exponent - 1,
        };
        let upper = upper.normalized();
        // Below a power of two the neighbours stand half as far apart.
        let lower = if self.fraction == HIDDEN_BIT {
            Self {
                fraction: (self.fraction << 2) - 1,
                exponent: self.exponent - 2,
            }
        } else {
            Self {
                fraction: (self.fraction << 1) - 1,
                exponent: self.exponent - 1,
            }
        };
        let shift = lower.exponent - upper.exponent;
        (
            Self {
                fraction: lower.fraction << shift,
                exponent: upper.exponent,
            },
            upper,
        )
    }

    fn times(self, other: Self) -> Self {
        let product = u128::from(self.fraction) * u128::from(other.fraction);
        let rounded = (product + (1 << 63)) >> 64;
        Self {
            fraction: rounded as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// A power of ten that brings a number with this binary exponent near 2^-60 … 2^-32, and the
/// decimal exponent that undoes it.
fn cached_power(exponent: i32) -> (Float, i32) {
    let estimate = f64::from(-61 - exponent) * std::f64::consts::LOG10_2 + 347.0;
    let index = (((estimate.ceil() as i32) >> 3) + 1).clamp(0, POWERS.len() as i32 - 1);
    let ten = FIRST_POWER + 8 * index;
    let binary = ((ten * 217_706) >> 16) - 63;
    (
        Float {
            fraction: POWERS[index as usize],
            exponent: binary,
        },
        -ten,
    )
}

fn generate(exact: Float, upper: Float, mut delta: u64, exponent: i32) -> Decimal {
    let mut out = Decimal {
        buffer: [0; MAX_DIGITS],
        len: 0,
        exponent,
    };
    let shift = (-upper.exponent) as u32;
    let one = 1_u64 << shift;
    let mut distance = upper.fraction - exact.fraction;
    let mut whole = upper.fraction >> shift;
    let mut rest = upper.fraction & (one - 1);

    let mut place = whole.checked_ilog10().map_or(0, |log| log + 1);
    while place > 0 {
        place -= 1;
        let unit = 10_u64.pow(place);
        out.push(whole / unit);
        whole %= unit;
        let left = (whole << shift) + rest;
        if left <= delta {
            out.exponent += place as i32;
            approach(&mut out, delta, left, unit << shift, distance);
            return out;
        }
    }
    loop {
        rest = rest.wrapping_mul(10);
        delta = delta.wrapping_mul(10);
        distance = distance.wrapping_mul(10);
        out.push(rest >> shift);
        rest &= one - 1;
        out.exponent -= 1;
        if rest < delta || out.len == MAX_DIGITS {
            approach(&mut out, delta, rest, one, distance);
            return out;
        }
    }
}

/// Lowers the last digit while that brings the digits nearer to the exact value and keeps them
/// inside the interval.
fn approach(out: &mut Decimal, delta: u64, mut rest: u64, unit: u64, distance: u64) {
    while rest < distance
        && delta - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        out.lower_last();
        rest += unit;
    }
}

const HIDDEN_BIT: u64 = 1 << 52;
const FIRST_POWER: i32 = -348;

/// The upper 64 bits, rounded, of 10^-348, 10^-340, … 10^340.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76,
    0xcf42_894a_5dce_35ea, 0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df,
    0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f, 0xbe56_91ef_416b_d60c,
    0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57,
    0xc210_9436_4dfb_5637, 0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7,
    0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5, 0xb238_67fb_2a35_b28e,
    0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126,
    0xb5b5_ada8_aaff_80b8, 0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053,
    0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd, 0xa6df_bd9f_b8e5_b88f,
    0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06,
    0xaa24_2499_6973_92d3, 0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb,
    0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c, 0x9c40_0000_0000_0000,
    0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068,
    0x9f4f_2726_179a_2245, 0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8,
    0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a, 0x924d_692c_a61b_e758,
    0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d,
    0x952a_b45c_fa97_a0b3, 0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25,
    0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece, 0x88fc_f317_f222_41e2,
    0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410,
    0x8bab_8eef_b640_9c1a, 0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129,
    0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429, 0x8044_4b5e_7aa7_cf85,
    0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let decimal = digits(value);
        format!(
            "{}e{}",
            String::from_utf8_lossy(decimal.digits()),
            decimal.exponent
        )
    }

    #[test]
    fn ordinary_numbers_get_their_shortest_digits() {
        assert_eq!(text(0.1), "1e-1");
        assert_eq!(text(0.3), "3e-1");
        assert_eq!(text(123456.789), "123456789e-3");
        assert_eq!(text(f64::MAX), "17976931348623157e292");
        assert_eq!(text(f64::MIN_POSITIVE), "22250738585072014e-324");
        assert_eq!(text(5e-324), "5e-324");
    }

    #[test]
    fn some_numbers_get_longer_digits_as_in_the_original() {
        assert_eq!(text(1e23), "9999999999999999e7");
    }

    proptest! {
        #[test]
        fn digits_read_back_as_the_same_number(bits in any::<u64>()) {
            let value = f64::from_bits(bits & !(1 << 63));
            prop_assume!(value.is_finite() && value > 0.0);
            prop_assert_eq!(text(value).parse::<f64>().unwrap(), value);
        }
    }
}
