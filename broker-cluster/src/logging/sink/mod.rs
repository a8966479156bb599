//! Sinks: where a logger sends its records beside the files: elsewhere as JSON lines, or to the program itself.
//!
//! | file | what it holds |
//! |---|---|
//! | `target` | the addresses there are: `tcp://`, `unix://`, `http://`, `https://` |
//! | `secure` | TLS, as the program brings it |
//! | `delivery` | state machine: what an outcome means, and when to try again |
//! | `line_stream` | lines over TCP or a Unix socket |
//! | `http_post` | batches of lines as HTTP requests |
//! | `own`, `own_thread` | sinks of the program: what it implements, and the thread that calls it |
//! | `batch` | what these get |
//! | `gather` | records and lines of a log, until they are in its file |
//! | `attempts`, `ledger` | what is done about an outcome; the counters |
//!
//! A record goes to the sinks once it is in its file. Each sink has a queue of its own, bounded in bytes; when it is full the
//! oldest or the newest records are dropped, as it is set, and counted. A sink never holds up the files or other sinks. For each
//! sink, at any quiet moment: offered = sent + dropped + queued records.
//!
//! What is sent twice: records whose request got no answer, or that were being written when a connection broke. What is
//! lost without being counted: what a TCP or Unix socket had taken and its other end has not read when it goes away.

mod attempts;
mod batch;
mod delivery;
mod gather;
mod http_post;
mod ledger;
mod line_stream;
mod own;
mod own_thread;
mod secure;
mod target;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use broker_core::queue::{self, Receiver, Sender, Weigh};
use broker_core::{OverflowPolicy, QueueOptions};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use self::attempts::Attempts;
pub use self::batch::LogBatch;
use self::delivery::Outcome;
use self::gather::Collected;
pub(crate) use self::gather::SinkRecords;
use self::http_post::HttpPost;
use self::ledger::Ledger;
pub use self::ledger::SinkCounters;
use self::line_stream::LineStream;
pub use self::own::{LogSink, LogSinkError, LogSinkSpec};
use self::own_thread::OwnThread;
pub(crate) use self::secure::{Prepared, prepare};
pub use self::secure::{SinkClient, SinkSetupError, SinkStream, SinkTls, SinkTlsError};
pub use self::target::{HostPort, HttpAddress, SinkTarget, SinkTargetError};
use crate::layout::TlsSpec;

/// Bytes of lines that are sent at a time, if no single line is longer.
pub const SINK_CHUNK: usize = 1 << 20;
/// Bytes that wait for a sink, if it is not said.
const DEFAULT_QUEUE_BYTES: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");
/// Chunks in a sink's queue, beside its bound in bytes.
const QUEUE_CHUNKS: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// A sink of a logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkOptions {
    /// Its name, in counters and messages.
    pub name: String,
    /// Where it is.
    pub target: SinkTarget,
    /// The ids of the streams it gets, such as `Conn::LOG`; empty: all. Default: all.
    pub streams: Vec<String>,
    /// Bytes that wait for it at most. Default: 64 MiB.
    pub max_bytes: NonZeroUsize,
    /// Whether the oldest records give way to new ones when it is full; otherwise the new ones are dropped. Default: yes.
    pub drop_oldest: bool,
    /// What `https://` takes: the CAs to trust, and the certificate to show if the server asks for one. Default: nothing,
    /// with which the server is not trusted.
    pub tls: TlsSpec,
}

impl SinkOptions {
    /// A sink with the default settings.
    #[must_use]
    pub fn new(name: impl Into<String>, target: SinkTarget) -> Self {
        Self {
            name: name.into(),
            target,
            streams: Vec::new(),
            max_bytes: DEFAULT_QUEUE_BYTES,
            drop_oldest: true,
            tls: TlsSpec::default(),
        }
    }
}

/// Lines of one log, on their way to sinks.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    lines: Bytes,
    records: u64,
}

impl Weigh for Chunk {
    fn weight(&self) -> usize {
        self.lines.len()
    }
}

