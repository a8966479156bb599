//! The handshake of our own links (grpc, mem): who are you, what do you speak, shall we be peers?
//!
//! ```text
//! connector                     acceptor
//!    | -- Hello ------------------> |
//!    | <------------------ Hello -- |
//!    |   the originator (smaller    |
//!    |   endpoint ID) decides:      |
//!    | -- Accept or Reject -------> |   or the other way round
//! ```
//!
//! The smaller ID decides because it is the one rule by which two nodes that dial each other at the
//! same moment keep the same connection (broker-wire reference, 1.4 and 1.7). The machine below holds
//! no socket and reads no clock; [`negotiate`] drives it over any [`HandshakeIo`].
//!
//! **Invariant:** an attempt ends in [`PeerIdentity`] or [`HandshakeError`], and both sides learn the
//! reason of a refusal in one line.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::code::ErrorCode;
use crate::endpoint::{Admit, LocalNode};
use crate::filter::Filter;
use crate::id::EndpointId;

/// The versions of our own link protocol this build speaks.
pub const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };

/// How long a handshake may take by default.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An inclusive range of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version spoken.
    pub min: u32,
    /// The highest version spoken.
    pub max: u32,
}

impl VersionRange {
    /// The highest version both ranges hold.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }
}

/// What an endpoint says about itself when it meets another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its identity.
    pub id: EndpointId,
    /// Its name, possibly empty.
    pub name: String,
    /// Its software and version, for people.
    pub software: String,
    /// The link protocol versions it speaks.
    pub versions: VersionRange,
    /// Optional features it offers; those both sides name are in use, unknown ones are ignored.
    pub features: Vec<String>,
    /// Features it cannot do without; the other side refuses if it lacks one.
    pub required: Vec<String>,
    /// What it wants to receive.
    pub filter: Filter,
}

/// Who a peer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its endpoint ID.
    pub id: EndpointId,
    /// The name it gave, possibly empty.
    pub name: String,
    /// Its software and version, possibly empty.
    pub software: String,
    /// The protocol version in use.
    pub version: u32,
    /// The features in use.
    pub features: Vec<String>,
    /// The filter it announced.
    pub filter: Filter,
}

/// One message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeFrame {
    /// Sent once by each side.
    Hello(Hello),
    /// The originator's yes.
    Accept,
    /// Either side's no.
    Reject {
        /// Why, as a code.
        code: ErrorCode,
        /// Why, in words.
        reason: String,
    },
}

/// Core's leave for a connection to become a peering with this ID. Dropping it gives the leave back.
#[derive(Debug)]
#[must_use = "dropping the admission gives it back"]
pub struct Admission {
    pub(crate) remote: EndpointId,
    pub(crate) local: LocalNode,
    pub(crate) serial: u64,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.local.abandon(self.remote, self.serial);
    }
}

/// Why two nodes did not become peers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// No common version.
    #[error("peer {peer} speaks link protocol versions {}-{}, we speak {}-{}", theirs.min, theirs.max, ours.min, ours.max)]
    IncompatibleVersion {
        /// The peer.
        peer: String,
        /// What we speak.
        ours: VersionRange,
        /// What it speaks.
        theirs: VersionRange,
    },
    /// One side requires what the other lacks.
    #[error("peer {peer} requires feature {feature:?}, which this node lacks")]
    MissingFeature {
        /// The peer.
        peer: String,
        /// The feature.
        feature: String,
    },
    /// There is a connection to this peer already.
    #[error("already connected to {peer}")]
    Redundant {
        /// The peer's ID.
        peer: EndpointId,
    },
    /// The peer is this very endpoint.
    #[error("that address is this node itself")]
    SelfPeering,
    /// The other side refused.
    #[error("refused by the peer: {reason}")]
    Refused {
        /// The code it gave.
        code: ErrorCode,
        /// The reason it gave.
        reason: String,
    },
    /// A message that does not belong here.
    #[error("peer broke the handshake: {reason}")]
    Protocol {
        /// What was wrong.
        reason: String,
    },
    /// The connection ended before the handshake did.
    #[error("connection ended during the handshake: {reason}")]
    Disconnected {
        /// What the transport said.
        reason: String,
    },
    /// The deadline passed.
    #[error("no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// This endpoint is shutting down.
    #[error("this node is shutting down")]
    ShuttingDown,
}

