//! JSON v1 against texts recorded from Zeek's WebSocket server.

use broker_core::json::{self, Style};
use broker_core::zeek::{Event, Message};
use broker_core::{Data, DataView};

#[test]
fn messages_recorded_from_zeek_are_read_and_written_byte_for_byte() {
    let mut names = Vec::new();
    for line in include_str!("golden/zeek-websocket.jsonl").lines() {
        let (topic, data) = json::parse_message(line.as_bytes()).unwrap();
        let mut out = Vec::new();
        json::write_message(&topic, &data, Style::Broker, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), line);
        let mut out = Vec::new();
        json::write_view_message(
            &topic,
            &DataView::parse(&data.to_bytes()).unwrap(),
            Style::Broker,
            &mut out,
        );
        assert_eq!(String::from_utf8(out).unwrap(), line);
        let Ok(Message::Event(Event { name, .. })) = Message::from_data(&data) else {
            panic!("{data:?} is no event");
        };
        names.push(name);
    }
    assert_eq!(names, ["pong", "Golden::all_types"]);
}

#[test]
fn values_recorded_from_broker_survive_the_exact_writing() {
    for line in include_str!("golden/data-types.hex")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let hex = line.split(' ').next().unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        let data = Data::decode(&bytes).unwrap();
        assert_eq!(
            json::parse_value(json::to_string(&data).as_bytes()),
            Ok(data)
        );
    }
}
