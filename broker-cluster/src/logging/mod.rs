//! Remote logging: records from any node to the loggers' files, in Zeek's messages (reference, zeek-cluster 1.8, 3.6,
//! 6.3 to 6.5), with receipts between our own nodes.
//!
//! | side | what |
//! |---|---|
//! | writing | [`LogClient`], [`LogStream`], [`TypedLogStream`]: batches, round robin over the loggers, kept until a receipt says "in the file" |
//! | receiving | [`LogReceiver`]: files in Zeek's TSV or JSON, a journal of batches beside each |
//! | counting | [`audit_logs`]: distinct and duplicate records in the files of all loggers, the dead ones' included |
//!
//! A record is lost only if its writer dies before it has a receipt. A record is written twice if its logger dies
//! between writing it and noting that, or after noting it and before the receipt arrives.

mod archive;
mod audit;
mod client;
mod descriptors;
mod file;
mod hook;
pub(crate) mod journal;
mod known;
mod lock;
mod logger;
mod options;
mod outbox;
mod receiver;
mod rotation;
mod settings;
mod sink;
mod spec;
mod spool;
mod suffix;
mod typed;
pub(crate) mod wire;

pub use archive::QUEUE as ARCHIVE_QUEUE;
pub use audit::{LogAudit, WriterAudit, audit_log, audit_logs};
pub use client::{DEFAULT_HOLD, LogClient, LogError, LogStream};
pub use hook::{LogHook, LogOrigin};
pub use logger::{MAX_LOGS, UNKNOWN};
pub use options::{ArchiveOptions, LoggerOptions, RotatedNames, RotationOptions, RotationRule};
pub use outbox::{
    BATCH_BYTES, BATCH_RECORDS, FLUSH_INTERVAL, MAX_BATCH_BYTES, MAX_BATCHES, MAX_DRAINING,
    MAX_SPAN, MAX_SPOOLING, MAX_STREAMS, RECEIPT_TIMEOUT,
};
pub use receiver::{CLOSE_LIMIT, LogReceiver};
pub use settings::{LogSettings, StreamSettings};
pub use sink::{
    HostPort, HttpAddress, LogBatch, LogSink, LogSinkError, LogSinkSpec, SINK_CHUNK, SinkClient,
    SinkCounters, SinkOptions, SinkSetupError, SinkStream, SinkTarget, SinkTargetError, SinkTls,
    SinkTlsError,
};
pub use spec::{ASCII_WRITER, LogSpec};
pub use spool::SpoolOptions;
pub use suffix::{LogSuffix, LogSuffixError};
pub use typed::TypedLogStream;
pub use wire::MAX_RECORD;

pub(crate) use receiver::Place;
pub(crate) use sink::prepare as prepare_sinks;
pub(crate) use spool::Spool;
