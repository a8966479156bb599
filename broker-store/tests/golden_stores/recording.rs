//! A recorded session between a master and a clone of C++ Broker, as the commands that went over the wire.
//!
//! A file has one JSON object a line: a frame with its number, direction and bytes, or a note that says what was called
//! just before the next frames. A frame is a u32 length and then, once the handshake is over, the header of the wire
//! reference, 2.1.

use broker_core::EndpointId;
use broker_store::command::Command;
use bytes::Bytes;

/// The sessions, by name.
pub(crate) const RECORDINGS: [(&str, &str); 3] = [
    ("store-memory", include_str!("../golden/store-memory.jsonl")),
    ("store-sqlite", include_str!("../golden/store-sqlite.jsonl")),
    ("zeek-stores", include_str!("../golden/zeek-stores.jsonl")),
];

/// One session.
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// What a session consists of.
pub(crate) enum Line {
    Note(String),
    Command(Box<Recorded>),
    /// A frame without a command: handshake, filters, the goodbye.
    Other(Side, Bytes),
}

/// One recorded command.
pub(crate) struct Recorded {
    pub(crate) number: u32,
    pub(crate) from: Side,
    pub(crate) sender: EndpointId,
    pub(crate) receiver: EndpointId,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) command: Command,
    /// All of it, from the length on.
    pub(crate) frame: Bytes,
}

/// Who said it: the clone opened the connection in all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Master,
    Clone,
}

impl Recording {
    /// Reads the session called `name`.
    pub(crate) fn read(name: &str) -> Self {
        let (name, text) = RECORDINGS.into_iter().find(|(n, _)| *n == name).unwrap();
        let mut lines = Vec::new();
        for line in text.lines() {
            if let Some(note) = field(line, "note") {
                lines.push(Line::Note(note.to_owned()));
                continue;
            }
            let frame = Bytes::from(unhex(field(line, "hex").unwrap()));
            let from = match field(line, "dir").unwrap() {
                "c2s" => Side::Clone,
                "s2c" => Side::Master,
                other => panic!("no direction: {other}"),
            };
            lines.push(match Recorded::read(number(line), from, &frame) {
                Some(recorded) => Line::Command(Box::new(recorded)),
                None => Line::Other(from, frame),
            });
        }
        Self { name, lines }
    }

    /// The commands without the notes.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Recorded> {
        self.lines.iter().filter_map(|line| match line {
            Line::Command(recorded) => Some(&**recorded),
            Line::Note(_) | Line::Other(..) => None,
        })
    }

    /// The first command that `side` said.
    pub(crate) fn first_of(&self, side: Side) -> &Recorded {
        self.commands()
            .find(|recorded| recorded.from == side)
            .unwrap()
    }
}

impl Recorded {
    fn read(number: u32, from: Side, whole: &Bytes) -> Option<Self> {
        let frame = whole.slice(4..);
        let length = u32::from_be_bytes(whole[..4].try_into().unwrap());
        assert_eq!(length as usize, frame.len());
        // Frames of the handshake are shorter or say `ZEEK` behind their tag.
        if frame.len() < HEADER || &frame[2..6] == b"ZEEK" || frame[32] != COMMAND {
            return None;
        }
        let id = |at: usize| EndpointId::from_bytes(frame[at..at + 16].try_into().unwrap());
        let topic_end = HEADER + usize::from(u16::from_be_bytes([frame[35], frame[36]]));
        let payload = frame.slice(topic_end..);
        Some(Self {
            number,
            from,
            sender: id(0),
            receiver: id(16),
            topic: String::from_utf8(frame[HEADER..topic_end].to_vec()).unwrap(),
            command: Command::decode(&payload).unwrap(),
            payload,
            frame: whole.clone(),
        })
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\": \""))?;
    let value = rest.split("\", ").next()?;
    Some(value.strip_suffix("\"}").unwrap_or(value))
}

fn number(line: &str) -> u32 {
    let (_, rest) = line.split_once("\"n\": ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The bytes of a header.
const HEADER: usize = 37;

/// The tag of a command.
const COMMAND: u8 = 2;
