//! Every operation on every type (broker-wire reference, 8.1 and 8.2) at a master, in random groups, against a model that has
//! the rules written down once more; with reopening in the middle, and with the n-th write of the backend failing.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use broker_core::{
    Data, EndpointId, EntityId, ErrorCode, Port, Set, StoreOperation, StoreReply, Subnet, Table,
    Timespan, Timestamp,
};
use broker_store::channel::Timers;
use broker_store::conformance::{Shared, fails_nth};
use broker_store::operation::Request;
use broker_store::{Backend, Digest, Entry, MasterOutput, MasterState, Memory, StoreError};
use proptest::prelude::*;

const MASTER: EntityId = EntityId::new(EndpointId::from_bytes([7; 16]), 1);

#[derive(Clone, Debug)]
enum Step {
    /// Operations that become one transaction.
    Group(Vec<StoreOperation>),
    Clear,
    /// So much time passes, and a tick.
    Tick(i64),
    Reopen,
}

/// What the store holds, by the book, and what time it is.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<Data, Entry>,
    now: i64,
}

type Answer = Result<StoreReply, ErrorCode>;

impl Model {
    fn put(&mut self, key: Data, value: Data, expiry: Option<Duration>) {
        let expires_at = self.deadline(expiry);
        self.entries.insert(key, Entry { value, expires_at });
    }

    fn deadline(&self, expiry: Option<Duration>) -> Option<Timestamp> {
        expiry.map(|expiry| Timestamp::from_nanos(self.now + expiry.as_nanos() as i64))
    }

    fn value(&self, key: &Data) -> Option<Data> {
        self.entries.get(key).map(|entry| entry.value.clone())
    }

    /// Replaces the value; without an expiry the entry keeps its own.
    fn replace(&mut self, key: Data, value: Data, expiry: Option<Duration>) -> Answer {
        let own = self.entries.get(&key).and_then(|entry| entry.expires_at);
        let expires_at = self.deadline(expiry).or(own);
        self.entries.insert(key, Entry { value, expires_at });
        Ok(StoreReply::Done)
    }

    fn execute(&mut self, operation: StoreOperation) -> Answer {
        use StoreOperation as Op;
        match operation {
            Op::Get(key) => self
                .value(&key)
                .map(StoreReply::Value)
                .ok_or(ErrorCode::NoSuchKey),
            Op::Exists(key) => Ok(StoreReply::Value(self.entries.contains_key(&key).into())),
            Op::GetIndex { key, index } => {
                let value = self.value(&key).ok_or(ErrorCode::NoSuchKey)?;
                element(value, &index).map(StoreReply::Value)
            }
            Op::Put { key, value, expiry } => {
                self.put(key, value, expiry);
                Ok(StoreReply::Done)
            }
            Op::PutUnique { key, value, expiry } => {
                let is_free = !self.entries.contains_key(&key);
                if is_free {
                    self.put(key, value, expiry);
                }
                Ok(StoreReply::Value(is_free.into()))
            }
            Op::CompareAndSet {
                key,
                expected,
                value,
                expiry,
            } => {
                let is_so = self.value(&key) == expected;
                match value {
                    Some(value) if is_so => self.put(key, value, expiry),
                    None if is_so => drop(self.entries.remove(&key)),
                    _ => {}
                }
                Ok(StoreReply::Value(is_so.into()))
            }
            Op::Erase(key) => {
                self.entries.remove(&key);
                Ok(StoreReply::Done)
            }
            Op::Clear => {
                self.entries.clear();
                Ok(StoreReply::Done)
            }
            Op::Increment {
                key,
                amount,
                expiry,
            } => {
                let start = match amount {
                    Data::Count(_) => Some(0u64.into()),
                    Data::Integer(_) => Some(0i64.into()),
                    Data::Real(_) => Some(0.0.into()),
                    Data::Timespan(_) => Some(Timestamp::from_nanos(0).into()),
                    _ => None,
                };
                self.add(key, amount, start, expiry)
            }
            Op::Append { key, value, expiry } => self.add(key, value, Some("".into()), expiry),
            Op::InsertInto {
                key,
                index,
                value: None,
                expiry,
            } => self.add(key, index, Some(Set::default().into()), expiry),
            Op::InsertInto {
                key,
                index,
                value: Some(value),
                expiry,
            } => self.add(
                key,
                Data::Vector(vec![index, value]),
                Some(Table::default().into()),
                expiry,
            ),
            Op::Push { key, value, expiry } => {
                self.add(key, value, Some(Data::Vector(vec![])), expiry)
            }
            Op::Decrement {
                key,
                amount,
                expiry,
            } => self.subtract(key, amount, expiry),
            Op::RemoveFrom { key, index, expiry } => self.subtract(key, index, expiry),
            // The key itself is the operand.
            Op::Pop { key, expiry } => self.subtract(key.clone(), key, expiry),
            other => panic!("{other:?} is none of the operations tried"),
        }
    }

