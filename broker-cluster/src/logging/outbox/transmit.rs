//! What is to be sent next, and by which way.

use broker_core::{EndpointId, Topic};
use bytes::Bytes;

use super::{Outbox, SpooledBatch, Target};
use crate::logging::wire;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// A numbered batch to the local logger.
    Local { payload: Bytes },
    /// A numbered batch to one logger.
    Numbered {
        logger: EndpointId,
        topic: Topic,
        payload: Bytes,
    },
    /// A batch as Zeek sends it, to whoever subscribed to `topic`. To be followed by [`Outbox::plain_done`].
    Plain {
        stream: usize,
        topic: Topic,
        payload: Bytes,
        records: u32,
        /// Its number in the spool, if it came from there.
        spooled: Option<u64>,
    },
    /// A batch for the spool. To be followed by [`Outbox::spooled`].
    Spool(SpooledBatch),
    /// The next batch of the spool is wanted. To be followed by [`Outbox::unspooled`].
    Unspool,
    /// A batch of the spool is where it belongs.
    SpoolDone { number: u64 },
    /// A batch of the spool is wanted again.
    SpoolAgain { number: u64 },
}

pub(super) enum Ready {
    Numbered(u64),
    Plain {
        stream: usize,
        topic: Topic,
        entries: Bytes,
        records: u32,
        spooled: Option<u64>,
    },
    Spool(Transmit),
}

impl Outbox {
    /// The next thing to send.
    pub(crate) fn next_transmit(&mut self) -> Option<Transmit> {
        loop {
            if (self.unspool_turn || self.ready.is_empty()) && self.wants_spooled() {
                self.unspool_turn = false;
                self.unspooling = true;
                return Some(Transmit::Unspool);
            }
            let next = self.ready.pop_front()?;
            match next {
                Ready::Spool(transmit) => return Some(transmit),
                Ready::Plain {
                    stream,
                    topic,
                    entries,
                    records,
                    spooled,
                } => {
                    return Some(Transmit::Plain {
                        stream,
                        topic,
                        payload: wire::batch(&entries, records),
                        records,
                        spooled,
                    });
                }
                Ready::Numbered(number) => {
                    let Some(batch) = self.unacknowledged.get_mut(&number) else {
                        if self.not_retrying(number) {
                            self.retry_crowded();
                        }
                        continue;
                    };
                    batch.queued = false;
                    if batch.target == Target::Spool
                        && !self.crowded.is_empty()
                        && self.retrying != Some(number)
                    {
                        // Not before those that wait already.
                        self.spooling = self.spooling.saturating_sub(1);
                        self.crowded.push_back(number);
                        continue;
                    }
                    let payload = || {
                        wire::numbered_batch(
                            wire::BatchHead {
                                writer: self.options.writer,
                                number,
                                reply_to: self.options.reply_to,
                            },
                            &batch.create,
                            &batch.entries,
                            batch.records,
                        )
                    };
                    match batch.target {
                        Target::Local => return Some(Transmit::Local { payload: payload() }),
                        Target::Logger(at) => {
                            let (Some(logger), Some(pool)) =
                                (self.loggers[at], &self.options.loggers)
                            else {
                                continue;
                            };
                            let topic = pool.nodes()[at].topic.clone();
                            batch.given = Some(at);
                            return Some(Transmit::Numbered {
                                logger: logger.id,
                                topic,
                                payload: payload(),
                            });
                        }
                        Target::Spool => {
                            self.unspool_turn = true;
                            return Some(Transmit::Spool(SpooledBatch {
                                key: self.streams[batch.stream].key.clone(),
                                number,
                                records: batch.records,
                                create: batch.create.clone(),
                                entries: batch.entries.clone(),
                            }));
                        }
                        Target::Nobody | Target::Topic => {}
                    }
                }
            }
        }
    }

    /// Whether there is something to send.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty() || self.wants_spooled()
    }

    pub(super) fn add_plain(
        &mut self,
        stream: usize,
        topic: Topic,
        entries: Bytes,
        records: u32,
        spooled: Option<u64>,
    ) {
        self.plain_pending += 1;
        self.ready.push_back(Ready::Plain {
            stream,
            topic,
            entries,
            records,
            spooled,
        });
    }
}
