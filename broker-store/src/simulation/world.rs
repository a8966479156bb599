//! The master, the clones, and the network between them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use broker_core::{
    Data, EndpointId, EntityId, Revision, StoreOperation, StoreReply, Timespan, Timestamp,
};
use bytes::Bytes;

use super::cpp::{CppClone, Peer as _, To};
use super::plan::Plan;
use crate::backend::{Backend as _, Entry, Mutation};
use crate::channel::Timers;
use crate::clone::{CloneOutput, CloneState, Freshness, Patience};
use crate::command::{Command, Content};
use crate::conformance::{Shared, fails_nth};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::ids::EntityIds;
use crate::master::{MasterOutput, MasterState};
use crate::memory::Memory;
use crate::operation::Request;

/// How hostile the network is: of a hundred commands, how many are lost, doubled, delayed so that others overtake them,
/// and heard again much later.
#[derive(Clone, Copy)]
struct Weather {
    lost: u32,
    doubled: u32,
    delayed: u32,
    echoed: u32,
}

const CALM: Weather = Weather {
    lost: 0,
    doubled: 0,
    delayed: 0,
    echoed: 0,
};
const DRIZZLE: Weather = Weather {
    lost: 1,
    doubled: 1,
    delayed: 5,
    echoed: 0,
};
const STORM: Weather = Weather {
    lost: 10,
    doubled: 5,
    delayed: 20,
    echoed: 0,
};
const ECHOES: Weather = Weather {
    lost: 0,
    doubled: 0,
    delayed: 5,
    echoed: 60,
};

/// Whose write it is, and which.
pub(super) type Question = (Writer, u64);

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Writer {
    Master,
    Clone(usize),
}

pub(super) struct World {
    pub(super) plan: Plan,
    rng: fastrand::Rng,
    weather: Weather,
    pub(super) now: Timestamp,
    step: u64,
    pub(super) master: MasterState,
    disk: Shared<Memory>,
    pub(super) clones: Vec<Node>,
    /// Commands under way by the step they arrive at, with an order of their own.
    network: BTreeMap<(u64, u64), (Writer, EndpointId, Bytes)>,
    pub(super) asked: BTreeMap<Question, StoreOperation>,
    pub(super) answered: HashMap<Question, Result<StoreReply, StoreError>>,
    /// What the digest was at each revision that the master has come to.
    digests: HashMap<Revision, Digest>,
    /// Behind which number the writes of each clone of C++ begin, as the master has heard.
    announced: HashMap<EntityId, u64>,
    tokens: u64,
    counter: u64,
    pub(super) figures: super::Summary,
    pub(super) trace: bool,
}

/// A clone and its link.
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Which of the clones of this place it is.
    generation: u8,
    cut: bool,
    /// For how many ticks it has been cut in all.
    pub(super) dark: u64,
    /// What it said first to this run of the master, and when.
    first: Vec<(u64, Bytes)>,
}

/// Whose clone it is.
pub(super) enum Kind {
    Ours(Box<CloneState>),
    Cpp(Box<CppClone>),
}

impl Node {
    /// The clone, if it is our code.
    pub(super) fn ours(&self) -> Option<&CloneState> {
        match &self.kind {
            Kind::Ours(state) => Some(state),
            Kind::Cpp(_) => None,
        }
    }

    fn tick(&mut self) {
        match &mut self.kind {
            Kind::Ours(state) => state.tick(),
            Kind::Cpp(clone) => clone.tick(),
        }
    }
}

impl World {
    pub(super) fn new(plan: &Plan, trace: bool) -> Self {
        let disk = Shared::new(Memory::new());
        let preloaded: Vec<_> = (0..plan.preloaded)
            .map(|n| Mutation::Put {
                key: Data::vector(["filler".into(), Data::from(n)]),
                value: n.into(),
                expires_at: None,
            })
            .collect();
        disk.clone()
            .apply(&preloaded)
            .expect("memory takes everything");
        let mut world = Self {
            plan: plan.clone(),
            rng: fastrand::Rng::with_seed(plan.seed),
            weather: if plan.echoes { ECHOES } else { STORM },
            now: Timestamp::EPOCH,
            step: 0,
            master: master(plan, 0, disk.clone()),
            disk,
            clones: (0..plan.ours.len()).map(|n| node(plan, n, 0)).collect(),
            network: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: HashMap::new(),
            digests: HashMap::new(),
            announced: HashMap::new(),
            tokens: 0,
            counter: 0,
            figures: super::Summary::default(),
            trace,
        };
        world.carry_out();
        world
    }

