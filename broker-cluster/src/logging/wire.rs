//! The bytes of log messages (reference, zeek-cluster 6.3 and 6.5), built without intermediate values:
//! a record is encoded once, behind the bytes all records of its stream begin with.
//!
//! ```text
//! entry          := 0e 03 count:1 count:3 0e 04 enum:stream enum:writer string:path string:record
//! Batch          := 0e 03 count:1 count:5 0e n entry{n}
//! numbered batch := 0e 03 count:1 count:1 0e 02 string:BrokerRs::log_batch 0e 03 string:writer count:number Batch
//!                   (0e 04 .. string:reply to, where that is another than the writer)
//! ```
//!
//! In a numbered batch the first element is the LogCreate of the stream, so that a logger can write the
//! records whatever it has missed before.

use std::sync::LazyLock;

use broker_core::binary::{put_string, put_varbyte};
use broker_core::zeek::{MessageType, MessageView};
use broker_core::{DataKind, DataView, EndpointId};
use bytes::{BufMut, Bytes, BytesMut};

use crate::events::LOG_BATCH;

/// The longest record that is sent, as `serial_data`.
pub const MAX_RECORD: usize = 16 << 20;

/// What a numbered batch is known by. Its writer is an endpoint, or the spool of one, which outlives its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHead {
    pub(crate) writer: EndpointId,
    pub(crate) number: u64,
    /// Who gets the receipt.
    pub(crate) reply_to: EndpointId,
}

/// A numbered batch that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberedBatch<'a> {
    pub(crate) head: BatchHead,
    pub(crate) batch: DataView<'a>,
}

/// What every LogWrite of one log begins with: all but the record.
pub(crate) fn entry_prefix(stream: &str, writer: &str, path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    envelope(LOG_WRITE, &mut out);
    vector(4, &mut out);
    for name in [stream, writer] {
        out.put_u8(DataKind::Enum.tag());
        put_string(name.as_bytes(), &mut out);
    }
    out.put_u8(DataKind::String.tag());
    put_string(path.as_bytes(), &mut out);
    out
}

/// Appends one LogWrite. The record is at most [`MAX_RECORD`] long.
pub(crate) fn push_entry(prefix: &[u8], record: &[u8], out: &mut Vec<u8>) {
    out.reserve(prefix.len() + 6 + record.len());
    out.extend_from_slice(prefix);
    out.push(DataKind::String.tag());
    put_string(record, out);
}

/// A Batch of `records` entries.
pub(crate) fn batch(entries: &[u8], records: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(entries.len() + 32);
    envelope(BATCH, &mut out);
    vector(records, &mut out);
    out.put_slice(entries);
    out.freeze()
}

/// A numbered batch of the stream that `create`, an encoded LogCreate, announces.
pub(crate) fn numbered_batch(
    head: BatchHead,
    create: &[u8],
    entries: &[u8],
    records: u32,
) -> Bytes {
    let mut out = BytesMut::with_capacity(create.len() + entries.len() + 160);
    envelope(EVENT, &mut out);
    vector(2, &mut out);
    out.put_u8(DataKind::String.tag());
    put_string(LOG_BATCH.as_bytes(), &mut out);
    let replies_elsewhere = head.reply_to != head.writer;
    vector(if replies_elsewhere { 4 } else { 3 }, &mut out);
    endpoint(head.writer, &mut out);
    count(head.number, &mut out);
    envelope(BATCH, &mut out);
    vector(records + 1, &mut out);
    out.put_slice(create);
    out.put_slice(entries);
    if replies_elsewhere {
        endpoint(head.reply_to, &mut out);
    }
    out.freeze()
}

/// Whether a payload is about logs alone: the announcement of one, records, or a numbered batch of ours. What is no sound
/// message is not.
pub(crate) fn is_about_logs(payload: &[u8]) -> bool {
    match MessageType::peek(payload) {
        Some(MessageType::LogCreate | MessageType::LogWrite) => true,
        Some(MessageType::Event) => is_numbered(payload),
        Some(MessageType::Batch) => DataView::parse(payload)
            .ok()
            .and_then(|view| MessageView::parse(view).ok())
            .is_some_and(|view| holds_logs_alone(&view)),
        Some(MessageType::IdentifierUpdate) | None => false,
    }
}

/// Whether an event is called as numbered batches are. Where its name stands is the same for all events but for the
/// number of parts behind it.
fn is_numbered(payload: &[u8]) -> bool {
    /// The bytes in front of that number and those behind it.
    static HEAD: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
        let mut front = Vec::new();
        envelope(EVENT, &mut front);
        vector(2, &mut front);
        front.pop();
        let mut back = vec![DataKind::String.tag()];
        put_string(LOG_BATCH.as_bytes(), &mut back);
        (front, back)
    });
    let (front, back) = &*HEAD;
    let name = payload
        .strip_prefix(front.as_slice())
        .and_then(|rest| rest.get(1..));
    name.is_some_and(|name| name.starts_with(back))
}

fn holds_logs_alone(view: &MessageView<'_>) -> bool {
    match view {
        MessageView::LogCreate { .. } | MessageView::LogWrite { .. } => true,
        MessageView::Batch(batch) => batch.iter().all(|inner| holds_logs_alone(&inner)),
        MessageView::Event { name, .. } => *name == LOG_BATCH.as_bytes(),
        MessageView::IdentifierUpdate { .. } => false,
    }
}

