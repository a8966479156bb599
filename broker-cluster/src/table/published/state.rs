//! The content of a published table: own writes and what others published, in the order in which they come. Reads no
//! clock.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::{ConversionError, Data, FromData, Timestamp, ToData, Topic};
use tokio::time::Instant;

use super::batch::{Batcher, Batching};
use super::wire::{ChangeInfo, ChangeKind, index_of, key_of};
use crate::table::TableError;
use crate::table::change::TableChange;
use crate::table::state::{Expiry, store_key};

/// Chooses the topic of a change by its key.
pub(super) type TopicOf<K> = Box<dyn Fn(&K) -> Topic + Send + Sync>;

/// A batch that goes out: a topic and encoded changes.
pub(super) type Batch = (Topic, Vec<Data>);

pub(super) struct PublishedState<K, V> {
    elements: BTreeMap<Data, Element<K, V>>,
    /// When elements expire.
    deadlines: BTreeSet<(Instant, Data)>,
    expiry: Expiry,
    published: BTreeSet<ChangeKind>,
    topic: TopicOf<K>,
    max_elements: usize,
    batcher: Batcher,
    outgoing: Vec<Batch>,
    changes: Vec<TableChange<K, V>>,
}

struct Element<K, V> {
    key: K,
    value: V,
    until: Option<Instant>,
}

/// Why a change of another node was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Skipped {
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    #[error("a value is missing")]
    NoValue,
    #[error("a previous value with something else than a change")]
    Previous,
    #[error("the key has a NaN in it")]
    Key,
    #[error("the table is full")]
    Full,
}

