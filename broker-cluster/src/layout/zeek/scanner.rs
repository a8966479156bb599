//! Words, texts and marks of Zeek's script language, one after another, with the place of each for errors.
//!
//! **Invariant:** every call moves forward or fails, so that whoever calls until the end gets there.

use super::super::error::{LayoutError, LayoutProblem};
use super::super::table::{Source, shortened};
use super::ZeekLayoutProblem;

/// A text read from its start to its end.
pub(super) struct Scanner<'a> {
    source: Source<'a>,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(source: Source<'a>) -> Self {
        Self { source, at: 0 }
    }

    fn rest(&self) -> &'a str {
        // Always at the start of a character: it moves by characters and ASCII bytes.
        self.source.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Moves over blanks and comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            if self.peek() != Some('#') {
                return;
            }
            self.skip_line();
        }
    }

    /// Moves behind the line.
    pub(super) fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.find('\n').map_or(rest.len(), |end| end + 1);
    }

    /// The next character that is no blank and not in a comment, without taking it; where it stands is what errors at
    /// [`place`](Self::place) name.
    pub(super) fn next(&mut self) -> Option<char> {
        self.skip_blank();
        self.peek()
    }

    /// Where the next character is.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    /// The line of a place.
    pub(super) fn line(&self, place: usize) -> usize {
        self.source.line(&(place..place))
    }

    /// An error at a place.
    pub(super) fn error(&self, place: usize, problem: ZeekLayoutProblem) -> LayoutError {
        self.source.at_place(place, problem.into())
    }

    /// An error at a place that other formats know too.
    pub(super) fn problem(&self, place: usize, problem: LayoutProblem) -> LayoutError {
        self.source.at_place(place, problem)
    }

    /// That something else should stand at a place that has been read already.
    pub(super) fn expected_at(&mut self, place: usize, expected: &'static str) -> LayoutError {
        self.at = place;
        self.expected(expected)
    }

    /// That something else should stand at the next place.
    pub(super) fn expected(&mut self, expected: &'static str) -> LayoutError {
        let found = match self.next() {
            None => "the end".to_owned(),
            Some(first) if is_word(first) => {
                let place = self.at;
                let word = self.word().unwrap_or_default();
                self.at = place;
                format!("{:?}", shortened(word))
            }
            Some(first) => format!("{first:?}"),
        };
        self.error(self.at, ZeekLayoutProblem::Expected { expected, found })
    }

    /// Takes `mark` if it is next.
    pub(super) fn takes(&mut self, mark: &str) -> bool {
        self.skip_blank();
        let there = self.rest().starts_with(mark);
        if there {
            self.at += mark.len();
        }
        there
    }

    /// Takes `mark`, which must be next; errors call it `what`.
    pub(super) fn take(&mut self, mark: &str, what: &'static str) -> Result<(), LayoutError> {
        if self.takes(mark) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    /// A name such as `Cluster::nodes`, or a number.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        self.skip_blank();
        let rest = self.rest();
        let end = rest
            .find(|letter| !(is_word(letter) || letter == ':'))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        (!word.is_empty()).then_some(word)
    }

    /// What stands there up to a blank or one of the marks that end a value.
    pub(super) fn bare(&mut self) -> &'a str {
        self.skip_blank();
        let rest = self.rest();
        let end = rest
            .find(|letter: char| letter.is_whitespace() || ",;]})#".contains(letter))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// What stands between `[` and `]`.
    pub(super) fn bracketed(&mut self) -> Result<&'a str, LayoutError> {
        let place = self.at;
        self.take("[", "[")?;
        let rest = self.rest();
        let Some(end) = rest
            .find([']', '\n'])
            .filter(|end| rest[*end..].starts_with(']'))
        else {
            return Err(self.error(place, ZeekLayoutProblem::Unclosed { what: "[" }));
        };
        self.at += end + 1;
        Ok(rest[..end].trim())
    }

    /// A text in quotes; a backslash takes the next character as it is.
    pub(super) fn text(&mut self) -> Result<String, LayoutError> {
        self.skip_blank();
        let place = self.at;
        self.take("\"", "a text in quotes")?;
        let mut text = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((offset, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += offset + 1;
                    return Ok(text);
                }
                '\n' => break,
                '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
                other => text.push(other),
            }
        }
        Err(self.error(
            place,
            ZeekLayoutProblem::Unclosed {
                what: "the text in quotes",
            },
        ))
    }

    /// Moves over whatever stands before the next of `ends` outside of brackets, and not over that. Brackets and texts on
    /// the way must be whole.
    pub(super) fn skip_to(&mut self, ends: &[char]) -> Result<(), LayoutError> {
        self.skip_blank();
        self.skip_from(self.at, ends)
    }

    /// The same; if it does not end, `start` is to blame.
    fn skip_from(&mut self, start: usize, ends: &[char]) -> Result<(), LayoutError> {
        let mut open: Vec<char> = Vec::new();
        loop {
            let Some(next) = self.next() else {
                let what = if open.is_empty() {
                    "the statement"
                } else {
                    "a bracket"
                };
                return Err(self.error(start, ZeekLayoutProblem::Unclosed { what }));
            };
            if open.is_empty() && ends.contains(&next) {
                return Ok(());
            }
            match next {
                '"' => {
                    self.text()?;
                    continue;
                }
                '[' => open.push(']'),
                '(' => open.push(')'),
                '{' => open.push('}'),
                ']' | ')' | '}' if open.pop() != Some(next) => {
                    return Err(self.expected("brackets in pairs"));
                }
                _ => {}
            }
            if open.len() > MAX_DEPTH {
                return Err(self.error(self.at, ZeekLayoutProblem::TooDeep));
            }
            self.at += next.len_utf8();
        }
    }

    /// Moves over a block in braces.
    pub(super) fn skip_block(&mut self) -> Result<(), LayoutError> {
        self.skip_blank();
        let start = self.at;
        self.take("{", "{")?;
        self.skip_from(start, &['}'])?;
        self.take("}", "}")
    }
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Brackets within brackets at most.
const MAX_DEPTH: usize = 64;
