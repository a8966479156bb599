//! Object numbers: what tells the entities of one endpoint apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::{EndpointId, EntityId};

/// Gives out the entity IDs of one endpoint, each once. Clones share the numbers.
#[derive(Clone, Debug)]
pub struct EntityIds {
    endpoint: EndpointId,
    last: Arc<AtomicU64>,
}

impl EntityIds {
    /// The IDs of `endpoint`, from object number 1 on.
    #[must_use]
    pub fn new(endpoint: EndpointId) -> Self {
        Self {
            endpoint,
            last: Arc::default(),
        }
    }

    /// The next ID.
    #[must_use]
    pub fn next_id(&self) -> EntityId {
        EntityId::new(self.endpoint, self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
