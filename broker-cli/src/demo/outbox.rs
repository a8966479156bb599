//! A worker's host events until a proxy has answered for them.
//!
//! In Zeek an event to a proxy that dies is lost. The demo promises that every event is counted, so its events are
//! numbered per worker, kept until the proxy that got them says "counted", and sent again when that proxy goes down or
//! does not answer. A killed proxy may have counted events whose answers never left it; it finds them in its journal
//! when it is started again and claims them. Those that another proxy has counted meanwhile are then known to be
//! counted twice, and [`Outbox::duplicates`] says how many that are.
//!
//! Holds no socket and reads no clock. **Invariant:** all numbers that are not answered lie within [`WINDOW`] of each
//! other, so a proxy need not remember more than that of each worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use broker_core::Address;

/// How far the newest number may be ahead of the oldest one that is not answered.
pub(crate) const WINDOW: u64 = 8192;

/// How long an answer may take before the event is sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The events of one worker.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    published: u64,
    pending: BTreeMap<u64, Pending>,
    /// Who counted the events that were sent more than once.
    resent: HashMap<u64, Vec<String>>,
    /// How often an event was counted by one more proxy.
    again: u64,
    /// Proxies that have claimed what they know since they came up last.
    claimed: BTreeSet<String>,
}

#[derive(Debug)]
struct Pending {
    host: Address,
    /// The proxy it was sent to last; `None` if there was none.
    proxy: Option<String>,
    sent_at: Instant,
    sends: u32,
}

