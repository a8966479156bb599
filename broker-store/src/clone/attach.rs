//! How a clone comes to follow a master of ours, and builds its content from pages (see `master/offer.rs`).
//!
//! Updates that arrive while pages are pulled change the content that is being built. A page was read at a number of the
//! stream: where an update with a later number has touched a key since it was asked for, the page is older and does not
//! count. When the last page is in and the stream has passed the highest number of a page, the new content replaces the
//! old one at once; until then readers see the old one.
//!
//! A cut in the middle costs nothing but the time: as long as the master keeps what was missed, the clone goes on from its
//! number and its last key.

use std::collections::HashMap;

use broker_core::{Data, EntityId, Revision, Timestamp};

use super::{CloneState, Freshness, Master};
use crate::backend::{Entry, key_bytes};
use crate::channel::{Producer, Timers};
use crate::command::{Command, Content as Said, PageEntry};
use crate::content::Content;

use super::writer::writer_limits;

/// What was answered to an offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    master: EntityId,
    incarnation: u64,
    history: u64,
    heartbeat: u16,
    from: u64,
}

impl Asked {
    /// Whether `other` asks the same start of the same master for another stream.
    fn asks_otherwise(self, other: Self) -> bool {
        self.master == other.master
            && self.incarnation == other.incarnation
            && self.from != other.from
    }
}

/// A stream that was followed, and up to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) master: EntityId,
    pub(super) incarnation: u64,
    /// Who the clone was in it.
    pub(super) object: u64,
    pub(super) delivered: u64,
}

/// Content that is not complete yet.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) content: Content,
    pub(super) at: Revision,
    /// The number of the present pull.
    pull: u64,
    /// The last key that is there.
    after: Option<Data>,
    asked: u64,
    /// Ticks after which it is asked for again; twice as many each time.
    patience: u64,
    /// The keys that updates have touched since the present pull, with the number of the last one.
    touched: HashMap<Data, u64>,
    /// The number of the last clear.
    cleared: u64,
    /// The highest number at which a page was read.
    target: u64,
    complete: bool,
}

impl Build {
    fn new(content: Content, at: Revision) -> Self {
        Self {
            content,
            at,
            pull: 0,
            after: None,
            asked: 0,
            patience: PULL_AGAIN,
            touched: HashMap::new(),
            cleared: 0,
            target: 0,
            complete: false,
        }
    }

    /// An update of the stream.
    pub(super) fn apply(&mut self, now: Timestamp, seq: u64, update: Said) {
        match update {
            Said::Put {
                key, value, expiry, ..
            } => {
                self.touch(&key, seq);
                let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
                self.content.put(key, Entry { value, expires_at });
            }
            Said::Erase { key, .. } | Said::Expire { key, .. } => {
                self.touch(&key, seq);
                self.content.erase(&key);
            }
            Said::Clear { .. } => {
                self.touched.clear();
                self.cleared = seq;
                self.content.clear();
            }
            _ => return,
        }
        self.at.number += 1;
    }

    fn touch(&mut self, key: &Data, seq: u64) {
        // After the last page nothing is overwritten any more.
        if !self.complete {
            self.touched.insert(key.clone(), seq);
        }
    }

    /// The page that was asked for. False if it makes no sense.
    fn add(&mut self, now: Timestamp, seq: u64, last: bool, entries: Vec<PageEntry>) -> bool {
        let mut after = self.after.as_ref().map(key_bytes);
        for PageEntry { key, value, expiry } in entries {
            let bytes = key_bytes(&key);
            if after.as_ref().is_some_and(|after| bytes <= *after) {
                return false;
            }
            after = Some(bytes);
            self.after = Some(key.clone());
            let newer = self.cleared > seq || self.touched.get(&key).is_some_and(|at| *at > seq);
            if !newer {
                let expires_at = expiry.map(|expiry| now.saturating_add(expiry));
                self.content.put(key, Entry { value, expires_at });
            }
        }
        self.target = self.target.max(seq);
        self.touched.clear();
        self.complete = last;
        self.patience = PULL_AGAIN;
        true
    }
}

