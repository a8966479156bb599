//! Recorded sessions between C++ Broker nodes, replayed with one side played by ours: what our side says is computed and
//! compared byte by byte with what the C++ side said, in order, the commands that only time brings about included.
//!
//! Matched by pattern: the order of entries in a snapshot and of keys that expire together (a hash table's in C++), and
//! the IDs under which a put_unique is asked for (C++ has an entity for each requester). Where ours differs on purpose the
//! replay says so at that place.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod calls;
mod our_clone;
mod our_master;
#[allow(dead_code, reason = "the replay over a socket uses the rest")]
mod recording;
mod timeline;

use self::recording::{Line, RECORDINGS, Recording};

#[test]
fn every_recorded_command_is_written_as_it_was_read() {
    let mut counts = Vec::new();
    for (name, _) in RECORDINGS {
        let recording = Recording::read(name);
        for recorded in recording.commands() {
            assert_eq!(
                recorded.command.encode(),
                recorded.payload,
                "{name}, frame {}",
                recorded.number
            );
        }
        let others = recording
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Other(..)));
        counts.push((name, recording.commands().count(), others.count()));
    }
    assert_eq!(
        counts,
        [
            ("store-memory", 121, 9),
            ("store-sqlite", 121, 10),
            ("zeek-stores", 340, 15)
        ]
    );
}
