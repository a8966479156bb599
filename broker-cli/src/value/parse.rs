//! Shorthand text as values.

use broker_core::{Address, Data, Port, Subnet, Timespan, json};

/// Why a text is not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// It starts with `{` but is no JSON v1 value.
    #[error("{text} is no JSON v1 value: {reason} (a string is written in quotes: '\"{{\"')")]
    Json { text: String, reason: String },
    /// A string in quotes that does not end, or has text behind it or a wrong escape in it.
    #[error("{text} is no string in quotes: {reason}")]
    String { text: String, reason: &'static str },
    /// A vector that does not end, or has something wrong in it.
    #[error("{text} is no vector: {reason} (a string is written in quotes: '\"[\"')")]
    Vector { text: String, reason: &'static str },
    /// A number that does not fit its type.
    #[error("{text} does not fit {kind} (a string is written in quotes)")]
    OutOfRange { text: String, kind: &'static str },
    /// Vectors too deep in each other.
    #[error("vectors are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// `-x` or `--xyz`, probably a mistyped option.
    #[error(
        "{text} is no value and no option here (a string that starts with - is written in quotes: '\"{text}\"')"
    )]
    Option { text: String },
}

/// The value that `text` stands for.
pub(crate) fn parse(text: &str) -> Result<Data, ValueError> {
    match text.as_bytes().first() {
        Some(b'{') => json_value(text),
        Some(b'"') => match quoted(text)? {
            (value, "") => Ok(value.into()),
            _ => Err(ValueError::String {
                text: shown(text),
                reason: "there is text behind the closing quote",
            }),
        },
        Some(b'[') => match vector(text, 0)? {
            (values, "") => Ok(values),
            _ => Err(ValueError::Vector {
                text: shown(text),
                reason: "there is text behind the closing bracket",
            }),
        },
        _ => word(text),
    }
}

/// As [`parse`], but takes what looks like a mistyped option as one.
pub(crate) fn parse_argument(text: &str) -> Result<Data, ValueError> {
    let mistyped = text
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_alphabetic()));
    if mistyped {
        Err(ValueError::Option { text: shown(text) })
    } else {
        parse(text)
    }
}

/// A value without quotes or brackets.
fn word(text: &str) -> Result<Data, ValueError> {
    match text {
        "true" => return Ok(true.into()),
        "false" => return Ok(false.into()),
        _ => {}
    }
    if let Some(value) = number(text)? {
        return Ok(value);
    }
    if let Ok(value) = text.parse::<Port>() {
        return Ok(value.into());
    }
    if let Ok(value) = text.parse::<Address>() {
        return Ok(value.into());
    }
    if let Ok(value) = text.parse::<Subnet>() {
        return Ok(value.into());
    }
    Ok(text.into())
}

/// Integers, counts, reals and timespans; `None` if `text` is none of them.
fn number(text: &str) -> Result<Option<Data>, ValueError> {
    let out_of_range = |kind| ValueError::OutOfRange {
        text: shown(text),
        kind,
    };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = digits(unsigned);
    if whole == 0 {
        return Ok(None);
    }
    let fraction = match unsigned[whole..].strip_prefix('.') {
        Some(rest) => match digits(rest) {
            0 => return Ok(None),
            length => length + 1,
        },
        None => 0,
    };
    let (decimal, suffix) = unsigned.split_at(whole + fraction);
    match suffix {
        "" if fraction == 0 => {
            return text
                .parse()
                .map(|value: i64| Some(value.into()))
                .map_err(|_| out_of_range("an integer"));
        }
        "" => return real(text),
        "u" if fraction == 0 && !text.starts_with('-') => {
            return decimal
                .parse()
                .map(|value: u64| Some(value.into()))
                .map_err(|_| out_of_range("a count"));
        }
        _ => {}
    }
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        return if digits(exponent) == exponent.len() && !exponent.is_empty() {
            real(text)
        } else {
            Ok(None)
        };
    }
    let Some(&(_, factor)) = UNITS.iter().find(|(unit, _)| *unit == suffix) else {
        return Ok(None);
    };
    nanoseconds(decimal, factor)
        .map(|nanos| if text.starts_with('-') { -nanos } else { nanos })
        .and_then(|nanos| i64::try_from(nanos).ok())
        .map(|nanos| Some(Timespan::from_nanos(nanos).into()))
        .ok_or_else(|| out_of_range("a timespan of whole nanoseconds"))
}

