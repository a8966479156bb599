//! Records in, batches and receipts, loggers that come and go.

use broker_core::DataView;
use broker_core::zeek::MessageView;
use proptest::prelude::*;

use super::super::spool::{Backlog, Stored};
use super::*;
use crate::pools::PoolSpec;
use crate::role::Role;

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
fn without_a_logger_batches_are_spooled_and_come_back_in_order_before_what_is_new() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1", "logger-2"], SpoolUse::WithoutLogger);
    let mut disk = Disk::default();
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 400, now);
    assert_eq!(sent_with(&mut outbox, &mut disk).len(), 1);
    outbox.logger_down("logger-1", now);
    // Far more than memory would hold.
    for _ in 0..200 {
        write(&mut outbox, 400, now);
        assert_eq!(sent_with(&mut outbox, &mut disk), []);
    }
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!(
        (counters.received, counters.spooled),
        (201 * 400, 201 * 400)
    );
    assert!(outbox.is_idle(), "nobody to wait for");
    outbox.logger_up("logger-2", id(2), true, now);
    assert!(!outbox.is_idle());
    let mut next = 1;
    while next <= 201 {
        write(&mut outbox, 1, now);
        for (to, number, records) in sent_with(&mut outbox, &mut disk) {
            assert_eq!((to.as_str(), number), (L2, next));
            outbox.receipt("logger-2", receipt(number, records as u64));
            next += 1;
        }
    }
    // What came meanwhile, through the spool too or directly.
    for _ in 0..3 {
        outbox.flush(now);
        for (_, number, records) in sent_with(&mut outbox, &mut disk) {
            outbox.receipt("logger-2", receipt(number, records as u64));
        }
    }
    drop(sent_with(&mut outbox, &mut disk));
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!(counters.written, counters.received);
    assert_eq!((counters.spooled, counters.dropped), (0, 0));
    assert!(disk.batches.is_empty());
    assert!(outbox.is_idle());
    write(&mut outbox, 400, now);
    assert_eq!(sent_with(&mut outbox, &mut disk).len(), 1, "directly again");
    assert!(disk.batches.is_empty());
}

#[test]
fn a_full_spool_and_one_that_cannot_be_written_are_accounted_for() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::WithoutLogger);
    let mut disk = Disk {
        full: true,
        ..Disk::default()
    };
    write(&mut outbox, 400, now);
    drop(sent_with(&mut outbox, &mut disk));
    let counters = |outbox: &Outbox| outbox.counters().next().unwrap().1;
    assert_eq!(counters(&outbox).dropped, 400);
    disk = Disk {
        broken: true,
        ..Disk::default()
    };
    write(&mut outbox, 400, now);
    drop(sent_with(&mut outbox, &mut disk));
    assert_eq!(
        (counters(&outbox).dropped, counters(&outbox).spooled),
        (400, 0)
    );
    outbox.logger_up("logger-1", id(1), true, now);
    assert_eq!(sent_with(&mut outbox, &mut disk), [(L1.to_owned(), 2, 400)]);
}

#[test]
fn a_spool_for_all_takes_every_batch_before_a_logger_does() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::Always);
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 400, now);
    let Some(Transmit::Spool(batch)) = outbox.next_transmit() else {
        panic!("to the spool")
    };
    assert_eq!(outbox.next_transmit(), None);
    outbox.spooled(batch.number, Ok(Stored::Kept), now);
    assert_eq!(outbox.next_transmit(), Some(Transmit::Unspool));
    outbox.unspooled(Some(batch), now);
    assert!(matches!(
        outbox.next_transmit(),
        Some(Transmit::Numbered { .. })
    ));
    assert!(!outbox.is_idle());
    outbox.receipt("logger-1", receipt(1, 400));
    assert_eq!(
        outbox.next_transmit(),
        Some(Transmit::SpoolDone { number: 1 })
    );
    assert!(outbox.is_idle());
    // No more of them are on the way there than the death of the process may cost.
    let accepted = (0..10_000).map_while(|_| outbox.write(0, b"record", now).ok());
    assert_eq!(accepted.count(), MAX_SPOOLING * BATCH_RECORDS);
}

