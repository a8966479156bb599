//! Batches that go through the spool, and those that a logger may have already.

use super::*;

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
