//! The native handshake as a state machine (broker-wire reference, 1.4 to 1.7).
//!
//! ```text
//! the acceptor's ID is smaller         the connector's ID is smaller
//! connector        acceptor            connector        acceptor
//!    | <-- probe ----- |                  | <-- probe ----- |
//!    | --- hello ----> |                  | --- hello ----> |
//!    | <-- select ---- |                  | <-- hello ----- |
//!    | <-- syn ------- |                  | --- select ---> |
//!    | --- syn_ack --> |                  | --- syn ------> |
//!    | <-- ack ------- |                  | <-- syn_ack --- |
//!                                         | --- ack ------> |
//! ```
//!
//! The smaller ID is the originator and decides which of several parallel connections stays. Where core's word is
//! needed, [`undecided`](NativeHandshake::undecided) says for whom. The machine holds no socket and reads no clock.
//!
//! We offer versions 1 to 2. Version 2 is spoken between our own nodes only: a C++ node selects 1.
//!
//! **Invariant:** at most one drop_conn is sent, and nothing behind it.

use std::collections::VecDeque;

use broker_core::handshake::{HandshakeError, Side, VersionRange};
use broker_core::{EndpointId, ErrorCode, Filter};

use super::message::{BadMessage, HandshakeMessage, Introduction};

/// What we say about ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) id: EndpointId,
    pub(crate) versions: VersionRange,
    pub(crate) filter: Filter,
    pub(crate) introduction: Introduction,
}

/// Who the other side turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Theirs {
    pub(crate) id: EndpointId,
    pub(crate) version: u8,
    pub(crate) filter: Filter,
    pub(crate) introduction: Introduction,
}

/// Which part of the protocol is ours: that of the smaller or that of the bigger ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Originator,
    Responder,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// C0 or A0: nothing is known of the other side.
    Begun,
    /// R1: we are the responder; the originator is known if it said hello.
    AwaitSelect(Option<EndpointId>),
    /// Core has to say whether we want this peer.
    Undecided(Role, EndpointId, u8),
    /// R2.
    AwaitSyn(EndpointId, u8),
    /// R3.
    AwaitAck(Theirs),
    /// O1.
    AwaitSynAck(EndpointId, u8),
    Done(Theirs),
    Failed,
}

/// One handshake.
#[derive(Debug)]
pub(crate) struct NativeHandshake {
    ours: Ours,
    state: State,
    /// Whether a drop_conn was sent.
    dropped: bool,
    outbox: VecDeque<Vec<u8>>,
}

impl NativeHandshake {
    /// A handshake on `side`. The one that connected says hello at once, the other sends a probe.
    pub(crate) fn new(side: Side, ours: Ours) -> Self {
        let mut machine = Self {
            ours,
            state: State::Begun,
            dropped: false,
            outbox: VecDeque::with_capacity(2),
        };
        match side {
            Side::Connector => machine.say_hello(),
            Side::Acceptor => machine.send(&HandshakeMessage::Probe),
        }
        machine
    }

    /// Takes the payload of one frame.
    ///
    /// # Errors
    /// The handshake is over. What is in the outbox still has to be sent.
    pub(crate) fn handle_frame(&mut self, payload: &[u8]) -> Result<(), HandshakeError> {
        if payload.is_empty() {
            self.state = State::Failed;
            return Err(HandshakeError::Protocol {
                reason: "an empty frame".to_owned(),
            });
        }
        match HandshakeMessage::decode(payload) {
            Ok(message) => self.handle(message),
            Err(bad) => {
                self.drop_conn(bad.code(), &bad.to_string());
                Err(match bad {
                    BadMessage::UnknownCode { description, .. } => HandshakeError::Refused {
                        code: ErrorCode::Unspecified,
                        reason: description,
                    },
                    other => HandshakeError::Protocol {
                        reason: other.to_string(),
                    },
                })
            }
        }
    }

