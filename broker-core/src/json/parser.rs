//! The syntax of JSON: a cursor over a text.
//!
//! **Invariant:** recursion is bounded by the levels handed in, and nothing is allocated but unescaped strings.

use std::borrow::Cow;

use super::MAX_LEVELS;
use super::error::JsonError;
use super::string::hex_value;

/// Where in the text the reader is. A copy of it is a place to come back to.
#[derive(Clone, Copy)]
pub(super) struct Parser<'a> {
    rest: &'a [u8],
    /// The length of the whole text, which tells offsets.
    total: usize,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            total: text.len(),
        }
    }

    pub(super) const fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    pub(super) const fn syntax(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax {
            offset: self.offset(),
            expected,
        }
    }

    /// The next byte that is not white space, left where it is.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some((byte, rest)) = self.rest.split_first() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.rest = rest;
        }
        None
    }

    /// Takes `byte` if it is the next one but white space.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        found
    }

    /// Takes `text` if it comes next, byte for byte and without white space.
    #[inline]
    pub(super) fn literal(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Takes the bytes up to a quotation mark if it is among the next `within` bytes; the mark stays.
    #[inline]
    pub(super) fn up_to_quote(&mut self, within: usize) -> Option<&'a [u8]> {
        let len = self
            .rest
            .iter()
            .take(within)
            .position(|byte| *byte == b'"')?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(text)
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.syntax(expected))
        }
    }

    /// Nothing but white space may be left.
    pub(super) fn finish(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() {
            Ok(())
        } else {
            Err(self.syntax("the end of the text"))
        }
    }

    /// One level further down.
    #[inline]
    pub(super) fn descend(levels: u16) -> Result<u16, JsonError> {
        levels
            .checked_sub(1)
            .ok_or(JsonError::TooDeep { limit: MAX_LEVELS })
    }

    /// A string, borrowed if it has no escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        self.expect(b'"', "a string")?;
        let len = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\'));
        let Some((plain, [stop, tail @ ..])) = len.and_then(|len| self.rest.split_at_checked(len))
        else {
            self.rest = &[];
            return Err(self.syntax("the end of a string"));
        };
        if *stop == b'"' {
            self.rest = tail;
            return Ok(Cow::Borrowed(plain));
        }
        self.rest = &self.rest[plain.len()..];
        self.escaped_string(plain.to_vec()).map(Cow::Owned)
    }

    /// The rest of a string, from its first escape on.
    #[cold]
    fn escaped_string(&mut self, mut string: Vec<u8>) -> Result<Vec<u8>, JsonError> {
        loop {
            let Some((byte, rest)) = self.rest.split_first() else {
                return Err(self.syntax("the end of a string"));
            };
            self.rest = rest;
            match byte {
                b'"' => return Ok(string),
                b'\\' => self.escape(&mut string)?,
                // C++ and Zeek write control characters raw, so they are taken.
                byte => string.push(*byte),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, string: &mut Vec<u8>) -> Result<(), JsonError> {
        let Some((letter, rest)) = self.rest.split_first() else {
            return Err(self.syntax("an escape"));
        };
        let byte = match letter {
            b'"' | b'\\' | b'/' => *letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'u' => {
                self.rest = rest;
                let code_point = self.code_point()?;
                string.extend_from_slice(code_point.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(self.syntax("an escape")),
        };
        self.rest = rest;
        string.push(byte);
        Ok(())
    }

    /// Four hex digits, or twice four for a surrogate pair.
    fn code_point(&mut self) -> Result<char, JsonError> {
        let high = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&high) {
            let Some(rest) = self.rest.strip_prefix(b"\\u") else {
                return Err(self.syntax("the second half of a surrogate pair"));
            };
            self.rest = rest;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(self.syntax("the second half of a surrogate pair"));
            }
            0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or_else(|| self.syntax("the first half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let Some((digits, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.syntax("four hex digits"));
        };
        let mut value = 0;
        for digit in digits {
            let Some(digit) = hex_value(*digit) else {
                return Err(self.syntax("four hex digits"));
            };
            value = value << 4 | u32::from(digit);
        }
        self.rest = rest;
        Ok(value)
    }

    /// A number or a word such as `true`, which goes on as long as bytes can belong to one.
    #[inline]
    pub(super) fn token(&mut self) -> Result<&'a [u8], JsonError> {
        self.peek();
        let len = self
            .rest
            .iter()
            .position(|byte| !is_token_byte(*byte))
            .unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(len);
        if !is_word(token) && !is_number(token) {
            return Err(self.syntax("a value"));
        }
        self.rest = rest;
        Ok(token)
    }

    /// Moves behind a value of any kind.
    pub(super) fn skip(&mut self, levels: u16) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.members(levels, |parser, levels, _| parser.skip(levels)),
            Some(b'[') => self.elements(levels, |parser, levels| parser.skip(levels)),
            _ => self.token().map(drop),
        }
    }

    /// Reads an object: `member` is called at each value and must move behind it.
    #[inline]
    pub(super) fn members(
        &mut self,
        levels: u16,
        mut member: impl FnMut(&mut Self, u16, Cow<'a, [u8]>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'{', "an object")?;
        let levels = Self::descend(levels)?;
        if self.take(b'}') {
            return Ok(());
        }
        self.member(levels, &mut member)?;
        self.more_members(levels, member)
    }

    /// Reads the members that follow another one, and the end of their object.
    #[inline]
    pub(super) fn more_members(
        &mut self,
        levels: u16,
        mut member: impl FnMut(&mut Self, u16, Cow<'a, [u8]>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        while self.take(b',') {
            self.member(levels, &mut member)?;
        }
        self.expect(b'}', "a comma or the end of an object")
    }

    #[inline]
    fn member(
        &mut self,
        levels: u16,
        member: &mut impl FnMut(&mut Self, u16, Cow<'a, [u8]>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let name = self.string()?;
        self.expect(b':', "a colon")?;
        member(self, levels, name)
    }

    /// Reads an array: `element` is called at each value and must move behind it.
    #[inline]
    pub(super) fn elements(
        &mut self,
        levels: u16,
        mut element: impl FnMut(&mut Self, u16) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'[', "an array")?;
        let levels = Self::descend(levels)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self, levels)?;
            if !self.take(b',') {
                return self.expect(b']', "a comma or the end of an array");
            }
        }
    }
}

