//! The suite that every [`Backend`] passes: the real specification of the trait.
//!
//! ```
//! broker_store::conformance::run(broker_store::Memory::new);
//! ```
//!
//! Every step is compared with a sorted map. Random sequences are drawn from fixed seeds, and a failure names its seed;
//! then everything runs once more over [`fails_nth`], which fails a write now and then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use broker_core::{Address, Data, EnumValue, Port, Set, Subnet, Table, Timespan, Timestamp};

use crate::backend::{Backend, BackendError, Entry, KeyBytes, Mutation, key_bytes};

/// Runs the whole suite; `open` makes an empty backend of its own each time.
///
/// # Panics
/// If the backend does not do what the trait says.
pub fn run<B: Backend>(mut open: impl FnMut() -> B) {
    starts_empty(&mut open());
    puts_replace_value_and_deadline(&mut open());
    a_batch_is_applied_in_order(&mut open());
    every_type_is_a_key_and_a_value(&mut open());
    pages_join_without_gap_or_overlap(&mut open());
    deadlines_are_strict_and_in_order(&mut open());
    notes_are_kept_beside_the_entries(&mut open());
    for seed in 0..SEEDS {
        random_batches_equal_the_model(seed, &mut open());
        random_batches_equal_the_model(seed, &mut fails_nth(open(), 3 + seed % 5));
    }
}

/// How many random sequences are tried.
const SEEDS: u64 = 12;

/// A backend that does something before each write, which may fail, and passes everything to the one inside.
pub struct BeforeApply<B, F> {
    inner: B,
    before: F,
    waits: bool,
}

impl<B, F> BeforeApply<B, F>
where
    F: FnMut(&[Mutation]) -> Result<(), BackendError>,
{
    /// Calls `before` with each batch; only what it lets pass reaches `inner`.
    pub const fn new(inner: B, before: F) -> Self {
        Self {
            inner,
            before,
            waits: false,
        }
    }

    /// The same for a `before` that may wait, so that the backend [may block](Backend::may_block) whatever `inner` does.
    pub const fn waiting(inner: B, before: F) -> Self {
        Self {
            inner,
            before,
            waits: true,
        }
    }
}

impl<B: fmt::Debug, F> fmt::Debug for BeforeApply<B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeforeApply")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// A backend that fails every `nth` write and passes everything else to `inner`; 0 fails none.
pub fn fails_nth<B: Backend>(
    inner: B,
    nth: u64,
) -> BeforeApply<B, impl FnMut(&[Mutation]) -> Result<(), BackendError> + Send> {
    let mut writes = 0_u64;
    BeforeApply::new(inner, move |_: &[Mutation]| {
        writes += 1;
        if nth > 0 && writes.is_multiple_of(nth) {
            return Err(BackendError::engine("this write was told to fail"));
        }
        Ok(())
    })
}

impl<B, F> Backend for BeforeApply<B, F>
where
    B: Backend,
    F: FnMut(&[Mutation]) -> Result<(), BackendError> + Send + 'static,
{
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        (self.before)(batch)?;
        self.inner.apply(batch)
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        self.inner.get(key)
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        self.inner.scan(after, limit)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.inner.due(now, limit)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.inner.note(name)
    }

    fn len(&self) -> Result<u64, BackendError> {
        self.inner.len()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn may_block(&self) -> bool {
        self.waits || self.inner.may_block()
    }
}

/// A backend that masters have one after the other: what survives a restart, in tests.
#[derive(Debug, Default)]
pub struct Shared<B>(Arc<Mutex<B>>);

