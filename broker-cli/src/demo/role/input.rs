//! The share of the inputs that one worker reads, on a thread of its own.

use std::num::NonZeroU64;
use std::sync::Arc;

use anyhow::Context as _;
use broker_cluster::log::{LogItem, LogReader, LogStyle, LogValue, Record, Schema, serial};
use broker_cluster::logging::MAX_RECORD;
use tokio::sync::mpsc;

use super::super::plan::{Input, Plan};

/// Something read.
#[derive(Debug)]
pub(super) enum Item {
    /// The records that follow are of this log.
    Log(LogShape),
    /// A record of the log named last.
    Record(Record),
    /// A line that is none, as `FILE:LINE: REASON`.
    Bad(String),
}

/// A log as it is to be written again.
#[derive(Clone, Debug)]
pub(super) struct LogShape {
    pub(super) schema: Schema,
    pub(super) stream: String,
    pub(super) style: LogStyle,
}

/// Reads the share of the worker called `name` and sends it in pieces, in order; the channel ends with the inputs.
pub(super) fn read(
    plan: &Plan,
    name: &str,
) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Vec<Item>>>> {
    let (index, workers) = position(plan, name)?;
    let inputs = plan.inputs.clone();
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        for input in &inputs {
            if let Err(error) = read_one(input, index, workers, &sender) {
                // A worker that has gone needs no error.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        }
    });
    Ok(receiver)
}

/// How many records are in the share of the worker called `name`.
pub(super) fn count(plan: &Plan, name: &str) -> anyhow::Result<u64> {
    let (index, workers) = position(plan, name)?;
    let mut count = 0;
    for input in &plan.inputs {
        for item in LogReader::open(&input.file)?.share(index, workers) {
            count += u64::from(matches!(item?, LogItem::Record { record, .. } if fits(&record)));
        }
    }
    Ok(count)
}

fn position(plan: &Plan, name: &str) -> anyhow::Result<(u64, NonZeroU64)> {
    let index = plan
        .workers
        .iter()
        .position(|worker| worker == name)
        .context("not a worker of the plan")?;
    let workers = NonZeroU64::new(plan.workers.len() as u64).context("no workers")?;
    Ok((index as u64, workers))
}

/// Whether a record is short enough to be sent.
fn fits(record: &[LogValue]) -> bool {
    serial::encoded_len(record) <= MAX_RECORD
}

fn read_one(
    input: &Input,
    index: u64,
    workers: NonZeroU64,
    sender: &mpsc::Sender<anyhow::Result<Vec<Item>>>,
) -> anyhow::Result<()> {
    let reader = LogReader::open(&input.file)?.share(index, workers);
    let style = reader.style();
    let shape = |schema: &Arc<Schema>| {
        let mut schema = Schema::clone(schema);
        // Of the path it had: that two logs of it are kept apart does not make them two streams.
        let stream = schema.stream_id().into_owned();
        schema.path.clone_from(&input.path);
        Item::Log(LogShape {
            schema,
            stream,
            style: style.clone(),
        })
    };
    let mut piece = vec![shape(reader.schema())];
    for item in reader {
        piece.push(
            match item.with_context(|| format!("cannot read {}", input.file.display()))? {
                LogItem::Record { record, .. } if fits(&record) => Item::Record(record),
                LogItem::Record { line, record } => Item::Bad(format!(
                    "{}:{line}: a record of {} bytes is too long (at most {MAX_RECORD})",
                    input.file.display(),
                    serial::encoded_len(&record)
                )),
                LogItem::Schema(schema) => shape(&schema),
                LogItem::BadLine(error) => Item::Bad(error.to_string()),
            },
        );
        if piece.len() >= PIECE
            && sender
                .blocking_send(Ok(std::mem::take(&mut piece)))
                .is_err()
        {
            return Ok(());
        }
    }
    // A worker that has gone needs no more.
    let _ = sender.blocking_send(Ok(piece));
    Ok(())
}

/// Items sent at once.
const PIECE: usize = 128;

/// Pieces read before the worker has taken those in front of them.
const PIECES_AHEAD: usize = 16;
