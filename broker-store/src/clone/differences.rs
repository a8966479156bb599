//! What a new content changes, told shard by shard: a large store's differences are never all in memory at once.

use std::sync::Arc;

use broker_core::{EntityId, Revision};

use crate::content::{Content, Shard};
use crate::event::StoreEvent;

/// The differences between a former content and the present one, which must not change meanwhile.
#[derive(Debug)]
pub(super) struct Differences {
    store: Arc<str>,
    former: std::vec::IntoIter<Shard>,
    shard: usize,
    publisher: EntityId,
    /// Where whoever stops half-way has to go on from: before all of it.
    pub(super) before: Option<Revision>,
}

impl Differences {
    pub(super) fn new(
        store: Arc<str>,
        former: Vec<Shard>,
        publisher: EntityId,
        before: Option<Revision>,
    ) -> Self {
        Self {
            store,
            former: former.into_iter(),
            shard: 0,
            publisher,
            before,
        }
    }

    /// Some more of them; `None` is the end.
    pub(super) fn next(&mut self, content: &Content) -> Option<Vec<StoreEvent>> {
        let mut former = self.former.next()?;
        let mut events = Vec::new();
        content.for_each_in(self.shard, |key, entry| match former.remove(key) {
            Some(old) if old.value == entry.value => {}
            old => {
                let (store, key) = (self.store.clone(), key.clone());
                let (new, publisher) = (entry.value.clone(), self.publisher);
                events.push(match old {
                    None => StoreEvent::Insert {
                        store,
                        key,
                        value: new,
                        expiry: None,
                        publisher,
                    },
                    Some(old) => StoreEvent::Update {
                        store,
                        key,
                        old: old.value,
                        new,
                        expiry: None,
                        publisher,
                    },
                });
            }
        });
        events.extend(former.into_keys().map(|key| StoreEvent::Erase {
            store: self.store.clone(),
            key,
            publisher: self.publisher,
        }));
        self.shard += 1;
        Some(events)
    }
}
