//! The logger of a node at work: a thread of its own, since it formats and writes files all day.
//!
//! It takes what peers send to `zeek/logs/` and to the node's own topic, commits after each group of messages, and
//! sends the receipts. Its queue holds senders up when it is full; what they have not been acknowledged they keep.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::thread;
use std::time::Instant;

use broker_core::{Endpoint, EndpointId, Filter, LogCounters, Message, QueueOptions, Subscriber};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::client::LogClient;
use super::logger::{Logger, SharedCounters};
use crate::events::{BatchReceipt, ClusterEvent};
use crate::log::LogFormat;
use crate::topics;

/// Messages that are processed before their records are written and acknowledged.
const GROUP: usize = 64;
/// Batches of the node's own records that wait for the thread.
const LOCAL_QUEUE: usize = 16;

/// What a node's own code has for the logger.
pub(crate) enum Input {
    /// A message about logs.
    Payload(Bytes),
    /// Finish: everything that has arrived is written, acknowledged, and the files are closed.
    Close(oneshot::Sender<()>),
}

/// A node's logger.
#[derive(Debug)]
pub struct LogReceiver {
    inputs: mpsc::Sender<Input>,
    counters: SharedCounters,
}

impl LogReceiver {
    /// Starts to write the logs that peers of `endpoint` send into `dir`. `name` is what receipts are signed with, the
    /// node's name in a cluster.
    ///
    /// # Errors
    /// The directory cannot be created or read, or a journal in it is damaged.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        endpoint: &Endpoint,
        name: &str,
        dir: &Path,
        format: LogFormat,
    ) -> io::Result<Self> {
        Self::start_with(endpoint, name, dir, format, None, CancellationToken::new())
    }

    pub(crate) fn start_with(
        endpoint: &Endpoint,
        name: &str,
        dir: &Path,
        format: LogFormat,
        own: Option<LogClient>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let counters = SharedCounters::default();
        let logger = Logger::open(dir, format, counters.clone())?;
        let filter: Filter = [
            broker_core::Topic::from_static(topics::LOGS_PREFIX),
            topics::node_topic(name),
        ]
        .into_iter()
        .collect();
        let subscriber = endpoint.subscribe(filter, QueueOptions::local());
        let (sender, receiver) = mpsc::channel(LOCAL_QUEUE);
        if let Some(own) = &own {
            own.set_local(sender.clone());
        }
        let worker = Worker {
            endpoint: endpoint.clone(),
            name: name.to_owned(),
            own,
            logger,
            inputs: receiver,
        };
        let handle = Handle::current();
        thread::Builder::new()
            .name("logger".to_owned())
            .spawn(move || handle.block_on(worker.run(subscriber, stop)))?;
        Ok(Self {
            inputs: sender,
            counters,
        })
    }

    /// Counters by stream id.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, LogCounters> {
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes and acknowledges what has arrived, and closes the files in order.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inputs.send(Input::Close(done)).await.is_ok() {
            // An error is a thread that has ended: everything is closed then too.
            let _ = closed.await;
        }
    }
}

struct Worker {
    endpoint: Endpoint,
    name: String,
    own: Option<LogClient>,
    logger: Logger,
    inputs: mpsc::Receiver<Input>,
}

impl Worker {
    async fn run(mut self, mut subscriber: Subscriber, stop: CancellationToken) {
        let mut messages = Vec::with_capacity(GROUP);
        let mut closing = None;
        while closing.is_none() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.endpoint.stopping() => break,
                count = subscriber.recv_many(&mut messages, GROUP) => {
                    if count == 0 {
                        break;
                    }
                }
                input = self.inputs.recv() => match input {
                    Some(Input::Payload(payload)) => self.logger.receive(&payload, Instant::now()),
                    Some(Input::Close(done)) => closing = Some(done),
                    None => break,
                },
            }
            for message in messages.drain(..) {
                self.receive(&message).await;
            }
            if closing.is_some() {
                self.take_rest(&mut subscriber).await;
            }
            self.commit().await;
        }
        drop(subscriber);
        self.commit().await;
        self.logger.close(Instant::now());
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    /// What had arrived before we close.
    async fn take_rest(&mut self, subscriber: &mut Subscriber) {
        while let Ok(Input::Payload(payload)) = self.inputs.try_recv() {
            self.logger.receive(&payload, Instant::now());
        }
        while let Some(message) = subscriber.try_recv() {
            self.receive(&message).await;
        }
    }

    async fn receive(&mut self, message: &Message) {
        self.logger.receive(message.encoded(), Instant::now());
        if self.logger.should_commit() {
            self.commit().await;
        }
    }

    async fn commit(&mut self) {
        let mut by_writer: BTreeMap<EndpointId, Vec<BatchReceipt>> = BTreeMap::new();
        for (writer, receipt) in self.logger.commit(Instant::now()) {
            by_writer.entry(writer).or_default().push(receipt);
        }
        for (writer, batches) in by_writer {
            match &self.own {
                Some(own) if writer == self.endpoint.id() => own.receipts(&self.name, &batches),
                _ => self.acknowledge(writer, batches).await,
            }
        }
    }

    async fn acknowledge(&self, writer: EndpointId, batches: Vec<BatchReceipt>) {
        let event = ClusterEvent::Receipt {
            logger: self.name.clone(),
            batches,
        }
        .to_event();
        let message = Message::new(topics::nodeid_topic(writer), event);
        // A writer that is gone needs no receipt.
        let _ = self.endpoint.send_to(writer, message).await;
    }
}
