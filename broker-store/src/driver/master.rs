//! The task of a master.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_core::{Endpoint, EntityId, Revision, Timestamp};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;

use super::{Asked, Batch, Clock, Common, Position, Shared, Topics, What};
use crate::master::{MasterOutput, MasterState, SignsOfLife};
use crate::operation::{Query, Request};

/// Feeds a master, on a thread for blocking work if its backend may wait for a disk.
#[derive(Debug)]
pub(crate) struct MasterDriver {
    common: Common,
    front: EntityId,
}

impl MasterDriver {
    /// `front` is whom the writes of this node's callers are published by.
    pub(crate) fn new(
        endpoint: Endpoint,
        front: EntityId,
        topics: Topics,
        asks: mpsc::Receiver<Asked>,
        shared: Arc<Shared>,
        clock: Clock,
    ) -> Self {
        let common = Common::new(
            endpoint,
            topics.master,
            topics.clone,
            topics.events,
            asks,
            shared,
            clock,
        );
        Self { common, front }
    }

    /// Runs until the endpoint shuts down.
    pub(crate) async fn run(mut self, state: MasterState) {
        let mut state = Box::new(state);
        // What the last group led to, if it is to be carried out while the next one is applied.
        let mut before: Option<Turn> = None;
        loop {
            let batch = if before.is_some() {
                tokio::select! {
                    biased;
                    batch = self.common.next_batch(false) => Some(batch),
                    () = std::future::ready(()) => None,
                }
            } else {
                Some(self.common.next_batch(false).await)
            };
            let watched = self.common.is_watched();
            if (watched || batch.is_none())
                && let Some(turn) = before.take()
            {
                self.carry_out(turn).await;
            }
            let Some(batch) = batch else { continue };
            let ticked = batch.tick;
            state.set_watched(watched);
            let last = batch.last;
            let (now, front) = (self.common.clock.now(), self.front);
            let work = move |mut state: Box<MasterState>| {
                feed(&mut state, batch, now, front);
                state
            };
            state = if state.may_block() {
                let signs = state.signs_of_life();
                let working = tokio::task::spawn_blocking(move || work(state));
                if let Some(turn) = before.take() {
                    self.carry_out(turn).await;
                }
                match self.keep_alive_while(working, &signs).await {
                    Ok(state) => state,
                    Err(error) => {
                        // A panic in a backend of a user's; the store ends, the node does not.
                        tracing::error!(topic = %self.common.port.topic(), %error, "the master's backend broke down, the store is closed");
                        break;
                    }
                }
            } else {
                if let Some(turn) = before.take() {
                    self.carry_out(turn).await;
                }
                work(state)
            };
            if ticked {
                self.common.set_channels(state.channels());
            }
            let turn = Turn::take(&mut state);
            // Whoever watches begins between two groups.
            if last || watched || !state.may_block() || self.common.is_watched() {
                let at = turn.position.revision;
                self.carry_out(turn).await;
                self.common.start_watches(at);
                if last {
                    break;
                }
            } else {
                before = Some(turn);
            }
        }
        self.common.close();
    }

    /// Waits for the backend, and tells the clones meanwhile that the master lives.
    async fn keep_alive_while<T>(
        &mut self,
        mut working: JoinHandle<T>,
        signs: &SignsOfLife,
    ) -> Result<T, JoinError> {
        loop {
            match timeout(signs.interval(), &mut working).await {
                Ok(done) => return done,
                Err(_elapsed) => {
                    for output in signs.outputs() {
                        self.send(output).await;
                    }
                }
            }
        }
    }

    /// Carries out what goes to clones.
    async fn send(&mut self, output: MasterOutput) {
        match output {
            MasterOutput::Broadcast(payload) => {
                self.common.broadcast(payload).await;
            }
            MasterOutput::Unicast { to, payload } => self.common.unicast(to, payload).await,
            MasterOutput::Event { .. } | MasterOutput::Reply { .. } => {}
        }
    }

    async fn carry_out(&mut self, turn: Turn) {
        // Before the answers, so that who has one finds the figures up to date.
        self.common.set_position(turn.position);
        for output in turn.outputs {
            match output {
                output @ (MasterOutput::Broadcast(_) | MasterOutput::Unicast { .. }) => {
                    self.send(output).await;
                }
                MasterOutput::Event { revision, event } => {
                    let at = turn.position.revision.map(|at| Revision {
                        number: revision,
                        ..at
                    });
                    self.common.tell(at, event);
                }
                MasterOutput::Reply { token, result } => self.common.reply(token, result),
            }
        }
        self.common.post();
    }
}

/// What a group led to, and where the store is behind it.
#[derive(Debug)]
struct Turn {
    position: Position,
    outputs: VecDeque<MasterOutput>,
}

impl Turn {
    fn take(state: &mut MasterState) -> Self {
        Self {
            position: position(state),
            outputs: state.take_outputs(),
        }
    }
}

/// Where a master is.
pub(crate) fn position(state: &MasterState) -> Position {
    Position {
        entries: state.entries(),
        revision: Some(state.revision()),
        lag: 0,
        digest: state.digest(),
    }
}

fn feed(state: &mut MasterState, batch: Batch, now: Timestamp, front: EntityId) {
    for command in batch.commands {
        state.handle_command(now, command.sender, &command.payload);
    }
    for (token, what) in batch.asks {
        let request = match what {
            // Number of a put_unique's request: callers of this node are answered by token.
            What::Operation(operation) => Request::from_operation(operation, front, token),
            // Handles of masters ask themselves.
            What::Question(_) => Request::Unknown,
            What::Copy => Request::Unknown,
            // The master is always idle and in step with itself once it has come this far.
            What::Sync | What::AwaitIdle => Request::Read(Query::Nothing),
        };
        state.handle_request(now, token, request);
    }
    if batch.tick {
        state.tick(now);
    }
    state.commit();
}
