//! A connection to a server, with a task that moves its bytes, so that pings are answered and closes echoed whoever
//! else is busy.

use std::sync::Arc;

use broker_core::BoxFuture;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::Dialled;
use super::settings::{CLOSE_GRACE, INBOX};
use super::socket::{Closing, Incoming, Reading, Socket, SocketError};

/// What came from the server.
#[derive(Debug)]
pub(crate) enum Event {
    Message(Bytes),
    /// A ping, already answered: a sign of life.
    Ping,
    Pong(Bytes),
    /// The last event, if the server closed or we did.
    Closed(Option<Closing>),
    /// The last event, if the connection broke.
    Failed(SocketError),
}

/// The sending side of a connection. The connection is dropped when the last one is.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) socket: Arc<Socket>,
    ended: CancellationToken,
    _alive: Arc<DropGuard>,
}

/// A running connection.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) handle: Handle,
    /// At most [`INBOX`] events; while it is full, nothing is read.
    pub(crate) inbox: mpsc::Receiver<Event>,
}

impl Running {
    /// Runs a connection; `spawn` gets its task, which ends when the connection has.
    pub(crate) fn start(dialled: Dialled, spawn: impl FnOnce(BoxFuture<'static, ()>)) -> Self {
        let Dialled {
            socket,
            reading,
            mut writing,
            ..
        } = dialled;
        let (events, inbox) = mpsc::channel(INBOX);
        let (abandoned, ended) = (CancellationToken::new(), CancellationToken::new());
        let handle = Handle {
            socket: Arc::clone(&socket),
            ended: ended.clone(),
            _alive: Arc::new(abandoned.clone().drop_guard()),
        };
        spawn(Box::pin(async move {
            let last = tokio::select! {
                last = read(reading, &socket, &events) => last,
                error = writing.pump() => Some(Event::Failed(SocketError::Lost { reason: error.to_string() })),
                () = abandoned.cancelled() => None,
            };
            ended.cancel();
            if let Some(last) = last {
                tokio::select! {
                    _ = events.send(last) => {}
                    () = abandoned.cancelled() => {}
                }
            }
        }));
        Self { handle, inbox }
    }
}

impl Handle {
    /// Whether nothing can be sent any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Closes with `closing` once everything is written, and waits until the server has closed too, or
    /// [`CLOSE_GRACE`] after that.
    pub(crate) async fn close(&self, closing: Closing) {
        self.socket.close(closing);
        tokio::select! {
            () = self.socket.flushed() => {}
            () = self.ended.cancelled() => {}
        }
        let _ = timeout(CLOSE_GRACE, self.ended.cancelled()).await;
    }
}

/// Reads until the connection ends; what nobody takes any more is read and forgotten, so that it can end in order.
async fn read(
    mut reading: Reading,
    socket: &Socket,
    events: &mpsc::Sender<Event>,
) -> Option<Event> {
    let mut closing = None;
    loop {
        let event = match reading.next().await {
            Ok(Incoming::Message(message)) => Event::Message(message),
            Ok(Incoming::Ping) => Event::Ping,
            Ok(Incoming::Pong(payload)) => Event::Pong(payload),
            Ok(Incoming::Close(frame)) => {
                closing = frame;
                // A server ends the stream once it has our answer.
                let _ = timeout(CLOSE_GRACE, async {
                    socket.flushed().await;
                    while !matches!(reading.next().await, Ok(Incoming::End) | Err(_)) {}
                })
                .await;
                return Some(Event::Closed(closing));
            }
            Ok(Incoming::End) => return Some(Event::Closed(closing)),
            Err(error) => {
                if let Some(closing) = error.closing() {
                    socket.close(closing);
                    let _ = timeout(CLOSE_GRACE, socket.flushed()).await;
                }
                return Some(Event::Failed(error));
            }
        };
        let _ = events.send(event).await;
    }
}
