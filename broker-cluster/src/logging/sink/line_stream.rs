//! Lines over TCP or a Unix socket. A connection is kept and made anew when it breaks; whether it has is looked up before
//! each write, since a socket takes lines for a while after the other end has gone.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::delivery::Outcome;
use super::target::SinkTarget;
use super::{CONNECT_TIMEOUT, SEND_TIMEOUT};

pub(super) struct LineStream {
    target: SinkTarget,
    connection: Option<Stream>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl LineStream {
    pub(super) const fn new(target: SinkTarget) -> Self {
        Self {
            target,
            connection: None,
        }
    }

    pub(super) async fn send(&mut self, lines: &[u8]) -> Outcome {
        if self.connection.as_ref().is_some_and(Stream::has_ended) {
            self.connection = None;
        }
        // Taken out, so that a connection in the middle of a line is never used again.
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => match timeout(CONNECT_TIMEOUT, Stream::connect(&self.target)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return self.failed(&error.to_string()),
                Err(_) => return self.failed("no connection in time"),
            },
        };
        match timeout(SEND_TIMEOUT, stream.write(lines)).await {
            Ok(Ok(())) => {
                self.connection = Some(stream);
                Outcome::Taken
            }
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("it takes nothing"),
        }
    }

    fn failed(&self, reason: &str) -> Outcome {
        Outcome::Failed(format!("{}: {reason}", self.target))
    }
}

impl Stream {
    async fn connect(target: &SinkTarget) -> io::Result<Self> {
        match target {
            SinkTarget::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
            SinkTarget::Tcp(server) => TcpStream::connect((server.host.as_str(), server.port))
                .await
                .map(Self::Tcp),
            SinkTarget::Http(_) | SinkTarget::Https(_) => {
                Err(io::Error::other("no address for lines"))
            }
        }
    }

    /// Whether the other end has closed. What it says is thrown away.
    fn has_ended(&self) -> bool {
        let mut ignored = [0; 1024];
        loop {
            let read = match self {
                Self::Tcp(stream) => stream.try_read(&mut ignored),
                Self::Unix(stream) => stream.try_read(&mut ignored),
            };
            match read {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(lines).await,
            Self::Unix(stream) => stream.write_all(lines).await,
        }
    }
}
