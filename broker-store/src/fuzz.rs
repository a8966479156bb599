//! Bodies of the fuzz targets that need the inside of this crate; see `fuzz/` in the repository.

use std::collections::VecDeque;
use std::time::Duration;

use broker_core::{Data, EndpointId, EntityId, StoreOperation, StoreReply, Timespan, Timestamp};
use bytes::{Bytes, BytesMut};

use crate::channel::Timers;
use crate::clone::{CloneOutput, CloneState, Freshness, Patience};
use crate::command;
use crate::ids::EntityIds;
use crate::master::{MasterOutput, MasterState};
use crate::memory::Memory;
use crate::operation::Request;

/// A master, two clones and a stranger who says anything to any of them, step by step as the bytes say. In the end the
/// stranger is silent and the network good: then each clone follows the master and equals it.
pub fn replication(bytes: &[u8]) {
    let mut world = World::new();
    let mut input = Input(bytes);
    for _ in 0..400 {
        let Some(what) = input.u8() else { break };
        world.act(what, &mut input);
        world.carry_out();
    }
    for _ in 0..150 {
        world.tick();
        world.carry_out();
        while let Some((to, from, payload)) = world.network.pop_front() {
            world.deliver(to, from, &payload);
            world.carry_out();
        }
    }
    world.check();
}

const MASTER: EndpointId = EndpointId::from_bytes([1; 16]);
const CLONES: [EndpointId; 2] = [
    EndpointId::from_bytes([2; 16]),
    EndpointId::from_bytes([3; 16]),
];
const STRANGER: EndpointId = EndpointId::from_bytes([4; 16]);

/// What is left of the input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn small(&mut self) -> usize {
        self.u8().unwrap_or(0).into()
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A value: one in the binary format if there is one, else a small number.
    fn value(&mut self) -> Data {
        let len = self.small();
        let bytes = self.take(len);
        Data::decode(bytes)
            .unwrap_or_else(|_| u64::from(bytes.first().copied().unwrap_or(0)).into())
    }
}

#[derive(Clone, Copy)]
enum Place {
    Master,
    Clone(usize),
}

struct World {
    now: Timestamp,
    master: MasterState,
    clones: [CloneState; 2],
    network: VecDeque<(Place, EndpointId, Bytes)>,
    tokens: u64,
    answered: Vec<(usize, u64)>,
}

impl World {
    fn new() -> Self {
        let id = EntityId::new(MASTER, 1);
        let clone = |endpoint| {
            let patience = Patience {
                silence: 30,
                stale: Some(300),
                write: 60,
            };
            let speaks = |other| other == MASTER;
            CloneState::new("s", EntityIds::new(endpoint), patience, speaks)
        };
        let mut world = Self {
            now: Timestamp::EPOCH,
            master: MasterState::new("s", id, Box::new(Memory::new()), Timers::default())
                .expect("memory counts its entries"),
            clones: CLONES.map(clone),
            network: VecDeque::new(),
            tokens: 0,
            answered: Vec::new(),
        };
        world.carry_out();
        world
    }

    fn act(&mut self, what: u8, input: &mut Input<'_>) {
        let n = usize::from(what >> 4 & 1);
        match what & 7 {
            0 => (0..=what >> 5).for_each(|_| {
                self.tick();
                self.carry_out();
            }),
            1 => {
                let at = input.small();
                if let Some(at) = at.checked_rem(self.network.len())
                    && let Some((to, from, payload)) = self.network.remove(at)
                {
                    self.deliver(to, from, &payload);
                }
            }
            2 => drop(self.network.pop_front()),
            3 => {
                for _ in 0..=what >> 5 {
                    let Some((to, from, payload)) = self.network.pop_front() else {
                        break;
                    };
                    self.deliver(to, from, &payload);
                    self.carry_out();
                }
            }
            4 => {
                self.tokens += 1;
                let operation = operation(what >> 5, input);
                self.clones[n].handle_write(self.tokens, operation);
            }
            5 => {
                self.tokens += 1;
                let operation = operation(what >> 5, input);
                let request = Request::from_operation(operation, self.master.id(), self.tokens);
                self.master.handle_request(self.now, self.tokens, request);
            }
            6 => {
                let payload = stranger_says(what, self.master.id(), input);
                self.master.handle_command(self.now, STRANGER, &payload);
            }
            _ => {
                let payload = stranger_says(what, self.clones[n].id(), input);
                self.clones[n].handle_command(self.now, STRANGER, &payload);
            }
        }
    }

    /// 100 ms pass.
    fn tick(&mut self) {
        self.now = self.now.saturating_add(Timespan::from_nanos(100_000_000));
        self.master.tick(self.now);
        self.clones.iter_mut().for_each(CloneState::tick);
    }

