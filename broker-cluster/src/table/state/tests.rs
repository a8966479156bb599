use broker_core::EntityId;

use super::*;

type State = TableState<String, u64>;

const SECOND: Duration = Duration::from_secs(1);
const BOUNDS: Bounds = Bounds {
    writes: 4,
    bytes: 1 << 20,
};

fn state() -> State {
    State::new(Expiry::Never, BOUNDS)
}

fn put(state: &mut State, now: Instant, key: &str, value: u64) -> Result<Option<u64>, TableError> {
    let data = store_key(key).unwrap();
    state.insert(now, key.to_owned(), data, value, value.into())
}

fn remove(state: &mut State, key: &str) -> Option<u64> {
    state.remove(store_key(key).unwrap()).unwrap()
}

fn get(state: &State, key: &str) -> Option<u64> {
    state.get(&key.into()).copied()
}

/// What the store tells of a put.
fn told(state: &mut State, now: Instant, key: &str, value: impl Into<Data>) {
    let event = StoreEvent::Update {
        store: "s".into(),
        key: key.into(),
        old: Data::None,
        new: value.into(),
        expiry: None,
        publisher: EntityId::NIL,
    };
    state.handle_event(now, &event);
}

fn told_erase(state: &mut State, key: &str) {
    let event = StoreEvent::Erase {
        store: "s".into(),
        key: key.into(),
        publisher: EntityId::NIL,
    };
    state.handle_event(Instant::now(), &event);
}

fn told_expire(state: &mut State, key: &str) {
    let event = StoreEvent::Expire {
        store: "s".into(),
        key: key.into(),
        publisher: EntityId::NIL,
    };
    state.handle_event(Instant::now(), &event);
}

fn hand_over(state: &mut State, now: Instant) -> Vec<(u64, StoreOperation)> {
    std::iter::from_fn(|| state.next_write(now, usize::MAX)).collect()
}

fn changed(key: &str, previous: u64, value: u64) -> TableChange<String, u64> {
    TableChange::Changed {
        key: key.to_owned(),
        value,
        previous,
    }
}

#[test]
fn own_writes_are_seen_at_once_and_are_no_changes() {
    let (mut state, now) = (state(), Instant::now());
    assert_eq!(put(&mut state, now, "a", 1).unwrap(), None);
    assert_eq!(put(&mut state, now, "a", 2).unwrap(), Some(1));
    assert_eq!(get(&state, "a"), Some(2));
    assert_eq!(remove(&mut state, "a"), Some(2));
    assert_eq!((get(&state, "a"), state.len()), (None, 0));
    // What is not there is no write.
    assert_eq!(remove(&mut state, "b"), None);

    let writes = hand_over(&mut state, now);
    let kinds: Vec<bool> = writes
        .iter()
        .map(|(_, write)| matches!(write, StoreOperation::Put { .. }))
        .collect();
    assert_eq!(kinds, [true, true, false]);
    told(&mut state, now, "a", 1u64);
    told(&mut state, now, "a", 2u64);
    told_erase(&mut state, "a");
    for (number, _) in writes {
        state.handle_answer(number, Ok(()));
    }
    assert_eq!(state.take_changes(), []);
    assert_eq!(state.take_problems(), []);
    assert_eq!((state.waiting(), state.bytes, state.slots.len()), (0, 0, 0));
}

#[test]
fn what_the_master_had_before_an_own_write_is_never_seen() {
    let (mut state, now) = (state(), Instant::now());
    put(&mut state, now, "a", 1).unwrap();
    let writes = hand_over(&mut state, now);
    told(&mut state, now, "a", 7u64);
    assert_eq!(get(&state, "a"), Some(1));
    told(&mut state, now, "a", 1u64);
    state.handle_answer(writes[0].0, Ok(()));
    assert_eq!(get(&state, "a"), Some(1));
    assert_eq!(state.take_changes(), []);
}

#[test]
fn what_the_master_has_behind_an_own_write_replaces_it() {
    let (mut state, now) = (state(), Instant::now());
    put(&mut state, now, "a", 1).unwrap();
    let writes = hand_over(&mut state, now);
    told(&mut state, now, "a", 1u64);
    told(&mut state, now, "a", 7u64);
    assert_eq!(get(&state, "a"), Some(1));
    state.handle_answer(writes[0].0, Ok(()));
    assert_eq!(get(&state, "a"), Some(7));
    assert_eq!(state.take_changes(), [changed("a", 1, 7)]);
}

