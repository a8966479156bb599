//! Events by topic and name, and how large they are: the figures behind Zeek's metrics VERBOSE and DEBUG (zeek-cluster
//! reference, 2.7).
//!
//! Topics and names come from peers and clients, so what is told apart has bounds: [`EventMeter::MAX_PAIRS`] pairs of them in
//! each direction, of [`EventMeter::MAX_LABEL`] bytes each. Whatever is beyond counts as [`EventMeter::OTHER`], as does an
//! event whose name cannot be read, so that the sum is always what has passed.
//!
//! Cost of one event: the name read in place, one read lock, two look-ups by bytes and two additions; the first event of a
//! pair takes the write lock. Nobody who has no meter pays anything.
//!
//! **Invariant:** the rows of a direction are at most [`EventMeter::MAX_PAIRS`], and one more for each scope.

mod labels;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use self::labels::TopicLabels;
use crate::message::Message;
use crate::topic::Escaped;
use crate::view::DataView;
use crate::zeek::{MessageType, MessageView, peek_event_name};

/// Which way an event went, as Zeek sees it: out to the cluster, or in from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventDirection {
    /// It came from the cluster.
    Incoming,
    /// It was published to the cluster.
    Outgoing,
}

/// Counts events by topic and name. Cloning gives another handle to the same figures.
#[derive(Clone, Debug)]
pub struct EventMeter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    labels: TopicLabels,
    scopes: Mutex<BTreeMap<String, Arc<Sides>>>,
    /// Pairs told apart so far, by direction.
    pairs: [AtomicUsize; 2],
}

/// The part of an [`EventMeter`] that one source of events counts in. Cloning gives another handle to it.
#[derive(Clone, Debug)]
pub struct EventScope {
    meter: Arc<Inner>,
    sides: Arc<Sides>,
}

/// The rows of one scope, by direction.
type Sides = [Side; 2];

#[derive(Debug, Default)]
struct Side {
    rows: RwLock<HashMap<Box<[u8]>, Names>>,
    other: Row,
}

/// The rows of one topic.
type Names = HashMap<Box<[u8]>, Arc<Row>>;

#[derive(Debug, Default)]
struct Row {
    buckets: [AtomicU64; EventSizes::BUCKETS],
    sum: AtomicU64,
}

/// How many events there were, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSizes {
    /// How many are at most as large as each of [`BOUNDS`](Self::BOUNDS) and larger than the one before, and at the end
    /// those that are larger than all.
    pub buckets: [u64; Self::BUCKETS],
    /// Bytes of all of them.
    pub sum: u64,
}

impl EventSizes {
    /// Bytes up to which an event belongs to each bucket but the last, as in Zeek.
    pub const BOUNDS: [u64; 8] = [10, 50, 100, 500, 1000, 5000, 10_000, 50_000];
    const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// How many events there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// These and those of `other`.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, more) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += more;
        }
        self.sum += other.sum;
        self
    }
}

/// The figures of one pair of topic and name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventFigures {
    /// The scope they were counted in.
    pub scope: String,
    /// Which way they went.
    pub direction: EventDirection,
    /// The topic, as [`TopicLabels`] has it; what is no printable text escaped.
    pub topic: String,
    /// The name of the event; what is no printable text escaped.
    pub handler: String,
    /// How many, and how large: the encoded event without its topic.
    pub sizes: EventSizes,
}

impl EventMeter {
    /// Pairs of topic and name that are told apart in each direction, over all scopes.
    pub const MAX_PAIRS: usize = 1024;
    /// Bytes of a topic or name that is told apart.
    pub const MAX_LABEL: usize = 256;
    /// Topic and name of what is not told apart.
    pub const OTHER: &str = "other";

    /// A meter without figures.
    #[must_use]
    pub fn new(labels: TopicLabels) -> Self {
        Self {
            inner: Arc::new(Inner {
                labels,
                scopes: Mutex::default(),
                pairs: Default::default(),
            }),
        }
    }

    /// The part of it that is called `name`. Parts are kept; to bound how many there are is for whoever names them.
    #[must_use]
    pub fn scope(&self, name: &str) -> EventScope {
        let mut scopes = self
            .inner
            .scopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let sides = match scopes.get(name) {
            Some(sides) => sides,
            None => scopes.entry(name.to_owned()).or_default(),
        };
        EventScope {
            meter: Arc::clone(&self.inner),
            sides: Arc::clone(sides),
        }
    }

    /// The figures of this moment, pairs that nothing was counted for left out.
    #[must_use]
    pub fn read(&self) -> Vec<EventFigures> {
        let scopes = self
            .inner
            .scopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut figures = Vec::new();
        for (scope, sides) in &scopes {
            for direction in [EventDirection::Incoming, EventDirection::Outgoing] {
                let side = &sides[direction as usize];
                let mut push = |topic: String, handler: String, row: &Row| {
                    let sizes = row.sizes();
                    if sizes.count() > 0 {
                        figures.push(EventFigures {
                            scope: scope.clone(),
                            direction,
                            topic,
                            handler,
                            sizes,
                        });
                    }
                };
                push(Self::OTHER.into(), Self::OTHER.into(), &side.other);
                let rows = side.rows.read().unwrap_or_else(PoisonError::into_inner);
                for (topic, rows) in rows.iter() {
                    for (name, row) in rows {
                        push(Escaped(topic).to_string(), Escaped(name).to_string(), row);
                    }
                }
            }
        }
        figures
    }
}

