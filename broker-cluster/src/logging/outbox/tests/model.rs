//! Whatever happens in whatever order, every record is accounted for.

use proptest::prelude::*;

use super::*;

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
