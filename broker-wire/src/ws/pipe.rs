//! The memory between a WebSocket and its socket, which keeps the WebSocket itself free of I/O: what was received is
//! put in, what is to be sent is taken out.
//!
//! A client also relabels here: Zeek sends strings that are not UTF-8 raw, in text frames (zeek-cluster 7.4). A WebSocket
//! must refuse those, so towards it they are called binary.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, BytesMut};

/// Both directions of one connection. Reading never blocks; writing always succeeds.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    received: BytesMut,
    ended: bool,
    unsent: Vec<u8>,
    relabel: Option<Relabel>,
}

impl Pipe {
    /// From here on text frames are read as binary ones. What was fed before must have been read, and the next byte
    /// begins a frame.
    pub(crate) fn relabel_text(&mut self) {
        self.relabel = Some(Relabel::default());
    }

    /// Puts received bytes in.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Nothing more will be received.
    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    /// How many bytes wait to be sent.
    pub(crate) const fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Moves what is to be sent behind `out`.
    pub(crate) fn take_unsent(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.unsent);
        } else {
            out.append(&mut self.unsent);
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return if self.ended {
                Ok(0)
            } else {
                Err(ErrorKind::WouldBlock.into())
            };
        }
        let length = out.len().min(self.received.len());
        self.received.copy_to_slice(&mut out[..length]);
        if let Some(relabel) = &mut self.relabel {
            relabel.pass(&mut out[..length]);
        }
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unsent.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a stream of frames is (RFC 6455, 5.2):
///
/// ```text
/// | flags and opcode u8 | mask bit, length u8 | 0, 2 or 8 bytes of length | 0 or 4 of mask | payload .. |
/// ```
#[derive(Clone, Copy, Debug, Default)]
enum Relabel {
    #[default]
    First,
    Second,
    Length {
        left: u8,
        value: u64,
        masked: bool,
    },
    /// So many bytes up to the next frame.
    Payload(u64),
}

impl Relabel {
    /// Passes over `bytes`, turning text opcodes into binary ones.
    fn pass(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Self::Payload(left) = *self {
                let skipped = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                rest = &mut rest[skipped..];
                *self = Self::behind(left - skipped as u64);
                continue;
            }
            let Some((byte, tail)) = rest.split_first_mut() else {
                return;
            };
            self.step(byte);
            rest = tail;
        }
    }

    /// Takes one byte of a header.
    fn step(&mut self, byte: &mut u8) {
        *self = match *self {
            Self::First => {
                if *byte & 0x0f == TEXT {
                    *byte = (*byte & 0xf0) | BINARY;
                }
                Self::Second
            }
            Self::Second => {
                let masked = *byte & 0x80 != 0;
                match *byte & 0x7f {
                    126 => Self::Length {
                        left: 2,
                        value: 0,
                        masked,
                    },
                    127 => Self::Length {
                        left: 8,
                        value: 0,
                        masked,
                    },
                    short => Self::payload(u64::from(short), masked),
                }
            }
            Self::Length {
                left,
                value,
                masked,
            } => {
                let value = value << 8 | u64::from(*byte);
                match left {
                    1 => Self::payload(value, masked),
                    _ => Self::Length {
                        left: left - 1,
                        value,
                        masked,
                    },
                }
            }
            Self::Payload(left) => Self::behind(left.saturating_sub(1)),
        };
    }

    const fn payload(length: u64, masked: bool) -> Self {
        Self::behind(length.saturating_add(if masked { 4 } else { 0 }))
    }

    const fn behind(left: u64) -> Self {
        if left == 0 {
            Self::First
        } else {
            Self::Payload(left)
        }
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_pipe_would_block_until_it_ends() {
        let mut pipe = Pipe::default();
        let mut out = [0; 4];
        assert_eq!(
            pipe.read(&mut out).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        pipe.feed(b"abcde");
        assert_eq!(pipe.read(&mut out).unwrap(), 4);
        assert_eq!(pipe.read(&mut out).unwrap(), 1);
        pipe.end();
        assert_eq!(pipe.read(&mut out).unwrap(), 0);
    }

    #[test]
    fn text_frames_are_called_binary_however_the_stream_is_cut() {
        let mut stream = vec![0x81, 1, 0x81]; // text of one byte
        stream.extend_from_slice(&[0x01, 0]); // empty first fragment of a text
        stream.extend_from_slice(&[0x80, 126, 1, 0]); // continuation of 256 bytes
        stream.extend_from_slice(&[0x81; 256]);
        stream.extend_from_slice(&[0x89, 2, 0x81, 0x81]); // ping
        stream.extend_from_slice(&[0x81, 0x81, 1, 2, 3, 4, 0x81]); // masked text
        stream.extend_from_slice(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0x81]); // text
        let mut expected = stream.clone();
        for at in [0, 3, 269, 276] {
            expected[at] = match expected[at] {
                0x81 => 0x82,
                0x01 => 0x02,
                other => other,
            };
        }
        for chunk in [1, 2, 3, 7, 300] {
            let mut relabel = Relabel::default();
            let mut passed = stream.clone();
            passed.chunks_mut(chunk).for_each(|part| relabel.pass(part));
            assert_eq!(passed, expected, "chunks of {chunk}");
        }
    }
}