impl HandshakeError {
    /// The code that tells the other side. No `_` arm: a new variant must choose its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::IncompatibleVersion { .. } | Self::MissingFeature { .. } => {
                ErrorCode::PeerIncompatible
            }
            Self::Redundant { .. } => ErrorCode::RedundantConnection,
            Self::SelfPeering => ErrorCode::LogicError,
            Self::Refused { code, .. } => *code,
            Self::Protocol { .. } => ErrorCode::UnexpectedHandshakeMessage,
            Self::Disconnected { .. } => ErrorCode::PeerDisconnectDuringHandshake,
            Self::TimedOut { .. } => ErrorCode::PeerTimeout,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
        }
    }

    /// Whether trying again can help: a refusal for good reasons stays one, a redundant connection is none.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::SelfPeering)
    }
}

/// Which side opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We did.
    Connector,
    /// The other side did.
    Acceptor,
}

#[derive(Debug)]
enum State {
    /// Waiting for the other side's hello.
    AwaitHello,
    /// We are the originator and need core's word about this peer.
    Decide(PeerIdentity),
    /// The other side decides.
    AwaitVerdict(PeerIdentity),
    Done(PeerIdentity),
    Failed,
}

/// One handshake. Feed it frames, drain [`poll_transmit`](Self::poll_transmit), and decide when
/// [`undecided`](Self::undecided) asks.
#[derive(Debug)]
pub struct Handshake {
    side: Side,
    ours: Hello,
    state: State,
    /// Who the other side says it is, once it has.
    remote: Option<EndpointId>,
    outbox: VecDeque<HandshakeFrame>,
}

impl Handshake {
    /// A handshake on `side`; a connector speaks first.
    #[must_use]
    pub fn new(side: Side, ours: Hello) -> Self {
        let mut outbox = VecDeque::with_capacity(2);
        if side == Side::Connector {
            outbox.push_back(HandshakeFrame::Hello(ours.clone()));
        }
        Self {
            side,
            ours,
            state: State::AwaitHello,
            remote: None,
            outbox,
        }
    }

    /// Takes one frame of the other side.
    ///
    /// # Errors
    /// The handshake is over; what is still in the outbox says so to the other side.
    pub fn handle_frame(&mut self, frame: HandshakeFrame) -> Result<(), HandshakeError> {
        match (std::mem::replace(&mut self.state, State::Failed), frame) {
            (_, HandshakeFrame::Reject { code, reason }) => Err(match (code, self.remote) {
                (ErrorCode::RedundantConnection, Some(peer)) => HandshakeError::Redundant { peer },
                _ => HandshakeError::Refused { code, reason },
            }),
            (State::AwaitHello, HandshakeFrame::Hello(theirs)) => {
                self.remote = Some(theirs.id);
                let peer = self.agree(theirs).inspect_err(|error| self.reject(error))?;
                if self.side == Side::Acceptor {
                    self.outbox
                        .push_back(HandshakeFrame::Hello(self.ours.clone()));
                }
                self.state = if self.ours.id < peer.id {
                    State::Decide(peer)
                } else {
                    State::AwaitVerdict(peer)
                };
                Ok(())
            }
            (State::AwaitVerdict(peer), HandshakeFrame::Accept) => {
                self.state = State::Done(peer);
                Ok(())
            }
            (_, frame) => {
                let error = HandshakeError::Protocol {
                    reason: format!("unexpected {}", frame.name()),
                };
                self.reject(&error);
                Err(error)
            }
        }
    }

    /// The peer that waits for our word, if we are the originator and it is our turn.
    #[must_use]
    pub const fn undecided(&self) -> Option<&PeerIdentity> {
        match &self.state {
            State::Decide(peer) => Some(peer),
            _ => None,
        }
    }

    /// Says yes to the undecided peer.
    pub fn accept(&mut self) {
        if let State::Decide(peer) = std::mem::replace(&mut self.state, State::Failed) {
            self.outbox.push_back(HandshakeFrame::Accept);
            self.state = State::Done(peer);
        }
    }

    /// Ends the handshake and tells the other side why.
    pub fn reject(&mut self, error: &HandshakeError) {
        self.state = State::Failed;
        self.outbox.push_back(HandshakeFrame::Reject {
            code: error.code(),
            reason: self.explain(error),
        });
    }

    /// The next frame for the other side.
    pub fn poll_transmit(&mut self) -> Option<HandshakeFrame> {
        self.outbox.pop_front()
    }

    /// The peer, once both sides agreed.
    #[must_use]
    pub const fn peer(&self) -> Option<&PeerIdentity> {
        match &self.state {
            State::Done(peer) => Some(peer),
            _ => None,
        }
    }

