//! Records in, batches and receipts, loggers that come and go.

mod model;
mod spool;

use broker_core::DataView;
use broker_core::zeek::MessageView;

use super::super::spool::{Backlog, Stored};
use super::*;
use crate::events::BatchReceipt;
use crate::logging::wire;
use crate::pools::PoolSpec;
use crate::role::Role;
use crate::topics;

const HOLD: Duration = Duration::from_secs(30);

const REMOTE: Switches = Switches {
    local: false,
    remote: true,
    expendable: false,
};

fn options(loggers: Option<Pool>) -> OutboxOptions {
    OutboxOptions {
        writer: id(9),
        reply_to: id(9),
        first_number: 1,
        spool: SpoolUse::Never,
        loggers,
        hold: HOLD,
    }
}

fn outbox(loggers: &[&str]) -> Outbox {
    outbox_with(loggers, SpoolUse::Never)
}

fn outbox_with(loggers: &[&str], spool: SpoolUse) -> Outbox {
    let pool = Pool::new(
        PoolSpec::new("logger", topics::POOL_LOGGER, Role::Logger),
        loggers.iter().map(|name| (*name, 1)),
        "worker-1",
    );
    let mut outbox = Outbox::new(OutboxOptions {
        spool,
        ..options(Some(pool))
    });
    stream(&mut outbox);
    outbox
}

fn stream(outbox: &mut Outbox) -> usize {
    let key = StreamKey {
        stream: "Conn::LOG".into(),
        writer: "Log::WRITER_ASCII".into(),
        path: "conn".into(),
    };
    let create = wire::batch(&[], 0);
    outbox.add_stream(key, create, REMOTE).unwrap()
}

fn id(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 16])
}

fn write(outbox: &mut Outbox, records: usize, now: Instant) {
    for _ in 0..records {
        outbox.write(0, b"record", now).unwrap();
    }
}

/// A spool without files.
struct Disk {
    batches: BTreeMap<u64, SpooledBatch>,
    given: BTreeSet<u64>,
    /// How many batches it holds.
    room: usize,
    full: bool,
    broken: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            batches: BTreeMap::new(),
            given: BTreeSet::new(),
            room: usize::MAX,
            full: false,
            broken: false,
        }
    }
}

impl Disk {
    /// The first batch that was not given, or is to be given again.
    fn next(&mut self) -> Option<SpooledBatch> {
        let mut all = self.batches.values();
        let next = all.find(|batch| !self.given.contains(&batch.number))?;
        self.given.insert(next.number);
        Some(next.clone())
    }
}

/// What is sent: to whom, number (0: none) and records.
fn sent(outbox: &mut Outbox) -> Vec<(String, u64, usize)> {
    sent_with(outbox, &mut Disk::default())
}

fn sent_with(outbox: &mut Outbox, disk: &mut Disk) -> Vec<(String, u64, usize)> {
    let now = Instant::now();
    let mut all = Vec::new();
    while let Some(transmit) = outbox.next_transmit() {
        all.push(match transmit {
            Transmit::Plain {
                topic,
                payload,
                records,
                stream,
                spooled,
            } => {
                let MessageView::Batch(batch) =
                    MessageView::parse(DataView::parse(&payload).unwrap()).unwrap()
                else {
                    panic!("a batch")
                };
                assert_eq!(batch.len(), records as usize);
                outbox.plain_done(stream, records, 1, spooled);
                (topic.to_string(), 0, batch.len())
            }
            Transmit::Numbered { payload, topic, .. } => {
                (topic.to_string(), number(&payload).0, number(&payload).1)
            }
            Transmit::Spool(batch) => {
                let stored = match disk.broken {
                    true => Err(()),
                    _ if disk.full || disk.batches.len() >= disk.room => Ok(Stored::Full),
                    _ => Ok(Stored::Kept),
                };
                let number = batch.number;
                if stored == Ok(Stored::Kept) {
                    disk.batches.insert(number, batch);
                }
                outbox.spooled(number, stored, now);
                continue;
            }
            Transmit::Unspool => {
                outbox.unspooled(disk.next(), now);
                continue;
            }
            Transmit::SpoolDone { number } => {
                assert!(disk.batches.remove(&number).is_some());
                continue;
            }
            Transmit::SpoolAgain { number } => {
                assert!(disk.given.remove(&number));
                continue;
            }
            Transmit::Local { payload } => {
                ("local".to_owned(), number(&payload).0, number(&payload).1)
            }
        });
    }
    all
}

