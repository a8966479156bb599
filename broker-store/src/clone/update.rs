//! What the master says to a clone that follows it, and what that changes.

use broker_core::{EntityId, Revision, Timestamp};

use super::checks::Check;
use super::differences::Differences;
use super::wait::Barrier;
use super::writes::publisher;
use super::{CloneOutput, CloneState};
use crate::backend::Entry;
use crate::channel::Delivery;
use crate::command::{Command, Content};
use crate::content::Content as Store;
use crate::event::StoreEvent;

impl CloneState {
    pub(super) fn handle_from_master(&mut self, now: Timestamp, command: Command, len: usize) {
        let (tick, to_me) = (self.tick, command.receiver == self.id);
        let Some(master) = &mut self.master else {
            return;
        };
        master.last_heard = tick;
        let master = *master;
        let taken = self.taken;
        match command.content {
            Content::Keepalive { seq } => {
                self.updates.handle_keepalive(seq);
                self.settle_unechoed(taken);
            }
            Content::CumulativeAck { seq } if to_me => self.handle_ack(master, seq),
            Content::Nack { seqs } if to_me => {
                self.writer.handle_nack(master.id, &seqs);
                self.drain_writer();
            }
            Content::RetransmitFailed { seq } if to_me => {
                let mut delivered = Vec::new();
                self.updates
                    .handle_retransmit_failed(seq, &mut |delivery| delivered.push(delivery));
                delivered
                    .into_iter()
                    .for_each(|delivery| self.deliver(now, delivery));
            }
            Content::Skipped { first, last } if to_me => {
                let mut delivered = Vec::new();
                self.updates
                    .handle_skipped(first, last, &mut |delivery| delivered.push(delivery));
                delivered
                    .into_iter()
                    .for_each(|delivery| self.deliver(now, delivery));
                self.install_if_complete();
            }
            Content::WriteResults { first, codes } if to_me => {
                // Outcomes come in the order of writes, so they acknowledge as well, and sooner.
                let last = first.saturating_add(codes.len() as u64).saturating_sub(1);
                self.writer.handle_ack(master.id, last);
                for (index, code) in codes.into_iter().enumerate() {
                    let answer = self
                        .writes
                        .outcome(first.saturating_add(index as u64), code);
                    answer.into_iter().for_each(|answer| self.reply(answer));
                }
                self.send_queued();
            }
            Content::Page {
                id,
                seq,
                last,
                entries,
            } if to_me => self.handle_page(now, id, seq, last, entries),
            Content::Check {
                id,
                seq,
                after,
                last,
                until,
                digest,
            } if to_me => self.handle_check(Check {
                id,
                seq,
                after,
                until: until.filter(|_| !last),
                digest,
            }),
            Content::Answer { id, answer } if to_me => self.handle_answer(id, answer),
            Content::Stranger if to_me => self.start_over("the master does not know this clone"),
            Content::SyncReply { id, seq } if to_me => {
                if let Some(wait) = self.waits.iter_mut().find(|wait| wait.token == id) {
                    wait.barrier = Barrier::Answered { seq };
                }
            }
            // Actions that only writers take are numbered all the same; they have no effect.
            update @ (Content::Put { .. }
            | Content::PutUnique { .. }
            | Content::PutUniqueResult { .. }
            | Content::Erase { .. }
            | Content::Expire { .. }
            | Content::Add { .. }
            | Content::Subtract { .. }
            | Content::Clear { .. })
                if self.updates.is_attached() =>
            {
                // One that was sent again says nothing of those behind it.
                let is_latest = command.seq >= self.updates.end();
                self.handle_update(now, command.seq, len, update);
                if is_latest {
                    self.settle_unechoed(taken);
                }
            }
            _ => {}
        }
    }

