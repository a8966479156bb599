//! Random sequences of groups against a map, for every backend: with reopening in the middle, with the n-th write failing, and
//! with writes that fail half-way through a transaction. A failing sequence is shrunk to the shortest one.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use broker_core::{Data, Set, Table, Timespan, Timestamp};
use broker_store::backend::{KeyBytes, key_bytes};
use broker_store::conformance::fails_nth;
use broker_store::{Backend, Entry, Memory, Mutation};
use proptest::prelude::*;

/// What is done to a store.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Mutation>),
    /// Close and open again.
    Reopen,
}

/// The value that a poisoned store refuses in the middle of a group.
const POISON: u64 = 666;

/// What a backend holds, by the book.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<KeyBytes, (Data, Entry)>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Model {
    fn apply(&mut self, batch: &[Mutation]) {
        for mutation in batch {
            match mutation.clone() {
                Mutation::Put {
                    key,
                    value,
                    expires_at,
                } => {
                    let entry = Entry { value, expires_at };
                    self.entries.insert(key_bytes(&key), (key, entry));
                }
                Mutation::Erase { key } => {
                    self.entries.remove(&key_bytes(&key));
                }
                Mutation::Clear => self.entries.clear(),
                Mutation::Note { name, value } => {
                    self.notes.remove(&name);
                    self.notes.extend(value.map(|value| (name, value)));
                }
            }
        }
    }

    /// Everything that can be asked of `store` is as it is here.
    fn check(&self, store: &impl Backend) -> Result<(), TestCaseError> {
        let all: Vec<_> = self.entries.values().cloned().collect();
        prop_assert_eq!(store.scan(None, usize::MAX).unwrap(), all.clone());
        prop_assert_eq!(store.len().unwrap(), all.len() as u64);
        prop_assert_eq!(store.is_empty().unwrap(), all.is_empty());
        for (n, (key, _)) in all.iter().enumerate().step_by(3) {
            let page: Vec<_> = all[n + 1..].iter().take(2).cloned().collect();
            prop_assert_eq!(store.scan(Some(key), 2).unwrap(), page);
        }
        for key in keys() {
            let entry = self.entries.get(&key_bytes(&key)).map(|(_, entry)| entry);
            prop_assert_eq!(store.get(&key).unwrap(), entry.cloned());
            prop_assert_eq!(store.contains(&key).unwrap(), entry.is_some());
        }
        for now in [i64::MIN, 0, 3, 6, i64::MAX] {
            let now = Timestamp::from_nanos(now);
            for limit in [0, 2, usize::MAX] {
                self.check_due(now, limit, store.due(now, limit).unwrap())?;
            }
        }
        for name in NOTES {
            prop_assert_eq!(store.note(name).unwrap(), self.notes.get(name).cloned());
        }
        Ok(())
    }

    /// Keys of one deadline may come in any order, but each once.
    fn check_due(&self, now: Timestamp, limit: usize, due: Vec<Data>) -> Result<(), TestCaseError> {
        let mut deadlines: Vec<_> = self
            .entries
            .values()
            .filter_map(|(_, entry)| entry.expires_at)
            .filter(|deadline| *deadline < now)
            .collect();
        deadlines.sort();
        deadlines.truncate(limit);
        let found: Vec<_> = due
            .iter()
            .map(|key| {
                self.entries
                    .get(&key_bytes(key))
                    .and_then(|(_, entry)| entry.expires_at)
            })
            .collect();
        prop_assert_eq!(found, deadlines.into_iter().map(Some).collect::<Vec<_>>());
        let distinct: std::collections::BTreeSet<_> = due.iter().map(key_bytes).collect();
        prop_assert_eq!(distinct.len(), due.len());
        Ok(())
    }
}

/// Takes `steps` one by one; a group that fails has changed nothing.
fn follow<B: Backend>(
    steps: Vec<Step>,
    mut open: impl FnMut() -> B,
    must_fail: impl Fn(&[Mutation]) -> Option<bool>,
) -> Result<(), TestCaseError> {
    let mut store = Some(open());
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Reopen => {
                drop(store.take());
                store = Some(open());
            }
            Step::Apply(batch) => {
                let applied = store.as_mut().unwrap().apply(&batch).is_ok();
                if let Some(fails) = must_fail(&batch) {
                    prop_assert_eq!(applied, !fails);
                }
                if applied {
                    model.apply(&batch);
                }
            }
        }
        model.check(store.as_ref().unwrap())?;
    }
    Ok(())
}

fn never(_: &[Mutation]) -> Option<bool> {
    Some(false)
}

fn keys() -> Vec<Data> {
    vec![
        Data::None,
        false.into(),
        0u64.into(),
        0i64.into(),
        (-1i64).into(),
        1.5.into(),
        "".into(),
        "k".into(),
        "k".repeat(400).into(),
        Timespan::from_nanos(5).into(),
        Data::enum_value("Conn::LOG"),
        Set::from_iter([1u64, 2]).into(),
        Table::from_iter([("a", 1u64)]).into(),
        Data::vector([Data::from("x"), Data::vector([1u64])]),
    ]
}

const NOTES: [&str; 3] = ["master", "a/b", "long.name-with_all"];

