//! A model of the master of C++ Broker (wire reference 7.3, 7.4, 7.7).

use std::collections::BTreeMap;

use broker_core::{Data, EntityId, Timespan};
use broker_store::command::{Command, Content};
use broker_store::semantics;

use super::channel::{Consumer, Delivery, Producer, Says, Wants};
use super::world::{Peer, To};

pub(crate) struct CppMaster {
    pub(crate) id: EntityId,
    pub(crate) updates: Producer,
    writers: BTreeMap<EntityId, Consumer>,
    pub(crate) content: BTreeMap<Data, Data>,
    /// The tick after which a key expires.
    expiries: BTreeMap<Data, u64>,
    /// The ack_clone of each clone, kept unchanged until its first acknowledgement.
    handshakes: BTreeMap<EntityId, Command>,
    tick: u64,
    out: Vec<(To, Command)>,
}

impl CppMaster {
    pub(crate) fn new(id: EntityId) -> Self {
        Self {
            id,
            updates: Producer::default(),
            writers: BTreeMap::new(),
            content: BTreeMap::new(),
            expiries: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            tick: 0,
            out: Vec::new(),
        }
    }

    /// Applies a write: what fails is told to nobody.
    pub(crate) fn apply(&mut self, content: Content) {
        match content {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => self.put(key, value, expiry, expiry, publisher),
            Content::PutUnique {
                key,
                value,
                expiry,
                who,
                request,
                publisher,
            } => {
                let inserted = !self.content.contains_key(&key);
                if inserted {
                    self.put(key, value, expiry, expiry, publisher);
                }
                self.updates.produce(Content::PutUniqueResult {
                    inserted,
                    who,
                    request,
                    publisher: self.id,
                });
            }
            Content::Add {
                key,
                operand,
                init,
                expiry,
                publisher,
            } => {
                let old = self.content.get(&key).cloned();
                if let Ok(value) = semantics::add(old, operand, init) {
                    self.put(key, value, expiry, None, publisher);
                }
            }
            Content::Subtract {
                key,
                operand,
                expiry,
                publisher,
            } => {
                let old = self.content.get(&key).cloned();
                if let Ok(value) = semantics::subtract(old, &operand) {
                    self.put(key, value, expiry, None, publisher);
                }
            }
            Content::Erase { key, publisher } => {
                if self.content.remove(&key).is_some() {
                    self.updates.produce(Content::Erase { key, publisher });
                }
            }
            Content::Clear { publisher } => {
                self.content.clear();
                self.updates.produce(Content::Clear { publisher });
            }
            other => panic!("no write: {other:?}"),
        }
        self.drain();
    }

    /// A write without an expiry removes the key's; the echo of an add has none in any case.
    fn put(
        &mut self,
        key: Data,
        value: Data,
        expiry: Option<Timespan>,
        echoed: Option<Timespan>,
        publisher: EntityId,
    ) {
        match expiry {
            Some(expiry) => {
                let ticks = u64::try_from(expiry.as_nanos() / 100_000_000).unwrap();
                self.expiries.insert(key.clone(), self.tick + ticks);
            }
            None => drop(self.expiries.remove(&key)),
        }
        self.content.insert(key.clone(), value.clone());
        self.updates.produce(Content::Put {
            key,
            value,
            expiry: echoed,
            publisher,
        });
    }

    fn consume(&mut self, delivered: Vec<Delivery>) {
        // What is lost is logged.
        delivered
            .into_iter()
            .flatten()
            .for_each(|content| self.apply(content));
    }

    fn say(&mut self, to: EntityId, content: Content) {
        let command = Command::control(self.id, to, content);
        self.out.push((To::Endpoint(to.endpoint), command));
    }

    fn drain(&mut self) {
        for says in std::mem::take(&mut self.updates.says) {
            match says {
                Says::Handshake { to, offset } => {
                    let (id, content) = (self.id, &self.content);
                    let command = self.handshakes.entry(to).or_insert_with(|| Command {
                        seq: offset,
                        sender: id,
                        receiver: to,
                        content: Content::AckClone {
                            offset,
                            heartbeat: 5,
                            snapshot: content.clone().into_iter().collect(),
                        },
                    });
                    self.out.push((To::Endpoint(to.endpoint), command.clone()));
                }
                Says::Message { to, seq, content } => {
                    let to = to.map_or(To::Everybody, |to| To::Endpoint(to.endpoint));
                    let command = Command {
                        seq,
                        sender: self.id,
                        receiver: EntityId::NIL,
                        content,
                    };
                    self.out.push((to, command));
                }
                Says::Failed { to, seq } => self.say(to, Content::RetransmitFailed { seq }),
                Says::Keepalive { seq } => {
                    let command =
                        Command::control(self.id, EntityId::NIL, Content::Keepalive { seq });
                    self.out.push((To::Everybody, command));
                }
            }
        }
    }
}

impl Peer for CppMaster {
    fn id(&self) -> EntityId {
        self.id
    }

    fn hear(&mut self, command: Command) {
        let sender = command.sender;
        match command.content {
            Content::Nack { seqs } => self.updates.nack(sender, &seqs),
            Content::CumulativeAck { seq } => {
                self.handshakes.remove(&sender);
                self.updates.ack(sender, seq);
            }
            Content::AttachWriter { offset, heartbeat } => {
                let mut writer = Consumer::new();
                if let Some((Wants::Ack(seq), _)) = writer.handshake(offset, heartbeat)
                    && !self.writers.contains_key(&sender)
                {
                    self.writers.insert(sender, writer);
                    self.say(sender, Content::CumulativeAck { seq });
                }
            }
            Content::Keepalive { seq } => {
                if let Some(writer) = self.writers.get_mut(&sender) {
                    writer.keepalive(seq);
                }
            }
            Content::RetransmitFailed { seq } => {
                if let Some(writer) = self.writers.get_mut(&sender) {
                    let delivered = writer.retransmit_failed(seq);
                    self.consume(delivered);
                }
            }
            Content::WantResults
            | Content::WriteResults { .. }
            | Content::ResultsQuery { .. }
            | Content::Sync { .. }
            | Content::SyncReply { .. } => panic!("nothing of ours is said to C++ nodes"),
            action => {
                if let Some(writer) = self.writers.get_mut(&sender) {
                    let delivered = writer.message(command.seq, action);
                    self.consume(delivered);
                }
            }
        }
        self.drain();
    }

    fn tick(&mut self) {
        self.tick += 1;
        self.updates.tick();
        // With the consumer goes the writer.
        let updates = &self.updates;
        self.writers.retain(|id, _| updates.has(*id));
        let mut wanted = Vec::new();
        for (id, writer) in &mut self.writers {
            wanted.extend(writer.tick().map(|wants| (*id, wants)));
        }
        for (id, wants) in wanted {
            self.say(
                id,
                match wants {
                    Wants::Ack(seq) => Content::CumulativeAck { seq },
                    Wants::Nack(seqs) => Content::Nack { seqs },
                },
            );
        }
        let tick = self.tick;
        let due: Vec<Data> = self
            .expiries
            .iter()
            .filter(|(_, last)| tick > **last)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.expiries.remove(&key);
            self.content.remove(&key);
            let publisher = self.id;
            self.updates.produce(Content::Expire { key, publisher });
        }
        self.drain();
    }

    fn take_output(&mut self) -> Vec<(To, Command)> {
        std::mem::take(&mut self.out)
    }
}
