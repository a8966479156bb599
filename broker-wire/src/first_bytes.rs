//! What the first bytes of a connection say about who is at the other end.
//!
//! Ports get mixed up, and TLS is turned on at one end only. A protocol that reads what it does not expect
//! fails in its own words ("wrong version number", "frame with invalid size"); the first few bytes tell what
//! is really wrong. A guess is for the log and for errors, never a reason to go on in another protocol.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tls::TlsHandshakeError;

/// How many bytes [`guess`] wants to see: the header of an HTTP/2 frame, or a native frame up to its magic.
pub(crate) const ENOUGH: usize = 9;

/// What a connection seems to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// A TLS record (RFC 8446, 5.1).
    Tls,
    /// A hello or probe of the native protocol (broker-wire reference, 1.3).
    Broker,
    /// The preface of a client or the settings of a server (RFC 9113, 3.4).
    Http2,
    /// A request or a status line.
    Http1,
    /// None of these.
    Unknown,
}

/// What starts with `bytes`, of which there should be at least one.
pub(crate) fn guess(bytes: &[u8]) -> Speaks {
    /// Message types hello and probe.
    const HELLO: u8 = 6;
    const PROBE: u8 = 7;
    const MAGIC: &[u8] = b"ZEEK";
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;
    match *bytes {
        [0x14..=0x17] | [0x14..=0x17, 3, ..] => Speaks::Tls,
        // Length u32, message type u8, magic.
        [0, _, _, _, _, ref magic @ ..] if magic.starts_with(MAGIC) => Speaks::Broker,
        // OpenSSL looks at five bytes only.
        [0, 0, 0, _, HELLO | PROBE, ref magic @ ..] if MAGIC.starts_with(magic) => Speaks::Broker,
        // Length u24, type u8, flags u8, stream u32.
        [0, _, _, SETTINGS, 0, 0, 0, 0, 0, ..] => Speaks::Http2,
        _ if bytes.starts_with(&PREFACE[..bytes.len().clamp(3, PREFACE.len())]) => Speaks::Http2,
        [b'A'..=b'Z', ..] if bytes.contains(&b' ') => Speaks::Http1,
        _ => Speaks::Unknown,
    }
}

/// A stream that remembers how the other side began. Costs one branch a read after that.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    witness: Witness,
    settled: bool,
}

/// What a [`Watched`] stream has seen, for whoever does not hold the stream any more. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    bytes: [u8; ENOUGH],
    len: usize,
    refusal: Option<TlsHandshakeError>,
}

impl<S> Watched<S> {
    pub(crate) const fn new(stream: S, witness: Witness) -> Self {
        Self {
            stream,
            witness,
            settled: false,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) const fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the other side speaks; `None` while it has not said anything.
    pub(crate) fn speaks(&self) -> Option<Speaks> {
        let seen = self.seen();
        (seen.len > 0).then(|| guess(&seen.bytes[..seen.len]))
    }

    /// The refusal that came after the handshake, which is when TLS 1.3 tells a client that its certificate
    /// is not good.
    pub(crate) fn refusal(&self) -> Option<TlsHandshakeError> {
        self.seen().refusal.clone()
    }

    /// Whether all is known that can be.
    fn note(&self, bytes: &[u8]) -> bool {
        let mut seen = self.seen();
        let start = seen.len;
        let more = bytes.len().min(ENOUGH - start);
        seen.bytes[start..start + more].copy_from_slice(&bytes[..more]);
        seen.len += more;
        seen.len == ENOUGH
    }

    fn note_error(&self, error: &io::Error) {
        let refusal = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsHandshakeError>());
        if let Some(refusal) = refusal {
            self.seen().refusal = Some(refusal.clone());
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        match &result {
            Ok(()) if self.settled => {}
            Ok(()) => self.settled = self.witness.note(&buf.filled()[before..]),
            Err(error) => self.witness.note_error(error),
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn protocols_are_told_apart_by_their_first_bytes() {
        let cases: [(&[u8], Speaks); 15] = [
            (&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], Speaks::Tls),
            (&[0x15, 3, 3, 0, 2, 2, 0x50], Speaks::Tls),
            (&[0x16], Speaks::Tls),
            (&[0x16, 0x16, 0x16], Speaks::Unknown),
            (b"\0\0\0\x17\x06ZEEK", Speaks::Broker),
            (b"\0\0\0\x05\x07ZEEK", Speaks::Broker),
            (b"\0\0\0\x17\x06", Speaks::Broker),
            (b"\0\0\0\x17\x06ZONE", Speaks::Unknown),
            (b"PRI * HTT", Speaks::Http2),
            (b"\0\0\x24\x04\0\0\0\0\0", Speaks::Http2),
            (b"\0\0\0\x04\0\0\0\0\0", Speaks::Http2),
            (b"GET / HTT", Speaks::Http1),
            (b"HTTP/1.1 ", Speaks::Http1),
            (b"SSH-2.0-O", Speaks::Unknown),
            (&[0xff; ENOUGH], Speaks::Unknown),
        ];
        for (bytes, speaks) in cases {
            assert_eq!(guess(bytes), speaks, "{bytes:02x?}");
        }
        // The fewer bytes, the less is known; but nothing known is taken for something else.
        for (bytes, speaks) in cases.into_iter().filter(|(_, is)| *is != Speaks::Unknown) {
            for len in 0..bytes.len() {
                let early = guess(&bytes[..len]);
                assert!([speaks, Speaks::Unknown].contains(&early), "{bytes:02x?}");
            }
        }
    }

    #[tokio::test]
    async fn a_witness_knows_how_the_other_side_began_however_it_was_cut() {
        let (mut near, far) = duplex(4);
        let witness = Witness::default();
        let mut far = Watched::new(far, witness.clone());
        assert_eq!(witness.speaks(), None);
        let write = async {
            near.write_all(b"\0\0\0\x17\x06ZEEK and more")
                .await
                .unwrap();
            drop(near);
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(write, far.read_to_end(&mut all));
        assert_eq!(read.unwrap(), 18);
        assert!(all.ends_with(b"ZEEK and more"));
        assert_eq!(witness.speaks(), Some(Speaks::Broker));
    }
}
