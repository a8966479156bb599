//! Times in JSON: calendar dates and spans with units (wire reference 4.3 and 4.4).

use super::Style;
use super::number::{write_i64, write_padded};
use crate::time::{Timespan, Timestamp};

/// Appends a timestamp without quotes.
pub(super) fn write_timestamp(time: Timestamp, style: Style, out: &mut Vec<u8>) {
    let nanos = time.as_nanos();
    match style {
        // C++ cuts the seconds toward zero and drops the fraction of what is before 1970.
        Style::Broker => {
            write_date_time(nanos / NANOS_PER_SECOND, out);
            out.push(b'.');
            write_padded::<3>((nanos.max(0) % NANOS_PER_SECOND / 1_000_000) as u32, out);
        }
        Style::Exact => {
            write_date_time(nanos.div_euclid(NANOS_PER_SECOND), out);
            out.push(b'.');
            write_padded::<9>(nanos.rem_euclid(NANOS_PER_SECOND) as u32, out);
        }
    }
}

/// Appends a timespan without quotes: an integer in the largest unit up to seconds that loses nothing.
pub(super) fn write_timespan(span: Timespan, out: &mut Vec<u8>) {
    let nanos = span.as_nanos();
    let (unit_nanos, unit) = [(NANOS_PER_SECOND, "s"), (1_000_000, "ms"), (1_000, "us")]
        .into_iter()
        .find(|(unit_nanos, _)| nanos % unit_nanos == 0)
        .unwrap_or((1, "ns"));
    write_i64(nanos / unit_nanos, out);
    out.extend_from_slice(unit.as_bytes());
}

/// A timestamp: `YYYY-MM-DDThh:mm:ss`, up to nine decimals, and `Z`, `±hh`, `±hhmm`, `±hh:mm` or nothing, which is UTC.
pub(super) fn parse_timestamp(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        mo1,
        mo2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        mi1,
        mi2,
        b':',
        s1,
        s2,
    ] = *date_time
    else {
        return None;
    };
    let year = 100 * two_digits(y1, y2)? + two_digits(y3, y4)?;
    let (month, day) = (two_digits(mo1, mo2)?, two_digits(d1, d2)?);
    let (hour, minute, second) = (
        two_digits(h1, h2)?,
        two_digits(mi1, mi2)?,
        two_digits(s1, s2)?,
    );
    if !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let (nanos, zone) = match rest.strip_prefix(b".") {
        Some(fraction) => parse_fraction(fraction)?,
        None => (0, rest),
    };
    let seconds =
        SECONDS_PER_DAY * days_from_epoch(year, month, day) + 3600 * hour + 60 * minute + second
            - parse_zone(zone)?;
    // In i128, since the first second of the range is only partly in it.
    let total = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    i64::try_from(total).ok().map(Timestamp::from_nanos)
}