    fn add(
        &mut self,
        key: Data,
        operand: Data,
        start: Option<Data>,
        expiry: Option<Duration>,
    ) -> Answer {
        let current = self.value(&key).or(start).ok_or(ErrorCode::TypeClash)?;
        let sum = match (current, operand) {
            (Data::Count(a), Data::Count(b)) => a.wrapping_add(b).into(),
            (Data::Integer(a), Data::Integer(b)) => a.wrapping_add(b).into(),
            (Data::Real(a), Data::Real(b)) => (a + b).into(),
            (Data::Timespan(a), Data::Timespan(b)) => {
                Timespan::from_nanos(a.as_nanos().wrapping_add(b.as_nanos())).into()
            }
            (Data::Timestamp(a), Data::Timespan(b)) => {
                Timestamp::from_nanos(a.as_nanos().wrapping_add(b.as_nanos())).into()
            }
            (Data::String(a), Data::String(b)) => [a.as_slice(), b.as_slice()].concat().into(),
            (Data::Set(set), element) => {
                set.iter().cloned().chain([element]).collect::<Set>().into()
            }
            (Data::Table(mut table), Data::Vector(pair)) => match pair.as_slice() {
                [index, value] => {
                    table.insert(index.clone(), value.clone());
                    table.into()
                }
                _ => return Err(ErrorCode::InvalidData),
            },
            (Data::Vector(mut vector), element) => {
                vector.push(element);
                Data::Vector(vector)
            }
            _ => return Err(ErrorCode::TypeClash),
        };
        self.replace(key, sum, expiry)
    }

    fn subtract(&mut self, key: Data, operand: Data, expiry: Option<Duration>) -> Answer {
        let current = self.value(&key).ok_or(ErrorCode::NoSuchKey)?;
        let difference = match (current, operand) {
            (Data::Count(a), Data::Count(b)) => a.wrapping_sub(b).into(),
            (Data::Integer(a), Data::Integer(b)) => a.wrapping_sub(b).into(),
            (Data::Real(a), Data::Real(b)) => (a - b).into(),
            (Data::Timespan(a), Data::Timespan(b)) => {
                Timespan::from_nanos(a.as_nanos().wrapping_sub(b.as_nanos())).into()
            }
            (Data::Timestamp(a), Data::Timespan(b)) => {
                Timestamp::from_nanos(a.as_nanos().wrapping_sub(b.as_nanos())).into()
            }
            (Data::Set(set), gone) => {
                let stays = set.iter().filter(|element| **element != gone);
                stays.cloned().collect::<Set>().into()
            }
            (Data::Table(mut table), gone) => {
                table.remove(&gone);
                table.into()
            }
            (Data::Vector(mut vector), _) => {
                vector.pop();
                Data::Vector(vector)
            }
            _ => return Err(ErrorCode::TypeClash),
        };
        self.replace(key, difference, expiry)
    }

    fn expire(&mut self) {
        let now = Timestamp::from_nanos(self.now);
        self.entries
            .retain(|_, entry| entry.expires_at.is_none_or(|deadline| deadline >= now));
    }
}

fn element(value: Data, index: &Data) -> Result<Data, ErrorCode> {
    match value {
        Data::Vector(vector) => {
            let position = match index {
                Data::Count(position) => usize::try_from(*position).ok(),
                Data::Integer(position) if *position >= 0 => usize::try_from(*position).ok(),
                _ => return Err(ErrorCode::TypeClash),
            };
            let found = position.and_then(|position| vector.get(position).cloned());
            found.ok_or(ErrorCode::NoSuchKey)
        }
        Data::Set(set) => Ok(set.iter().any(|element| element == index).into()),
        Data::Table(table) => table.get(index).cloned().ok_or(ErrorCode::NoSuchKey),
        other => Ok(other),
    }
}