impl<K, V> PublishedState<K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    pub(super) const fn new(
        expiry: Expiry,
        published: BTreeSet<ChangeKind>,
        topic: TopicOf<K>,
        batching: Batching,
        max_elements: usize,
    ) -> Self {
        Self {
            elements: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            expiry,
            published,
            topic,
            max_elements,
            batcher: Batcher::new(batching),
            outgoing: Vec::new(),
            changes: Vec::new(),
        }
    }

    pub(super) fn get(&self, key: &Data) -> Option<&V> {
        self.elements.get(key).map(|element| &element.value)
    }

    pub(super) fn len(&self) -> usize {
        self.elements.len()
    }

    /// At most `limit` elements behind `after`, and the key to go on behind.
    pub(super) fn page(&self, after: Option<&Data>, limit: usize) -> (Vec<(K, V)>, Option<Data>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let mut range = self.elements.range::<Data, _>((from, Unbounded));
        let mut last = None;
        let page: Vec<(K, V)> = range
            .by_ref()
            .take(limit)
            .map(|(data, element)| {
                last = Some(data.clone());
                (element.key.clone(), element.value.clone())
            })
            .collect();
        (page, last.filter(|_| range.next().is_some()))
    }

    // --- own writes ------------------------------------------------------------------------------

    pub(super) fn insert(
        &mut self,
        now: (Instant, Timestamp),
        key: K,
        data: Data,
        value: V,
    ) -> Result<Option<V>, TableError> {
        if self.elements.len() >= self.max_elements && !self.elements.contains_key(&data) {
            return Err(TableError::Full {
                waiting: self.max_elements,
            });
        }
        let encoded = value.to_data();
        let previous = self.assign(now.0, key, data.clone(), value);
        let kind = match previous {
            None => ChangeKind::New,
            Some(_) => ChangeKind::Changed,
        };
        let before = previous.as_ref().map(ToData::to_data);
        self.publish(now, kind, &data, Some(encoded), before);
        Ok(previous)
    }

    pub(super) fn remove(&mut self, now: (Instant, Timestamp), key: &Data) -> Option<V> {
        // The topic is chosen by the key, which is gone afterwards.
        let topic = self.topic_of(key)?;
        let removed = self.take(key)?.value;
        let value = Some(removed.to_data());
        self.publish_to(now, topic, ChangeKind::Removed, key, value, None);
        Some(removed)
    }

    // --- time ------------------------------------------------------------------------------------

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let expires = self.deadlines.first().map(|(until, _)| *until);
        match (expires, self.batcher.due()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Elements whose time is up vanish, and batches whose time has come go out. At most `limit` elements at a time.
    pub(super) fn handle_timeout(&mut self, now: (Instant, Timestamp), limit: usize) {
        for _ in 0..limit {
            let key = match self.deadlines.first() {
                Some((until, key)) if *until <= now.0 => key.clone(),
                _ => break,
            };
            let Some(topic) = self.topic_of(&key) else {
                self.deadlines.pop_first();
                continue;
            };
            let Some(element) = self.take(&key) else {
                continue;
            };
            let value = Some(element.value.to_data());
            self.publish_to(now, topic, ChangeKind::Expired, &key, value, None);
            self.changes.push(TableChange::Expired {
                key: element.key,
                previous: element.value,
            });
        }
        let out = self.batcher.handle_timeout(now.0);
        self.outgoing.extend(out);
    }

    /// All batches go out.
    pub(super) fn flush(&mut self, now: Instant) {
        let out = self.batcher.take(now);
        self.outgoing.extend(out);
    }

    // --- what others published -------------------------------------------------------------------

    /// Applies a change of another node. It is not published again.
    pub(super) fn apply(&mut self, now: Instant, info: ChangeInfo) -> Result<(), Skipped> {
        if info.previous.is_some() && info.change != ChangeKind::Changed {
            return Err(Skipped::Previous);
        }
        let key = key_of::<K>(info.index)?;
        match info.change {
            ChangeKind::New | ChangeKind::Changed => {
                let is_set = V::from_data(&Data::None).is_ok();
                let value = match info.value {
                    None if !is_set => return Err(Skipped::NoValue),
                    value => V::from_data(&value.unwrap_or(Data::None))
                        .map_err(|error| error.within("field `value`"))?,
                };
                let typed = K::from_data(&key).map_err(|error| error.within("field `index`"))?;
                let data = store_key(&key).map_err(|_| Skipped::Key)?;
                if self.elements.len() >= self.max_elements && !self.elements.contains_key(&data) {
                    return Err(Skipped::Full);
                }
                let previous = self.assign(now, typed.clone(), data, value.clone());
                self.changes.push(match previous {
                    None => TableChange::New { key: typed, value },
                    Some(previous) => TableChange::Changed {
                        key: typed,
                        value,
                        previous,
                    },
                });
            }
            ChangeKind::Removed | ChangeKind::Expired => {
                let data = store_key(&key).map_err(|_| Skipped::Key)?;
                if let Some(element) = self.take(&data) {
                    self.changes.push(TableChange::Removed {
                        key: element.key,
                        previous: element.value,
                    });
                }
            }
        }
        Ok(())
    }

    // --- in general ------------------------------------------------------------------------------

    pub(super) fn take_changes(&mut self) -> Vec<TableChange<K, V>> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn take_outgoing(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.outgoing)
    }

    /// All elements as new ones, in batches of at most `size`, for a node that has none yet.
    pub(super) fn batches(&self, ts: Timestamp, size: usize) -> Vec<Vec<Data>> {
        let infos: Vec<Data> = self
            .elements
            .iter()
            .map(|(key, element)| {
                let value = Some(element.value.to_data());
                info::<K>(ChangeKind::New, ts, key, value, None)
            })
            .collect();
        infos.chunks(size.max(1)).map(<[Data]>::to_vec).collect()
    }

    fn assign(&mut self, now: Instant, key: K, data: Data, value: V) -> Option<V> {
        let former = self.take(&data);
        let until = match (self.expiry, &former) {
            (Expiry::Never, _) => None,
            (Expiry::Create(_), Some(former)) => former.until,
            (Expiry::Create(life) | Expiry::Write(life), _) => now.checked_add(life),
        };
        if let Some(until) = until {
            self.deadlines.insert((until, data.clone()));
        }
        self.elements.insert(data, Element { key, value, until });
        former.map(|former| former.value)
    }

    fn take(&mut self, key: &Data) -> Option<Element<K, V>> {
        let element = self.elements.remove(key)?;
        if let Some(until) = element.until {
            self.deadlines.remove(&(until, key.clone()));
        }
        Some(element)
    }

    fn topic_of(&self, key: &Data) -> Option<Topic> {
        self.elements
            .get(key)
            .map(|element| (self.topic)(&element.key))
    }

    fn publish(
        &mut self,
        now: (Instant, Timestamp),
        kind: ChangeKind,
        key: &Data,
        value: Option<Data>,
        previous: Option<Data>,
    ) {
        if let Some(topic) = self.topic_of(key) {
            self.publish_to(now, topic, kind, key, value, previous);
        }
    }

    fn publish_to(
        &mut self,
        (now, ts): (Instant, Timestamp),
        topic: Topic,
        kind: ChangeKind,
        key: &Data,
        value: Option<Data>,
        previous: Option<Data>,
    ) {
        if self.published.contains(&kind) {
            let change = info::<K>(kind, ts, key, value, previous);
            let out = self.batcher.add(now, topic, change);
            self.outgoing.extend(out);
        }
    }
}