fn number(payload: &Bytes) -> (u64, usize) {
    let MessageView::Event { arguments, .. } =
        MessageView::parse(DataView::parse(payload).unwrap()).unwrap()
    else {
        panic!("an event")
    };
    let numbered = wire::read_numbered(arguments).unwrap();
    assert_eq!(numbered.head.writer, id(9));
    let MessageView::Batch(batch) = MessageView::parse(numbered.batch).unwrap() else {
        panic!("a batch")
    };
    (numbered.head.number, batch.len() - 1)
}

fn receipt(number: u64, written: u64) -> BatchReceipt {
    BatchReceipt {
        number,
        written,
        skipped: 0,
    }
}

const L1: &str = "zeek/cluster/node/logger-1/";
const L2: &str = "zeek/cluster/node/logger-2/";

#[test]
fn records_are_dealt_over_loggers_and_sent_at_400_per_stream() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1", "logger-2"]);
    outbox.logger_up("logger-1", id(1), true, now);
    outbox.logger_up("logger-2", id(2), true, now);
    write(&mut outbox, 399, now);
    assert_eq!(sent(&mut outbox), []);
    write(&mut outbox, 1, now);
    assert_eq!(
        sent(&mut outbox),
        [(L1.to_owned(), 1, 200), (L2.to_owned(), 2, 200)]
    );
    assert_eq!(outbox.counters().next().unwrap().1.written, 0);
    outbox.receipt("logger-1", receipt(1, 200));
    outbox.receipt(
        "logger-2",
        BatchReceipt {
            number: 2,
            written: 199,
            skipped: 1,
        },
    );
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!(
        (counters.received, counters.written, counters.dropped),
        (400, 399, 1)
    );
    assert!(outbox.is_idle());
}

#[test]
fn the_timer_sends_what_there_is() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 3, now);
    outbox.flush(now);
    assert_eq!(sent(&mut outbox), [(L1.to_owned(), 1, 3)]);
    outbox.flush(now);
    assert_eq!(sent(&mut outbox), []);
}

#[test]
fn what_a_dead_logger_has_not_acknowledged_goes_to_another() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1", "logger-2"]);
    outbox.logger_up("logger-1", id(1), true, now);
    outbox.logger_up("logger-2", id(2), true, now);
    write(&mut outbox, 400, now);
    assert_eq!(sent(&mut outbox).len(), 2);
    write(&mut outbox, 2, now);
    outbox.receipt("logger-2", receipt(2, 200));
    outbox.logger_down("logger-1", now);
    assert_eq!(sent(&mut outbox), [(L2.to_owned(), 1, 200)]);
    outbox.flush(now);
    assert_eq!(sent(&mut outbox), [(L2.to_owned(), 3, 2)]);
    outbox.receipt("logger-2", receipt(1, 200));
    outbox.receipt("logger-2", receipt(3, 2));
    assert!(outbox.is_idle());
    assert_eq!(outbox.counters().next().unwrap().1.written, 402);
}

#[test]
fn a_silent_logger_loses_its_batch_to_another_at_the_deadline_and_not_before() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1", "logger-2"]);
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 1, now);
    outbox.flush(now);
    assert_eq!(sent(&mut outbox), [(L1.to_owned(), 1, 1)]);
    outbox.logger_up("logger-2", id(2), true, now);
    outbox.tick(now + RECEIPT_TIMEOUT - Duration::from_millis(1));
    assert_eq!(sent(&mut outbox), []);
    outbox.tick(now + RECEIPT_TIMEOUT);
    assert_eq!(sent(&mut outbox), [(L2.to_owned(), 1, 1)]);
    outbox.receipt("logger-2", receipt(1, 1));
    outbox.receipt("logger-1", receipt(1, 1));
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.written, counters.duplicates), (1, 1));
}

#[test]
fn without_a_logger_batches_wait_and_the_writer_is_held_up() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    let mut accepted = 0;
    while outbox.write(0, b"record", now).is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, MAX_BATCHES * BATCH_RECORDS);
    assert_eq!(sent(&mut outbox), []);
    outbox.logger_up("logger-1", id(1), true, now);
    assert_eq!(sent(&mut outbox).len(), MAX_BATCHES);
    assert!(outbox.is_full());
    outbox.receipt("logger-1", receipt(5, 400));
    assert!(!outbox.is_full());
}

#[test]
fn a_batch_nobody_takes_goes_to_the_stream_s_topic_after_a_while() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    write(&mut outbox, 2, now);
    outbox.flush(now);
    outbox.tick(now + HOLD - Duration::from_millis(1));
    assert_eq!(sent(&mut outbox), []);
    outbox.tick(now + HOLD);
    assert_eq!(
        sent(&mut outbox),
        [("zeek/logs/Conn::LOG".to_owned(), 0, 2)]
    );
    assert!(outbox.is_idle());
}