/// The logger's end of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkFeed {
    streams: Arc<[String]>,
    queue: Queue,
    ledger: Arc<Ledger>,
}

/// What waits for a sink.
#[derive(Clone, Debug)]
enum Queue {
    Lines(Sender<Chunk>),
    Records(Sender<LogBatch>),
}

impl SinkFeed {
    pub(crate) fn wants(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|wanted| wanted == stream)
    }

    /// Whether it gets lines; otherwise it gets records.
    fn takes_lines(&self) -> bool {
        matches!(self.queue, Queue::Lines(_))
    }

    /// Takes the records of a log, in pieces of about [`SINK_CHUNK`]. Never waits.
    pub(crate) fn offer(&self, collected: &Collected) {
        self.ledger.offered(collected.records);
        match &self.queue {
            Queue::Lines(queue) => {
                for chunk in chunks(&collected.lines, collected.records) {
                    let records = chunk.records;
                    self.put(queue, chunk, records);
                }
            }
            Queue::Records(queue) => {
                for batch in &collected.batches {
                    self.put(queue, batch.clone(), batch.len());
                }
            }
        }
    }

    fn put<T: Weigh>(&self, queue: &Sender<T>, piece: T, records: u64) {
        // What the queue drops it counts itself.
        if let queue::Offer::Full(_) | queue::Offer::Closed(_) = queue.offer(piece) {
            self.ledger.dropped(records);
        }
    }

    fn close(&self) {
        match &self.queue {
            Queue::Lines(queue) => queue.close(),
            Queue::Records(queue) => queue.close(),
        }
    }
}

/// Cuts lines at line ends.
fn chunks(lines: &Bytes, records: u64) -> Vec<Chunk> {
    if lines.len() <= SINK_CHUNK {
        return vec![Chunk {
            lines: lines.clone(),
            records,
        }];
    }
    let mut all = Vec::new();
    let (mut start, mut end, mut count) = (0, 0, 0);
    for at in memchr::memchr_iter(b'\n', lines) {
        if at + 1 - start > SINK_CHUNK && count > 0 {
            all.push(Chunk {
                lines: lines.slice(start..end),
                records: count,
            });
            (start, count) = (end, 0);
        }
        end = at + 1;
        count += 1;
    }
    if count > 0 {
        all.push(Chunk {
            lines: lines.slice(start..end),
            records: count,
        });
    }
    all
}

/// A sink at work.
#[derive(Debug)]
pub(crate) struct Sink {
    name: String,
    feed: SinkFeed,
    work: Work,
}

/// What empties its queue.
#[derive(Debug)]
enum Work {
    Task(JoinHandle<()>),
    Own(OwnThread),
}

