//! Messages in: records are formatted and wait for the next commit.

use broker_core::zeek::MessageView;
use broker_core::{DataView, EndpointId};

use super::super::file::Mark;
use super::super::wire;
use super::opening::Refusal;
use super::{Logger, Now, UNKNOWN, Waiting};
use crate::events::{BatchReceipt, LOG_BATCH};
use crate::log::serial;

/// Who sent a message.
#[derive(Clone, Copy)]
pub(crate) enum Sender<'a> {
    /// The log client of this node.
    Local,
    /// A client of this node, or its program: no writer of batches with numbers.
    Client,
    Peer {
        id: EndpointId,
        /// Whether somebody is a peer at the time.
        is_peer: &'a dyn Fn(EndpointId) -> bool,
    },
}

impl Sender<'_> {
    /// Whether it can be the one whose batch this is: it wants the receipt itself, and counts under its own ID, or under that of
    /// its spool, which is nobody else's. Who could number for another would have that one's batches taken for known.
    fn may_send(self, head: &wire::BatchHead) -> bool {
        match self {
            Self::Local => true,
            Self::Client => false,
            Self::Peer { id, is_peer } => {
                head.reply_to == id && (head.writer == id || !is_peer(head.writer))
            }
        }
    }
}

impl Logger {
    /// Takes one message, whatever it is; other messages than those about logs have no effect.
    pub(crate) fn receive(&mut self, payload: &[u8], sender: Sender<'_>, now: Now) {
        let view = DataView::parse(payload)
            .ok()
            .and_then(|view| MessageView::parse(view).ok());
        match view {
            Some(view) => self.message(view, sender, now),
            None => self.complain(now, "received invalid broker message"),
        }
    }

    fn message(&mut self, view: MessageView<'_>, sender: Sender<'_>, now: Now) {
        match view {
            MessageView::LogCreate { .. } => {
                if let Err(refusal) = self.create(view, false, now) {
                    self.refuse(now, &refusal);
                }
            }
            MessageView::LogWrite {
                stream,
                writer,
                path,
                record,
            } => match self.find(stream, writer, path) {
                Some(at) => {
                    let written = self.record(at, record, now);
                    self.logs[at].unnumbered += u64::from(written);
                }
                None => self.count(UNKNOWN, |counters| {
                    counters.received += 1;
                    counters.dropped += 1;
                }),
            },
            MessageView::Batch(batch) => {
                for message in batch.iter() {
                    self.message(message, sender, now);
                }
            }
            MessageView::Event {
                name, arguments, ..
            } if name == LOG_BATCH.as_bytes() => {
                let parts = wire::read_numbered(arguments);
                let batch = parts.and_then(|parts| match MessageView::parse(parts.batch) {
                    Ok(MessageView::Batch(batch)) => Some((parts.head, batch)),
                    _ => None,
                });
                match batch {
                    Some((head, _)) if !sender.may_send(&head) => {
                        self.complain(now, "received a log batch in the name of another writer");
                    }
                    Some((head, batch)) => self.numbered(head, batch.iter(), batch.len(), now),
                    None => self.complain(now, "received invalid log batch"),
                }
            }
            MessageView::Event { .. } | MessageView::IdentifierUpdate { .. } => {}
        }
    }

    fn numbered<'a>(
        &mut self,
        head: wire::BatchHead,
        mut messages: impl Iterator<Item = MessageView<'a>>,
        len: usize,
        now: Now,
    ) {
        let wire::BatchHead {
            writer,
            number,
            reply_to,
        } = head;
        let records = len.saturating_sub(1) as u64;
        let create = messages.next();
        if self.known.get(writer, number).is_some() {
            let stream = match create {
                Some(MessageView::LogCreate { stream, .. }) => {
                    String::from_utf8_lossy(stream).into_owned()
                }
                _ => UNKNOWN.to_owned(),
            };
            self.count(&stream, |counters| counters.duplicates += records);
            self.again.push(head);
            return;
        }
        let opened = match create {
            Some(create @ MessageView::LogCreate { .. }) => self.create(create, true, now),
            _ => Err(Refusal::Writer(String::new())),
        };
        let at = match opened {
            Ok(at) => at,
            Err(refusal) => {
                // The disk may have room again, or another logger: no receipt, so the batch comes again or goes there.
                if !matches!(refusal, Refusal::File { .. }) {
                    let receipt = BatchReceipt {
                        number,
                        written: 0,
                        skipped: records,
                    };
                    self.known.insert(writer, receipt);
                    self.receipts.push((reply_to, receipt));
                    self.count(UNKNOWN, |counters| {
                        counters.received += records;
                        counters.dropped += records;
                    });
                }
                self.refuse(now, &refusal);
                return;
            }
        };
        let mut written = 0;
        for message in messages {
            if let MessageView::LogWrite { record, .. } = message {
                written += u64::from(self.record(at, record, now));
            }
        }
        let receipt = BatchReceipt {
            number,
            written,
            skipped: records - written.min(records),
        };
        self.known.insert(writer, receipt);
        let log = &mut self.logs[at];
        log.marks.push(Mark {
            writer,
            number,
            records: written,
            end: log.data.len(),
        });
        log.waiting.push(Waiting {
            writer,
            reply_to,
            receipt,
        });
    }

    /// Formats one record behind those that wait. Whether it fits its columns.
    fn record(&mut self, at: usize, record: &[u8], now: Now) -> bool {
        let log = &mut self.logs[at];
        log.received += 1;
        match serial::decode(record, &log.schema.columns) {
            Ok(values) => {
                let before = log.data.len();
                log.writer.record(&values, &mut log.data);
                self.pending_bytes += log.data.len() - before;
                if let Some(for_sinks) = &mut log.for_sinks {
                    for_sinks.record(values);
                }
                true
            }
            Err(error) => {
                log.skipped += 1;
                let complaint = format!("log record of {} skipped: {error}", log.stream);
                self.complain(now, &complaint);
                false
            }
        }
    }
}
