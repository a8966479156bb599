//! Closing a connection so that the other side learns why.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long the other side may take to close too.
const LINGER: Duration = Duration::from_secs(1);

/// What is thrown away of what it still sends, in bytes.
const MAX_UNREAD: u64 = 64 << 10;

/// Sends `last` and the end, and waits a moment for the end of the other side: a socket that is closed with
/// unread bytes takes back what it sent, be it `last` or the alert of a TLS library.
pub(crate) async fn dismiss(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), last: &[u8]) {
    let farewell = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_UNREAD), &mut tokio::io::sink()).await?;
        io::Result::Ok(())
    };
    // Who does not want to hear it is gone all the same.
    let _ = timeout(LINGER, farewell).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_stops_is_left_after_a_moment() {
        let (mut near, mut far) = duplex(1024);
        let before = Instant::now();
        dismiss(&mut far, b"why").await;
        assert_eq!(before.elapsed(), LINGER);
        let mut why = [0; 3];
        near.read_exact(&mut why).await.unwrap();
        assert_eq!(&why, b"why");

        let (mut near, mut far) = duplex(1024);
        let flood = tokio::spawn(async move { while near.write_all(&[0; 1024]).await.is_ok() {} });
        dismiss(&mut far, b"").await;
        drop(far);
        flood.await.unwrap();
    }
}
