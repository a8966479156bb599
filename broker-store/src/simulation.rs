//! One master and several clones over a seeded network that delays, reorders, doubles, loses and cuts, in virtual time.
//!
//! After healing, every copy equals the master; every write was answered at most once; what was acknowledged is there;
//! `put_unique` was granted once per key. A failing run names its seed; `SIMULATION_SEED=n` replays it and
//! `SIMULATION_SEEDS=n` tries that many.

use std::collections::{BTreeMap, HashMap};

use broker_core::{Data, EndpointId, EntityId, StoreOperation, StoreReply, Timespan, Timestamp};
use bytes::Bytes;

use crate::backend::{Backend, Entry};
use crate::channel::Timers;
use crate::clone::{CloneOutput, CloneState, Freshness, Patience};
use crate::conformance::FailsNth;
use crate::error::StoreError;
use crate::ids::EntityIds;
use crate::master::{MasterOutput, MasterState};
use crate::memory::Memory;
use crate::operation::Request;

/// How hostile the network is.
#[derive(Clone, Copy)]
struct Weather {
    /// Of a hundred commands, how many are lost, doubled, and delayed so that others overtake them.
    lost: u32,
    doubled: u32,
    delayed: u32,
}

const STORM: Weather = Weather {
    lost: 10,
    doubled: 5,
    delayed: 20,
};
const CALM: Weather = Weather {
    lost: 0,
    doubled: 0,
    delayed: 0,
};

struct World {
    rng: fastrand::Rng,
    weather: Weather,
    now: Timestamp,
    step: u64,
    master: MasterState,
    starts: u64,
    /// Whether both sides are nodes of ours.
    ours: bool,
    clones: Vec<CloneState>,
    /// Commands under way by the step they arrive at, with an order of their own.
    network: BTreeMap<(u64, u64), (Place, EndpointId, Bytes)>,
    sent: u64,
    cut: Vec<bool>,
    asked: HashMap<(usize, u64), StoreOperation>,
    answered: HashMap<(usize, u64), Result<StoreReply, StoreError>>,
    tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Master,
    Clone(usize),
}

impl World {
    fn new(seed: u64, clones: usize, outcomes: bool, backend: impl Backend) -> Self {
        let clone = |n: usize| {
            CloneState::new(
                "s",
                EntityIds::new(endpoint(n)),
                Patience {
                    silence: 50,
                    stale: Some(300),
                    write: 600,
                },
                move |_| outcomes,
            )
            // Two or three entries, so that there are many pages.
            .page_bytes(64)
        };
        let mut world = Self {
            rng: fastrand::Rng::with_seed(seed),
            weather: STORM,
            now: Timestamp::EPOCH,
            step: 0,
            master: master(0, outcomes, backend),
            starts: 0,
            ours: outcomes,
            clones: (0..clones).map(clone).collect(),
            network: BTreeMap::new(),
            sent: 0,
            cut: vec![false; clones],
            asked: HashMap::new(),
            answered: HashMap::new(),
            tokens: 0,
        };
        world.carry_out();
        world
    }

