//! How fast a store sends: commands are never dropped, so a link that is given more than it can take is cut. A store that
//! sends much looks at the queues towards its peers and lets them drain.
//!
//! It waits for one link at most [`PATIENCE`]; then that link is left to itself until its queue is half empty, so that a
//! slow peer holds nobody for long. If its link is cut then, its clone takes a new snapshot.

use std::collections::HashSet;
use std::time::Duration;

use broker_core::{Endpoint, EndpointId, Topic};
use tokio::time::Instant;

/// What was sent since the queues were last looked at, and which peers are not waited for.
#[derive(Debug, Default)]
pub(super) struct Pace {
    messages: usize,
    bytes: usize,
    lagging: HashSet<EndpointId>,
}

impl Pace {
    /// A command of `len` bytes was sent on `topic`; waits if the queues fill.
    pub(super) async fn after_sending(&mut self, len: usize, endpoint: &Endpoint, topic: &Topic) {
        self.messages += 1;
        self.bytes += len;
        if self.messages < LOOK_AFTER_MESSAGES && self.bytes < LOOK_AFTER_BYTES {
            return;
        }
        (self.messages, self.bytes) = (0, 0);
        let deadline = Instant::now() + PATIENCE;
        while let Some(slow) = self.slow_peer(endpoint, topic) {
            if Instant::now() >= deadline {
                tracing::warn!(peer = %slow, %topic, "a peer does not take store commands as fast as they come, it is not waited for");
                self.lagging.insert(slow);
            } else {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// A peer whose queue is more than half full and that is waited for.
    fn slow_peer(&mut self, endpoint: &Endpoint, topic: &Topic) -> Option<EndpointId> {
        let mut slow = None;
        endpoint.queues_towards(topic, |peer, queue, bounds| {
            let half_full = queue.queued.saturating_mul(2) > bounds.max_messages.get() as u64
                || queue.queued_bytes.saturating_mul(2) > bounds.max_bytes.get() as u64;
            if !half_full {
                self.lagging.remove(&peer);
            } else if !self.lagging.contains(&peer) {
                slow = Some(peer);
            }
        });
        slow
    }
}

/// How long one link is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks at queues that are full.
const PAUSE: Duration = Duration::from_millis(1);

/// Commands between two looks: a fraction of the smallest queue that makes sense.
const LOOK_AFTER_MESSAGES: usize = 32;

/// Bytes between two looks.
const LOOK_AFTER_BYTES: usize = 1 << 20;
