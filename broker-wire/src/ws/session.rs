//! One client of the server, from its first message to its last: subscriptions, ack, data messages, errors, pings.
//!
//! ```text
//! client                         server
//!    | -- ["prefix", ..] --------> |   Subscribe, then subscribed()
//!    | <----------------- ack ---- |
//!    | -- data message ----------> |   Publish
//!    | <---------- data message -- |
//!    | <------------- error ------ |   for each message that is none; the client may go on
//! ```
//!
//! The rules are Zeek's (zeek-cluster 7.2 and 7.3) with two improvements: a client whose first message is bad is told so
//! and closed, where Zeek leaves it waiting; and any value may be published, where Zeek takes only events it knows.
//! The error texts begin with Zeek's, followed by which input it was (counted from 1 after the subscriptions, as C++
//! Broker counts) and what was wrong with it.
//!
//! The machine holds no socket and reads no clock. The driver hands it what was received and the time, and does
//! what [`Session::poll_action`] says. It must not hand over messages between [`Action::Subscribe`] and
//! [`Session::subscribed`]: those stay with the client until then (TCP holds them back), and are handled afterwards.
//!
//! **Invariant:** after [`Action::Close`] the machine is silent.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use broker_core::{Message, PublishError, Topic, json};
use bytes::Bytes;
use tokio::time::Instant;

use super::socket::Closing;
use super::text;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Subscribe to these prefixes for the client, then call [`Session::subscribed`].
    Subscribe(BTreeSet<Topic>),
    /// Publish in the client's name; call [`Session::publish_failed`] if that fails.
    Publish(Message),
    /// Send a text.
    Reply(String),
    /// Send a ping.
    Ping(Bytes),
    /// Close the connection.
    Close(Closing),
}

/// Why a client is refused before it has said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not the path of the API.
    Uri,
    /// An `X-Application-Name` with characters it may not have.
    ApplicationName,
}

impl Refusal {
    const fn code(self) -> &'static str {
        match self {
            Self::Uri => "invalid_uri",
            Self::ApplicationName => "invalid_application_name",
        }
    }

    const fn context(self) -> &'static str {
        match self {
            Self::Uri => "Invalid URI - use /v1/messages/json",
            Self::ApplicationName => "Invalid X-Application-Name",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said yet.
    Fresh,
    /// The subscriptions are on their way.
    Subscribing,
    /// Acknowledged.
    Ready,
    /// The node shuts down: the client still gets what is queued for it, and is not heard any more.
    Draining,
    Closed,
}

/// The state of one client.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    /// What the ack calls this client.
    endpoint: String,
    version: &'static str,
    /// Messages after the subscriptions.
    inputs: u64,
    ping_interval: Duration,
    next_ping: Instant,
    pings: u64,
    /// Whether anything was heard since the last ping.
    heard: bool,
    actions: VecDeque<Action>,
}

impl Session {
    /// A client that has just connected; the first ping is due at once.
    pub(crate) fn new(
        now: Instant,
        endpoint: String,
        version: &'static str,
        ping_interval: Duration,
    ) -> Self {
        Self {
            state: State::Fresh,
            endpoint,
            version,
            inputs: 0,
            ping_interval,
            next_ping: now,
            pings: 0,
            heard: true,
            actions: VecDeque::new(),
        }
    }

    /// Tells the client why it is not served, and closes.
    pub(crate) fn refuse(&mut self, why: Refusal) {
        self.reply(text::error(why.code(), why.context()));
        self.close(1008, why.context());
    }

    /// The client sent something, whatever it is.
    pub(crate) const fn heard(&mut self) {
        self.heard = true;
    }

    /// The client sent a message, text or binary.
    pub(crate) fn handle_message(&mut self, message: &[u8]) {
        match self.state {
            State::Fresh => match text::parse_subscriptions(message) {
                Ok(prefixes) => {
                    self.state = State::Subscribing;
                    self.actions.push_back(Action::Subscribe(prefixes));
                }
                Err(bad) => {
                    let context = bad.to_string();
                    self.reply(text::error(MALFORMED, &context));
                    self.close(1008, &context);
                }
            },
            State::Ready => {
                self.inputs += 1;
                match read_message(message) {
                    Ok(message) => self.actions.push_back(Action::Publish(message)),
                    Err(bad) => self.complain(MALFORMED, bad),
                }
            }
            State::Subscribing | State::Draining | State::Closed => {}
        }
    }

    /// The subscriptions are in place.
    pub(crate) fn subscribed(&mut self) {
        if self.state == State::Subscribing {
            self.state = State::Ready;
            self.reply(text::ack(&self.endpoint, self.version));
        }
    }

