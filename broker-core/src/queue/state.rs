//! What is behind the lock of a queue: items, waiting producers, counters, and the rules.
//!
//! Items that may be dropped and items that must be kept lie in two lines, each with the number of
//! its arrival, so that the oldest droppable one is found at once however many are to be kept; the
//! consumer merges the lines by number. Nothing here wakes, drops an item or calls back: what has to
//! be woken or dropped is handed out, to be dealt with after the lock is released.

use std::{collections::VecDeque, mem, task::Waker};

use super::{
    Weigh,
    counters::{Counters, DropReason},
    options::{OverflowPolicy, QueueOptions},
};

/// An item with what its queue asked it once.
pub(super) struct Pending<T> {
    pub(super) item: T,
    weight: usize,
    droppable: bool,
}

impl<T: Weigh> Pending<T> {
    pub(super) fn new(item: T) -> Self {
        Self {
            weight: item.weight(),
            droppable: item.droppable(),
            item,
        }
    }
}

/// What became of an item.
pub(super) enum Push<T> {
    /// It is in the queue; others may have been evicted for it.
    Queued,
    /// It is to be dropped; counted already.
    Refused(Pending<T>, DropReason),
    /// No room, and the policy is to wait.
    Full(Pending<T>),
    /// The queue is closed.
    Closed(Pending<T>),
    /// The queue is cut now. The item and all that was queued are to be dropped; counted already.
    Cut(Pending<T>, Leftovers<T>),
}

/// Whether a producer still waits.
pub(super) enum Turn {
    /// Room is reserved for it.
    Granted,
    /// It waits.
    Waiting,
    /// It was sent away: the queue is closed, or lags.
    Released,
}

pub(super) struct State<T> {
    data: Line<T>,
    kept: Line<T>,
    arrivals: u64,
    /// Set aside for producers that waited and were granted room.
    reserved: Load,
    /// In order of arrival; the first `granted` of them have room reserved.
    waiters: VecDeque<Waiter>,
    granted: usize,
    next_waiter: u64,
    open: bool,
    cut: bool,
    lagging: bool,
    pub(super) senders: usize,
    pub(super) receiver: Option<Waker>,
    counters: Counters,
    high_water: u64,
    high_water_before: u64,
}

