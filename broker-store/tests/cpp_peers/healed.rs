//! Clones of C++ whose master was restarted, or has forgotten them: they never know.

use broker_core::StoreOperation;
use broker_store::command::Content;

use super::site::Site;
use super::world::{count, entity, put};

#[test]
fn a_clone_that_missed_nothing_goes_on_without_noticing() {
    let mut site = Site::new(2);
    site.put("a", 1);
    site.increment(0, "sum");
    site.world.seconds(1);
    let master = site.world.master.state.id();
    site.restart();
    assert_eq!(site.world.master.state.id(), master);
    site.world.arrived.clear();
    site.world.seconds(2);
    let cleared = |command: &&broker_store::command::Command| {
        matches!(command.content, Content::Clear { .. })
    };
    assert_eq!(site.world.arrived.iter().filter(cleared).count(), 0);
    site.put("b", 2);
    site.increment(0, "sum");
    site.increment(1, "sum");
    site.world.seconds(3);
    site.check_equal();
    assert_eq!(count(&site.world.clones[1].content, "sum"), Some(3));
}

#[test]
fn a_clone_that_missed_something_before_the_restart_gets_it() {
    for missed in [1, 3, 400] {
        let mut site = Site::new(2);
        for n in 0..200u64 {
            site.put(n, n);
        }
        site.world.seconds(1);
        site.world.cut(0);
        for n in 0..missed {
            site.put(n % 250, n + 1000);
        }
        let erase = StoreOperation::Erase(199u64.into());
        site.world.master.call(erase).unwrap();
        site.restart();
        site.world.join(0);
        site.world.seconds(1);
        site.put("later", 1);
        site.world.seconds(10);
        site.check_equal();
    }
}

#[test]
fn changes_that_no_clone_was_there_for_reach_it_all_the_same() {
    let mut site = Site::new(1);
    site.put("a", 1);
    site.world.seconds(1);
    site.world.cut(0);
    // Far beyond the time that a clone is remembered.
    site.world.seconds(20 * 60);
    site.put("a", 2);
    site.restart();
    site.put("b", 3);
    site.world.join(0);
    site.world.seconds(5);
    site.check_equal();
    site.increment(0, "sum");
    site.world.seconds(5);
    assert_eq!(count(&site.world.clones[0].content, "sum"), Some(1));
}

#[test]
fn a_write_across_a_restart_takes_effect_once() {
    for lose_acks in [false, true] {
        let mut site = Site::new(1);
        site.increment(0, "sum");
        site.world.seconds(1);
        // The master applies these, and the clone never hears so.
        site.world.loses = Box::new(move |command| {
            command.sender.endpoint == entity(9).endpoint
                && lose_acks
                && !matches!(command.content, Content::Put { .. })
        });
        for _ in 0..5 {
            site.increment(0, "sum");
        }
        // These never arrive before the restart.
        site.world.loses = Box::new(|_| true);
        for _ in 0..3 {
            site.increment(0, "sum");
        }
        site.restart();
        site.world.loses = Box::new(|_| false);
        site.world.seconds(5);
        site.check_equal();
        assert_eq!(count(&site.world.clones[0].content, "sum"), Some(9));
    }
}

#[test]
fn two_clones_of_a_large_store_that_missed_much_are_refilled_while_it_changes() {
    let mut site = Site::new(3);
    for n in 0..20_000u64 {
        site.put(n, n);
    }
    site.world.seconds(1);
    site.world.cut(0);
    site.world.cut(1);
    site.world.seconds(51);
    for n in 0..12_000u64 {
        site.put(n, n + 1);
    }
    site.world.seconds(1);
    site.world.join(0);
    site.world.join(1);
    for n in 0..40u64 {
        site.put(n * 400, n);
        let erase = StoreOperation::Erase((n * 333 + 1).into());
        site.world.master.call(erase).unwrap();
        site.put(format!("new {n}").as_str(), n);
        site.world.ticks(2);
    }
    site.world.seconds(30);
    site.check_equal();
    let me = site.world.clones[0].id;
    site.write(0, put(me, "k", 1));
    site.world.seconds(1);
    site.check_equal();
}

#[test]
fn after_restarts_cuts_and_losses_in_any_order_all_clones_equal_the_master() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut site = Site::new(3);
        let mut sums = 0;
        for n in 0..rng.u64(0..300) {
            site.put(n, n);
        }
        for _ in 0..rng.u32(5..40) {
            match rng.u32(0..12) {
                0 => site.restart(),
                1 | 2 => site.world.cut(rng.usize(0..3)),
                3 | 4 => site.world.join(rng.usize(0..3)),
                5 if rng.u32(0..4) == 0 => site.world.seconds(rng.u64(1..700)),
                5 => site.world.seconds(rng.u64(1..60)),
                6 => {
                    let erase = StoreOperation::Erase(rng.u64(0..300).into());
                    site.world.master.call(erase).unwrap();
                    site.world.settle();
                }
                7 => {
                    let (clone, unheard) = (rng.usize(0..3), rng.bool());
                    let mut losses = fastrand::Rng::with_seed(rng.u64(..));
                    site.world.loses = Box::new(move |_| unheard && losses.u32(0..4) == 0);
                    site.increment(clone, "sum");
                    sums += 1;
                    site.world.ticks(rng.u64(0..4));
                    site.world.loses = Box::new(|_| false);
                }
                _ => (0..rng.u64(0..400)).for_each(|n| site.put(n, rng.u64(..))),
            }
        }
        (0..3).for_each(|n| site.world.join(n));
        site.world.seconds(60);
        site.put("end", seed);
        site.world.seconds(5);
        site.check_equal();
        let sum = count(&site.world.clones[0].content, "sum").unwrap_or(0);
        assert!(sum <= sums, "seed {seed}: {sums} increments, {sum} counted");
    }
}
