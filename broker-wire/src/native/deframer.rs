//! From a byte stream to frames (broker-wire reference, 1.1).
//!
//! ```text
//! | length u32 | that many bytes | length u32 | ...
//! ```
//!
//! A frame is held only as far as it has come, and only if it is within the limit; what is longer is skipped
//! as it comes, so that a length alone sizes nothing.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::frame::PREFIX_LEN;
use super::limits::MAX_LEGAL_FRAME;
use crate::first_bytes::{ENOUGH, Speaks, guess};

/// Why a stream is none of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadStream {
    #[error(
        "the peer speaks TLS, which this address does not: use brokers://, or turn TLS off there"
    )]
    Tls,
    #[error("the peer speaks HTTP, not the native Broker protocol")]
    Http,
    #[error("a frame of {len} bytes")]
    TooLong { len: usize },
}

/// What comes next in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The rest of it has not come yet.
    More,
    /// One frame, without its length.
    Frame(Bytes),
    /// A frame over the limit has begun, and is skipped.
    Skipped { len: usize },
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub(crate) struct Deframer {
    buffer: BytesMut,
    limit: usize,
    /// Bytes of an over-long frame that are still to come.
    skip: usize,
}

impl Deframer {
    /// Takes frames of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
            skip: 0,
        }
    }

    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where to read into.
    pub(crate) const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether the stream may end here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.buffer.is_empty() && self.skip == 0
    }

    /// Whether the stream begins as another protocol does; a frame of a handshake never looks like one.
    pub(crate) fn check_protocol(&self) -> Result<(), BadStream> {
        match guess(&self.buffer[..self.buffer.len().min(ENOUGH)]) {
            Speaks::Tls => Err(BadStream::Tls),
            Speaks::Http1 => Err(BadStream::Http),
            // What HTTP/2 servers begin with might be a short frame; what clients begin with is no length.
            Speaks::Http2 if self.buffer[0] != 0 => Err(BadStream::Http),
            _ => Ok(()),
        }
    }

    /// One frame.
    pub(crate) fn next(&mut self) -> Result<Next, BadStream> {
        let Some(head) = self.after_skipping() else {
            return Ok(Next::More);
        };
        let len = length(head);
        if len > self.limit {
            return self.skip_frame(len);
        }
        if self.buffer.len() < PREFIX_LEN + len {
            return Ok(Next::More);
        }
        let frame = self.buffer.split_to(PREFIX_LEN + len).freeze();
        Ok(Next::Frame(frame.slice(PREFIX_LEN..)))
    }

    /// All complete frames there are, at most `max`, as one piece of memory; empty if there is none.
    pub(crate) fn next_run(&mut self, max: usize) -> Run {
        let mut end = 0;
        let mut count = 0;
        if self.after_skipping().is_some() {
            while count < max
                && let Some(head) = self.buffer[end..].first_chunk::<PREFIX_LEN>()
            {
                let len = length(*head);
                if len > self.limit || self.buffer.len() - end < PREFIX_LEN + len {
                    break;
                }
                end += PREFIX_LEN + len;
                count += 1;
            }
        }
        let bytes = self.buffer.split_to(end).freeze();
        if end > KEPT {
            // What is left would go on in the memory that the large frame needed.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Run { bytes, at: 0 }
    }

    /// The length in front, once what is to be skipped is gone.
    fn after_skipping(&mut self) -> Option<[u8; PREFIX_LEN]> {
        if self.skip > 0 {
            let now = self.skip.min(self.buffer.len());
            let _ = self.buffer.split_to(now);
            self.skip -= now;
        }
        if self.skip > 0 {
            return None;
        }
        self.buffer.first_chunk::<PREFIX_LEN>().copied()
    }

    fn skip_frame(&mut self, len: usize) -> Result<Next, BadStream> {
        if len > MAX_LEGAL_FRAME {
            return Err(BadStream::TooLong { len });
        }
        self.skip = PREFIX_LEN + len;
        Ok(Next::Skipped { len })
    }
}

/// Frames that came one behind the other.
#[derive(Debug)]
pub(crate) struct Run {
    bytes: Bytes,
    at: usize,
}

impl Run {
    /// The memory all of them are in.
    pub(crate) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where in it the next frame is, without its length.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        let head = self.bytes.get(self.at..)?.first_chunk::<PREFIX_LEN>()?;
        let start = self.at + PREFIX_LEN;
        let end = start + length(*head);
        self.at = end;
        Some(start..end)
    }
}