impl<B> Clone for Shared<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Backend> Shared<B> {
    /// Whoever has a clone of it has the same entries.
    pub fn new(inner: B) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Backend for Shared<B> {
    fn apply(&mut self, batch: &[Mutation]) -> Result<(), BackendError> {
        self.lock().apply(batch)
    }

    fn get(&self, key: &Data) -> Result<Option<Entry>, BackendError> {
        self.lock().get(key)
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Result<Vec<(Data, Entry)>, BackendError> {
        self.lock().scan(after, limit)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Data>, BackendError> {
        self.lock().due(now, limit)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, BackendError> {
        self.lock().note(name)
    }

    fn len(&self) -> Result<u64, BackendError> {
        self.lock().len()
    }

    fn name(&self) -> &str {
        "shared"
    }
}

fn starts_empty(store: &mut impl Backend) {
    assert_eq!(ok(store.len()), 0);
    assert!(ok(store.is_empty()));
    assert_eq!(ok(store.get(&"k".into())), None);
    assert!(!ok(store.contains(&"k".into())));
    assert_eq!(ok(store.scan(None, 10)), []);
    assert_eq!(ok(store.scan(Some(&"k".into()), 10)), []);
    assert_eq!(ok(store.due(Timestamp::MAX, 10)), []);
    assert!(!store.name().is_empty());
    ok(store.apply(&[]));
    ok(store.apply(&[erase("k"), Mutation::Clear]));
    assert_eq!(ok(store.len()), 0);
}

fn puts_replace_value_and_deadline(store: &mut impl Backend) {
    ok(store.apply(&[put("k", 1, Some(10))]));
    assert_eq!(
        ok(store.get(&"k".into())),
        Some(Entry {
            value: 1u64.into(),
            expires_at: Some(at(10))
        })
    );
    assert!(ok(store.contains(&"k".into())));
    ok(store.apply(&[put("k", 2, None)]));
    assert_eq!(ok(store.get(&"k".into())), Some(Entry::lasting(2u64)));
    assert_eq!(
        ok(store.due(Timestamp::MAX, 10)),
        [],
        "a put without a deadline takes the former one away"
    );
    assert_eq!(ok(store.len()), 1);
    ok(store.apply(&[put("k", 3, Some(10))]));
    ok(store.apply(&[erase("k")]));
    assert_eq!(ok(store.get(&"k".into())), None);
    assert_eq!(
        ok(store.due(Timestamp::MAX, 10)),
        [],
        "an erased key has no deadline"
    );
}

fn a_batch_is_applied_in_order(store: &mut impl Backend) {
    ok(store.apply(&[
        put("old", 1, Some(1)),
        put("k", 1, Some(5)),
        put("k", 2, Some(6)),
        erase("k"),
        put("k", 3, None),
    ]));
    assert_eq!(ok(store.get(&"k".into())), Some(Entry::lasting(3u64)));
    assert_eq!(ok(store.due(Timestamp::MAX, 10)), ["old".into()]);
    ok(store.apply(&[
        put("gone", 1, None),
        Mutation::Clear,
        put("new", 1, Some(9)),
        put("new", 2, Some(3)),
    ]));
    assert_eq!(
        ok(store.scan(None, 10)),
        [(
            "new".into(),
            Entry {
                value: 2u64.into(),
                expires_at: Some(at(3))
            }
        )]
    );
    assert_eq!(ok(store.due(Timestamp::MAX, 10)), ["new".into()]);
    assert_eq!(ok(store.len()), 1);
    ok(store.apply(&[put("x", 1, None), erase("x"), erase("x")]));
    assert_eq!(ok(store.get(&"x".into())), None);
    assert_eq!(ok(store.len()), 1);
}

fn every_type_is_a_key_and_a_value(store: &mut impl Backend) {
    let values = samples();
    let batch: Vec<_> = values
        .iter()
        .map(|value| Mutation::Put {
            key: value.clone(),
            value: value.clone(),
            expires_at: None,
        })
        .collect();
    ok(store.apply(&batch));
    assert_eq!(ok(store.len()), values.len() as u64);
    for value in &values {
        assert_eq!(ok(store.get(value)), Some(Entry::lasting(value.clone())));
    }
}

fn pages_join_without_gap_or_overlap(store: &mut impl Backend) {
    let mut model = Model::default();
    let mut batch: Vec<_> = samples()
        .into_iter()
        .map(|key| Mutation::Put {
            key,
            value: Data::None,
            expires_at: Some(at(1)),
        })
        .collect();
    batch.extend((0..40).map(|n| put(&"k".repeat(n), n as u64, None)));
    model.apply(&batch);
    ok(store.apply(&batch));
    for limit in [1, 2, 7, 55, 1000] {
        let (mut joined, mut after) = (Vec::new(), None);
        loop {
            let page = ok(store.scan(after.as_ref(), limit));
            assert!(page.len() <= limit, "a page has at most `limit` entries");
            let last = page.len() < limit;
            after = page.last().map(|(key, _)| key.clone()).or(after);
            joined.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(joined, model.scan(None, usize::MAX), "pages of {limit}");
    }
    assert_eq!(ok(store.scan(None, 0)), []);
    let missing = Data::from("kkk-");
    assert_eq!(
        ok(store.scan(Some(&missing), 3)),
        model.scan(Some(&missing), 3),
        "`after` need not be a key"
    );
}

fn deadlines_are_strict_and_in_order(store: &mut impl Backend) {
    ok(store.apply(&[
        put("c", 0, Some(30)),
        put("a", 0, Some(10)),
        put("n", 0, Some(-20)),
        put("min", 0, Some(i64::MIN)),
        put("max", 0, Some(i64::MAX)),
        put("never", 0, None),
    ]));
    let due = |now| ok(store.due(at(now), 100));
    assert_eq!(due(i64::MIN), []);
    assert_eq!(
        due(-20),
        ["min".into()],
        "a key is due strictly after its deadline"
    );
    assert_eq!(due(10), ["min".into(), "n".into()]);
    assert_eq!(
        due(31),
        ["min".into(), "n".into(), "a".into(), "c".into()],
        "earliest first"
    );
    assert_eq!(ok(store.due(at(31), 2)), ["min".into(), "n".into()]);
    assert_eq!(due(i64::MAX), due(31));
}

fn notes_are_kept_beside_the_entries(store: &mut impl Backend) {
    let note = |name: &str, value: Option<&[u8]>| Mutation::Note {
        name: name.to_owned(),
        value: value.map(<[u8]>::to_vec),
    };
    assert_eq!(ok(store.note("a/1")), None);
    ok(store.apply(&[
        put("k", 1, None),
        note("a/1", Some(b"\0\xff")),
        note("b", Some(b"")),
    ]));
    assert_eq!(ok(store.note("a/1")), Some(b"\0\xff".to_vec()));
    assert_eq!(ok(store.note("b")), Some(Vec::new()));
    assert_eq!(ok(store.len()), 1, "a note is no entry");
    assert_eq!(ok(store.scan(None, 10)).len(), 1, "a note is no entry");
    ok(store.apply(&[Mutation::Clear, note("a/1", Some(b"x")), note("b", None)]));
    assert_eq!(
        ok(store.note("a/1")),
        Some(b"x".to_vec()),
        "a clear leaves notes"
    );
    assert_eq!(ok(store.note("b")), None);
    assert_eq!(ok(store.len()), 0);
}

fn random_batches_equal_the_model(seed: u64, store: &mut impl Backend) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut model = Model::default();
    for step in 0..40 {
        let batch: Vec<_> = (0..rng.usize(0..12))
            .map(|_| random_mutation(&mut rng))
            .collect();
        if store.apply(&batch).is_ok() {
            model.apply(&batch);
        }
        let context = format!("seed {seed}, step {step}");
        assert_eq!(
            ok(store.scan(None, 1000)),
            model.scan(None, 1000),
            "{context}"
        );
        assert_eq!(ok(store.len()), model.0.len() as u64, "{context}");
        let key = random_key(&mut rng);
        assert_eq!(
            ok(store.get(&key)),
            model
                .0
                .get(&key_bytes(&key))
                .map(|(_, entry)| entry.clone()),
            "{context}"
        );
        let (now, limit) = (at(rng.i64(-5..40)), rng.usize(0..9));
        let due = ok(store.due(now, limit));
        let deadlines = |keys: &[Data]| {
            keys.iter()
                .map(|key| {
                    model
                        .0
                        .get(&key_bytes(key))
                        .and_then(|(_, entry)| entry.expires_at)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            deadlines(&due),
            deadlines(&model.due(now, limit)),
            "{context}: keys of one deadline may come in any order"
        );
    }
}

fn random_mutation(rng: &mut fastrand::Rng) -> Mutation {
    match rng.u32(0..20) {
        0 => Mutation::Clear,
        1..6 => Mutation::Erase {
            key: random_key(rng),
        },
        _ => {
            let expires_at = rng.bool().then(|| at(rng.i64(-5..40)));
            Mutation::Put {
                key: random_key(rng),
                value: rng.u64(..).into(),
                expires_at,
            }
        }
    }
}

fn random_key(rng: &mut fastrand::Rng) -> Data {
    let number = rng.u64(0..24);
    match rng.u32(0..4) {
        0 => Data::Count(number),
        1 => Data::Integer(number as i64 - 12),
        2 => "k".repeat(number as usize * 2).into(),
        _ => Data::vector([number, number + 1]),
    }
}

/// What a backend holds, by the book.
#[derive(Default)]
struct Model(BTreeMap<KeyBytes, (Data, Entry)>);

impl Model {
    fn apply(&mut self, batch: &[Mutation]) {
        for mutation in batch {
            match mutation {
                Mutation::Put {
                    key,
                    value,
                    expires_at,
                } => {
                    self.0.insert(
                        key_bytes(key),
                        (
                            key.clone(),
                            Entry {
                                value: value.clone(),
                                expires_at: *expires_at,
                            },
                        ),
                    );
                }
                Mutation::Erase { key } => {
                    self.0.remove(&key_bytes(key));
                }
                Mutation::Clear => self.0.clear(),
                Mutation::Note { .. } => {}
            }
        }
    }

    fn scan(&self, after: Option<&Data>, limit: usize) -> Vec<(Data, Entry)> {
        let after = after.map(key_bytes);
        self.0
            .iter()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .take(limit)
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    fn due(&self, now: Timestamp, limit: usize) -> Vec<Data> {
        let mut due: Vec<_> = self
            .0
            .values()
            .filter_map(|(key, entry)| Some((entry.expires_at?, key)))
            .filter(|(deadline, _)| *deadline < now)
            .collect();
        due.sort();
        due.into_iter()
            .take(limit)
            .map(|(_, key)| key.clone())
            .collect()
    }
}

fn samples() -> Vec<Data> {
    vec![
        Data::None,
        false.into(),
        true.into(),
        0u64.into(),
        u64::MAX.into(),
        (-1i64).into(),
        i64::MIN.into(),
        1.5.into(),
        f64::INFINITY.into(),
        "".into(),
        "a string that is too long to be kept in the value itself".into(),
        vec![0u8, 255, 128].into(),
        Address::from(std::net::Ipv4Addr::LOCALHOST).into(),
        Subnet::default().into(),
        Port::tcp(80).into(),
        Timestamp::from_nanos(-1).into(),
        Timespan::from_nanos(1_500_000_000).into(),
        EnumValue::new("Conn::LOG").into(),
        Set::from_iter([1u64, 2]).into(),
        Table::from_iter([("a", 1u64)]).into(),
        Data::vector([Data::from("x"), Data::vector([1u64])]),
    ]
}

fn put(key: &str, value: u64, expires_at: Option<i64>) -> Mutation {
    Mutation::Put {
        key: key.into(),
        value: value.into(),
        expires_at: expires_at.map(at),
    }
}

fn erase(key: &str) -> Mutation {
    Mutation::Erase { key: key.into() }
}

const fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

#[track_caller]
fn ok<T>(result: Result<T, BackendError>) -> T {
    result.expect("a backend under test fails only where it is told to")
}