    fn handle(&mut self, message: HandshakeMessage) -> Result<(), HandshakeError> {
        match (std::mem::replace(&mut self.state, State::Failed), message) {
            // It was sent to find out whether we are there.
            (state @ (State::Begun | State::AwaitSelect(_)), HandshakeMessage::Probe) => {
                self.state = state;
                Ok(())
            }
            // C++ heeds it only before a version is selected; whoever refuses later is heard too.
            (
                _,
                HandshakeMessage::DropConn {
                    sender,
                    code,
                    description,
                },
            ) => Err(match code {
                ErrorCode::RedundantConnection => HandshakeError::Redundant { peer: sender },
                _ => HandshakeError::Refused {
                    code,
                    reason: description,
                },
            }),
            (State::Begun, HandshakeMessage::Hello { sender, min, max }) => {
                self.check_id(sender)?;
                let theirs = VersionRange {
                    min: min.into(),
                    max: max.into(),
                };
                let Some(version) = self.ours.versions.common(theirs) else {
                    self.drop_conn(ErrorCode::PeerIncompatible, "unsupported versions offered");
                    return Err(self.incompatible(sender, theirs));
                };
                self.state = if self.ours.id < sender {
                    // A common version is within both ranges, and those are of bytes.
                    State::Undecided(Role::Originator, sender, u8::try_from(version).unwrap_or(1))
                } else {
                    self.say_hello();
                    State::AwaitSelect(Some(sender))
                };
                Ok(())
            }
            (
                state @ (State::Begun | State::AwaitSelect(_)),
                HandshakeMessage::VersionSelect { sender, version },
            ) => {
                self.check_id(sender)?;
                if matches!(state, State::AwaitSelect(Some(known)) if known != sender) {
                    return Err(HandshakeError::Protocol {
                        reason: "it changed its ID".to_owned(),
                    });
                }
                if self.ours.id < sender {
                    return Err(HandshakeError::Protocol {
                        reason: "the bigger ID selected the version".to_owned(),
                    });
                }
                let selected = VersionRange {
                    min: version.into(),
                    max: version.into(),
                };
                if self.ours.versions.common(selected).is_none() {
                    self.drop_conn(ErrorCode::PeerIncompatible, "unsupported version selected");
                    return Err(self.incompatible(sender, selected));
                }
                self.state = State::Undecided(Role::Responder, sender, version);
                Ok(())
            }
            (
                State::AwaitSyn(id, version),
                HandshakeMessage::OriginatorSyn {
                    filter,
                    introduction,
                },
            ) => {
                let theirs = self.agree(id, version, filter, introduction)?;
                let (filter, introduction) = self.introduce(version);
                self.send(&HandshakeMessage::ResponderSynAck {
                    filter,
                    introduction,
                });
                self.state = State::AwaitAck(theirs);
                Ok(())
            }
            (State::AwaitAck(theirs), HandshakeMessage::OriginatorAck) => {
                self.state = State::Done(theirs);
                Ok(())
            }
            (
                State::AwaitSynAck(id, version),
                HandshakeMessage::ResponderSynAck {
                    filter,
                    introduction,
                },
            ) => {
                let theirs = self.agree(id, version, filter, introduction)?;
                self.send(&HandshakeMessage::OriginatorAck);
                self.state = State::Done(theirs);
                Ok(())
            }
            // C++ closes without a word, and so do we.
            (_, message) => Err(HandshakeError::Protocol {
                reason: format!("unexpected {}", message.name()),
            }),
        }
    }

    /// The peer about whom core has to decide, and what we are to it.
    pub(crate) const fn undecided(&self) -> Option<(EndpointId, Role)> {
        match self.state {
            State::Undecided(role, id, _) => Some((id, role)),
            _ => None,
        }
    }

