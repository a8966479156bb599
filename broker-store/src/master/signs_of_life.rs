//! What a master says while its backend works: a disk that stalls must not look like a master that has gone.
//!
//! It is taken between two groups, so it names nothing that is not applied yet and no update that was not sent. Clones of
//! ours act on the keepalive to everybody, C++ clones on the one to them, and their writers on acknowledgements.

use std::time::Duration;

use broker_core::EntityId;

use super::{MasterOutput, MasterState};
use crate::channel::TICK;
use crate::command::{Command, Content};

/// Who is to hear that the master lives, and what.
#[derive(Clone, Debug)]
pub struct SignsOfLife {
    id: EntityId,
    interval: Duration,
    seq: u64,
    consumers: Vec<EntityId>,
    /// With the last write of each that is applied.
    writers: Vec<(EntityId, u64)>,
}

impl SignsOfLife {
    /// How long to wait before each time they are given.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// What to send: nothing if nobody is attached.
    pub fn outputs(&self) -> impl Iterator<Item = MasterOutput> + '_ {
        let keepalive = || Content::Keepalive { seq: self.seq };
        let everybody = (!self.consumers.is_empty()).then(|| {
            MasterOutput::Broadcast(Command::control(self.id, EntityId::NIL, keepalive()).encode())
        });
        let consumers = self.consumers.iter().map(move |id| (*id, keepalive()));
        let writers = self
            .writers
            .iter()
            .map(|(id, seq)| (*id, Content::CumulativeAck { seq: *seq }));
        let unicasts = consumers
            .chain(writers)
            .map(|(to, content)| MasterOutput::Unicast {
                to: to.endpoint,
                payload: Command::control(self.id, to, content).encode(),
            });
        everybody.into_iter().chain(unicasts)
    }
}

impl MasterState {
    /// What to say while the next group is applied, if that takes long. To be taken when all outputs were carried out.
    #[must_use]
    pub fn signs_of_life(&self) -> SignsOfLife {
        let patience = self.patience();
        SignsOfLife {
            id: self.id,
            interval: TICK * u32::from(self.timers.heartbeat.max(1)),
            seq: self.updates.seq(),
            consumers: self.updates.consumers().collect(),
            writers: self
                .writers
                .iter()
                .filter(|(_, writer)| {
                    writer.writes.is_attached() && self.tick - writer.last_seen < patience
                })
                .map(|(id, writer)| (*id, writer.writes.delivered()))
                .collect(),
        }
    }
}