    /// A message could not be published.
    pub(crate) fn publish_failed(&mut self, error: &PublishError) {
        match error {
            PublishError::ShuttingDown => self.drain(),
            error => self.complain("broker_error", format!("failed to publish: {error}")),
        }
    }

    /// The node has begun to shut down. A client that has subscribed is still fed until [`stop`](Self::stop).
    pub(crate) fn drain(&mut self) {
        match self.state {
            State::Ready => self.state = State::Draining,
            State::Fresh | State::Subscribing => self.stop(),
            State::Draining | State::Closed => {}
        }
    }

    /// The node shuts down, and everything was sent.
    pub(crate) fn stop(&mut self) {
        self.close(1001, "Terminating");
    }

    /// The client reads so slowly that it has lost messages.
    pub(crate) fn lost_messages(&mut self, count: u64) {
        self.close(
            1008,
            &format!(
                "Too slow: {count} message{} lost",
                if count == 1 { "" } else { "s" }
            ),
        );
    }

    /// The client makes us answer and does not read.
    pub(crate) fn lost_reader(&mut self) {
        self.close(1008, "Answers are not read");
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        (self.state != State::Closed).then_some(self.next_ping)
    }

    /// Time has passed, and all that was received has been handed over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Closed || now < self.next_ping {
            return;
        }
        if !self.heard {
            return self.close(1011, "Ping timeout");
        }
        self.heard = false;
        self.next_ping = now + self.ping_interval;
        let payload = format!("broker::heartbeat::{}", self.pings);
        self.pings += 1;
        self.actions.push_back(Action::Ping(payload.into()));
    }

    /// What to do next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn complain(&mut self, code: &str, what: String) {
        if self.state != State::Closed {
            let context = format!("{what} (input #{})", self.inputs);
            self.reply(text::error(code, &context));
        }
    }

    fn reply(&mut self, text: String) {
        if self.state != State::Closed {
            self.actions.push_back(Action::Reply(text));
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.actions
                .push_back(Action::Close(Closing::new(code, reason)));
        }
    }
}

const MALFORMED: &str = "deserialization_failed";

