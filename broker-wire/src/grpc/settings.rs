//! How we speak HTTP/2, both ways round, and the bounds of a listener.

use std::num::NonZeroUsize;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::Tasks;

/// The port of `grpc://` addresses that name none.
pub const DEFAULT_PORT: u16 = 9998;

/// How many connections one listener serves at a time by default; more are closed at once.
pub const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// How many calls one connection may have open at a time; a peering has exactly one.
pub const MAX_STREAMS: u32 = 128;

/// How many unread bytes one call may have on the way to us: enough that the next batch is on the way
/// while this one is read, on any network a cluster runs on.
pub const STREAM_WINDOW: u32 = 8 << 20;

/// How many unread bytes all calls of a connection may have on the way to us. This, too, bounds what an
/// idle reader makes a node hold for one connection.
pub const CONNECTION_WINDOW: u32 = 16 << 20;

/// The largest HTTP/2 frame we take. A batch then arrives in one piece and is read where it lies.
const MAX_HTTP2_FRAME: u32 = 1 << 20;

/// Headers of one request, in bytes. Nothing of ours has more than a few hundred.
const MAX_HEADERS: u32 = 16 << 10;

/// Bytes one call may have written without the socket having taken them.
const SEND_BUFFER: usize = 1 << 20;

/// A client or server that is silent for this long is pinged on the HTTP/2 level ...
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and given up if it does not answer for this long. (Peerings have the heartbeats of core.)
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an ending connection may take to write what it still has.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a client without calls may take to answer the goodbye of a listener that stops. It is asked, so that a call
/// that is on its way is refused rather than lost; one that does not answer is not waited for.
pub(crate) const IDLE_GRACE: Duration = Duration::from_millis(250);

/// How long calls may go on after the listener was told to stop. Core drains for at most 10 s and says
/// goodbye for at most 3 s in that time.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(15);

/// Frames between a link's writer and the connection; together with [`SEND_BUFFER`] all that is on the
/// way inside this process.
pub(crate) const FRAMES_IN_FLIGHT: usize = 2;

pub(crate) fn server() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_HTTP2_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

pub(crate) fn client(
    tasks: Tasks,
    keep_alive: KeepAlive,
) -> hyper::client::conn::http2::Builder<Tasks> {
    let mut builder = hyper::client::conn::http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_HTTP2_FRAME)
        .max_header_list_size(MAX_HEADERS)
        .max_send_buf_size(SEND_BUFFER);
    if keep_alive == KeepAlive::Pinged {
        builder
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
    }
    builder
}

/// How a dialled connection notices that the other side has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// By pings of HTTP/2.
    Pinged,
    /// Whoever uses it sees to that.
    Elsewhere,
}