    fn agree(&self, theirs: Hello) -> Result<PeerIdentity, HandshakeError> {
        let peer = if theirs.name.is_empty() {
            theirs.id.to_string()
        } else {
            theirs.name.clone()
        };
        if theirs.id == self.ours.id {
            return Err(HandshakeError::SelfPeering);
        }
        if theirs.id.is_nil() {
            return Err(HandshakeError::Protocol {
                reason: "nil endpoint ID".to_owned(),
            });
        }
        let Some(version) = self.ours.versions.common(theirs.versions) else {
            return Err(HandshakeError::IncompatibleVersion {
                peer,
                ours: self.ours.versions,
                theirs: theirs.versions,
            });
        };
        if let Some(feature) = theirs
            .required
            .iter()
            .find(|feature| !self.ours.features.contains(feature))
        {
            return Err(HandshakeError::MissingFeature {
                peer,
                feature: feature.clone(),
            });
        }
        let features = theirs
            .features
            .into_iter()
            .filter(|feature| self.ours.features.contains(feature))
            .collect();
        Ok(PeerIdentity {
            id: theirs.id,
            name: theirs.name,
            software: theirs.software,
            version,
            features,
            filter: theirs.filter,
        })
    }

    /// The refusal as the other side should read it: from its point of view.
    fn explain(&self, error: &HandshakeError) -> String {
        let me = if self.ours.name.is_empty() {
            self.ours.id.to_string()
        } else {
            self.ours.name.clone()
        };
        match error {
            HandshakeError::IncompatibleVersion { ours, theirs, .. } => format!(
                "{me} speaks link protocol versions {}-{}, you speak {}-{}",
                ours.min, ours.max, theirs.min, theirs.max
            ),
            HandshakeError::MissingFeature { feature, .. } => {
                format!("{me} lacks feature {feature:?}, which you require")
            }
            other => other.to_string(),
        }
    }
}

impl HandshakeFrame {
    const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Accept => "accept",
            Self::Reject { .. } => "reject",
        }
    }
}

/// A connection that can carry handshake frames.
pub trait HandshakeIo: Send {
    /// Sends one frame.
    fn send(
        &mut self,
        frame: HandshakeFrame,
    ) -> impl Future<Output = Result<(), HandshakeError>> + Send;
    /// Waits for the next frame.
    fn recv(&mut self) -> impl Future<Output = Result<HandshakeFrame, HandshakeError>> + Send;
}

/// What a handshake that succeeded leaves behind.
#[derive(Debug)]
pub struct Negotiated {
    /// Who is there.
    pub peer: PeerIdentity,
    /// Core's leave to attach.
    pub admission: Admission,
    /// The filter we announced.
    pub announced: Filter,
}

/// Does the whole handshake over `io`, within the endpoint's handshake timeout.
///
/// # Errors
/// See [`HandshakeError`]; the other side has been told where it was there to be told.
///
/// # Cancel safety
/// Dropping the future gives up the attempt.
pub async fn negotiate(
    side: Side,
    local: &LocalNode,
    io: &mut impl HandshakeIo,
) -> Result<Negotiated, HandshakeError> {
    let after = local.handshake_timeout();
    let deadline = Instant::now() + after;
    timeout_at(deadline, run(side, local, io))
        .await
        .unwrap_or(Err(HandshakeError::TimedOut { after }))
}

async fn run(
    side: Side,
    local: &LocalNode,
    io: &mut impl HandshakeIo,
) -> Result<Negotiated, HandshakeError> {
    let ours = local.hello();
    let announced = ours.filter.clone();
    let mut machine = Handshake::new(side, ours);
    loop {
        flush(&mut machine, io).await?;
        if let Some(peer) = machine.undecided() {
            // Originator: the admission comes before the yes, so that only one of several
            // parallel connections ever hears it.
            match local.admit(peer.id, true).await {
                Admit::Granted(admission) => {
                    let peer = peer.clone();
                    machine.accept();
                    flush(&mut machine, io).await?;
                    return Ok(Negotiated {
                        peer,
                        admission,
                        announced,
                    });
                }
                Admit::Refused(error) => {
                    machine.reject(&error);
                    flush(&mut machine, io).await?;
                    return Err(error);
                }
            }
        }
        if let Some(peer) = machine.peer() {
            // Responder: the originator has decided for this connection, and that is the rule.
            return match local.admit(peer.id, false).await {
                Admit::Granted(admission) => Ok(Negotiated {
                    peer: peer.clone(),
                    admission,
                    announced,
                }),
                Admit::Refused(error) => Err(error),
            };
        }
        let frame = io.recv().await?;
        if let Err(error) = machine.handle_frame(frame) {
            // Best effort: the other side may be gone, and what happened here matters more.
            let _ = flush(&mut machine, io).await;
            return Err(error);
        }
    }
}

