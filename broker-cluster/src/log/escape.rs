//! Escaping of strings in log files (reference, zeek-cluster 6.8 rules 1 to 5, and 6.9).
//!
//! In TSV a string is cut into pieces at separators and backslashes, and each piece is judged as a
//! whole: if every character is printable ASCII or an accepted UTF-8 character it passes, else every
//! byte outside printable ASCII becomes `\xHH`, bytes of good characters included. In JSON there are
//! no pieces, and five control characters count as accepted.
//!
//! Reading knows two escapes, `\xHH` and `\\`. A backslash that starts neither is kept: old logs
//! wrote `O=Amazon.com\, Inc.` for a string with that backslash.

/// Where a string is cut and whether it may show UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuts<'a> {
    /// The separator of columns; may be empty.
    pub(super) separator: &'a [u8],
    /// The separator of elements, inside containers; may be empty.
    pub(super) set_separator: &'a [u8],
    /// Whether accepted UTF-8 characters pass.
    pub(super) utf8: bool,
}

/// Appends a string escaped for TSV. Knows nothing of the marks for unset and empty.
pub(super) fn push_tsv(out: &mut Vec<u8>, text: &[u8], cuts: &Cuts<'_>) {
    let mut piece = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let cut = if starts_with(rest, cuts.separator) {
            cuts.separator.len()
        } else if starts_with(rest, cuts.set_separator) {
            cuts.set_separator.len()
        } else if text[at] == b'\\' {
            push_piece(out, &text[piece..at], cuts.utf8);
            out.extend_from_slice(b"\\\\");
            at += 1;
            piece = at;
            continue;
        } else {
            at += 1;
            continue;
        };
        push_piece(out, &text[piece..at], cuts.utf8);
        for &byte in &text[at..at + cut] {
            push_hex(out, byte);
        }
        at += cut;
        piece = at;
    }
    push_piece(out, &text[piece..], cuts.utf8);
}

/// Appends a JSON string with its quotes, under Zeek's policy HEX.
pub(super) fn push_json(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    // Most strings are plain; copy them at once.
    if text.iter().all(|&byte| PLAIN_IN_JSON[usize::from(byte)]) {
        out.extend_from_slice(text);
    } else if is_accepted(text, true) {
        for &byte in text {
            push_quoted(out, byte);
        }
    } else {
        for &byte in text {
            if is_printable(byte) || is_short_control(byte) {
                push_quoted(out, byte);
            } else {
                out.push(b'\\');
                push_hex(out, byte);
            }
        }
    }
    out.push(b'"');
}

/// Appends a JSON string with its quotes, under policy TSV: the escapes of TSV, then quoted.
pub(super) fn push_json_as_tsv(out: &mut Vec<u8>, text: &[u8]) {
    let mut escaped = Vec::with_capacity(text.len());
    push_tsv(
        &mut escaped,
        text,
        &Cuts {
            separator: b"\t",
            set_separator: b"",
            utf8: true,
        },
    );
    out.push(b'"');
    for byte in escaped {
        push_quoted(out, byte);
    }
    out.push(b'"');
}

/// Appends a JSON string with its quotes, under policy PUA: each accepted character passes, every
/// other byte becomes a character of a private plane, `\udb80\udcHH`.
pub(super) fn push_json_private(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            let short = u8::try_from(c).is_ok_and(is_short_control);
            for &byte in bytes {
                if short || is_accepted_char(c) {
                    push_quoted(out, byte);
                } else {
                    push_private(out, byte);
                }
            }
        }
        for &byte in chunk.invalid() {
            push_private(out, byte);
        }
    }
    out.push(b'"');
}

/// Appends `\xHH`.
pub(super) fn push_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\x");
    push_hex_digits(out, byte);
}

/// Undoes the escapes of TSV.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        match &rest[at + 1..] {
            [b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                rest = tail;
            }
            [b'\\', tail @ ..] => {
                out.push(b'\\');
                rest = tail;
            }
            tail => {
                out.push(b'\\');
                rest = tail;
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

/// The value of an ASCII hex digit; 0 for anything else.
pub(super) fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// Whether a byte is printable ASCII, the blank included.
pub(super) fn is_printable(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

fn starts_with(text: &[u8], separator: &[u8]) -> bool {
    !separator.is_empty() && text.starts_with(separator)
}

fn push_piece(out: &mut Vec<u8>, piece: &[u8], utf8: bool) {
    let passes = match utf8 {
        true => is_accepted(piece, false),
        false => piece.iter().all(|&byte| is_printable(byte)),
    };
    if passes {
        out.extend_from_slice(piece);
        return;
    }
    for &byte in piece {
        if is_printable(byte) {
            out.push(byte);
        } else {
            push_hex(out, byte);
        }
    }
}

/// Whether every character is printable ASCII or accepted; with `short_controls` also the five
/// controls JSON has short forms for.
fn is_accepted(text: &[u8], short_controls: bool) -> bool {
    if text.iter().all(|&byte| is_printable(byte)) {
        return true;
    }
    std::str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| {
            is_accepted_char(c) || (short_controls && u8::try_from(c).is_ok_and(is_short_control))
        })
    })
}