#[test]
fn writing_to_the_spool_and_reading_from_it_take_turns() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::Always);
    let mut disk = Disk::default();
    write(&mut outbox, 400, now);
    drop(sent_with(&mut outbox, &mut disk));
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 3 * 400, now);
    let mut turns = Vec::new();
    while let Some(transmit) = outbox.next_transmit() {
        match transmit {
            Transmit::Spool(batch) => {
                turns.push('w');
                let number = batch.number;
                disk.batches.insert(number, batch);
                outbox.spooled(number, Ok(Stored::Kept), now);
            }
            Transmit::Unspool => {
                turns.push('r');
                outbox.unspooled(disk.next(), now);
            }
            _ => {}
        }
    }
    assert_eq!(turns.iter().collect::<String>(), "rwrwrwr");
}

#[test]
fn a_full_spool_holds_writers_up_while_a_logger_is_up_and_nothing_is_dropped() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::Always);
    let mut disk = Disk {
        room: 2,
        ..Disk::default()
    };
    outbox.logger_up("logger-1", id(1), true, now);
    let mut sent: VecDeque<(u64, usize)> = VecDeque::new();
    let mut order = Vec::new();
    let (mut accepted, mut held_up) = (0, 0);
    for _ in 0..100 {
        let taken = (0..2000)
            .map_while(|_| outbox.write(0, b"record", now).ok())
            .count() as u64;
        accepted += taken;
        held_up += u64::from(taken < 2000);
        for (_, number, records) in sent_with(&mut outbox, &mut disk) {
            sent.push_back((number, records));
            order.push(number);
        }
        if let Some((number, records)) = sent.pop_front() {
            outbox.receipt("logger-1", receipt(number, records as u64));
        }
    }
    assert!(held_up > 90, "it waits for the logger: {held_up}");
    assert_eq!(outbox.counters().next().unwrap().1.dropped, 0);
    assert!(order.is_sorted() && order.len() > 90, "{order:?}");
    // The logger goes, and with it the reason to wait.
    outbox.logger_down("logger-1", now);
    outbox.tick(now);
    drop(sent_with(&mut outbox, &mut disk));
    outbox.flush(now);
    drop(sent_with(&mut outbox, &mut disk));
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!(counters.received, accepted);
    assert_eq!(
        counters.written + counters.spooled + counters.dropped,
        accepted
    );
    assert!(counters.dropped <= (MAX_SPOOLING * BATCH_RECORDS + BATCH_RECORDS) as u64);
    assert!(outbox.is_idle());
}

/// An outbox whose batch was sent to the first of two loggers, which then went down, and is in the spool.
fn sent_and_spooled(now: Instant) -> (Outbox, Disk) {
    let mut outbox = outbox_with(&["logger-1", "logger-2"], SpoolUse::WithoutLogger);
    let mut disk = Disk::default();
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 400, now);
    assert_eq!(sent_with(&mut outbox, &mut disk), [(L1.to_owned(), 1, 400)]);
    outbox.logger_down("logger-1", now);
    assert_eq!(sent_with(&mut outbox, &mut disk), []);
    assert_eq!(disk.batches.len(), 1);
    (outbox, disk)
}

#[test]
fn a_late_receipt_takes_a_batch_out_of_the_spool_and_it_is_not_written_twice() {
    let now = Instant::now();
    let (mut outbox, mut disk) = sent_and_spooled(now);
    outbox.receipt("logger-1", receipt(1, 400));
    outbox.logger_up("logger-2", id(2), true, now);
    assert_eq!(sent_with(&mut outbox, &mut disk), []);
    assert!(disk.batches.is_empty() && outbox.is_idle());
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.written, counters.spooled), (400, 0));
    assert_eq!((counters.dropped, counters.duplicates), (0, 0));

    // The same while the batch is being read for another logger.
    let (mut outbox, mut disk) = sent_and_spooled(now);
    outbox.logger_up("logger-2", id(2), true, now);
    assert_eq!(outbox.next_transmit(), Some(Transmit::Unspool));
    let read = disk.next();
    outbox.receipt("logger-1", receipt(1, 400));
    outbox.unspooled(read, now);
    assert_eq!(sent_with(&mut outbox, &mut disk), []);
    assert!(disk.batches.is_empty() && outbox.is_idle());
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.written, counters.spooled), (400, 0));
}