#[test]
fn a_value_is_shown_only_after_the_last_of_several_writes_is_answered() {
    let (mut state, now) = (state(), Instant::now());
    put(&mut state, now, "a", 1).unwrap();
    put(&mut state, now, "a", 2).unwrap();
    let writes = hand_over(&mut state, now);
    told(&mut state, now, "a", 1u64);
    state.handle_answer(writes[0].0, Ok(()));
    assert_eq!((get(&state, "a"), state.answered()), (Some(2), 1));
    told(&mut state, now, "a", 2u64);
    told_erase(&mut state, "a");
    state.handle_answer(writes[1].0, Ok(()));
    assert_eq!((get(&state, "a"), state.answered()), (None, 2));
    let removed = TableChange::Removed {
        key: "a".to_owned(),
        previous: 2,
    };
    assert_eq!(state.take_changes(), [removed]);
}

#[test]
fn a_write_that_fails_is_undone_and_told() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 5u64);
    state.take_changes();
    put(&mut state, now, "a", 6).unwrap();
    put(&mut state, now, "b", 1).unwrap();
    let writes = hand_over(&mut state, now);
    for (number, _) in writes {
        state.handle_answer(number, Err(StoreError::GivenUp));
    }
    assert_eq!((get(&state, "a"), get(&state, "b")), (Some(5), None));
    let removed = TableChange::Removed {
        key: "b".to_owned(),
        previous: 1,
    };
    assert_eq!(state.take_changes(), [changed("a", 6, 5), removed]);
    let problems = ["a", "b"].map(|key| TableProblem::Write {
        key: Some(key.into()),
        error: StoreError::GivenUp,
    });
    assert_eq!(state.take_problems(), problems);
    // It was applied after all.
    told(&mut state, now, "a", 6u64);
    assert_eq!(get(&state, "a"), Some(6));
}

#[test]
fn writes_that_were_under_way_when_the_master_went_go_out_again_in_order() {
    let (mut state, now) = (state(), Instant::now());
    put(&mut state, now, "a", 1).unwrap();
    put(&mut state, now, "b", 1).unwrap();
    put(&mut state, now, "a", 2).unwrap();
    let writes = hand_over(&mut state, now);
    put(&mut state, now, "c", 1).unwrap();
    for (number, _) in &writes {
        state.handle_answer(*number, Err(StoreError::Unanswered));
    }
    // The first write to "a" is not: it would undo the second.
    let again = hand_over(&mut state, now);
    let numbers: Vec<u64> = again.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(again[0].1, writes[1].1);
    assert_eq!(state.answered(), 1);
    for (key, value) in [("b", 1u64), ("a", 2), ("c", 1)] {
        told(&mut state, now, key, value);
    }
    for number in numbers {
        state.handle_answer(number, Ok(()));
    }
    assert_eq!((get(&state, "a"), state.waiting()), (Some(2), 0));
    assert_eq!(
        (state.take_changes(), state.take_problems()),
        (vec![], vec![])
    );

    // A clear is not repeated, since it would take what came later with it: it is undone and told.
    state.clear().unwrap();
    let writes = hand_over(&mut state, now);
    state.handle_answer(writes[0].0, Err(StoreError::Unanswered));
    assert_eq!(state.len(), 3);
    let problem = TableProblem::Write {
        key: None,
        error: StoreError::Unanswered,
    };
    assert_eq!(state.take_problems(), [problem]);
}

#[test]
fn an_element_that_another_removed_first_is_removed() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 5u64);
    remove(&mut state, "a");
    let writes = hand_over(&mut state, now);
    told_erase(&mut state, "a");
    // A C++ master has nothing to echo.
    state.handle_answer(writes[0].0, Err(StoreError::NotEchoed));
    assert_eq!(state.take_problems(), []);
    assert_eq!(get(&state, "a"), None);
}

#[test]
fn a_full_queue_refuses_writes_and_leaves_the_table_as_it_is() {
    let (mut state, now) = (state(), Instant::now());
    for key in ["a", "b", "c", "d"] {
        put(&mut state, now, key, 1).unwrap();
    }
    let full = put(&mut state, now, "a", 2);
    assert!(matches!(full, Err(TableError::Full { waiting: 4 })));
    assert!(matches!(
        state.remove("a".into()),
        Err(TableError::Full { .. })
    ));
    assert!(matches!(state.clear(), Err(TableError::Full { .. })));
    assert_eq!((get(&state, "a"), state.len()), (Some(1), 4));
    let writes = hand_over(&mut state, now);
    // On their way they still wait.
    assert!(put(&mut state, now, "a", 2).is_err());
    told(&mut state, now, "a", 1u64);
    state.handle_answer(writes[0].0, Ok(()));
    put(&mut state, now, "a", 2).unwrap();
}