    /// What happens until the network heals.
    pub(super) fn play(&mut self) {
        self.bustle(self.plan.ticks);
        if self.plan.blackout {
            self.black_out();
            self.bustle(self.plan.ticks / 4);
        }
    }

    /// Everybody writes, and everything happens.
    fn bustle(&mut self, ticks: u64) {
        // A clone that does not stay.
        let mut visit: Option<(u64, usize)> = None;
        for _ in 0..ticks {
            let plan = self.plan.clone();
            if self.happens(plan.changes) {
                let kinds = [CALM, DRIZZLE, STORM];
                let weather = *self.rng.choice(&kinds).unwrap_or(&STORM);
                self.weather = if plan.echoes { ECHOES } else { weather };
            }
            let n = self.rng.usize(0..self.clones.len());
            if self.happens(plan.cuts) {
                self.clones[n].cut = !self.clones[n].cut;
            }
            if self.happens(plan.departures) {
                self.replace_clone(n);
                visit = self.rng.bool().then(|| (self.rng.u64(3..40), n));
            }
            visit = match visit {
                Some((0, n)) => {
                    self.replace_clone(n);
                    None
                }
                other => other.map(|(ticks, n)| (ticks - 1, n)),
            };
            if self.happens(plan.restarts) {
                self.restart_master();
            }
            for _ in 0..self.rng.u32(0..=plan.writes) {
                self.random_write();
            }
            self.step();
        }
    }

    /// All links are cut until the master has forgotten everybody. It changes nothing before, or as it likes.
    fn black_out(&mut self) {
        self.weather = CALM;
        self.clones.iter_mut().for_each(|node| node.cut = false);
        for _ in 0..self.rng.u64(0..80) {
            self.step();
        }
        self.clones.iter_mut().for_each(|node| node.cut = true);
        let busy_before = self.rng.bool();
        for tick in 0..FORGOTTEN_AFTER + self.rng.u64(0..100) {
            if (busy_before || tick > FORGOTTEN_AFTER) && self.rng.u32(0..20) == 0 {
                self.random_write_of(Writer::Master);
            }
            // Clones of C++ go on writing, and nobody hears it.
            let n = self.rng.usize(0..self.clones.len());
            if self.plan.cpp[n] && self.rng.u32(0..20) == 0 {
                self.random_write_of(Writer::Clone(n));
            }
            self.step();
        }
        for n in 0..self.clones.len() {
            self.clones[n].cut = self.rng.bool();
        }
    }

    /// The weather clears; everything settles.
    pub(super) fn heal(&mut self) {
        self.weather = CALM;
        self.clones.iter_mut().for_each(|node| node.cut = false);
        // Silence, new content page by page, whatever has to be sent again, and the longest of the short lives.
        for _ in 0..SETTLES {
            self.step();
        }
    }

    fn happens(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.rng.u32(0..1000) < in_a_thousand
    }

    /// 100 ms pass.
    fn step(&mut self) {
        self.step += 1;
        self.now = self.now.saturating_add(TICK);
        // Several rounds, as far as the network is fast: a page a tick would take for ever.
        for round in 0..ROUNDS {
            let mut arrived = false;
            while let Some(entry) = self.network.first_entry()
                && entry.key().0 <= self.step * ROUNDS + round
            {
                arrived = true;
                let (place, from, payload) = entry.remove();
                match place {
                    Writer::Master => {
                        self.master.handle_command(self.now, from, &payload);
                        self.note_announcement(from, &payload);
                    }
                    Writer::Clone(n) => match &mut self.clones[n].kind {
                        Kind::Ours(state) => state.handle_command(self.now, from, &payload),
                        Kind::Cpp(clone) => clone.hear(read(&payload)),
                    },
                }
                if self.rng.bool() {
                    self.master.commit();
                }
            }
            if arrived {
                self.carry_out();
            }
        }
        self.master.tick(self.now);
        for node in &mut self.clones {
            node.dark += u64::from(node.cut);
            node.tick();
        }
        self.carry_out();
        self.check_digests();
        self.check_deadlines();
    }

