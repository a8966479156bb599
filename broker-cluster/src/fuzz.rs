//! Bodies of the fuzz targets whose decoders are private to this crate; see `fuzz/` in the repository.

use broker_core::zeek::{Event, Message, MessageView};
use broker_core::{Data, DataView};

use crate::events::ClusterEvent;
use crate::logging::{journal, wire};

/// A payload as an event of the cluster: the same when written and read again; and as a batch of log records.
pub fn cluster_event(bytes: &[u8]) {
    let Ok(view) = DataView::parse(bytes) else {
        return;
    };
    if let Ok(MessageView::Event { arguments, .. }) = MessageView::parse(view)
        && let Some(numbered) = wire::read_numbered(arguments)
    {
        let _ = MessageView::parse(numbered.batch);
    }
    let Ok(Message::Event(event)) = Message::from_view(view) else {
        return;
    };
    let name = event.name.clone();
    let Some(read) = ClusterEvent::from_event(event) else {
        return;
    };
    assert!(ClusterEvent::is_one(&name));
    let written: Event = read.to_event();
    assert_eq!(ClusterEvent::from_event(written.clone()), Some(read));
    let bytes = Data::from(Message::Event(written)).to_bytes();
    assert!(DataView::parse(&bytes).is_ok());
}

/// Lines of a journal: what was read is the same when written and read again.
pub fn log_journal(bytes: &[u8]) {
    let mut entries = Vec::new();
    let Ok(whole) = journal::read_from(bytes, "journal", |entry| entries.push(entry)) else {
        return;
    };
    assert!(whole <= bytes.len() as u64);
    let mut written = Vec::new();
    entries.iter().for_each(|entry| entry.push(&mut written));
    let mut again = Vec::new();
    let read = journal::read_from(&written[..], "journal", |entry| again.push(entry));
    assert_eq!(read.ok(), Some(written.len() as u64));
    assert_eq!(again, entries);
}
