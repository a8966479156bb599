//! Clones of C++ that have to get everything anew, and what may happen meanwhile.

use broker_store::command::Content;

use super::site::Site;
use super::world::count;

/// A site with `clones` that have seen `entries` and are cut off then, until it is not enough to send what is kept.
fn left_behind(clones: u8, entries: u64) -> Site {
    let mut site = Site::new(clones);
    site.put_all(0..entries, 1);
    site.world.seconds(2);
    (0..usize::from(clones)).for_each(|n| site.world.cut(n));
    site.world.seconds(60);
    site.put_all((0..9000).map(|n| n % entries), 2);
    site
}

fn join_all(site: &mut Site) {
    (0..site.world.clones.len()).for_each(|n| site.world.join(n));
}

#[test]
fn no_number_is_used_twice_however_often_the_master_starts() {
    let mut site = Site::new(2);
    site.put("a", 1);
    site.put_unique(0, 1);
    site.world.seconds(2);
    let mut request = 1;
    for _ in 0..4 {
        site.restart();
        site.world.seconds(2);
        // Nothing of this changes an entry.
        for _ in 0..900 {
            request += 1;
            site.put_unique(0, request);
        }
        site.world.seconds(2);
        assert_eq!(site.world.clones[0].answers.len() as u64, request);
    }
    site.restart();
    site.put("b", 1);
    site.world.seconds(2);
    site.check_equal();
}

#[test]
fn a_clone_of_a_store_that_was_never_written_goes_on_after_a_restart() {
    let mut site = Site::new(1);
    site.world.seconds(2);
    let master = site.world.master.state.id();
    site.restart();
    assert_eq!(site.world.master.state.id(), master);
    site.increment(0, "sum");
    site.world.seconds(2);
    site.check_equal();
    assert_eq!(count(&site.world.clones[0].content, "sum"), Some(1));
}

#[test]
fn a_master_that_is_restarted_at_any_moment_of_a_refill_begins_it_again() {
    // A step of numbers is used up after 8192.
    for ticks in [2, 5, 8, 12, 15] {
        let mut site = left_behind(2, 9500);
        join_all(&mut site);
        site.world.ticks(ticks);
        site.restart();
        site.world.seconds(10);
        site.put("later", 1);
        site.world.seconds(1);
        site.check_equal();
    }
}

#[test]
fn a_clone_that_is_forgotten_in_the_middle_of_a_refill_gets_the_rest() {
    for ticks in [2, 5, 8] {
        let mut site = left_behind(1, 9500);
        site.world.join(0);
        site.world.ticks(ticks);
        site.world.cut(0);
        site.world.seconds(660);
        assert_eq!(site.world.master.state.clones(), 0);
        site.world.join(0);
        site.world.seconds(20);
        site.check_equal();
    }
}

#[test]
fn clones_that_vanish_in_the_middle_of_a_refill_keep_no_other_waiting() {
    let mut site = left_behind(5, 9500);
    (0..4).for_each(|n| site.world.join(n));
    site.world.ticks(8);
    (0..4).for_each(|n| site.world.cut(n));
    site.world.join(4);
    site.world.seconds(15);
    let content = site.world.master.content();
    assert!(site.world.clones[4].content == content);
    // Nor are they forgotten.
    join_all(&mut site);
    site.world.seconds(15);
    site.check_equal();
}

#[test]
fn many_clones_that_miss_what_has_no_number_wait_for_their_turn() {
    let mut site = Site::new(9);
    site.put_all(0..300, 1);
    site.world.seconds(2);
    (0..9).for_each(|n| site.world.cut(n));
    site.world.seconds(20 * 60);
    assert_eq!(site.world.master.state.clones(), 0);
    site.put_all(0..300, 2);
    site.erase(7);
    join_all(&mut site);
    site.world.ticks(11);
    // These have numbers, and reach clones whose turn has not come.
    site.put_all(400..410, 3);
    site.restart();
    site.world.ticks(3);
    site.put_all(410..420, 3);
    site.restart();
    site.world.seconds(20);
    site.check_equal();
}