impl<T> State<T> {
    pub(super) fn new() -> Self {
        Self {
            data: Line::new(),
            kept: Line::new(),
            arrivals: 0,
            reserved: Load::default(),
            waiters: VecDeque::new(),
            granted: 0,
            next_waiter: 0,
            open: true,
            cut: false,
            lagging: false,
            senders: 0,
            receiver: None,
            counters: Counters::default(),
            high_water: 0,
            high_water_before: 0,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.kept.is_empty()
    }

    pub(super) fn counters(&self) -> Counters {
        let load = self.load();
        Counters {
            queued: load.messages as u64,
            queued_bytes: load.bytes as u64,
            max_queued_recently: self.high_water.max(self.high_water_before),
            waiting: self.waiters.len() as u64,
            lagging: self.lagging,
            ..self.counters
        }
    }

    pub(super) fn roll_high_water(&mut self) {
        self.high_water_before = self.high_water;
        self.high_water = self.load().messages as u64;
    }

    /// Lets an item in, or says why not. What has to go for it is pushed onto `evicted`.
    pub(super) fn push(
        &mut self,
        options: &QueueOptions,
        pending: Pending<T>,
        evicted: &mut Few<T>,
    ) -> Push<T> {
        if !self.open {
            return Push::Closed(pending);
        }
        let fits = self.fits(options, pending.weight) && self.waiters.len() == self.granted;
        if !pending.droppable {
            return self.push_kept(options, pending, fits, evicted);
        }
        if self.lagging {
            return self.refuse(pending, DropReason::Slow);
        }
        if fits {
            return self.enqueue(pending);
        }
        match options.policy {
            OverflowPolicy::Block => Push::Full(pending),
            OverflowPolicy::Disconnect => self.cut(pending),
            OverflowPolicy::DropNewest => self.refuse(pending, DropReason::Newest),
            // Even without any droppable item there would be no room.
            OverflowPolicy::DropOldest if !self.fits_kept(options, pending.weight) => {
                self.refuse(pending, DropReason::Newest)
            }
            OverflowPolicy::DropOldest => {
                self.evict_for(
                    options,
                    pending.weight,
                    Line::pop,
                    DropReason::Oldest,
                    evicted,
                );
                self.enqueue(pending)
            }
        }
    }

    fn push_kept(
        &mut self,
        options: &QueueOptions,
        pending: Pending<T>,
        fits: bool,
        evicted: &mut Few<T>,
    ) -> Push<T> {
        if fits {
            return self.enqueue(pending);
        }
        let fits_kept = self.fits_kept(options, pending.weight);
        match options.policy {
            OverflowPolicy::Block if fits_kept => self.enqueue(pending),
            OverflowPolicy::Block => Push::Full(pending),
            OverflowPolicy::DropOldest if fits_kept => {
                self.evict_for(
                    options,
                    pending.weight,
                    Line::pop,
                    DropReason::Oldest,
                    evicted,
                );
                self.enqueue(pending)
            }
            OverflowPolicy::DropNewest if fits_kept => {
                self.evict_for(
                    options,
                    pending.weight,
                    Line::pop_back,
                    DropReason::Newest,
                    evicted,
                );
                self.enqueue(pending)
            }
            OverflowPolicy::DropOldest
            | OverflowPolicy::DropNewest
            | OverflowPolicy::Disconnect => self.cut(pending),
        }
    }

    /// Counts `pending` as dropped.
    pub(super) fn refuse(&mut self, pending: Pending<T>, reason: DropReason) -> Push<T> {
        self.counters.offered += 1;
        self.counters.count_dropped(reason, 1);
        Push::Refused(pending, reason)
    }

    /// What to do with an item that [`State::push`] found no room for and that cannot wait.
    pub(super) fn give_up(&mut self, pending: Pending<T>, reason: DropReason) -> Push<T> {
        if !self.open {
            Push::Closed(pending)
        } else if pending.droppable {
            self.refuse(pending, reason)
        } else {
            self.cut(pending)
        }
    }

    /// Puts a producer at the end of the line of those who wait, and returns its number.
    pub(super) fn wait(&mut self, pending: &Pending<T>) -> u64 {
        let number = self.next_waiter;
        self.next_waiter += 1;
        self.waiters.push_back(Waiter {
            number,
            weight: pending.weight,
            waker: None,
        });
        number
    }

    /// Where the producer with this number stands. While it waits, `waker` is kept for it and the
    /// one kept before is returned, to be dropped outside the lock.
    pub(super) fn turn(&mut self, number: u64, waker: &Waker) -> (Turn, Option<Waker>) {
        let Some(at) = self.waiter(number) else {
            return (Turn::Released, None);
        };
        if at < self.granted {
            return (Turn::Granted, None);
        }
        let kept = &mut self.waiters[at].waker;
        if kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            return (Turn::Waiting, None);
        }
        (Turn::Waiting, kept.replace(waker.clone()))
    }

    /// Takes a producer out of the line; returns whether room was reserved for it, which is then
    /// free again, and its waker, to be dropped outside the lock.
    pub(super) fn leave(&mut self, number: u64) -> (bool, Option<Waker>) {
        let waiter = self
            .waiter(number)
            .and_then(|at| Some((at, self.waiters.remove(at)?)));
        let Some((at, waiter)) = waiter else {
            return (false, None);
        };
        let granted = at < self.granted;
        if granted {
            self.granted -= 1;
            self.reserved.remove(waiter.weight);
        }
        (granted, waiter.waker)
    }

    /// Puts an item in without a question: there is room, or it was reserved.
    pub(super) fn enqueue(&mut self, pending: Pending<T>) -> Push<T> {
        self.counters.offered += 1;
        let line = if pending.droppable {
            &mut self.data
        } else {
            &mut self.kept
        };
        line.push(Entry {
            arrival: self.arrivals,
            weight: pending.weight,
            item: pending.item,
        });
        self.arrivals += 1;
        let queued = self.load().messages as u64;
        self.high_water = self.high_water.max(queued);
        Push::Queued
    }

