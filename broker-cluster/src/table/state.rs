//! What a table holds: the elements as the store says, and over them this node's writes that the master has not answered
//! yet. Holds no socket and reads no clock.
//!
//! ```text
//!   insert, remove ──► visible value, and a write in the queue        (seen here at once)
//!   store events   ──► visible value, or, below unanswered writes, the value that is there once they are answered
//!   answers        ──► once the last write to an element is answered, it is what the store says
//! ```
//!
//! So a value of another node that the master put before ours is never seen here, and one that it put behind ours replaces
//! it: the last writer at the master wins, and nothing goes back in time.
//!
//! **Invariants:** an element without unanswered writes is what the store events said last. All events that were told
//! before an answer have to be handled before the answer is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use broker_core::{ConversionError, Data, FromData, StoreOperation, Timespan, ToData, binary};
use broker_store::{StoreError, StoreEvent, semantics};
use tokio::time::Instant;

use super::change::TableChange;
use super::error::{TableError, TableProblem};

/// When elements expire (reference, zeek-cluster 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Never.
    #[default]
    Never,
    /// So long after it came into the table; writing it again changes nothing.
    Create(Duration),
    /// So long after it was written last.
    Write(Duration),
}

/// How many writes may wait for the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) writes: usize,
    pub(super) bytes: usize,
}

pub(super) struct TableState<K, V> {
    slots: BTreeMap<Data, Slot<K, V>>,
    /// Slots with a visible value.
    len: usize,
    expiry: Expiry,
    bounds: Bounds,
    queue: VecDeque<Write>,
    /// Of all writes that are not answered.
    bytes: usize,
    /// Writes that were handed to the store, by number.
    in_flight: BTreeMap<u64, Write>,
    submitted: u64,
    closed: bool,
    changes: Vec<TableChange<K, V>>,
    problems: Vec<TableProblem>,
    /// While all of the store is read: the keys that have not been seen in it.
    unseen: Option<BTreeSet<Data>>,
}

/// An element, or what unanswered writes have left of it.
struct Slot<K, V> {
    key: K,
    visible: Option<Lived<V>>,
    /// What is below unanswered writes.
    below: Option<Box<Below<V>>>,
}

/// A value and when its life is over, as far as that is known.
#[derive(Clone)]
struct Lived<V> {
    value: V,
    until: Option<Instant>,
}

struct Below<V> {
    stored: Option<Lived<V>>,
    /// How many writes to the element are not answered.
    writes: usize,
    /// The number of the latest of them.
    latest: u64,
}

/// A write of this node.
#[derive(Debug)]
struct Write {
    number: u64,
    action: Action,
    weight: usize,
}

#[derive(Clone, Debug)]
enum Action {
    Put {
        key: Data,
        value: Data,
        life: Life,
    },
    Erase(Data),
    /// Of these.
    Clear(Vec<Data>),
}

/// What expiry goes to the store with a put.
#[derive(Clone, Copy, Debug)]
enum Life {
    Endless,
    /// This, counted by the master.
    Whole(Duration),
    /// What is left of it.
    Until(Instant),
}

