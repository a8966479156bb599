//! The driver of one client of the server: bytes to the [`Session`], its actions to the endpoint and the socket.
//!
//! Three futures share a connection: one talks to the client (reads, publishes, answers), one feeds it the messages
//! it subscribed to, one writes. So a client that is waited for, since what it publishes finds queues full, still gets
//! what others publish; and two clients that publish to each other never wait for each other.
//!
//! Publishing is awaited and nothing is read ahead, so a fast sender is slowed down through TCP. A client that reads too
//! slowly is closed with 1008 once it has lost a message: the protocol has no other word for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use broker_core::{Endpoint, HubPublisher, LocalNode, QueueOptions, Subscriber};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::accept::{AcceptError, Accepted, accept};
use super::session::{Action, Session};
use super::settings::{CLOSE_GRACE, FEED_BATCH, MAX_UNSENT, SETTLE_LIMIT, STOP_GRACE};
use super::socket::{Incoming, Io, Reading, Socket, SocketError, open};
use super::text;
use super::token::Token;

/// What all clients of a listener share.
pub(crate) struct Server {
    pub(crate) local: LocalNode,
    pub(crate) token: Option<Token>,
    pub(crate) max_message: usize,
    pub(crate) queue: QueueOptions,
    pub(crate) ping_interval: Duration,
    /// Clients so far, refused ones included, as Zeek counts them (zeek-cluster 7.2).
    pub(crate) clients: Arc<AtomicU64>,
}

/// Why a client is not served any more, if that was not its own or the node's decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("closed with {code} {reason:?}")]
    Closed { code: u16, reason: String },
}

impl ServeError {
    /// Whether it is what port scans and clients that crash do, and not worth more than a debug line.
    pub(crate) const fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Accept(AcceptError::Closed | AcceptError::Io(_))
                | Self::Socket(SocketError::Lost { .. })
                | Self::Closed { code: 1001, .. }
        )
    }
}