    /// Core wants the undecided peer.
    pub(crate) fn accept(&mut self) {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Undecided(Role::Originator, id, version) => {
                let sender = self.ours.id;
                self.send(&HandshakeMessage::VersionSelect { sender, version });
                let (filter, introduction) = self.introduce(version);
                self.send(&HandshakeMessage::OriginatorSyn {
                    filter,
                    introduction,
                });
                self.state = State::AwaitSynAck(id, version);
            }
            State::Undecided(Role::Responder, id, version) => {
                self.state = State::AwaitSyn(id, version);
            }
            other => self.state = other,
        }
    }

    /// Core does not want the undecided peer.
    pub(crate) fn refuse(&mut self, why: &HandshakeError) {
        let State::Undecided(role, ..) = self.state else {
            return;
        };
        match (why, role) {
            (HandshakeError::Redundant { .. }, Role::Originator) => {
                self.drop_conn(ErrorCode::RedundantConnection, "redundant connection");
            }
            (HandshakeError::Redundant { .. }, Role::Responder) => {
                self.drop_conn(
                    ErrorCode::LogicError,
                    "detected redundant connection at the responder",
                );
            }
            (HandshakeError::ShuttingDown, _) => {
                self.drop_conn(ErrorCode::ShuttingDown, "shutting down");
            }
            (other, _) => self.drop_conn(other.code(), &other.to_string()),
        }
    }

    /// The next frame for the other side, length prefix included.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop_front()
    }

    /// The other side, once both agreed.
    pub(crate) const fn peer(&self) -> Option<&Theirs> {
        match &self.state {
            State::Done(theirs) => Some(theirs),
            _ => None,
        }
    }

    fn check_id(&self, id: EndpointId) -> Result<(), HandshakeError> {
        if id == self.ours.id {
            return Err(HandshakeError::SelfPeering);
        }
        if id.is_nil() {
            return Err(HandshakeError::Protocol {
                reason: "nil endpoint ID".to_owned(),
            });
        }
        Ok(())
    }

    /// Features are told only under version 2; a C++ node has none.
    fn agree(
        &mut self,
        id: EndpointId,
        version: u8,
        filter: Filter,
        introduction: Option<Introduction>,
    ) -> Result<Theirs, HandshakeError> {
        let mut introduction = introduction.filter(|_| version >= 2).unwrap_or_default();
        let ours = &self.ours.introduction.features;
        if let Some(feature) = introduction
            .required
            .iter()
            .find(|feature| !ours.contains(feature))
        {
            let error = HandshakeError::MissingFeature {
                peer: id.to_string(),
                feature: feature.clone(),
            };
            self.drop_conn(
                error.code(),
                &format!("this node lacks feature {feature:?}"),
            );
            return Err(error);
        }
        introduction
            .features
            .retain(|feature| ours.contains(feature));
        Ok(Theirs {
            id,
            version,
            filter,
            introduction,
        })
    }

    fn introduce(&self, version: u8) -> (Filter, Option<Introduction>) {
        let introduction = (version >= 2).then(|| self.ours.introduction.clone());
        (self.ours.filter.clone(), introduction)
    }

    fn incompatible(&self, peer: EndpointId, theirs: VersionRange) -> HandshakeError {
        HandshakeError::IncompatibleVersion {
            peer: peer.to_string(),
            ours: self.ours.versions,
            theirs,
        }
    }

    fn say_hello(&mut self) {
        let byte = |version: u32| u8::try_from(version).unwrap_or(u8::MAX);
        let hello = HandshakeMessage::Hello {
            sender: self.ours.id,
            min: byte(self.ours.versions.min),
            max: byte(self.ours.versions.max),
        };
        self.send(&hello);
    }

    fn drop_conn(&mut self, code: ErrorCode, description: &str) {
        self.state = State::Failed;
        if !std::mem::replace(&mut self.dropped, true) {
            self.send(&HandshakeMessage::DropConn {
                sender: self.ours.id,
                code,
                description: description.to_owned(),
            });
        }
    }

    fn send(&mut self, message: &HandshakeMessage) {
        self.outbox.push_back(message.to_frame());
    }
}

#[cfg(test)]
mod tests {
    use broker_core::Topic;

    use super::*;

    const SMALL: EndpointId = EndpointId::from_bytes([1; 16]);
    const BIG: EndpointId = EndpointId::from_bytes([9; 16]);

    fn machine(side: Side, id: EndpointId, max: u32) -> NativeHandshake {
        let ours = Ours {
            id,
            versions: VersionRange { min: 1, max },
            filter: Filter::from(Topic::copy_from(&id.as_bytes()[..2]).expect("short")),
            introduction: Introduction {
                name: format!("node {max}"),
                features: vec!["both".to_owned(), format!("only of {id}")],
                ..Introduction::default()
            },
        };
        NativeHandshake::new(side, ours)
    }

