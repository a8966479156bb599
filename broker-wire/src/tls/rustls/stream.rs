//! A connection once its handshake is done.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::explain;
use crate::first_bytes::Watched;

/// A connection of `grpcs://` or `wss://`, either way round.
pub struct RustlsStream<S>(TlsStream<Watched<S>>);

impl<S> RustlsStream<S> {
    pub(super) const fn new(stream: TlsStream<Watched<S>>) -> Self {
        Self(stream)
    }

    /// The stream below.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        self.0.get_ref().0.get_ref()
    }

    /// What ALPN agreed on: `h2`, `http/1.1`, or nothing where one side did not ask.
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }
}

impl<S> fmt::Debug for RustlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = self.0.get_ref().1;
        f.debug_struct("RustlsStream")
            .field("version", &tls.protocol_version())
            .field("suite", &tls.negotiated_cipher_suite())
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for RustlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.0).poll_read(cx, buf));
        Poll::Ready(result.map_err(in_words))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RustlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// An error after the handshake in our words.
fn in_words(error: io::Error) -> io::Error {
    match explain(&error) {
        Some(words) => io::Error::new(error.kind(), words),
        None => error,
    }
}