impl<K, V> TableState<K, V>
where
    K: ToData + FromData + Clone,
    V: ToData + FromData + Clone,
{
    pub(super) const fn new(expiry: Expiry, bounds: Bounds) -> Self {
        Self {
            slots: BTreeMap::new(),
            len: 0,
            expiry,
            bounds,
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: BTreeMap::new(),
            submitted: 0,
            closed: false,
            changes: Vec::new(),
            problems: Vec::new(),
            unseen: None,
        }
    }

    // --- reading ---------------------------------------------------------------------------------

    pub(super) fn get(&self, key: &Data) -> Option<&V> {
        Some(&self.slots.get(key)?.visible.as_ref()?.value)
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// At most `limit` elements in the order of keys, behind `after`, and the key to go on behind.
    pub(super) fn page(&self, after: Option<&Data>, limit: usize) -> (Vec<(K, V)>, Option<Data>) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let range = self.slots.range::<Data, _>((from, Unbounded));
        let mut page = Vec::new();
        let mut last = None;
        for (data, slot) in range {
            if page.len() == limit {
                return (page, last);
            }
            last = Some(data.clone());
            if let Some(lived) = &slot.visible {
                page.push((slot.key.clone(), lived.value.clone()));
            }
        }
        (page, None)
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Assigns an element. `key` is `typed` as a key of the store, in normal form.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        typed: K,
        key: Data,
        value: V,
        data: Data,
    ) -> Result<Option<V>, TableError> {
        let weight = OVERHEAD + binary::encoded_len(&key) + binary::encoded_len(&data);
        self.room_for(weight)?;
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot {
            key: typed,
            visible: None,
            below: None,
        });
        let life = match self.expiry {
            Expiry::Never => Life::Endless,
            Expiry::Write(life) => Life::Whole(life),
            // Time left of the element's life. What is over is a new life: the master has just not said so yet.
            Expiry::Create(life) => match slot.visible.as_ref().and_then(|lived| lived.until) {
                Some(until) if until > now => Life::Until(until),
                _ => now.checked_add(life).map_or(Life::Endless, Life::Until),
            },
        };
        let until = match life {
            Life::Endless => None,
            Life::Whole(life) => now.checked_add(life),
            Life::Until(until) => Some(until),
        };
        let number = self.submitted + 1;
        let previous = slot.overlay(number, Some(Lived { value, until }));
        if previous.is_none() {
            self.len += 1;
        }
        let action = Action::Put {
            key,
            value: data,
            life,
        };
        self.submit(action, weight);
        Ok(previous)
    }

    /// Removes an element; one that is not there is no write.
    pub(super) fn remove(&mut self, key: Data) -> Result<Option<V>, TableError> {
        if self.closed {
            return Err(TableError::Closed);
        }
        let weight = OVERHEAD + binary::encoded_len(&key);
        if self.get(&key).is_none() {
            return Ok(None);
        }
        self.room_for(weight)?;
        let Some(slot) = self.slots.get_mut(&key) else {
            return Ok(None);
        };
        let previous = slot.overlay(self.submitted + 1, None);
        self.len -= 1;
        self.submit(Action::Erase(key), weight);
        Ok(previous)
    }

    /// Removes everything, in the store as well.
    pub(super) fn clear(&mut self) -> Result<(), TableError> {
        let visible = self.slots.iter().filter(|(_, slot)| slot.visible.is_some());
        let keys: Vec<Data> = visible.map(|(key, _)| key.clone()).collect();
        self.room_for(OVERHEAD)?;
        for key in &keys {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.overlay(self.submitted + 1, None);
            }
        }
        self.len = 0;
        self.submit(Action::Clear(keys), OVERHEAD);
        Ok(())
    }

    fn room_for(&self, weight: usize) -> Result<(), TableError> {
        let waiting = self.waiting();
        if self.closed {
            Err(TableError::Closed)
        } else if waiting >= self.bounds.writes
            || (waiting > 0 && self.bytes + weight > self.bounds.bytes)
        {
            Err(TableError::Full { waiting })
        } else {
            Ok(())
        }
    }

    fn submit(&mut self, action: Action, weight: usize) {
        self.submitted += 1;
        self.bytes += weight;
        self.queue.push_back(Write {
            number: self.submitted,
            action,
            weight,
        });
    }

    /// Writes that are not answered.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// The number of the latest write.
    pub(super) const fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Every write up to this number is answered.
    pub(super) fn answered(&self) -> u64 {
        let in_flight = self.in_flight.keys().next().copied();
        let queued = self.queue.front().map(|write| write.number);
        match (in_flight, queued) {
            (Some(a), Some(b)) => a.min(b) - 1,
            (Some(oldest), None) | (None, Some(oldest)) => oldest - 1,
            (None, None) => self.submitted,
        }
    }

    /// The next write to go to the store, while fewer than `limit` are on their way.
    pub(super) fn next_write(
        &mut self,
        now: Instant,
        limit: usize,
    ) -> Option<(u64, StoreOperation)> {
        while self.in_flight.len() < limit {
            let write = self.queue.pop_front()?;
            let operation = match write.action.clone() {
                Action::Put { key, value, life } => {
                    let expiry = match life {
                        Life::Endless => None,
                        Life::Whole(life) => Some(life),
                        Life::Until(until) => match until.checked_duration_since(now) {
                            Some(left) if !left.is_zero() => Some(left),
                            _ => {
                                self.bytes -= write.weight;
                                self.answer_one(&key);
                                self.problems.push(TableProblem::Late { key });
                                continue;
                            }
                        },
                    };
                    StoreOperation::Put { key, value, expiry }
                }
                Action::Erase(key) => StoreOperation::Erase(key),
                Action::Clear(_) => StoreOperation::Clear,
            };
            let number = write.number;
            self.in_flight.insert(number, write);
            return Some((number, operation));
        }
        None
    }

    // --- what the store says ---------------------------------------------------------------------

    /// Write `number` is answered; every event told before has been handled.
    pub(super) fn handle_answer(&mut self, number: u64, result: Result<(), StoreError>) {
        let Some(write) = self.in_flight.remove(&number) else {
            return;
        };
        if result == Err(StoreError::Unanswered) && self.is_latest(&write) {
            return self.again(write);
        }
        self.settle(write, result);
    }

    /// Whether nothing that the write sets was written again since.
    fn is_latest(&self, write: &Write) -> bool {
        let (Action::Put { key, .. } | Action::Erase(key)) = &write.action else {
            return false;
        };
        let slot = self.slots.get(key);
        slot.and_then(|slot| slot.below.as_ref())
            .is_some_and(|below| below.latest == write.number)
    }

    /// The master was lost with the write under way. To set an element twice does no harm, so it goes out again.
    fn again(&mut self, write: Write) {
        let number = write.number;
        let place = self.queue.partition_point(|other| other.number < number);
        self.queue.insert(place, write);
    }

    fn settle(&mut self, write: Write, result: Result<(), StoreError>) {
        self.bytes -= write.weight;
        let key = match write.action {
            Action::Put { key, .. } => {
                self.answer_one(&key);
                Some(key)
            }
            Action::Erase(key) => {
                self.answer_one(&key);
                // A C++ master echoes nothing where another node was faster, and the element is gone as it should be.
                if result == Err(StoreError::NotEchoed) && self.get(&key).is_none() {
                    return;
                }
                Some(key)
            }
            Action::Clear(keys) => {
                keys.iter().for_each(|key| self.answer_one(key));
                None
            }
        };
        match result {
            Ok(()) => {}
            // What was written since takes its place.
            Err(StoreError::Unanswered) if key.is_some() => {}
            Err(error) => self.problems.push(TableProblem::Write { key, error }),
        }
    }

    /// One more write to `key` is answered; after the last one it is what the store says.
    fn answer_one(&mut self, key: &Data) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        match &mut slot.below {
            Some(below) if below.writes > 1 => return below.writes -= 1,
            _ => {}
        }
        let Some(below) = slot.below.take() else {
            return;
        };
        match below.stored {
            Some(stored) => {
                let same = slot.visible.as_mut().is_some_and(|lived| {
                    let same = lived.value.to_data() == stored.value.to_data();
                    if same {
                        lived.until = stored.until;
                    }
                    same
                });
                if !same {
                    self.show(key, stored);
                }
            }
            None => self.hide(key, Gone::Removed),
        }
    }

    pub(super) fn handle_event(&mut self, now: Instant, event: &StoreEvent) {
        match event {
            StoreEvent::Insert {
                key, value, expiry, ..
            } => self.stored(key, value, until(now, *expiry), true),
            StoreEvent::Update {
                key, new, expiry, ..
            } => self.stored(key, new, until(now, *expiry), false),
            StoreEvent::Erase { key, .. } => self.gone(key, Gone::Removed),
            StoreEvent::Expire { key, .. } => self.gone(key, Gone::Expired),
            _ => {}
        }
    }

    /// `key` has this value in the store. `repeated`: it may have been told before, and then is no change.
    fn stored(&mut self, key: &Data, value: &Data, until: Option<Instant>, repeated: bool) {
        if let Err(error) = self.try_stored(key, value, until, repeated) {
            let key = key.clone();
            self.problems.push(TableProblem::Conversion { key, error });
        }
    }

    fn try_stored(
        &mut self,
        key: &Data,
        data: &Data,
        until: Option<Instant>,
        repeated: bool,
    ) -> Result<(), ConversionError> {
        let place = || format!("value at {key}");
        let value = V::from_data(data).map_err(|error| error.within(place()))?;
        if !self.slots.contains_key(key) {
            let typed = K::from_data(key).map_err(|error| error.within(format!("index {key}")))?;
            let slot = Slot {
                key: typed,
                visible: None,
                below: None,
            };
            self.slots.insert(key.clone(), slot);
        }
        let lived = Lived { value, until };
        let Some(slot) = self.slots.get_mut(key) else {
            return Ok(());
        };
        if let Some(below) = &mut slot.below {
            below.stored = Some(lived);
            return Ok(());
        }
        match &mut slot.visible {
            Some(visible) if repeated && visible.value.to_data() == *data => {
                visible.until = until;
            }
            _ => self.show(key, lived),
        }
        Ok(())
    }

    /// `key` is not in the store any more.
    fn gone(&mut self, key: &Data, why: Gone) {
        if let Some(slot) = self.slots.get_mut(key) {
            match &mut slot.below {
                Some(below) => below.stored = None,
                None => self.hide(key, why),
            }
        }
    }

    fn show(&mut self, key: &Data, lived: Lived<V>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (key, value) = (slot.key.clone(), lived.value.clone());
        self.changes.push(match slot.visible.replace(lived) {
            None => {
                self.len += 1;
                TableChange::New { key, value }
            }
            Some(previous) => TableChange::Changed {
                key,
                value,
                previous: previous.value,
            },
        });
    }

    fn hide(&mut self, key: &Data, why: Gone) {
        let Some(slot) = self.slots.remove(key) else {
            return;
        };
        let key = slot.key;
        if let Some(Lived {
            value: previous, ..
        }) = slot.visible
        {
            self.len -= 1;
            self.changes.push(match why {
                Gone::Removed => TableChange::Removed { key, previous },
                Gone::Expired => TableChange::Expired { key, previous },
            });
        }
    }

    // --- reading all of the store ----------------------------------------------------------------

    /// All of the store is going to be read.
    pub(super) fn begin_reading(&mut self) {
        self.unseen = Some(self.slots.keys().cloned().collect());
    }

    /// The store has this entry.
    pub(super) fn read(
        &mut self,
        now: Instant,
        key: &Data,
        value: &Data,
        left: Option<Duration>,
    ) -> Result<(), ConversionError> {
        if let Some(unseen) = &mut self.unseen {
            unseen.remove(key);
        }
        self.try_stored(
            key,
            value,
            left.and_then(|left| now.checked_add(left)),
            true,
        )
    }

    /// All of it has been read: what was not seen is not there.
    pub(super) fn end_reading(&mut self) {
        for key in self.unseen.take().unwrap_or_default() {
            self.gone(&key, Gone::Removed);
        }
    }

    // --- what is to be told ----------------------------------------------------------------------

    pub(super) fn take_changes(&mut self) -> Vec<TableChange<K, V>> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn take_problems(&mut self) -> Vec<TableProblem> {
        std::mem::take(&mut self.problems)
    }

    pub(super) fn report(&mut self, problem: TableProblem) {
        self.problems.push(problem);
    }

    /// No more writes; those that are not answered are as they are.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let in_flight = std::mem::take(&mut self.in_flight).into_values();
        let queued = std::mem::take(&mut self.queue);
        for write in in_flight.chain(queued) {
            self.settle(write, Err(StoreError::Closed));
        }
    }
}