#[test]
fn bytes_are_bounded_but_a_single_write_is_always_taken() {
    let bounds = Bounds {
        writes: 100,
        bytes: 200,
    };
    let (mut state, now) = (State::new(Expiry::Never, bounds), Instant::now());
    let long = "x".repeat(1000);
    put(&mut state, now, &long, 1).unwrap();
    assert!(matches!(
        put(&mut state, now, "a", 1),
        Err(TableError::Full { waiting: 1 })
    ));
}

#[test]
fn lives_go_to_the_store_as_zeek_sends_them() {
    let expiry_of = |write: &(u64, StoreOperation)| match write.1 {
        StoreOperation::Put { expiry, .. } => expiry,
        _ => None,
    };
    let now = Instant::now();
    // write_expire: the full interval each time.
    let mut state = State::new(Expiry::Write(SECOND * 10), BOUNDS);
    put(&mut state, now, "a", 1).unwrap();
    put(&mut state, now + SECOND, "a", 2).unwrap();
    let writes = hand_over(&mut state, now + SECOND * 2);
    let lives: Vec<_> = writes.iter().map(expiry_of).collect();
    assert_eq!(lives, [Some(SECOND * 10), Some(SECOND * 10)]);

    // create_expire: what is left of the life.
    let mut state = State::new(Expiry::Create(SECOND * 10), BOUNDS);
    put(&mut state, now, "a", 1).unwrap();
    put(&mut state, now + SECOND * 4, "a", 2).unwrap();
    let writes = hand_over(&mut state, now + SECOND * 4);
    let lives: Vec<_> = writes.iter().map(expiry_of).collect();
    assert_eq!(lives, [Some(SECOND * 6), Some(SECOND * 6)]);
    // It goes on where another node has written it.
    let event = StoreEvent::Insert {
        store: "s".into(),
        key: "b".into(),
        value: 1u64.into(),
        expiry: Some(Timespan::from_secs(3)),
        publisher: EntityId::NIL,
    };
    state.handle_event(now, &event);
    put(&mut state, now + SECOND, "b", 2).unwrap();
    let writes = hand_over(&mut state, now + SECOND);
    assert_eq!(expiry_of(&writes[0]), Some(SECOND * 2));

    // Without: none.
    let mut state = self::state();
    put(&mut state, now, "a", 1).unwrap();
    assert_eq!(expiry_of(&hand_over(&mut state, now)[0]), None);
}

#[test]
fn a_life_that_ends_before_the_write_goes_out_is_skipped_and_told() {
    let (now, bounds) = (Instant::now(), BOUNDS);
    let mut state = State::new(Expiry::Create(SECOND), bounds);
    put(&mut state, now, "a", 1).unwrap();
    put(&mut state, now, "b", 1).unwrap();
    assert!(hand_over(&mut state, now + SECOND).is_empty());
    assert_eq!((state.len(), state.waiting(), state.bytes), (0, 0, 0));
    assert_eq!(
        state.take_problems(),
        ["a", "b"].map(|key| TableProblem::Late { key: key.into() })
    );
    assert_eq!(state.take_changes().len(), 2);
}

#[test]
fn the_store_s_expiry_is_a_change_of_its_own() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 1u64);
    told_expire(&mut state, "a");
    told_expire(&mut state, "a");
    let key = || "a".to_owned();
    assert_eq!(
        state.take_changes(),
        [
            TableChange::New {
                key: key(),
                value: 1
            },
            TableChange::Expired {
                key: key(),
                previous: 1
            }
        ]
    );
}

#[test]
fn elements_of_other_types_are_skipped_and_told() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 1u64);
    told(&mut state, now, "a", "text");
    let event = StoreEvent::Insert {
        store: "s".into(),
        key: 5i64.into(),
        value: 1u64.into(),
        expiry: None,
        publisher: EntityId::NIL,
    };
    state.handle_event(now, &event);
    assert_eq!((get(&state, "a"), state.len()), (Some(1), 1));
    let texts: Vec<String> = state
        .take_problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        texts[0].contains("value at a: got string, expected count"),
        "{texts:?}"
    );
    assert!(
        texts[1].contains("index 5: got int, expected string"),
        "{texts:?}"
    );
}

