//! gRPC's framing: a flag, a length, a message.
//!
//! ```text
//! | compressed u8 (0) | length u32, big-endian | message .. |
//! ```
//!
//! HTTP/2 hands over chunks that need not end where messages do. A message that lies within one chunk
//! is shared, not copied; only one that spans chunks is put together.
//!
//! **Invariant:** the length is checked before anything is kept, and what is kept for an unfinished
//! message grows with what has arrived, not with what was announced.

use bytes::{Buf, Bytes, BytesMut};

use super::error::FrameError;
use super::limits::MAX_FRAME;

/// The bytes before each message.
pub(crate) const PREFIX_LEN: usize = 5;

const _: () = assert!(MAX_FRAME <= u32::MAX as usize, "the length has 32 bits");

/// The prefix of a message of `len` bytes.
pub(crate) fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    debug_assert!(len <= MAX_FRAME, "checked by whoever builds a frame");
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// Turns chunks into messages.
#[derive(Debug)]
pub(crate) struct Deframer {
    limit: usize,
    /// The start of a message whose rest has not arrived; empty, or at most one message.
    partial: BytesMut,
    /// What follows it.
    chunk: Bytes,
}

impl Deframer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: BytesMut::new(),
            chunk: Bytes::new(),
        }
    }

    /// Changes the largest message taken from now on.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes the next chunk. The messages of the one before must have been taken out.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        debug_assert!(
            self.chunk.is_empty(),
            "next() has returned None since the last push"
        );
        self.chunk = chunk;
    }

    /// The next message that is complete; `None` asks for another chunk.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_empty() {
            let Some(len) = self.message_len(&self.chunk)? else {
                return Ok(self.keep(PREFIX_LEN));
            };
            if self.chunk.len() < PREFIX_LEN + len {
                return Ok(self.keep(PREFIX_LEN + len));
            }
            let mut message = self.chunk.split_to(PREFIX_LEN + len);
            message.advance(PREFIX_LEN);
            return Ok(Some(message));
        }
        self.fill(PREFIX_LEN);
        let Some(len) = self.message_len(&self.partial)? else {
            return Ok(None);
        };
        self.fill(PREFIX_LEN + len);
        if self.partial.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        let mut message = self.partial.split().freeze();
        message.advance(PREFIX_LEN);
        Ok(Some(message))
    }

    /// The chunks have come to their end.
    pub(crate) fn finish(&self) -> Result<(), FrameError> {
        if self.partial.is_empty() && self.chunk.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Incomplete)
        }
    }

    fn message_len(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some((&[flag, a, b, c, d], _)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(FrameError::Compressed { flag });
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.limit {
            return Err(FrameError::TooLong {
                len,
                limit: self.limit,
            });
        }
        Ok(Some(len))
    }

    fn keep<T>(&mut self, wanted: usize) -> Option<T> {
        self.fill(wanted);
        None
    }

    /// Moves bytes of the chunk to the partial message until that has `wanted`.
    fn fill(&mut self, wanted: usize) {
        let missing = wanted
            .saturating_sub(self.partial.len())
            .min(self.chunk.len());
        self.partial
            .extend_from_slice(&self.chunk.split_to(missing));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| {
                prefix(message.len())
                    .into_iter()
                    .chain(message.iter().copied())
            })
            .collect()
    }

    fn drain(deframer: &mut Deframer, out: &mut Vec<Vec<u8>>) -> Result<(), FrameError> {
        while let Some(message) = deframer.next()? {
            out.push(message.to_vec());
        }
        Ok(())
    }

    #[test]
    fn a_message_within_one_chunk_is_shared() {
        let chunk = Bytes::from(framed(&[b"one".to_vec(), b"two".to_vec()]));
        let mut deframer = Deframer::new(100);
        deframer.push(chunk.clone());
        assert_eq!(
            deframer.next().unwrap().unwrap().as_ptr(),
            chunk[PREFIX_LEN..].as_ptr()
        );
        assert_eq!(deframer.next().unwrap().unwrap(), "two");
        assert_eq!(deframer.next(), Ok(None));
        assert_eq!(deframer.finish(), Ok(()));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once_and_costs_nothing() {
        let mut deframer = Deframer::new(100);
        deframer.push(Bytes::from_static(&[0, 0, 0, 0, 101]));
        assert_eq!(
            deframer.next(),
            Err(FrameError::TooLong {
                len: 101,
                limit: 100
            })
        );
        let mut deframer = Deframer::new(usize::MAX);
        deframer.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]));
        assert_eq!(deframer.next(), Ok(None));
        assert!(deframer.partial.capacity() < 1024);
        assert_eq!(deframer.finish(), Err(FrameError::Incomplete));
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut deframer = Deframer::new(100);
        deframer.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(deframer.next(), Err(FrameError::Compressed { flag: 1 }));
    }

    proptest! {
        #[test]
        fn messages_survive_any_chunking(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in proptest::collection::vec(1usize..30, 1..8),
        ) {
            let mut rest = &framed(&messages)[..];
            let mut deframer = Deframer::new(40);
            let mut out = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                rest = after;
                deframer.push(Bytes::copy_from_slice(chunk));
                drain(&mut deframer, &mut out).unwrap();
            }
            prop_assert_eq!(out, messages);
            prop_assert_eq!(deframer.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_messages_or_an_error(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let mut deframer = Deframer::new(1000);
            for chunk in chunks {
                deframer.push(Bytes::from(chunk));
                if drain(&mut deframer, &mut Vec::new()).is_err() {
                    break;
                }
            }
        }
    }
}
