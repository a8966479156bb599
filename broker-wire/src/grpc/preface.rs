//! The first bytes of an accepted connection.
//!
//! Every HTTP/2 connection begins with the same 24 bytes (RFC 9113, 3.4). They are read here, before the
//! HTTP/2 machine is set up, so that whoever speaks something else, or nothing at all, costs little, and
//! so that the log can say what it was.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::first_bytes::{Speaks, guess};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a connection is no HTTP/2 connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrefaceError {
    #[error("closed before it said anything")]
    Closed,
    #[error("nothing heard within {} s", after.as_secs_f32())]
    Silent { after: Duration },
    #[error("it speaks TLS, but this port is plain grpc://")]
    Tls,
    #[error("it speaks HTTP/1, but this port is grpc:// (HTTP/2)")]
    Http1,
    #[error("it speaks the native Broker protocol, but this port is grpc://")]
    Native,
    #[error("it speaks neither HTTP/2 nor anything else known here")]
    Unknown,
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
}

/// Reads the preface, within `after`; [`Prefaced`] then gives it to HTTP/2 again.
pub(crate) async fn read_preface(
    stream: &mut (impl AsyncRead + Unpin),
    after: Duration,
) -> Result<(), PrefaceError> {
    timeout(after, expect_preface(stream))
        .await
        .map_err(|_| PrefaceError::Silent { after })?
}

async fn expect_preface(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), PrefaceError> {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < PREFACE.len() {
        let read = stream.read(&mut bytes[filled..]).await?;
        filled += read;
        let seen = &bytes[..filled];
        if !PREFACE.starts_with(seen) {
            return Err(match guess(seen) {
                Speaks::Tls => PrefaceError::Tls,
                Speaks::Broker => PrefaceError::Native,
                Speaks::Http1 => PrefaceError::Http1,
                Speaks::Http2 | Speaks::Unknown => PrefaceError::Unknown,
            });
        }
        if read == 0 {
            return Err(PrefaceError::Closed);
        }
    }
    Ok(())
}

/// A connection whose preface has been read, and is read again by HTTP/2.
#[derive(Debug)]
pub(crate) struct Prefaced<S> {
    stream: S,
    replayed: usize,
}

impl<S> Prefaced<S> {
    /// `stream`, whose preface has been read.
    pub(crate) const fn new(stream: S) -> Self {
        Self {
            stream,
            replayed: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.replayed..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.replayed += len;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefaced<S> {
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
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn refused(bytes: &[u8]) -> PrefaceError {
        let (mut near, mut far) = duplex(1024);
        near.write_all(bytes).await.unwrap();
        drop(near);
        read_preface(&mut far, Duration::from_secs(10))
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn what_speaks_something_else_is_named() {
        assert!(matches!(
            refused(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await,
            PrefaceError::Http1
        ));
        assert!(matches!(
            refused(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await,
            PrefaceError::Tls
        ));
        assert!(matches!(
            refused(b"\0\0\0\x0d\x06ZEEK\0\0\0\0").await,
            PrefaceError::Native
        ));
        assert!(matches!(refused(&[0xff; 100]).await, PrefaceError::Unknown));
        assert!(matches!(refused(b"").await, PrefaceError::Closed));
        assert!(matches!(refused(b"PRI * HTTP").await, PrefaceError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_given_up() {
        let (_near, mut far) = duplex(16);
        let error = read_preface(&mut far, Duration::from_secs(10))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "nothing heard within 10 s");
    }

    #[tokio::test]
    async fn the_preface_is_read_again_and_then_what_follows() {
        let (mut near, mut far) = duplex(1024);
        near.write_all(PREFACE).await.unwrap();
        near.write_all(b"more").await.unwrap();
        drop(near);
        read_preface(&mut far, Duration::from_secs(10))
            .await
            .unwrap();
        let mut stream = Prefaced::new(far);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [&PREFACE[..], b"more"].concat());
    }
}
