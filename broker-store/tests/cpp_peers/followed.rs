//! Clones of C++ follow our master.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use broker_core::{Data, DataKind, EntityId, StoreOperation, Timespan};
use broker_store::Memory;
use broker_store::command::Content;
use broker_store::conformance::fails_nth;

use super::cpp_clone::CppClone;
use super::world::{OurMaster, World, add, count, entity, increment, put, put_for};

type Pair = World<OurMaster, CppClone>;

const MASTER: EntityId = entity(9);

fn pair(clones: u8) -> Pair {
    let clones = (1..=clones).map(|n| CppClone::new(entity(n))).collect();
    let mut world = World::new(OurMaster::new(MASTER, Memory::new()), clones);
    world.ticks(1);
    assert!(world.clones.iter().all(CppClone::is_initialised));
    world
}

fn put_here(world: &mut Pair, key: &str, value: u64) {
    world
        .master
        .call(StoreOperation::Put {
            key: key.into(),
            value: value.into(),
            expiry: None,
        })
        .unwrap();
    world.settle();
}

fn write(world: &mut Pair, clone: usize, content: Content) {
    world.clones[clone].write(content);
    world.settle();
}

fn unique(clone: &CppClone, key: Data, request: u64) -> Content {
    Content::PutUnique {
        key,
        value: request.into(),
        expiry: None,
        who: clone.requester(),
        request,
        publisher: clone.id,
    }
}

fn check_equal(world: &mut Pair) {
    let content = world.master.content();
    for clone in &world.clones {
        assert_eq!(clone.content, content);
    }
}

#[test]
fn a_clone_gets_the_content_and_every_change_and_its_put_unique_answered() {
    let mut master = OurMaster::new(MASTER, Memory::new());
    for key in ["a", "b"] {
        master.call(increment(key)).unwrap();
    }
    // Writes before there is a master are kept.
    let mut clone = CppClone::new(entity(1));
    let me = clone.id;
    clone.write(put(me, "early", 1));
    let mut world = World::new(master, vec![clone]);
    check_equal(&mut world);
    assert_eq!(count(&world.clones[0].content, "early"), Some(1));

    write(&mut world, 0, put(me, "a", 5));
    write(&mut world, 0, add(me, "a", 2));
    assert_eq!(count(&world.clones[0].content, "a"), Some(7));
    let questions = [("a", 1), ("new", 2), ("new", 3)];
    for (key, request) in questions {
        let content = unique(&world.clones[0], key.into(), request);
        write(&mut world, 0, content);
    }
    let answers = BTreeMap::from([(1, false), (2, true), (3, false)]);
    assert_eq!(world.clones[0].answers, answers);
    write(
        &mut world,
        0,
        Content::Erase {
            key: "b".into(),
            publisher: me,
        },
    );
    check_equal(&mut world);
    write(&mut world, 0, Content::Clear { publisher: me });
    assert!(world.clones[0].content.is_empty());
    check_equal(&mut world);
}

#[test]
fn what_fails_is_answered_with_nothing_at_all() {
    let mut world = pair(1);
    let me = world.clones[0].id;
    write(&mut world, 0, put(me, "count", 1));
    world.ticks(10);
    let seq = world.master.state.seq();
    world.arrived.clear();
    let failures = [
        Content::Add {
            key: "count".into(),
            operand: "text".into(),
            init: DataKind::String,
            expiry: None,
            publisher: me,
        },
        Content::Add {
            key: "missing".into(),
            operand: 1u64.into(),
            init: DataKind::None,
            expiry: None,
            publisher: me,
        },
        Content::Subtract {
            key: "missing".into(),
            operand: 1u64.into(),
            expiry: None,
            publisher: me,
        },
        Content::Erase {
            key: "missing".into(),
            publisher: me,
        },
    ];
    for content in failures {
        write(&mut world, 0, content);
    }
    world.ticks(10);
    assert_eq!(world.master.state.seq(), seq);
    let from_master = world
        .arrived
        .iter()
        .filter(|command| command.sender == MASTER);
    assert!(from_master.into_iter().all(|command| matches!(
        command.content,
        Content::Keepalive { .. } | Content::CumulativeAck { .. }
    )));
    check_equal(&mut world);
}

#[test]
fn a_put_unique_that_the_backend_refuses_is_answered_with_no() {
    let master = OurMaster::new(MASTER, fails_nth(Memory::new(), 1));
    let mut world = World::new(master, vec![CppClone::new(entity(1))]);
    let content = unique(&world.clones[0], "k".into(), 1);
    write(&mut world, 0, content);
    assert_eq!(world.clones[0].answers, BTreeMap::from([(1, false)]));
    check_equal(&mut world);
}

#[test]
fn a_lost_update_with_nothing_behind_it_is_noticed_by_the_keepalive_in_the_clones_name() {
    let mut world = pair(1);
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    put_here(&mut world, "k", 1);
    assert!(world.clones[0].content.is_empty());
    world.ticks(9);
    assert_eq!(count(&world.clones[0].content, "k"), Some(1));
}