impl CloneState {
    pub(super) fn handle_while_searching(&mut self, now: Timestamp, command: Command) {
        if command.receiver != self.id {
            return;
        }
        let master = command.sender;
        match command.content {
            Said::AckClone {
                offset,
                heartbeat,
                snapshot,
            } => self.handle_snapshot(now, master, offset, heartbeat, snapshot),
            Said::Offer {
                incarnation,
                history,
                seq,
                oldest,
                heartbeat,
                ..
            } if (self.speaks)(master.endpoint) => {
                let asked = Asked {
                    master,
                    incarnation,
                    history,
                    heartbeat,
                    from: 0,
                };
                if self.without_copy {
                    self.work_without_copy(asked);
                } else {
                    self.answer_offer(asked, seq, oldest);
                }
            }
            Said::Following {
                incarnation,
                seq,
                revision,
            } => {
                let asked = self
                    .asked
                    .filter(|asked| asked.master == master && asked.incarnation == incarnation);
                if let Some(asked) = asked {
                    self.handle_following(now, asked, seq, revision);
                }
            }
            _ => {}
        }
    }

    fn answer_offer(&mut self, mut asked: Asked, seq: u64, oldest: u64) {
        let former = self.former.filter(|former| former.master == asked.master);
        if let Some(former) = former
            && former.incarnation == asked.incarnation
            && former.delivered >= oldest.saturating_sub(1)
            && former.delivered <= seq
        {
            asked.from = former.delivered;
        }
        if self
            .asked
            .is_some_and(|before| before.asks_otherwise(asked))
        {
            // What it has missed is not kept any more. The answer to the first question may be on its way.
            return self.search_under_another_name();
        }
        self.asked = Some(asked);
        self.unicast(
            asked.master,
            Said::Follow {
                incarnation: asked.incarnation,
                from: asked.from,
                former: former.map_or(0, |former| former.object),
            },
        );
    }

    fn handle_following(&mut self, now: Timestamp, asked: Asked, seq: u64, revision: u64) {
        if asked.from != 0 && asked.from != seq {
            // That was not asked.
            return self.search_under_another_name();
        }
        let mut early = Vec::new();
        let Some(ack) = self
            .updates
            .handle_handshake(seq, asked.heartbeat, &mut |delivery| early.push(delivery))
        else {
            return;
        };
        if asked.from == 0 {
            let at = Revision {
                history: asked.history,
                number: revision,
            };
            let equal = self.at == Some(at);
            self.build = (!equal).then(|| Build::new(self.view.content.another(), at));
        }
        let entries = self.view.content.len();
        let (master, building) = (asked.master, self.build.is_some());
        tracing::info!(store = %self.name, %master, resumed = asked.from != 0, entries, building, "found the master");
        self.begin(master, asked.heartbeat, Some(asked.incarnation), ack);
        match &self.build {
            Some(_) => self.pull(),
            None => self.become_live(),
        }
        for delivery in early {
            self.deliver(now, delivery);
        }
        self.send_queued();
        self.send_syncs();
    }

    /// Under each name one question is asked, so that its answer cannot be taken for that to another.
    fn search_under_another_name(&mut self) {
        self.id = self.ids.next_id();
        self.asked = None;
        self.search();
    }

    /// There is no copy to be had: questions go to the master.
    fn work_without_copy(&mut self, asked: Asked) {
        tracing::info!(store = %self.name, master = %asked.master, "found the master");
        self.view.set_remote(true);
        self.begin(asked.master, asked.heartbeat, None, 0);
        self.become_live();
        self.send_queued();
        self.send_syncs();
        self.ask_all_again();
    }

