//! The logger of a node at work: a thread of its own, since it formats and writes files all day.
//!
//! It takes what peers send to `zeek/logs/` and to the node's own topic, commits after each group of messages, and
//! sends the receipts. Its queue holds senders up when it is full; what they have not been acknowledged they keep.
//!
//! Beside the thread run the tasks of the sinks and of what happens to rotated files; the thread waits for neither.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use broker_core::{Endpoint, EndpointId, Filter, LogCounters, Message, QueueOptions, Subscriber};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::archive::{ArchiveCounters, ArchiveQueue, Archiver};
use super::client::LogClient;
use super::logger::{Logger, Now, Sender, SharedCounters};
use super::options::LoggerOptions;
use super::sink::{LogSinkSpec, Prepared, Sink, SinkCounters, prepare};
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

/// How long [`LogReceiver::close`] waits for rotated files to be archived and for sinks to take what waits.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(8);
/// How often a rotation that is due later is looked at again, since clocks are set.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A node's logger.
#[derive(Debug)]
pub struct LogReceiver {
    inputs: mpsc::Sender<Input>,
    counters: SharedCounters,
    archived: Option<Arc<ArchiveCounters>>,
    beside: Mutex<Beside>,
}

/// What runs beside the thread.
#[derive(Debug, Default)]
struct Beside {
    archiver: Option<Archiver>,
    sinks: Vec<Sink>,
}

/// How a logger stands in its node.
pub(crate) struct Place {
    /// Whose own records it writes.
    pub(crate) own: Option<LogClient>,
    /// Whether it writes what peers send, too.
    pub(crate) for_peers: bool,
    pub(crate) stop: CancellationToken,
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
        Self::start_with(endpoint, name, dir, LoggerOptions::of(format))
    }

    /// Like [`start`](Self::start), with rotation, sinks and so on.
    ///
    /// # Errors
    /// The directory, or that of rotated files, cannot be created or read, or a journal in it is damaged; a sink cannot be
    /// used ([`SinkSetupError`](super::SinkSetupError), as the inner error).
    ///
    /// # Panics
    /// Outside a tokio runtime; with sinks or a program for rotated files, one without I/O.
    pub fn start_with(
        endpoint: &Endpoint,
        name: &str,
        dir: &Path,
        options: LoggerOptions,
    ) -> io::Result<Self> {
        Self::start_with_sinks(endpoint, name, dir, options, Vec::new())
    }

    /// Like [`start_with`](Self::start_with), with sinks of the program beside those of the options.
    ///
    /// # Errors
    /// As of `start_with`; the system gives no thread for a sink.
    ///
    /// # Panics
    /// Outside a tokio runtime; with sinks or a program for rotated files, one without I/O.
    pub fn start_with_sinks(
        endpoint: &Endpoint,
        name: &str,
        dir: &Path,
        options: LoggerOptions,
        sinks: Vec<LogSinkSpec>,
    ) -> io::Result<Self> {
        let place = Place {
            own: None,
            for_peers: true,
            stop: CancellationToken::new(),
        };
        let sinks =
            prepare(&options.sinks, sinks, options.tls.as_ref()).map_err(io::Error::other)?;
        Self::start_at(endpoint, name, dir, options, sinks, place)
    }

    pub(crate) fn start_at(
        endpoint: &Endpoint,
        name: &str,
        dir: &Path,
        options: LoggerOptions,
        sinks: Vec<Prepared>,
        place: Place,
    ) -> io::Result<Self> {
        let counters = SharedCounters::default();
        let sinks = sinks.into_iter().map(Sink::start);
        let sinks = sinks.collect::<io::Result<Vec<Sink>>>()?;
        let feeds = sinks.iter().map(Sink::feed).collect();
        let archive = options.archive.clone();
        let logger = Logger::open(dir, name, options, feeds, counters.clone(), now())?;
        let archiver = archive.is_on().then(|| Archiver::start(archive));
        let filter: Filter = if place.for_peers {
            [
                broker_core::Topic::from_static(topics::LOGS_PREFIX),
                topics::node_topic(name),
            ]
            .into_iter()
            .collect()
        } else {
            Filter::new()
        };
        let subscriber = endpoint.subscribe(filter, QueueOptions::local());
        let (sender, receiver) = mpsc::channel(LOCAL_QUEUE);
        if let Some(own) = &place.own {
            own.set_local(sender.clone());
        }
        let worker = Worker {
            endpoint: endpoint.clone(),
            name: name.to_owned(),
            own: place.own,
            logger,
            archive: archiver.as_ref().map(Archiver::queue),
            inputs: receiver,
        };
        let handle = Handle::current();
        let stop = place.stop;
        thread::Builder::new()
            .name("logger".to_owned())
            .spawn(move || handle.block_on(worker.run(subscriber, stop)))?;
        Ok(Self {
            inputs: sender,
            counters,
            archived: archiver.as_ref().map(Archiver::counters),
            beside: Mutex::new(Beside { archiver, sinks }),
        })
    }

    /// Counters of the sinks, by their names.
    #[must_use]
    pub fn sinks(&self) -> BTreeMap<String, SinkCounters> {
        self.beside()
            .sinks
            .iter()
            .map(|sink| (sink.name().to_owned(), sink.counters()))
            .collect()
    }

    /// How many rotated files were archived, and how many could not be; none if nothing is done with them.
    #[must_use]
    pub fn archived(&self) -> Option<(u64, u64)> {
        let counters = self.archived.as_ref()?;
        Some((
            counters.done.load(Ordering::Relaxed),
            counters.failed.load(Ordering::Relaxed),
        ))
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counters by stream id.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, LogCounters> {
        self.counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Writes and acknowledges what has arrived, and closes the files in order. Then waits for at most [`CLOSE_LIMIT`] until
    /// rotated files are archived and sinks have what waits for them.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inputs.send(Input::Close(done)).await.is_ok() {
            // An error is a thread that has ended: everything is closed then too.
            let _ = closed.await;
        }
        let Beside { archiver, sinks } = std::mem::take(&mut *self.beside());
        let deadline = tokio::time::Instant::now() + CLOSE_LIMIT;
        // All at once: none is to wait for the others.
        sinks.iter().for_each(Sink::finish);
        for sink in sinks {
            sink.close(deadline).await;
        }
        if let Some(archiver) = archiver {
            archiver.close(deadline - tokio::time::Instant::now()).await;
        }
    }
}

