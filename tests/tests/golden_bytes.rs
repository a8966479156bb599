//! Every payload of every recording: it reads and writes back to the same bytes in each form there is, and each of its
//! beginnings is read or refused.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::HashMap;

use broker_cluster::log::{Column, serial};
use broker_core::zeek::{LogCreate, Message as ZeekMessage, MessageView};
use broker_core::{Data, DataView, Filter, FilterLimits, binary, json};
use broker_store::command::Command;
use broker_tests::golden::{Frame, Recording};

const RECORDINGS: [&str; 12] = [
    "data-types",
    "handshake-and-filters",
    "store-memory",
    "store-sqlite",
    "zeek-all-log-types",
    "zeek-announced-tables",
    "zeek-cluster-worker-logger",
    "zeek-cluster-worker-manager",
    "zeek-cluster-worker-proxy",
    "zeek-events-and-logs",
    "zeek-published-tables",
    "zeek-stores",
];

/// What a frame carries.
#[derive(Debug)]
enum Payload {
    Data(Vec<u8>),
    Command(Vec<u8>),
    Filter(Vec<u8>),
}

fn payloads(recording: &str) -> Vec<Payload> {
    let recording = Recording::load(recording);
    let payload = |recorded: &broker_tests::golden::Recorded| match &recorded.frame {
        Frame::Message(message) => match message.kind {
            1 => Some(Payload::Data(message.payload.clone())),
            2 => Some(Payload::Command(message.payload.clone())),
            3 => Some(Payload::Filter(message.payload.clone())),
            _ => None,
        },
        Frame::OriginatorSyn | Frame::ResponderSynAck => {
            Some(Payload::Filter(recorded.bytes[5..].to_vec()))
        }
        _ => None,
    };
    recording.frames().filter_map(payload).collect()
}

#[test]
fn recorded_values_read_and_write_back_in_every_form() {
    let (mut values, mut messages) = (0, 0);
    for bytes in RECORDINGS.iter().flat_map(|name| payloads(name)) {
        let Payload::Data(bytes) = bytes else {
            continue;
        };
        let data = Data::decode(&bytes).unwrap();
        assert_eq!(data.to_bytes(), bytes);
        let view = DataView::parse(&bytes).unwrap();
        assert_eq!(view.to_data().as_ref(), Ok(&data));
        assert_eq!(
            json::parse_value(json::to_string(&data).as_bytes()),
            Ok(data.clone())
        );
        values += 1;
        let Ok(message) = ZeekMessage::from_data(&data) else {
            continue;
        };
        assert_eq!(ZeekMessage::from_view(view).as_ref(), Ok(&message));
        assert_eq!(message.into_data().to_bytes(), bytes);
        messages += 1;
    }
    assert_eq!((values, messages), (144, 99));
}

#[test]
fn recorded_commands_read_and_write_back() {
    let mut commands = 0;
    for bytes in RECORDINGS.iter().flat_map(|name| payloads(name)) {
        let Payload::Command(bytes) = bytes else {
            continue;
        };
        assert_eq!(Command::decode(&bytes).unwrap().encode(), bytes);
        assert_eq!(binary::check_command(&bytes), Ok(()));
        commands += 1;
    }
    assert_eq!(commands, 600);
}

#[test]
fn recorded_filters_read_and_write_back() {
    let mut filters = 0;
    for bytes in RECORDINGS.iter().flat_map(|name| payloads(name)) {
        let Payload::Filter(bytes) = bytes else {
            continue;
        };
        let filter = Filter::decode(&bytes, FilterLimits::default()).unwrap();
        assert_eq!(filter.to_bytes(), bytes);
        filters += 1;
    }
    assert_eq!(filters, 31);
}

#[test]
fn recorded_log_records_read_and_write_back_by_their_columns() {
    let mut records = 0;
    for name in RECORDINGS {
        let mut columns: HashMap<Vec<u8>, Vec<Column>> = HashMap::new();
        for payload in payloads(name) {
            let Payload::Data(bytes) = payload else {
                continue;
            };
            match ZeekMessage::from_data(&Data::decode(&bytes).unwrap()) {
                Ok(ZeekMessage::LogCreate(create)) => {
                    columns.insert(create.stream.to_vec(), columns_of(&create));
                }
                Ok(ZeekMessage::Batch(batch)) => {
                    for message in batch {
                        let ZeekMessage::LogWrite(write) = message else {
                            panic!("{message:?}")
                        };
                        let columns = &columns[write.stream.as_slice()];
                        let bytes = write.record.as_slice();
                        let record = serial::decode(bytes, columns).unwrap();
                        let mut again = Vec::new();
                        serial::encode(&record, columns, &mut again).unwrap();
                        assert_eq!(again, bytes);
                        for end in 0..bytes.len() {
                            assert!(serial::decode(&bytes[..end], columns).is_err());
                            assert!(serial::decode_untyped(&bytes[..end]).is_err());
                        }
                        records += 1;
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(records, 43);
}

fn columns_of(create: &LogCreate) -> Vec<Column> {
    let fields = create.fields.iter();
    let columns = fields.map(|field| {
        let name = std::str::from_utf8(field.name.as_slice()).unwrap();
        Column::from_wire(name, field.type_tag, field.subtype, field.optional).unwrap()
    });
    columns.collect()
}

/// A value, a command and a list end where they end, so no beginning of one is one.
#[test]
fn no_beginning_of_a_recorded_payload_is_one() {
    for payload in RECORDINGS.iter().flat_map(|name| payloads(name)) {
        let (Payload::Data(bytes) | Payload::Command(bytes) | Payload::Filter(bytes)) = &payload;
        for end in 0..bytes.len() {
            let cut = &bytes[..end];
            let data = Data::decode(cut);
            assert_eq!(DataView::parse(cut).is_ok(), data.is_ok());
            if let Ok(view) = DataView::parse(cut) {
                let _ = MessageView::parse(view);
            }
            let command = Command::decode(cut);
            assert_eq!(binary::check_command(cut).is_ok(), command.is_ok());
            let filter = Filter::decode(cut, FilterLimits::default());
            match &payload {
                Payload::Data(_) => assert!(data.is_err()),
                Payload::Command(_) => assert!(command.is_err()),
                Payload::Filter(_) => assert!(filter.is_err()),
            }
        }
    }
}
