//! Who gets a batch: the next logger in turn, another one when that is gone or silent, nobody, the spool, the stream's topic.

use broker_core::{EndpointId, Topic};
use tokio::time::Instant;

use super::{Logger, Outbox, RECEIPT_TIMEOUT, Ready, SEQUENCE, SpoolUse, Stream, Target};

impl Outbox {
    /// A logger of the pool came up. With `receipts` it acknowledges batches.
    pub(crate) fn logger_up(&mut self, name: &str, id: EndpointId, receipts: bool, now: Instant) {
        let Some(at) = self.member(name) else { return };
        self.loggers[at] = Some(Logger { id, receipts });
        self.drain_paused = false;
        if let Some(pool) = &mut self.options.loggers {
            pool.node_up(name);
        }
        let waiting: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| batch.target == Target::Nobody)
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.reassign(number, None, now);
        }
        self.retarget_buffers(Target::Nobody);
    }

    /// A logger of the pool went down: what it has not acknowledged goes to others.
    pub(crate) fn logger_down(&mut self, name: &str, now: Instant) {
        let Some(at) = self.member(name) else { return };
        self.loggers[at] = None;
        if let Some(pool) = &mut self.options.loggers {
            pool.node_down(name);
        }
        let lost: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| batch.target == Target::Logger(at))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.reassign(number, None, now);
        }
        self.retarget_buffers(Target::Logger(at));
    }

    /// Gives batches whose logger is silent to another one, and those nobody took to the stream's topic.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.drain_paused = false;
        self.retry_crowded();
        let late: Vec<u64> = self
            .unacknowledged
            .iter()
            .filter(|(_, batch)| {
                let limit = if batch.target == Target::Nobody {
                    self.options.hold
                } else {
                    RECEIPT_TIMEOUT
                };
                now.saturating_duration_since(batch.since) >= limit
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            match self.unacknowledged.get(&number).map(|batch| batch.target) {
                Some(Target::Nobody) => self.give_up_on_loggers(number),
                Some(Target::Spool) | None => {}
                Some(target) => self.reassign(number, Some(target), now),
            }
        }
    }

    /// Where the next record for loggers goes.
    pub(super) fn next_target(&mut self) -> Target {
        if self.options.loggers.is_none() {
            return Target::Topic;
        }
        match self.options.spool {
            SpoolUse::Always => return Target::Nobody,
            SpoolUse::WithoutLogger if self.holds_spooled() => return Target::Nobody,
            SpoolUse::WithoutLogger | SpoolUse::Never => {}
        }
        self.next_logger().map_or(Target::Nobody, Target::Logger)
    }

    /// The next logger that is up, by its place in the pool.
    pub(super) fn next_logger(&mut self) -> Option<usize> {
        let pool = self.options.loggers.as_mut()?;
        // A node that is a logger itself counts as up in its own pool; its records are not sent to itself.
        (0..self.loggers.len())
            .filter_map(|_| pool.round_robin_index(SEQUENCE))
            .find(|at| self.loggers[*at].is_some())
    }

    /// The logger for a batch: the one that was given it before, who knows whether it has it, or the next.
    pub(super) fn logger_for(&mut self, given: Option<usize>) -> Option<usize> {
        match given.filter(|at| self.loggers[*at].is_some()) {
            Some(at) => Some(at),
            None => self.next_logger(),
        }
    }

    /// The node topic of a logger that is up and gives no receipts.
    pub(super) fn plain_topic(&self, at: usize) -> Option<Topic> {
        let logger = self.loggers[at]?;
        let pool = self.options.loggers.as_ref()?;
        (!logger.receipts).then(|| pool.nodes()[at].topic.clone())
    }

    /// Gives a batch to the next logger that is up, to another one than `silent` if there is one; without one to the spool,
    /// or nobody.
    pub(super) fn reassign(&mut self, number: u64, silent: Option<Target>, now: Instant) {
        let batch = self.unacknowledged.get(&number);
        let Some((old, given)) = batch.map(|batch| (batch.target, batch.given)) else {
            return;
        };
        let mut target = match old {
            // This node writes it, however long that takes.
            Target::Local => Target::Local,
            _ => self
                .logger_for(given)
                .map_or(Target::Nobody, Target::Logger),
        };
        if Some(target) == silent && target != Target::Local {
            target = self.next_logger().map_or(Target::Nobody, Target::Logger);
        }
        if let Target::Logger(at) = target
            && let Some(topic) = self.plain_topic(at)
        {
            self.take_out(number, |_| topic);
            return;
        }
        let has_spool = self.has_spool();
        let Some(batch) = self.unacknowledged.get_mut(&number) else {
            return;
        };
        if target == Target::Nobody && batch.on_disk {
            if let Some(batch) = self.unacknowledged.remove(&number) {
                self.forget(&batch);
                self.remember_given(number, &batch);
                self.put_back(number);
            }
            return;
        }
        if target == Target::Nobody && has_spool && old != Target::Nobody {
            self.send_to_spool(number);
            return;
        }
        if batch.target != Target::Nobody || target != Target::Nobody {
            batch.since = now;
        }
        batch.target = target;
        if !std::mem::replace(&mut batch.queued, true) {
            self.ready.push_back(Ready::Numbered(number));
        }
    }

    /// Nobody came to take this batch: it goes to the stream's topic, as Zeek sends it.
    fn give_up_on_loggers(&mut self, number: u64) {
        self.take_out(number, |stream| stream.topic.clone());
    }

    /// Makes a plain batch of a numbered one.
    fn take_out(&mut self, number: u64, topic: impl FnOnce(&Stream) -> Topic) {
        if let Some(batch) = self.unacknowledged.remove(&number) {
            let topic = topic(&self.streams[batch.stream]);
            let (stream, records) = (batch.stream, batch.records);
            let spooled = batch.on_disk.then_some(number);
            self.forget(&batch);
            self.draining += usize::from(batch.on_disk);
            self.add_plain(stream, topic, batch.entries, records, spooled);
        }
    }

    fn member(&self, name: &str) -> Option<usize> {
        self.options
            .loggers
            .as_ref()?
            .nodes()
            .iter()
            .position(|node| node.name == name)
    }
}
