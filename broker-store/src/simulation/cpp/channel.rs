//! The channel of C++ Broker as the wire reference describes it, 7.4 and 7.5.

use std::collections::{BTreeMap, VecDeque};

use broker_core::EntityId;

use super::store::command::Content;

/// The sending side. The first message has number 2.
#[derive(Default)]
pub(crate) struct Producer {
    sent: u64,
    tick: u64,
    last_broadcast: u64,
    buffer: VecDeque<(u64, Content)>,
    paths: Vec<Path>,
    pub(crate) says: Vec<Says>,
}

struct Path {
    to: EntityId,
    offset: u64,
    acked: u64,
    last_seen: u64,
}

/// What a producer wants said.
pub(crate) enum Says {
    Handshake {
        to: EntityId,
        offset: u64,
    },
    Message {
        to: Option<EntityId>,
        seq: u64,
        content: Content,
    },
    Failed {
        to: EntityId,
        seq: u64,
    },
    Keepalive {
        seq: u64,
    },
}

impl Producer {
    /// The number of the last message.
    pub(crate) const fn seq(&self) -> u64 {
        self.sent + 1
    }

    pub(crate) fn has(&self, consumer: EntityId) -> bool {
        self.paths.iter().any(|path| path.to == consumer)
    }

    /// The consumers that have not acknowledged anything, with their offsets.
    pub(crate) fn unacknowledged(&self) -> Vec<(EntityId, u64)> {
        let fresh = self.paths.iter().filter(|path| path.acked == 0);
        fresh.map(|path| (path.to, path.offset)).collect()
    }

    /// Without a consumer the message is gone and its number is not used.
    pub(crate) fn produce(&mut self, content: Content) {
        if self.paths.is_empty() {
            return;
        }
        self.sent += 1;
        self.last_broadcast = self.tick;
        let seq = self.seq();
        self.buffer.push_back((seq, content.clone()));
        self.says.push(Says::Message {
            to: None,
            seq,
            content,
        });
    }

    pub(crate) fn add(&mut self, to: EntityId) {
        let offset = self.seq();
        self.paths.push(Path {
            to,
            offset,
            acked: 0,
            last_seen: self.tick,
        });
        self.says.push(Says::Handshake { to, offset });
    }

    pub(crate) fn ack(&mut self, from: EntityId, seq: u64) {
        let Some(path) = self.paths.iter_mut().find(|path| path.to == from) else {
            return;
        };
        if seq < path.acked {
            return;
        }
        path.last_seen = self.tick;
        path.acked = seq;
        self.release();
    }

    pub(crate) fn nack(&mut self, from: EntityId, seqs: &[u64]) {
        let Some(path) = self.paths.iter_mut().find(|path| path.to == from) else {
            if seqs == [0] {
                self.add(from);
            }
            return;
        };
        path.last_seen = self.tick;
        if !seqs.is_sorted() {
            self.paths.retain(|path| path.to != from);
            return;
        }
        match seqs.first() {
            None => {}
            Some(0) => {
                let offset = path.offset;
                self.says.push(Says::Handshake { to: from, offset });
            }
            Some(first) => {
                self.ack(from, first - 1);
                for &seq in seqs {
                    let kept = self.buffer.iter().find(|(number, _)| *number == seq);
                    self.says.push(match kept {
                        Some((_, content)) => Says::Message {
                            to: Some(from),
                            seq,
                            content: content.clone(),
                        },
                        None => Says::Failed { to: from, seq },
                    });
                }
            }
        }
    }

    pub(crate) fn tick(&mut self) {
        self.tick += 1;
        if self.last_broadcast + HEARTBEAT == self.tick {
            self.last_broadcast = self.tick;
            self.says.push(Says::Keepalive { seq: self.seq() });
        }
        let (tick, before) = (self.tick, self.paths.len());
        self.paths
            .retain(|path| tick - path.last_seen < HEARTBEAT * CONNECTION_TIMEOUT);
        if self.paths.is_empty() {
            self.buffer.clear();
        } else if self.paths.len() < before {
            self.release();
        }
    }

