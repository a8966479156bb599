//! The task of a clone.

use std::sync::Arc;

use broker_core::{Endpoint, StoreReply};
use tokio::sync::{mpsc, watch};

use super::{Asked, Clock, Common, Position, Shared, Topics, What};
use crate::clone::{CloneOutput, CloneState, Freshness};

/// Feeds a clone.
#[derive(Debug)]
pub(crate) struct CloneDriver {
    common: Common,
    freshness: watch::Sender<Freshness>,
}

impl CloneDriver {
    pub(crate) fn new(
        endpoint: Endpoint,
        topics: Topics,
        asks: mpsc::Receiver<Asked>,
        shared: Arc<Shared>,
        clock: Clock,
        freshness: watch::Sender<Freshness>,
    ) -> Self {
        let common = Common::new(
            endpoint,
            topics.clone,
            topics.master,
            topics.events,
            asks,
            shared,
            clock,
        );
        Self { common, freshness }
    }

    /// Runs until the endpoint shuts down.
    pub(crate) async fn run(mut self, mut state: CloneState) {
        self.carry_out(&mut state).await;
        loop {
            let batch = self.common.next_batch(state.is_busy()).await;
            state.set_watched(self.common.is_watched());
            let now = self.common.clock.now();
            for command in batch.commands {
                state.handle_command(now, command.sender, &command.payload);
            }
            for (token, what) in batch.asks {
                match what {
                    What::Operation(operation) => state.handle_write(token, operation),
                    What::Question(question) => state.handle_question(token, question),
                    What::Sync => state.handle_sync(token),
                    What::Copy => {
                        state.take_a_copy();
                        self.common.reply(token, Ok(StoreReply::Done));
                    }
                    What::AwaitIdle => state.handle_await_idle(token),
                }
            }
            if batch.tick {
                state.tick();
                let answers = &self.common.answers;
                state.forget_waits(|token| answers.is_gone(token));
                self.common.set_channels(state.channels());
            }
            if batch.last {
                state.leave();
            }
            self.carry_out(&mut state).await;
            if batch.last {
                break;
            }
        }
        self.common.close();
    }

    async fn carry_out(&mut self, state: &mut CloneState) {
        let view = state.view();
        let publish = |common: &Common, state: &CloneState| {
            common.set_position(Position {
                entries: view.content.len() as u64,
                revision: state.revision(),
                lag: state.lag(),
                digest: view.content.digest(),
            });
        };
        // Before the answers, so that who has one finds the figures up to date.
        publish(&self.common, state);
        while let Some(output) = state.poll_output() {
            match output {
                CloneOutput::Broadcast(payload) => {
                    self.common.broadcast(payload).await;
                }
                CloneOutput::Write { seq, payload } => {
                    if self.common.broadcast(payload).await > 0 {
                        state.handle_left(seq);
                    }
                }
                CloneOutput::Unicast { to, payload } => self.common.unicast(to, payload).await,
                CloneOutput::Event { at, event } => self.common.tell(at, Arc::new(event)),
                CloneOutput::Difference { at, event } => self.common.tell_difference(at, event),
                CloneOutput::Position(at) => self.common.tell_position(at),
                CloneOutput::Reply { token, result } => self.common.reply(token, result),
                CloneOutput::Freshness(freshness) => {
                    self.freshness.send_replace(freshness);
                }
            }
        }
        self.common.post();
        publish(&self.common, state);
        self.common.start_watches(state.revision());
    }
}