impl Sink {
    /// Starts it on the current runtime.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn start(prepared: Prepared) -> io::Result<Self> {
        match prepared {
            Prepared::Elsewhere { options, client } => Ok(Self::start_task(&options, client)),
            Prepared::Own(spec) => Self::start_own(spec),
        }
    }

    fn start_task(options: &SinkOptions, client: Option<Arc<dyn SinkClient>>) -> Self {
        let ledger = Arc::new(Ledger::default());
        let (queue, chunks) = queue(
            options.max_bytes,
            options.drop_oldest,
            &ledger,
            |chunk: &Chunk| chunk.records,
        );
        let worker = Worker {
            connection: Connection::to(&options.target, client),
            attempts: Attempts::new(&options.name, Arc::clone(&ledger)),
        };
        Self {
            name: options.name.clone(),
            feed: SinkFeed {
                streams: options.streams.as_slice().into(),
                queue: Queue::Lines(queue),
                ledger,
            },
            work: Work::Task(tokio::spawn(worker.run(chunks))),
        }
    }

    fn start_own(spec: LogSinkSpec) -> io::Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let (queue, batches) = queue(spec.max_bytes, spec.drop_oldest, &ledger, LogBatch::len);
        let attempts = Attempts::new(&spec.name, Arc::clone(&ledger));
        Ok(Self {
            work: Work::Own(OwnThread::start(spec.sink, attempts, batches)?),
            name: spec.name,
            feed: SinkFeed {
                streams: spec.streams.into(),
                queue: Queue::Records(queue),
                ledger,
            },
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn feed(&self) -> SinkFeed {
        self.feed.clone()
    }

    pub(crate) fn counters(&self) -> SinkCounters {
        self.feed.ledger.counters()
    }

    /// Lets it end once it has what waits for it. Nothing is taken any more.
    pub(crate) fn finish(&self) {
        self.feed.close();
    }

    /// Sends what waits until `deadline`; what is left then is dropped. Nothing is taken any more.
    pub(crate) async fn close(mut self, deadline: Instant) {
        self.finish();
        let ended = match &mut self.work {
            Work::Task(task) => timeout_at(deadline, task).await.is_ok(),
            Work::Own(thread) => timeout_at(deadline, &mut thread.ended).await.is_ok(),
        };
        if !ended {
            let left = self.counters().queued();
            tracing::warn!(
                sink = self.name,
                records = left,
                "log sink closed with records left"
            );
        }
        if let (Work::Task(task), false) = (&mut self.work, ended) {
            task.abort();
            let _ = task.await;
        }
        // The queue counts what is in it; this is what is on its way, or in a call that does not return.
        self.feed.ledger.close();
    }
}

fn queue<T: Weigh + Send + 'static>(
    max_bytes: NonZeroUsize,
    drop_oldest: bool,
    ledger: &Arc<Ledger>,
    records: fn(&T) -> u64,
) -> (Sender<T>, Receiver<T>) {
    let policy = if drop_oldest {
        OverflowPolicy::DropOldest
    } else {
        OverflowPolicy::DropNewest
    };
    let bounds = QueueOptions::peer()
        .max_messages(QUEUE_CHUNKS)
        .max_bytes(max_bytes)
        .policy(policy);
    let ledger = Arc::clone(ledger);
    queue::channel_with(bounds, move |piece: &T, _| ledger.dropped(records(piece)))
}

struct Worker {
    connection: Connection,
    attempts: Attempts,
}

enum Connection {
    Lines(LineStream),
    Post(Box<HttpPost>),
}

impl Connection {
    fn to(target: &SinkTarget, tls: Option<Arc<dyn SinkClient>>) -> Self {
        match target {
            SinkTarget::Http(address) | SinkTarget::Https(address) => {
                Self::Post(Box::new(HttpPost::new(address.clone(), tls)))
            }
            other => Self::Lines(LineStream::new(other.clone())),
        }
    }

    async fn send(&mut self, lines: &Bytes) -> Outcome {
        match self {
            Self::Lines(stream) => stream.send(lines).await,
            Self::Post(post) => post.send(lines.clone()).await,
        }
    }
}

impl Worker {
    async fn run(mut self, mut chunks: Receiver<Chunk>) {
        let mut waiting = Vec::new();
        while chunks.recv_many(&mut waiting, MAX_MERGED, SINK_CHUNK).await > 0 {
            let chunk = merged(&mut waiting);
            loop {
                let outcome = self.connection.send(&chunk.lines).await;
                match self.attempts.ended(&outcome, chunk.records) {
                    Some(wait) => sleep(wait).await,
                    None => break,
                }
            }
        }
    }
}

fn merged(chunks: &mut Vec<Chunk>) -> Chunk {
    if chunks.len() == 1
        && let Some(only) = chunks.pop()
    {
        return only;
    }
    let mut lines = BytesMut::with_capacity(chunks.iter().map(|chunk| chunk.lines.len()).sum());
    let mut records = 0;
    for chunk in chunks.drain(..) {
        lines.extend_from_slice(&chunk.lines);
        records += chunk.records;
    }
    Chunk {
        lines: lines.freeze(),
        records,
    }
}

/// Chunks sent as one.
const MAX_MERGED: usize = 256;
/// How long a sink may take to accept a connection, and how long to take lines or answer a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