#[test]
fn clear_removes_what_is_there_and_later_writes_stay() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 1u64);
    told(&mut state, now, "b", 1u64);
    state.take_changes();
    state.clear().unwrap();
    put(&mut state, now, "b", 2).unwrap();
    assert_eq!((state.len(), get(&state, "b")), (1, Some(2)));
    let writes = hand_over(&mut state, now);
    assert_eq!(writes[0].1, StoreOperation::Clear);
    told_erase(&mut state, "a");
    told_erase(&mut state, "b");
    state.handle_answer(writes[0].0, Ok(()));
    told(&mut state, now, "b", 2u64);
    state.handle_answer(writes[1].0, Ok(()));
    assert_eq!((state.len(), get(&state, "b")), (1, Some(2)));
    assert_eq!(state.take_changes(), []);
}

#[test]
fn reading_all_of_the_store_again_finds_what_was_missed() {
    let (mut state, now) = (state(), Instant::now());
    for key in ["same", "gone", "other"] {
        told(&mut state, now, key, 1u64);
    }
    put(&mut state, now, "own", 9).unwrap();
    state.take_changes();
    state.begin_reading();
    for (key, value) in [("same", 1u64), ("other", 2), ("new", 3)] {
        state.read(now, &key.into(), &value.into(), None).unwrap();
    }
    state.end_reading();
    assert_eq!(state.len(), 4);
    assert_eq!(get(&state, "own"), Some(9));
    let changes = state.take_changes();
    assert_eq!(changes.len(), 3);
    assert!(changes.contains(&changed("other", 1, 2)));
    // And the unanswered write is settled by its answer.
    let writes = hand_over(&mut state, now);
    state.handle_answer(writes[0].0, Err(StoreError::GivenUp));
    assert_eq!(get(&state, "own"), None);
}

#[test]
fn a_closed_table_takes_no_writes_and_says_what_became_of_those_before() {
    let (mut state, now) = (state(), Instant::now());
    told(&mut state, now, "a", 1u64);
    put(&mut state, now, "a", 2).unwrap();
    hand_over(&mut state, now);
    put(&mut state, now, "b", 2).unwrap();
    state.close();
    assert!(matches!(
        put(&mut state, now, "a", 3),
        Err(TableError::Closed)
    ));
    assert_eq!((get(&state, "a"), get(&state, "b")), (Some(1), None));
    assert_eq!(state.take_problems().len(), 2);
}

#[test]
fn pages_go_on_behind_the_last_key() {
    let (mut state, now) = (state(), Instant::now());
    for key in ["a", "b", "c"] {
        told(&mut state, now, key, 1u64);
    }
    remove(&mut state, "b");
    let (page, last) = state.page(None, 1);
    assert_eq!(page, [("a".to_owned(), 1)]);
    let (page, last) = state.page(last.as_ref(), 1);
    assert_eq!(page, [("c".to_owned(), 1)]);
    assert_eq!(last, None);
}

/// A master and the way to it, for any number of tables: applies writes in the order they are let through, and tells every
/// table in that order, each when it is let.
mod world {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    enum Told {
        Event(StoreEvent),
        Answer(u64),
    }

    struct Node {
        state: State,
        sent: VecDeque<(u64, StoreOperation)>,
        told: VecDeque<Told>,
        /// What the last write of this node made of each element it wrote, while it is not answered.
        own: BTreeMap<String, Option<u64>>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(usize, u8, u64),
        Remove(usize, u8),
        Clear(usize),
        Send(usize),
        Apply(usize),
        Hear(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let node = || 0..3usize;
        prop_oneof![
            4 => (node(), 0..4u8, any::<u64>()).prop_map(|(n, k, v)| Step::Put(n, k, v)),
            2 => (node(), 0..4u8).prop_map(|(n, k)| Step::Remove(n, k)),
            1 => node().prop_map(Step::Clear),
            4 => node().prop_map(Step::Send),
            5 => node().prop_map(Step::Apply),
            6 => (node(), 1..4usize).prop_map(|(n, count)| Step::Hear(n, count)),
        ]
    }

    struct World {
        nodes: Vec<Node>,
        master: BTreeMap<String, u64>,
    }

    impl World {
        fn new() -> Self {
            let bounds = Bounds {
                writes: 1000,
                bytes: 1 << 20,
            };
            let node = || Node {
                state: State::new(Expiry::Never, bounds),
                sent: VecDeque::new(),
                told: VecDeque::new(),
                own: BTreeMap::new(),
            };
            Self {
                nodes: (0..3).map(|_| node()).collect(),
                master: BTreeMap::new(),
            }
        }

