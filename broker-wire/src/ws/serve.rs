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

use broker_core::{
    ClientChange, ClientEvent, Endpoint, HubPublisher, LocalNode, QueueOptions, Subscriber, Topic,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::accept::{AcceptError, Accepted, accept};
use super::access::WsAccess;
use super::apps::{AppClient, Apps};
use super::session::{Action, Session};
use super::settings::{
    CLOSE_GRACE, FEED_BATCH, MAX_FIRST_MESSAGE, MAX_UNSENT, SETTLE_LIMIT, STOP_GRACE,
};
use super::socket::{Closing, Incoming, Io, Reading, Socket, SocketError, open};
use super::text;
use crate::tls::TlsHandshakeError;

/// What all clients of a listener share.
pub(crate) struct Server {
    pub(crate) local: LocalNode,
    pub(crate) access: WsAccess,
    pub(crate) max_message: usize,
    pub(crate) queue: QueueOptions,
    pub(crate) ping_interval: Duration,
    /// Clients so far, refused ones included, as Zeek counts them (zeek-cluster 7.2).
    pub(crate) clients: Arc<AtomicU64>,
    pub(crate) apps: Arc<Apps>,
}

/// Why a client is not served any more, if that was not its own or the node's decision.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Tls(#[from] TlsHandshakeError),
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
        match self {
            Self::Tls(error) => error.is_harmless(),
            Self::Accept(AcceptError::Closed | AcceptError::Io(_))
            | Self::Socket(SocketError::Lost { .. })
            | Self::Closed { code: 1001, .. } => true,
            Self::Accept(_) | Self::Socket(_) | Self::Closed { .. } => false,
        }
    }
}

