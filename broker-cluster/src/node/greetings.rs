//! How event streams stay behind the hellos that came ahead of their events.
//!
//! Hellos reach the driver and every event stream through queues of their own, so a stream may be ahead of the driver. A
//! stream that comes upon a hello therefore waits until the driver has dealt with as many hellos of that process as the
//! stream has seen. Then the node_up it caused has been announced and the pools have the node; only then does the stream
//! go on to what the node said next.
//!
//! **Invariant:** nobody waits for more than [`PATIENCE`]: a hello that the driver never gets (its queue was full for so
//! long that it dropped) holds a stream up for that long.

use std::collections::HashMap;
use std::time::Duration;

use broker_core::{EndpointId, Filter, Message};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::events::ClusterEvent;
use crate::membership::MAX_PEERS;

/// How long a stream waits for the driver at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hellos by process. So many processes have a count of their own, further ones share one.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    by_id: HashMap<EndpointId, u64>,
    others: u64,
    ended: bool,
}

impl Counts {
    fn of(&self, id: EndpointId) -> u64 {
        self.by_id.get(&id).copied().unwrap_or(self.others)
    }

    fn bump(&mut self, id: EndpointId) -> u64 {
        let count = if self.by_id.contains_key(&id) || self.by_id.len() < MAX_PEERS {
            self.by_id.entry(id).or_default()
        } else {
            &mut self.others
        };
        *count += 1;
        *count
    }
}

/// The driver's side: which hellos it has dealt with.
#[derive(Debug)]
pub(super) struct Greetings {
    done: watch::Sender<Counts>,
    topics: Filter,
}

impl Greetings {
    /// `topics` are those the driver gets hellos on.
    pub(super) fn new(topics: Filter) -> Self {
        Self {
            done: watch::Sender::new(Counts::default()),
            topics,
        }
    }

    /// The topics the driver gets hellos on.
    pub(super) const fn topics(&self) -> &Filter {
        &self.topics
    }

    /// The driver has dealt with a hello of `id`.
    pub(super) fn done(&self, id: EndpointId) {
        self.done.send_modify(|counts| {
            counts.bump(id);
        });
    }

    /// The driver has ended: nobody need wait any more.
    pub(super) fn end(&self) {
        self.done.send_modify(|counts| counts.ended = true);
    }

    /// For a stream that begins now. To be called before it subscribes: what is counted in between only makes it wait
    /// less.
    pub(super) fn watch(&self) -> GreetingWatch {
        GreetingWatch {
            seen: self.done.borrow().clone(),
            done: self.done.subscribe(),
            topics: self.topics.clone(),
            pending: None,
        }
    }
}

/// A stream's side: which hellos it has come by.
#[derive(Debug)]
pub(super) struct GreetingWatch {
    seen: Counts,
    done: watch::Receiver<Counts>,
    topics: Filter,
    /// The hello to wait for, by process and number, and until when.
    pending: Option<(EndpointId, u64, Instant)>,
}

impl GreetingWatch {
    /// Whether events of this name may be hellos that the driver gets too.
    pub(super) fn concerns(&self, name: &[u8], message: &Message) -> bool {
        name == ClusterEvent::HELLO && self.topics.matches(message.topic().as_bytes())
    }

    /// The stream has come upon a hello of `id`.
    pub(super) fn saw(&mut self, id: EndpointId) {
        let number = self.seen.bump(id);
        self.pending = Some((id, number, Instant::now() + PATIENCE));
    }

    /// Whether the stream may go on now.
    pub(super) fn may_go_on(&mut self) -> bool {
        let Some((id, number, until)) = self.pending else {
            return true;
        };
        let done = {
            let counts = self.done.borrow();
            counts.ended || counts.of(id) >= number
        };
        let done = done || self.done.has_changed().is_err() || Instant::now() >= until;
        if done {
            self.pending = None;
        }
        done
    }

    /// Waits until the stream may go on.
    ///
    /// # Cancel safety
    /// Safe: the next call waits on.
    pub(super) async fn go_on(&mut self) {
        if let Some((id, number, until)) = self.pending {
            let dealt_with = self
                .done
                .wait_for(|counts| counts.ended || counts.of(id) >= number);
            if timeout_at(until, dealt_with).await.is_err() {
                tracing::warn!(%id, "events overtake the hello of their sender: it was lost on a queue that was full");
            }
            self.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> EndpointId {
        EndpointId::from_bytes([n; 16])
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_for_the_hello_it_saw_and_for_no_other() {
        let greetings = Greetings::new(Filter::new());
        greetings.done(id(1));
        let mut watch = greetings.watch();
        assert!(watch.may_go_on());
        watch.saw(id(1));
        assert!(!watch.may_go_on());
        greetings.done(id(2));
        assert!(!watch.may_go_on());
        greetings.done(id(1));
        let before = Instant::now();
        watch.go_on().await;
        assert!(watch.may_go_on());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hello_that_never_reaches_the_driver_costs_a_bounded_wait() {
        let greetings = Greetings::new(Filter::new());
        let mut watch = greetings.watch();
        watch.saw(id(1));
        let before = Instant::now();
        watch.go_on().await;
        assert_eq!(before.elapsed(), PATIENCE);
        assert!(watch.may_go_on());
    }

    #[tokio::test(start_paused = true)]
    async fn without_driver_nobody_waits() {
        let greetings = Greetings::new(Filter::new());
        let mut watch = greetings.watch();
        watch.saw(id(1));
        greetings.end();
        assert!(watch.may_go_on());
    }

    #[test]
    fn strangers_without_end_share_a_count() {
        let mut counts = Counts::default();
        for n in 0..2 * MAX_PEERS as u64 {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            counts.bump(EndpointId::from_bytes(bytes));
        }
        assert_eq!(
            (counts.by_id.len(), counts.others),
            (MAX_PEERS, MAX_PEERS as u64)
        );
    }
}