fn is_accepted_char(c: char) -> bool {
    !matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

fn is_short_control(byte: u8) -> bool {
    matches!(byte, 0x08 | b'\t' | b'\n' | 0x0c | b'\r')
}

fn push_quoted(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'\n' => out.extend_from_slice(b"\\n"),
        0x0c => out.extend_from_slice(b"\\f"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => out.push(byte),
    }
}

fn push_private(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\udb80\\udc");
    push_hex_digits(out, byte);
}

fn push_hex_digits(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 0xf)],
    ]);
}

const PLAIN_IN_JSON: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Cuts<'static> = Cuts {
        separator: b"\t",
        set_separator: b"",
        utf8: true,
    };
    const ELEMENT: Cuts<'static> = Cuts {
        separator: b"\t",
        set_separator: b",",
        utf8: true,
    };

    fn tsv(text: &[u8], cuts: &Cuts<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        push_tsv(&mut out, text, cuts);
        out
    }

    fn json(write: fn(&mut Vec<u8>, &[u8]), text: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_piece_is_judged_as_a_whole() {
        assert_eq!(tsv(b"\xc3\xbc\xff", &PLAIN), b"\\xc3\\xbc\\xff");
        assert_eq!(
            tsv(b"\xc3\xbc\x09\xc3\xbc", &PLAIN),
            b"\xc3\xbc\\x09\xc3\xbc"
        );
        assert_eq!(tsv(b"\xc3\xbc,\xff", &PLAIN), b"\\xc3\\xbc,\\xff");
        assert_eq!(tsv(b"\xc3\xbc,\xff", &ELEMENT), b"\xc3\xbc\\x2c\\xff");
        assert_eq!(tsv(b"\xff\\\xc3\xbc", &PLAIN), b"\\xff\\\\\xc3\xbc");
    }

    #[test]
    fn without_utf8_output_every_byte_is_shown() {
        let cuts = Cuts {
            utf8: false,
            ..PLAIN
        };
        assert_eq!(tsv(b"\xc3\xbc a", &cuts), b"\\xc3\\xbc a");
    }

    #[test]
    fn a_separator_of_several_bytes_is_escaped_whole() {
        let cuts = Cuts {
            separator: b"||",
            ..PLAIN
        };
        assert_eq!(tsv(b"a||b|c", &cuts), b"a\\x7c\\x7cb|c");
    }

    #[test]
    fn json_policies_differ_as_documented() {
        assert_eq!(json(push_json, b"\xc3\xbc\n"), "\"ü\\n\"");
        assert_eq!(json(push_json, b"\xc3\xbc\xff"), r#""\\xc3\\xbc\\xff""#);
        assert_eq!(json(push_json, b"a\0\"\\/"), r#""a\\x00\"\\/""#);
        assert_eq!(
            json(push_json_private, b"\xc3\xbc\xff\x01\n"),
            r#""ü\udb80\udcff\udb80\udc01\n""#
        );
        assert_eq!(json(push_json_as_tsv, b"a\tb,\\"), r#""a\\x09b,\\\\""#);
    }

    #[test]
    fn a_backslash_that_starts_no_escape_is_kept() {
        assert_eq!(unescape(b"O=Amazon.com\\, Inc."), b"O=Amazon.com\\, Inc.");
        assert_eq!(unescape(b"O=Amazon.com\\\\, Inc."), b"O=Amazon.com\\, Inc.");
        assert_eq!(unescape(b"\\x2d"), b"-");
        assert_eq!(unescape(b"\\x2D\\x4"), b"-\\x4");
        assert_eq!(unescape(b"\\\\x41"), b"\\x41");
        assert_eq!(unescape(b"end\\"), b"end\\");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in prop::collection::vec(any::<u8>(), 0..40), utf8 in any::<bool>()) {
            let cuts = Cuts { utf8, ..ELEMENT };
            let escaped = tsv(&text, &cuts);
            prop_assert!(!escaped.contains(&b'\t') && !escaped.contains(&b',') && !escaped.contains(&b'\n'));
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
