//! Lines of a log file, each bounded in length and numbered from 1.

use std::fmt;
use std::io::{self, BufRead};

/// The longest line a reader takes; Zeek itself drops records above 64 MiB (reference, zeek-cluster
/// 6.7). Longer ones are skipped and reported.
pub const MAX_LINE: usize = 64 << 20;

/// A source of lines.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    number: u64,
    max: usize,
}

/// What a call of [`Lines::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A line, without its end.
    Line,
    /// A line longer than the limit; it was skipped.
    TooLong,
    /// The end of the input.
    End,
}

impl Lines {
    pub(super) fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self {
            input,
            number: 0,
            max: MAX_LINE,
        }
    }

    /// The number of the line read last; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next byte that is no blank, without taking it. Blank lines before it are taken.
    pub(super) fn first_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.fill()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            // A byte order mark says nothing about a log, but some editors leave one.
            let blank = |byte: &u8| byte.is_ascii_whitespace() || BYTE_ORDER_MARK.contains(byte);
            let skip = buffer.iter().take_while(|byte| blank(byte)).count();
            let first = buffer.get(skip).copied();
            let newlines = buffer[..skip].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.number += newlines;
            self.input.consume(skip);
            if first.is_some() {
                return Ok(first);
            }
        }
    }

    /// Reads the next line into `line`, in place of what it held.
    pub(super) fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Found> {
        line.clear();
        let (mut started, mut too_long) = (false, false);
        loop {
            let max = self.max;
            let buffer = self.fill()?;
            if buffer.is_empty() {
                if !started {
                    return Ok(Found::End);
                }
                break;
            }
            started = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            too_long |= line.len() + part.len() > max;
            if too_long {
                line.clear();
            } else {
                line.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        if too_long {
            return Ok(Found::TooLong);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Found::Line)
    }

    fn fill(&mut self) -> io::Result<&[u8]> {
        // Twice, because a borrow returned from a loop would last into the next turn.
        while let Err(error) = self.input.fill_buf() {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.input.fill_buf()
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    fn lines(text: &[u8], max: usize) -> Vec<(u64, Found, Vec<u8>)> {
        let input = BufReader::with_capacity(4, Cursor::new(text.to_vec()));
        let mut lines = Lines {
            max,
            ..Lines::new(Box::new(input))
        };
        let mut line = Vec::new();
        let mut all = Vec::new();
        loop {
            let found = lines.read(&mut line).unwrap();
            if found == Found::End {
                return all;
            }
            all.push((lines.number(), found, line.clone()));
        }
    }

    #[test]
    fn line_ends_are_taken_off_and_the_last_may_lack_one() {
        let expected = [
            (1, Found::Line, b"first".to_vec()),
            (2, Found::Line, Vec::new()),
            (3, Found::Line, b"third \r".to_vec()),
            (4, Found::Line, b"last".to_vec()),
        ];
        assert_eq!(lines(b"first\n\r\nthird \r\r\nlast", 100), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let expected = [
            (1, Found::Line, b"12345678".to_vec()),
            (2, Found::TooLong, Vec::new()),
            (3, Found::Line, b"next".to_vec()),
            (4, Found::TooLong, Vec::new()),
        ];
        assert_eq!(
            lines(b"12345678\n123456789\nnext\n123456789012345", 8),
            expected
        );
    }

    #[test]
    fn the_first_byte_is_seen_past_blank_lines() {
        let mut lines = Lines::new(Box::new(Cursor::new(
            b"\xef\xbb\xbf\n  \n {\"a\":1}\n".to_vec(),
        )));
        assert_eq!(lines.first_byte().unwrap(), Some(b'{'));
        let mut line = Vec::new();
        assert_eq!(lines.read(&mut line).unwrap(), Found::Line);
        assert_eq!((lines.number(), &line[..]), (3, &b"{\"a\":1}"[..]));
        assert_eq!(
            Lines::new(Box::new(io::empty())).first_byte().unwrap(),
            None
        );
    }
}