/// Serves the client behind the stream that `opening` gives until it or the node ends. `stop` is the listener's.
pub(crate) async fn serve(
    opening: impl Future<Output = Result<Io, TlsHandshakeError>>,
    peer: SocketAddr,
    server: Arc<Server>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let number = server.clients.fetch_add(1, Ordering::Relaxed);
    let after = server.local.handshake_timeout();
    let accepting = timeout(after, async {
        let mut io = opening.await?;
        let accepted = accept(&mut io, &server.access.gate()).await?;
        Ok::<_, ServeError>((io, accepted))
    });
    let Some(accepted) = stop.run_until_cancelled(accepting).await else {
        return Ok(());
    };
    let (
        io,
        Accepted {
            websocket,
            application,
        },
    ) = accepted.map_err(|_| AcceptError::Late { after })??;
    let (socket, reading, mut writing) = open(io, websocket);
    socket.limit_messages(server.max_message.min(MAX_FIRST_MESSAGE));
    let endpoint = server.local.endpoint();
    let name = format!("{}-websocket-{number}", endpoint.id());
    let mut session = Session::new(
        Instant::now(),
        name.clone(),
        env!("CARGO_PKG_VERSION"),
        server.ping_interval,
    );
    let app = server.apps.join(application.as_deref().unwrap_or_default());
    let refusal = application.as_ref().err().copied();
    let presence = Presence {
        local: server.local.clone(),
        id: name,
        address: peer,
        application: application.unwrap_or_default(),
    };
    match refusal {
        None => {
            tracing::debug!(%peer, name = presence.id, presence.application, "WebSocket client")
        }
        Some(refusal) => session.refuse(refusal),
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
        app: Arc::clone(&app),
        hand_over: Some(hand_over),
        replied: 0,
        presence: &presence,
    };
    let mut gone = Closing::new(1006, "Abnormal closure");
    let feeding = async {
        if let Ok(subscriber) = subscriber.await {
            let _ = ended.send(feed(subscriber, &socket, &app).await);
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = client.converse(end, stop, &mut gone) => result,
        () = feeding => Ok(()),
        error = writing.pump() => Err(SocketError::Lost { reason: error.to_string() }.into()),
    };
    if refusal.is_none() {
        presence.tell(ClientChange::Lost {
            code: gone.code,
            reason: gone.reason,
        });
    }
    result
}

/// A client as others are told of it.
struct Presence {
    local: LocalNode,
    id: String,
    address: SocketAddr,
    application: String,
}

impl Presence {
    fn tell(&self, change: ClientChange) {
        self.local.client_event(&ClientEvent {
            kind: "WebSocket",
            id: self.id.clone(),
            address: self.address,
            application: self.application.clone(),
            change,
        });
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
async fn feed(mut subscriber: Subscriber, socket: &Socket, app: &AppClient) -> FeedEnd {
    let mut batch = Vec::with_capacity(FEED_BATCH);
    loop {
        if subscriber.recv_many(&mut batch, FEED_BATCH).await == 0 {
            return FeedEnd::Drained;
        }
        for message in batch.drain(..) {
            if let Some(text) = text::for_client(&message) {
                socket.text(text);
                app.sent(&message);
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
struct Client<'a> {
    endpoint: Endpoint,
    server: Arc<Server>,
    socket: Arc<Socket>,
    reading: Reading,
    session: Session,
    publisher: Option<HubPublisher>,
    /// Waits for the ack to go out first.
    subscriber: Option<Subscriber>,
    hand_over: Option<oneshot::Sender<Subscriber>>,
    app: Arc<AppClient>,
    /// Bytes of answers given since the client was last seen to read.
    replied: usize,
    presence: &'a Presence,
}

impl Client<'_> {
    /// Notes in `gone` how it ended, unless the connection just broke.
    async fn converse(
        mut self,
        mut end: oneshot::Receiver<FeedEnd>,
        stop: CancellationToken,
        gone: &mut Closing,
    ) -> Result<(), ServeError> {
        let (mut stopping, mut last) = (false, Instant::now());
        loop {
            while let Some(action) = self.session.poll_action() {
                if let Action::Close(closing) = action {
                    *gone = closing.clone();
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
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    last = Instant::now() + STOP_GRACE;
                    self.session.drain();
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
                    Ok(closed @ (Incoming::Close(_) | Incoming::End)) => {
                        if let Incoming::Close(closing) = closed {
                            *gone = closing.unwrap_or_else(|| Closing::new(1005, "No status code"));
                        }
                        let _ = timeout(CLOSE_GRACE, self.socket.flushed()).await;
                        return Ok(());
                    }
                    Err(error) => {
                        if let Some(closing) = error.closing() {
                            *gone = closing.clone();
                            self.socket.close(closing);
                            self.part().await;
                        }
                        return Err(error.into());
                    }
                },
                () = sleep_until(wake) => self.session.handle_timeout(Instant::now()),
                () = sleep_until(last), if stopping => self.session.stop(),
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Subscribe(prefixes) => {
                let subscriptions: Vec<Topic> = prefixes.into_iter().collect();
                let filter = subscriptions.iter().cloned().collect();
                let (publisher, subscriber) = self.endpoint.hub(filter, self.server.queue).split();
                // Best effort: a peer that hangs must not keep a client from its own node's messages.
                let _ = self.endpoint.settled(SETTLE_LIMIT).await;
                self.publisher = Some(publisher);
                self.subscriber = Some(subscriber);
                self.socket.limit_messages(self.server.max_message);
                self.session.subscribed();
                self.presence.tell(ClientChange::Added { subscriptions });
            }
            Action::Publish(message) => {
                self.app.received(&message);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::pipe::Pipe;
    use crate::ws::settings::{self, PATH, PING_INTERVAL};
    use broker_core::{BoxFuture, ConnectError, Connection, ListenError, PeerUrl, Transport};
    use broker_core::{Data, Message};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tungstenite::protocol::{Role, WebSocket};

    /// Catches the handle an endpoint gives its transports.
    #[derive(Clone, Default)]
    struct Catch(Arc<Mutex<Option<LocalNode>>>);

    impl Transport for Catch {
        fn schemes(&self) -> &'static [&'static str] {
            &["catch"]
        }

        fn connect<'a>(
            &'a self,
            url: &'a PeerUrl,
            _: &'a LocalNode,
        ) -> BoxFuture<'a, Result<Connection, ConnectError>> {
            let url = url.clone();
            let reason = "only listens".to_owned();
            Box::pin(async { Err(ConnectError::Unreachable { url, reason }) })
        }

        fn listen<'a>(
            &'a self,
            url: &'a PeerUrl,
            local: LocalNode,
            _: CancellationToken,
        ) -> BoxFuture<'a, Result<PeerUrl, ListenError>> {
            *self.0.lock().unwrap() = Some(local);
            Box::pin(async { Ok(url.clone()) })
        }
    }

    /// A served client.
    struct Served {
        endpoint: Endpoint,
        /// The client's end of the stream.
        far: DuplexStream,
        stop: CancellationToken,
        serving: JoinHandle<Result<(), ServeError>>,
    }

    async fn served() -> Served {
        let catch = Catch::default();
        let endpoint = Endpoint::builder().transport(catch.clone()).start();
        let url = "catch://x".parse().unwrap();
        endpoint.listen(&url).await.unwrap();
        let server = Arc::new(Server {
            local: catch.0.lock().unwrap().take().unwrap(),
            access: WsAccess::default(),
            max_message: settings::MAX_MESSAGE,
            queue: settings::client_queue(),
            ping_interval: PING_INTERVAL,
            clients: Arc::default(),
            apps: Arc::default(),
        });
        let (near, far) = duplex(64 << 10);
        let (peer, stop) = (([127, 0, 0, 1], 1).into(), CancellationToken::new());
        let opening = async { Ok(Box::new(near) as Io) };
        let serving = tokio::spawn(serve(opening, peer, server, stop.clone()));
        Served {
            endpoint,
            far,
            stop,
            serving,
        }
    }

    async fn upgrade(far: &mut DuplexStream) {
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        far.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_closed_when_the_next_is_due() {
        let Served {
            mut far, serving, ..
        } = served().await;
        upgrade(&mut far).await;
        let since = Instant::now();
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert!(received.starts_with(b"\x89\x14broker::heartbeat::0"));
        assert!(received.ends_with(b"\x88\x0e\x03\xf3Ping timeout"));
        let took = since.elapsed();
        assert!(
            took >= PING_INTERVAL && took <= PING_INTERVAL + 2 * CLOSE_GRACE,
            "{took:?}"
        );
        assert!(matches!(
            serving.await.unwrap(),
            Err(ServeError::Closed { code: 1011, .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_only_answers_pings_stays_as_long_as_it_likes() {
        let Served {
            endpoint: _endpoint,
            mut far,
            serving,
            ..
        } = served().await;
        upgrade(&mut far).await;
        let websocket = WebSocket::from_raw_socket(Pipe::default(), Role::Client, None);
        let (socket, mut reading, mut writing) = open(Box::new(far), websocket);
        let since = Instant::now();
        let mut pings = 0;
        let reading = async {
            while since.elapsed() < Duration::from_secs(3600) {
                assert_eq!(reading.next().await, Ok(Incoming::Ping));
                pings += 1;
            }
            socket.close(crate::ws::socket::Closing::new(1000, ""));
            while !matches!(reading.next().await, Ok(Incoming::End)) {}
        };
        tokio::select! {
            () = reading => {}
            error = writing.pump() => panic!("{error}"),
        }
        assert!(pings >= 720, "{pings}");
        assert!(serving.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_says_nothing_is_given_up() {
        let Served { far, serving, .. } = served().await;
        let since = Instant::now();
        assert!(matches!(
            serving.await.unwrap(),
            Err(ServeError::Accept(AcceptError::Late { .. }))
        ));
        assert!(since.elapsed() >= Duration::from_secs(10));
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_does_not_hold_up_a_shutdown() {
        let Served {
            endpoint,
            mut far,
            stop,
            serving,
        } = served().await;
        upgrade(&mut far).await;
        far.write_all(b"\x81\x04[\"\"]").await.unwrap();
        let large = Data::from("x".repeat(10_000).as_str());
        let message = Message::new(Topic::from_static("t"), large);
        while endpoint.publish(message.clone()).await.unwrap().nobody() {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            endpoint.publish(message.clone()).await.unwrap();
        }
        let since = Instant::now();
        stop.cancel();
        endpoint.shutdown().await;
        let ended = serving.await.unwrap();
        assert!(
            matches!(ended, Err(ServeError::Closed { code: 1011, .. })),
            "{ended:?}"
        );
        assert!(
            since.elapsed() <= 2 * PING_INTERVAL + CLOSE_GRACE,
            "{:?}",
            since.elapsed()
        );
    }
}
