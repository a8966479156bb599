//! The way to a server: TCP, upgrade, subscription, ack.

use std::sync::Arc;
use std::time::Duration;

use broker_core::{Filter, PeerUrl};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::header::{AUTHORIZATION, HeaderName, HeaderValue, UPGRADE};
use tungstenite::protocol::{Role, WebSocket};

use super::accept::{APPLICATION_NAME, AcceptError, is_application_name, read_head};
use super::error::WsError;
use super::pipe::Pipe;
use super::settings::{self, DEFAULT_PORT, MAX_MESSAGE};
use super::socket::{Incoming, Io, Reading, Socket, Writing, open};
use super::target::Target;
use super::text::{self, Control};
use super::token::Token;
use crate::grpc::dial::describe;
use crate::socket::{Dialler, TlsSetup};
use crate::tcp::{self, TcpError};

/// What a client shows of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) token: Option<Token>,
    pub(crate) application_name: Option<Arc<str>>,
    pub(crate) tls: Option<TlsSetup>,
}

/// A connection whose subscription is in place.
pub(crate) struct Dialled {
    pub(crate) socket: Arc<Socket>,
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    /// What the ack calls us.
    pub(crate) endpoint: String,
    /// What the ack says the server is.
    pub(crate) version: String,
}

/// Dials `url` and subscribes to `filter`, all of it within `limit`.
pub(crate) async fn dial(
    url: &PeerUrl,
    target: &Target,
    credentials: &Credentials,
    filter: &Filter,
    limit: Duration,
) -> Result<Dialled, WsError> {
    let deadline = Instant::now() + limit;
    let late = |_| WsError::TimedOut { after: limit };
    let upgrading = async {
        let mut io = connect(url, credentials.tls.as_ref()).await?;
        let websocket = upgrade(&mut io, url, target, credentials).await?;
        Ok((io, websocket))
    };
    let (io, websocket) = timeout_at(deadline, upgrading).await.map_err(late)??;
    let (socket, mut reading, mut writing) = open(io, websocket);
    socket.text(text::subscriptions(filter).into());
    let acknowledged = async {
        tokio::select! {
            ack = await_ack(&mut reading) => ack,
            error = writing.pump() => Err(WsError::Lost { reason: error.to_string() }),
        }
    };
    let (endpoint, version) = timeout_at(deadline, acknowledged)
        .await
        .map_err(|_| WsError::NoAck { after: limit })??;
    Ok(Dialled {
        socket,
        reading,
        writing,
        endpoint,
        version,
    })
}

async fn connect(url: &PeerUrl, tls: Option<&TlsSetup>) -> Result<Io, WsError> {
    let scheme = url.scheme();
    if !matches!(scheme, "ws" | "wss") {
        return Err(WsError::BadUrl {
            reason: format!("{scheme}:// is no WebSocket (expected ws:// or wss://)"),
        });
    }
    let failed = |error: &(dyn std::error::Error + 'static)| WsError::Connect {
        reason: describe(error),
    };
    let dialler = Dialler::new(url, tls).map_err(|error| failed(&error))?;
    let stream = tcp::connect(url, DEFAULT_PORT)
        .await
        .map_err(|error| match error {
            TcpError::NoSuchHost { host, reason } => WsError::NoSuchHost { host, reason },
            TcpError::Refused => WsError::Refused,
            TcpError::TimedOut { after } => WsError::TimedOut { after },
            TcpError::Other(reason) => WsError::Connect { reason },
        })?;
    match dialler.connect(url.host(), stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(failed(&error)),
    }
}

/// Sends the request for a WebSocket and reads the response.
async fn upgrade(
    io: &mut Io,
    url: &PeerUrl,
    target: &Target,
    credentials: &Credentials,
) -> Result<WebSocket<Pipe>, WsError> {
    let bad_url = |reason: String| WsError::BadUrl { reason };
    let uri = format!("ws://{}{}", url.authority(DEFAULT_PORT), target.path);
    let mut request = uri
        .into_client_request()
        .map_err(|error| bad_url(error.to_string()))?;
    if let Some(token) = &credentials.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| bad_url("the token is no header value".to_owned()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    if let Some(name) = &credentials.application_name {
        let value = HeaderValue::from_str(name)
            .ok()
            .filter(|name| is_application_name(name.as_bytes()))
            .ok_or_else(|| bad_url(format!("{name:?} is no application name")))?;
        request
            .headers_mut()
            .insert(HeaderName::from_static(APPLICATION_NAME), value);
    }
    let (bytes, key) = generate_request(request).map_err(|error| bad_url(error.to_string()))?;
    let not_web_socket = |reason: String| WsError::NotWebSocket { reason };
    let lost = |error: std::io::Error| not_web_socket(error.to_string());
    io.write_all(&bytes).await.map_err(lost)?;
    io.flush().await.map_err(lost)?;
    let (head, rest) = read_head(io).await.map_err(|error| {
        not_web_socket(match error {
            AcceptError::Closed => "it closed the connection".to_owned(),
            error => error.to_string(),
        })
    })?;
    let (_, response) = Response::try_parse(&head)
        .map_err(|error| not_web_socket(error.to_string()))?
        .ok_or_else(|| not_web_socket("it answered something else".to_owned()))?;
    check(&response, &key)?;
    let mut pipe = Pipe::default();
    pipe.relabel_text();
    pipe.feed(&rest);
    let config = settings::socket(MAX_MESSAGE);
    Ok(WebSocket::from_raw_socket(pipe, Role::Client, Some(config)))
}

/// Whether the response is the one to our request.
fn check(response: &Response, key: &str) -> Result<(), WsError> {
    let status = response.status();
    if status == 401 {
        return Err(WsError::Unauthorized);
    }
    let upgraded = response
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if status != 101 || !upgraded {
        return Err(WsError::NotWebSocket {
            reason: format!("it answered HTTP {status}"),
        });
    }
    let accept = response.headers().get("sec-websocket-accept");
    if accept.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(WsError::NotWebSocket {
            reason: "its answer belongs to another request".to_owned(),
        });
    }
    Ok(())
}

/// Waits for the ack.
async fn await_ack(reading: &mut Reading) -> Result<(String, String), WsError> {
    loop {
        match reading.next().await {
            Ok(Incoming::Message(message)) => match text::parse_control(&message) {
                Some(Control::Ack { endpoint, version }) => return Ok((endpoint, version)),
                // Most servers close now, with the same reason; one of Zeek may never (zeek-cluster 7.3).
                Some(Control::Error { context, .. }) => return Err(rejected(0, &context)),
                // Not for us yet: what comes before the ack is not promised.
                None => {}
            },
            Ok(Incoming::Ping | Incoming::Pong(_)) => {}
            Ok(Incoming::Close(Some(closing))) => {
                return Err(rejected(closing.code, &closing.reason));
            }
            Ok(Incoming::Close(None)) => return Err(rejected(1005, "without a reason")),
            Ok(Incoming::End) => return Err(rejected(1006, "the connection ended")),
            Err(error) => return Err(rejected(1006, &error.to_string())),
        }
    }
}

fn rejected(code: u16, reason: &str) -> WsError {
    WsError::Rejected {
        code,
        reason: one_line(reason),
    }
}

/// At most 256 characters of what a server said, fit for a log.
pub(crate) fn one_line(text: &str) -> String {
    crate::frame::hello::one_line(text)
}
