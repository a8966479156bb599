//! What our endpoint sends: each frame compared with the recorded one in its turn, or accounted for.

use broker_core::{Data, EntityId, Filter, FilterLimits};
use broker_store::command::{Command, Content};
use bytes::Bytes;

use super::super::frame::{COMMAND, Frame, MessageFrame, PING, PONG, ROUTING_UPDATE};
use super::super::pace::tick;
use super::super::recording::Recorded;
use super::{BYE, MAX_TICKS, Replay, is_timed};

impl Replay {
    pub(super) async fn expect(&mut self, recorded: &Recorded) {
        let what = format!("{} #{}", self.recording.name, recorded.number);
        let Frame::Message(message) = &recorded.frame else {
            if matches!(recorded.frame, Frame::Hello(_)) && !self.handshake {
                // Told goodbye, our endpoint dials again.
                self.hang_up().await;
                self.handshake = true;
                self.left = false;
            }
            let frame = self.next_ordered(&what).await;
            let expected = self.with_offers(recorded);
            assert_eq!(frame.0, expected, "{what}: {:?}", recorded.frame);
            self.note_handshake(&recorded.frame);
            return;
        };
        if message.kind == COMMAND {
            let command = Command::decode(&message.payload).unwrap();
            if is_timed(&command.content) {
                self.expect_timed(&what, message, &command).await;
                return;
            }
            if matches!(command.content, Content::Expire { .. }) {
                if let Some(keys) = self.expiring.remove(&recorded.number) {
                    assert!(self.expiring_now.is_empty(), "{what}");
                    self.expiring_now = keys;
                }
                self.wait_for_time(&what, |replay| !replay.ordered.is_empty())
                    .await;
            }
        }
        let (mut bytes, mut frame) = self.next_ordered(&what).await;
        if takes_its_filter_back(&frame) && recorded.frame != frame {
            // So that what is under way arrives before the goodbye; the original leaves without.
            (bytes, frame) = self.next_ordered(&what).await;
        }
        let Frame::Message(sent) = frame else {
            panic!("{what}: {frame:?} instead of {message:?}")
        };
        let expected = self.expected(message, &sent);
        assert_eq!(describe(&sent), describe(&expected), "{what}");
        assert_eq!(bytes, expected.to_bytes(), "{what}: {expected:?}");
        if message.kind == PING || message.kind == PONG {
            self.left = true;
        }
    }

