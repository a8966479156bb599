//! Callers that wait for a state of the clone rather than for a write.

use broker_core::StoreReply;

use super::CloneState;
use crate::command::Content;
use crate::error::StoreError;

/// A caller that waits for a state rather than for a write.
#[derive(Debug)]
pub(super) struct Wait {
    pub(super) token: u64,
    /// Writes up to this place are to be answered.
    place: u64,
    pub(super) barrier: Barrier,
}

/// How far a barrier through the master has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barrier {
    /// There is none: only the writes count.
    NotAsked,
    /// It is to be sent.
    Due,
    /// It was sent at this tick.
    Sent { tick: u64 },
    /// The master was at this number.
    Answered { seq: u64 },
}

impl CloneState {
    pub(super) fn wait(&mut self, token: u64, barrier: Barrier) {
        if self.waits.len() >= MAX_WAITS {
            return self.reply((
                token,
                Err(StoreError::BufferFull {
                    kept: self.waits.len(),
                }),
            ));
        }
        self.waits.push(Wait {
            token,
            place: self.writes.latest(),
            barrier,
        });
        self.send_syncs();
        self.check_waits();
    }

    pub(super) fn send_syncs(&mut self) {
        let Some(master) = self.master else { return };
        let tick = self.tick;
        let mut due = Vec::new();
        for wait in &mut self.waits {
            match wait.barrier {
                Barrier::Due if !master.outcomes => wait.barrier = Barrier::Answered { seq: 0 },
                Barrier::Due => due.push(wait),
                Barrier::Sent { tick: sent } if tick - sent >= SYNC_AGAIN => due.push(wait),
                _ => {}
            }
        }
        let mut ids = Vec::new();
        for wait in due {
            wait.barrier = Barrier::Sent { tick };
            ids.push(wait.token);
        }
        for id in ids {
            self.unicast(master.id, Content::Sync { id });
        }
    }

    pub(super) fn check_waits(&mut self) {
        if self.waits.is_empty() || self.differences.is_some() {
            return;
        }
        let (writes, updates, live) = (&self.writes, &self.updates, self.master);
        // Without a copy there is nothing to catch up.
        let (building, copied) = (self.build.is_some(), self.updates.is_attached());
        let mut done = Vec::new();
        self.waits.retain(|wait| {
            let reached = match wait.barrier {
                Barrier::NotAsked => true,
                Barrier::Due | Barrier::Sent { .. } => false,
                Barrier::Answered { seq } => {
                    !building
                        && (updates.delivered() >= seq || !copied)
                        && live.is_some_and(|master| master.outcomes || !updates.has_gap())
                }
            };
            let over = reached && writes.answered_up_to(wait.place);
            if over {
                done.push(wait.token);
            }
            !over
        });
        done.into_iter()
            .for_each(|token| self.reply((token, Ok(StoreReply::Done))));
    }
}

/// Callers that wait for a state.
const MAX_WAITS: usize = 65_536;

/// Ticks after which an unanswered sync is sent again.
const SYNC_AGAIN: u64 = 10;