    /// Carries frames until both have nothing to say; core agrees to everything. Returns the tags of what was sent, by
    /// the connector and by the acceptor.
    fn shake(
        connector: &mut NativeHandshake,
        acceptor: &mut NativeHandshake,
    ) -> Result<[Vec<u8>; 2], HandshakeError> {
        let mut tags = [Vec::new(), Vec::new()];
        loop {
            let mut quiet = true;
            for index in [1, 0] {
                let (from, to) = if index == 0 {
                    (&mut *connector, &mut *acceptor)
                } else {
                    (&mut *acceptor, &mut *connector)
                };
                while let Some(frame) = from.poll_transmit() {
                    quiet = false;
                    tags[index].push(frame[4]);
                    to.handle_frame(&frame[4..])?;
                    if to.undecided().is_some() {
                        to.accept();
                    }
                }
            }
            if quiet {
                return Ok(tags);
            }
        }
    }

    #[test]
    fn an_acceptor_with_the_smaller_id_selects_at_once() {
        let (mut connector, mut acceptor) = (
            machine(Side::Connector, BIG, 2),
            machine(Side::Acceptor, SMALL, 1),
        );
        let tags = shake(&mut connector, &mut acceptor).expect("peers");
        assert_eq!(tags, [vec![6, 11], vec![7, 8, 10, 12]]);
        let (left, right) = (
            connector.peer().expect("done"),
            acceptor.peer().expect("done"),
        );
        assert_eq!((left.id, right.id), (SMALL, BIG));
        assert_eq!((left.version, right.version), (1, 1));
        assert_eq!(
            left.introduction,
            Introduction::default(),
            "version 1 has none"
        );
        assert!(left.filter.contains([1, 1]) && right.filter.contains([9, 9]));
    }

    #[test]
    fn a_connector_with_the_smaller_id_waits_for_the_hello() {
        let (mut connector, mut acceptor) = (
            machine(Side::Connector, SMALL, 2),
            machine(Side::Acceptor, BIG, 2),
        );
        let tags = shake(&mut connector, &mut acceptor).expect("peers");
        assert_eq!(tags, [vec![6, 8, 10, 12], vec![7, 6, 11]]);
        let theirs = acceptor.peer().expect("done");
        assert_eq!(theirs.version, 2);
        assert_eq!(theirs.introduction.features, ["both"]);
        assert_eq!(theirs.introduction.name, "node 2");
    }

    #[test]
    fn ranges_that_do_not_meet_end_with_code_2() {
        let mut acceptor = machine(Side::Acceptor, SMALL, 1);
        acceptor.poll_transmit();
        let hello = HandshakeMessage::Hello {
            sender: BIG,
            min: 2,
            max: 3,
        }
        .to_frame();
        assert!(matches!(
            acceptor.handle_frame(&hello[4..]),
            Err(HandshakeError::IncompatibleVersion { .. })
        ));
        let answer = acceptor.poll_transmit().expect("a refusal");
        assert_eq!(
            HandshakeMessage::decode(&answer[4..]),
            Ok(HandshakeMessage::DropConn {
                sender: SMALL,
                code: ErrorCode::PeerIncompatible,
                description: "unsupported versions offered".to_owned(),
            })
        );
        let mut connector = machine(Side::Connector, BIG, 1);
        connector.poll_transmit();
        let select = HandshakeMessage::VersionSelect {
            sender: SMALL,
            version: 2,
        }
        .to_frame();
        assert!(connector.handle_frame(&select[4..]).is_err());
        let answer = connector.poll_transmit().expect("a refusal");
        assert!(answer.ends_with(b"unsupported version selected"));
    }

    #[test]
    fn a_refusal_has_the_code_of_the_role() {
        let redundant = HandshakeError::Redundant { peer: BIG };
        let mut originator = machine(Side::Acceptor, SMALL, 1);
        originator.poll_transmit();
        let hello = HandshakeMessage::Hello {
            sender: BIG,
            min: 1,
            max: 1,
        }
        .to_frame();
        originator.handle_frame(&hello[4..]).expect("fine so far");
        assert_eq!(originator.undecided(), Some((BIG, Role::Originator)));
        originator.refuse(&redundant);
        let refusal = originator.poll_transmit().expect("a refusal");
        assert_eq!(refusal[4 + 21], 39);
        let mut connector = machine(Side::Connector, BIG, 1);
        assert!(matches!(
            connector.handle_frame(&refusal[4..]),
            Err(HandshakeError::Redundant { peer: SMALL })
        ));

        let mut responder = machine(Side::Connector, BIG, 1);
        responder.poll_transmit();
        let select = HandshakeMessage::VersionSelect {
            sender: SMALL,
            version: 1,
        }
        .to_frame();
        responder.handle_frame(&select[4..]).expect("fine so far");
        assert_eq!(responder.undecided(), Some((SMALL, Role::Responder)));
        responder.refuse(&redundant);
        assert_eq!(responder.poll_transmit().expect("a refusal")[4 + 21], 40);
        assert_eq!(responder.poll_transmit(), None);
    }

