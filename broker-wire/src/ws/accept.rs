//! The upgrade of a server: one HTTP request, and whether to serve whoever sent it.
//!
//! As with Zeek, a wrong path or application name is refused only behind the upgrade, where a client can read
//! why (zeek-cluster 7.2). What is no upgrade gets 400, what lacks the token 401.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{AUTHORIZATION, HOST, ORIGIN};
use tungstenite::protocol::{Role, WebSocket};

use super::pipe::Pipe;
use super::session::Refusal;
use super::settings::{self, MAX_FIRST_MESSAGE, MAX_REQUEST, PATH};
use super::socket::Io;
use super::token::Token;
use crate::first_bytes::{Speaks, guess};
use crate::tls::dismiss;

/// A client behind the upgrade.
pub(crate) struct Accepted {
    pub(crate) websocket: WebSocket<Pipe>,
    /// The name it gave, or why it is to be refused.
    pub(crate) application: Result<String, Refusal>,
}

/// Why there was no upgrade.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("closed before it sent a request")]
    Closed,
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    #[error("no WebSocket request: {0}")]
    BadRequest(String),
    #[error("no HTTP: {0}")]
    NotHttp(&'static str),
    #[error("without the right token")]
    Unauthorized,
    #[error("a web page of another origin")]
    ForeignPage,
    #[error("no request within {} s", after.as_secs_f32())]
    Late { after: std::time::Duration },
}

/// Who is let in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    /// What clients have to show, if anything.
    pub(crate) token: Option<Token>,
    /// The origins of web pages that may connect, besides pages of this very address.
    pub(crate) origins: Vec<String>,
}

/// Reads the request from `io` and answers it.
pub(crate) async fn accept(io: &mut Io, gate: &Gate) -> Result<Accepted, AcceptError> {
    let (head, rest) = match read_head(io).await {
        Err(AcceptError::NotHttp(reason)) => {
            // Whoever speaks something else knows HTTP when it sees it, and says so.
            let answer =
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            dismiss(io, answer.as_bytes()).await;
            return Err(AcceptError::NotHttp(reason));
        }
        head => head?,
    };
    let request = match Request::try_parse(&head) {
        Ok(Some((_, request))) => request,
        Ok(None) => return Err(refuse(io, "400", "Bad Request").await?),
        Err(error) => return Err(refuse(io, "400", &error.to_string()).await?),
    };
    if !gate.admits_origin(&request) {
        refuse(io, "403", "Forbidden origin").await?;
        return Err(AcceptError::ForeignPage);
    }
    if !gate.admits_token(&request) {
        let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        io.write_all(answer.as_bytes()).await?;
        io.shutdown().await?;
        return Err(AcceptError::Unauthorized);
    }
    let response = match create_response(&request) {
        Ok(response) => response,
        Err(error) => return Err(refuse(io, "400", &error.to_string()).await?),
    };
    let mut answer = Vec::new();
    write_response(&mut answer, &response)
        .map_err(|error| AcceptError::BadRequest(error.to_string()))?;
    io.write_all(&answer).await?;
    io.flush().await?;
    let mut pipe = Pipe::default();
    pipe.feed(&rest);
    let config = settings::socket(MAX_FIRST_MESSAGE);
    Ok(Accepted {
        websocket: WebSocket::from_raw_socket(pipe, Role::Server, Some(config)),
        application: application(&request),
    })
}

/// Reads up to the empty line that ends the head of a request or response; the second part is what came behind it.
pub(crate) async fn read_head(io: &mut Io) -> Result<(Vec<u8>, Vec<u8>), AcceptError> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let before = head.len();
        if io.read_buf(&mut head).await? == 0 {
            return Err(if head.is_empty() {
                AcceptError::Closed
            } else {
                AcceptError::BadRequest("it ends too early".to_owned())
            });
        }
        if let Some(reason) = stranger(&head) {
            return Err(AcceptError::NotHttp(reason));
        }
        let from = before.saturating_sub(END.len() - 1);
        if let Some(at) = head[from..].windows(END.len()).position(|part| part == END) {
            let rest = head.split_off(from + at + END.len());
            return Ok((head, rest));
        }
        if head.len() > MAX_REQUEST {
            return Err(AcceptError::BadRequest(format!(
                "its head is longer than {MAX_REQUEST} bytes"
            )));
        }
    }
}

/// What is wrong with bytes that no request or response starts with: there is no point in waiting for their end.
fn stranger(head: &[u8]) -> Option<&'static str> {
    if head.first().is_none_or(u8::is_ascii_graphic) {
        return None;
    }
    Some(match guess(head) {
        Speaks::Tls => "it speaks TLS: use wss:// here or turn TLS off there",
        Speaks::Broker => "it speaks the native Broker protocol: that is broker://",
        _ => "it speaks neither HTTP nor anything else that is known here",
    })
}

const END: &[u8] = b"\r\n\r\n";

/// Answers with `status`, the reason in the status text as Zeek does it, and ends the connection.
async fn refuse(io: &mut Io, status: &str, reason: &str) -> Result<AcceptError, AcceptError> {
    let text: String = reason
        .chars()
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect();
    let answer =
        format!("HTTP/1.1 {status} {text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    io.write_all(answer.as_bytes()).await?;
    io.shutdown().await?;
    Ok(AcceptError::BadRequest(text))
}

impl Gate {
    /// Whether a request carries the token, if one is asked for.
    fn admits_token(&self, request: &Request) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let header = request.headers().get(AUTHORIZATION);
        let given = header.and_then(|header| header.as_bytes().split_at_checked(BEARER.len()));
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case(BEARER) && token.matches(given.trim_ascii())
        })
    }

    /// Whether a web page may connect. Browsers let every page open WebSockets anywhere, this machine's own ports
    /// included, and say which page it is; other programs say nothing, or the address they connect to.
    fn admits_origin(&self, request: &Request) -> bool {
        let Some(origin) = request.headers().get(ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let host = request.headers().get(HOST);
        let is_own = origin.split_once("://").is_some_and(|(_, authority)| {
            host.is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
        });
        let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
        is_own || self.origins.iter().any(is_allowed)
    }
}

