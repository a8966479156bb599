//! Recorded sessions between C++ nodes, for tests: the command frames of a file in `tests/golden`.

use broker_core::EndpointId;
use bytes::Bytes;

pub(crate) const STORE_MEMORY: &str = include_str!("../tests/golden/store-memory.jsonl");
pub(crate) const STORE_SQLITE: &str = include_str!("../tests/golden/store-sqlite.jsonl");
pub(crate) const ZEEK_STORES: &str = include_str!("../tests/golden/zeek-stores.jsonl");

/// One recorded command.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) number: u32,
    pub(crate) from_clone: bool,
    pub(crate) sender: EndpointId,

    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    /// What was called just before, as the recording says.
    pub(crate) note: String,
}

/// The commands among the frames of a session; `c2s` is the clone's side.
pub(crate) fn commands(session: &str) -> Vec<Recorded> {
    const COMMAND: u8 = 2;
    let (mut commands, mut note) = (Vec::new(), String::new());
    for line in session.lines() {
        if let Some(text) = field(line, "note") {
            note = text.to_owned();
        }
        let Some(frame) = field(line, "hex").map(unhex) else {
            continue;
        };
        if frame.len() < 41 || frame[36] != COMMAND || frame[4] == 6 && frame[5] == b'Z' {
            continue;
        }
        let topic_end = 41 + usize::from(u16::from_be_bytes([frame[39], frame[40]]));
        let id = |at: usize| EndpointId::from_bytes(frame[at..at + 16].try_into().unwrap());
        commands.push(Recorded {
            number: line
                .split_once("\"n\": ")
                .unwrap()
                .1
                .split(',')
                .next()
                .unwrap()
                .parse()
                .unwrap(),
            from_clone: field(line, "dir").unwrap() == "c2s",
            sender: id(4),
            topic: String::from_utf8(frame[41..topic_end].to_vec()).unwrap(),
            payload: Bytes::copy_from_slice(&frame[topic_end..]),
            note: note.clone(),
        });
    }
    commands
}

pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\": \""))?;
    rest.split('"').next()
}