fn info<K: FromData>(
    change: ChangeKind,
    ts: Timestamp,
    key: &Data,
    value: Option<Data>,
    previous: Option<Data>,
) -> Data {
    let none = |value: &Data| *value != Data::None;
    ChangeInfo {
        change,
        ts,
        index: index_of::<K>(key),
        value: value.filter(none),
        previous: previous.filter(none),
    }
    .to_data()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::table::Member;

    type State = PublishedState<String, u64>;

    const SECOND: Duration = Duration::from_secs(1);

    fn all() -> BTreeSet<ChangeKind> {
        use ChangeKind::{Changed, Expired, New, Removed};
        [New, Changed, Removed, Expired].into()
    }

    fn state(expiry: Expiry, published: BTreeSet<ChangeKind>) -> State {
        let topic: TopicOf<String> = Box::new(|_| Topic::from_static("zeek/table/t/"));
        let at_once = Batching {
            size: 0,
            delay: Duration::ZERO,
        };
        State::new(expiry, published, topic, at_once, 3)
    }

    fn insert(
        state: &mut State,
        now: Instant,
        key: &str,
        value: u64,
    ) -> Result<Option<u64>, TableError> {
        state.insert((now, Timestamp::EPOCH), key.to_owned(), key.into(), value)
    }

    /// What went out: kind, value, previous value.
    fn out(state: &mut State) -> Vec<(ChangeKind, Option<Data>, Option<Data>)> {
        let batches = state.take_outgoing();
        let infos = batches.into_iter().flat_map(|(_, infos)| infos);
        infos
            .map(|info| ChangeInfo::from_data(&info).unwrap())
            .map(|info| (info.change, info.value, info.previous))
            .collect()
    }

    fn received(change: ChangeKind, key: &str, value: Option<Data>) -> ChangeInfo {
        ChangeInfo {
            change,
            ts: Timestamp::EPOCH,
            index: vec![key.into()],
            value,
            previous: None,
        }
    }

    #[test]
    fn own_writes_go_out_as_what_they_are() {
        let (mut state, now) = (state(Expiry::Never, all()), Instant::now());
        insert(&mut state, now, "a", 1).unwrap();
        assert_eq!(insert(&mut state, now, "a", 2).unwrap(), Some(1));
        assert_eq!(state.remove((now, Timestamp::EPOCH), &"a".into()), Some(2));
        assert_eq!(state.remove((now, Timestamp::EPOCH), &"a".into()), None);
        use ChangeKind::{Changed, New, Removed};
        assert_eq!(
            out(&mut state),
            [
                (New, Some(1u64.into()), None),
                (Changed, Some(2u64.into()), Some(1u64.into())),
                (Removed, Some(2u64.into()), None)
            ]
        );
        assert!(state.take_changes().is_empty());
    }

    #[test]
    fn only_the_chosen_changes_are_published() {
        let (mut state, now) = (
            state(Expiry::Never, [ChangeKind::New].into()),
            Instant::now(),
        );
        insert(&mut state, now, "a", 1).unwrap();
        insert(&mut state, now, "a", 2).unwrap();
        state.remove((now, Timestamp::EPOCH), &"a".into());
        assert_eq!(out(&mut state).len(), 1);
    }

    #[test]
    fn what_others_published_is_applied_and_not_published_again() {
        let (mut state, now) = (state(Expiry::Never, all()), Instant::now());
        let new = received(ChangeKind::New, "a", Some(1u64.into()));
        state.apply(now, new.clone()).unwrap();
        let changed = ChangeInfo {
            change: ChangeKind::Changed,
            value: Some(2u64.into()),
            previous: Some(1u64.into()),
            ..new
        };
        state.apply(now, changed).unwrap();
        state
            .apply(now, received(ChangeKind::Expired, "a", None))
            .unwrap();
        state
            .apply(now, received(ChangeKind::Removed, "a", None))
            .unwrap();
        assert_eq!(state.len(), 0);
        assert!(out(&mut state).is_empty());
        let kinds: Vec<bool> = state
            .take_changes()
            .iter()
            .map(|change| matches!(change, TableChange::Removed { .. }))
            .collect();
        // An expiry is a removal; one of what is not there is nothing.
        assert_eq!(kinds, [false, false, true]);
    }

    #[test]
    fn what_does_not_fit_or_has_no_room_is_refused() {
        let (mut state, now) = (state(Expiry::Never, all()), Instant::now());
        let refused = [
            received(ChangeKind::New, "a", Some("text".into())),
            received(ChangeKind::New, "a", None),
            ChangeInfo {
                previous: Some(1u64.into()),
                ..received(ChangeKind::Removed, "a", None)
            },
            ChangeInfo {
                index: vec![],
                ..received(ChangeKind::New, "a", Some(1u64.into()))
            },
            ChangeInfo {
                index: vec![1u64.into()],
                ..received(ChangeKind::New, "a", Some(1u64.into()))
            },
        ];
        for info in refused {
            assert!(state.apply(now, info.clone()).is_err(), "{info:?}");
        }
        for key in ["a", "b", "c"] {
            insert(&mut state, now, key, 1).unwrap();
        }
        let fourth = received(ChangeKind::New, "d", Some(1u64.into()));
        assert!(matches!(state.apply(now, fourth), Err(Skipped::Full)));
        assert!(matches!(
            insert(&mut state, now, "d", 1),
            Err(TableError::Full { .. })
        ));
        insert(&mut state, now, "c", 2).unwrap();
    }

    #[test]
    fn each_copy_expires_on_its_own() {
        let now = Instant::now();
        let mut state = state(Expiry::Write(SECOND), all());
        insert(&mut state, now, "a", 1).unwrap();
        insert(&mut state, now + SECOND / 2, "a", 2).unwrap();
        assert_eq!(state.due(), Some(now + SECOND * 3 / 2));
        state.handle_timeout((now + SECOND, Timestamp::EPOCH), 10);
        assert_eq!(state.len(), 1);
        state.handle_timeout((now + SECOND * 2, Timestamp::EPOCH), 10);
        assert_eq!((state.len(), state.due()), (0, None));
        assert_eq!(
            out(&mut state)[2],
            (ChangeKind::Expired, Some(2u64.into()), None)
        );
        assert_eq!(state.take_changes().len(), 1);

        let mut state = self::state(Expiry::Create(SECOND), all());
        insert(&mut state, now, "a", 1).unwrap();
        insert(&mut state, now + SECOND / 2, "a", 2).unwrap();
        assert_eq!(state.due(), Some(now + SECOND));
    }

    #[test]
    fn sets_have_no_values_and_whole_tables_go_out_in_batches() {
        let topic: TopicOf<u64> = Box::new(|_| Topic::from_static("t"));
        let mut set = PublishedState::<u64, Member>::new(
            Expiry::Never,
            all(),
            topic,
            Batching::default(),
            100,
        );
        let now = Instant::now();
        for key in 0..5u64 {
            set.insert((now, Timestamp::EPOCH), key, key.into(), Member)
                .unwrap();
        }
        let batches = set.batches(Timestamp::EPOCH, 2);
        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1]);
        let info = ChangeInfo::from_data(&batches[2][0]).unwrap();
        assert_eq!(
            (info.change, info.index, info.value),
            (ChangeKind::New, vec![4u64.into()], None)
        );
    }
}
