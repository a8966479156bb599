//! The bounds of a peering stream.

use broker_core::MAX_PAYLOAD;

/// The largest gRPC message taken or sent, in bytes: the largest payload, a topic, and some. It bounds
/// what one connection can make a node hold before it is looked at.
pub const MAX_FRAME: usize = MAX_PAYLOAD + (128 << 10);

/// The largest gRPC message taken before both sides are peers. A hello carries the whole filter,
/// which is at most 8 MiB.
pub const MAX_HANDSHAKE_FRAME: usize = 9 << 20;

/// At this size a sender starts a new batch. Small enough that a reader who keeps one message of a
/// batch keeps little else alive, large enough that its cost is spread over many messages.
pub const BATCH_TARGET: usize = 256 << 10;

/// How many messages a reader hands on at a time; the rest of a batch stays where it is until it
/// comes back for more, so that a frame full of empty messages cannot blow up in memory.
pub const MAX_ENVELOPES_PER_READ: usize = 4096;
