//! A model of the clone of C++ Broker (wire reference 7.3, 7.5, 7.8).

use std::collections::BTreeMap;

use broker_core::{Data, EntityId};

use super::channel::{Consumer, Delivery, Producer, Says, Wants};
use super::peer::{Peer, To};
use super::store::command::{Command, Content};

pub(crate) struct CppClone {
    pub(crate) id: EntityId,
    /// Never changes once it is found.
    pub(crate) master: Option<EntityId>,
    input: Consumer,
    output: Option<Producer>,
    pub(crate) content: BTreeMap<Data, Data>,
    /// Whether a no may be said again, by a master that was killed before it had recorded what changed nothing.
    pub(crate) hears_again: bool,
    /// Whether such a no may become a yes: it was said because the disk failed, or the key was cleared away since.
    pub(crate) hears_otherwise: bool,
    /// Writes before there is a master.
    stalled: Vec<Content>,
    /// The answers to put_unique, by request number.
    pub(crate) answers: BTreeMap<u64, bool>,
    /// Ticks without a master; after 10 s it is over for good.
    waited: u64,
    out: Vec<(To, Command)>,
}

impl CppClone {
    pub(crate) fn new(id: EntityId) -> Self {
        let mut clone = Self {
            id,
            master: None,
            input: Consumer::new(),
            output: None,
            content: BTreeMap::new(),
            hears_again: false,
            hears_otherwise: false,
            stalled: Vec::new(),
            answers: BTreeMap::new(),
            waited: 0,
            out: Vec::new(),
        };
        clone.want(Some(Wants::Nack(vec![0])));
        clone
    }

    /// The entity in whose name put_unique is asked for: a requester's of its own.
    pub(crate) const fn requester(&self) -> EntityId {
        EntityId::new(self.id.endpoint, self.id.object + 1000)
    }

    /// Whether it has what it needs to answer queries.
    pub(crate) const fn is_initialised(&self) -> bool {
        self.input.next > 0
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.waited >= ATTACH_TIMEOUT
    }

    /// A front end's write: it is not applied here.
    pub(crate) fn write(&mut self, content: Content) {
        match &mut self.output {
            Some(output) => output.produce(content),
            None => self.stalled.push(content),
        }
        self.drain();
    }

    fn want(&mut self, wants: Option<Wants>) {
        let master = self.master.unwrap_or(EntityId::NIL);
        let (to, content) = match wants {
            None => return,
            Some(Wants::Ack(seq)) => (
                To::Endpoint(master.endpoint),
                Content::CumulativeAck { seq },
            ),
            Some(Wants::Nack(seqs)) if self.is_initialised() => {
                (To::Endpoint(master.endpoint), Content::Nack { seqs })
            }
            Some(Wants::Nack(seqs)) => (To::Everybody, Content::Nack { seqs }),
        };
        self.out
            .push((to, Command::control(self.id, master, content)));
    }

    fn consume(&mut self, delivered: Vec<Delivery>) {
        for delivery in delivered {
            let Some(content) = delivery else {
                // An update is lost: it forgets where it is, but not its master.
                self.input.reset();
                return;
            };
            match content {
                Content::Put { key, value, .. } => drop(self.content.insert(key, value)),
                Content::Erase { key, .. } | Content::Expire { key, .. } => {
                    drop(self.content.remove(&key))
                }
                Content::Clear { .. } => self.content.clear(),
                Content::PutUniqueResult {
                    inserted,
                    who,
                    request,
                    ..
                } if who == self.requester() => {
                    let before = self.answers.insert(request, inserted);
                    let repeats = self.hears_again
                        && before == Some(false)
                        && (!inserted || self.hears_otherwise);
                    assert!(before.is_none() || repeats, "one answer");
                }
                _ => {}
            }
        }
    }

    fn drain(&mut self) {
        let (id, master) = (self.id, self.master.unwrap_or(EntityId::NIL));
        let Some(output) = &mut self.output else {
            return;
        };
        for says in std::mem::take(&mut output.says) {
            let attach = |offset| Content::AttachWriter {
                offset,
                heartbeat: 5,
            };
            let command = match says {
                Says::Handshake { offset, .. } => Command::control(id, master, attach(offset)),
                Says::Message { seq, content, .. } => Command {
                    seq,
                    sender: id,
                    receiver: master,
                    content,
                },
                Says::Failed { seq, .. } => {
                    Command::control(id, master, Content::RetransmitFailed { seq })
                }
                Says::Keepalive { seq } => {
                    for (_, offset) in output.unacknowledged() {
                        self.out
                            .push((To::Everybody, Command::control(id, master, attach(offset))));
                    }
                    Command::control(id, EntityId::NIL, Content::Keepalive { seq })
                }
            };
            self.out.push((To::Everybody, command));
        }
    }

    fn attach(
        &mut self,
        master: EntityId,
        offset: u64,
        heartbeat: u16,
        snapshot: Vec<(Data, Data)>,
    ) {
        // It drops every ack_clone once it has a master, even when it has asked for one again.
        if self.master.is_some() {
            return;
        }
        self.master = Some(master);
        let Some((ack, delivered)) = self.input.handshake(offset, heartbeat) else {
            return;
        };
        self.want(Some(ack));
        self.content = snapshot.into_iter().collect();
        self.consume(delivered);
        let mut output = Producer::default();
        output.add(master);
        for content in std::mem::take(&mut self.stalled) {
            output.produce(content);
        }
        self.output = Some(output);
    }
}

impl Peer for CppClone {
    fn id(&self) -> EntityId {
        self.id
    }

    fn hear(&mut self, command: Command) {
        if self.has_ended() || self.is_initialised() && Some(command.sender) != self.master {
            return;
        }
        let to_me = command.receiver == self.id;
        match command.content {
            Content::AckClone {
                offset,
                heartbeat,
                snapshot,
            } if to_me => {
                self.attach(command.sender, offset, heartbeat, snapshot);
            }
            Content::Keepalive { seq } if to_me => self.input.keepalive(seq),
            Content::RetransmitFailed { seq } if to_me && self.is_initialised() => {
                let delivered = self.input.retransmit_failed(seq);
                self.consume(delivered);
            }
            Content::CumulativeAck { seq } if to_me => {
                if let Some(output) = &mut self.output {
                    output.ack(command.sender, seq);
                }
            }
            Content::Nack { seqs } if to_me => {
                if let Some(output) = &mut self.output {
                    output.nack(command.sender, &seqs);
                }
            }
            Content::AckClone { .. }
            | Content::Keepalive { .. }
            | Content::RetransmitFailed { .. }
            | Content::CumulativeAck { .. }
            | Content::Nack { .. } => {}
            Content::WantResults
            | Content::WriteResults { .. }
            | Content::ResultsQuery { .. }
            | Content::Sync { .. }
            | Content::SyncReply { .. } => panic!("nothing of ours is said to C++ nodes"),
            action => {
                let delivered = self.input.message(command.seq, action);
                self.consume(delivered);
            }
        }
        self.drain();
    }

    fn tick(&mut self) {
        if self.has_ended() {
            return;
        }
        self.waited += u64::from(self.master.is_none());
        let wants = self.input.tick();
        self.want(wants);
        if let Some(output) = &mut self.output {
            output.tick();
        }
        self.drain();
    }

    fn take_output(&mut self) -> Vec<(To, Command)> {
        std::mem::take(&mut self.out)
    }
}

/// Ticks after which a clone without a master ends.
const ATTACH_TIMEOUT: u64 = 100;