impl Outbox {
    /// Whether one more event may be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.pending
            .keys()
            .next()
            .is_none_or(|oldest| self.published - oldest < WINDOW - 1)
    }

    /// Takes in an event; the caller sends it with the number returned, then says where with [`sent`](Self::sent).
    pub(crate) fn add(&mut self, now: Instant, host: Address) -> u64 {
        self.published += 1;
        self.pending.insert(
            self.published,
            Pending {
                host,
                proxy: None,
                sent_at: now,
                sends: 0,
            },
        );
        self.published
    }

    /// An event was sent to `proxy`, or to nobody since none is up.
    pub(crate) fn sent(&mut self, now: Instant, number: u64, proxy: Option<&str>) {
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.proxy = proxy.map(str::to_owned);
            pending.sent_at = now;
            pending.sends += u32::from(proxy.is_some());
        }
    }

    /// `proxy` has counted these events.
    pub(crate) fn answered(&mut self, proxy: &str, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            if let Some(pending) = self.pending.remove(&number) {
                if pending.sends > 1 {
                    self.resent.insert(number, vec![proxy.to_owned()]);
                }
            } else if let Some(counted) = self.resent.get_mut(&number)
                && !counted.iter().any(|other| other == proxy)
            {
                counted.push(proxy.to_owned());
                self.again += 1;
            }
        }
    }

    /// `proxy` has started and claims these events from its journal; none when it starts for the first time.
    pub(crate) fn claims(&mut self, proxy: &str, numbers: impl IntoIterator<Item = u64>) {
        self.answered(proxy, numbers);
        self.claimed.insert(proxy.to_owned());
    }

    /// `proxy` has gone down: what it did not answer has to be sent again.
    pub(crate) fn lost(&mut self, proxy: &str) {
        self.claimed.remove(proxy);
        for pending in self
            .pending
            .values_mut()
            .filter(|pending| pending.proxy.as_deref() == Some(proxy))
        {
            pending.proxy = None;
        }
    }

    /// The events to be sent again now, in order.
    pub(crate) fn due(&self, now: Instant) -> Vec<(u64, Address)> {
        let overdue = |pending: &Pending| {
            pending.proxy.is_none()
                || now.saturating_duration_since(pending.sent_at) >= ANSWER_TIMEOUT
        };
        self.pending
            .iter()
            .filter(|(_, pending)| overdue(pending))
            .map(|(number, pending)| (*number, pending.host))
            .collect()
    }

    /// Whether every event is answered and every one of `proxies` has said what it knows.
    pub(crate) fn is_settled(&self, mut proxies: impl Iterator<Item = impl AsRef<str>>) -> bool {
        self.pending.is_empty() && proxies.all(|proxy| self.claimed.contains(proxy.as_ref()))
    }

    /// Events so far, each counted once however often it was sent.
    pub(crate) const fn published(&self) -> u64 {
        self.published
    }

    /// How often events were counted by a proxy after another one had counted them.
    pub(crate) const fn duplicates(&self) -> u64 {
        self.again
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host() -> Address {
        Address::from(Ipv4Addr::LOCALHOST)
    }

    fn outbox_with(events: u64, now: Instant, proxy: &str) -> Outbox {
        let mut outbox = Outbox::default();
        for _ in 0..events {
            let number = outbox.add(now, host());
            outbox.sent(now, number, Some(proxy));
        }
        outbox
    }

    #[test]
    fn events_are_kept_until_they_are_answered() {
        let now = Instant::now();
        let mut outbox = outbox_with(3, now, "proxy-1");
        assert_eq!(outbox.due(now), []);
        outbox.answered("proxy-1", [1, 3]);
        outbox.claims("proxy-1", []);
        assert!(!outbox.is_settled(["proxy-1"].iter()));
        assert_eq!(outbox.due(now + ANSWER_TIMEOUT), [(2, host())]);
        outbox.answered("proxy-1", [2]);
        assert!(outbox.is_settled(["proxy-1"].iter()));
        assert_eq!((outbox.published(), outbox.duplicates()), (3, 0));
    }

    #[test]
    fn a_lost_proxys_events_are_sent_again_at_once() {
        let now = Instant::now();
        let mut outbox = outbox_with(2, now, "proxy-1");
        outbox.answered("proxy-1", [1]);
        outbox.lost("proxy-1");
        assert_eq!(outbox.due(now), [(2, host())]);
        outbox.sent(now, 2, Some("proxy-2"));
        assert_eq!(outbox.due(now), []);
    }

    #[test]
    fn an_event_that_two_proxies_counted_is_known_once_the_first_one_is_back() {
        let now = Instant::now();
        let mut outbox = outbox_with(2, now, "proxy-1");
        outbox.lost("proxy-1");
        for (number, _) in outbox.due(now) {
            outbox.sent(now, number, Some("proxy-2"));
        }
        outbox.answered("proxy-2", [1, 2]);
        outbox.claims("proxy-2", []);
        assert!(
            !outbox.is_settled(["proxy-1", "proxy-2"].iter()),
            "proxy-1 has not said what it counted"
        );
        outbox.claims("proxy-1", [1]);
        outbox.claims("proxy-1", [1]);
        assert!(outbox.is_settled(["proxy-1", "proxy-2"].iter()));
        assert_eq!(outbox.duplicates(), 1);
    }

    #[test]
    fn each_further_proxy_that_counted_an_event_is_known() {
        let now = Instant::now();
        let mut outbox = outbox_with(1, now, "proxy-1");
        for next in ["proxy-2", "proxy-3"] {
            outbox.lost(if next == "proxy-2" {
                "proxy-1"
            } else {
                "proxy-2"
            });
            outbox.sent(now, 1, Some(next));
        }
        outbox.answered("proxy-3", [1]);
        for proxy in ["proxy-1", "proxy-2", "proxy-3", "proxy-1"] {
            outbox.claims(proxy, [1]);
        }
        assert_eq!(outbox.duplicates(), 2);
    }

    #[test]
    fn a_claim_answers_for_what_was_not_sent_again_yet() {
        let now = Instant::now();
        let mut outbox = outbox_with(1, now, "proxy-1");
        outbox.lost("proxy-1");
        outbox.claims("proxy-1", [1]);
        assert_eq!(outbox.due(now), []);
        assert_eq!(outbox.duplicates(), 0);
    }

    #[test]
    fn a_second_answer_of_the_same_proxy_is_no_duplicate() {
        let now = Instant::now();
        let mut outbox = outbox_with(1, now, "proxy-1");
        outbox.sent(now, 1, Some("proxy-1"));
        outbox.answered("proxy-1", [1]);
        outbox.answered("proxy-1", [1]);
        assert_eq!(outbox.duplicates(), 0);
    }

    #[test]
    fn the_newest_number_stays_within_the_window_of_the_oldest_unanswered() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        while outbox.has_room() {
            outbox.add(now, host());
        }
        assert_eq!(outbox.published(), WINDOW);
        outbox.answered("p", [2]);
        assert!(!outbox.has_room());
        outbox.answered("p", [1]);
        assert!(outbox.has_room());
    }
}