    /// 100 ms pass.
    fn step(&mut self) {
        self.step += 1;
        self.now = self.now.saturating_add(Timespan::from_nanos(100_000_000));
        while let Some(entry) = self.network.first_entry()
            && entry.key().0 <= self.step
        {
            let (place, from, payload) = entry.remove();
            match place {
                Place::Master => self.master.handle_command(self.now, from, &payload),
                Place::Clone(n) => self.clones[n].handle_command(self.now, from, &payload),
            }
            if self.rng.bool() {
                self.master.commit();
            }
        }
        self.master.tick(self.now);
        self.clones.iter_mut().for_each(CloneState::tick);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        self.master.commit();
        while let Some(output) = self.master.poll_output() {
            let from = self.master.id().endpoint;
            match output {
                MasterOutput::Broadcast(payload) => {
                    (0..self.clones.len()).for_each(|n| self.send(from, Place::Clone(n), &payload))
                }
                MasterOutput::Unicast { to, payload } => {
                    if let Some(n) = (0..self.clones.len()).find(|n| endpoint(*n) == to) {
                        self.send(from, Place::Clone(n), &payload);
                    }
                }
                MasterOutput::Event { .. } | MasterOutput::Reply { .. } => {}
            }
        }
        for n in 0..self.clones.len() {
            while let Some(output) = self.clones[n].poll_output() {
                match output {
                    CloneOutput::Broadcast(payload) => {
                        self.send(endpoint(n), Place::Master, &payload)
                    }
                    CloneOutput::Write { .. } if self.cut[n] => {}
                    CloneOutput::Write { seq, payload } => {
                        self.clones[n].handle_left(seq);
                        self.send(endpoint(n), Place::Master, &payload);
                    }
                    CloneOutput::Unicast { to, payload } if to == self.master.id().endpoint => {
                        self.send(endpoint(n), Place::Master, &payload)
                    }
                    CloneOutput::Reply { token, result } => {
                        assert!(
                            self.asked.contains_key(&(n, token)),
                            "an answer to a question"
                        );
                        assert!(
                            self.answered.insert((n, token), result).is_none(),
                            "one answer to each question"
                        );
                    }
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, from: EndpointId, to: Place, payload: &Bytes) {
        let clone = match to {
            Place::Clone(n) => n,
            Place::Master => (0..self.clones.len())
                .find(|n| endpoint(*n) == from)
                .expect("clones send to masters"),
        };
        if self.cut[clone] || self.rng.u32(0..100) < self.weather.lost {
            return;
        }
        let copies = if self.rng.u32(0..100) < self.weather.doubled {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let late = if self.rng.u32(0..100) < self.weather.delayed {
                self.rng.u64(1..8)
            } else {
                0
            };
            // A delayed command is overtaken by those behind it; the others keep their order.
            let at = self.step + 1 + late;
            self.sent += 1;
            self.network
                .insert((at, self.sent), (to, from, payload.clone()));
        }
    }

    fn write(&mut self, n: usize, operation: StoreOperation) {
        self.tokens += 1;
        self.asked.insert((n, self.tokens), operation.clone());
        self.clones[n].handle_write(self.tokens, operation);
        self.carry_out();
    }

    fn random_write(&mut self) {
        let n = self.rng.usize(0..self.clones.len());
        let key = Data::from(self.rng.u64(0..8));
        let expiry = (self.rng.u32(0..10) == 0)
            .then(|| std::time::Duration::from_millis(self.rng.u64(100..3000)));
        let operation = match self.rng.u32(0..12) {
            0 => StoreOperation::Erase(key),
            1 => StoreOperation::Push {
                key: Data::vector([key]),
                value: self.step.into(),
                expiry,
            },
            2 if self.rng.u32(0..8) == 0 => StoreOperation::Clear,
            2..6 => StoreOperation::Increment {
                key,
                amount: 1u64.into(),
                expiry,
            },
            6 => StoreOperation::Append {
                key,
                value: "x".into(),
                expiry,
            },
            _ => StoreOperation::Put {
                key,
                value: self.rng.u64(..).into(),
                expiry,
            },
        };
        self.write(n, operation);
    }

    /// The master is gone with all it had sent, and another one begins with its entries.
    fn restart_master(&mut self) {
        self.starts += 1;
        let mut memory = Memory::new();
        let batch: Vec<_> = self
            .entries()
            .into_iter()
            .map(|(key, Entry { value, expires_at })| crate::Mutation::Put {
                key,
                value,
                expires_at,
            })
            .collect();
        memory.apply(&batch).unwrap();
        self.master = master(self.starts, self.ours, memory);
        self.network.clear();
    }

    /// What the master holds.
    fn entries(&mut self) -> Vec<(Data, Entry)> {
        let request = Request::from_operation(
            StoreOperation::Scan {
                after: None,
                limit: 4096,
            },
            EntityId::NIL,
            0,
        );
        self.master.handle_request(self.now, u64::MAX, request);
        self.master.commit();
        let mut entries = None;
        let mut others = Vec::new();
        while let Some(output) = self.master.poll_output() {
            match output {
                MasterOutput::Reply {
                    token: u64::MAX,
                    result: Ok(StoreReply::Entries(page)),
                } => entries = Some(page),
                other => others.push(other),
            }
        }
        assert_eq!(others, [], "nothing was left to be carried out");
        let deadline = |left: Option<std::time::Duration>| {
            left.map(|left| self.now.saturating_add(left.into()))
        };
        entries
            .expect("a page")
            .into_iter()
            .map(|entry| {
                (
                    entry.key,
                    Entry {
                        value: entry.value,
                        expires_at: deadline(entry.expires_in),
                    },
                )
            })
            .collect()
    }

    /// The weather clears; everything settles.
    fn heal(&mut self) {
        self.weather = CALM;
        self.cut.fill(false);
        // Silence, a new snapshot, and whatever has to be sent again.
        for _ in 0..200 {
            self.step();
        }
        self.carry_out();
    }

    fn check(&mut self, context: &str) {
        let mut entries: Vec<_> = self
            .entries()
            .into_iter()
            .map(|(key, entry)| (key, entry.value))
            .collect();
        entries.sort();
        for (n, clone) in self.clones.iter().enumerate() {
            let view = clone.view();
            let mut copy: Vec<_> = view
                .content
                .scan(None, 4096)
                .into_iter()
                .map(|(key, entry)| (key, entry.value))
                .collect();
            copy.sort();
            assert_eq!(view.freshness(), Freshness::Live, "{context}: clone {n}");
            assert_eq!(copy, entries, "{context}: clone {n} equals the master");
            if self.ours {
                let at = (clone.revision(), view.content.digest());
                let master = (Some(self.master.revision()), self.master.digest());
                assert_eq!(at, master, "{context}: clone {n} counts as the master does");
            }
        }
        for (question, operation) in &self.asked {
            assert!(
                self.answered.contains_key(question),
                "{context}: {operation:?} is answered"
            );
        }
    }

    fn succeeded(&self) -> impl Iterator<Item = &StoreOperation> {
        self.asked
            .iter()
            .filter(|(question, _)| self.answered.get(*question).is_some_and(Result::is_ok))
            .map(|(_, operation)| operation)
    }
}

fn master(start: u64, ours: bool, backend: impl Backend) -> MasterState {
    let mut id = [0xff; 16];
    id[15] = start as u8;
    MasterState::new(
        "s",
        EntityId::new(EndpointId::from_bytes(id), 1),
        Box::new(backend),
        Timers::default(),
    )
    .unwrap()
    .with_speakers(move |_| ours)
}

fn endpoint(n: usize) -> EndpointId {
    EndpointId::from_bytes([n as u8 + 1; 16])
}

/// The seeds to try: a few in an ordinary test run.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIMULATION_SEEDS").unwrap_or(40)).collect(),
    }
}

#[test]
fn after_healing_every_copy_equals_the_master() {
    for seed in seeds() {
        let context = format!("SIMULATION_SEED={seed}");
        let mut world = World::new(seed, 3, true, Memory::new());
        for _ in 0..120 {
            if world.rng.u32(0..40) == 0 {
                let n = world.rng.usize(0..3);
                world.cut[n] = !world.cut[n];
            }
            for _ in 0..world.rng.u32(0..4) {
                world.random_write();
            }
            world.step();
        }
        world.heal();
        world.check(&context);
    }
}

#[test]
fn a_master_that_restarts_in_a_storm_is_followed_by_all() {
    for seed in seeds() {
        let context = format!("SIMULATION_SEED={seed}");
        let mut world = World::new(seed, 2, true, Memory::new());
        for step in 0..120 {
            if step % 50 == 49 {
                world.restart_master();
            }
            world.random_write();
            world.step();
        }
        world.heal();
        world.check(&context);
    }
}

#[test]
fn without_outcomes_copies_converge_all_the_same() {
    for seed in seeds() {
        let context = format!("SIMULATION_SEED={seed}");
        let mut world = World::new(seed, 2, false, Memory::new());
        for _ in 0..80 {
            world.random_write();
            world.step();
        }
        world.heal();
        world.check(&context);
    }
}

#[test]
fn acknowledged_increments_are_all_counted_and_none_twice() {
    let mut total = 0;
    for seed in seeds() {
        let context = format!("SIMULATION_SEED={seed}");
        let mut world = World::new(seed, 3, true, FailsNth::new(Memory::new(), 7));
        for _ in 0..100 {
            if world.rng.u32(0..60) == 0 {
                let n = world.rng.usize(0..3);
                world.cut[n] = !world.cut[n];
            }
            let n = world.rng.usize(0..3);
            world.write(
                n,
                StoreOperation::Increment {
                    key: "sum".into(),
                    amount: 1u64.into(),
                    expiry: None,
                },
            );
            world.step();
        }
        world.heal();
        world.check(&context);
        let sum = world
            .entries()
            .first()
            .and_then(|(_, entry)| entry.value.as_count())
            .unwrap_or(0);
        let acknowledged = world.succeeded().count() as u64;
        let unanswered = world
            .answered
            .values()
            .filter(|result| matches!(result, Err(StoreError::Unanswered)))
            .count() as u64;
        assert!(
            acknowledged <= sum && sum <= acknowledged + unanswered,
            "{context}: {acknowledged} acknowledged, {sum} counted, {unanswered} unknown"
        );
        total += acknowledged;
    }
    assert!(total > 0, "the network lets something through");
}

#[test]
fn put_unique_is_granted_once_per_key() {
    let mut total = 0;
    for seed in seeds() {
        let context = format!("SIMULATION_SEED={seed}");
        let mut world = World::new(seed, 3, true, Memory::new());
        for _ in 0..60 {
            let (n, key) = (world.rng.usize(0..3), world.rng.u64(0..10));
            world.write(
                n,
                StoreOperation::PutUnique {
                    key: key.into(),
                    value: (n as u64).into(),
                    expiry: None,
                },
            );
            world.step();
        }
        world.heal();
        world.check(&context);
        let mut granted = HashMap::<&Data, u32>::new();
        for (question, operation) in &world.asked {
            if let (
                StoreOperation::PutUnique { key, .. },
                Some(Ok(StoreReply::Value(Data::Boolean(true)))),
            ) = (operation, world.answered.get(question))
            {
                *granted.entry(key).or_default() += 1;
            }
        }
        assert!(
            granted.values().all(|times| *times == 1),
            "{context}: {granted:?}"
        );
        total += granted.len();
    }
    assert!(total > 0, "the network lets something through");
}