#[test]
fn a_batch_of_the_spool_goes_back_to_the_logger_that_may_have_it() {
    let now = Instant::now();
    for turn in 0..2 {
        let (mut outbox, mut disk) = sent_and_spooled(now);
        outbox.logger_up("logger-2", id(2), true, now);
        outbox.logger_up("logger-1", id(1), true, now);
        for _ in 0..turn {
            outbox.next_logger();
        }
        assert_eq!(sent_with(&mut outbox, &mut disk), [(L1.to_owned(), 1, 400)]);
    }
    // The same without a spool.
    let mut outbox = outbox(&["logger-1", "logger-2"]);
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 400, now);
    drop(sent(&mut outbox));
    outbox.logger_down("logger-1", now);
    outbox.logger_up("logger-1", id(1), true, now);
    assert_eq!(sent(&mut outbox), [(L1.to_owned(), 1, 400)]);
}

#[test]
fn where_only_another_logger_is_there_both_may_have_a_batch_and_it_is_counted() {
    let now = Instant::now();
    let (mut outbox, mut disk) = sent_and_spooled(now);
    outbox.logger_up("logger-2", id(2), true, now);
    assert_eq!(
        sent_with(&mut outbox, &mut disk),
        [(L2.to_owned(), 1, 400)],
        "under its number"
    );
    outbox.receipt("logger-1", receipt(1, 400));
    outbox.receipt("logger-2", receipt(1, 400));
    drop(sent_with(&mut outbox, &mut disk));
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.written, counters.duplicates), (400, 400));
    assert!(disk.batches.is_empty() && outbox.is_idle());
}

#[test]
fn at_the_end_what_has_no_receipt_goes_into_the_spool_and_the_next_process_sends_it() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::WithoutLogger);
    let mut disk = Disk::default();
    outbox.logger_up("logger-1", id(1), true, now);
    write(&mut outbox, 450, now);
    assert_eq!(sent_with(&mut outbox, &mut disk).len(), 1);
    outbox.retreat(now);
    drop(sent_with(&mut outbox, &mut disk));
    assert!(outbox.has_retreated());
    outbox.abandon();
    let counters = outbox.counters().next().unwrap().1;
    assert_eq!((counters.spooled, counters.dropped), (450, 0));

    let mut next = outbox_with(&["logger-1"], SpoolUse::WithoutLogger);
    next.next_number = 1000;
    let one = disk.batches.values().next().unwrap().clone();
    next.recover(vec![Backlog {
        key: one.key,
        create: one.create,
        batches: disk.batches.len() as u64,
        records: 450,
    }]);
    disk.given.clear();
    // The same stream, opened again by the new process.
    let again = next
        .add_stream(next.streams[0].key.clone(), wire::batch(&[], 0), REMOTE)
        .unwrap();
    next.write(again, b"record", now).unwrap();
    next.flush(now);
    assert_eq!(sent_with(&mut next, &mut disk), []);
    next.logger_up("logger-1", id(1), true, now);
    let mut numbers = Vec::new();
    for (_, number, records) in sent_with(&mut next, &mut disk) {
        numbers.push(number);
        next.receipt("logger-1", receipt(number, records as u64));
    }
    assert_eq!(numbers, [1, 2, 1000], "the numbers they had before");
    drop(sent_with(&mut next, &mut disk));
    let sum = next.counters().fold((0, 0, 0), |sum, (_, counters)| {
        let LogCounters {
            received,
            written,
            spooled,
            ..
        } = counters;
        (sum.0 + received, sum.1 + written, sum.2 + spooled)
    });
    assert_eq!(sum, (451, 451, 0));
    assert!(disk.batches.is_empty());
}