    /// Reserves room for those who wait longest, if the queue is half empty or `at_once`.
    pub(super) fn grant(&mut self, options: &QueueOptions, at_once: bool, wake: &mut Few<Waker>) {
        if self.waiters.len() == self.granted || !(at_once || self.is_half_empty(options)) {
            return;
        }
        while let Some(weight) = self.waiters.get(self.granted).map(|waiter| waiter.weight) {
            if !self.fits(options, weight) {
                break;
            }
            self.reserved.add(weight);
            let waker = self.waiters[self.granted].waker.take();
            wake.extend(waker);
            self.granted += 1;
        }
    }

    /// Begins to lag, unless there is room after all, and sends those away who wait in vain.
    pub(super) fn lag(&mut self, options: &QueueOptions, wake: &mut Few<Waker>) {
        if self.open && !self.is_half_empty(options) {
            self.lagging = true;
            wake.extend(
                self.waiters
                    .drain(self.granted..)
                    .filter_map(|waiter| waiter.waker),
            );
        }
    }

    /// Moves what came first to `out`: at least one item if there is any, then as long as neither
    /// bound is passed.
    pub(super) fn take(
        &mut self,
        options: &QueueOptions,
        out: &mut impl Extend<T>,
        max_messages: usize,
        max_bytes: usize,
    ) -> usize {
        let mut taken = Load::default();
        out.extend(std::iter::from_fn(|| {
            let next = self.next_line();
            let weight = next.front_weight()?;
            let bytes = taken.bytes.saturating_add(weight);
            if taken.messages > 0 && (taken.messages >= max_messages || bytes > max_bytes) {
                return None;
            }
            taken.add(weight);
            next.pop().map(|entry| entry.item)
        }));
        self.counters.sent += taken.messages as u64;
        self.counters.sent_bytes += taken.bytes as u64;
        self.lagging = self.lagging && !self.is_half_empty(options);
        if self.is_empty() {
            self.data.shrink_after_burst();
            self.kept.shrink_after_burst();
        }
        taken.messages
    }

    /// Lets nothing in any more; what is queued stays for the consumer. Everybody has to be woken.
    pub(super) fn close(&mut self, wake: &mut Few<Waker>) {
        self.open = false;
        self.lagging = false;
        self.granted = 0;
        self.reserved = Load::default();
        wake.extend(self.waiters.drain(..).filter_map(|waiter| waiter.waker));
        wake.extend(self.receiver.take());
    }

    /// Everything that is queued, counted as dropped.
    pub(super) fn clear(&mut self, reason: DropReason) -> Leftovers<T> {
        let items = self.load().messages as u64;
        self.counters.count_dropped(reason, items);
        Leftovers {
            data: self.data.take(),
            kept: self.kept.take(),
            wake: Few::new(),
        }
    }

    fn cut(&mut self, pending: Pending<T>) -> Push<T> {
        self.cut = true;
        self.counters.offered += 1;
        self.counters.count_dropped(DropReason::Disconnected, 1);
        let mut leftovers = self.clear(DropReason::Disconnected);
        self.close(&mut leftovers.wake);
        Push::Cut(pending, leftovers)
    }

    fn evict_for(
        &mut self,
        options: &QueueOptions,
        weight: usize,
        pop: fn(&mut Line<T>) -> Option<Entry<T>>,
        reason: DropReason,
        evicted: &mut Few<T>,
    ) {
        while !self.fits(options, weight) {
            let Some(entry) = pop(&mut self.data) else {
                break;
            };
            self.counters.count_dropped(reason, 1);
            evicted.push(entry.item);
        }
    }

    fn load(&self) -> Load {
        self.data.load.plus(self.kept.load)
    }

