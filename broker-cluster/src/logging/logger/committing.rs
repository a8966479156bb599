//! Files out: what waits is written, noted in the journals, and only then acknowledged and given to the sinks.

use std::io;

use broker_core::{EndpointId, LogCounters};

use super::super::file::Mark;
use super::super::lock::{is_locked_by, lock};
use super::super::sink::SinkRecords;
use super::{COMMIT_BYTES, Logger, Now};
use crate::events::BatchReceipt;

impl Logger {
    /// Whether so much waits that [`Logger::commit`] should be called.
    pub(crate) const fn should_commit(&self) -> bool {
        self.pending_bytes >= COMMIT_BYTES
    }

    /// Writes what waits and gives out the receipts for it, each with the endpoint it is for.
    pub(crate) fn commit(&mut self, now: Now) -> Vec<(EndpointId, BatchReceipt)> {
        self.pending_bytes = 0;
        for at in 0..self.logs.len() {
            self.commit_log(at, now);
        }
        for again in std::mem::take(&mut self.again) {
            if let Some(receipt) = self.known.get(again.writer, again.number) {
                self.receipts.push((again.reply_to, receipt));
            }
        }
        std::mem::take(&mut self.receipts)
    }

    pub(super) fn commit_log(&mut self, at: usize, now: Now) {
        let log = &mut self.logs[at];
        if log.received == 0 && log.marks.is_empty() {
            return;
        }
        if log.unnumbered > 0 {
            log.marks.push(Mark {
                writer: EndpointId::NIL,
                number: 0,
                records: log.unnumbered,
                end: log.data.len(),
            });
        }
        let result = self.append(at, now);
        let log = &mut self.logs[at];
        let mut change = LogCounters {
            received: log.received,
            dropped: log.skipped,
            ..LogCounters::default()
        };
        let waiting = std::mem::take(&mut log.waiting);
        match &result {
            Ok(()) => change.written = log.received - log.skipped,
            Err(_) => {
                // Numbered batches come again, and are counted then.
                change.received = log.unnumbered;
                change.dropped = log.unnumbered;
            }
        }
        log.data.clear();
        log.marks.clear();
        (log.unnumbered, log.received, log.skipped) = (0, 0, 0);
        let stream = log.stream.clone();
        let stem = log.stem.clone();
        let for_sinks = log.for_sinks.as_mut().map(SinkRecords::take);
        self.count(&stream, |counters| {
            counters.received += change.received;
            counters.written += change.written;
            counters.dropped += change.dropped;
        });
        match result {
            Ok(()) => {
                let receipts = waiting
                    .into_iter()
                    .map(|batch| (batch.reply_to, batch.receipt));
                self.receipts.extend(receipts);
                if let Some(records) = for_sinks {
                    for sink in self.sinks.iter().filter(|sink| sink.wants(&stream)) {
                        sink.offer(&records);
                    }
                }
            }
            Err(error) => {
                for batch in waiting {
                    self.known.remove(batch.writer, batch.receipt.number);
                }
                let file = self.log_path(&stem);
                self.fail(
                    now,
                    &format_args!("cannot write {}: {error}", file.display()),
                );
            }
        }
    }

    /// Puts what waits for a log into its file, which is opened if need be.
    fn append(&mut self, at: usize, now: Now) -> io::Result<()> {
        self.let_go(at);
        match &self.logs[at].file {
            Some(file) if file.is_parked() => self.make_room(),
            Some(_) => {}
            None => {
                let wall = self.local(now);
                let rotation = self.logs[at].rotation.as_mut();
                let since = rotation.map_or(now.wall, |rotation| rotation.reopen(&wall));
                let log = &self.logs[at];
                let (writer, stem) = (log.writer.clone(), log.stem.clone());
                let file = self.open_file(&writer, &stem, since, now)?;
                self.logs[at].file = Some(file);
            }
        }
        self.writes += 1;
        let log = &mut self.logs[at];
        log.written = self.writes;
        let file = log.file.as_mut().expect("it was opened above");
        file.append(&log.data, &log.marks)
    }

    /// Lets a file go that somebody has removed or moved away, perhaps with its directory, so that the next record begins a new
    /// one: what was written to it would be nowhere, and acknowledged.
    pub(super) fn let_go(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let Some(gone) = log.file.take_if(|file| !file.stands()) else {
            return;
        };
        tracing::error!(
            file = %gone.path().display(),
            "the log file or its journal was removed or moved away; what was in it is where it went"
        );
        if is_locked_by(&self.dir, &self.lock) {
            return;
        }
        let made =
            std::fs::create_dir_all(&self.dir).and_then(|()| lock(&self.dir, "another logger"));
        match made {
            Ok(lock) => self.lock = lock,
            // Opening the file will fail, too.
            Err(error) => tracing::error!(dir = %self.dir.display(), %error, "log directory"),
        }
    }
}
