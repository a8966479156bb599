//! JSON v1: the reader against both writers.

use broker_core::json::{self, JsonError, Style};

/// A text: all readers agree on it, and what was read is the same when written exactly and read again.
pub fn json(text: &[u8]) {
    let value = json::parse_value(text);
    let deep = json::parse_deep_value(text);
    if let Err(error) = &value {
        let _ = (error.to_string(), error.code());
    }
    match (&value, &deep) {
        (Ok(value), Ok(deep)) => assert_eq!(value, deep),
        (Err(_), Err(_)) | (Err(JsonError::TooDeep { .. }), Ok(_)) => {}
        (value, deep) => panic!("{value:?} and {deep:?}"),
    }
    let Ok(data) = deep else { return };
    let written = json::to_string(&data);
    assert_eq!(
        json::parse_deep_value(written.as_bytes()).as_ref(),
        Ok(&data)
    );
    let mut as_broker = Vec::new();
    json::write_value(&data, Style::Broker, &mut as_broker);
    let _ = json::parse_deep_value(&as_broker);
    message(text);
}

fn message(text: &[u8]) {
    let envelope = json::parse_envelope(text);
    let message = json::parse_message(text);
    let Ok((topic, data)) = message else { return };
    assert_eq!(
        envelope.map(|envelope| envelope.data).as_ref(),
        Ok(&data),
        "a message is an envelope"
    );
    let mut written = Vec::new();
    json::write_message(&topic, &data, Style::Exact, &mut written);
    match json::parse_message(&written) {
        // The writer spells out what may be left out of a none, which takes a level.
        Err(JsonError::TooDeep { .. }) => {}
        again => assert_eq!(again, Ok((topic, data))),
    }
}
