//! The thread of a program's own sink: from its queue into the sink, batch by batch.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::thread;

use broker_core::queue::Receiver;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::attempts::Attempts;
use super::batch::LogBatch;
use super::delivery::Outcome;
use super::own::{AnySink, LogSinkError, SinkFuture};
use crate::panic::caught;

/// A sink's thread, seen from outside. When this is dropped it ends, once the sink lets it.
#[derive(Debug)]
pub(super) struct OwnThread {
    /// Resolves when it has ended.
    pub(super) ended: oneshot::Receiver<()>,
    _stop: DropGuard,
}

impl OwnThread {
    /// Starts it in the current runtime.
    pub(super) fn start(
        sink: Box<dyn AnySink>,
        attempts: Attempts,
        batches: Receiver<LogBatch>,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (done, ended) = oneshot::channel();
        let worker = Worker {
            sink,
            attempts,
            stop: stop.clone(),
        };
        let runtime = Handle::current();
        thread::Builder::new()
            .name("log-sink".to_owned())
            .spawn(move || {
                runtime.block_on(worker.run(batches));
                // Nobody waits any more: that is all right.
                let _ = done.send(());
            })?;
        Ok(Self {
            ended,
            _stop: stop.drop_guard(),
        })
    }
}

struct Worker {
    sink: Box<dyn AnySink>,
    attempts: Attempts,
    stop: CancellationToken,
}

impl Worker {
    async fn run(mut self, mut batches: Receiver<LogBatch>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.deliver_all(&mut batches) => {}
        }
        if let Err(panic) = unpanicked(|| self.sink.close()).await {
            tracing::error!(
                sink = self.attempts.name,
                panic,
                "log sink panicked at its end"
            );
        }
    }

    async fn deliver_all(&mut self, batches: &mut Receiver<LogBatch>) {
        while let Some(mut batch) = batches.recv().await {
            // A sink that blocks does not let anybody look in between.
            if self.stop.is_cancelled() {
                return;
            }
            loop {
                let outcome = outcome(unpanicked(|| self.sink.write(&batch)).await);
                let Some(wait) = self.attempts.ended(&outcome, batch.len()) else {
                    break;
                };
                batch.failed();
                sleep(wait).await;
            }
        }
    }
}

fn outcome(written: Result<Result<(), LogSinkError>, String>) -> Outcome {
    match written {
        Ok(Ok(())) => Outcome::Taken,
        Ok(Err(error)) if error.again => Outcome::Later {
            reason: error.to_string(),
            after: error.after,
        },
        Ok(Err(error)) => Outcome::Refused(error.to_string()),
        Err(panic) => Outcome::Refused(format!("it panicked: {panic}")),
    }
}

/// Runs a future of the sink. A panic in it is an error with its message.
async fn unpanicked<'s, T>(begin: impl FnOnce() -> SinkFuture<'s, T>) -> Result<T, String> {
    let mut future = caught(begin)?;
    poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
