//! Events on their way out: given by name and arguments, prepared once for many publications, and checked against what
//! was declared.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use broker_core::convert::{ArgsError, FromArgs, ToArgs};
use broker_core::zeek::Event;
use broker_core::{ByteString, Message, Topic};
use bytes::Bytes;

/// What can be published: an [`Event`], a name with a tuple of arguments, or a [`PreparedEvent`].
///
/// ```
/// use broker_cluster::Outgoing;
///
/// let outgoing = Outgoing::from(("Mod::seen", ("192.0.2.7", 5u64)));
/// assert_eq!(outgoing.event().args.len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Outgoing(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Event(Event),
    Prepared(PreparedEvent),
}

impl Outgoing {
    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        match &self.0 {
            Inner::Event(event) => event,
            Inner::Prepared(prepared) => prepared.event(),
        }
    }

    pub(crate) const fn is_prepared(&self) -> bool {
        matches!(self.0, Inner::Prepared(_))
    }

    /// The event itself.
    #[must_use]
    pub fn into_event(self) -> Event {
        match self.0 {
            Inner::Event(event) => event,
            Inner::Prepared(prepared) => Arc::unwrap_or_clone(prepared.event),
        }
    }

    /// The message that carries it on a topic.
    pub(crate) fn into_message(self, topic: Topic) -> Message {
        match self.0 {
            Inner::Event(event) => Message::new(topic, event),
            Inner::Prepared(prepared) => Message::from_encoded(topic, prepared.payload),
        }
    }
}

impl From<Event> for Outgoing {
    fn from(event: Event) -> Self {
        Self(Inner::Event(event))
    }
}

impl From<PreparedEvent> for Outgoing {
    fn from(prepared: PreparedEvent) -> Self {
        Self(Inner::Prepared(prepared))
    }
}

impl From<&PreparedEvent> for Outgoing {
    fn from(prepared: &PreparedEvent) -> Self {
        prepared.clone().into()
    }
}

impl<A: ToArgs> From<(&str, A)> for Outgoing {
    fn from((name, args): (&str, A)) -> Self {
        Event::new(name, args.to_args()).into()
    }
}

/// An event that is encoded once and can be published any number of times, as Zeek's `make_event` gives it.
/// [`ClusterNode::prepare`](crate::ClusterNode::prepare) checks it against its declaration. Cloning shares all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedEvent {
    event: Arc<Event>,
    payload: Bytes,
}

impl PreparedEvent {
    /// Encodes an event.
    #[must_use]
    pub fn new(event: Event) -> Self {
        let payload = event.to_data().to_bytes();
        Self {
            event: Arc::new(event),
            payload,
        }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// The arguments of an event are not those it was declared with; the words are Zeek's (zeek-cluster reference, 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndeclaredArguments {
    /// The event.
    pub name: String,
    /// The types it was declared with.
    pub declared: Vec<Cow<'static, str>>,
    /// What does not fit.
    pub error: ArgsError,
}

impl std::fmt::Display for UndeclaredArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error {
            ArgsError::Count { got, expected } => write!(
                f,
                "bad number of arguments for event {}: got {got}, expected {expected}",
                self.name
            )?,
            ArgsError::Argument { number, error } => write!(
                f,
                "event parameter #{number} type mismatch for event {}: {error}",
                self.name
            )?,
        }
        write!(f, " ({})", self.declared.join(", "))
    }
}

impl std::error::Error for UndeclaredArguments {}

/// The types of events, for those that were declared.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    events: RwLock<HashMap<ByteString, Declaration>>,
}

#[derive(Clone, Copy, Debug)]
struct Declaration {
    check: fn(&[broker_core::Data]) -> Result<(), ArgsError>,
    types: fn() -> Vec<Cow<'static, str>>,
}

impl Declarations {
    /// Declares the arguments of an event; the last declaration counts.
    pub(crate) fn declare<A: FromArgs>(&self, name: ByteString) {
        let declaration = Declaration {
            check: |args| A::from_args(args).map(drop),
            types: A::type_names,
        };
        self.events
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, declaration);
    }

    /// Checks an event; one that was not declared is as it should be.
    pub(crate) fn check(&self, event: &Event) -> Result<(), Box<UndeclaredArguments>> {
        let declaration = {
            let events = self.events.read().unwrap_or_else(PoisonError::into_inner);
            events.get(&event.name).copied()
        };
        let Some(declaration) = declaration else {
            return Ok(());
        };
        (declaration.check)(&event.args).map_err(|error| {
            Box::new(UndeclaredArguments {
                name: event.name.to_str_lossy().into_owned(),
                declared: (declaration.types)(),
                error,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_declared_is_checked_in_zeek_s_words_and_nothing_else() {
        let declarations = Declarations::default();
        declarations.declare::<(String, u64)>("Mod::seen".into());
        let error = |event: Event| declarations.check(&event).unwrap_err().to_string();
        let event = |args: &[broker_core::Data]| Event::new("Mod::seen", args.to_vec());
        assert_eq!(
            error(event(&["a".into()])),
            "bad number of arguments for event Mod::seen: got 1, expected 2 (string, count)"
        );
        assert_eq!(
            error(event(&["a".into(), 1i64.into()])),
            "event parameter #2 type mismatch for event Mod::seen: got int, expected count (string, count)"
        );
        assert_eq!(
            declarations.check(&event(&["a".into(), 1u64.into()])),
            Ok(())
        );
        assert_eq!(
            declarations.check(&Event::new("Mod::other", vec![])),
            Ok(())
        );
    }

    #[test]
    fn a_prepared_event_travels_as_the_event_would() {
        let event = Event::new("Mod::seen", ("a", 1u64).to_args());
        let prepared = PreparedEvent::new(event.clone());
        let topic = Topic::from_static("t");
        let (first, second) = (Outgoing::from(&prepared), Outgoing::from(prepared));
        assert_eq!(first.event(), &event);
        assert_eq!(
            first.into_message(topic.clone()),
            Outgoing::from(event.clone()).into_message(topic.clone())
        );
        assert_eq!(second.into_event(), event);
        assert_eq!(
            Outgoing::from(("Mod::seen", ("a", 1u64))).into_message(topic.clone()),
            Message::new(topic, event)
        );
    }
}
