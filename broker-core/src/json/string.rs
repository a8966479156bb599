//! Strings in JSON: how they are escaped.

use super::Style;

/// Appends `bytes` as a JSON string, quotes included. In [`Style::Exact`] U+FFFD stands for what is not UTF-8; the
/// answer is then false.
pub fn write_string(bytes: &[u8], style: Style, out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    let complete = write_content(bytes, style, out);
    out.push(b'"');
    complete
}

/// As [`write_string`], without the quotes.
#[inline]
pub(super) fn write_content(bytes: &[u8], style: Style, out: &mut Vec<u8>) -> bool {
    if bytes
        .iter()
        .fold(true, |plain, byte| plain & is_plain(*byte))
    {
        out.extend_from_slice(bytes);
        return true;
    }
    write_special(bytes, style, out)
}

/// Whether either style writes a byte as it is, whatever is around it.
#[inline]
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) & (byte != b'"') & (byte != b'\\')
}

#[inline(never)]
fn write_special(bytes: &[u8], style: Style, out: &mut Vec<u8>) -> bool {
    match (style, std::str::from_utf8(bytes)) {
        (Style::Broker, _) => {
            write_escaped(bytes, escape_broker, out);
            true
        }
        (Style::Exact, Ok(text)) => {
            write_escaped(text.as_bytes(), escape_exact, out);
            true
        }
        (Style::Exact, Err(_)) => {
            for chunk in bytes.utf8_chunks() {
                write_escaped(chunk.valid().as_bytes(), escape_exact, out);
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                }
            }
            false
        }
    }
}

/// Appends `bytes` as lower-case hex digits.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
}

/// The bytes that hex digits stand for.
pub(super) fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| Some(hex_value(*high)? << 4 | hex_value(*low)?))
        .collect()
}

/// The value of a hex digit of either case.
#[inline]
pub(super) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends `bytes`, each of which `escape` gives a letter for as a backslash and that letter; 0 is no escape, and `u`
/// means the code point in hex.
#[inline]
fn write_escaped(bytes: &[u8], escape: impl Fn(u8) -> u8, out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(position) = rest.iter().position(|byte| escape(*byte) != 0) {
        let (plain, tail) = rest.split_at(position);
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else {
            break;
        };
        match escape(byte) {
            b'u' => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                hex_digit(byte >> 4),
                hex_digit(byte & 15),
            ]),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
}

/// All that C++ escapes; `\v` is no legal JSON, but that is what it writes.
#[inline]
const fn escape_broker(byte: u8) -> u8 {
    match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        _ => 0,
    }
}

#[inline]
const fn escape_exact(byte: u8) -> u8 {
    match byte {
        0x0b => b'u',
        0x00..=0x1f => match escape_broker(byte) {
            0 => b'u',
            letter => letter,
        },
        _ => escape_broker(byte),
    }
}

#[inline]
const fn hex_digit(value: u8) -> u8 {
    if value < 10 {
        b'0' + value
    } else {
        b'a' + value - 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8], style: Style) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let complete = write_string(bytes, style, &mut out);
        (out, complete)
    }

    #[test]
    fn broker_escapes_eight_characters_and_writes_the_rest_raw() {
        let (out, complete) = written(b"\\\"\x08\x0c\n\r\t\x0b\x01\x7f\xff/", Style::Broker);
        assert_eq!(out, b"\"\\\\\\\"\\b\\f\\n\\r\\t\\v\x01\x7f\xff/\"");
        assert!(complete);
    }

    #[test]
    fn exact_strings_are_valid_json() {
        let (out, complete) = written("a\u{b}\u{0}\u{1f}\n\"\\é☃".as_bytes(), Style::Exact);
        assert_eq!(out, r#""a\u000b\u0000\u001f\n\"\\é☃""#.as_bytes());
        assert!(complete);
    }

    #[test]
    fn exact_strings_say_when_they_lose_something() {
        assert_eq!(
            written(b"a\xffb\n", Style::Exact),
            ("\"a\u{fffd}b\\n\"".into(), false)
        );
    }

    #[test]
    fn hex_leads_back_to_the_bytes() {
        let mut out = Vec::new();
        write_hex(&[0, 0x1f, 0xff], &mut out);
        assert_eq!(out, b"001fff");
        assert_eq!(parse_hex(&out), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(parse_hex(b"1FfF"), Some(vec![0x1f, 0xff]));
        assert_eq!(parse_hex(b"123"), None);
        assert_eq!(parse_hex(b"1g"), None);
    }
}
