//! The HTTP server of metrics and health: `GET /metrics`, `/healthz`, `/readyz`, and nothing else.
//!
//! It serves whoever reaches its port, so everything is bounded: [`MAX_CONNECTIONS`] at a time (further ones are closed at
//! once), one request a connection, [`MAX_HEAD`] bytes and [`MAX_HEADERS`] headers of it, no body, and [`PATIENCE`] for all of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Monitor;
use super::snapshot::Format;

/// Accepts until it is aborted.
pub(super) async fn serve(listener: TcpListener, monitor: Monitor) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, most likely: others have to close some first.
                tracing::warn!(%error, "metrics: cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(%from, "metrics: too many connections");
            continue;
        };
        let monitor = monitor.clone();
        tokio::spawn(async move {
            converse(stream, from, monitor).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, from: SocketAddr, monitor: Monitor) {
    let service = service_fn(|request: Request<Incoming>| {
        let monitor = monitor.clone();
        async move { Ok::<_, Infallible>(answer(&request, &monitor).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %error, "metrics: bad request"),
        Err(_) => tracing::debug!(%from, "metrics: the client took too long"),
    }
}

async fn answer(request: &Request<Incoming>, monitor: &Monitor) -> Response<String> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        let text = "there are /metrics, /healthz and /readyz\n";
        return reply(StatusCode::NOT_FOUND, TEXT, text.to_owned());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n".to_owned());
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    match path {
        "/metrics" => {
            let format = wanted(request);
            let text = monitor.metrics(format).await;
            reply(StatusCode::OK, format.content_type(), text)
        }
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n".to_owned()),
        _ => {
            let readiness = monitor.readiness().await;
            let status = if readiness.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            let json = serde_json::to_string(&readiness).unwrap_or_default();
            reply(status, "application/json", json + "\n")
        }
    }
}

/// Prometheus asks for OpenMetrics by name; whoever does not gets the older text, which everybody reads.
fn wanted(request: &Request<Incoming>) -> Format {
    let accepts = request.headers().get_all(ACCEPT).iter();
    let asks = |accept: &HeaderValue| {
        accept
            .to_str()
            .is_ok_and(|accept| accept.contains("application/openmetrics-text"))
    };
    if accepts.into_iter().any(asks) {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn reply(status: StatusCode, content: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Connections at a time.
const MAX_CONNECTIONS: usize = 32;

/// Headers of a request.
const MAX_HEADERS: usize = 64;

/// Bytes of a request's head. hyper takes no less.
const MAX_HEAD: usize = 8192;

/// How long a connection may take from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