    fn fits(&self, options: &QueueOptions, weight: usize) -> bool {
        self.load().plus(self.reserved).leaves_room(options, weight)
    }

    /// Whether there would be room if there were nothing droppable.
    fn fits_kept(&self, options: &QueueOptions, weight: usize) -> bool {
        self.kept.load.leaves_room(options, weight)
    }

    fn is_half_empty(&self, options: &QueueOptions) -> bool {
        let load = self.load().plus(self.reserved);
        load.messages <= options.max_messages.get() / 2 && load.bytes <= options.max_bytes.get() / 2
    }

    /// The line with the item that came first.
    fn next_line(&mut self) -> &mut Line<T> {
        let kept_is_next = match (self.data.front_arrival(), self.kept.front_arrival()) {
            (Some(data), Some(kept)) => kept < data,
            (data, _) => data.is_none(),
        };
        if kept_is_next {
            &mut self.kept
        } else {
            &mut self.data
        }
    }

    /// Numbers only grow along the line.
    fn waiter(&self, number: u64) -> Option<usize> {
        self.waiters
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()
    }
}

struct Waiter {
    number: u64,
    weight: usize,
    waker: Option<Waker>,
}

/// What a queue holds, or has set aside, in both measures.
#[derive(Clone, Copy, Default)]
struct Load {
    messages: usize,
    bytes: usize,
}

impl Load {
    const fn add(&mut self, weight: usize) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(weight);
    }

    const fn remove(&mut self, weight: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(weight);
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    /// Alone, an item always fits.
    const fn leaves_room(self, options: &QueueOptions, weight: usize) -> bool {
        self.messages < options.max_messages.get()
            && (self.messages == 0 || self.bytes.saturating_add(weight) <= options.max_bytes.get())
    }
}

struct Entry<T> {
    arrival: u64,
    weight: usize,
    item: T,
}

/// Items in order of arrival, with their load and the most there were since the line was empty.
struct Line<T> {
    entries: VecDeque<Entry<T>>,
    load: Load,
    peak: usize,
}

impl<T> Line<T> {
    const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            load: Load {
                messages: 0,
                bytes: 0,
            },
            peak: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn push(&mut self, entry: Entry<T>) {
        self.load.add(entry.weight);
        self.entries.push_back(entry);
        self.peak = self.peak.max(self.load.messages);
    }

    fn pop(&mut self) -> Option<Entry<T>> {
        let entry = self.entries.pop_front()?;
        self.load.remove(entry.weight);
        Some(entry)
    }

    fn pop_back(&mut self) -> Option<Entry<T>> {
        let entry = self.entries.pop_back()?;
        self.load.remove(entry.weight);
        Some(entry)
    }

    fn front_arrival(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.arrival)
    }

    fn front_weight(&self) -> Option<usize> {
        self.entries.front().map(|entry| entry.weight)
    }

    fn take(&mut self) -> VecDeque<Entry<T>> {
        mem::replace(self, Self::new()).entries
    }

    /// Halves the allocation of an empty line that was hardly used since it was empty last.
    fn shrink_after_burst(&mut self) {
        let capacity = self.entries.capacity();
        if capacity > SMALL_LINE && self.peak < capacity / 8 {
            self.entries.shrink_to(capacity / 2);
        }
        self.peak = 0;
    }
}

/// What was in a queue that is no more, and whom to tell.
pub(super) struct Leftovers<T> {
    data: VecDeque<Entry<T>>,
    kept: VecDeque<Entry<T>>,
    pub(super) wake: Few<Waker>,
}

impl<T> Leftovers<T> {
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.data.iter().chain(&self.kept).map(|entry| &entry.item)
    }
}

/// Mostly none or one: the first needs no allocation.
pub(super) struct Few<T> {
    first: Option<T>,
    more: Vec<T>,
}

impl<T> Few<T> {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, value: T) {
        if self.first.is_none() {
            self.first = Some(value);
        } else {
            self.more.push(value);
        }
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().chain(self.more)
    }
}

/// Lines of up to so many entries keep their allocation.
const SMALL_LINE: usize = 1024;