/// A master over a backend that can be looked at.
struct Bench<B: Backend> {
    master: MasterState,
    backend: Shared<B>,
}

impl<B: Backend> Bench<B> {
    fn over(backend: Shared<B>) -> Self {
        let boxed = Box::new(backend.clone());
        let master = MasterState::new("s", MASTER, boxed, Timers::default()).unwrap();
        Self { master, backend }
    }

    /// The answers to `operations` in one group; `None` is a failure of the backend.
    fn ask(&mut self, now: i64, operations: Vec<StoreOperation>) -> Vec<Option<Answer>> {
        let count = operations.len();
        for (token, operation) in (0..).zip(operations) {
            let request = Request::from_operation(operation, MASTER, token);
            let now = Timestamp::from_nanos(now);
            self.master.handle_request(now, token, request);
        }
        self.master.commit();
        let mut answers = vec![None; count];
        let mut answered = 0;
        while let Some(output) = self.master.poll_output() {
            if let MasterOutput::Reply { token, result } = output {
                answered += 1;
                answers[token as usize] = match result {
                    Ok(reply) => Some(Ok(reply)),
                    Err(StoreError::Refused(code)) => Some(Err(code)),
                    Err(StoreError::Backend { .. }) => None,
                    Err(other) => panic!("{other:?}"),
                };
            }
        }
        assert_eq!(answered, count, "each request is answered once");
        answers
    }
}

/// Takes `steps` at a master over what `open` opens, given what was open before.
fn follow<B: Backend>(
    steps: Vec<Step>,
    may_fail: bool,
    mut open: impl FnMut(Option<Shared<B>>) -> Shared<B>,
) -> Result<(), TestCaseError> {
    let mut bench = Some(Bench::over(open(None)));
    let mut model = Model::default();
    let mut revision = bench.as_ref().unwrap().master.revision();
    for step in steps {
        if matches!(step, Step::Reopen) {
            let Bench { master, backend } = bench.take().unwrap();
            drop(master);
            bench = Some(Bench::over(open(Some(backend))));
            let reopened = bench.as_ref().unwrap().master.revision();
            if revision.number == 0 {
                // Nothing was ever written down: it begins anew.
                revision = reopened;
            }
            prop_assert_eq!(reopened, revision);
        }
        let now_open = bench.as_mut().unwrap();
        match step {
            Step::Reopen => {}
            Step::Tick(nanos) => {
                model.now += nanos;
                model.expire();
                let now = Timestamp::from_nanos(model.now);
                // A tick whose write fails is made up for by the next.
                for _ in 0..3 {
                    now_open.master.tick(now);
                }
                while now_open.master.poll_output().is_some() {}
                prop_assert_eq!(now_open.backend.due(now, 9).unwrap(), []);
            }
            Step::Clear => group(now_open, &mut model, vec![StoreOperation::Clear], may_fail)?,
            Step::Group(operations) => group(now_open, &mut model, operations, may_fail)?,
        }
        let next = now_open.master.revision();
        prop_assert_eq!(next.history, revision.history);
        prop_assert!(next.number >= revision.number);
        revision = next;
        check(now_open, &model)?;
    }
    Ok(())
}

fn group<B: Backend>(
    bench: &mut Bench<B>,
    model: &mut Model,
    operations: Vec<StoreOperation>,
    may_fail: bool,
) -> Result<(), TestCaseError> {
    let mut after = model.clone();
    let expected: Vec<_> = operations
        .iter()
        .map(|operation| after.execute(operation.clone()))
        .collect();
    let answers = bench.ask(model.now, operations);
    if answers.iter().all(Option::is_some) {
        let answers: Vec<_> = answers.into_iter().flatten().collect();
        prop_assert_eq!(answers, expected);
        *model = after;
    } else {
        // The group is lost as a whole: what would have been done is not, and what was refused was refused.
        prop_assert!(may_fail);
        for (answer, expected) in answers.into_iter().zip(expected) {
            prop_assert_eq!(answer, expected.is_err().then_some(expected));
        }
    }
    Ok(())
}