fn real(text: &str) -> Result<Option<Data>, ValueError> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Some(value.into())),
        _ => Err(ValueError::OutOfRange {
            text: shown(text),
            kind: "a real",
        }),
    }
}

/// `decimal` times `factor`, if that is a whole number of a size that can be reckoned with.
fn nanoseconds(decimal: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    let fraction = fraction.trim_end_matches('0');
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<i128>().ok()?.checked_mul(factor)?
    };
    let whole = whole.parse::<i128>().ok()?.checked_mul(factor)?;
    (fraction % scale == 0)
        .then(|| whole.checked_add(fraction / scale))
        .flatten()
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn json_value(text: &str) -> Result<Data, ValueError> {
    json::parse_deep_value(text.as_bytes()).map_err(|error| ValueError::Json {
        text: shown(text),
        reason: error.to_string(),
    })
}

/// The string at the start of `text`, which is a quote, and what comes behind it.
fn quoted(text: &str) -> Result<(String, &str), ValueError> {
    let end = string_end(text).ok_or_else(|| ValueError::String {
        text: shown(text),
        reason: "the closing quote is missing",
    })?;
    let (string, rest) = text.split_at(end);
    let value = serde_json::from_str(string).map_err(|_| ValueError::String {
        text: shown(text),
        reason: "an escape or character in it is not JSON's",
    })?;
    Ok((value, rest))
}

/// Where the string in quotes at the start of `text` ends.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes()
        .enumerate()
        .skip(1)
        .find_map(|(at, byte)| match byte {
            _ if escaped => {
                escaped = false;
                None
            }
            b'\\' => {
                escaped = true;
                None
            }
            b'"' => Some(at + 1),
            _ => None,
        })
}

/// Where the JSON object at the start of `text` ends: only brackets and strings matter for that.
fn object_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            b'"' => at += string_end(&text[at..])? - 1,
            _ => {}
        }
        at += 1;
        if open == 0 {
            return Some(at);
        }
    }
    None
}

/// The vector at the start of `text`, which is a bracket, and what comes behind it.
fn vector(text: &str, depth: usize) -> Result<(Data, &str), ValueError> {
    if depth == MAX_DEPTH {
        return Err(ValueError::TooDeep);
    }
    let wrong = |reason| ValueError::Vector {
        text: shown(text),
        reason,
    };
    let mut values = Vec::new();
    let mut rest = text[1..].trim_start();
    if let Some(rest) = rest.strip_prefix(']') {
        return Ok((Data::Vector(values), rest));
    }
    loop {
        let value;
        (value, rest) = match rest.as_bytes().first() {
            None => return Err(wrong("the closing bracket is missing")),
            Some(b'[') => vector(rest, depth + 1)?,
            Some(b'"') => quoted(rest).map(|(value, rest)| (value.into(), rest))?,
            Some(b'{') => {
                let end =
                    object_end(rest).ok_or_else(|| wrong("a JSON object in it does not end"))?;
                let (object, rest) = rest.split_at(end);
                (json_value(object)?, rest)
            }
            Some(_) => {
                let end = rest
                    .find([',', ']'])
                    .ok_or_else(|| wrong("the closing bracket is missing"))?;
                let (text, rest) = rest.split_at(end);
                if text.trim().is_empty() {
                    return Err(wrong("a value is missing"));
                }
                (word(text.trim_end())?, rest)
            }
        };
        values.push(value);
        rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix(']') {
            return Ok((Data::Vector(values), rest));
        }
        rest = rest
            .strip_prefix(',')
            .ok_or_else(|| wrong("values are separated by commas"))?
            .trim_start();
    }
}