    /// A recorded frame of the handshake, with the versions our endpoint offers and the prefixes it announces beyond it.
    fn with_offers(&self, recorded: &Recorded) -> Vec<u8> {
        if let (Frame::Hello(_), Some((newest, rest))) =
            (&recorded.frame, recorded.bytes.split_last())
        {
            assert_eq!(*newest, 1, "C++ speaks version 1");
            return [rest, &[self.newest_version]].concat();
        }
        let has_filter = matches!(
            recorded.frame,
            Frame::OriginatorSyn | Frame::ResponderSynAck
        );
        if !has_filter || self.announced.is_empty() {
            return recorded.bytes.clone();
        }
        let (head, list) = recorded.bytes.split_at(5);
        let mut filter = Filter::decode(list, FilterLimits::default()).unwrap();
        filter.union(&self.announced);
        let payload = [&head[4..], &filter.to_bytes()].concat();
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length, &payload[..]].concat()
    }

    /// The recorded frame, with the names of this run.
    fn expected(&mut self, recorded: &MessageFrame, sent: &MessageFrame) -> MessageFrame {
        let mut expected = (self.adapt)(recorded, sent);
        if expected.kind == COMMAND
            && sent.kind == COMMAND
            && let Ok(sent) = Command::decode(&sent.payload)
        {
            let mut recorded = Command::decode(&expected.payload).unwrap();
            if let (Content::Expire { key, .. }, Content::Expire { key: ours, .. }) =
                (&mut recorded.content, &sent.content)
                && let Some(at) = self.expiring_now.iter().position(|key| key == ours)
            {
                // Of keys whose time came together C++ takes any first: it goes through a hash table.
                *key = self.expiring_now.swap_remove(at);
            }
            let mut command = self.names.learn(&recorded, &sent);
            if let (Content::AckClone { snapshot, .. }, Content::AckClone { snapshot: ours, .. }) =
                (&mut command.content, &sent.content)
            {
                // The order of a snapshot is that of a hash table, and arbitrary (broker-wire reference, 3.4).
                assert_eq!(snapshot.len(), ours.len(), "{ours:?}");
                snapshot.sort_by_key(|entry| ours.iter().position(|ours| ours == entry));
            }
            expected.payload = command.encode().to_vec();
        }
        if expected.kind == PING && sent.payload.starts_with(BYE) {
            self.names.learn_goodbye(&recorded.payload, &sent.payload);
            expected.payload.clone_from(&sent.payload);
        }
        expected
    }

    async fn expect_timed(&mut self, what: &str, recorded: &MessageFrame, command: &Command) {
        let there = |replay: &Self| {
            let mut expected = recorded.clone();
            expected.payload = replay.names.translate(command).encode().to_vec();
            replay.timed.iter().position(|(sent, _)| *sent == expected)
        };
        self.wait_for_time(what, |replay| there(replay).is_some())
            .await;
        let at = there(self).unwrap();
        self.timed.remove(at);
    }

    /// Moves time until `there`.
    async fn wait_for_time(&mut self, what: &str, there: impl Fn(&Self) -> bool) {
        self.settle().await;
        for _ in 0..MAX_TICKS {
            if there(self) {
                return;
            }
            tick().await;
            self.settle().await;
        }
        let timed = self.timed.iter().map(|(message, _)| describe(message));
        let timed: Vec<_> = timed.take(10).collect();
        let ordered = self.ordered.iter().map(|(_, frame)| match frame {
            Frame::Message(message) => describe(message),
            frame => format!("{frame:?}"),
        });
        let ordered: Vec<_> = ordered.take(10).collect();
        panic!("{what}: did not come; there are {ordered:#?} and {timed:#?}");
    }

    async fn next_ordered(&mut self, what: &str) -> (Vec<u8>, Frame) {
        loop {
            if let Some(frame) = self.ordered.pop_front() {
                return frame;
            }
            let frame = self.frame_or_panic(what).await;
            self.take(frame).await;
        }
    }

    /// Sorts a frame that came: to be compared in its turn, to be compared when its time has come, or of no consequence.
    pub(super) async fn take(&mut self, bytes: Vec<u8>) {
        let frame = Frame::parse(&bytes, self.handshake);
        let Frame::Message(message) = &frame else {
            self.ordered.push_back((bytes, frame));
            return;
        };
        assert_eq!(message.sender, self.our_id(), "the sender is the last hop");
        if let Some(at) = self.unrecorded.iter().position(|(_, is_it)| is_it(message)) {
            let (reason, _) = self.unrecorded.swap_remove(at);
            *self.explained.entry(reason).or_default() += 1;
            if message.kind == COMMAND {
                let command = Command::decode(&message.payload).unwrap();
                assert_eq!(command.seq, self.our_seq + 1, "{command:?}");
                self.names.shift_behind(self.our_seq);
                self.our_seq = command.seq;
            }
            return;
        }
        match message.kind {
            PING if !(message.payload.starts_with(BYE) && message.payload.len() == 11) => {
                // C++ answers every ping (broker-wire reference, 2.3); ours ask for a sign of life, or whether all is seen.
                assert_eq!(message.receiver, self.played_id());
                *self.explained.entry(PINGS).or_default() += 1;
                let pong = MessageFrame {
                    sender: self.played_id(),
                    receiver: self.our_id(),
                    kind: PONG,
                    ..message.clone()
                };
                self.send(&pong.to_bytes()).await;
            }
            COMMAND => {
                let command = Command::decode(&message.payload).unwrap();
                if command.seq > 0 {
                    self.our_seq = command.seq;
                }
                match command.content {
                    Content::Keepalive { seq } if !message.receiver.is_nil() => {
                        // C++ clones hear only what names them (broker-wire reference, 7.8), so our master tells them.
                        assert_eq!(message.receiver, self.played_id());
                        assert_eq!(command.receiver.endpoint, self.played_id());
                        assert_eq!((command.seq, seq), (0, self.our_seq));
                        *self.explained.entry(KEEPALIVES).or_default() += 1;
                    }
                    Content::Keepalive { seq } => {
                        assert_eq!(command.receiver, EntityId::default());
                        assert_eq!((command.seq, seq), (0, self.our_seq));
                        self.timed.push((message.clone(), command));
                    }
                    Content::CumulativeAck { seq } => {
                        assert!(
                            (self.acknowledged..=self.played_seq).contains(&seq),
                            "{seq} of {} is acknowledged",
                            self.played_seq
                        );
                        self.acknowledged = seq;
                        assert_eq!(message.receiver, self.played_id());
                        assert_eq!(command.receiver.endpoint, self.played_id());
                        assert_eq!(command.seq, 0);
                        self.timed.push((message.clone(), command));
                    }
                    _ => self.ordered.push_back((bytes, frame)),
                }
            }
            _ => self.ordered.push_back((bytes, frame)),
        }
    }
}

/// Frames of ours that the recording has at other times.
pub(crate) const TIMED: &str = "acknowledgements and keepalives at other times";
/// Pings of ours, answered.
const PINGS: &str = "pings of ours";
/// Keepalives of a master that name their clone.
pub(crate) const KEEPALIVES: &str = "keepalives that name their clone";

/// A node of ours that is about to leave asks for nothing any more.
fn takes_its_filter_back(frame: &Frame) -> bool {
    matches!(frame, Frame::Message(sent) if sent.kind == ROUTING_UPDATE && sent.payload.as_slice() == b"\0")
}

/// A frame for people, in front of the comparison of bytes.
fn describe(message: &MessageFrame) -> String {
    let payload = match message.kind {
        1 => format!("{:?}", Data::decode(&message.payload)),
        COMMAND => format!("{:?}", Command::decode(&message.payload)),
        _ => format!("{:?}", Bytes::copy_from_slice(&message.payload)),
    };
    format!(
        "{} -> {} {} {} {payload}",
        message.sender,
        message.receiver,
        message.kind,
        message.topic_text()
    )
}