#[test]
fn a_lost_update_holds_up_those_behind_it_until_it_is_sent_again() {
    let mut world = pair(2);
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    put_here(&mut world, "k", 1);
    put_here(&mut world, "k", 2);
    assert_eq!(count(&world.clones[0].content, "k"), None);
    assert_eq!(count(&world.clones[1].content, "k"), Some(2));
    world.ticks(4);
    check_equal(&mut world);
}

#[test]
fn a_lost_write_is_asked_for_and_takes_effect_once() {
    let mut world = pair(1);
    let me = world.clones[0].id;
    world.lose_next(|content| matches!(content, Content::Add { .. }));
    for _ in 0..3 {
        write(&mut world, 0, add(me, "k", 1));
    }
    world.ticks(4);
    assert_eq!(count(&world.clones[0].content, "k"), Some(3));
    world.lose_next(|content| matches!(content, Content::Add { .. }));
    write(&mut world, 0, add(me, "k", 1));
    world.ticks(9);
    assert_eq!(count(&world.clones[0].content, "k"), Some(4));
    check_equal(&mut world);
}

#[test]
fn lost_handshakes_are_repeated() {
    // The first two of each: ack_clone, attach_writer, and the acknowledgements that complete them.
    for tag in [12, 8, 10] {
        let mut world = pair(1);
        world.clones[0] = CppClone::new(entity(2));
        let lost = Rc::new(Cell::new(0));
        let counter = Rc::clone(&lost);
        world.loses = Box::new(move |command| {
            let loses = command.content.tag() == tag && counter.get() < 2;
            counter.set(counter.get() + u32::from(loses));
            loses
        });
        world.ticks(20);
        assert_eq!(lost.get(), 2);
        let me = world.clones[0].id;
        write(&mut world, 0, put(me, "k", 1));
        assert_eq!(count(&world.clones[0].content, "k"), Some(1), "tag {tag}");
        check_equal(&mut world);
    }
}

#[test]
fn keys_expire_when_the_master_says_so() {
    let mut world = pair(1);
    let me = world.clones[0].id;
    let second = Some(Timespan::from_secs(1));
    write(&mut world, 0, put_for(me, "k", 1, second));
    write(&mut world, 0, put_for(me, "lasting", 1, second));
    write(&mut world, 0, put(me, "lasting", 2));
    world.ticks(10);
    assert_eq!(count(&world.clones[0].content, "k"), Some(1));
    world.ticks(1);
    assert_eq!(count(&world.clones[0].content, "k"), None);
    assert_eq!(count(&world.clones[0].content, "lasting"), Some(2));
    check_equal(&mut world);
}

#[test]
fn a_clone_that_was_cut_off_for_twenty_seconds_catches_up_and_so_do_its_writes() {
    let mut world = pair(2);
    let me = world.clones[0].id;
    write(&mut world, 0, add(me, "sum", 1));
    world.cut(0);
    for n in 0..20 {
        put_here(&mut world, "here", n);
        write(&mut world, 0, add(me, "sum", 1));
        world.seconds(1);
    }
    assert_eq!(count(&world.clones[0].content, "here"), None);
    world.join(0);
    world.seconds(2);
    assert_eq!(count(&world.clones[0].content, "here"), Some(19));
    assert_eq!(count(&world.clones[0].content, "sum"), Some(21));
    check_equal(&mut world);
}

#[test]
fn a_clone_that_was_cut_off_for_minutes_is_followed_on_and_can_write_again() {
    for alone in [true, false] {
        let mut world = pair(if alone { 1 } else { 2 });
        let me = world.clones[0].id;
        write(&mut world, 0, add(me, "sum", 1));
        world.cut(0);
        write(&mut world, 0, add(me, "sum", 1));
        for n in 0..180 {
            put_here(&mut world, "here", n);
            world.seconds(1);
        }
        // Its C++ writing side has given up by now: what it is told to write goes nowhere.
        write(&mut world, 0, add(me, "sum", 1));
        world.join(0);
        world.seconds(3);
        check_equal(&mut world);
        assert_eq!(count(&world.clones[0].content, "here"), Some(179));
        assert_eq!(count(&world.clones[0].content, "sum"), Some(1));
        write(&mut world, 0, add(me, "sum", 1));
        write(&mut world, 0, add(me, "sum", 1));
        world.seconds(1);
        assert_eq!(count(&world.clones[0].content, "sum"), Some(3));
        check_equal(&mut world);
    }
}

