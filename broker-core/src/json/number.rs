//! Numbers in JSON.

use std::io::Write;

use super::Style;
use crate::text::fixed_point;

/// Appends the decimal digits of `value`.
#[inline]
pub(super) fn write_u64(value: u64, out: &mut Vec<u8>) {
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    let mut digits = [0; MAX_DIGITS];
    let mut start = MAX_DIGITS;
    let mut rest = value;
    while rest > 0 {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends the decimal digits of `value` with its sign.
#[inline]
pub(super) fn write_i64(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(value.unsigned_abs(), out);
}

/// Appends `value` in `N` digits with leading zeros; higher digits fall away.
#[inline]
pub(super) fn write_padded<const N: usize>(value: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; N];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends a real.
pub(super) fn write_real(value: f64, style: Style, out: &mut Vec<u8>) {
    match style {
        Style::Broker => out.extend_from_slice(fixed_point(value).as_bytes()),
        Style::Exact if value.is_nan() => out.extend_from_slice(b"\"nan\""),
        Style::Exact if value.is_infinite() => {
            out.extend_from_slice(if value > 0.0 { b"\"inf\"" } else { b"\"-inf\"" })
        }
        // Debug, unlike Display, always has a point or an exponent, without which it would not be read as a real.
        Style::Exact => write!(out, "{value:?}").expect("writing to a Vec cannot fail"),
    }
}

/// The infinities and NaN as either style writes them.
pub(super) fn special_real(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" => Some(f64::INFINITY),
        b"-inf" => Some(f64::NEG_INFINITY),
        b"nan" => Some(f64::NAN),
        _ => None,
    }
}

/// An integer literal of digits only.
#[inline]
pub(super) fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            None
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))
        }
    })
}

/// An integer literal with an optional minus.
#[inline]
pub(super) fn parse_i64(literal: &[u8]) -> Option<i64> {
    match literal.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(parse_u64(digits)?),
        None => i64::try_from(parse_u64(literal)?).ok(),
    }
}

/// A literal with a point or an exponent; an integer is no real.
pub(super) fn parse_real(literal: &[u8]) -> Option<f64> {
    if !literal
        .iter()
        .any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    {
        return None;
    }
    std::str::from_utf8(literal).ok()?.parse().ok()
}

/// The digits of `u64::MAX`.
const MAX_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_written_in_full_range() {
        for value in [0, 9, 10, 99, 100, 1_234_567_890, u64::MAX] {
            assert_eq!(written(|out| write_u64(value, out)), value.to_string());
            assert_eq!(parse_u64(value.to_string().as_bytes()), Some(value));
        }
        for value in [0, -1, i64::MIN, i64::MAX] {
            assert_eq!(written(|out| write_i64(value, out)), value.to_string());
            assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
        }
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_i64(b"9223372036854775808"), None);
    }

    #[test]
    fn padding_keeps_the_width() {
        assert_eq!(written(|out| write_padded::<3>(7, out)), "007");
        assert_eq!(written(|out| write_padded::<2>(59, out)), "59");
    }

    #[test]
    fn exact_reals_are_the_shortest_that_read_back() {
        for (value, text) in [
            (5.0, "5.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e300, "1e300"),
            (1e-7, "1e-7"),
            (5e-324, "5e-324"),
            (1.0 / 3.0, "0.3333333333333333"),
        ] {
            assert_eq!(written(|out| write_real(value, Style::Exact, out)), text);
            assert_eq!(
                parse_real(text.as_bytes()).map(f64::to_bits),
                Some(value.to_bits())
            );
        }
        assert_eq!(
            written(|out| write_real(f64::NEG_INFINITY, Style::Exact, out)),
            "\"-inf\""
        );
        assert_eq!(
            written(|out| write_real(f64::NEG_INFINITY, Style::Broker, out)),
            "-inf"
        );
        assert_eq!(
            written(|out| write_real(-7.5, Style::Broker, out)),
            "-7.500000"
        );
    }

    #[test]
    fn an_integer_literal_is_no_real() {
        assert_eq!(parse_real(b"5"), None);
        assert_eq!(parse_real(b"1e3"), Some(1000.0));
        assert_eq!(parse_real(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_real(b"1.7976931348623157e308"), Some(f64::MAX));
    }
}