#[test]
fn a_logger_without_receipts_gets_batches_as_zeek_sends_them() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    write(&mut outbox, 400, now);
    assert_eq!(sent(&mut outbox), []);
    outbox.logger_up("logger-1", id(1), false, now);
    write(&mut outbox, 5, now);
    outbox.flush(now);
    assert_eq!(
        sent(&mut outbox),
        [(L1.to_owned(), 0, 400), (L1.to_owned(), 0, 5)]
    );
    assert!(outbox.is_idle());
    assert_eq!(outbox.counters().next().unwrap().1.written, 405);
}

#[test]
fn outside_a_cluster_records_go_to_the_stream_s_topic() {
    let now = Instant::now();
    let mut outbox = Outbox::new(options(None));
    stream(&mut outbox);
    write(&mut outbox, 400, now);
    assert_eq!(
        sent(&mut outbox),
        [("zeek/logs/Conn::LOG".to_owned(), 0, 400)]
    );
}

#[test]
fn a_node_that_writes_logs_keeps_its_own_records() {
    let now = Instant::now();
    let mut outbox = Outbox::new(options(None));
    stream(&mut outbox);
    outbox.streams[0].switches = Switches {
        local: true,
        remote: false,
        expendable: false,
    };
    write(&mut outbox, 400, now);
    assert_eq!(sent(&mut outbox), [("local".to_owned(), 1, 400)]);
    outbox.receipt("here", receipt(1, 400));
    assert!(outbox.is_idle());
    assert_eq!(outbox.counters().count(), 0);
}

#[test]
fn a_stream_may_go_both_ways_or_nowhere() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    outbox.logger_up("logger-1", id(1), true, now);
    outbox.streams[0].switches.local = true;
    write(&mut outbox, 400, now);
    let both = [("local".to_owned(), 1, 400), (L1.to_owned(), 2, 400)];
    assert_eq!(sent(&mut outbox), both);
    outbox.receipt("here", receipt(1, 400));
    outbox.receipt("logger-1", receipt(2, 400));
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.received, counters.written), (400, 400));
    outbox.streams[0].switches = Switches {
        local: false,
        remote: false,
        expendable: false,
    };
    write(&mut outbox, 400, now);
    outbox.flush(now);
    assert_eq!(sent(&mut outbox), []);
    assert!(outbox.is_idle());
}

#[test]
fn a_batch_that_stays_without_receipt_stops_the_writer_before_loggers_forget() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    outbox.logger_up("logger-1", id(1), true, now);
    for number in 1..=MAX_SPAN {
        write(&mut outbox, 1, now);
        outbox.flush(now);
        if number > 1 {
            outbox.receipt("logger-1", receipt(number, 1));
        }
    }
    assert!(outbox.is_full());
    outbox.receipt("logger-1", receipt(1, 1));
    assert!(!outbox.is_full());
}

#[test]
fn what_is_left_at_the_end_is_counted_as_dropped() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    write(&mut outbox, 401, now);
    outbox.abandon();
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.received, counters.dropped), (401, 401));
    assert!(outbox.is_idle());
}

#[test]
fn nobody_waits_for_expendable_records_without_a_logger() {
    let now = Instant::now();
    let mut outbox = outbox(&["logger-1"]);
    outbox.streams[0].switches.expendable = true;
    write(&mut outbox, 401, now);
    assert!(outbox.is_idle());
    outbox.logger_up("logger-1", id(1), true, now);
    assert!(!outbox.is_idle());
}

#[test]
fn a_stream_that_is_opened_again_is_the_same_one_and_another_one_is_not() {
    let mut outbox = outbox(&["logger-1"]);
    assert!((0..MAX_STREAMS).all(|_| stream(&mut outbox) == 0));
    let key = outbox.streams[0].key.clone();
    let local = Switches {
        local: true,
        ..REMOTE
    };
    let create = wire::batch(&[], 0);
    assert_eq!(outbox.add_stream(key.clone(), create, local), Some(1));
    let other_columns = wire::batch(b"other", 1);
    assert_eq!(outbox.add_stream(key, other_columns, REMOTE), Some(2));
    let now = Instant::now();
    write(&mut outbox, 1, now);
    let again = stream(&mut outbox);
    outbox.write(again, b"record", now).unwrap();
    assert_eq!(outbox.streams[0].buffered, 2, "one batch of both");
}