    fn deliver(&mut self, to: Place, from: EndpointId, payload: &[u8]) {
        match to {
            Place::Master => self.master.handle_command(self.now, from, payload),
            Place::Clone(n) => self.clones[n].handle_command(self.now, from, payload),
        }
    }

    fn carry_out(&mut self) {
        self.master.commit();
        while let Some(output) = self.master.poll_output() {
            match output {
                MasterOutput::Broadcast(payload) => {
                    for n in 0..CLONES.len() {
                        self.network
                            .push_back((Place::Clone(n), MASTER, payload.clone()));
                    }
                }
                MasterOutput::Unicast { to, payload } => {
                    if let Some(n) = CLONES.iter().position(|clone| *clone == to) {
                        self.network.push_back((Place::Clone(n), MASTER, payload));
                    }
                }
                MasterOutput::Event { event, .. } => drop(event.to_data()),
                MasterOutput::Reply { .. } => {}
            }
        }
        for (n, endpoint) in CLONES.into_iter().enumerate() {
            while let Some(output) = self.clones[n].poll_output() {
                let payload = match output {
                    CloneOutput::Broadcast(payload) => payload,
                    CloneOutput::Write { seq, payload } => {
                        self.clones[n].handle_left(seq);
                        payload
                    }
                    CloneOutput::Unicast { to, payload } if to == MASTER => payload,
                    CloneOutput::Reply { token, .. } => {
                        assert!(!self.answered.contains(&(n, token)), "answered twice");
                        self.answered.push((n, token));
                        continue;
                    }
                    _ => continue,
                };
                self.network.push_back((Place::Master, endpoint, payload));
            }
        }
    }

    fn check(&mut self) {
        let entries = self.entries();
        for (n, clone) in self.clones.iter().enumerate() {
            let view = clone.view();
            assert_eq!(clone.master(), Some(self.master.id()), "clone {n}");
            assert_eq!(view.freshness(), Freshness::Live, "clone {n}");
            let copy: Vec<_> = view
                .content
                .scan(None, usize::MAX)
                .into_iter()
                .map(|(key, entry)| (key.to_bytes(), entry.value.to_bytes()))
                .collect();
            assert_eq!(copy, entries, "clone {n} equals the master");
        }
        assert_eq!(self.master.entries(), entries.len() as u64);
    }

    /// What the master has, in the order of keys.
    fn entries(&mut self) -> Vec<(Bytes, Bytes)> {
        let scan = StoreOperation::Scan {
            after: None,
            limit: 4096,
        };
        let request = Request::from_operation(scan, EntityId::NIL, 0);
        self.master.handle_request(self.now, u64::MAX, request);
        self.master.commit();
        while let Some(output) = self.master.poll_output() {
            if let MasterOutput::Reply {
                token: u64::MAX,
                result: Ok(StoreReply::Entries(page)),
            } = output
            {
                let page = page.into_iter();
                return page
                    .map(|entry| (entry.key.to_bytes(), entry.value.to_bytes()))
                    .collect();
            }
        }
        panic!("the master does not answer");
    }
}

fn operation(which: u8, input: &mut Input<'_>) -> StoreOperation {
    let key = input.value();
    let expiry = match key {
        Data::Count(number) if number > 200 => Some(Duration::from_millis(number)),
        _ => None,
    };
    match which & 7 {
        0 => StoreOperation::Erase(key),
        1 => StoreOperation::Clear,
        2 => StoreOperation::PutUnique {
            key,
            value: input.value(),
            expiry,
        },
        3 => StoreOperation::Increment {
            key,
            amount: input.value(),
            expiry,
        },
        4 => StoreOperation::Decrement {
            key,
            amount: input.value(),
            expiry,
        },
        5 => StoreOperation::Push {
            key,
            value: input.value(),
            expiry,
        },
        _ => StoreOperation::Put {
            key,
            value: input.value(),
            expiry,
        },
    }
}

/// A command of the stranger in its own name, anything behind that; or, now and then, in the name of another, or just
/// anything.
fn stranger_says(what: u8, receiver: EntityId, input: &mut Input<'_>) -> Bytes {
    let mut out = BytesMut::new();
    let sender = match what >> 5 {
        0..6 => EntityId::new(STRANGER, u64::from(what >> 7)),
        6 => EntityId::new(MASTER, 1),
        _ => {
            let len = input.small();
            return Bytes::copy_from_slice(input.take(len));
        }
    };
    command::put_header(input.small() as u64, sender, receiver, &mut out);
    let len = input.small();
    out.extend_from_slice(input.take(len));
    out.freeze()
}
