//! Which handlers there are, by name and priority.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use broker_core::queue::Sender;
use broker_core::{ByteString, QueueOptions};

use super::call::Call;
use super::dispatcher::Item;

/// A registered handler.
pub(super) struct Entry {
    pub(super) name: ByteString,
    pub(super) priority: i32,
    pub(super) call: Call,
    /// Cleared when the handler is taken back.
    pub(super) active: AtomicBool,
    /// The queue of its own it asked for, and, once its task runs, the way in.
    pub(super) queue: Option<(QueueOptions, OnceLock<Sender<Arc<Item>>>)>,
}

/// Handlers by name, each list by priority, the highest first, and within one in the order of registration.
#[derive(Default)]
pub(super) struct Table {
    by_name: HashMap<ByteString, Arc<[Arc<Entry>]>>,
}

impl Table {
    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let list = self.by_name.entry(entry.name.clone()).or_default();
        let at = list.partition_point(|other| other.priority >= entry.priority);
        let mut longer = list.to_vec();
        longer.insert(at, entry);
        *list = longer.into();
    }

    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        if let Some(list) = self.by_name.get_mut(&entry.name) {
            *list = list
                .iter()
                .filter(|other| !Arc::ptr_eq(other, entry))
                .cloned()
                .collect();
            if list.is_empty() {
                self.by_name.remove(&entry.name);
            }
        }
    }

    /// The handlers of `name`, to be called in this order.
    pub(super) fn of(&self, name: &[u8]) -> Option<Arc<[Arc<Entry>]>> {
        self.by_name.get(name).cloned()
    }

    /// Every handler.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_name.values().flat_map(|list| list.iter())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}