/// The parts of a numbered batch's arguments. None if they are not of that form.
pub(crate) fn read_numbered(arguments: DataView<'_>) -> Option<NumberedBatch<'_>> {
    let id = |view: DataView<'_>| std::str::from_utf8(view.as_str_bytes()?).ok()?.parse().ok();
    let mut elements = arguments.as_vector()?;
    let writer = id(elements.next()?)?;
    let number = elements.next()?.as_count()?;
    let batch = elements.next()?;
    let reply_to = match elements.next() {
        Some(view) => id(view)?,
        None => writer,
    };
    Some(NumberedBatch {
        head: BatchHead {
            writer,
            number,
            reply_to,
        },
        batch,
    })
}

fn endpoint(id: EndpointId, out: &mut impl BufMut) {
    out.put_u8(DataKind::String.tag());
    put_string(id.to_string().as_bytes(), out);
}

fn envelope(message_type: u64, out: &mut impl BufMut) {
    vector(3, out);
    count(VERSION, out);
    count(message_type, out);
}

fn count(value: u64, out: &mut impl BufMut) {
    out.put_u8(DataKind::Count.tag());
    out.put_u64(value);
}

fn vector(len: u32, out: &mut impl BufMut) {
    out.put_u8(DataKind::Vector.tag());
    put_varbyte(len, out);
}

const VERSION: u64 = 1;
const EVENT: u64 = 1;
const LOG_WRITE: u64 = 3;
const BATCH: u64 = 5;

#[cfg(test)]
mod tests {
    use broker_core::Data;
    use broker_core::zeek::{Event, LogWrite, Message, MessageView};

    use super::*;

    fn writes(records: &[&[u8]]) -> Vec<Message> {
        let write = |record: &&[u8]| {
            Message::LogWrite(LogWrite {
                stream: "Conn::LOG".into(),
                writer: "Log::WRITER_ASCII".into(),
                path: "conn".into(),
                record: (*record).into(),
            })
        };
        records.iter().map(write).collect()
    }

    fn entries(records: &[&[u8]]) -> Vec<u8> {
        let prefix = entry_prefix("Conn::LOG", "Log::WRITER_ASCII", "conn");
        let mut entries = Vec::new();
        records
            .iter()
            .for_each(|record| push_entry(&prefix, record, &mut entries));
        entries
    }

    #[test]
    fn a_batch_built_from_bytes_is_the_batch_built_from_values() {
        let long = vec![7; 300];
        let records: [&[u8]; 3] = [b"one", b"", &long];
        let expected = Message::Batch(writes(&records)).into_data().to_bytes();
        assert_eq!(batch(&entries(&records), 3), expected);
    }

    #[test]
    fn a_numbered_batch_reads_back() {
        let writer = EndpointId::from_bytes([3; 16]);
        let create = Message::Event(Event::new("x", vec![]))
            .into_data()
            .to_bytes();
        let own = BatchHead {
            writer,
            number: 9,
            reply_to: writer,
        };
        let of_spool = BatchHead {
            reply_to: EndpointId::from_bytes([4; 16]),
            ..own
        };
        for head in [own, of_spool] {
            reads_back(head, &create);
        }
        let other = Data::vector([Data::from("x")]).to_bytes();
        assert!(read_numbered(DataView::parse(&other).unwrap()).is_none());
    }

    #[test]
    fn what_is_about_logs_alone_is_told_from_events_and_from_what_is_no_message() {
        let bytes = |message: Message| message.into_data().to_bytes();
        let event = || Message::Event(Event::new("Conn::log", vec![Data::from(1u64)]));
        let writer = EndpointId::from_bytes([3; 16]);
        let head = |reply_to| BatchHead {
            writer,
            number: 9,
            reply_to,
        };
        let numbered = |reply_to| numbered_batch(head(reply_to), b"", &entries(&[b"one"]), 1);
        let with_metadata = Message::Event(Event {
            metadata: Some(Vec::new()),
            ..Event::new(LOG_BATCH, vec![])
        });
        for payload in [
            bytes(writes(&[b"one"]).remove(0)),
            batch(&entries(&[b"one", b"two"]), 2),
            numbered(writer),
            numbered(EndpointId::from_bytes([4; 16])),
            bytes(with_metadata),
        ] {
            assert!(is_about_logs(&payload), "{payload:?}");
        }
        let mut mixed = writes(&[b"one"]);
        mixed.push(event());
        let longer = Message::Event(Event::new(format!("{LOG_BATCH}es"), vec![]));
        for payload in [
            bytes(event()),
            bytes(longer),
            bytes(Message::Batch(mixed)),
            Data::from(1u64).to_bytes(),
            Bytes::new(),
            // A batch that breaks off is nothing, and is to be reported.
            batch(&entries(&[b"one"]), 2),
        ] {
            assert!(!is_about_logs(&payload), "{payload:?}");
        }
    }

    fn reads_back(head: BatchHead, create: &[u8]) {
        let bytes = numbered_batch(head, create, &entries(&[b"one", b"two"]), 2);
        let MessageView::Event {
            name,
            arguments,
            metadata: None,
        } = MessageView::parse(DataView::parse(&bytes).unwrap()).unwrap()
        else {
            panic!("an event")
        };
        assert_eq!(name, LOG_BATCH.as_bytes());
        let read = read_numbered(arguments).unwrap();
        assert_eq!(read.head, head);
        let Ok(MessageView::Batch(batch)) = MessageView::parse(read.batch) else {
            panic!("a batch")
        };
        assert_eq!(batch.len(), 3);
    }
}
