//! The channel between a master and its clones: a numbered stream with acknowledgements and re-sending, over links that
//! may be cut (wire reference 7.4 to 7.6).
//!
//! A [`Producer`] numbers messages, keeps them until every consumer has acknowledged them and sends them again on
//! request; a [`Consumer`] puts them back in order and asks for what is missing. A master produces its updates and
//! consumes the writes of each clone; a clone does the reverse.
//!
//! **Invariant:** neither knows a socket or a clock: time is the number of calls to `tick`. Every buffer has a bound.

mod consumer;
mod producer;

pub use consumer::{Consumer, ConsumerLimits, Delivery, Upkeep};
pub use producer::{Producer, ProducerLimits, Transmit};

use std::time::Duration;

/// How long one tick is. Clones of C++ Broker use this whatever their configuration says.
pub const TICK: Duration = Duration::from_millis(100);

/// The intervals of a channel, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two keepalives of a producer that has nothing to say, and between two acknowledgements of a consumer.
    pub heartbeat: u16,
    /// Without progress before a consumer asks for what is missing, and between two attempts to attach.
    pub nack_timeout: u16,
    /// Heartbeats without a word before a producer gives up a consumer.
    pub connection_timeout: u16,
}

impl Default for Timers {
    /// 500 ms, 200 ms, and 50 s.
    fn default() -> Self {
        Self {
            heartbeat: 5,
            nack_timeout: 2,
            connection_timeout: 100,
        }
    }
}