/// The start of `text`, for messages.
fn shown(text: &str) -> String {
    const LIMIT: usize = 60;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// How deep vectors may be nested; as deep as the binary format carries them.
const MAX_DEPTH: usize = 255;

/// Suffixes of timespans and their nanoseconds.
const UNITS: [(&str, i128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ok(text: &str) -> Data {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_form_of_the_shorthand_is_its_type() {
        assert_eq!(ok("5"), Data::Integer(5));
        assert_eq!(ok("-5"), Data::Integer(-5));
        assert_eq!(ok("5u"), Data::Count(5));
        assert_eq!(ok("true"), Data::Boolean(true));
        assert_eq!(ok("1.5"), Data::Real(1.5));
        assert_eq!(ok("-1e3"), Data::Real(-1000.0));
        assert_eq!(ok("10.0.0.1"), Data::from(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(
            ok("::1").as_address().map(|a| a.to_string()),
            Some("::1".to_owned())
        );
        assert_eq!(ok("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(ok("80/tcp"), Data::from(Port::tcp(80)));
        assert_eq!(ok("5s"), Data::from(Timespan::from_secs(5)));
        assert_eq!(ok("-1.5ms"), Data::from(Timespan::from_nanos(-1_500_000)));
        assert_eq!(ok("2min"), Data::from(Timespan::from_secs(120)));
        assert_eq!(ok("\"5\""), Data::from("5"));
        assert_eq!(ok("[]"), Data::Vector(Vec::new()));
        assert_eq!(
            ok(r#"[1, a b, "x,]", [2u], {"@data-type":"string","data":"]}"}]"#),
            Data::vector([
                Data::from(1i64),
                Data::from("a b"),
                Data::from("x,]"),
                Data::vector([2u64]),
                Data::from("]}"),
            ])
        );
        assert_eq!(ok(r#"{"@data-type":"count","data":5}"#), Data::Count(5));
    }

    #[test]
    fn anything_else_is_a_string() {
        for text in [
            "",
            "hello",
            "5x",
            "5.",
            ".5",
            "1.2.3",
            "-",
            "-5u",
            "/foo/bar",
            "T",
            "inf",
            "nan",
            "1e",
            "10.0.0.0/33",
            "80/sctp",
            " 5",
            "a]b",
            "5 s",
        ] {
            assert_eq!(ok(text), Data::from(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_begun_must_be_finished() {
        for text in [
            "{",
            "{\"data\":5}",
            "\"a",
            "\"a\"b",
            "[1",
            "[1,]",
            "[,]",
            "[1 2",
            "[\"a\" 1]",
            "[1]2",
            "[{]",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), Err(ValueError::TooDeep));
    }

    #[test]
    fn numbers_that_do_not_fit_are_errors_and_not_strings() {
        for text in [
            "9223372036854775808",
            "18446744073709551616u",
            "1e999",
            "1.5ns",
            "300000000h",
            "0.1234567890123456789012345678901234567890123s",
        ] {
            assert!(
                matches!(parse(text), Err(ValueError::OutOfRange { .. })),
                "{text:?}"
            );
        }
        assert_eq!(ok("-9223372036854775808"), Data::Integer(i64::MIN));
        assert_eq!(
            ok("-9223372036854775808ns"),
            Data::from(Timespan::from_nanos(i64::MIN))
        );
    }

    #[test]
    fn a_mistyped_option_is_not_sent_as_a_string() {
        assert!(parse_argument("--bogus").is_err());
        assert!(parse_argument("-x").is_err());
        assert_eq!(
            parse_argument("-5s"),
            Ok(Data::from(Timespan::from_secs(-5)))
        );
        assert_eq!(parse_argument("\"--bogus\""), Ok(Data::from("--bogus")));
    }
}
