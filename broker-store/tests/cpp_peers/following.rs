//! Our clone follows masters of C++.

use broker_core::{Data, EndpointId, EntityId, StoreOperation, StoreReply, Timespan};
use broker_store::StoreError;
use broker_store::command::Content;

use super::cpp_master::CppMaster;
use super::world::{OurClone, Peer, World, count, endpoint, entity, increment, put, put_for};

type Pair = World<CppMaster, OurClone>;

const MASTER: EntityId = entity(9);
const HERE: EndpointId = endpoint(1);

fn pair() -> Pair {
    let mut master = CppMaster::new(MASTER);
    master.apply(put(MASTER, "there", 1));
    let world = World::new(master, vec![OurClone::new(HERE)]);
    check_equal(&world);
    world
}

fn check_equal(world: &Pair) {
    for clone in &world.clones {
        assert_eq!(clone.content, world.master.content);
        assert_eq!(clone.state.master(), Some(world.master.id));
    }
}

fn call(world: &mut Pair, operation: StoreOperation) -> u64 {
    let token = world.clones[0].call(operation);
    world.settle();
    token
}

fn answer(world: &Pair, token: u64) -> Option<Result<StoreReply, StoreError>> {
    world.clones[0].answers.get(&token).cloned()
}

fn put_op(key: &str, value: impl Into<Data>) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

fn unique_op(key: &str) -> StoreOperation {
    StoreOperation::PutUnique {
        key: key.into(),
        value: 1u64.into(),
        expiry: None,
    }
}

const DONE: Option<Result<StoreReply, StoreError>> = Some(Ok(StoreReply::Done));

#[test]
fn writes_are_answered_by_their_echo_and_failures_by_its_absence() {
    let mut world = pair();
    let done = [
        put_op("k", 1u64),
        increment("k"),
        increment("fresh"),
        StoreOperation::Push {
            key: "v".into(),
            value: 1u64.into(),
            expiry: None,
        },
        StoreOperation::Erase("there".into()),
    ];
    for operation in done {
        let token = call(&mut world, operation.clone());
        assert_eq!(answer(&world, token), DONE, "{operation:?}");
    }
    for (key, inserted) in [("k", false), ("u", true), ("u", false)] {
        let token = call(&mut world, unique_op(key));
        let expected = Ok(StoreReply::Value(inserted.into()));
        assert_eq!(answer(&world, token), Some(expected), "{key}");
    }
    let clash = call(
        &mut world,
        StoreOperation::Append {
            key: "k".into(),
            value: "text".into(),
            expiry: None,
        },
    );
    let missing = call(
        &mut world,
        StoreOperation::Pop {
            key: "missing".into(),
            expiry: None,
        },
    );
    let nothing = call(&mut world, StoreOperation::Erase("missing".into()));
    assert_eq!(answer(&world, clash), None, "nobody says anything of it");
    world.ticks(6);
    assert_eq!(answer(&world, clash), Some(Err(StoreError::NotEchoed)));
    assert_eq!(answer(&world, missing), Some(Err(StoreError::NotEchoed)));
    assert_eq!(answer(&world, nothing), DONE);
    let clear = call(&mut world, StoreOperation::Clear);
    assert_eq!(answer(&world, clear), DONE);
    check_equal(&world);
}

#[test]
fn a_value_that_cpp_gives_back_differently_is_taken_for_the_echo_all_the_same() {
    let mut world = pair();
    for value in [f64::NAN, f64::MIN_POSITIVE / 2.0, -0.0, f64::INFINITY] {
        let token = call(&mut world, put_op("real", value));
        assert_eq!(answer(&world, token), DONE, "{value}");
    }
}

#[test]
fn writes_before_there_is_a_master_are_kept_and_sent() {
    let mut clone = OurClone::new(HERE);
    let tokens = [
        clone.call(put_op("k", 1u64)),
        clone.call(increment("k")),
        clone.call(unique_op("k")),
    ];
    let mut world = World::new(CppMaster::new(MASTER), vec![clone]);
    assert_eq!(answer(&world, tokens[0]), DONE);
    assert_eq!(answer(&world, tokens[1]), DONE);
    let no = Ok(StoreReply::Value(false.into()));
    assert_eq!(answer(&world, tokens[2]), Some(no));
    assert_eq!(count(&world.master.content, "k"), Some(2));
    world.ticks(1);
    check_equal(&world);
}

#[test]
fn a_lost_update_is_noticed_by_the_keepalive_for_everybody_and_sent_again() {
    let mut world = pair();
    let id = world.clones[0].id();
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    world.master.apply(put(MASTER, "k", 1));
    world.settle();
    assert_eq!(count(&world.clones[0].content, "k"), None);
    world.ticks(9);
    assert_eq!(count(&world.clones[0].content, "k"), Some(1));
    assert_eq!(world.clones[0].id(), id, "it need not start over");
}

#[test]
fn a_write_on_its_way_when_the_link_was_cut_takes_effect_once() {
    let mut world = pair();
    let id = world.clones[0].id();
    let before = call(&mut world, increment("k"));
    world.cut(0);
    let during = call(&mut world, increment("k"));
    world.master.apply(put(MASTER, "there", 2));
    world.seconds(3);
    assert_eq!(answer(&world, during), None);
    world.join(0);
    world.seconds(2);
    assert_eq!(
        (answer(&world, before), answer(&world, during)),
        (DONE, DONE)
    );
    assert_eq!(count(&world.master.content, "k"), Some(2));
    assert_eq!(world.clones[0].id(), id);
    check_equal(&world);
}

