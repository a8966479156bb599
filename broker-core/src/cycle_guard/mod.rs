//! Finding cycles that messages cannot be stopped in, and opening them.
//!
//! Links between our own nodes number messages, so a message that comes back is known. C++ Broker's frames carry
//! nothing of the kind: in a cycle through forwarding C++ nodes a message goes round for ever (broker-wire reference,
//! 2.3). But such a node forwards a ping with a nil receiver like data and shows it to no application. So before a
//! message is forwarded over a link that does not number, or that came over one, a probe goes ahead of it on
//! the same topic:
//!
//! ```text
//! "LUP" | prober's endpoint ID 16 | secret of the link it was sent over 16 | number u64
//! ```
//!
//! Frames keep their order, so if there is a cycle the probe is back before the message. What comes back over link B
//! after it was sent over link A says that A and B are joined elsewhere, for this topic. (The secret keeps a peer from
//! saying so of links that it has never seen.) Of links that are joined only the first is then used for
//! forwarding, in either direction: whoever is behind the others is also behind that one. (To close only the pair would
//! not do: two such rings at one node feed each other.) Joints are asked about again and again, and forgotten when the probes stay away.
//!
//! Several of our nodes may stand in one cycle, and if each opened it, it would fall apart. So a node at the
//! border to links that do not number lets only the probes of smaller IDs pass: exactly the probe of the
//! smallest such node makes it all the way round.
//!
//! The machine holds no socket and reads no clock.
//!
//! **Bounds:** [`MAX_PROBED`] topics and links remembered as probed, [`MAX_RELAYED`] probes of others, [`MAX_JOINTS`]
//! joints.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use crate::id::EndpointId;
use crate::topic::Topic;

/// A link as the guard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuardedLink {
    /// Unlike that of any other link of this endpoint, ever; younger links have bigger ones.
    pub(crate) serial: u64,
    /// Random bytes that only those know who got a probe over this link.
    pub(crate) secret: EndpointId,
    /// Whether it keeps the numbers of messages.
    pub(crate) numbered: bool,
    /// Whether the peer forwards pings as C++ does.
    pub(crate) forwards_pings: bool,
}

impl GuardedLink {
    /// Whether a cycle through it would go unnoticed without probes, and can be found by them.
    const fn is_blind(self) -> bool {
        !self.numbered && self.forwards_pings
    }

    /// Of joined links the one with the least is used: one that numbers, then the oldest.
    const fn rank(self) -> (bool, u64) {
        (self.is_blind(), self.serial)
    }
}

/// What to do with a message that is to be forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Whether it may pass.
    pub(crate) open: bool,
    /// The payload of a ping with nil receiver to send first, over the same link and on the same topic.
    pub(crate) probe: Option<Bytes>,
}

/// What a ping with nil receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Nothing of this module.
    Foreign,
    /// Ours, and it has come back: nothing more to do with it.
    Returned {
        /// The link it was sent over, if it is the first to tell of these two.
        joined: Option<u64>,
    },
    /// Another node's: to be forwarded over those links that [`CycleGuard::passes`] agrees to.
    Relay(EndpointId),
    /// Another node's that has been here.
    Seen,
}

/// The state of one endpoint.
#[derive(Debug)]
pub(crate) struct CycleGuard {
    id: EndpointId,
    /// The links that were probed, by their secrets.
    links: HashMap<EndpointId, GuardedLink>,
    /// Probes sent.
    count: u64,
    /// When a topic was last probed over a link.
    probed: HashMap<(u64, Topic), Instant>,
    joints: HashMap<Topic, Vec<Joint>>,
    /// Pairs of links that somebody was told of.
    told: HashSet<(u64, u64)>,
    relayed: Relayed,
}

/// Two links that are joined elsewhere.
#[derive(Clone, Copy, Debug)]
struct Joint {
    first: GuardedLink,
    second: GuardedLink,
    /// Probes sent since the last one that came back.
    unanswered: u32,
    ask_at: Instant,
}

/// The probes of others that were here lately.
#[derive(Debug, Default)]
struct Relayed {
    known: HashSet<Bytes>,
    order: VecDeque<Bytes>,
}

