//! The bounds of `ws://`, and what happens where each is reached.

use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{Heartbeat, MAX_PAYLOAD, QueueOptions};
use tungstenite::protocol::WebSocketConfig;

/// The port of `ws://` and `wss://` addresses that name none, as C++ Broker's own server had it (zeek-cluster 7.5).
pub const DEFAULT_PORT: u16 = 9997;

/// The one path there is (broker-wire reference, 4.6).
pub const PATH: &str = "/v1/messages/json";

/// The largest message taken; one that is larger ends the connection with code 1009.
pub const MAX_MESSAGE: usize = MAX_PAYLOAD;

/// The largest first message. Until it has come, a stranger can make a node hold no more than this.
pub const MAX_FIRST_MESSAGE: usize = 9 << 20;

/// How many prefixes a client may ask for; more end the connection.
pub const MAX_SUBSCRIPTIONS: usize = 65_536;

/// How many clients one listener serves at a time; what comes beyond it is closed at once.
pub const MAX_CLIENTS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// How often a client is pinged. One of which nothing was heard from one ping to the next is closed with 1011.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);

/// The request of the upgrade, in bytes.
pub(crate) const MAX_REQUEST: usize = 16 << 10;

/// Bytes that wait for the socket of one connection; whoever has more to send waits.
pub(crate) const MAX_UNSENT: usize = 256 << 10;

/// How much is read from a socket at a time.
pub(crate) const READ_CHUNK: usize = 64 << 10;

/// Messages taken from a client's queue at a time.
pub(crate) const FEED_BATCH: usize = 256;

/// How long the closing of a connection may take, the other side's answer included.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long clients may still be served after the listener was told to stop. Core drains for at most 10 s and says
/// goodbye for at most 3 s in that time.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(15);

/// How long the ack may wait for the node's peers to know of a subscription.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// Received items between the task of a connection and whoever takes them.
pub(crate) const INBOX: usize = 256;

/// How a server we dialled is watched. Zeek does not answer pings while its queue is full (zeek-cluster 7.5), so more
/// patience than with a node of ours; and a sign of life at least every 4 s, since it pings every 5 s.
pub(crate) const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_secs(2),
    timeout: Duration::from_secs(15),
};

/// Messages that wait for one client: whoever publishes waits up to a second for one that stands still. The first
/// message it loses ends the connection, since nothing else in the protocol could tell it.
pub(crate) const fn client_queue() -> QueueOptions {
    QueueOptions::local().block_timeout(Duration::from_secs(1))
}

/// The bounds of one connection that takes messages of up to `max_message` bytes.
pub(crate) fn socket(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        // What is written goes to our own buffer at once, which is where it is counted.
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
        // As Zeek's server does (zeek-cluster 7.1).
        .accept_unmasked_frames(true)
}
