//! The task that sends what streams have written, to loggers, to whoever subscribed, to the logger of this node, and into and
//! out of the spool.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use broker_core::Message;
use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::LogClient;
use crate::logging::outbox::{FLUSH_INTERVAL, Transmit};
use crate::logging::receiver::Input;
use crate::logging::spool::{Spool, SpooledBatch, Stored};

/// So many complaints about the spool per interval.
pub(super) const FAILURES: u32 = 3;
pub(super) const FAILURE_INTERVAL: Duration = Duration::from_secs(60);

impl LogClient {
    /// Sends what streams have written until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut timer = interval(FLUSH_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.wake.notified() => {}
                _ = timer.tick() => {
                    let now = Instant::now();
                    let mut outbox = self.outbox();
                    outbox.flush(now);
                    outbox.tick(now);
                }
            }
            self.send_ready().await;
        }
    }

    pub(super) async fn run_until_stopping(self) {
        let endpoint = self.shared.endpoint.clone();
        let stop = CancellationToken::new();
        tokio::select! {
            () = endpoint.stopping() => {}
            () = self.clone().run(stop) => {}
        }
        self.close();
    }

    async fn send_ready(&self) {
        loop {
            let transmit = self.outbox().next_transmit();
            match transmit {
                None => return,
                Some(Transmit::Local { payload }) => self.send_local(payload).await,
                // If it cannot be sent, its logger is about to go down or to time out: the batch goes elsewhere then.
                Some(Transmit::Numbered {
                    logger,
                    topic,
                    payload,
                }) => {
                    let _ = self
                        .shared
                        .endpoint
                        .send_to(logger, Message::from_encoded(topic, payload))
                        .await;
                }
                Some(Transmit::Plain {
                    stream,
                    topic,
                    payload,
                    records,
                    spooled,
                }) => {
                    let reached = self
                        .shared
                        .endpoint
                        .publish(Message::from_encoded(topic, payload))
                        .await;
                    let peers = reached.map_or(0, |reached| reached.peers + reached.locals);
                    self.outbox().plain_done(stream, records, peers, spooled);
                    self.shared.progress.notify_waiters();
                }
                Some(Transmit::Spool(batch)) => self.store_in_spool(batch).await,
                Some(Transmit::Unspool) => self.load_next().await,
                Some(Transmit::SpoolDone { number }) => {
                    let done = self.with_spool(move |spool| spool.done(number)).await;
                    if let Some(Err(error)) = done {
                        self.fail(&format_args!("log spool: {error}"));
                    }
                    self.shared.progress.notify_waiters();
                }
                Some(Transmit::SpoolAgain { number }) => {
                    self.with_spool(move |spool| spool.give_again(number)).await;
                }
            }
        }
    }

    async fn store_in_spool(&self, batch: SpooledBatch) {
        let number = batch.number;
        let stored = self
            .with_spool(move |spool| {
                let mut lost = Vec::new();
                let stored = spool.append(&batch, &mut lost);
                (stored, lost)
            })
            .await;
        let stored = match stored {
            Some((stored, lost)) => {
                self.outbox().spool_lost(&lost);
                match &stored {
                    Err(error) => self.fail(&format_args!("log spool cannot be written: {error}")),
                    Ok(Stored::Full) if self.outbox().has_logger() => {
                        self.fail(&format_args!(
                            "log spool is full: writers wait for the loggers"
                        ));
                    }
                    Ok(Stored::TooLarge) => {
                        self.fail(&format_args!(
                            "log spool is too small for a batch: it is dropped"
                        ));
                    }
                    Ok(Stored::Full) => {
                        self.fail(&format_args!("log spool is full: records are dropped"));
                    }
                    Ok(Stored::Kept) if !lost.is_empty() => {
                        self.fail(&format_args!(
                            "log spool is full: the oldest records are dropped"
                        ));
                    }
                    Ok(Stored::Kept) => {}
                }
                stored.map_err(|_| ())
            }
            None => Err(()),
        };
        self.outbox().spooled(number, stored, Instant::now());
        self.shared.progress.notify_waiters();
    }

    async fn load_next(&self) {
        let next = self
            .with_spool(|spool| {
                let mut lost = Vec::new();
                let next = spool.next(&mut lost);
                (next, lost)
            })
            .await;
        let batch = match next {
            Some((next, lost)) => {
                self.outbox().spool_lost(&lost);
                next.unwrap_or_else(|error| {
                    self.fail(&format_args!("log spool cannot be read: {error}"));
                    None
                })
            }
            None => None,
        };
        self.outbox().unspooled(batch, Instant::now());
        self.shared.progress.notify_waiters();
    }

    /// Gives the spool up, when what is being done with it is done, whoever still holds this client: another one may open
    /// it then.
    pub(crate) async fn close_spool(&self) {
        if let Some(spool) = self.shared.spool.clone() {
            let closed = spawn_blocking(move || {
                let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
                drop(spool.take());
            });
            // It fails when the runtime ends, and the spool with it.
            let _ = closed.await;
        }
    }

    /// Does something with the spool, off the threads of the runtime. None: there is none any more, or the runtime ends.
    async fn with_spool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> T + Send + 'static,
    ) -> Option<T> {
        let spool = Arc::clone(self.shared.spool.as_ref()?);
        let done = spawn_blocking(move || {
            let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
            spool.as_mut().map(work)
        });
        done.await.ok().flatten()
    }

    fn fail(&self, what: &impl std::fmt::Display) {
        let mut failures = self
            .shared
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = failures.check(std::time::Instant::now()) {
            tracing::error!(suppressed, "{what}");
        }
    }

    async fn send_local(&self, payload: Bytes) {
        if let Some(logger) = self.shared.local.get() {
            let _ = logger.send(Input::Payload(payload)).await;
        }
    }
}