fn read_message(text: &[u8]) -> Result<Message, String> {
    let undecodable =
        |reason: &dyn std::fmt::Display| format!("failed to decode JSON object: {reason}");
    let envelope = json::parse_envelope(text).map_err(|error| undecodable(&error))?;
    if envelope
        .message_type
        .is_some_and(|kind| kind != "data-message")
    {
        return Err(undecodable(&json::JsonError::NotADataMessage));
    }
    let topic = envelope
        .topic
        .ok_or_else(|| "no topic in top-level JSON object".to_owned())?;
    let topic = Topic::copy_from(&topic).map_err(|error| undecodable(&error))?;
    Ok(Message::new(topic, envelope.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::Data;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn fresh() -> (Session, Instant) {
        let now = Instant::now();
        (
            Session::new(now, "id-websocket-0".to_owned(), "1.0", INTERVAL),
            now,
        )
    }

    fn ready() -> (Session, Instant) {
        let (mut session, now) = fresh();
        session.handle_message(b"[]");
        assert_eq!(
            session.poll_action(),
            Some(Action::Subscribe(BTreeSet::new()))
        );
        session.subscribed();
        assert!(matches!(session.poll_action(), Some(Action::Reply(_))));
        (session, now)
    }

    fn actions(session: &mut Session) -> Vec<Action> {
        std::iter::from_fn(|| session.poll_action()).collect()
    }

    fn closing(code: u16, reason: &str) -> Action {
        Action::Close(Closing::new(code, reason))
    }

    #[test]
    fn a_client_is_acknowledged_once_its_subscriptions_are_in_place() {
        let (mut session, _) = fresh();
        session.handle_message(br#"["a","b"]"#);
        let prefixes = BTreeSet::from(["a", "b"].map(Topic::from_static));
        assert_eq!(actions(&mut session), [Action::Subscribe(prefixes)]);
        session.subscribed();
        let ack = r#"{"type":"ack","endpoint":"id-websocket-0","version":"1.0"}"#;
        assert_eq!(actions(&mut session), [Action::Reply(ack.to_owned())]);
    }

    #[test]
    fn a_bad_first_message_is_answered_and_ends_the_connection() {
        for (text, context) in [
            ("hello", "subscriptions not an array"),
            ("[1]", "individual subscription not a string"),
        ] {
            let (mut session, _) = fresh();
            session.handle_message(text.as_bytes());
            let error = format!(
                r#"{{"type":"error","code":"deserialization_failed","context":"{context}"}}"#
            );
            assert_eq!(
                actions(&mut session),
                [Action::Reply(error), closing(1008, context)]
            );
            session.handle_message(b"[]");
            session.stop();
            assert_eq!(actions(&mut session), []);
        }
    }

    #[test]
    fn a_refused_client_is_told_and_closed() {
        let (mut session, _) = fresh();
        session.refuse(Refusal::Uri);
        let error = r#"{"type":"error","code":"invalid_uri","context":"Invalid URI - use /v1/messages/json"}"#;
        assert_eq!(
            actions(&mut session),
            [
                Action::Reply(error.to_owned()),
                closing(1008, "Invalid URI - use /v1/messages/json")
            ]
        );
    }

    #[test]
    fn data_messages_are_published_whatever_else_they_say() {
        let (mut session, _) = ready();
        for text in [
            r#"{"type":"data-message","topic":"t","@data-type":"count","data":1}"#,
            r#"{"topic":"t","x":[],"@data-type":"count","data":1}"#,
        ] {
            session.handle_message(text.as_bytes());
            let message = Message::new(Topic::from_static("t"), Data::Count(1));
            assert_eq!(actions(&mut session), [Action::Publish(message)]);
        }
    }

    #[test]
    fn each_bad_message_is_answered_with_its_number_and_the_client_may_go_on() {
        let (mut session, _) = ready();
        for (number, (text, context)) in [
            ("{", "failed to decode JSON object: malformed JSON"),
            (r#"{"type":"x"}"#, "failed to decode JSON object: "),
            (r#"["again"]"#, "failed to decode JSON object: "),
            (
                r#"{"type":"x","topic":"t","@data-type":"none"}"#,
                "failed to decode JSON object: ",
            ),
            (
                r#"{"@data-type":"none"}"#,
                "no topic in top-level JSON object",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            session.handle_message(text.as_bytes());
            let [Action::Reply(error)] = &actions(&mut session)[..] else {
                panic!("not one reply to {text}")
            };
            let start =
                format!(r#"{{"type":"error","code":"deserialization_failed","context":"{context}"#);
            assert!(error.starts_with(&start[..start.len() - 1]), "{error}");
            assert!(
                error.contains(&format!("(input #{})", number + 1)),
                "{error}"
            );
        }
        session.handle_message(br#"{"topic":"t","@data-type":"none"}"#);
        assert!(matches!(session.poll_action(), Some(Action::Publish(_))));
    }

    #[test]
    fn a_client_that_is_silent_from_one_ping_to_the_next_is_closed() {
        let (mut session, now) = fresh();
        session.handle_timeout(now);
        assert!(matches!(&actions(&mut session)[..], [Action::Ping(_)]));
        session.heard();
        session.handle_timeout(now + INTERVAL);
        assert!(matches!(&actions(&mut session)[..], [Action::Ping(_)]));
        session.handle_timeout(now + 2 * INTERVAL - Duration::from_millis(1));
        assert_eq!(actions(&mut session), []);
        session.handle_timeout(now + 2 * INTERVAL);
        assert_eq!(actions(&mut session), [closing(1011, "Ping timeout")]);
        assert_eq!(session.next_timeout(), None);
    }

    #[test]
    fn what_cannot_be_published_is_told() {
        let (mut session, _) = ready();
        session.publish_failed(&PublishError::TooLarge { size: 1 });
        assert!(
            matches!(&actions(&mut session)[..], [Action::Reply(text)] if text.contains("broker_error"))
        );
        session.publish_failed(&PublishError::ShuttingDown);
        session.handle_message(br#"{"topic":"t","@data-type":"none"}"#);
        assert_eq!(actions(&mut session), []);
        session.stop();
        assert_eq!(actions(&mut session), [closing(1001, "Terminating")]);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_session_panic(
            first in prop_oneof![Just(b"[]".to_vec()), proptest::collection::vec(any::<u8>(), 0..64)],
            messages in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..200),
                    "\\{(\"(type|topic|@data-type|data)\":(\"(count|set|table|x)\"|[0-9]{1,25}|\\[|\\{|\\]|\\}),?){0,6}\\}?"
                        .prop_map(String::into_bytes),
                ],
                0..8,
            ),
        ) {
            let (mut session, now) = fresh();
            session.handle_message(&first);
            session.subscribed();
            for message in &messages {
                session.heard();
                session.handle_message(message);
                session.handle_timeout(now);
            }
            let all = actions(&mut session);
            let closes = all.iter().filter(|action| matches!(action, Action::Close(_))).count();
            prop_assert!(closes <= 1);
            prop_assert!(closes == 0 || matches!(all.last(), Some(Action::Close(_))));
        }
    }
}
