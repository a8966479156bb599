//! Batches of lines as POST requests of type `application/x-ndjson`, one after the other over a connection that is kept
//! while the server lets it, plain or with TLS. Bodies of answers are read up to [`MAX_ANSWER`] and thrown away.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::delivery::Outcome;
use super::secure::SinkClient;
use super::target::HttpAddress;
use super::{CONNECT_TIMEOUT, SEND_TIMEOUT};

/// Bytes of an answer's body that are read before the connection is given up.
const MAX_ANSWER: usize = 64 << 10;

pub(super) struct HttpPost {
    address: HttpAddress,
    /// What makes connections safe, if they are to be.
    tls: Option<Arc<dyn SinkClient>>,
    connection: Option<SendRequest<Once>>,
}

impl HttpPost {
    pub(super) const fn new(address: HttpAddress, tls: Option<Arc<dyn SinkClient>>) -> Self {
        Self {
            address,
            tls,
            connection: None,
        }
    }

    pub(super) async fn send(&mut self, lines: Bytes) -> Outcome {
        let kept = self.connection.take().filter(|kept| !kept.is_closed());
        let was_kept = kept.is_some();
        let outcome = self.attempt(kept, lines.clone()).await;
        // A server may close an idle connection at any time; that is no failure of its.
        if was_kept && matches!(outcome, Outcome::Failed(_)) {
            return self.attempt(None, lines).await;
        }
        outcome
    }

    async fn attempt(&mut self, kept: Option<SendRequest<Once>>, lines: Bytes) -> Outcome {
        let mut connection = match kept {
            Some(kept) => kept,
            None => match timeout(CONNECT_TIMEOUT, self.connect()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(reason)) => return self.failed(&reason),
                Err(_) => return self.failed("no connection in time"),
            },
        };
        let request = match self.request(lines) {
            Ok(request) => request,
            Err(error) => return self.failed(&error.to_string()),
        };
        let exchange = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            Ok::<_, hyper::Error>(read_through(answer).await)
        };
        match timeout(SEND_TIMEOUT, exchange).await {
            Ok(Ok((outcome, reusable))) => {
                if reusable {
                    self.connection = Some(connection);
                }
                outcome
            }
            Ok(Err(error)) => self.failed(&in_full(&error)),
            Err(_) => self.failed("no answer in time"),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Once>, String> {
        let server = &self.address.server;
        let stream = TcpStream::connect((server.host.as_str(), server.port))
            .await
            .map_err(|error| error.to_string())?;
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let stream = tls.connect(&server.host, stream).await;
                handshake(stream.map_err(|error| in_full(&*error))?).await
            }
        }
    }

    fn request(&self, lines: Bytes) -> Result<Request<Once>, hyper::http::Error> {
        Request::post(&self.address.path)
            .header(HOST, self.address.server.to_string())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header(USER_AGENT, concat!("broker/", env!("CARGO_PKG_VERSION")))
            .body(Once(Some(lines)))
    }

    fn failed(&self, reason: &str) -> Outcome {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Outcome::Failed(format!("{scheme}://{}: {reason}", self.address.server))
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Once>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| in_full(&error))?;
    // It ends with its sender, or when the server closes.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection of a log sink ended");
        }
    });
    Ok(sender)
}

/// An error with its causes: the reason why a server refuses our certificate comes as one of a read that failed.
fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// What an answer means, and whether its connection can be used again.
async fn read_through(answer: Response<Incoming>) -> (Outcome, bool) {
    let status = answer.status();
    let outcome = if status.is_success() {
        Outcome::Taken
    } else {
        Outcome::Answered {
            status: status.as_u16(),
            retry_after: retry_after(answer.headers()),
        }
    };
    let mut body = answer.into_body();
    let mut read = 0;
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return (outcome, true),
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => return (outcome, false),
        }
        if read > MAX_ANSWER {
            return (outcome, false);
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// A body of one piece.
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|lines| Ok(Frame::data(lines))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |lines| lines.len() as u64))
    }
}