#[inline]
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// The words of JSON, and those that Broker writes for reals which JSON has no form for.
#[inline]
fn is_word(token: &[u8]) -> bool {
    matches!(
        token,
        b"true" | b"false" | b"null" | b"nan" | b"inf" | b"-inf"
    )
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
#[inline]
fn is_number(token: &[u8]) -> bool {
    let unsigned = token.strip_prefix(b"-").unwrap_or(token);
    let Some(mut rest) = (match unsigned {
        [b'0', rest @ ..] => Some(rest),
        _ => digits(unsigned),
    }) else {
        return false;
    };
    if let [b'.', fraction @ ..] = rest {
        let Some(behind) = digits(fraction) else {
            return false;
        };
        rest = behind;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            _ => exponent,
        };
        let Some(behind) = digits(exponent) else {
            return false;
        };
        rest = behind;
    }
    rest.is_empty()
}

/// What follows one digit or more.
#[inline]
fn digits(text: &[u8]) -> Option<&[u8]> {
    let len = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    if len == 0 { None } else { text.get(len..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<Vec<u8>> {
        let mut parser = Parser::new(text.as_bytes());
        let string = parser.string().ok()?.into_owned();
        parser.finish().ok()?;
        Some(string)
    }

    fn is_json(text: &str) -> bool {
        let mut parser = Parser::new(text.as_bytes());
        parser
            .skip(MAX_LEVELS)
            .and_then(|()| parser.finish())
            .is_ok()
    }

    #[test]
    fn strings_are_unescaped() {
        for (text, expected) in [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""a\"b\\c\/d""#, "a\"b\\c/d"),
            (r#""\b\f\n\r\t\v""#, "\u{8}\u{c}\n\r\t\u{b}"),
            (r#""\u00e9\u2603\uD83D\ude00!""#, "é☃😀!"),
            ("\"raw \u{1}\n\"", "raw \u{1}\n"),
        ] {
            assert_eq!(string(text).as_deref(), Some(expected.as_bytes()), "{text}");
        }
    }

    #[test]
    fn bad_strings_are_malformed() {
        for text in [
            r#"""#,
            r#""abc"#,
            r#""\"#,
            r#""\x41""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            r#""\u+123""#,
        ] {
            assert_eq!(string(text), None, "{text}");
        }
    }

    #[test]
    fn json_is_told_from_what_is_none() {
        for text in [
            "{}",
            "[]",
            " [ 1 , -2.5e+3 , true , null , \"x\" ]\r\n",
            r#"{"a":{"b":[{}]},"c":0}"#,
            "nan",
            "-inf",
            "0.5",
            "1E5",
        ] {
            assert!(is_json(text), "{text}");
        }
        for text in [
            "", "{", "[1,]", "[1 2]", "{\"a\"}", "{\"a\":}", "{a:1}", "[1]x", "tru", "01", "-",
            "+1", "1.", ".5", "1e", "0x10", "--1", "NaN", "\u{b}1", "1e5.0",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn nesting_beyond_the_limit_has_an_error_of_its_own() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_json(&nested(127)));
        assert_eq!(
            Parser::new(nested(128).as_bytes()).skip(MAX_LEVELS),
            Err(JsonError::TooDeep { limit: 127 })
        );
        assert_eq!(
            Parser::new("[".repeat(100_000).as_bytes()).skip(MAX_LEVELS),
            Err(JsonError::TooDeep { limit: 127 })
        );
    }
}
