//! The bounds of `broker://`.

use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{Heartbeat, MAX_PAYLOAD, Topic};

/// The port of `broker://` and `brokers://` addresses that name none, as Zeek has it.
pub const DEFAULT_PORT: u16 = 9999;

/// The largest frame that is read, in bytes behind its length: the largest payload and topic with the longest
/// header. A larger one is skipped as it comes, without being held.
pub const MAX_FRAME: usize = MAX_PAYLOAD + Topic::MAX_LEN + 61;

/// The largest frame taken while hands are being shaken: a filter is at most 8 MiB.
pub const MAX_HANDSHAKE_FRAME: usize = 9 << 20;

/// C++ Broker closes a connection on longer ones (broker-wire reference, 1.1), and so do we: there is no
/// point in skipping what nobody may send.
pub const MAX_LEGAL_FRAME: usize = 2_147_483_643;

/// How many connections one listener serves at a time by default; more are closed at once.
pub const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");

/// How a peer is watched: a C++ node never speaks unasked, so it is asked every five seconds.
pub const HEARTBEAT: Heartbeat = Heartbeat {
    interval: Duration::from_secs(5),
    timeout: Duration::from_secs(15),
};

/// How much is read from a socket at a time: this much where little comes, so that an idle link holds little ...
pub(crate) const MIN_READ: usize = 16 << 10;
/// ... and up to this where there is always more, so that a reader wakes up seldom.
pub(crate) const MAX_READ: usize = 512 << 10;

/// How many messages a reader hands on at a time.
pub(crate) const MAX_ENVELOPES_PER_READ: usize = 4096;

/// How long a refused connection may take to read why.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