/// Serves the client behind `io` until it or the node ends. `stop` is the listener's.
pub(crate) async fn serve(
    mut io: Io,
    peer: SocketAddr,
    server: Arc<Server>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let number = server.clients.fetch_add(1, Ordering::Relaxed);
    let after = server.local.handshake_timeout();
    let accepting = timeout(after, accept(&mut io, server.token.as_ref()));
    let Some(accepted) = stop.run_until_cancelled(accepting).await else {
        return Ok(());
    };
    let Accepted {
        websocket,
        application,
    } = accepted.map_err(|_| AcceptError::Late { after })??;
    let (socket, reading, mut writing) = open(io, websocket);
    let endpoint = server.local.endpoint();
    let name = format!("{}-websocket-{number}", endpoint.id());
    let mut session = Session::new(
        Instant::now(),
        name.clone(),
        env!("CARGO_PKG_VERSION"),
        server.ping_interval,
    );
    match application {
        Ok(application) => tracing::debug!(%peer, %name, %application, "WebSocket client"),
        Err(refusal) => session.refuse(refusal),
    }
    let (hand_over, subscriber) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let client = Client {
        endpoint,
        server,
        socket: Arc::clone(&socket),
        reading,
        session,
        publisher: None,
        subscriber: None,
        hand_over: Some(hand_over),
        replied: 0,
    };
    let feeding = async {
        if let Ok(subscriber) = subscriber.await {
            let _ = ended.send(feed(subscriber, &socket).await);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = client.converse(end, stop) => result,
        () = feeding => Ok(()),
        error = writing.pump() => Err(SocketError::Lost { reason: error.to_string() }.into()),
    }
}

/// Why a client gets no more messages.
enum FeedEnd {
    /// The endpoint has shut down, and everything queued before was sent.
    Drained,
    /// Its queue was full for too long; so many messages are lost.
    Lost(u64),
}

/// Sends a client what it subscribed to.
async fn feed(mut subscriber: Subscriber, socket: &Socket) -> FeedEnd {
    let mut batch = Vec::with_capacity(FEED_BATCH);
    loop {
        if subscriber.recv_many(&mut batch, FEED_BATCH).await == 0 {
            return FeedEnd::Drained;
        }
        for message in batch.drain(..) {
            if let Some(text) = text::for_client(&message) {
                socket.text(text);
                socket.room().await;
            }
        }
        let lost = subscriber.counters().dropped_total();
        if lost > 0 {
            return FeedEnd::Lost(lost);
        }
    }
}

/// One client as the talking future sees it.
struct Client {
    endpoint: Endpoint,
    server: Arc<Server>,
    socket: Arc<Socket>,
    reading: Reading,
    session: Session,
    publisher: Option<HubPublisher>,
    /// Waits for the ack to go out first.
    subscriber: Option<Subscriber>,
    hand_over: Option<oneshot::Sender<Subscriber>>,
    /// Bytes of answers given since the client was last seen to read.
    replied: usize,
}

impl Client {
    async fn converse(
        mut self,
        mut end: oneshot::Receiver<FeedEnd>,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        loop {
            while let Some(action) = self.session.poll_action() {
                if let Action::Close(closing) = action {
                    self.socket.close(closing.clone());
                    self.part().await;
                    let (code, reason) = (closing.code, closing.reason);
                    return Err(ServeError::Closed { code, reason });
                }
                self.perform(action).await;
            }
            // The ack is out: what was published since the subscription follows it.
            if let Some(subscriber) = self.subscriber.take()
                && let Some(hand_over) = self.hand_over.take()
            {
                let _ = hand_over.send(subscriber);
            }
            self.await_reader().await;
            let wake = self.session.next_timeout().unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                end = &mut end => match end {
                    Ok(FeedEnd::Lost(count)) => self.session.lost_messages(count),
                    Ok(FeedEnd::Drained) | Err(_) => self.session.stop(),
                },
                () = stop.cancelled() => {
                    // What is queued for the client still goes out; what it sends is taken no more.
                    if self.session.is_ready() {
                        let _ = timeout(STOP_GRACE, &mut end).await;
                    }
                    self.session.stop();
                }
                incoming = self.reading.next() => match incoming {
                    Ok(Incoming::Message(message)) => {
                        self.session.heard();
                        self.session.handle_message(&message);
                    }
                    Ok(Incoming::Ping) => {
                        self.session.heard();
                        self.replied += PONG;
                    }
                    Ok(Incoming::Pong(_)) => self.session.heard(),
                    Ok(Incoming::Close(_) | Incoming::End) => {
                        let _ = timeout(CLOSE_GRACE, self.socket.flushed()).await;
                        return Ok(());
                    }
                    Err(error) => {
                        if let Some(closing) = error.closing() {
                            self.socket.close(closing);
                            self.part().await;
                        }
                        return Err(error.into());
                    }
                },
                () = sleep_until(wake) => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Subscribe(filter) => {
                let (publisher, subscriber) = self.endpoint.hub(filter, self.server.queue).split();
                // Best effort: a peer that hangs must not keep a client from its own node's messages.
                let _ = self.endpoint.settled(SETTLE_LIMIT).await;
                self.publisher = Some(publisher);
                self.subscriber = Some(subscriber);
                self.socket.limit_messages(self.server.max_message);
                self.session.subscribed();
            }
            Action::Publish(message) => {
                if let Some(publisher) = &self.publisher
                    && let Err(error) = publisher.publish(message).await
                {
                    self.session.publish_failed(&error);
                }
            }
            Action::Reply(text) => {
                self.replied += text.len();
                self.socket.text(text.into());
            }
            Action::Ping(payload) => self.socket.ping(payload),
            Action::Close(_) => {}
        }
    }

    /// A client that makes us answer a lot has to read the answers before it is heard again.
    async fn await_reader(&mut self) {
        if self.replied <= MAX_UNSENT {
            return;
        }
        self.replied = 0;
        if timeout(2 * self.server.ping_interval, self.socket.room())
            .await
            .is_err()
        {
            self.session.lost_reader();
        }
    }

    /// Waits for the other side to close too, at most [`CLOSE_GRACE`].
    async fn part(&mut self) {
        let parting = async {
            loop {
                match self.reading.next().await {
                    Ok(Incoming::End) => return self.socket.flushed().await,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            // No closing handshake can be read any more: let the other side read ours.
            self.socket.flushed().await;
            self.socket.finish();
            self.reading.drain().await;
        };
        let _ = timeout(CLOSE_GRACE, parting).await;
    }
}

/// What a pong takes.
const PONG: usize = 128;
