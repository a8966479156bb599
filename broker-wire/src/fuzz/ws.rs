//! `ws://`: a client's dialogue with the server, the texts of both sides, addresses.

use std::time::Duration;

use broker_core::{Data, EndpointId, Filter, Message, PeerUrl, PublishError, json, topic};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::ws::session::{Action, Session};
use crate::ws::target::Target;
use crate::ws::text;

/// What a client sends, a message a line; behind each, time passes. Every text for the client is JSON that it can read,
/// what it publishes comes out as it went in, and behind a close there is silence.
pub fn session(bytes: &[u8]) {
    let interval = Duration::from_secs(10);
    let mut now = Instant::now();
    let id = EndpointId::from_bytes([7; 16]).to_string();
    let mut session = Session::new(now, id, "2.8.0", interval);
    let (mut subscribed, mut closed) = (false, false);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let _ = text::parse_control(line);
        if at % 4 < 3 {
            session.heard();
        }
        session.handle_message(line);
        while let Some(action) = session.poll_action() {
            assert!(!closed, "{action:?} behind the end");
            match action {
                Action::Subscribe(prefixes) => {
                    assert!(!subscribed, "subscribed twice");
                    subscribed = true;
                    let filter: Filter = prefixes.into_iter().collect();
                    let again = text::parse_subscriptions(text::subscriptions(&filter).as_bytes());
                    assert_eq!(again.map(Filter::from_iter), Ok(filter));
                    session.subscribed();
                }
                Action::Publish(message) => {
                    assert!(subscribed, "published before it was subscribed");
                    published(&message);
                    if at % 5 == 4 {
                        session.publish_failed(&PublishError::Reserved {
                            topic: topic::reserved::CONTROL,
                        });
                    }
                }
                Action::Reply(text) => {
                    assert!(text::parse_control(text.as_bytes()).is_some(), "{text}");
                }
                Action::Ping(payload) => assert!(payload.len() <= 125),
                Action::Close(closing) => {
                    assert!((1000..1015).contains(&closing.code));
                    closed = true;
                }
            }
        }
        assert_eq!(session.next_timeout().is_none(), closed);
        if let Some(due) = session.next_timeout() {
            now = due.max(now);
            session.handle_timeout(now);
        }
    }
}

fn published(message: &Message) {
    // A set of numbers that are one in the binary format does not come through it.
    let (Ok(view), Ok(data)) = (message.view(), Data::decode(message.encoded())) else {
        return;
    };
    let shown = text::for_client(message).expect("it is a value");
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&shown) {
        let too_deep = error.to_string().contains("recursion limit");
        assert!(too_deep, "{error}: {shown}");
    }
    let sent = text::for_server(message.topic(), &view);
    match json::parse_envelope(sent.as_bytes()) {
        Ok(envelope) => {
            assert_eq!(envelope.topic.as_deref(), Some(message.topic().as_bytes()));
            assert_eq!(envelope.data, data);
        }
        Err(json::JsonError::TooDeep { .. }) => {}
        Err(error) => panic!("{error}: {sent}"),
    }
}

/// An address: its path and query are read, or something is wrong with them.
pub fn ws_target(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let Ok(url) = text.parse::<PeerUrl>() else {
        return;
    };
    if let Ok(target) = Target::of(&url) {
        assert!(target.path.is_ascii() && !target.path.contains([' ', '#']));
    }
}