    /// At every moment: what lives shortly has a deadline, which the master does not miss by more than it can help; and no
    /// copy at the master's revision takes one to be earlier, or to be none where the master tells it.
    fn check_deadlines(&self) {
        let seed = self.plan.seed;
        let tolerance = if self.plan.fails_nth == 0 {
            Timespan::ZERO
        } else {
            TOLERANCE
        };
        for (group, told) in [(SHORT, true), (BRIEF, false)] {
            for number in 0..KEYS {
                let key = key(group, number);
                let Some(entry) = self.disk.get(&key).expect("memory can be read") else {
                    continue;
                };
                let Some(at) = entry.expires_at else {
                    panic!("seed {seed}: {key} has lost its deadline");
                };
                assert!(
                    at.saturating_add(tolerance) >= self.now,
                    "seed {seed}: {key} should have expired at {at}, it is {}",
                    self.now
                );
                for (n, state) in self.clones_of_ours() {
                    if state.revision() != Some(self.master.revision()) {
                        continue;
                    }
                    let known = state.view().content.expires_at(&key, &entry.value);
                    assert!(
                        known.map_or(!told, |known| known >= at),
                        "seed {seed}: clone {n} takes {key} to expire at {known:?}, the master at {at}"
                    );
                }
            }
        }
    }

    /// At every moment, what a copy of ours holds is what the master held at that revision.
    fn check_digests(&self) {
        let seed = self.plan.seed;
        for (n, state) in self.clones_of_ours() {
            let known = state.revision().and_then(|at| self.digests.get(&at));
            if let Some(digest) = known {
                let held = state.view().content.digest();
                assert_eq!(held, *digest, "seed {seed}: clone {n} is not what it says");
            }
        }
    }

    fn clones_of_ours(&self) -> impl Iterator<Item = (usize, &CloneState)> {
        let nodes = self.clones.iter().enumerate();
        nodes.filter_map(|(n, node)| Some((n, node.ours()?)))
    }

    /// The master has heard where the writes of a clone of C++ begin.
    fn note_announcement(&mut self, from: EndpointId, payload: &Bytes) {
        if !self.plan.cpp[place(from)] {
            return;
        }
        let command = read(payload);
        if let Content::AttachWriter { offset, .. } = command.content {
            let known = self.announced.entry(command.sender).or_default();
            *known = offset.max(*known);
        }
    }

    /// Nothing is asked for that a clone of C++ has given up.
    fn check_nack(&self, payload: &Bytes) {
        let command = read(payload);
        if let Content::Nack { seqs } = command.content
            && let Some(offset) = self.announced.get(&command.receiver)
        {
            let given_up = seqs.iter().find(|seq| (1..=*offset).contains(*seq));
            assert_eq!(
                given_up, None,
                "seed {}: the writes of {} begin behind {offset}",
                self.plan.seed, command.receiver
            );
        }
    }

    fn carry_out(&mut self) {
        self.master.commit();
        self.digests
            .insert(self.master.revision(), self.master.digest());
        while let Some(output) = self.master.poll_output() {
            let from = self.master.id().endpoint;
            match output {
                MasterOutput::Broadcast(payload) => {
                    (0..self.clones.len()).for_each(|n| self.send(from, Writer::Clone(n), &payload))
                }
                MasterOutput::Unicast { to, payload } => {
                    let place = (0..self.clones.len())
                        .find(|n| endpoint(*n, self.clones[*n].generation) == to);
                    if let Some(n) = place {
                        if self.plan.cpp[n] {
                            self.check_nack(&payload);
                        }
                        self.send(from, Writer::Clone(n), &payload);
                    }
                }
                MasterOutput::Reply { token, result } => {
                    self.answer((Writer::Master, token), result);
                }
                MasterOutput::Event { .. } => {}
            }
        }
        for n in 0..self.clones.len() {
            match self.clones[n].kind {
                Kind::Ours(_) => self.carry_out_ours(n),
                Kind::Cpp(_) => self.carry_out_cpp(n),
            }
        }
    }

    fn carry_out_ours(&mut self, n: usize) {
        let from = endpoint(n, self.clones[n].generation);
        while let Kind::Ours(state) = &mut self.clones[n].kind
            && let Some(output) = state.poll_output()
        {
            match output {
                CloneOutput::Broadcast(payload) => self.send(from, Writer::Master, &payload),
                CloneOutput::Write { seq, payload } => {
                    if !self.clones[n].cut {
                        if let Kind::Ours(state) = &mut self.clones[n].kind {
                            state.handle_left(seq);
                        }
                        self.send(from, Writer::Master, &payload);
                    }
                }
                CloneOutput::Unicast { to, payload } => {
                    if to == self.master.id().endpoint {
                        self.send(from, Writer::Master, &payload);
                    }
                }
                CloneOutput::Reply { token, result } => {
                    self.answer((Writer::Clone(n), token), result);
                }
                CloneOutput::Freshness(Freshness::Lost) => self.figures.lost_masters += 1,
                CloneOutput::Freshness(_)
                | CloneOutput::Position(_)
                | CloneOutput::Difference { .. }
                | CloneOutput::Event { .. } => {}
            }
        }
    }

