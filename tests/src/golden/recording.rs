//! A recorded session: what was called and which frames went either way.

use std::path::{Path, PathBuf};

use broker_core::EndpointId;

use super::frame::Frame;

/// The two ends of the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who called connect.
    Connector,
    /// Who listened.
    Acceptor,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Connector => Self::Acceptor,
            Self::Acceptor => Self::Connector,
        }
    }
}

/// One line of a recording.
#[derive(Clone, Debug)]
pub enum Step {
    /// What was called just before the next frames.
    Note(String),
    /// A frame that was sent.
    Frame(Recorded),
}

/// A recorded frame.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number in the recording.
    pub number: u64,
    /// Who sent it.
    pub from: Side,
    /// All of it, its length in front.
    pub bytes: Vec<u8>,
    /// The same taken apart.
    pub frame: Frame,
}

/// A session between two processes.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Its file, without the ending.
    pub name: String,
    /// What happened. The frames of the handshake are in an order in which each is there before its answer; the recording
    /// itself has the two directions as they passed the tap.
    pub steps: Vec<Step>,
    connector: EndpointId,
    acceptor: EndpointId,
}

impl Recording {
    /// The recording `name`, from the data of these tests.
    ///
    /// # Panics
    /// If there is none of that name, or it is none.
    #[must_use]
    pub fn load(name: &str) -> Self {
        let text = std::fs::read_to_string(path(&format!("{name}.jsonl"))).unwrap();
        let mut steps = Vec::new();
        let (mut connector, mut acceptor) = (EndpointId::NIL, EndpointId::NIL);
        let (mut answered, mut acknowledged) = (false, false);
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(note) = line["note"].as_str() {
                steps.push(Step::Note(note.to_owned()));
                continue;
            }
            let from = match line["dir"].as_str() {
                Some("c2s") => Side::Connector,
                Some("s2c") => Side::Acceptor,
                other => panic!("{name}: direction {other:?}"),
            };
            let bytes = unhex(line["hex"].as_str().unwrap());
            let frame = Frame::parse(&bytes, !(answered && acknowledged));
            match (&frame, from) {
                (Frame::Hello(id) | Frame::VersionSelect(id), Side::Connector) => connector = *id,
                (Frame::Hello(id) | Frame::VersionSelect(id), Side::Acceptor) => acceptor = *id,
                (Frame::ResponderSynAck, _) => answered = true,
                (Frame::OriginatorAck, _) => acknowledged = true,
                _ => {}
            }
            steps.push(Step::Frame(Recorded {
                number: line["n"].as_u64().unwrap(),
                from,
                bytes,
                frame,
            }));
        }
        put_handshake_in_order(&mut steps);
        Self {
            name: name.to_owned(),
            steps,
            connector,
            acceptor,
        }
    }

    /// The endpoint ID of a side.
    #[must_use]
    pub const fn id(&self, side: Side) -> EndpointId {
        match side {
            Side::Connector => self.connector,
            Side::Acceptor => self.acceptor,
        }
    }

    /// Its frames, in the order of the steps.
    pub fn frames(&self) -> impl Iterator<Item = &Recorded> {
        self.steps.iter().filter_map(|step| match step {
            Step::Frame(recorded) => Some(recorded),
            Step::Note(_) => None,
        })
    }
}

/// Where a recording is: those of stores are broker-store's own fixtures too, and stand there.
pub(crate) fn path(file: &str) -> PathBuf {
    let directory = if file.contains("store") {
        "../broker-store/tests/golden"
    } else {
        "tests/data/golden"
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(directory)
        .join(file)
}

/// The frames up to the first message, each before its answer.
fn put_handshake_in_order(steps: &mut [Step]) {
    let rank = |step: &Step| match step {
        Step::Frame(recorded) => recorded
            .frame
            .handshake_rank(recorded.from == Side::Connector),
        Step::Note(_) => None,
    };
    let begin = steps.iter().position(|step| rank(step).is_some()).unwrap();
    let length = steps[begin..]
        .iter()
        .position(|step| rank(step).is_none())
        .unwrap();
    steps[begin..begin + length].sort_by_key(|step| rank(step));
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