impl EventScope {
    /// Counts the events that `message` holds: one, those of a batch, or none.
    pub fn count(&self, direction: EventDirection, message: &Message) {
        self.count_payload(direction, message.topic().as_bytes(), message.encoded());
    }

    pub(crate) fn count_payload(&self, direction: EventDirection, topic: &[u8], payload: &[u8]) {
        let kind = MessageType::peek(payload);
        if !matches!(kind, Some(MessageType::Event | MessageType::Batch)) {
            return;
        }
        let Some(topic) = self.meter.labels.of(topic) else {
            return;
        };
        if kind == Some(MessageType::Event) {
            self.add(direction, topic, peek_event_name(payload), payload.len());
        } else if let Ok(view) = DataView::parse(payload)
            // Looks at what is inside, too, and how deep it nests.
            && MessageView::parse(view).is_ok()
        {
            self.count_batch(direction, topic, view);
        }
    }

    /// Counts what is in a batch that was found to be sound.
    fn count_batch(&self, direction: EventDirection, topic: &[u8], batch: DataView<'_>) {
        let content = batch.as_vector().and_then(|mut fields| fields.nth(2));
        for inner in content
            .and_then(|content| content.as_vector())
            .into_iter()
            .flatten()
        {
            let payload = inner.encoded();
            match MessageType::peek(payload) {
                Some(MessageType::Event) => {
                    self.add(direction, topic, peek_event_name(payload), payload.len());
                }
                Some(MessageType::Batch) => self.count_batch(direction, topic, inner),
                _ => {}
            }
        }
    }

    fn add(&self, direction: EventDirection, topic: &[u8], name: Option<&[u8]>, size: usize) {
        let side = &self.sides[direction as usize];
        let fits = |text: &&[u8]| text.len() <= EventMeter::MAX_LABEL;
        let (Some(topic), Some(name)) = (Some(topic).filter(fits), name.filter(fits)) else {
            return side.other.add(size);
        };
        let known = side.rows.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = known.get(topic).and_then(|rows| rows.get(name)) {
            return row.add(size);
        }
        drop(known);
        match self.new_row(direction, topic, name) {
            Some(row) => row.add(size),
            None => side.other.add(size),
        }
    }

    /// The row of a pair that had none just now; `None`: there are as many as there may be.
    fn new_row(&self, direction: EventDirection, topic: &[u8], name: &[u8]) -> Option<Arc<Row>> {
        let pairs = &self.meter.pairs[direction as usize];
        // Once it is full it stays so, and whoever sends new names all the time finds no lock to hold.
        if pairs.load(Ordering::Relaxed) >= EventMeter::MAX_PAIRS {
            return None;
        }
        let mut rows = self.sides[direction as usize]
            .rows
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get(topic).and_then(|rows| rows.get(name)) {
            return Some(Arc::clone(row));
        }
        // Other scopes count in it, too, so that looking and adding have to be one.
        pairs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |pairs| {
                (pairs < EventMeter::MAX_PAIRS).then_some(pairs + 1)
            })
            .ok()?;
        let row = Arc::new(Row::default());
        rows.entry(topic.into())
            .or_default()
            .insert(name.into(), Arc::clone(&row));
        Some(row)
    }
}