const BEARER: &[u8] = b"Bearer ";

fn application(request: &Request) -> Result<String, Refusal> {
    if request.uri().path_and_query().map(|path| path.as_str()) != Some(PATH) {
        return Err(Refusal::Uri);
    }
    let name = request
        .headers()
        .get(APPLICATION_NAME)
        .map_or(&b""[..], |name| name.as_bytes());
    if is_application_name(name) {
        Ok(String::from_utf8_lossy(name).into_owned())
    } else {
        Err(Refusal::ApplicationName)
    }
}

/// The header with the name of a client.
pub(crate) const APPLICATION_NAME: &str = "x-application-name";

/// Whether `name` has only characters that an application name may have (zeek-cluster 7.2).
pub(crate) fn is_application_name(name: &[u8]) -> bool {
    name.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/_-.=:*@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    const KEY: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    async fn answer(request: &str, token: Option<&str>) -> (Result<Accepted, AcceptError>, String) {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(request.as_bytes()).await.unwrap();
        let mut io: Io = Box::new(near);
        let gate = Gate {
            token: token.map(Token::new),
            origins: vec!["https://dashboard.example".to_owned()],
        };
        let accepted = accept(&mut io, &gate).await;
        drop(io);
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        (accepted, text)
    }

    fn request(path: &str, headers: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: node\r\n{KEY}{headers}\r\n")
    }

    #[tokio::test]
    async fn an_upgrade_is_answered_with_the_key() {
        let (accepted, text) = answer(&request(PATH, "X-Application-Name: a/b\r\n"), None).await;
        assert_eq!(accepted.unwrap().application, Ok("a/b".to_owned()));
        assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    }

    #[tokio::test]
    async fn a_wrong_path_or_name_is_refused_behind_the_upgrade() {
        for path in [
            "/",
            "/v1/messages/json/",
            "/v1/messages/json?x=1",
            "/v1/messages/json?",
        ] {
            let (accepted, text) = answer(&request(path, ""), None).await;
            assert_eq!(accepted.unwrap().application, Err(Refusal::Uri), "{path}");
            assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
        }
        let (accepted, _) = answer(&request(PATH, "X-Application-Name: a b\r\n"), None).await;
        assert_eq!(accepted.unwrap().application, Err(Refusal::ApplicationName));
    }

    #[tokio::test]
    async fn what_is_no_http_at_all_is_named_without_waiting_for_its_end() {
        for (bytes, word) in [
            ("\u{16}\u{3}\u{1}\u{2}", "wss://"),
            ("\0\0\0\u{17}\u{6}ZEEK", "broker://"),
            ("\u{1}", "neither"),
        ] {
            let (near, mut far) = duplex(1024);
            far.write_all(bytes.as_bytes()).await.unwrap();
            let mut io: Io = Box::new(near);
            let error = tokio::spawn(async move { accept(&mut io, &Gate::default()).await.err() });
            let mut text = [0; 9];
            far.read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"HTTP/1.1 ");
            drop(far);
            let error = error.await.unwrap().unwrap().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_upgrade_gets_400() {
        for bad in [
            "GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_owned(),
            "nonsense\r\n\r\n".to_owned(),
            format!("POST {PATH} HTTP/1.1\r\n{KEY}\r\n"),
            format!("GET {PATH} HTTP/1.0\r\n{KEY}\r\n"),
            request(PATH, "").replace("Version: 13", "Version: 12"),
        ] {
            let (accepted, text) = answer(&bad, None).await;
            assert!(matches!(accepted, Err(AcceptError::BadRequest(_))), "{bad}");
            assert!(text.starts_with("HTTP/1.1 400 "), "{bad}: {text}");
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_before_anything_else() {
        for (header, right) in [
            ("", false),
            ("Authorization: Bearer wrong\r\n", false),
            ("Authorization: Basic secret\r\n", false),
            ("Authorization: Bearer secret2\r\n", false),
            ("Authorization: Bearer secret\r\n", true),
            ("authorization: bearer secret\r\n", true),
        ] {
            let (accepted, text) = answer(&request(PATH, header), Some("secret")).await;
            assert_eq!(accepted.is_ok(), right, "{header}");
            assert_eq!(text.starts_with("HTTP/1.1 401 "), !right, "{header}");
        }
    }

    #[tokio::test]
    async fn web_pages_of_other_origins_are_kept_out() {
        for (origin, welcome) in [
            ("http://node", true),
            ("HTTP://NODE", true),
            ("https://dashboard.example", true),
            ("https://dashboard.example.org", false),
            ("http://evil.example", false),
            ("null", false),
            ("http://node.evil.example", false),
        ] {
            let (accepted, text) =
                answer(&request(PATH, &format!("Origin: {origin}\r\n")), None).await;
            assert_eq!(accepted.is_ok(), welcome, "{origin}");
            assert_eq!(
                text.starts_with("HTTP/1.1 403 "),
                !welcome,
                "{origin}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(2 * MAX_REQUEST));
        let (accepted, _) = answer(&endless, None).await;
        assert!(matches!(accepted, Err(AcceptError::BadRequest(_))));
    }
}