/// A timespan: a decimal number, directly followed by `ns`, `us`, `ms`, `s`, `min` or `h`. What is below a nanosecond
/// is cut.
pub(super) fn parse_timespan(text: &[u8]) -> Option<Timespan> {
    let (negative, unsigned) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let number_len = unsigned.iter().position(u8::is_ascii_alphabetic)?;
    let (number, unit) = unsigned.split_at(number_len);
    let unit_nanos: i128 = match unit {
        b"ns" => 1,
        b"us" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"min" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = match number.iter().position(|byte| *byte == b'.') {
        Some(point) => (&number[..point], &number[point + 1..]),
        None => (number, &b""[..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    for digit in whole {
        nanos = 10 * nanos + i128::from(decimal_digit(*digit)?);
        if nanos > i128::from(u64::MAX) {
            return None;
        }
    }
    nanos *= unit_nanos;
    // Each digit of the fraction is worth a tenth of the one before, carried with enough room not to lose any part of a
    // nanosecond: the largest unit has less than 13 digits, and what is below 10^-18 of it cannot matter.
    let (mut parts, mut digit_parts) = (0i128, unit_nanos * PARTS_PER_NANO);
    for digit in fraction {
        digit_parts /= 10;
        parts += i128::from(decimal_digit(*digit)?) * digit_parts;
    }
    nanos += parts / PARTS_PER_NANO;
    i64::try_from(if negative { -nanos } else { nanos })
        .ok()
        .map(Timespan::from_nanos)
}

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const PARTS_PER_NANO: i128 = 1_000_000_000_000_000_000;

fn write_date_time(seconds: i64, out: &mut Vec<u8>) {
    let (year, month, day) = date_from_epoch(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    write_padded::<4>(year as u32, out);
    out.push(b'-');
    write_padded::<2>(month as u32, out);
    out.push(b'-');
    write_padded::<2>(day as u32, out);
    out.push(b'T');
    write_padded::<2>(second_of_day / 3600, out);
    out.push(b':');
    write_padded::<2>(second_of_day / 60 % 60, out);
    out.push(b':');
    write_padded::<2>(second_of_day % 60, out);
}

/// One to nine decimals as nanoseconds, and what follows them.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let (digits, rest) = text.split_at(len);
    let padded = digits
        .iter()
        .copied()
        .chain(std::iter::repeat_n(b'0', 9 - len));
    Some((
        padded.fold(0, |nanos, digit| 10 * nanos + i64::from(digit - b'0')),
        rest,
    ))
}

/// The seconds by which a zone is ahead of UTC.
fn parse_zone(text: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match *text {
        [] | [b'Z'] => return Some(0),
        [sign, h1, h2] => (sign, two_digits(h1, h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            (sign, two_digits(h1, h2)?, two_digits(m1, m2)?)
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    match sign {
        b'+' => Some(3600 * hour + 60 * minute),
        b'-' => Some(-3600 * hour - 60 * minute),
        _ => None,
    }
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    Some(10 * decimal_digit(tens)? + decimal_digit(ones)?)
}

fn decimal_digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// Counted in years that begin in March, so that the leap day is a year's last: day `n` of such a year's months begins
/// `(153 m + 2) / 5` days after the first of March, `m` months later.
const fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, months_since_march) = if month >= 3 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * months_since_march + 2) / 5 + day - 1 - MARCH_YEAR_ZERO_TO_EPOCH
}

/// The date of a day, the other way round.
const fn date_from_epoch(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_YEAR_ZERO_TO_EPOCH;
    // 400 years have 146 097 days, a century 36 524 and four years 1461, each but the last of its kind.
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let century = if day_of_cycle / 36_524 < 4 {
        day_of_cycle / 36_524
    } else {
        3
    };
    let day_of_century = day_of_cycle - 36_524 * century;
    let (four, day_of_four) = (day_of_century / 1461, day_of_century % 1461);
    let year_of_four = if day_of_four / 365 < 4 {
        day_of_four / 365
    } else {
        3
    };
    let day_of_year = day_of_four - 365 * year_of_four;
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let year = 400 * cycle + 100 * century + 4 * four + year_of_four;
    if months_since_march < 10 {
        (year, months_since_march + 3, day)
    } else {
        (year + 1, months_since_march - 9, day)
    }
}

/// Days from the first of March of year 0 to 1970-01-01.
const MARCH_YEAR_ZERO_TO_EPOCH: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp_text(nanos: i64, style: Style) -> String {
        let mut out = Vec::new();
        write_timestamp(Timestamp::from_nanos(nanos), style, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn timespan_text(nanos: i64) -> String {
        let mut out = Vec::new();
        write_timespan(Timespan::from_nanos(nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn nanos_of(text: &str) -> Option<i64> {
        parse_timestamp(text.as_bytes()).map(Timestamp::as_nanos)
    }

    fn span_of(text: &str) -> Option<i64> {
        parse_timespan(text.as_bytes()).map(Timespan::as_nanos)
    }

    #[test]
    fn broker_cuts_timestamps_to_milliseconds_and_errs_before_1970() {
        assert_eq!(
            timestamp_text(1_649_574_000_000_999_999, Style::Broker),
            "2022-04-10T07:00:00.000"
        );
        assert_eq!(
            timestamp_text(1_704_164_645_678_000_000, Style::Broker),
            "2024-01-02T03:04:05.678"
        );
        assert_eq!(
            timestamp_text(-500_000_000, Style::Broker),
            "1970-01-01T00:00:00.000"
        );
        assert_eq!(
            timestamp_text(-1_500_000_000, Style::Broker),
            "1969-12-31T23:59:59.000"
        );
    }

    #[test]
    fn exact_timestamps_read_back_over_the_whole_range() {
        for nanos in [
            0,
            1,
            -1,
            -500_000_000,
            -1_500_000_000,
            1_404_901_004_123_456_789,
            i64::MIN,
            i64::MAX,
            951_782_400_000_000_000,
            4_107_542_400_000_000_000,
        ] {
            assert_eq!(nanos_of(&timestamp_text(nanos, Style::Exact)), Some(nanos));
        }
        assert_eq!(
            timestamp_text(-1, Style::Exact),
            "1969-12-31T23:59:59.999999999"
        );
        assert_eq!(
            timestamp_text(i64::MAX, Style::Exact),
            "2262-04-11T23:47:16.854775807"
        );
        assert_eq!(
            timestamp_text(i64::MIN, Style::Exact),
            "1677-09-21T00:12:43.145224192"
        );
    }

    #[test]
    fn every_day_of_the_range_leads_back_to_itself() {
        for days in -110_000..110_000 {
            let (year, month, day) = date_from_epoch(days);
            assert!((1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month));
            assert_eq!(days_from_epoch(year, month, day), days);
        }
        assert_eq!(date_from_epoch(0), (1970, 1, 1));
        assert_eq!(date_from_epoch(11_016), (2000, 2, 29));
    }

    #[test]
    fn timestamps_are_read_with_and_without_fraction_and_zone() {
        let base = 1_649_574_000_000_000_000;
        for (text, expected) in [
            ("2022-04-10T07:00:00", base),
            ("2022-04-10T07:00:00.5", base + 500_000_000),
            ("2022-04-10T07:00:00.123456789", base + 123_456_789),
            ("2022-04-10T07:00:00Z", base),
            ("2022-04-10T07:00:00.5Z", base + 500_000_000),
            ("2022-04-10T08:00:00+01", base),
            ("2022-04-10T08:00:00+01:00", base),
            ("2022-04-10T04:30:00-0230", base),
        ] {
            assert_eq!(nanos_of(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn impossible_timestamps_are_refused() {
        for text in [
            "",
            "2022-04-10",
            "2022-04-10 07:00:00",
            "2022-04-10T07:00",
            "2022-04-10T07:00:00.",
            "2022-04-10T07:00:00.1234567890",
            "2022-02-29T07:00:00",
            "2022-13-01T07:00:00",
            "2022-00-01T07:00:00",
            "2022-01-00T07:00:00",
            "2022-01-01T24:00:00",
            "2022-01-01T23:60:00",
            "2022-01-01T23:59:60",
            "2022-01-01T00:00:00+1",
            "2022-01-01T00:00:00z",
            "2022-01-01T00:00:00+24:00",
            "2022-1-01T00:00:00",
            "1677-09-21T00:12:43.145224191",
            "2262-04-11T23:47:16.854775808",
            "+022-01-01T00:00:00",
            "2022-01-01T00:00:00 ",
        ] {
            assert_eq!(nanos_of(text), None, "{text}");
        }
        assert!(nanos_of("2020-02-29T00:00:00").is_some());
    }

    #[test]
    fn timespans_are_written_in_the_largest_unit_that_loses_nothing() {
        for (nanos, text) in [
            (0, "0s"),
            (120_000_000_000, "120s"),
            (1_500_000_000, "1500ms"),
            (-500_000_000, "-500ms"),
            (-90_000, "-90us"),
            (1, "1ns"),
            (i64::MIN, "-9223372036854775808ns"),
            (9_007_199_254_740_993, "9007199254740993ns"),
        ] {
            assert_eq!(timespan_text(nanos), text);
            assert_eq!(span_of(text), Some(nanos));
        }
    }

    #[test]
    fn timespans_are_read_with_sign_fraction_and_any_unit() {
        for (text, nanos) in [
            ("1.5ms", 1_500_000),
            ("+2s", 2_000_000_000),
            ("-0.5min", -30_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0.0000000000001h", 0),
            ("1.9ns", 1),
            ("-1.9ns", -1),
            (".5us", 500),
            ("2562047.788h", 9_223_372_036_800_000_000),
            ("0.333333333333333333333333333333s", 333_333_333),
        ] {
            assert_eq!(span_of(text), Some(nanos), "{text}");
        }
    }

    #[test]
    fn timespans_without_a_known_unit_or_out_of_range_are_refused() {
        for text in [
            "",
            "5",
            "5d",
            "5m",
            "5 s",
            "s",
            ".s",
            "-s",
            "1e3s",
            "1.2.3s",
            "--1s",
            "9223372036854775808ns",
            "99999999999999999999999999999999999999999h",
            "5S",
            "1_0s",
        ] {
            assert_eq!(span_of(text), None, "{text}");
        }
    }
}
