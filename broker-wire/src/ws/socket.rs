//! A WebSocket over any stream: one half reads, one writes, both may be used at the same time.
//!
//! The WebSocket itself lives in memory (see [`Pipe`]); [`Reading`] and [`Writing`] move its bytes. Pings are answered
//! and closes echoed by themselves, as soon as they are read.
//!
//! **Invariant:** what waits to be sent is bounded by whoever sends: they wait for [`Socket::room`] first.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Error, Message, Utf8Bytes, error::ProtocolError};

use super::pipe::Pipe;
use super::settings::{MAX_UNSENT, READ_CHUNK};

/// What a WebSocket can run over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream of any kind.
pub(crate) type Io = Box<dyn Stream>;

/// Why a connection ends, in numbers and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// One of RFC 6455, 7.4.
    pub(crate) code: u16,
    /// For people.
    pub(crate) reason: String,
}

impl Closing {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// What the other side sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole message, text or binary alike.
    Message(Bytes),
    /// A ping; it has been answered.
    Ping,
    /// The payload of a pong.
    Pong(Bytes),
    /// The other side closes; that has been answered.
    Close(Option<Closing>),
    /// Both sides have closed, or the stream has ended after one of them did.
    End,
}

/// Why nothing more can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SocketError {
    /// The stream ended or broke without a closing handshake.
    #[error("{reason}")]
    Lost { reason: String },
    /// A text that is not UTF-8.
    #[error("a text message is not UTF-8")]
    NotUtf8,
    /// A message over the limit.
    #[error("{reason}")]
    TooLarge { reason: String },
    /// Something that is no frame, or not here.
    #[error("{reason}")]
    Protocol { reason: String },
}

impl SocketError {
    /// What to tell the other side, if there is one left to tell.
    pub(crate) fn closing(&self) -> Option<Closing> {
        match self {
            Self::Lost { .. } => None,
            Self::NotUtf8 => Some(Closing::new(1007, "Invalid frame payload data")),
            Self::TooLarge { .. } => Some(Closing::new(1009, "Message too big")),
            Self::Protocol { .. } => Some(Closing::new(1002, "Protocol error")),
        }
    }
}

/// The part both halves share, and through which messages are sent.
#[derive(Debug)]
pub(crate) struct Socket {
    state: Mutex<State>,
    /// There is something to write.
    written: Notify,
    /// Something was written.
    progress: Notify,
}

#[derive(Debug)]
struct State {
    websocket: WebSocket<Pipe>,
    /// Taken out of the pipe and not yet given to the stream.
    staged: usize,
    /// Nothing more will be written to the stream.
    broken: bool,
    /// The stream is to be shut down once everything is written.
    finish: bool,
}

/// A connection made of a stream and the WebSocket that shook hands over it.
pub(crate) fn open(io: Io, websocket: WebSocket<Pipe>) -> (Arc<Socket>, Reading, Writing) {
    let (read, write) = split(io);
    let socket = Arc::new(Socket {
        state: Mutex::new(State {
            websocket,
            staged: 0,
            broken: false,
            finish: false,
        }),
        written: Notify::new(),
        progress: Notify::new(),
    });
    let reading = Reading {
        socket: Arc::clone(&socket),
        half: read,
        chunk: vec![0; READ_CHUNK].into(),
    };
    let writing = Writing {
        socket: Arc::clone(&socket),
        half: write,
        staged: Vec::new(),
        at: 0,
        shut: false,
    };
    (socket, reading, writing)
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, act: impl FnOnce(&mut WebSocket<Pipe>) -> Result<(), Error>) {
        // What cannot be sent, since the connection is closing, is not sent; whoever reads learns of it.
        let _ = act(&mut self.lock().websocket);
        self.written.notify_one();
    }

    /// Sends a text message.
    pub(crate) fn text(&self, text: Utf8Bytes) {
        self.with(|websocket| websocket.write(Message::Text(text)));
    }

    /// Sends a ping; its payload may have 125 bytes.
    pub(crate) fn ping(&self, payload: Bytes) {
        self.with(|websocket| websocket.write(Message::Ping(payload)));
    }

    /// Sends a pong nobody asked for, as a sign of life.
    pub(crate) fn unasked_pong(&self) {
        self.with(|websocket| {
            websocket.write(Message::Pong(Bytes::new()))?;
            websocket.flush()
        });
    }

    /// Begins to close, unless that is under way.
    pub(crate) fn close(&self, closing: Closing) {
        self.with(|websocket| {
            websocket.close(Some(CloseFrame {
                code: CloseCode::from(closing.code),
                reason: Utf8Bytes::from(within_frame(closing.reason)),
            }))
        });
    }

    /// Shuts the stream down for writing once everything is written.
    pub(crate) fn finish(&self) {
        self.lock().finish = true;
        self.written.notify_one();
    }

    /// Takes messages of up to `bytes` from now on.
    pub(crate) fn limit_messages(&self, bytes: usize) {
        self.lock().websocket.set_config(|config| {
            config.max_message_size = Some(bytes);
            config.max_frame_size = Some(bytes);
        });
    }

    /// Waits until little enough waits to be sent that more may be added, or nothing can be sent any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn room(&self) {
        self.until_unsent(MAX_UNSENT).await;
    }

    /// Waits until everything is written, or nothing can be written any more.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn flushed(&self) {
        self.until_unsent(0).await;
    }

    async fn until_unsent(&self, at_most: usize) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            {
                let state = self.lock();
                if state.broken || state.staged + state.websocket.get_ref().unsent() <= at_most {
                    return;
                }
            }
            progress.await;
        }
    }

    /// What has been received, if it is a whole frame or more.
    fn take(&self) -> Result<Option<Incoming>, SocketError> {
        let mut state = self.lock();
        let read = state.websocket.read();
        if matches!(read, Ok(Message::Ping(_) | Message::Close(_))) {
            // Writes the answer; a server's WebSocket then calls itself closed, which the next read says again.
            let _ = state.websocket.flush();
        }
        let answered = state.websocket.get_ref().unsent() > 0;
        drop(state);
        if answered {
            self.written.notify_one();
        }
        Ok(Some(match read {
            Ok(Message::Text(text)) => Incoming::Message(text.into()),
            Ok(Message::Binary(bytes)) => Incoming::Message(bytes),
            Ok(Message::Ping(_)) => Incoming::Ping,
            Ok(Message::Pong(payload)) => Incoming::Pong(payload),
            Ok(Message::Close(frame)) => Incoming::Close(frame.map(|frame| Closing {
                code: frame.code.into(),
                reason: frame.reason.as_str().to_owned(),
            })),
            // Never read, says its documentation.
            Ok(Message::Frame(_)) => return Ok(None),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Incoming::End,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(failure(error)),
        }))
    }

    fn receive(&self, bytes: &[u8]) {
        let mut state = self.lock();
        match bytes {
            [] => state.websocket.get_mut().end(),
            bytes => state.websocket.get_mut().feed(bytes),
        }
    }
}