    #[test]
    fn this_very_node_and_nobody_are_no_peers() {
        for (id, expected) in [(SMALL, true), (EndpointId::NIL, false)] {
            let mut machine = machine(Side::Acceptor, SMALL, 1);
            machine.poll_transmit();
            let hello = HandshakeMessage::Hello {
                sender: id,
                min: 1,
                max: 1,
            }
            .to_frame();
            let error = machine.handle_frame(&hello[4..]).expect_err("no peer");
            assert_eq!(error == HandshakeError::SelfPeering, expected);
            assert_eq!(machine.poll_transmit(), None);
        }
    }

    /// Every message in every state: those that are not listed end the handshake without a word
    /// (broker-wire reference, 1.5).
    #[test]
    fn a_message_out_of_turn_closes_without_a_drop_conn() {
        let filter = Filter::new;
        let all = || {
            [
                HandshakeMessage::Probe,
                HandshakeMessage::Hello {
                    sender: SMALL,
                    min: 1,
                    max: 1,
                },
                HandshakeMessage::VersionSelect {
                    sender: SMALL,
                    version: 1,
                },
                HandshakeMessage::OriginatorSyn {
                    filter: filter(),
                    introduction: None,
                },
                HandshakeMessage::ResponderSynAck {
                    filter: filter(),
                    introduction: None,
                },
                HandshakeMessage::OriginatorAck,
            ]
        };
        let states: [(State, &[usize]); 5] = [
            (State::Begun, &[0, 1, 2]),
            (State::AwaitSelect(Some(SMALL)), &[0, 2]),
            (State::AwaitSyn(SMALL, 1), &[3]),
            (
                State::AwaitAck(Theirs {
                    id: SMALL,
                    version: 1,
                    filter: filter(),
                    introduction: Introduction::default(),
                }),
                &[5],
            ),
            (State::AwaitSynAck(SMALL, 1), &[4]),
        ];
        for (state, accepted) in states {
            for (index, message) in all().into_iter().enumerate() {
                let mut machine = machine(Side::Acceptor, BIG, 1);
                machine.poll_transmit();
                machine.state = state.clone();
                let result = machine.handle_frame(&message.to_frame()[4..]);
                assert_eq!(
                    result.is_ok(),
                    accepted.contains(&index),
                    "{state:?} {message:?}"
                );
                if result.is_err() {
                    assert_eq!(machine.poll_transmit(), None, "{state:?} {message:?}");
                }
            }
        }
    }

    #[test]
    fn garbage_is_answered_with_the_text_of_cpp() {
        let mut machine = machine(Side::Acceptor, BIG, 1);
        machine.poll_transmit();
        assert!(machine.handle_frame(&[13]).is_err());
        let answer = machine.poll_transmit().expect("a refusal");
        assert!(answer.ends_with(b"invalid message type tag"));
        assert!(machine.handle_frame(b"\x07ZEEK").is_err(), "it is over");
        assert_eq!(machine.poll_transmit(), None);
    }

    #[test]
    fn who_has_refused_says_nothing_more_whatever_comes() {
        let mut machine = machine(Side::Acceptor, SMALL, 1);
        machine.poll_transmit();
        let hello = HandshakeMessage::Hello {
            sender: BIG,
            min: 1,
            max: 1,
        };
        machine.handle_frame(&hello.to_frame()[4..]).expect("heard");
        machine.refuse(&HandshakeError::ShuttingDown);
        assert!(machine.poll_transmit().is_some());
        assert!(machine.handle_frame(&[13]).is_err());
        assert_eq!(machine.poll_transmit(), None);
    }
}