/// A buffer that had to grow beyond this for a frame is given up with it.
const KEPT: usize = 1 << 20;

const fn length(head: [u8; PREFIX_LEN]) -> usize {
    u32::from_be_bytes(head) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat())
            .collect()
    }

    /// All frames, however they are asked for.
    fn take(deframer: &mut Deframer, runs: bool) -> Vec<Bytes> {
        let mut frames = Vec::new();
        loop {
            if runs {
                let mut run = deframer.next_run(3);
                while let Some(range) = run.next() {
                    frames.push(run.bytes().slice(range));
                }
            }
            match deframer.next().expect("a stream") {
                Next::More => return frames,
                Next::Frame(frame) => frames.push(frame),
                Next::Skipped { .. } => {}
            }
        }
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_the_stream_is_cut(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
            pieces in 1usize..30,
            runs: bool,
        ) {
            let mut deframer = Deframer::new(20);
            let mut seen = Vec::new();
            for piece in stream(&frames).chunks(pieces) {
                deframer.buffer().extend_from_slice(piece);
                seen.extend(take(&mut deframer, runs));
            }
            let expected: Vec<_> = frames.iter().filter(|frame| frame.len() <= 20).cloned().map(Bytes::from).collect();
            prop_assert_eq!(seen, expected);
            prop_assert!(deframer.is_between_frames());
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut deframer = Deframer::new(50);
            deframer.buffer().extend_from_slice(&bytes);
            let _ = deframer.check_protocol();
            while let Ok(Next::Frame(_)) = deframer.next() {
                let mut run = deframer.next_run(10);
                while run.next().is_some() {}
            }
        }
    }

    #[test]
    fn an_over_long_frame_is_skipped_without_being_held() {
        let mut deframer = Deframer::new(100);
        deframer.buffer().extend_from_slice(&stream(&[vec![7; 5]]));
        deframer
            .buffer()
            .extend_from_slice(&1_000_000u32.to_be_bytes());
        assert_eq!(deframer.next(), Ok(Next::Frame(Bytes::from(vec![7; 5]))));
        assert_eq!(deframer.next(), Ok(Next::Skipped { len: 1_000_000 }));
        for _ in 0..1000 {
            deframer.buffer().extend_from_slice(&[9; 1000]);
            assert_eq!(deframer.next(), Ok(Next::More));
            assert!(deframer.buffer().is_empty());
        }
        assert!(deframer.is_between_frames());
        deframer.buffer().extend_from_slice(&stream(&[vec![8; 5]]));
        assert_eq!(deframer.next(), Ok(Next::Frame(Bytes::from(vec![8; 5]))));
    }

    #[test]
    fn a_large_frame_does_not_leave_its_memory_behind() {
        let mut deframer = Deframer::new(16 << 20);
        deframer
            .buffer()
            .extend_from_slice(&stream(&[vec![1; 8 << 20], vec![2; 3]])[..(8 << 20) + 6]);
        let mut run = deframer.next_run(10);
        assert_eq!(run.next(), Some(4..(8 << 20) + 4));
        assert_eq!(run.next(), None);
        drop(run);
        assert_eq!(deframer.buffer().len(), 2);
        deframer.buffer().reserve(1000);
        assert!(deframer.buffer().capacity() < 1 << 20);
        deframer.buffer().extend_from_slice(&[0, 3, 2, 2, 2]);
        assert_eq!(deframer.next(), Ok(Next::Frame(Bytes::from(vec![2; 3]))));
    }

    #[test]
    fn what_nobody_may_send_ends_the_stream() {
        let mut deframer = Deframer::new(100);
        deframer
            .buffer()
            .extend_from_slice(&2_147_483_644u32.to_be_bytes());
        assert_eq!(
            deframer.next(),
            Err(BadStream::TooLong { len: 2_147_483_644 })
        );
    }

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b"\x16\x03\x01\x02"[..], Some(BadStream::Tls)),
            (b"\x15\x03\x03\0", Some(BadStream::Tls)),
            (b"GET / HTTP/1.1", Some(BadStream::Http)),
            (b"PRI * HTTP/2.0", Some(BadStream::Http)),
            (b"\0\0\0\x05", None),
            (b"\0", None),
        ] {
            let mut deframer = Deframer::new(100);
            deframer.buffer().extend_from_slice(bytes);
            assert_eq!(deframer.check_protocol().err(), expected);
        }
    }
}