fn failure(error: Error) -> SocketError {
    let reason = error.to_string();
    match error {
        Error::Utf8(_) => SocketError::NotUtf8,
        Error::Capacity(_) => SocketError::TooLarge { reason },
        Error::Io(_) => SocketError::Lost { reason },
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => SocketError::Lost {
            reason: "connection ended without a closing handshake".to_owned(),
        },
        _ => SocketError::Protocol { reason },
    }
}

/// A close frame has 125 bytes, two of them the code.
fn within_frame(mut reason: String) -> String {
    while reason.len() > 123 {
        reason.pop();
    }
    reason
}

/// The reading half.
pub(crate) struct Reading {
    socket: Arc<Socket>,
    half: ReadHalf<Io>,
    chunk: Box<[u8]>,
}

impl Reading {
    /// Waits for the next thing the other side sends.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Incoming, SocketError> {
        loop {
            if let Some(incoming) = self.socket.take()? {
                return Ok(incoming);
            }
            let length =
                self.half
                    .read(&mut self.chunk)
                    .await
                    .map_err(|error| SocketError::Lost {
                        reason: error.to_string(),
                    })?;
            self.socket.receive(&self.chunk[..length]);
        }
    }

    /// Reads and forgets until the stream ends: what was sent last can then be read by the other side, which a reset
    /// would prevent.
    pub(crate) async fn drain(&mut self) {
        while let Ok(1..) = self.half.read(&mut self.chunk).await {}
    }
}

/// The writing half.
pub(crate) struct Writing {
    socket: Arc<Socket>,
    half: WriteHalf<Io>,
    staged: Vec<u8>,
    at: usize,
    shut: bool,
}

impl Writing {
    /// Writes whatever there is to write, for ever.
    ///
    /// # Errors
    /// The stream broke; nothing more is written.
    ///
    /// # Cancel safety
    /// Safe: call again to go on.
    pub(crate) async fn pump(&mut self) -> io::Error {
        loop {
            if let Err(error) = self.flush().await {
                self.socket.lock().broken = true;
                self.socket.progress.notify_waiters();
                return error;
            }
            self.socket.written.notified().await;
        }
    }

    /// Writes what there is to write now.
    async fn flush(&mut self) -> io::Result<()> {
        loop {
            if self.at < self.staged.len() {
                let written = self.half.write(&self.staged[self.at..]).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.at += written;
            }
            if self.at < self.staged.len() {
                continue;
            }
            self.staged.clear();
            // What one large message took is given back.
            self.staged.shrink_to(MAX_UNSENT);
            self.at = 0;
            let (more, finish) = {
                let mut state = self.socket.lock();
                state.websocket.get_mut().take_unsent(&mut self.staged);
                state.staged = self.staged.len();
                (state.staged > 0, state.finish)
            };
            self.socket.progress.notify_waiters();
            if !more {
                self.half.flush().await?;
                if finish && !self.shut {
                    self.shut = true;
                    self.half.shutdown().await?;
                }
                return Ok(());
            }
        }
    }
}
