//! Ports for store commands: the crates above core receive the commands of a topic and send their own.
//!
//! Commands are never dropped for want of room and never reach data subscribers; data never reaches a
//! port. The port's topic is announced to the peers while the port lives.

use std::sync::Arc;

use bytes::Bytes;

use super::shared::Shared;
use crate::id::EndpointId;
use crate::queue::{self, Weigh};
use crate::topic::Topic;

/// One store command as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The peer it came from, taken from the connection; our own ID for a command of this endpoint.
    pub sender: EndpointId,
    /// The endpoint it was addressed to; nil for everybody.
    pub receiver: EndpointId,
    /// The store topic.
    pub topic: Topic,
    /// The encoded command (broker-wire reference, 7.2).
    pub payload: Bytes,
}

impl Weigh for Command {
    fn weight(&self) -> usize {
        64 + self.topic.as_bytes().len() + self.payload.len()
    }

    fn droppable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) struct CommandSink {
    pub(crate) topic: Topic,
    pub(crate) queue: queue::Sender<Command>,
}

/// Receives the commands of one topic; dropping it withdraws the topic.
#[derive(Debug)]
#[must_use = "the port closes when it is dropped"]
pub struct CommandPort {
    shared: Arc<Shared>,
    sink: Arc<CommandSink>,
    queue: queue::Receiver<Command>,
}

impl CommandPort {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        sink: Arc<CommandSink>,
        queue: queue::Receiver<Command>,
    ) -> Self {
        Self {
            shared,
            sink,
            queue,
        }
    }

    /// The topic whose commands come here.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.sink.topic
    }

    /// Waits for the next command; `None` once the endpoint has shut down, or when commands came in faster
    /// than they were taken for so long that the queue was cut: then the port has to be opened anew.
    ///
    /// # Cancel safety
    /// Safe: no command is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Command> {
        self.queue.recv().await
    }

    /// Waits for commands and appends up to `max` of them; 0 at the end.
    ///
    /// # Cancel safety
    /// Safe: no command is lost if the future is dropped.
    pub async fn recv_many(&mut self, out: &mut Vec<Command>, max: usize) -> usize {
        self.queue.recv_many(out, max, usize::MAX).await
    }

    /// The next command, if there is one now.
    pub fn try_recv(&mut self) -> Option<Command> {
        self.queue.try_recv()
    }
}

impl Drop for CommandPort {
    fn drop(&mut self) {
        self.shared.close_command_port(&self.sink);
    }
}