    fn carry_out_cpp(&mut self, n: usize) {
        let from = endpoint(n, self.clones[n].generation);
        let Kind::Cpp(clone) = &mut self.clones[n].kind else {
            return;
        };
        let said = clone.take_output();
        // That there is one only, it sees to itself.
        for (request, inserted) in &clone.answers {
            let reply = Ok(StoreReply::Value((*inserted).into()));
            self.answered.insert((Writer::Clone(n), *request), reply);
        }
        for (to, command) in said {
            if to == To::Everybody || to == To::Endpoint(self.master.id().endpoint) {
                self.send(from, Writer::Master, &command.encode());
            }
        }
    }

    fn answer(&mut self, question: Question, result: Result<StoreReply, StoreError>) {
        let seed = self.plan.seed;
        assert!(
            self.asked.contains_key(&question),
            "seed {seed}: an answer to a question"
        );
        assert!(
            self.answered.insert(question, result).is_none(),
            "seed {seed}: one answer to each question"
        );
    }

    fn send(&mut self, from: EndpointId, to: Writer, payload: &Bytes) {
        let clone = match to {
            Writer::Clone(n) => n,
            Writer::Master => place(from),
        };
        self.figures.commands += 1;
        let lost = self.clones[clone].cut || self.rng.u32(0..100) < self.weather.lost;
        self.note(from, to, payload, lost);
        if lost {
            self.figures.lost += 1;
            return;
        }
        let first = &mut self.clones[clone].first;
        if to == Writer::Master && self.plan.ghosts && first.len() < MAX_FIRST {
            first.push((self.step, payload.clone()));
        }
        let copies = if self.rng.u32(0..100) < self.weather.doubled {
            2
        } else {
            1
        };
        if self.rng.u32(0..100) < self.weather.echoed {
            let at = (self.step + self.rng.u64(1..MAX_ECHO)) * ROUNDS;
            self.network.insert(
                (at, self.figures.commands * 4 + 3),
                (to, from, payload.clone()),
            );
        }
        for copy in 0..copies {
            let late = if self.rng.u32(0..100) < self.weather.delayed {
                self.rng.u64(1..8 * ROUNDS)
            } else {
                0
            };
            // A delayed command is overtaken by those behind it; the others keep their order.
            let at = self.step * ROUNDS + self.round() + 1 + late;
            self.network.insert(
                (at, self.figures.commands * 4 + copy),
                (to, from, payload.clone()),
            );
        }
    }

    /// The earliest round of the present step that has not passed.
    fn round(&self) -> u64 {
        self.network
            .first_key_value()
            .map_or(0, |((at, _), _)| at.saturating_sub(self.step * ROUNDS))
            .min(ROUNDS - 1)
    }

    fn note(&mut self, from: EndpointId, to: Writer, payload: &Bytes, lost: bool) {
        let bytes = xxhash_rust::xxh3::xxh3_64(payload);
        self.figures.trace = (self.figures.trace ^ bytes)
            .rotate_left(5)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if self.trace {
            let said = Command::decode(payload);
            let sender = from.as_bytes()[0];
            let fate = if lost { "lost " } else { "" };
            eprintln!("{:5} {fate}{sender:3} -> {to:?}: {said:?}", self.step);
        }
    }

    // --- what happens ------------------------------------------------------------------------------

    fn write(&mut self, writer: Writer, operation: StoreOperation) {
        if let Writer::Clone(n) = writer
            && self.plan.cpp[n]
            && matches!(operation, StoreOperation::CompareAndSet { .. })
        {
            // C++ has none.
            return;
        }
        self.tokens += 1;
        self.figures.writes += 1;
        self.asked.insert((writer, self.tokens), operation.clone());
        match writer {
            Writer::Master => {
                let request = Request::from_operation(operation, self.master.id(), self.tokens);
                self.master.handle_request(self.now, self.tokens, request);
            }
            Writer::Clone(n) => match &mut self.clones[n].kind {
                Kind::Ours(state) => state.handle_write(self.tokens, operation),
                Kind::Cpp(clone) => {
                    let is_question = matches!(operation, StoreOperation::PutUnique { .. });
                    let who = clone.requester();
                    if let Request::Write(content) =
                        Request::from_operation(operation, who, self.tokens)
                    {
                        clone.write(content);
                    }
                    if !is_question {
                        self.answer((writer, self.tokens), Err(StoreError::Unanswered));
                    }
                }
            },
        }
        self.carry_out();
    }

