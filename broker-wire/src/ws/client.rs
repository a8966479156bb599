//! A client of a WebSocket server, for tools and for programs that want no endpoint of their own.

use std::collections::VecDeque;
use std::time::Duration;

use broker_core::{Data, Filter, Message, PeerUrl, Topic, json};
use bytes::Bytes;

use super::connection::{Event, Running};
use super::dial::{Credentials, dial, one_line};
use super::error::WsError;
use super::socket::Closing;
use super::target::Target;
use super::text::{self, Control};
use super::token::Token;
use crate::socket::TlsSetup;
use crate::tls::TlsOptions;

/// How a [`WsClient`] connects.
#[derive(Clone, Debug)]
#[must_use]
pub struct WsClientOptions {
    credentials: Credentials,
    timeout: Duration,
}

impl WsClientOptions {
    /// No token, no name, ten seconds.
    pub fn new() -> Self {
        Self {
            credentials: Credentials::default(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Shows the server this token (`Authorization: Bearer`); by default none.
    pub fn token(mut self, token: impl Into<std::sync::Arc<str>>) -> Self {
        self.credentials.token = Some(Token::new(token));
        self
    }

    /// Tells the server this name (`X-Application-Name`: letters, digits and `/_-.=:*@`), by which its logs call
    /// the client; by default none.
    pub fn application_name(mut self, name: impl Into<std::sync::Arc<str>>) -> Self {
        self.credentials.application_name = Some(name.into());
        self
    }

    /// Sets the files of `wss://`: the CA of the server, and a certificate and a key where it asks for them. By default
    /// none, and `wss://` addresses are refused.
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.credentials.tls = Some(TlsSetup::new(options));
        self
    }

    /// Sets how long connecting may take, from the first packet to the ack; default 10 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl Default for WsClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What a server sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WsReceived {
    /// A message on a topic subscribed to.
    Message(Message),
    /// The server did not take something this client sent.
    Error {
        /// Its code, for example `deserialization_failed`.
        code: String,
        /// What was wrong, in its words.
        context: String,
    },
    /// A text that is neither; servers of other versions may send such.
    Unknown {
        /// Its beginning.
        text: String,
    },
}

/// A connection to one WebSocket server. Dropping it ends the connection without a word; [`close`](Self::close) is the
/// orderly end.
///
/// ```
/// use broker_core::{Data, Endpoint, Filter, Topic};
/// use broker_wire::{WsClient, WsClientOptions, WsReceived, WsTransport};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let node = Endpoint::builder().name("node").transport(WsTransport::new()).start();
/// let address = node.listen(&"ws://127.0.0.1:0".parse()?).await?;
///
/// let hosts = Topic::from_static("/hosts");
/// let mut reader = WsClient::connect(&address, &Filter::from_iter([hosts.clone()]), &WsClientOptions::new()).await?;
/// let mut writer = WsClient::connect(&address, &Filter::new(), &WsClientOptions::new()).await?;
/// writer.publish(&hosts, &Data::from("192.0.2.7")).await?;
/// writer.barrier().await?;
///
/// let Some(WsReceived::Message(message)) = reader.recv().await? else { panic!("no message") };
/// assert_eq!(message.data()?, &Data::from("192.0.2.7"));
/// writer.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WsClient {
    running: Running,
    endpoint: String,
    version: String,
    /// Received while waiting for something else; at most [`MAX_KEPT`].
    kept: VecDeque<WsReceived>,
    end: Option<Result<(), WsError>>,
    barriers: u64,
}

/// Messages that are kept while a client waits for a barrier.
const MAX_KEPT: usize = 65_536;

impl WsClient {
    /// Connects to `url` (`ws://` or `wss://`) and subscribes to `prefixes`; resolves with the server's ack.
    ///
    /// # Errors
    /// See [`WsError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is closed.
    pub async fn connect(
        url: &PeerUrl,
        prefixes: &Filter,
        options: &WsClientOptions,
    ) -> Result<Self, WsError> {
        let target = Target::of(url).map_err(|reason| WsError::BadUrl { reason })?;
        let dialled = dial(
            url,
            &target,
            &options.credentials,
            prefixes,
            options.timeout,
        )
        .await?;
        let (endpoint, version) = (dialled.endpoint.clone(), dialled.version.clone());
        let running = Running::start(dialled, |task| {
            tokio::spawn(task);
        });
        Ok(Self {
            running,
            endpoint,
            version,
            kept: VecDeque::new(),
            end: None,
            barriers: 0,
        })
    }

    /// What the server calls this client; with Zeek and our own nodes the node's ID, `-websocket-` and a number.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The version the server gave for itself.
    #[must_use]
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// Sends a value. Resolves when there is room, not when the server has it: see [`barrier`](Self::barrier). What
    /// the server thinks of it comes as [`WsReceived::Error`].
    ///
    /// # Errors
    /// The connection has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, nothing was sent.
    pub async fn publish(&mut self, topic: &Topic, data: &Data) -> Result<(), WsError> {
        self.publish_message(&Message::new(topic.clone(), data.clone()))
            .await
    }