#[test]
fn a_clone_that_is_ahead_of_a_restored_backup_gets_what_there_is() {
    for later in [1u64, 2000, 30_000] {
        let mut site = Site::new(2);
        site.put_all(0..50, 1);
        site.world.seconds(2);
        let backup = site.backup();
        site.put_all((0..later).map(|n| n % 90), 2);
        site.world.seconds(2);
        site.disk = backup;
        site.restart();
        site.world.seconds(10);
        assert_eq!(site.world.master.content().len(), 50);
        site.put("later", 1);
        site.world.seconds(5);
        site.check_equal();
    }
}

#[test]
fn a_number_that_the_master_can_never_have_sent_moves_nothing() {
    let mut site = Site::new(1);
    site.put("a", 1);
    site.world.seconds(2);
    let before = site.world.master.state.seq();
    let master = site.world.master.state.id();
    let stranger = broker_core::EntityId::new(super::world::endpoint(77), 1);
    for seq in [u64::MAX, u64::MAX / 2, before + (1 << 21)] {
        for content in [
            Content::CumulativeAck { seq },
            Content::Nack {
                seqs: vec![seq, seq.saturating_add(1)],
            },
        ] {
            let command = broker_store::command::Command::control(stranger, master, content);
            super::world::Peer::hear(&mut site.world.master, command);
        }
    }
    assert_eq!(site.world.master.state.seq(), before);
    site.put("b", 1);
    site.check_equal();
}

#[test]
fn a_writer_in_the_middle_of_its_writes_loses_and_repeats_none_in_any_number_of_restarts() {
    for seed in 0..25 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut site = Site::new(3);
        site.put_all(0..20, 1);
        site.world.seconds(1);
        let (mut sums, mut requests) = (0, 0);
        for _ in 0..60 {
            match rng.u32(0..8) {
                0 => site.restart(),
                1 => site.world.cut(rng.usize(0..3)),
                2 => site.world.join(rng.usize(0..3)),
                3 => site.world.ticks(rng.u64(0..8)),
                4 => {
                    let mut losses = fastrand::Rng::with_seed(rng.u64(..));
                    site.world.loses = Box::new(move |_| losses.u32(0..3) == 0);
                }
                5 => site.world.loses = Box::new(|_| false),
                6 => {
                    requests += 1;
                    site.put_unique(rng.usize(0..3), requests);
                }
                _ => {
                    for _ in 0..rng.u64(1..30) {
                        site.increment(rng.usize(0..3), "sum");
                        sums += 1;
                    }
                }
            }
        }
        site.world.loses = Box::new(|_| false);
        join_all(&mut site);
        site.world.seconds(30);
        site.check_equal();
        let sum = count(&site.world.clones[0].content, "sum").unwrap_or(0);
        assert_eq!(sum, sums, "seed {seed}");
    }
}

#[test]
fn refills_end_well_among_cuts_losses_silences_and_restarts() {
    for seed in 0..4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut site = left_behind(4, rng.u64(500..5_000));
        join_all(&mut site);
        for step in 0..rng.u64(10..60) {
            match rng.u32(0..12) {
                0 => site.restart(),
                1 | 2 => site.world.cut(rng.usize(0..4)),
                3 | 4 => site.world.join(rng.usize(0..4)),
                5 if rng.u32(0..3) == 0 => site.world.seconds(rng.u64(1..700)),
                5 => site.world.seconds(rng.u64(1..60)),
                6 => site.erase(rng.u64(0..5_000)),
                7 => {
                    let mut losses = fastrand::Rng::with_seed(rng.u64(..));
                    site.world.loses = Box::new(move |_| losses.u32(0..4) == 0);
                }
                8 => site.world.loses = Box::new(|_| false),
                9 if rng.u32(0..6) == 0 => site.put_all(0..9000, step),
                9 | 10 => site.put_all((0..rng.u64(0..50)).map(|n| n * 151), step),
                _ => site.world.ticks(rng.u64(1..20)),
            }
        }
        site.world.loses = Box::new(|_| false);
        join_all(&mut site);
        site.world.seconds(60);
        site.put("end", seed);
        site.world.seconds(5);
        site.check_equal();
    }
}
