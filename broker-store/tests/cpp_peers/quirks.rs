//! The models among themselves: they have the weaknesses that were seen on live C++ nodes, so what our sides do better is
//! not the models' doing (wire reference 7.3, 7.5, 7.8).

use super::cpp_clone::CppClone;
use super::cpp_master::CppMaster;
use super::world::{World, add, count, entity, put};
use broker_core::EntityId;
use broker_store::command::Content;

const MASTER: EntityId = entity(9);

fn pair() -> World<CppMaster, CppClone> {
    let world = World::new(CppMaster::new(MASTER), vec![CppClone::new(entity(1))]);
    assert!(world.clones[0].is_initialised());
    world
}

#[test]
fn a_clone_of_cpp_does_not_notice_a_lost_update_with_nothing_behind_it() {
    let mut world = pair();
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    world.master.apply(put(MASTER, "k", 1));
    world.seconds(30);
    assert_eq!(count(&world.clones[0].content, "k"), None);
    world.master.apply(put(MASTER, "l", 1));
    world.ticks(4);
    assert_eq!(count(&world.clones[0].content, "k"), Some(1));
}

#[test]
fn after_fifty_seconds_neither_side_of_cpp_comes_back() {
    let mut world = pair();
    let me = world.clones[0].id;
    world.cut(0);
    world.seconds(51);
    world.join(0);
    world.seconds(20);
    world.master.apply(put(MASTER, "k", 1));
    world.clones[0].write(add(me, "sum", 1));
    world.seconds(20);
    assert_eq!(count(&world.clones[0].content, "k"), None);
    assert_eq!(count(&world.master.content, "sum"), None);
}

#[test]
fn a_clone_of_cpp_that_lost_an_update_for_good_never_recovers() {
    let mut world = pair();
    world.lose_next(|content| matches!(content, Content::Put { .. }));
    world.master.apply(put(MASTER, "k", 1));
    world.settle();
    world.master.updates.forget_buffer();
    world.master.apply(put(MASTER, "l", 1));
    world.seconds(60);
    assert!(!world.clones[0].is_initialised());
}

#[test]
fn a_clone_of_cpp_does_not_follow_another_master_and_ends_without_one() {
    let mut world = pair();
    world.seconds(2);
    world.master = CppMaster::new(entity(8));
    world.seconds(30);
    world.master.apply(put(entity(8), "k", 1));
    world.settle();
    assert_eq!(world.clones[0].master, Some(MASTER));
    assert_eq!(count(&world.clones[0].content, "k"), None);

    world.clones[0] = CppClone::new(entity(2));
    world.cut(0);
    world.seconds(11);
    assert!(world.clones[0].has_ended());
}