fn mutation() -> impl Strategy<Value = Mutation> {
    let key = || proptest::sample::select(keys());
    let value = prop_oneof![
        4 => (0u64..5).prop_map(Data::from),
        1 => proptest::sample::select(keys()),
        1 => (0usize..9000).prop_map(|len| "v".repeat(len).into()),
    ];
    let deadline = prop_oneof![
        3 => Just(None),
        3 => (-2i64..8).prop_map(Some),
        1 => proptest::sample::select(vec![Some(i64::MIN), Some(i64::MAX)]),
    ];
    let note = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        10 => (key(), value, deadline).prop_map(|(key, value, at)| Mutation::Put {
            key,
            value,
            expires_at: at.map(Timestamp::from_nanos),
        }),
        4 => key().prop_map(|key| Mutation::Erase { key }),
        1 => Just(Mutation::Clear),
        1 => (proptest::sample::select(&NOTES[..]), note).prop_map(|(name, value)| Mutation::Note {
            name: name.to_owned(),
            value,
        }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = proptest::collection::vec(mutation(), 0..9);
    let step = prop_oneof![
        6 => group.prop_map(Step::Apply),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..16)
}

/// The same with a poisonous put somewhere in every other group or so.
fn poisoned_steps() -> impl Strategy<Value = Vec<Step>> {
    let poison = (
        proptest::sample::select(keys()),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    (steps(), proptest::collection::vec(poison, 16)).prop_map(|(mut steps, poison)| {
        for (step, (key, at, is_poisoned)) in steps.iter_mut().zip(poison) {
            if let (Step::Apply(batch), true) = (step, is_poisoned) {
                let put = Mutation::Put {
                    key,
                    value: POISON.into(),
                    expires_at: Some(Timestamp::from_nanos(1)),
                };
                batch.insert(at.index(batch.len() + 1), put);
            }
        }
        steps
    })
}

fn is_poisoned(batch: &[Mutation]) -> Option<bool> {
    let is_poison = |mutation: &Mutation| matches!(mutation, Mutation::Put { value, .. } if *value == Data::from(POISON));
    Some(batch.iter().any(is_poison))
}

fn without_reopening(steps: Vec<Step>) -> Vec<Step> {
    let stays = |step: &Step| matches!(step, Step::Apply(_));
    steps.into_iter().filter(stays).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn memory_does_what_a_map_does(steps in steps(), nth in 2u64..6) {
        let steps = without_reopening(steps);
        follow(steps.clone(), Memory::new, never)?;
        follow(steps, || fails_nth(Memory::new(), nth), |_| None)?;
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use broker_store::{JournalMode, Sqlite, SqliteOptions, Synchronous};

    use super::*;

    fn options(dir: &tempfile::TempDir, mode: JournalMode) -> SqliteOptions {
        SqliteOptions::new(dir.path().join("s.sqlite"))
            .journal_mode(mode)
            .synchronous(Synchronous::Off)
            .integrity_check(true)
    }

    fn any_mode() -> impl Strategy<Value = JournalMode> {
        proptest::sample::select(vec![JournalMode::Delete, JournalMode::Wal])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        #[test]
        fn a_file_does_what_a_map_does(steps in steps(), mode in any_mode()) {
            let dir = tempfile::tempdir().unwrap();
            follow(steps, || Sqlite::open(&options(&dir, mode)).unwrap(), never)?;
        }

        #[test]
        fn a_file_whose_nth_write_fails_does_what_a_map_does(steps in steps(), mode in any_mode(), nth in 2u64..6) {
            let dir = tempfile::tempdir().unwrap();
            let open = || fails_nth(Sqlite::open(&options(&dir, mode)).unwrap(), nth);
            follow(steps, open, |_| None)?;
        }

        #[test]
        fn a_group_that_fails_half_way_changes_nothing(steps in poisoned_steps(), mode in any_mode(), how in 0..3usize) {
            let dir = tempfile::tempdir().unwrap();
            let options = options(&dir, mode);
            drop(Sqlite::open(&options).unwrap());
            let how = ["ABORT", "FAIL", "ROLLBACK"][how];
            let mut poison = Vec::new();
            broker_core::binary::encode_to_vec(&POISON.into(), &mut poison);
            let poison: String = poison.iter().map(|byte| format!("{byte:02x}")).collect();
            let raw = rusqlite::Connection::open(options.path()).unwrap();
            for event in ["INSERT", "UPDATE"] {
                raw.execute_batch(&format!(
                    "CREATE TRIGGER refuse_{event} BEFORE {event} ON store WHEN NEW.value = x'{poison}'
                     BEGIN SELECT RAISE({how}, 'poison'); END"
                ))
                .unwrap();
            }
            drop(raw);
            follow(steps, || Sqlite::open(&options).unwrap(), is_poisoned)?;
        }
    }
}

#[cfg(feature = "sled")]
mod sled {
    use broker_store::Sled;

    use super::*;

    /// Opens it and looks for what does not fit together.
    fn open(dir: &tempfile::TempDir) -> Sled {
        let sled = Sled::open(dir.path()).unwrap();
        sled.check().unwrap();
        sled
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

        #[test]
        fn a_database_does_what_a_map_does(steps in steps()) {
            let dir = tempfile::tempdir().unwrap();
            follow(steps, || open(&dir), never)?;
            open(&dir);
        }

        #[test]
        fn a_database_whose_nth_write_fails_does_what_a_map_does(steps in steps(), nth in 2u64..6) {
            let dir = tempfile::tempdir().unwrap();
            follow(steps, || fails_nth(open(&dir), nth), |_| None)?;
        }
    }
}
