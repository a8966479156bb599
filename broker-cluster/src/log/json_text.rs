//! A reader for one JSON object as Zeek writes them: plain values, and arrays of plain values.
//!
//! It walks the line once and lends what it finds: keys and strings without escapes are slices of
//! the line. Nothing nests, so nothing recurses.

use std::borrow::Cow;

use super::escape::hex_value;
use super::read_error::JsonError;

/// A value, or the start of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    /// The digits as they stand.
    Number(&'a [u8]),
    /// The bytes of the string, escapes undone.
    String(Cow<'a, [u8]>),
    /// An array begins: its elements are to be taken with [`Object::element`] until there is none.
    Array,
}

/// A walk through the members of an object.
#[derive(Debug)]
pub(super) struct Object<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether a member or element was read before, so that a comma must follow.
    later: bool,
}

impl<'a> Object<'a> {
    /// Begins with a line that holds one object.
    pub(super) fn open(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut object = Self {
            text,
            at: 0,
            later: false,
        };
        object.take(b'{', "an object")?;
        Ok(object)
    }

    /// The next key; none at the end of the object. Its value must be taken next.
    pub(super) fn key(&mut self) -> Result<Option<Cow<'a, [u8]>>, JsonError> {
        if self.peek() == Some(b'}') {
            self.at += 1;
            return if self.peek().is_none() {
                Ok(None)
            } else {
                self.wrong("the end of the line")
            };
        }
        if self.later {
            self.take(b',', "a comma or the end of the object")?;
        }
        self.later = true;
        self.take(b'"', "a key")?;
        let key = self.string()?;
        self.take(b':', "a colon")?;
        Ok(Some(key))
    }

    /// The value of the key taken last.
    pub(super) fn value(&mut self) -> Result<Token<'a>, JsonError> {
        if self.peek() == Some(b'[') {
            self.at += 1;
            self.later = false;
            return Ok(Token::Array);
        }
        self.plain()
    }

    /// The next element of an array; none at its end.
    pub(super) fn element(&mut self) -> Result<Option<Token<'a>>, JsonError> {
        if self.peek() == Some(b']') {
            self.at += 1;
            // Back among the members, of which the array was one.
            self.later = true;
            return Ok(None);
        }
        if self.later {
            self.take(b',', "a comma or the end of the array")?;
        }
        self.later = true;
        self.plain().map(Some)
    }

    /// The place in the line, for messages.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn plain(&mut self) -> Result<Token<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Token::String(self.string()?))
            }
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.text[self.at..];
                let part =
                    |byte: &&u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let len = rest.iter().take_while(part).count();
                self.at += len;
                Ok(Token::Number(&rest[..len]))
            }
            Some(b't') => self.word(b"true", Token::Bool(true)),
            Some(b'f') => self.word(b"false", Token::Bool(false)),
            Some(b'n') => self.word(b"null", Token::Null),
            _ => self.wrong("a string, number, true, false or null"),
        }
    }

    fn word(&mut self, word: &[u8], token: Token<'a>) -> Result<Token<'a>, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong("true, false or null");
        }
        self.at += word.len();
        Ok(token)
    }

    /// What stands up to the closing quote.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        let start = self.at;
        let Some(len) = memchr::memchr2(b'"', b'\\', &self.text[start..]) else {
            return self.wrong("a closing quote");
        };
        self.at += len;
        if self.text[self.at] == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..start + len]));
        }
        let mut out = self.text[start..self.at].to_vec();
        loop {
            let rest = &self.text[self.at..];
            let Some(len) = memchr::memchr2(b'"', b'\\', rest) else {
                return self.wrong("a closing quote");
            };
            out.extend_from_slice(&rest[..len]);
            self.at += len + 1;
            if rest[len] == b'"' {
                return Ok(Cow::Owned(out));
            }
            self.escape(&mut out)?;
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let Some(&byte) = self.text.get(self.at) else {
            return self.wrong("an escape");
        };
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => {
                let c = self.unicode()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.wrong("an escape"),
        };
        self.at += 1;
        out.push(plain);
        Ok(())
    }

    /// `uXXXX`, or two of them that make up one character.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let mut code = self.code_unit()?;
        if (0xd800..0xdc00).contains(&code) && self.text[self.at..].starts_with(b"\\u") {
            self.at += 1;
            let low = self.code_unit()?;
            if !(0xdc00..0xe000).contains(&low) {
                return self.wrong("a character");
            }
            code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.wrong("a character"),
        }
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
        if digits.len() != 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return self.wrong("four hex digits");
        }
        self.at += 5;
        Ok(digits
            .iter()
            .fold(0, |code, digit| code << 4 | u32::from(hex_value(*digit))))
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.wrong(expected);
        }
        self.at += 1;
        Ok(())
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn wrong<T>(&self, expected: &'static str) -> Result<T, JsonError> {
        Err(JsonError {
            expected,
            at: self.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every key with its value in a debug form, or the error.
    fn walk(text: &[u8]) -> Result<Vec<(String, String)>, JsonError> {
        let mut object = Object::open(text)?;
        let mut members = Vec::new();
        while let Some(key) = object.key()? {
            let shown = match object.value()? {
                Token::Array => {
                    let mut elements = Vec::new();
                    while let Some(element) = object.element()? {
                        elements.push(show(&element));
                    }
                    format!("[{}]", elements.join(" "))
                }
                plain => show(&plain),
            };
            members.push((String::from_utf8_lossy(&key).into_owned(), shown));
        }
        Ok(members)
    }

    fn show(token: &Token<'_>) -> String {
        match token {
            Token::String(text) => format!("'{}'", String::from_utf8_lossy(text)),
            Token::Number(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = r#" { "a" : 1.5e-7, "b":[true,null,"x,]}"] ,"c":[],"d\"":"\\x\u00fc\ud83d\ude00\/","e":false} "#;
        let members = walk(text.as_bytes()).unwrap();
        let expected = [
            ("a", "1.5e-7"),
            ("b", "[Bool(true) Null 'x,]}']"),
            ("c", "[]"),
            ("d\"", "'\\xü😀/'"),
            ("e", "Bool(false)"),
        ];
        assert!(
            members
                .iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .eq(expected)
        );
        assert_eq!(walk(b"{}").unwrap(), []);
    }

    #[test]
    fn what_is_no_flat_object_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("[1]", 0),
            ("{\"a\"}", 4),
            ("{\"a\":}", 5),
            ("{\"a\":1,}", 7),
            ("{\"a\":1 \"b\":2}", 7),
            ("{\"a\":{\"b\":1}}", 5),
            ("{\"a\":[[1]]}", 6),
            ("{\"a\":[1,]}", 8),
            ("{\"a\":1} x", 8),
            ("{\"a\":tru}", 5),
            ("{\"a\":\"x", 6),
            ("{\"a\":\"\\q\"}", 7),
            ("{\"a\":\"\\u12\"}", 7),
            ("{\"a\":\"\\ud800\"}", 12),
            ("{\"a\":\"\\ud800\\u0041\"}", 18),
        ] {
            assert_eq!(walk(text.as_bytes()).unwrap_err().at, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in "\\{(\"[a-z\\\\u0]{0,4}\":[0-9\\[\\],tnul\"\\\\{}]{0,8},?){0,4}\\}?",
        ) {
            let _ = walk(&bytes);
            let _ = walk(text.as_bytes());
        }
    }
}