    /// For tests of what is lost for good.
    pub(crate) fn forget_buffer(&mut self) {
        self.buffer.clear();
    }

    fn release(&mut self) {
        let acked = self.paths.iter().map(|path| path.acked).min().unwrap_or(0);
        self.buffer.retain(|(seq, _)| *seq > acked);
    }
}

/// The receiving side.
pub(crate) struct Consumer {
    /// 0 is not initialised.
    pub(crate) next: u64,
    last: u64,
    buffer: BTreeMap<u64, Option<Content>>,
    ticks: u64,
    idle: u64,
    next_at_last_tick: u64,
    heartbeat: u64,
    nack_timeout: u64,
}

/// What a consumer wants said.
pub(crate) enum Wants {
    Ack(u64),
    Nack(Vec<u64>),
}

/// A message in its turn, or the news that it is lost.
pub(crate) type Delivery = Option<Content>;

impl Consumer {
    pub(crate) const fn new() -> Self {
        Self {
            next: 0,
            last: 0,
            buffer: BTreeMap::new(),
            ticks: 0,
            idle: 0,
            next_at_last_tick: 0,
            heartbeat: 0,
            nack_timeout: 2,
        }
    }

    /// What a clone makes of it that has lost an update.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            nack_timeout: 5,
            ..Self::new()
        };
    }

    /// The acknowledgement that is due at once, or nothing if this is no news.
    pub(crate) fn handshake(
        &mut self,
        offset: u64,
        heartbeat: u16,
    ) -> Option<(Wants, Vec<Delivery>)> {
        if self.next > 0 {
            return None;
        }
        (self.next, self.last) = (offset + 1, offset + 1);
        self.heartbeat = heartbeat.into();
        self.buffer.retain(|seq, _| *seq > offset);
        let delivered = self.consecutive();
        Some((Wants::Ack(self.next - 1), delivered))
    }

    pub(crate) fn message(&mut self, seq: u64, content: Content) -> Vec<Delivery> {
        if seq > self.next {
            self.last = self.last.max(seq);
            let place = self.buffer.entry(seq).or_insert(None);
            place.get_or_insert(content);
        } else if seq == self.next {
            self.buffer.insert(seq, Some(content));
            return self.consecutive();
        }
        Vec::new()
    }

    pub(crate) fn keepalive(&mut self, seq: u64) {
        if self.last > 0 && seq > 0 {
            self.last = self.last.max(seq + 1);
        }
    }

    pub(crate) fn retransmit_failed(&mut self, seq: u64) -> Vec<Delivery> {
        if seq < self.next {
            return Vec::new();
        }
        self.buffer.entry(seq).or_insert(None);
        self.consecutive()
    }

    pub(crate) fn tick(&mut self) -> Option<Wants> {
        self.ticks += 1;
        self.idle += 1;
        if self.next == 0 {
            let due = self.idle >= self.nack_timeout;
            return due.then(|| {
                self.idle = 0;
                Wants::Nack(vec![0])
            });
        }
        if self.next > self.next_at_last_tick {
            self.idle = 0;
        }
        self.next_at_last_tick = self.next;
        if self.next < self.last && self.idle >= self.nack_timeout {
            self.idle = 0;
            let missing = (self.next..self.last).filter(|seq| !self.buffer.contains_key(seq));
            return Some(Wants::Nack(missing.collect()));
        }
        let due = self.heartbeat > 0 && self.ticks.is_multiple_of(self.heartbeat);
        due.then(|| Wants::Ack(self.next - 1))
    }

    fn consecutive(&mut self) -> Vec<Delivery> {
        let mut delivered = Vec::new();
        while let Some(content) = self.buffer.remove(&self.next) {
            self.next += 1;
            delivered.push(content);
        }
        self.last = self.last.max(self.next);
        delivered
    }
}

/// Ticks.
const HEARTBEAT: u64 = 5;

/// Heartbeats.
const CONNECTION_TIMEOUT: u64 = 100;