        fn step(&mut self, step: &Step) {
            let now = Instant::now();
            match *step {
                Step::Put(n, key, value) => {
                    let node = &mut self.nodes[n];
                    put(&mut node.state, now, &key.to_string(), value).unwrap();
                    node.own.insert(key.to_string(), Some(value));
                }
                Step::Remove(n, key) => {
                    let node = &mut self.nodes[n];
                    if remove(&mut node.state, &key.to_string()).is_some() {
                        node.own.insert(key.to_string(), None);
                    }
                }
                Step::Clear(n) => {
                    let node = &mut self.nodes[n];
                    let (elements, _) = node.state.page(None, usize::MAX);
                    node.state.clear().unwrap();
                    for (key, _) in elements {
                        node.own.insert(key, None);
                    }
                }
                Step::Send(n) => {
                    let node = &mut self.nodes[n];
                    node.sent.extend(node.state.next_write(now, usize::MAX));
                }
                Step::Apply(n) => self.apply(n),
                Step::Hear(n, count) => {
                    let node = &mut self.nodes[n];
                    for _ in 0..count {
                        match node.told.pop_front() {
                            Some(Told::Event(event)) => node.state.handle_event(now, &event),
                            Some(Told::Answer(number)) => {
                                node.state.handle_answer(number, Ok(()));
                            }
                            None => break,
                        }
                    }
                    if node.state.waiting() == 0 {
                        node.own.clear();
                    }
                }
            }
            self.check();
        }

        /// The master applies the next write of a node.
        fn apply(&mut self, n: usize) {
            let Some((number, operation)) = self.nodes[n].sent.pop_front() else {
                return;
            };
            let mut events = Vec::new();
            let erase = |key: String| StoreEvent::Erase {
                store: "s".into(),
                key: key.as_str().into(),
                publisher: EntityId::NIL,
            };
            let name = |key: Data| String::from_data(&key).unwrap();
            match operation {
                StoreOperation::Put { key, value, .. } => {
                    let count = u64::from_data(&value).unwrap();
                    let old = self.master.insert(name(key.clone()), count);
                    let (store, publisher, expiry) = ("s".into(), EntityId::NIL, None);
                    events.push(match old {
                        None => StoreEvent::Insert {
                            store,
                            key,
                            value,
                            expiry,
                            publisher,
                        },
                        Some(old) => StoreEvent::Update {
                            store,
                            key,
                            old: old.into(),
                            new: value,
                            expiry,
                            publisher,
                        },
                    });
                }
                StoreOperation::Erase(key) => {
                    let key = name(key);
                    if self.master.remove(&key).is_some() {
                        events.push(erase(key));
                    }
                }
                _ => events.extend(std::mem::take(&mut self.master).into_keys().map(erase)),
            }
            for (index, node) in self.nodes.iter_mut().enumerate() {
                node.told.extend(events.iter().cloned().map(Told::Event));
                if index == n {
                    node.told.push_back(Told::Answer(number));
                }
            }
        }

        /// Whatever others do, a node sees its own unanswered writes.
        fn check(&self) {
            for node in &self.nodes {
                let (elements, _) = node.state.page(None, usize::MAX);
                assert_eq!(elements.len(), node.state.len());
                if node.state.answered() == 0 {
                    for (key, value) in &node.own {
                        assert_eq!(get(&node.state, key), *value);
                    }
                }
            }
        }

        fn settle(&mut self) {
            for n in 0..3 {
                while self.nodes[n].state.waiting() > self.nodes[n].sent.len()
                    && let Some(write) = self.nodes[n].state.next_write(Instant::now(), usize::MAX)
                {
                    self.nodes[n].sent.push_back(write);
                }
                while !self.nodes[n].sent.is_empty() {
                    self.apply(n);
                }
            }
            for n in 0..3 {
                self.step(&Step::Hear(n, usize::MAX));
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_interleaving_all_copies_end_equal(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let mut world = World::new();
            for step in &steps {
                world.step(step);
            }
            world.settle();
            for node in &mut world.nodes {
                let content: BTreeMap<String, u64> =
                    node.state.page(None, usize::MAX).0.into_iter().collect();
                prop_assert_eq!(&content, &world.master);
                prop_assert_eq!(node.state.waiting(), 0);
                prop_assert_eq!(node.state.bytes, 0);
                prop_assert_eq!(node.state.slots.len(), content.len());
                prop_assert_eq!(node.state.take_problems(), []);
            }
        }
    }
}