    fn handle_snapshot(
        &mut self,
        now: Timestamp,
        master: EntityId,
        offset: u64,
        heartbeat: u16,
        snapshot: Vec<(Data, Data)>,
    ) {
        let mut early = Vec::new();
        let Some(ack) = self
            .updates
            .handle_handshake(offset, heartbeat, &mut |delivery| early.push(delivery))
        else {
            return;
        };
        tracing::info!(store = %self.name, %master, entries = snapshot.len(), "found the master");
        self.view.set_remote(false);
        let content = self.view.content.another();
        for (key, value) in snapshot {
            // What stays the same keeps the deadline that is known for it.
            let expires_at = self.view.content.expires_at(&key, &value);
            content.put(key, Entry { value, expires_at });
        }
        self.at = None;
        self.install(content, master, None);
        self.begin(master, heartbeat, None, ack);
        self.become_live();
        for delivery in early {
            self.deliver(now, delivery);
        }
        self.send_queued();
        self.send_syncs();
    }

    /// From now on this is the master, and the stream of updates begins behind `ack`.
    fn begin(&mut self, master: EntityId, heartbeat: u16, incarnation: Option<u64>, ack: u64) {
        let outcomes = (self.speaks)(master.endpoint);
        self.asked = None;
        self.former = None;
        self.master = Some(Master {
            id: master,
            outcomes,
            incarnation,
            last_heard: self.tick,
            overdue: 0,
        });
        if self.updates.is_attached() {
            self.unicast(master, Said::CumulativeAck { seq: ack });
        }
        self.writer = Producer::new(
            Timers {
                heartbeat: heartbeat.max(1),
                ..Timers::default()
            },
            writer_limits(),
        );
        self.writer.attach(master);
        self.drain_writer();
        if outcomes {
            self.unicast(master, Said::WantResults);
        }
    }

    fn become_live(&mut self) {
        self.set_freshness(Freshness::Live);
    }

    /// Asks for the page behind what is there.
    fn pull(&mut self) {
        let (tick, Some(master)) = (self.tick, self.master) else {
            return;
        };
        let Some(build) = self.build.as_mut().filter(|build| !build.complete) else {
            return;
        };
        // Never one that was used before, not even by an earlier build: its page may still be on its way.
        self.pulls += 1;
        build.pull = self.pulls;
        build.asked = tick;
        build.touched.clear();
        let pull = Said::Pull {
            id: build.pull,
            after: build.after.clone(),
            bytes: self.page_bytes,
        };
        self.unicast(master.id, pull);
    }

    pub(super) fn handle_page(
        &mut self,
        now: Timestamp,
        id: u64,
        seq: u64,
        last: bool,
        entries: Vec<PageEntry>,
    ) {
        let Some(build) = self
            .build
            .as_mut()
            .filter(|build| build.pull == id && !build.complete)
        else {
            return;
        };
        if entries.is_empty() && !last || !build.add(now, seq, last, entries) {
            return self.start_over("the master's pages make no sense");
        }
        self.pull();
        self.install_if_complete();
    }

    /// A page that does not come is asked for again.
    pub(super) fn tick_build(&mut self) {
        let tick = self.tick;
        let overdue = |build: &&mut Build| !build.complete && tick - build.asked >= build.patience;
        if let Some(build) = self.build.as_mut().filter(overdue) {
            build.patience = (build.patience * 2).min(MAX_PULL_AGAIN);
            self.pull();
        }
    }

    /// Everything is there, and the stream has passed where the last page was read.
    pub(super) fn install_if_complete(&mut self) {
        let complete =
            |build: &mut Build| build.complete && self.updates.delivered() >= build.target;
        let Some(build) = self.build.take_if(complete) else {
            return;
        };
        let Some(master) = self.master else { return };
        self.install(build.content, master.id, Some(build.at));
        self.become_live();
        self.send_queued();
        self.send_syncs();
    }
}

/// Ticks after which a page is asked for again.
const PULL_AGAIN: u64 = 10;

/// The most ticks of them.
const MAX_PULL_AGAIN: u64 = 100;