#[test]
fn after_a_longer_silence_it_starts_over_under_another_name_and_its_writes_go_out_then() {
    for seconds in [10, 49, 51, 120] {
        let mut world = pair();
        let id = world.clones[0].id();
        world.cut(0);
        let first = call(&mut world, increment("k"));
        world.seconds(7);
        assert_eq!(world.clones[0].state.master(), None);
        let second = call(&mut world, increment("k"));
        world.master.apply(put(MASTER, "there", 2));
        world
            .master
            .apply(put_for(MASTER, "brief", 1, Some(Timespan::from_secs(1))));
        world.seconds(seconds - 7);
        world.join(0);
        world.seconds(1);
        assert_ne!(world.clones[0].id(), id, "after {seconds} s");
        if seconds < 120 {
            assert_eq!(
                (answer(&world, first), answer(&world, second)),
                (DONE, DONE)
            );
            assert_eq!(count(&world.master.content, "k"), Some(2));
        }
        check_equal(&world);
    }
}

#[test]
fn a_write_that_waited_for_two_minutes_is_given_up() {
    let mut world = pair();
    world.cut(0);
    world.seconds(7);
    let token = call(&mut world, increment("k"));
    world.seconds(121);
    assert_eq!(answer(&world, token), Some(Err(StoreError::GivenUp)));
    world.join(0);
    world.seconds(1);
    assert_eq!(count(&world.master.content, "k"), None);
    check_equal(&world);
}

#[test]
fn a_master_that_was_restarted_is_followed_with_what_it_has() {
    let mut world = pair();
    let id = world.clones[0].id();
    world.seconds(2);
    let mut restarted = CppMaster::new(entity(8));
    restarted.apply(put(entity(8), "other", 1));
    world.master = restarted;
    world.seconds(2);
    assert_ne!(world.clones[0].id(), id);
    check_equal(&world);
    assert_eq!(count(&world.clones[0].content, "there"), None);
    let token = call(&mut world, increment("other"));
    assert_eq!(answer(&world, token), DONE);
}

#[test]
fn an_update_that_cannot_be_sent_again_makes_it_start_over_at_once() {
    let mut world = pair();
    let id = world.clones[0].id();
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    world.master.apply(put(MASTER, "k", 1));
    world.settle();
    world.master.updates.forget_buffer();
    world.ticks(9);
    assert_ne!(world.clones[0].id(), id);
    check_equal(&world);
}

#[test]
fn a_handshake_that_comes_late_is_as_it_was_and_what_followed_it_is_fetched() {
    let mut master = CppMaster::new(MASTER);
    master.apply(put(MASTER, "k", 1));
    let mut world = World::new(master, vec![OurClone::new(endpoint(2))]);
    world.clones[0] = OurClone::new(HERE);
    // C++ repeats the first ack_clone unchanged.
    world.lose_next(|content| matches!(content, Content::AckClone { .. }));
    world.settle();
    world.master.apply(put(MASTER, "k", 2));
    world.master.apply(put(MASTER, "l", 1));
    world.ticks(6);
    check_equal(&world);
    assert_eq!(count(&world.clones[0].content, "k"), Some(2));
}

#[test]
fn expiry_is_the_masters_and_an_increment_without_one_makes_a_key_last() {
    let mut world = pair();
    let brief = |key: &str| StoreOperation::Put {
        key: key.into(),
        value: 1u64.into(),
        expiry: Some(std::time::Duration::from_secs(1)),
    };
    call(&mut world, brief("brief"));
    call(&mut world, brief("lasting"));
    call(&mut world, increment("lasting"));
    world.ticks(10);
    assert_eq!(count(&world.clones[0].content, "brief"), Some(1));
    world.seconds(2);
    assert_eq!(count(&world.clones[0].content, "brief"), None);
    assert_eq!(count(&world.clones[0].content, "lasting"), Some(2));
    check_equal(&world);
}

#[test]
fn after_a_storm_of_losses_the_copies_equal_the_master_and_what_was_answered_is_there() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut weather = fastrand::Rng::with_seed(seed + 1000);
        let clones = (1..=3).map(|n| OurClone::new(endpoint(n))).collect();
        let mut world = World::new(CppMaster::new(MASTER), clones);
        world.loses = Box::new(move |_| weather.u32(0..100) < 15);
        let mut asked = Vec::new();
        for _ in 0..150 {
            let n = rng.usize(0..3);
            if rng.u32(0..30) == 0 {
                world.cut(n);
            } else if rng.u32(0..10) == 0 {
                world.join(n);
            }
            asked.push((n, world.clones[n].call(increment("sum"))));
            world.settle();
            world.master.apply(put(MASTER, "there", rng.u64(..)));
            world.ticks(rng.u64(0..3));
        }
        world.loses = Box::new(|_| false);
        (0..3).for_each(|n| world.join(n));
        world.seconds(12);
        check_equal(&world);
        let answers: Vec<_> = asked
            .iter()
            .map(|(n, token)| world.clones[*n].answers[token].clone())
            .collect();
        let done = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        let unknown = answers
            .iter()
            .filter(|answer| matches!(answer, Err(StoreError::Unanswered)))
            .count() as u64;
        assert_eq!(
            done + unknown,
            asked.len() as u64,
            "seed {seed}: {answers:?}"
        );
        let sum = count(&world.master.content, "sum").unwrap();
        assert!(
            (done..=done + unknown).contains(&sum),
            "seed {seed}: {done} done, {unknown} unknown, {sum} counted"
        );
    }
}
