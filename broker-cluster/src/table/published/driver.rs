//! The task of a published table: what others publish in, and what waits for its time out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_core::convert::FromArgs;
use broker_core::zeek::{Message as ZeekMessage, MessageView};
use broker_core::{Data, FromData, Message, Subscriber, ToData};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::builder::Policy;
use super::wire::{CHANGE_EVENT, ChangeHeader, ChangeInfo};
use super::{Inner, now};
use crate::panic::caught;

pub(super) struct Driver<K, V> {
    inner: Arc<Inner<K, V>>,
    subscriber: Subscriber,
    policy: Option<Policy>,
    /// No handle is left.
    dropped: CancellationToken,
    own_id: String,
}

impl<K, V> Driver<K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    pub(super) fn new(
        inner: Arc<Inner<K, V>>,
        subscriber: Subscriber,
        policy: Option<Policy>,
        dropped: CancellationToken,
    ) -> Self {
        Self {
            own_id: inner.endpoint.id().to_string(),
            inner,
            subscriber,
            policy,
            dropped,
        }
    }

    pub(super) async fn run(mut self) {
        let endpoint = self.inner.endpoint.clone();
        loop {
            let due = self.inner.read().due();
            let timer = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = endpoint.stopping() => break,
                () = self.dropped.cancelled() => break,
                () = timer => {
                    self.inner.write().handle_timeout(now(), BATCH);
                    self.inner.publish_outgoing();
                    self.tell();
                }
                message = self.subscriber.recv() => match message {
                    Some(message) => self.message(&message),
                    None => break,
                },
                () = self.inner.wake.notified() => {}
            }
        }
        self.inner.write().flush(Instant::now());
        self.inner.publish_outgoing();
        self.inner.listeners.close();
    }

    fn message(&self, message: &Message) {
        if let Ok(Ok(view)) = message.view().map(MessageView::parse) {
            self.view(view);
        }
    }

    fn view(&self, view: MessageView<'_>) {
        match view {
            MessageView::Event { name, .. } if name == CHANGE_EVENT.as_bytes() => {
                if let Ok(ZeekMessage::Event(event)) = ZeekMessage::from_parts(view) {
                    self.changes(&event.args);
                }
            }
            MessageView::Batch(batch) => batch.iter().for_each(|message| self.view(message)),
            _ => {}
        }
    }

    fn changes(&self, args: &[Data]) {
        let read = <(ChangeHeader, Vec<Data>)>::from_args(args);
        let (header, infos) = match read {
            Ok(read) => read,
            Err(error) => {
                return self
                    .inner
                    .complain(&format!("changes that cannot be read: {error}"));
            }
        };
        if header.id != self.inner.name {
            return;
        }
        let mut changes = Vec::new();
        for info in &infos {
            match ChangeInfo::from_data(info) {
                Ok(info) => changes.push(info),
                Err(error) => self.skip(1, &error),
            }
        }
        let is_wanted = match &self.policy {
            None => true,
            // What nobody could judge is left out.
            Some(policy) => caught(|| policy(&header, &changes)).unwrap_or_else(|panic| {
                self.inner
                    .complain(&format!("the policy panicked: {panic}"));
                false
            }),
        };
        if header.node_id == self.own_id {
            return;
        }
        if !is_wanted {
            let counter = &self.inner.counters.skipped;
            counter.fetch_add(changes.len() as u64, Ordering::Relaxed);
            return;
        }
        let mut changes = changes.into_iter();
        // In portions, so that no reader waits for a whole table.
        while changes.len() > 0 {
            let mut skipped = Vec::new();
            let mut state = self.inner.write();
            for info in changes.by_ref().take(BATCH) {
                match state.apply(Instant::now(), info) {
                    Ok(()) => {
                        self.inner.counters.applied.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => skipped.push(error),
                }
            }
            drop(state);
            skipped.iter().for_each(|error| self.skip(1, error));
            self.tell();
        }
    }

    fn skip(&self, count: u64, why: &dyn std::fmt::Display) {
        let counter = &self.inner.counters.skipped;
        counter.fetch_add(count, Ordering::Relaxed);
        self.inner.complain(&format!("a change is skipped: {why}"));
    }

    fn tell(&self) {
        let changes = self.inner.write().take_changes();
        self.inner.listeners.tell(changes);
    }
}

/// Changes applied, or elements expired, under one lock.
const BATCH: usize = 128;