    /// The group of keys that nobody else writes.
    pub(super) fn only(&self, writer: Writer) -> String {
        let generation = match writer {
            Writer::Master => 0,
            Writer::Clone(n) => self.clones[n].generation,
        };
        format!("last of {writer:?}, {generation}")
    }

    /// Keys are in groups, each of which is written in one way, so that the end can be judged.
    fn random_write(&mut self) {
        let writer = match self.rng.usize(0..=self.clones.len()) {
            0 => Writer::Master,
            n => Writer::Clone(n - 1),
        };
        self.random_write_of(writer);
    }

    fn random_write_of(&mut self, writer: Writer) {
        let number = self.rng.u64(0..KEYS);
        let short = Duration::from_millis(self.rng.u64(100..3000));
        self.counter += 1;
        let count = self.counter;
        let operation = match self.rng.u32(0..17) {
            0 | 1 => StoreOperation::Increment {
                key: key(SUM, number),
                amount: 1u64.into(),
                expiry: None,
            },
            2 | 3 => StoreOperation::Put {
                key: key(&self.only(writer), number),
                value: count.into(),
                expiry: None,
            },
            4 => StoreOperation::PutUnique {
                key: key("unique", number),
                value: count.into(),
                expiry: None,
            },
            5 => StoreOperation::Put {
                key: key(SHORT, number),
                value: count.into(),
                expiry: Some(short),
            },
            6 => StoreOperation::Put {
                key: key("long", number),
                value: count.into(),
                expiry: Some(LONG),
            },
            7 => StoreOperation::Erase(key("any", number)),
            8 => StoreOperation::Push {
                key: key("any", number),
                value: count.into(),
                expiry: self.rng.bool().then_some(short),
            },
            9 => StoreOperation::CompareAndSet {
                key: key("any", number),
                expected: self.rng.bool().then(|| Data::from(self.rng.u64(0..3))),
                value: self.rng.bool().then(|| Data::from(self.rng.u64(0..3))),
                expiry: None,
            },
            10 => StoreOperation::Append {
                key: key("any", number),
                value: "x".into(),
                expiry: None,
            },
            11 => StoreOperation::Put {
                key: key("filler", self.rng.u64(0..self.plan.preloaded.max(1))),
                value: count.into(),
                expiry: None,
            },
            12 if self.plan.clears && self.rng.u32(0..8) == 0 => StoreOperation::Clear,
            12 => StoreOperation::Erase(key("filler", self.rng.u64(0..self.plan.preloaded.max(1)))),
            13 => StoreOperation::Increment {
                key: key(&format!("{SUM} of {}", self.only(writer)), 0),
                amount: 1u64.into(),
                expiry: None,
            },
            14 => StoreOperation::Increment {
                key: key(BRIEF, number),
                amount: count.into(),
                expiry: Some(short),
            },
            // Without a key this does nothing, so all that is there has had an expiry.
            15 => StoreOperation::Decrement {
                key: key(BRIEF, number),
                amount: 1u64.into(),
                expiry: None,
            },
            _ => StoreOperation::InsertInto {
                key: key("any set", number),
                index: self.rng.u64(0..9).into(),
                value: None,
                expiry: None,
            },
        };
        self.write(writer, operation);
    }

    /// The master is gone with all it had not committed, and another one begins with what the disk holds.
    fn restart_master(&mut self) {
        self.figures.restarts += 1;
        self.network.clear();
        self.announced.clear();
        for node in &mut self.clones {
            node.first.clear();
            if let Kind::Cpp(clone) = &mut node.kind {
                clone.hears_again = true;
            }
        }
        for question in self.asked.keys() {
            // Its own callers have gone with it.
            if question.0 == Writer::Master {
                self.answered
                    .entry(*question)
                    .or_insert(Err(StoreError::Closed));
            }
        }
        self.master = master(&self.plan, self.figures.restarts, self.disk.clone());
    }

    /// A clone goes, and another one comes in its place.
    fn replace_clone(&mut self, n: usize) {
        if let Kind::Ours(state) = &mut self.clones[n].kind {
            state.leave();
        }
        self.carry_out();
        self.leave_unanswered(n);
        self.haunt(n);
        let generation = self.clones[n].generation + 1;
        let cut = self.clones[n].cut;
        self.clones[n] = node(&self.plan, n, generation);
        self.clones[n].cut = cut;
        self.carry_out();
    }