#[test]
fn a_logger_without_receipts_drains_the_spool_too() {
    let now = Instant::now();
    let mut outbox = outbox_with(&["logger-1"], SpoolUse::WithoutLogger);
    let mut disk = Disk::default();
    write(&mut outbox, 400 * 40, now);
    drop(sent_with(&mut outbox, &mut disk));
    outbox.logger_up("logger-1", id(1), false, now);
    assert_eq!(sent_with(&mut outbox, &mut disk).len(), 40);
    assert!(outbox.is_idle());
    assert!(disk.batches.is_empty());
    assert_eq!(outbox.counters().next().unwrap().1.written, 400 * 40);
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

/// What happens to an outbox, in any order.
#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Flush,
    Up(usize, bool),
    Down(usize),
    /// Transmit everything that is ready.
    Transmit,
    /// A receipt for one of the numbers sent, from either logger.
    Receipt(usize, usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..900).prop_map(Step::Write),
        1 => Just(Step::Flush),
        2 => (0_usize..2, any::<bool>()).prop_map(|(logger, receipts)| Step::Up(logger, receipts)),
        1 => (0_usize..2).prop_map(Step::Down),
        3 => Just(Step::Transmit),
        4 => (any::<usize>(), 0_usize..2).prop_map(|(number, logger)| Step::Receipt(number, logger)),
        1 => (0_u64..40).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_record_accepted_is_accounted_for_whatever_happens(
        steps in prop::collection::vec(step(), 1..60),
        spool in prop_oneof![
            Just(SpoolUse::Never),
            Just(SpoolUse::WithoutLogger),
            Just(SpoolUse::Always),
        ],
        room in prop_oneof![Just(usize::MAX), 1_usize..5],
    ) {
        const NAMES: [&str; 2] = ["logger-1", "logger-2"];
        let mut outbox = outbox_with(&NAMES, spool);
        let mut disk = Disk { room, ..Disk::default() };
        let mut now = Instant::now();
        let mut accepted = 0_u64;
        let mut numbers: Vec<(u64, u64)> = Vec::new();
        let mut transmit = |outbox: &mut Outbox| {
            for (_, number, records) in sent_with(outbox, &mut disk) {
                if number > 0 && !numbers.iter().any(|(other, _)| *other == number) {
                    numbers.push((number, records as u64));
                }
            }
            numbers.clone()
        };
        for step in steps {
            match step {
                Step::Write(records) => {
                    accepted += (0..records).map_while(|_| outbox.write(0, b"record", now).ok()).count() as u64;
                }
                Step::Flush => outbox.flush(now),
                Step::Up(at, receipts) => outbox.logger_up(NAMES[at], id(at as u8), receipts, now),
                Step::Down(at) => outbox.logger_down(NAMES[at], now),
                Step::Transmit => drop(transmit(&mut outbox)),
                Step::Receipt(pick, at) => {
                    let known = transmit(&mut outbox);
                    if let Some((number, records)) = known.get(pick % known.len().max(1)) {
                        outbox.receipt(NAMES[at], receipt(*number, *records));
                    }
                }
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    outbox.tick(now);
                }
            }
            let in_flight: usize = outbox.unacknowledged.values().map(|batch| batch.entries.len()).sum();
            prop_assert_eq!(in_flight, outbox.unacknowledged_bytes);
            prop_assert!(outbox.unacknowledged.len() + outbox.plain_pending <= MAX_BATCHES + MAX_DRAINING + 3);
            prop_assert_eq!(outbox.issues.len(), outbox.unacknowledged.len());
        }
        outbox.logger_up(NAMES[0], id(0), true, now);
        outbox.flush(now);
        // The spool is drained a few batches at a time, and what was buffered may have to go through it.
        for _ in 0..200 {
            for (number, records) in transmit(&mut outbox) {
                outbox.receipt(NAMES[0], receipt(number, records));
            }
            outbox.flush(now);
        }
        transmit(&mut outbox);
        let counters = outbox.counters().next().unwrap().1;
        prop_assert!(outbox.is_idle());
        prop_assert_eq!((counters.received, counters.written + counters.dropped), (accepted, accepted));
        // What a full spool drops without a logger is counted, and nothing else is dropped.
        prop_assert!(counters.dropped == 0 || (spool != SpoolUse::Never && room != usize::MAX));
        prop_assert_eq!(counters.spooled, 0);
        prop_assert!(disk.batches.is_empty());
    }
}