    /// Sends a message; see [`publish`](Self::publish). A payload that is no value is not sent and counts as done.
    ///
    /// # Errors
    /// The connection has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, nothing was sent.
    pub async fn publish_message(&mut self, message: &Message) -> Result<(), WsError> {
        self.running.handle.socket.room().await;
        self.keep_what_came();
        if self.running.handle.has_ended() {
            return Err(self.why_ended().await);
        }
        if let Ok(view) = message.view() {
            let text = text::for_server(message.topic(), &view);
            self.running.handle.socket.text(text);
        }
        Ok(())
    }

    /// Waits for the next thing the server sends; `None` once it has closed the connection in order (codes 1000, 1001
    /// and none).
    ///
    /// # Errors
    /// The connection ended otherwise.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub async fn recv(&mut self) -> Result<Option<WsReceived>, WsError> {
        loop {
            if let Some(received) = self.kept.pop_front() {
                return Ok(Some(received));
            }
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            if let Some(Event::Message(text)) = self.next_event().await {
                return Ok(Some(read(&text)));
            }
        }
    }

    /// Waits until the server has read everything sent before. (What it then does with it is its own affair: Zeek and
    /// our nodes have handed it over by the time they answer, or answered with an error.)
    ///
    /// # Errors
    /// The connection ended, or more than 65 536 messages came meanwhile and were not received.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost.
    pub async fn barrier(&mut self) -> Result<(), WsError> {
        self.barriers += 1;
        let payload = Bytes::from(format!("broker::barrier::{}", self.barriers));
        self.running.handle.socket.ping(payload.clone());
        loop {
            if self.end.is_some() {
                return Err(self.why_ended().await);
            }
            match self.next_event().await {
                Some(Event::Pong(answer)) if answer == payload => return Ok(()),
                Some(Event::Message(text)) => {
                    self.kept.push_back(read(&text));
                    if self.kept.len() > MAX_KEPT {
                        return Err(WsError::Overrun {
                            count: self.kept.len(),
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// Closes the connection once everything is sent, and waits for the server to close it too, as long as it takes.
    /// What it still sends is lost.
    ///
    /// # Errors
    /// The connection broke before: what was sent last may not have arrived.
    ///
    /// # Cancel safety
    /// If the future is dropped, the connection is dropped too.
    pub async fn close(mut self) -> Result<(), WsError> {
        self.running.handle.socket.close(Closing::new(1000, ""));
        while self.end.is_none() {
            self.next_event().await;
        }
        match self.end {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes what has come, so that a client that only publishes goes on answering pings.
    fn keep_what_came(&mut self) {
        while self.kept.len() < MAX_KEPT
            && let Ok(event) = self.running.inbox.try_recv()
        {
            if let Some(Event::Message(text)) = self.note(Some(event)) {
                self.kept.push_back(read(&text));
            }
        }
    }

    /// The next event, unless it is the last.
    async fn next_event(&mut self) -> Option<Event> {
        let event = self.running.inbox.recv().await;
        self.note(event)
    }

    /// Notes how the connection ended, if that is what the event says, and passes on any other.
    fn note(&mut self, event: Option<Event>) -> Option<Event> {
        let closing = match event {
            Some(Event::Closed(closing)) => closing.map_or(Ok(()), |closing| {
                let Closing { code, reason } = closing;
                let reason = one_line(&reason);
                match code {
                    1000 | 1001 => Ok(()),
                    code => Err(WsError::Closed { code, reason }),
                }
            }),
            Some(Event::Failed(error)) => Err(WsError::Lost {
                reason: error.to_string(),
            }),
            None => Err(WsError::Lost {
                reason: "the connection has ended".to_owned(),
            }),
            event => return event,
        };
        self.end = Some(closing);
        None
    }

    /// Why the connection is over; it is.
    async fn why_ended(&mut self) -> WsError {
        while self.end.is_none() {
            if let Some(Event::Message(text)) = self.next_event().await
                && self.kept.len() < MAX_KEPT
            {
                self.kept.push_back(read(&text));
            }
        }
        match &self.end {
            Some(Err(error)) => error.clone(),
            _ => WsError::Lost {
                reason: "closed by the server".to_owned(),
            },
        }
    }
}

/// What a text of a server is.
fn read(text: &[u8]) -> WsReceived {
    if let Ok((topic, data)) = json::parse_message(text)
        && let Ok(topic) = Topic::copy_from(&topic)
    {
        return WsReceived::Message(Message::new(topic, data));
    }
    match text::parse_control(text) {
        Some(Control::Error { code, context }) => WsReceived::Error {
            code: one_line(&code),
            context: one_line(&context),
        },
        _ => WsReceived::Unknown {
            text: one_line(&String::from_utf8_lossy(&text[..text.len().min(1024)])),
        },
    }
}