fn check<B: Backend>(bench: &Bench<B>, model: &Model) -> Result<(), TestCaseError> {
    let stored: BTreeMap<_, _> = bench
        .backend
        .scan(None, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    prop_assert_eq!(&stored, &model.entries);
    prop_assert_eq!(bench.master.entries(), model.entries.len() as u64);
    prop_assert_eq!(bench.backend.len().unwrap(), model.entries.len() as u64);
    let digest = stored.iter().fold(Digest::default(), |sum, (key, entry)| {
        sum.with(Digest::of(key, &entry.value))
    });
    prop_assert_eq!(bench.master.digest(), digest);
    Ok(())
}

/// A value of each type, and a few more of those that operations work on.
fn values() -> Vec<Data> {
    vec![
        Data::None,
        true.into(),
        5u64.into(),
        u64::MAX.into(),
        (-5i64).into(),
        i64::MAX.into(),
        2.5.into(),
        "ab".into(),
        Ipv4Addr::LOCALHOST.into(),
        Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 8).into(),
        Port::tcp(80).into(),
        Timestamp::from_nanos(1_000).into(),
        Timespan::from_nanos(300).into(),
        Data::enum_value("A"),
        Set::from_iter([1u64]).into(),
        Table::from_iter([("k", 1u64)]).into(),
        Data::vector(["k", "v"]),
        Data::Vector(vec![]),
        1u64.into(),
        0i64.into(),
        "k".into(),
    ]
}

/// Few keys, so that operations meet.
fn keys() -> Vec<Data> {
    vec![
        "k".into(),
        1u64.into(),
        Data::None,
        Data::vector(["k", "v"]),
        Timespan::from_nanos(300).into(),
    ]
}

fn operation() -> impl Strategy<Value = StoreOperation> {
    use StoreOperation as Op;
    let key = proptest::sample::select(keys());
    let value = || proptest::sample::select(values());
    let expiry = proptest::option::of((1u64..40).prop_map(Duration::from_nanos));
    let optional = proptest::option::of(value());
    (0u8..16, key, value(), value(), optional, expiry).prop_map(
        |(which, key, value, other, optional, expiry)| match which {
            0 | 1 => Op::Put { key, value, expiry },
            2 => Op::PutUnique { key, value, expiry },
            3 => Op::CompareAndSet {
                key,
                expected: optional,
                value: Some(value),
                expiry,
            },
            4 => Op::CompareAndSet {
                key,
                expected: Some(value),
                value: optional,
                expiry,
            },
            5 => Op::Erase(key),
            6 => Op::Increment {
                key,
                amount: value,
                expiry,
            },
            7 => Op::Decrement {
                key,
                amount: value,
                expiry,
            },
            8 => Op::Append { key, value, expiry },
            9 => Op::InsertInto {
                key,
                index: value,
                value: None,
                expiry,
            },
            10 => Op::InsertInto {
                key,
                index: value,
                value: Some(other),
                expiry,
            },
            11 => Op::RemoveFrom {
                key,
                index: value,
                expiry,
            },
            12 => Op::Push { key, value, expiry },
            13 => Op::Pop { key, expiry },
            14 => Op::GetIndex { key, index: value },
            _ if optional.is_some() => Op::Get(key),
            _ => Op::Exists(key),
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => proptest::collection::vec(operation(), 1..8).prop_map(Step::Group),
        1 => Just(Step::Clear),
        3 => (1i64..30).prop_map(Step::Tick),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn a_master_does_what_the_rules_say(steps in steps()) {
        follow(steps, false, |open| open.unwrap_or_else(|| Shared::new(Memory::new())))?;
    }

    #[test]
    fn a_master_whose_nth_write_fails_does_what_the_rules_say(steps in steps(), nth in 2u64..6) {
        let open = || Shared::new(fails_nth(Memory::new(), nth));
        follow(steps, true, |former| former.unwrap_or_else(open))?;
    }
}

#[cfg(feature = "sqlite")]
proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_master_over_a_file_does_what_the_rules_say(steps in steps(), is_wal in any::<bool>(), nth in 0u64..6) {
        use broker_store::{JournalMode, Sqlite, SqliteOptions, Synchronous};
        prop_assume!(nth != 1);
        let dir = tempfile::tempdir().unwrap();
        let mode = if is_wal { JournalMode::Wal } else { JournalMode::Delete };
        let options = SqliteOptions::new(dir.path().join("s.sqlite"))
            .journal_mode(mode)
            .synchronous(Synchronous::Off);
        follow(steps, nth > 0, |former| {
            drop(former);
            Shared::new(fails_nth(Sqlite::open(&options).unwrap(), nth))
        })?;
    }
}
