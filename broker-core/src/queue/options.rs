//! How large a queue may grow and what happens then.

use std::{fmt, num::NonZeroUsize, str::FromStr, time::Duration};

/// What a queue does with an item that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverflowPolicy {
    /// The producer waits, at most as long as [`QueueOptions::block_timeout`] says.
    Block,
    /// The oldest queued items make room.
    DropOldest,
    /// The item is dropped.
    DropNewest,
    /// The queue is cut, and with it the link it belongs to.
    Disconnect,
}

impl OverflowPolicy {
    /// All policies.
    pub const ALL: [Self; 4] = [
        Self::Block,
        Self::DropOldest,
        Self::DropNewest,
        Self::Disconnect,
    ];

    /// The name used in configuration files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::Disconnect => "disconnect",
        }
    }
}

impl fmt::Display for OverflowPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OverflowPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| UnknownPolicy {
                name: name.to_owned(),
            })
    }
}

/// A name that no overflow policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no overflow policy (block, drop_oldest, drop_newest, disconnect)")]
pub struct UnknownPolicy {
    /// The name that was given.
    pub name: String,
}

/// The bounds of a queue. Start from [`QueueOptions::peer`] or [`QueueOptions::local`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueOptions {
    /// Items queued at most.
    pub max_messages: NonZeroUsize,
    /// Sum of the weights of all queued items at most.
    pub max_bytes: NonZeroUsize,
    /// What happens to an item that finds no room.
    pub policy: OverflowPolicy,
    /// How long a producer waits for room under [`OverflowPolicy::Block`].
    pub block_timeout: Duration,
}

impl QueueOptions {
    /// Towards peers: 8192 messages, 64 MiB, drop the oldest, as Zeek sets it.
    #[must_use]
    pub const fn peer() -> Self {
        Self {
            max_messages: DEFAULT_MESSAGES,
            max_bytes: DEFAULT_BYTES,
            policy: OverflowPolicy::DropOldest,
            block_timeout: DEFAULT_BLOCK_TIMEOUT,
        }
    }

    /// Within a process: 8192 messages, 64 MiB, producers wait up to 5 s.
    #[must_use]
    pub const fn local() -> Self {
        Self {
            policy: OverflowPolicy::Block,
            ..Self::peer()
        }
    }

    /// Sets the bound in messages; default 8192. More hides longer bursts and costs memory and
    /// delay; with a handful, every burst overflows.
    #[must_use]
    pub const fn max_messages(mut self, messages: NonZeroUsize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets the bound in bytes; default 64 MiB. Below the size of the largest message, that message
    /// travels alone.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets what happens to an item that finds no room. `Block` loses nothing while the consumer
    /// keeps moving, at the price that producers run at its speed.
    #[must_use]
    pub const fn policy(mut self, policy: OverflowPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how long a producer waits under `Block`; default 5 s. Zero never waits; very long lets
    /// one dead consumer hold its producers that long.
    #[must_use]
    pub const fn block_timeout(mut self, timeout: Duration) -> Self {
        self.block_timeout = timeout;
        self
    }
}

const DEFAULT_MESSAGES: NonZeroUsize = NonZeroUsize::new(8192).expect("8192 is not zero");
const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("64 MiB is not zero");
const DEFAULT_BLOCK_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_found_by_its_name() {
        for policy in OverflowPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!(
            "drop-oldest".parse::<OverflowPolicy>(),
            Err(UnknownPolicy {
                name: "drop-oldest".to_owned()
            })
        );
    }

    #[test]
    fn the_defaults_are_those_of_zeek_towards_peers_and_lossless_inside() {
        let peer = QueueOptions::peer();
        assert_eq!(
            (peer.max_messages.get(), peer.policy),
            (8192, OverflowPolicy::DropOldest)
        );
        assert_eq!(QueueOptions::local(), peer.policy(OverflowPolicy::Block));
    }
}