/// What time it is.
fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: Timestamp::now(),
    }
}

struct Worker {
    endpoint: Endpoint,
    name: String,
    own: Option<LogClient>,
    logger: Logger,
    archive: Option<ArchiveQueue>,
    inputs: mpsc::Receiver<Input>,
}

impl Worker {
    async fn run(mut self, mut subscriber: Subscriber, stop: CancellationToken) {
        let mut messages = Vec::with_capacity(GROUP);
        let mut closing = None;
        self.archive_rotated();
        while closing.is_none() {
            let next_rotation = self.next_rotation();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.endpoint.stopping() => break,
                count = subscriber.recv_many(&mut messages, GROUP) => {
                    if count == 0 {
                        break;
                    }
                }
                input = self.inputs.recv() => match input {
                    Some(Input::Payload(payload)) => self.logger.receive(&payload, Sender::Local, now()),
                    Some(Input::Close(done)) => closing = Some(done),
                    None => break,
                },
                () = sleep(next_rotation.unwrap_or_default()), if next_rotation.is_some() => {}
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
        let rotated = self.logger.close(now());
        if let Some(archive) = self.archive.take() {
            rotated.into_iter().for_each(|file| archive.push(file));
        }
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    /// How long until a file may have to be rotated. None: no file is rotated at a time.
    fn next_rotation(&self) -> Option<Duration> {
        let due = self.logger.next_rotation()?;
        let left = due.duration_since(Timestamp::now());
        // Negative: at once.
        Some(Duration::try_from(left).unwrap_or_default().min(LOOK_AGAIN))
    }

    fn archive_rotated(&mut self) {
        let rotated = self.logger.take_rotated();
        if let Some(archive) = &self.archive {
            rotated.into_iter().for_each(|file| archive.push(file));
        }
    }

    /// What had arrived before we close.
    async fn take_rest(&mut self, subscriber: &mut Subscriber) {
        while let Ok(Input::Payload(payload)) = self.inputs.try_recv() {
            self.logger.receive(&payload, Sender::Local, now());
        }
        while let Some(message) = subscriber.try_recv() {
            self.receive(&message).await;
        }
    }

    async fn receive(&mut self, message: &Message) {
        let is_peer = |id| self.endpoint.peers().iter().any(|peer| peer.id == id);
        let sender = match message.peer() {
            Some(id) => Sender::Peer {
                id,
                is_peer: &is_peer,
            },
            None => Sender::Client,
        };
        self.logger.receive(message.encoded(), sender, now());
        if self.logger.should_commit() {
            self.commit().await;
        }
    }

    async fn commit(&mut self) {
        let mut by_writer: BTreeMap<EndpointId, Vec<BatchReceipt>> = BTreeMap::new();
        for (writer, receipt) in self.logger.commit(now()) {
            by_writer.entry(writer).or_default().push(receipt);
        }
        for (writer, batches) in by_writer {
            match &self.own {
                Some(own) if writer == self.endpoint.id() => own.receipts(&self.name, &batches),
                _ => self.acknowledge(writer, batches).await,
            }
        }
        self.logger.rotate(now());
        self.archive_rotated();
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