impl<V: Clone, K> Slot<K, V> {
    /// Puts the value of a write over what is there, which it returns.
    fn overlay(&mut self, number: u64, lived: Option<Lived<V>>) -> Option<V> {
        let previous = std::mem::replace(&mut self.visible, lived);
        let returned = previous.as_ref().map(|lived| lived.value.clone());
        let below = self.below.get_or_insert_with(|| {
            Box::new(Below {
                stored: previous,
                writes: 0,
                latest: number,
            })
        });
        below.writes += 1;
        below.latest = number;
        returned
    }
}

/// Why an element is gone.
#[derive(Clone, Copy)]
enum Gone {
    Removed,
    Expired,
}

fn until(now: Instant, expiry: Option<Timespan>) -> Option<Instant> {
    let left = expiry.and_then(Timespan::to_duration)?;
    // A life beyond what the clock can say is endless.
    now.checked_add(left)
}

/// A key as the store has it.
pub(super) fn store_key<Q: ToData + ?Sized>(key: &Q) -> Result<Data, TableError> {
    let mut data = key.to_data();
    match semantics::normalize_key(&mut data) {
        Ok(()) => Ok(data),
        Err(_) => Err(TableError::Key { key: data }),
    }
}

/// What a write counts beside key and value.
const OVERHEAD: usize = 64;

#[cfg(test)]
mod tests;