    /// Whatever this clone has asked and not been told stays so.
    pub(super) fn leave_unanswered(&mut self, n: usize) {
        for question in self.asked.keys() {
            if question.0 == Writer::Clone(n) {
                self.answered
                    .entry(*question)
                    .or_insert(Err(StoreError::Unanswered));
            }
        }
    }

    /// What a clone that has just gone said first comes again, unless that was too long ago.
    fn haunt(&mut self, n: usize) {
        let from = endpoint(n, self.clones[n].generation);
        let first = std::mem::take(&mut self.clones[n].first);
        let Some((since, _)) = first.first() else {
            return;
        };
        if since + MAX_ECHO <= self.step + 1 {
            return;
        }
        let at = self.rng.u64(self.step + 1..since + MAX_ECHO) * ROUNDS;
        for (_, payload) in first {
            self.figures.commands += 1;
            let place = (at, self.figures.commands * 4);
            self.network.insert(place, (Writer::Master, from, payload));
        }
    }

    /// What the master holds.
    pub(super) fn entries(&self) -> Vec<(Data, Entry)> {
        self.disk
            .scan(None, usize::MAX)
            .expect("memory can be read")
    }
}

fn node(plan: &Plan, n: usize, generation: u8) -> Node {
    let ours = plan.ours[n];
    let node = |kind| Node {
        kind,
        generation,
        cut: false,
        dark: 0,
        first: Vec::new(),
    };
    if plan.cpp[n] {
        let id = EntityId::new(endpoint(n, generation), 1);
        let mut clone = CppClone::new(id);
        clone.hears_otherwise = plan.fails_nth > 0 || plan.clears;
        return node(Kind::Cpp(Box::new(clone)));
    }
    let patience = Patience {
        silence: 50,
        stale: Some(300),
        write: 600,
    };
    let ids = EntityIds::new(endpoint(n, generation));
    let mut state = CloneState::new("s", ids, patience, move |_| ours).page_bytes(plan.page_bytes);
    state.set_watched(n.is_multiple_of(2));
    node(Kind::Ours(Box::new(state)))
}

fn master(plan: &Plan, start: u64, disk: Shared<Memory>) -> MasterState {
    let mut id = [0xff; 16];
    if !plan.keeps_identity {
        id[15] = start as u8;
    }
    let ours = plan.ours.clone();
    MasterState::new(
        "s",
        EntityId::new(EndpointId::from_bytes(id), start + 1),
        Box::new(fails_nth(disk, plan.fails_nth)),
        Timers::default(),
    )
    .expect("memory can be read")
    .keeping_updates(plan.keeps_updates)
    .with_speakers(move |id| ours[place(id)])
}

fn endpoint(n: usize, generation: u8) -> EndpointId {
    let mut id = [n as u8 + 1; 16];
    id[15] = generation;
    EndpointId::from_bytes(id)
}

/// Where a clone's endpoint is.
fn place(endpoint: EndpointId) -> usize {
    usize::from(endpoint.as_bytes()[0]) - 1
}

fn read(payload: &Bytes) -> Command {
    Command::decode(payload).expect("what is sent can be read")
}

fn key(group: &str, number: u64) -> Data {
    Data::vector([group.into(), Data::from(number)])
}

/// How the groups of keys begin that are only incremented, by one.
const SUM: &str = "sum";

/// The group of keys that are only put, with a short life.
const SHORT: &str = "short";

/// The group of keys that are added to with a short life, and subtracted from without a word about it.
const BRIEF: &str = "brief";

/// Keys in a group.
const KEYS: u64 = 4;

/// What passes in a step.
pub(super) const TICK: Timespan = Timespan::from_nanos(100_000_000);

/// How much too late the master may be whose backend fails: many of its groups in a row may be the n-th.
const TOLERANCE: Timespan = Timespan::from_secs(3);

/// Ticks after which a command has come for the last time.
const MAX_ECHO: u64 = 200;

/// Commands of a clone that come again when it has gone.
const MAX_FIRST: usize = 40;

/// Ticks of silence after which the master waits for nobody.
const FORGOTTEN_AFTER: u64 = 510;

/// Exchanges that a tick has time for where nothing is delayed.
const ROUNDS: u64 = 16;

/// Ticks that it takes to settle.
const SETTLES: u64 = 400;

/// A life that is longer than a run.
pub(super) const LONG: Duration = Duration::from_secs(3600);