#[test]
fn a_clone_that_returns_just_as_its_writing_gives_up_can_write_again() {
    // Whichever side counts its 50 s first, and whatever of the talk about it is lost.
    for ticks in 490..=510 {
        for lost in [None, Some(8), Some(11)] {
            let mut world = pair(1);
            let me = world.clones[0].id;
            write(&mut world, 0, add(me, "sum", 1));
            world.ticks(7);
            world.cut(0);
            world.ticks(ticks);
            world.join(0);
            if let Some(tag) = lost {
                world.lose_next(move |content| content.tag() == tag);
            }
            world.seconds(5);
            write(&mut world, 0, add(me, "sum", 1));
            world.seconds(1);
            assert_eq!(
                count(&world.clones[0].content, "sum"),
                Some(2),
                "after {ticks} ticks, losing {lost:?}"
            );
            check_equal(&mut world);
        }
    }
}

#[test]
fn a_clone_that_missed_more_than_is_kept_gets_everything_anew() {
    let mut world = pair(2);
    let me = world.clones[0].id;
    write(&mut world, 0, put(me, "old", 1));
    world.cut(0);
    world.seconds(51);
    world
        .master
        .call(StoreOperation::Erase("old".into()))
        .unwrap();
    for n in 0..9000 {
        put_here(&mut world, ["k", "l"][n as usize % 2], n);
    }
    world.seconds(1);
    world.join(0);
    world.seconds(3);
    check_equal(&mut world);
    write(&mut world, 0, put(me, "k", 1));
    world.seconds(1);
    assert_eq!(count(&world.clones[1].content, "k"), Some(1));
    check_equal(&mut world);
}

#[test]
fn a_clone_that_missed_very_much_is_brought_on_in_steps() {
    let mut world = pair(1);
    world.cut(0);
    world.seconds(51);
    for n in 0..18_000 {
        put_here(&mut world, "k", n);
    }
    world.join(0);
    world.ticks(2);
    assert_eq!(count(&world.clones[0].content, "k"), None);
    world.seconds(5);
    check_equal(&mut world);
}

#[test]
fn a_clone_that_is_cut_off_while_it_catches_up_does_so_the_next_time() {
    for arrive in [0, 1, 2, 100] {
        let mut world = pair(1);
        let me = world.clones[0].id;
        write(&mut world, 0, put(me, "old", 1));
        world.cut(0);
        world.seconds(51);
        world
            .master
            .call(StoreOperation::Erase("old".into()))
            .unwrap();
        for n in 0..9000 {
            put_here(&mut world, "k", n);
        }
        world.join(0);
        let arrived = Rc::new(Cell::new(0));
        let counter = Rc::clone(&arrived);
        world.loses = Box::new(move |command| {
            counter.set(counter.get() + u32::from(command.seq > 0));
            counter.get() > arrive
        });
        world.seconds(1);
        assert!(arrived.get() > 8000);
        world.loses = Box::new(|_| false);
        put_here(&mut world, "l", 1);
        world.seconds(10);
        check_equal(&mut world);
    }
}

#[test]
fn a_clone_that_missed_little_of_a_large_store_gets_everything_anew() {
    let mut world = pair(2);
    world.cut(0);
    world.seconds(51);
    // Fewer updates than entries, and more bytes than are kept.
    for n in 0..12 {
        world
            .master
            .call(StoreOperation::Put {
                key: u64::into(n),
                value: "x".repeat(1 << 20).into(),
                expiry: None,
            })
            .unwrap();
        world.settle();
    }
    world.seconds(1);
    world.join(0);
    world.seconds(3);
    check_equal(&mut world);
    put_here(&mut world, "k", 1);
    check_equal(&mut world);
    assert_eq!(world.master.state.rejected(), 0);
}

#[test]
fn a_clone_that_waits_for_its_master_is_served_within_its_ten_seconds() {
    let mut world = World::new(
        OurMaster::new(MASTER, Memory::new()),
        vec![CppClone::new(entity(1))],
    );
    world.clones[0] = CppClone::new(entity(2));
    world.cut(0);
    world.ticks(95);
    world.join(0);
    world.ticks(4);
    assert!(world.clones[0].is_initialised() && !world.clones[0].has_ended());
}

#[test]
fn after_a_storm_of_losses_every_clone_equals_the_master_and_no_write_counts_twice() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut weather = fastrand::Rng::with_seed(seed + 1000);
        let mut world = pair(3);
        world.loses = Box::new(move |_| weather.u32(0..100) < 15);
        let mut written = 0;
        for _ in 0..150 {
            let n = rng.usize(0..3);
            if rng.u32(0..30) == 0 {
                world.cut(n);
            } else if rng.u32(0..10) == 0 {
                world.join(n);
            }
            let me = world.clones[n].id;
            written += 1;
            write(&mut world, n, add(me, "sum", 1));
            let value = rng.u64(..);
            put_here(&mut world, "here", value);
            world.ticks(rng.u64(0..3));
        }
        world.loses = Box::new(|_| false);
        (0..3).for_each(|n| world.join(n));
        world.seconds(5);
        check_equal(&mut world);
        let sum = count(&world.master.content(), "sum");
        assert_eq!(sum, Some(written), "seed {seed}");
    }
}
