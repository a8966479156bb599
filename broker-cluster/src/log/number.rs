//! Numbers as Zeek's log files write them (reference, zeek-cluster 6.8 and 6.9).
//!
//! Times and intervals in TSV are `%.6f`: the exact binary value rounded to six decimals, ties to
//! even. Doubles in TSV drop trailing zeros from that text and get `.0` when the *unrounded* value
//! is within 1e-9 of an integer, so 1.0 is `1.0` and 0.9999999 is `1`. JSON numbers keep every
//! digit.
//!
//! Everything is appended to a caller's buffer; nothing here allocates besides that buffer, except
//! for numbers beyond 2^107.

use std::io::Write;

use super::grisu;

/// Appends a decimal integer.
pub(super) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut buffer = [0_u8; 20];
    let mut at = buffer.len();
    while number >= 100 {
        let pair = (number % 100) as usize * 2;
        number /= 100;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if number >= 10 {
        let pair = number as usize * 2;
        at -= 2;
        buffer[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        buffer[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Appends a decimal integer with its sign.
pub(super) fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends `number` with `width` digits, zeros in front.
pub(super) fn push_padded(out: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    while digits < width {
        out.push(b'0');
        digits += 1;
    }
    push_u64(out, number);
}

/// Appends a time or an interval of a TSV file: C's `%.6f`.
pub(super) fn push_seconds(out: &mut Vec<u8>, value: f64) {
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(b"inf");
    } else {
        push_fixed(out, value.abs());
    }
}

/// Appends a double of a TSV file.
pub(super) fn push_tsv_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
        return;
    }
    if value < 0.0 {
        out.push(b'-');
    }
    push_fixed(out, value.abs());
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    if (value - value.round()).abs() < 1e-9 {
        out.extend_from_slice(b".0");
    }
}

/// Appends a number of a JSON log; `null` for infinities and NaN, which JSON has no form for.
pub(super) fn push_json_number(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if value == 0.0 {
        out.extend_from_slice(b"0.0");
        return;
    }
    let decimal = grisu::digits(value.abs());
    let (digits, point) = (decimal.digits(), decimal.point());
    let len = digits.len() as i32;
    if (len..=21).contains(&point) {
        out.extend_from_slice(digits);
        push_zeros(out, point - len);
        out.extend_from_slice(b".0");
    } else if (1..=21).contains(&point) {
        let (whole, rest) = digits.split_at(point as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(rest);
    } else if (-5..=0).contains(&point) {
        out.extend_from_slice(b"0.");
        push_zeros(out, -point);
        out.extend_from_slice(digits);
    } else {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'e');
        push_i64(out, i64::from(point) - 1);
    }
}

/// Reads a decimal integer without sign.
pub(super) fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// Reads a decimal integer with an optional sign.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', digits @ ..] => 0_i64.checked_sub_unsigned(parse_u64(digits)?),
        [b'+', digits @ ..] | digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// Reads a number in any form C's `printf` writes: fixed, with an exponent, `inf`, `nan`.
pub(super) fn parse_f64(text: &[u8]) -> Option<f64> {
    match text {
        b"nan" => Some(f64::NAN),
        b"-nan" => Some(-f64::NAN),
        b"inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        // The standard parser also takes words such as `infinity`, which no log contains.
        _ if text
            .iter()
            .any(|byte| byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E')) =>
        {
            None
        }
        _ => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

/// Appends a finite number, not negative, with six decimals.
fn push_fixed(out: &mut Vec<u8>, value: f64) {
    let Some(scaled) = in_millionths(value) else {
        // Writing to a vector cannot fail. `{:.6}` rounds the exact value, ties to even, as C does.
        let _ = write!(out, "{value:.6}");
        return;
    };
    let (whole, millionths) = match u64::try_from(scaled) {
        Ok(scaled) => (u128::from(scaled / 1_000_000), scaled % 1_000_000),
        Err(_) => (scaled / 1_000_000, (scaled % 1_000_000) as u64),
    };
    match u64::try_from(whole) {
        Ok(whole) => push_u64(out, whole),
        Err(_) => {
            let (high, low) = (whole / TEN_TO_19, (whole % TEN_TO_19) as u64);
            // Below 2^107 / 10^19, so it fits.
            push_u64(out, high as u64);
            push_padded(out, low, 19);
        }
    }
    out.push(b'.');
    push_padded(out, millionths, 6);
}

/// `value · 10^6`, rounded to an integer, ties to even; none when it might not fit 128 bits.
///
/// Exact: the value is `fraction · 2^exponent` with a fraction below 2^53, so `fraction · 10^6` is
/// below 2^73 and the bits shifted out decide the rounding.
fn in_millionths(value: f64) -> Option<u128> {
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let stored = bits & ((1 << 52) - 1);
    let (fraction, exponent) = if biased == 0 {
        (stored, -1074)
    } else {
        (stored | 1 << 52, biased - 1075)
    };
    let product = u128::from(fraction) * 1_000_000;
    if exponent >= 0 {
        return (exponent <= 54).then(|| product << exponent);
    }
    let shift = exponent.unsigned_abs();
    if shift > 74 {
        // Below 2^73 / 2^75: nearer to zero than to one.
        return Some(0);
    }
    let (quotient, rest, half) = (
        product >> shift,
        product & ((1 << shift) - 1),
        1_u128 << (shift - 1),
    );
    let up = rest > half || (rest == half && quotient & 1 == 1);
    Some(quotient + u128::from(up))
}

fn push_zeros(out: &mut Vec<u8>, count: i32) {
    out.extend(std::iter::repeat_n(b'0', count.max(0) as usize));
}

const TEN_TO_19: u128 = 10_000_000_000_000_000_000;

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_of_every_length_are_written_whole() {
        for number in [0, 9, 10, 99, 100, 101, 12345, u64::MAX] {
            assert_eq!(written(|out| push_u64(out, number)), number.to_string());
        }
        assert_eq!(written(|out| push_i64(out, i64::MIN)), i64::MIN.to_string());
        assert_eq!(parse_i64(i64::MIN.to_string().as_bytes()), Some(i64::MIN));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_u64(b""), None);
        assert_eq!(parse_i64(b"-"), None);
    }

    #[test]
    fn seconds_round_the_exact_value_with_ties_to_even() {
        assert_eq!(
            written(|out| push_seconds(out, 253402300799.999)),
            "253402300799.998993"
        );
        assert_eq!(written(|out| push_seconds(out, -0.0)), "-0.000000");
        assert_eq!(
            written(|out| push_seconds(out, 0.5 / 1024.0 / 1024.0)),
            "0.000000"
        );
        assert_eq!(written(|out| push_seconds(out, -f64::NAN)), "-nan");
        assert_eq!(
            written(|out| push_seconds(out, 1e300)),
            format!("{:.6}", 1e300)
        );
    }

    #[test]
    fn a_tie_goes_to_the_even_neighbour() {
        // 2^-7 is 0.0078125 exactly, 3 · 2^-7 is 0.0234375: both end in 5 at the seventh place.
        assert_eq!(written(|out| push_seconds(out, 0.0078125)), "0.007812");
        assert_eq!(written(|out| push_seconds(out, 0.0234375)), "0.023438");
    }

    #[test]
    fn old_spellings_of_numbers_are_read() {
        assert_eq!(parse_f64(b"4.294967e+09"), Some(4_294_967_000.0));
        assert!(parse_f64(b"-nan").unwrap().is_sign_negative());
        assert_eq!(parse_f64(b"infinity"), None);
        assert_eq!(parse_f64(b""), None);
    }

    proptest! {
        #[test]
        fn fixed_notation_equals_the_exact_formatting(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(written(|out| push_seconds(out, value)), format!("{value:.6}"));
        }

        #[test]
        fn fixed_notation_equals_the_exact_formatting_for_everyday_values(value in -1e17_f64..1e17) {
            prop_assert_eq!(written(|out| push_seconds(out, value)), format!("{value:.6}"));
            let small = value / 1e15;
            prop_assert_eq!(written(|out| push_seconds(out, small)), format!("{small:.6}"));
        }

        #[test]
        fn json_numbers_read_back_equal(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = written(|out| push_json_number(out, value));
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn written_seconds_of_our_era_read_back_to_the_microsecond(micros in 0_u64..4_000_000_000_000_000) {
            let value = micros as f64 / 1e6;
            let text = written(|out| push_seconds(out, value));
            prop_assert_eq!(parse_f64(text.as_bytes()).unwrap(), value);
        }
    }
}