impl Row {
    fn add(&self, size: usize) {
        let size = size as u64;
        let bucket = EventSizes::BOUNDS.partition_point(|bound| *bound < size);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    fn sizes(&self) -> EventSizes {
        EventSizes {
            buckets: self
                .buckets
                .each_ref()
                .map(|bucket| bucket.load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EventDirection::{Incoming, Outgoing};
    use super::*;
    use crate::data::Data;
    use crate::topic::Topic;
    use crate::zeek::{self, Event};

    fn message(topic: &str, value: impl Into<zeek::Message>) -> Message {
        let topic = Topic::try_from(topic).unwrap();
        Message::new(topic, value.into().into_data())
    }

    fn event(topic: &str, name: &str) -> Message {
        message(topic, Event::new(name, vec![]))
    }

    fn counts(meter: &EventMeter, direction: EventDirection) -> Vec<(String, String, u64)> {
        let mut counts: Vec<_> = meter
            .read()
            .into_iter()
            .filter(|figures| figures.direction == direction)
            .map(|figures| (figures.topic, figures.handler, figures.sizes.count()))
            .collect();
        counts.sort();
        counts
    }

    fn row(topic: &str, handler: &str, count: u64) -> (String, String, u64) {
        (topic.to_owned(), handler.to_owned(), count)
    }

    #[test]
    fn events_count_by_topic_name_and_direction_and_those_of_a_batch_one_by_one() {
        let meter = EventMeter::new(TopicLabels::default().with("quiet/", ""));
        let scope = meter.scope("");
        scope.count(Outgoing, &event("a", "E::x"));
        scope.count(Incoming, &event("a", "E::x"));
        let inner = || zeek::Message::from(Event::new("E::x", vec![Data::from(7_u64)]));
        let batch = zeek::Message::Batch(vec![inner(), zeek::Message::Batch(vec![inner()])]);
        scope.count(Incoming, &message("a", batch));
        scope.count(Incoming, &event("a", "E::y"));
        scope.count(Incoming, &event("zeek/cluster/nodeid/17/", "E::x"));
        scope.count(Incoming, &event("quiet/a", "E::x"));
        scope.count(
            Incoming,
            &Message::new(Topic::from_static("a"), Data::from(7_u64)),
        );
        assert_eq!(counts(&meter, Outgoing), [row("a", "E::x", 1)]);
        let expected = [
            row("a", "E::x", 3),
            row("a", "E::y", 1),
            row("zeek/cluster/nodeid/__normalized__", "E::x", 1),
        ];
        assert_eq!(counts(&meter, Incoming), expected);
        // The size of an event of a batch is its own.
        let own = |message: zeek::Message| message.into_data().to_bytes().len() as u64;
        let x = meter.read().into_iter().find(|figures| {
            (figures.direction, &*figures.topic, &*figures.handler) == (Incoming, "a", "E::x")
        });
        let sum = own(Event::new("E::x", vec![]).into()) + 2 * own(inner());
        assert_eq!(x.map(|figures| figures.sizes.sum), Some(sum));
    }

    #[test]
    fn a_size_belongs_to_the_first_bucket_that_it_does_not_exceed() {
        let row = Row::default();
        for size in [0, 10, 11, 50, 51, 50_000, 50_001, 1 << 30] {
            row.add(size);
        }
        let sizes = row.sizes();
        assert_eq!(sizes.buckets, [2, 2, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!(sizes.count(), 8);
        assert_eq!(sizes.plus(&sizes).sum, 2 * sizes.sum);
    }

    #[test]
    fn what_is_beyond_the_bounds_counts_as_other_and_nothing_is_lost() {
        let meter = EventMeter::new(TopicLabels::default());
        let (one, two) = (meter.scope("one"), meter.scope("two"));
        let long = "x".repeat(EventMeter::MAX_LABEL + 1);
        one.count(Incoming, &event(&long, "E::x"));
        one.count(Incoming, &event("a", &long));
        for n in 0..EventMeter::MAX_PAIRS {
            let scope = if n % 2 == 0 { &one } else { &two };
            scope.count(Incoming, &event("a", &format!("E::{n}")));
            scope.count(Incoming, &event("a", &format!("F::{n}")));
        }
        // Known ones go on, and the other direction has room of its own.
        one.count(Incoming, &event("a", "E::0"));
        one.count(Outgoing, &event("a", "E::late"));
        let figures = meter.read();
        let of = |direction| {
            let figures = figures.iter().filter(move |one| one.direction == direction);
            figures.clone().map(|one| one.sizes.count()).sum::<u64>()
        };
        assert_eq!(of(Incoming), 2 * EventMeter::MAX_PAIRS as u64 + 3);
        assert_eq!(of(Outgoing), 1);
        let incoming = counts(&meter, Incoming);
        assert_eq!(incoming.len(), EventMeter::MAX_PAIRS + 2);
        assert!(incoming.contains(&row("a", "E::0", 2)));
        let other: u64 = incoming
            .iter()
            .filter(|(topic, ..)| topic == EventMeter::OTHER)
            .map(|(.., count)| count)
            .sum();
        assert_eq!(other, EventMeter::MAX_PAIRS as u64 + 2);
    }

    #[test]
    fn bytes_that_are_no_event_count_for_nothing_and_broken_ones_for_what_is_read_of_them() {
        let whole = Event::new("E::x", vec![Data::from(7_u64)])
            .to_data()
            .to_bytes();
        let meter = EventMeter::new(TopicLabels::default());
        let scope = meter.scope("");
        for end in 0..=whole.len() {
            scope.count_payload(Incoming, b"\xff\n", &whole[..end]);
        }
        let batch = zeek::Message::Batch(vec![Event::new("E::x", vec![]).into()]);
        let batch = batch.into_data().to_bytes();
        for end in 0..batch.len() {
            scope.count_payload(Incoming, b"b", &batch[..end]);
        }
        let head = 2 + 9 + 9;
        let name = 2 + 2 + 4;
        let expected = [
            row("\\xff\\n", "E::x", (whole.len() - head - name + 1) as u64),
            row(EventMeter::OTHER, EventMeter::OTHER, name as u64),
        ];
        assert_eq!(counts(&meter, Incoming), expected);
    }
}
