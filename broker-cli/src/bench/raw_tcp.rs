//! The yardstick: frames of the same size over a bare TCP connection, so that figures from different machines and
//! different days can be compared.
//!
//! A frame is a u32 length and that many bytes. The sender copies each frame into a buffer that it writes when full,
//! the receiver finds each frame's end; neither looks inside.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Writes frames of `size` bytes for `duration` and returns how many a second the other side counted.
pub(crate) async fn send_frames(
    mut stream: TcpStream,
    size: usize,
    duration: Duration,
) -> std::io::Result<f64> {
    stream.set_nodelay(true)?;
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    let frame = vec![0x5a; size];
    let mut buffer = Vec::with_capacity(WRITE_BUFFER + HEADER + size);
    stream.write_all(&[FLOOD]).await?;
    let start = Instant::now();
    while start.elapsed() < duration {
        buffer.clear();
        while buffer.len() < WRITE_BUFFER {
            buffer.extend_from_slice(&length.to_be_bytes());
            buffer.extend_from_slice(&frame);
        }
        stream.write_all(&buffer).await?;
    }
    stream.write_all(&END.to_be_bytes()).await?;
    let frames = stream.read_u64().await?;
    Ok(frames as f64 / start.elapsed().as_secs_f64())
}

/// Round trips of `size` bytes for `duration`, in nanoseconds each.
pub(crate) async fn round_trips(
    mut stream: TcpStream,
    size: usize,
    duration: Duration,
) -> std::io::Result<Vec<u64>> {
    stream.set_nodelay(true)?;
    let length = u32::try_from(size).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(HEADER + size, 0x5a);
    let mut answer = vec![0; frame.len()];
    stream.write_all(&[ECHO]).await?;
    let (start, mut taken) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let sent = Instant::now();
        stream.write_all(&frame).await?;
        stream.read_exact(&mut answer).await?;
        taken.push(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    stream.write_all(&END.to_be_bytes()).await?;
    Ok(taken)
}

/// Serves one connection after the other until the task is dropped.
pub(crate) async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        // The other side sees a broken connection; that is enough said about it.
        let _ = serve_one(&mut stream).await;
    }
}

async fn serve_one(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    if stream.read_u8().await? == FLOOD {
        count(stream).await
    } else {
        echo(stream).await
    }
}

async fn count(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    let (mut filled, mut skip, mut frames) = (0, 0, 0u64);
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let mut at = 0;
        loop {
            let step = skip.min(filled - at);
            at += step;
            skip -= step;
            let Some(header) = buffer[at..filled].first_chunk::<HEADER>() else {
                break;
            };
            let length = u32::from_be_bytes(*header);
            if length == END {
                return stream.write_u64(frames).await;
            }
            at += HEADER;
            skip = length as usize;
            frames += 1;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

async fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut frame = Vec::new();
    loop {
        let length = stream.read_u32().await?;
        if length == END {
            return Ok(());
        }
        if length > MAX_ECHO {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        frame.clear();
        frame.extend_from_slice(&length.to_be_bytes());
        frame.resize(HEADER + length as usize, 0);
        stream.read_exact(&mut frame[HEADER..]).await?;
        stream.write_all(&frame).await?;
    }
}

const FLOOD: u8 = 1;
const ECHO: u8 = 2;
const HEADER: usize = 4;
const END: u32 = u32::MAX;
const MAX_ECHO: u32 = 1 << 24;
const WRITE_BUFFER: usize = 128 * 1024;
const READ_BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    async fn served() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("has one");
        tokio::spawn(serve(listener));
        address
    }

    #[tokio::test]
    async fn frames_of_any_size_are_counted() {
        let address = served().await;
        for size in [1, 40, 10_000, READ_BUFFER * 2] {
            let stream = TcpStream::connect(address).await.expect("connected");
            assert!(
                send_frames(stream, size, Duration::from_millis(20))
                    .await
                    .expect("counted")
                    > 0.0
            );
        }
    }

    #[tokio::test]
    async fn frames_come_back() {
        let stream = TcpStream::connect(served().await).await.expect("connected");
        assert!(
            !round_trips(stream, 40, Duration::from_millis(20))
                .await
                .expect("echoed")
                .is_empty()
        );
    }
}