impl CycleGuard {
    /// The guard of endpoint `id`.
    pub(crate) fn new(id: EndpointId) -> Self {
        Self {
            id,
            links: HashMap::new(),
            count: 0,
            probed: HashMap::new(),
            joints: HashMap::new(),
            told: HashSet::new(),
            relayed: Relayed::default(),
        }
    }

    /// Whether the guard has a say in what goes from one link to the other. Where it has none, no lock need be taken.
    pub(crate) const fn concerns(from: GuardedLink, to: GuardedLink) -> bool {
        from.is_blind() || to.is_blind()
    }

    /// A message of `topic` that came over `from` wants to go over `to`.
    pub(crate) fn forward(
        &mut self,
        now: Instant,
        from: GuardedLink,
        to: GuardedLink,
        topic: &Topic,
    ) -> Passage {
        let open = self.is_open(from, to, topic);
        let probe = (open
            && to.forwards_pings
            && Self::concerns(from, to)
            && self.is_due(now, to.serial, topic))
        .then(|| self.probe(to));
        Passage { open, probe }
    }

    /// A ping with nil receiver came over `from` on `topic`.
    pub(crate) fn arrived(
        &mut self,
        now: Instant,
        from: GuardedLink,
        topic: &Topic,
        payload: &Bytes,
    ) -> Probe {
        let Some((prober, secret)) = parse(payload) else {
            return Probe::Foreign;
        };
        if prober == self.id {
            let sent_over = self.links.get(&secret).copied();
            // What comes back over the link it was sent over tells of a cycle beyond it, where we can do nothing.
            let joined = sent_over
                .filter(|link| link.serial != from.serial && self.join(now, *link, from, topic));
            return Probe::Returned {
                joined: joined.map(|link| link.serial),
            };
        }
        if self.relayed.remember(payload) {
            Probe::Relay(prober)
        } else {
            Probe::Seen
        }
    }

    /// Whether a probe of `prober` that came over `from` may go over `to`.
    pub(crate) fn passes(
        &self,
        prober: EndpointId,
        from: GuardedLink,
        to: GuardedLink,
        topic: &Topic,
    ) -> bool {
        to.forwards_pings
            && self.is_open(from, to, topic)
            && (prober < self.id || !Self::concerns(from, to))
    }

    /// A link has ended.
    pub(crate) fn forget(&mut self, serial: u64) {
        self.links.retain(|_, link| link.serial != serial);
        self.probed.retain(|(link, _), _| *link != serial);
        self.told.retain(|(a, b)| *a != serial && *b != serial);
        self.joints.retain(|_, joints| {
            joints.retain(|joint| joint.first.serial != serial && joint.second.serial != serial);
            !joints.is_empty()
        });
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.joints
            .values()
            .flatten()
            .map(|joint| joint.ask_at)
            .min()
    }