async fn flush(machine: &mut Handshake, io: &mut impl HandshakeIo) -> Result<(), HandshakeError> {
    while let Some(frame) = machine.poll_transmit() {
        io.send(frame).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(first_byte: u8) -> Hello {
        let mut id = [7; 16];
        id[0] = first_byte;
        Hello {
            id: EndpointId::from_bytes(id),
            name: format!("node-{first_byte}"),
            software: "test".to_owned(),
            versions: VERSIONS,
            features: vec!["receipts".to_owned()],
            required: Vec::new(),
            filter: Filter::new(),
        }
    }

    /// Carries frames between the two until both are silent; the originator says yes.
    fn run(
        left: &mut Handshake,
        right: &mut Handshake,
    ) -> (Result<(), HandshakeError>, Result<(), HandshakeError>) {
        let (mut left_result, mut right_result) = (Ok(()), Ok(()));
        loop {
            for machine in [&mut *left, &mut *right] {
                if machine.undecided().is_some() {
                    machine.accept();
                }
            }
            let frames: (Vec<_>, Vec<_>) = (
                std::iter::from_fn(|| left.poll_transmit()).collect(),
                std::iter::from_fn(|| right.poll_transmit()).collect(),
            );
            if frames.0.is_empty() && frames.1.is_empty() {
                return (left_result, right_result);
            }
            for frame in frames.0 {
                right_result = right_result.and_then(|()| right.handle_frame(frame));
            }
            for frame in frames.1 {
                left_result = left_result.and_then(|()| left.handle_frame(frame));
            }
        }
    }

    #[test]
    fn both_sides_learn_who_the_other_is_whoever_is_the_originator() {
        for (connector, acceptor) in [(1, 2), (2, 1)] {
            let mut left = Handshake::new(Side::Connector, hello(connector));
            let mut right = Handshake::new(Side::Acceptor, hello(acceptor));
            assert_eq!(run(&mut left, &mut right), (Ok(()), Ok(())));
            assert_eq!(left.peer().map(|peer| peer.id), Some(hello(acceptor).id));
            assert_eq!(right.peer().map(|peer| peer.id), Some(hello(connector).id));
            assert_eq!(
                left.peer().map(|peer| peer.features.as_slice()),
                Some(&["receipts".to_owned()][..])
            );
        }
    }

    #[test]
    fn versions_that_do_not_meet_are_named_on_both_sides() {
        let mut future = hello(2);
        future.versions = VersionRange { min: 2, max: 3 };
        let mut left = Handshake::new(Side::Connector, future);
        let mut right = Handshake::new(Side::Acceptor, hello(1));
        let (left_result, right_result) = run(&mut left, &mut right);
        let right_text = right_result.expect_err("incompatible").to_string();
        assert_eq!(
            right_text,
            "peer node-2 speaks link protocol versions 2-3, we speak 1-1"
        );
        let left_text = left_result.expect_err("refused").to_string();
        assert_eq!(
            left_text,
            "refused by the peer: node-1 speaks link protocol versions 1-1, you speak 2-3"
        );
    }

    #[test]
    fn a_required_feature_that_is_missing_ends_it() {
        let mut demanding = hello(2);
        demanding.required = vec!["teleport".to_owned()];
        let mut left = Handshake::new(Side::Connector, demanding);
        let mut right = Handshake::new(Side::Acceptor, hello(1));
        let (left_result, right_result) = run(&mut left, &mut right);
        assert!(matches!(
            right_result,
            Err(HandshakeError::MissingFeature { .. })
        ));
        assert!(matches!(
            left_result,
            Err(HandshakeError::Refused {
                code: ErrorCode::PeerIncompatible,
                ..
            })
        ));
    }

    #[test]
    fn a_node_does_not_become_its_own_peer() {
        let mut left = Handshake::new(Side::Connector, hello(1));
        let mut right = Handshake::new(Side::Acceptor, hello(1));
        let (_, right_result) = run(&mut left, &mut right);
        assert_eq!(right_result, Err(HandshakeError::SelfPeering));
    }

    #[test]
    fn frames_out_of_order_end_the_handshake() {
        let mut machine = Handshake::new(Side::Acceptor, hello(1));
        assert!(matches!(
            machine.handle_frame(HandshakeFrame::Accept),
            Err(HandshakeError::Protocol { .. })
        ));
        assert!(matches!(
            machine.poll_transmit(),
            Some(HandshakeFrame::Reject { .. })
        ));
        assert!(
            machine
                .handle_frame(HandshakeFrame::Hello(hello(2)))
                .is_err()
        );
    }
}
