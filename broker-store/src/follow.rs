//! Following a store from a revision on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker_core::{BoxFuture, Data, Revision, StoreWatch, WatchItem, WatchKeys, queue};
use tokio::time::{Instant, timeout_at};

use crate::event::StoreEvent;
use crate::store::Store;
use crate::watch::Told;

/// The changes of some keys of a store, from a revision on; see [`Store::watch`].
#[derive(Debug)]
#[must_use = "the watch ends when it is dropped"]
pub struct StoreWatcher {
    store: Store,
    keys: WatchKeys,
    told: queue::Receiver<Told>,
    ready: VecDeque<WatchItem>,
    reading: Option<Reading>,
    /// Where it is, if that was not told yet.
    unsaid: Option<Revision>,
    say_at: Instant,
}

/// The entries that are told because the changes are not known any more.
#[derive(Debug)]
struct Reading {
    after: Option<Data>,
    /// Where the store was before the first of them was read.
    began_at: Option<Revision>,
}

/// How a watch begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) told: queue::Receiver<Told>,
    pub(crate) at: Option<Revision>,
    /// What has happened since the revision asked for; `None` if that is not known any more.
    pub(crate) missed: Option<Vec<(Revision, Arc<StoreEvent>)>>,
}

impl StoreWatcher {
    pub(crate) fn new(store: Store, keys: WatchKeys, from: Option<Revision>, start: Start) -> Self {
        let mut watcher = Self {
            store,
            keys,
            told: start.told,
            ready: VecDeque::new(),
            reading: None,
            unsaid: None,
            say_at: Instant::now(),
        };
        match start.missed {
            Some(missed) => {
                watcher
                    .ready
                    .push_back(WatchItem::Position(from.or(start.at)));
                for (at, event) in missed {
                    watcher.take(Some(at), &event);
                }
            }
            None => {
                watcher.ready.push_back(WatchItem::Reset);
                watcher.reading = Some(Reading {
                    after: None,
                    began_at: start.at,
                });
            }
        }
        watcher
    }

    /// What comes next; `None` when the store is closed, or the watch was too slow and has to be begun again.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<WatchItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.reading.is_some() {
                self.read().await?;
                continue;
            }
            let told = match self.unsaid {
                None => self.told.recv().await?,
                Some(at) => match timeout_at(self.say_at, self.told.recv()).await {
                    Ok(told) => told?,
                    Err(_) => return Some(self.say(at)),
                },
            };
            match told {
                Told::Change(at, event) => self.take(at, &event),
                Told::Position(at) => self.unsaid = Some(at),
            }
            // Also while much happens that is not asked for.
            if let Some(at) = self.unsaid
                && self.ready.is_empty()
                && Instant::now() >= self.say_at
            {
                return Some(self.say(at));
            }
        }
    }

    fn say(&mut self, at: Revision) -> WatchItem {
        self.unsaid = None;
        self.say_at = Instant::now() + SAY_EVERY;
        WatchItem::Position(Some(at))
    }

    fn take(&mut self, at: Option<Revision>, event: &StoreEvent) {
        if self.keys.contain(event.key()) {
            self.unsaid = None;
            self.ready.push_back(WatchItem::Change {
                revision: at,
                change: event.to_change(),
            });
        } else {
            self.unsaid = at;
        }
    }

    /// Reads a page of the entries. `None` if the store is closed.
    async fn read(&mut self) -> Option<()> {
        let after = self.reading.as_ref()?.after.clone();
        let page = self.store.scan(after, PAGE).await.ok()?;
        let reading = self.reading.as_mut()?;
        match page.last() {
            Some(last) => reading.after = Some(last.key.clone()),
            None => {
                // What has changed since the beginning is told behind it, once more where an entry was read later.
                self.ready.push_back(WatchItem::Position(reading.began_at));
                self.reading = None;
            }
        }
        let keys = &self.keys;
        let entries = page.into_iter().filter(|entry| keys.contain(&entry.key));
        self.ready.extend(entries.map(WatchItem::Entry));
        Some(())
    }
}

impl StoreWatch for StoreWatcher {
    fn next(&mut self) -> BoxFuture<'_, Option<WatchItem>> {
        Box::pin(self.recv())
    }
}

/// How often a watch whose keys are quiet says where the store is.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Entries read at a time.
const PAGE: usize = 512;