    pub(super) fn handle_update(&mut self, now: Timestamp, seq: u64, len: usize, update: Content) {
        // Nearly always it is the next one.
        let mut first = None;
        let mut rest = Vec::new();
        self.updates
            .handle_message(seq, len, update, &mut |delivery| match first {
                None => first = Some(delivery),
                Some(_) => rest.push(delivery),
            });
        first
            .into_iter()
            .chain(rest)
            .for_each(|delivery| self.deliver(now, delivery));
    }

    pub(super) fn deliver(&mut self, now: Timestamp, delivery: Delivery<Content>) {
        if self.differences.is_some() {
            self.held.push_back((now, delivery));
            return;
        }
        match delivery {
            Delivery::Message(seq, update) => {
                if self.master.is_some() {
                    self.apply(now, seq, update);
                    self.install_if_complete();
                    self.answer_checks();
                }
            }
            Delivery::Lost(_) => {
                self.start_over("an update is lost");
                // What is lost cannot be gone on from.
                self.former = None;
            }
        }
    }

    fn apply(&mut self, now: Timestamp, seq: u64, update: Content) {
        let outcomes = self.master.is_some_and(|master| master.outcomes);
        if !outcomes && publisher(&update) == Some(self.front) {
            let answer = self.writes.echoed(&update);
            answer.into_iter().for_each(|answer| self.reply(answer));
        }
        if let Content::PutUniqueResult {
            inserted,
            who,
            request,
            ..
        } = update
        {
            if who == self.front {
                let answer = self.writes.decided(request, inserted);
                answer.into_iter().for_each(|answer| self.reply(answer));
            }
            return;
        }
        if let Some(build) = &mut self.build {
            return build.apply(now, seq, update);
        }
        if let Some(at) = &mut self.at
            && update.is_change()
        {
            at.number += 1;
        }
        let store = self.name.clone();
        match update {
            Content::Put {
                key,
                value,
                expiry,
                publisher,
            } => {
                let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
                let told = self.watched.then(|| (key.clone(), value.clone()));
                let old = self.view.content.put(key, Entry { value, expires_at });
                if let Some((key, value)) = told {
                    self.event(match old {
                        None => StoreEvent::Insert {
                            store,
                            key,
                            value,
                            expiry,
                            publisher,
                        },
                        Some(old) => StoreEvent::Update {
                            store,
                            key,
                            old,
                            new: value,
                            expiry,
                            publisher,
                        },
                    });
                }
            }
            Content::Erase { key, publisher } => {
                self.erase(StoreEvent::Erase {
                    store,
                    key,
                    publisher,
                });
            }
            Content::Expire { key, publisher } => {
                self.erase(StoreEvent::Expire {
                    store,
                    key,
                    publisher,
                });
            }
            Content::Clear { publisher } => {
                let keys = self.view.content.clear();
                if !self.watched {
                    return;
                }
                // Whoever stops half-way has to go on from before all of them.
                let before = self.at.map(|at| Revision {
                    number: at.number - 1,
                    ..at
                });
                let last = keys.len().saturating_sub(1);
                for (index, key) in keys.into_iter().enumerate() {
                    let at = if index < last { before } else { self.at };
                    let event = StoreEvent::Erase {
                        store: store.clone(),
                        key,
                        publisher,
                    };
                    self.outputs.push_back(CloneOutput::Event { at, event });
                }
            }
            _ => {}
        }
    }

    /// Removes the key that `event` is about, and tells if it was there.
    pub(super) fn erase(&mut self, event: StoreEvent) {
        if self.view.content.erase(event.key()) {
            self.event(event);
        }
    }

    /// Replaces the content; the events tell the difference, which at the first time is everything.
    pub(super) fn install(&mut self, content: Store, publisher: EntityId, at: Option<Revision>) {
        let before = std::mem::replace(&mut self.at, at);
        let former = self.view.content.install(content);
        if self.watched {
            let store = self.name.clone();
            self.differences = Some(Differences::new(store, former, publisher, before));
        }
    }
}