    /// Time has passed: what to send, as link, topic and payload of pings with nil receiver.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<(u64, Topic, Bytes)> {
        let mut due = Vec::new();
        self.joints.retain(|topic, joints| {
            joints.retain_mut(|joint| {
                if now < joint.ask_at {
                    return true;
                }
                if joint.unanswered >= MAX_UNANSWERED {
                    return false;
                }
                joint.unanswered += 1;
                joint.ask_at = now + ASK_AGAIN;
                due.push((joint.first, topic.clone()));
                true
            });
            !joints.is_empty()
        });
        due.into_iter()
            .map(|(link, topic)| {
                let probe = self.probe(link);
                (link.serial, topic, probe)
            })
            .collect()
    }

    /// Notes that two links are joined; whether that is news about these two.
    fn join(&mut self, now: Instant, a: GuardedLink, b: GuardedLink, topic: &Topic) -> bool {
        let (first, second) = if a.rank() < b.rank() { (a, b) } else { (b, a) };
        if !Self::concerns(first, second) {
            return false;
        }
        let ask_at = now + ASK_AGAIN;
        let known = self.joints.get_mut(topic).and_then(|joints| {
            joints
                .iter_mut()
                .find(|joint| joint.first == first && joint.second == second)
        });
        if let Some(joint) = known {
            joint.unanswered = 0;
            joint.ask_at = ask_at;
            return false;
        }
        if self.joints.values().map(Vec::len).sum::<usize>() >= MAX_JOINTS {
            return false;
        }
        self.joints
            .entry(topic.detached())
            .or_default()
            .push(Joint {
                first,
                second,
                unanswered: 0,
                ask_at,
            });
        self.told.insert((first.serial, second.serial))
    }

    fn is_open(&self, from: GuardedLink, to: GuardedLink, topic: &Topic) -> bool {
        if !Self::concerns(from, to) {
            // Numbers see to it.
            return true;
        }
        let Some(joints) = self.joints.get(topic) else {
            return true;
        };
        // Of links that number all may be used: what comes over several of them is known.
        [from, to]
            .into_iter()
            .all(|link| link.numbered || first_of(joints, link) == link)
    }

    fn is_due(&mut self, now: Instant, serial: u64, topic: &Topic) -> bool {
        let key = (serial, topic.clone());
        if self
            .probed
            .get(&key)
            .is_some_and(|last| now < *last + PROBE_AGAIN)
        {
            return false;
        }
        if self.probed.len() >= MAX_PROBED {
            self.probed.retain(|_, last| now < *last + PROBE_AGAIN);
            if self.probed.len() >= MAX_PROBED {
                self.probed.clear();
            }
        }
        // The topic may be a slice of a large buffer, which it must not keep alive.
        self.probed.insert((serial, topic.detached()), now);
        true
    }

    fn probe(&mut self, link: GuardedLink) -> Bytes {
        self.links.insert(link.secret, link);
        self.count += 1;
        let mut payload = BytesMut::with_capacity(PROBE_LEN);
        payload.put_slice(MARK);
        payload.put_slice(self.id.as_bytes());
        payload.put_slice(link.secret.as_bytes());
        payload.put_u64(self.count);
        payload.freeze()
    }
}

impl Relayed {
    /// Whether it was not known.
    fn remember(&mut self, payload: &[u8]) -> bool {
        if self.known.contains(payload) {
            return false;
        }
        if self.order.len() >= MAX_RELAYED
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
        let payload = Bytes::copy_from_slice(payload);
        self.order.push_back(payload.clone());
        self.known.insert(payload)
    }
}

/// The first of the links that `link` is joined with, itself included.
fn first_of(joints: &[Joint], link: GuardedLink) -> GuardedLink {
    let mut reached = vec![link];
    let mut at = 0;
    while let Some(link) = reached.get(at).copied() {
        for joint in joints {
            for (one, other) in [(joint.first, joint.second), (joint.second, joint.first)] {
                if one == link && !reached.contains(&other) {
                    reached.push(other);
                }
            }
        }
        at += 1;
    }
    reached
        .into_iter()
        .min_by_key(|link| link.rank())
        .unwrap_or(link)
}

/// The prober and the secret of a probe.
fn parse(payload: &[u8]) -> Option<(EndpointId, EndpointId)> {
    let rest = payload.strip_prefix(MARK)?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (secret, rest) = rest.split_first_chunk::<16>()?;
    (rest.len() == 8).then_some((EndpointId::from_bytes(*id), EndpointId::from_bytes(*secret)))
}

const MARK: &[u8; 3] = b"LUP";
const PROBE_LEN: usize = 3 + 16 + 16 + 8;
/// How often the same topic is probed over the same link while messages pass.
const PROBE_AGAIN: Duration = Duration::from_secs(2);
/// How often a joint is asked about.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// After so many probes that did not come back a joint is forgotten.
const MAX_UNANSWERED: u32 = 3;
/// Topics and links remembered as probed.
pub(crate) const MAX_PROBED: usize = 4096;
/// Probes of others remembered.
pub(crate) const MAX_RELAYED: usize = 4096;
/// Joints remembered, over all topics.
pub(crate) const MAX_JOINTS: usize = 4096;

#[cfg(test)]
mod tests;
