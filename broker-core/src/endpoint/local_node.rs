//! What a transport may know and ask of the endpoint it works for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Endpoint;
use super::client_events::ClientEvent;
use super::link::{self, Link, LinkEnd};
use super::peer_table::Decision;
use super::shared::Shared;
use crate::handshake::{Admission, HandshakeError, Hello, VERSIONS};
use crate::id::EndpointId;
use crate::queue;
use crate::transport::Connection;

/// How often a responder looks whether the old link of a peer that comes anew is alive after all.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A transport's handle to its endpoint. Holding one does not keep the endpoint running.
#[derive(Clone, Debug)]
pub struct LocalNode {
    shared: Arc<Shared>,
}

/// The answer to the question whether a remote may become a peer.
#[derive(Debug)]
#[must_use]
pub enum Admit {
    /// Yes.
    Granted(Admission),
    /// No, and why.
    Refused(HandshakeError),
}

impl LocalNode {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The endpoint's ID.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.shared.id
    }

    /// The endpoint itself, for services beside the peering. This handle does not keep it running.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            shared: Arc::clone(&self.shared),
            _guard: None,
        }
    }

    /// Runs `task` as one of the endpoint's: shutdown waits for it, so it has to end soon after the listening
    /// token is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(task);
    }

    /// A client of the transport has come or gone.
    pub fn client_event(&self, event: &ClientEvent) {
        self.shared.client_event(event);
    }

    /// What this endpoint says about itself at this moment.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let options = &self.shared.options;
        Hello {
            id: self.shared.id,
            name: options.name.clone(),
            software: options.software.clone(),
            versions: VERSIONS,
            features: options.features.clone(),
            required: Vec::new(),
            filter: self.shared.announced(),
        }
    }

    /// How long a handshake may take, connecting included.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        self.shared.options.handshake_timeout
    }

    /// Asks whether `remote` may become a peer over this connection. The originator (smaller ID) asks
    /// before it agrees and may have to wait for another attempt to end; the responder asks after the
    /// originator has agreed.
    ///
    /// # Cancel safety
    /// Safe: dropping the future asks for nothing.
    pub async fn admit(&self, remote: EndpointId, originator: bool) -> Admit {
        let asked = Instant::now();
        // Twice the heartbeat: a living peer has been heard by then.
        let patience = asked + 2 * self.shared.options.heartbeat.interval;
        loop {
            let changed = self.shared.table_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (decision, alive) = {
                let mut control = self.shared.control();
                if control.closed {
                    return Admit::Refused(HandshakeError::ShuttingDown);
                }
                let alive = control
                    .peers
                    .link(remote)
                    .is_some_and(|link| link.last_heard() > asked);
                let silent = Instant::now() >= patience;
                (control.peers.admit(remote, originator, silent), alive)
            };
            match decision {
                Decision::Granted(serial) => {
                    return Admit::Granted(Admission {
                        remote,
                        local: self.clone(),
                        serial,
                    });
                }
                Decision::Redundant if originator || alive => {
                    return Admit::Refused(HandshakeError::Redundant { peer: remote });
                }
                Decision::Redundant => {
                    let look_again = (Instant::now() + LOOK_AGAIN).min(patience);
                    let _ = timeout_at(look_again, changed).await;
                }
                Decision::Wait => changed.await,
            }
        }
    }

    pub(crate) fn abandon(&self, remote: EndpointId, serial: u64) {
        let changed = self.shared.control().peers.abandon(remote, serial);
        if changed {
            self.shared.table_changed.notify_waiters();
        }
    }

    /// Makes a peer of an established connection and starts to move its messages.
    ///
    /// # Errors
    /// A newer connection to the same peer has taken its place meanwhile, or the endpoint is shutting down.
    pub fn attach(&self, connection: Connection) -> Result<AttachedLink, HandshakeError> {
        let Connection {
            peer,
            admission,
            announced,
            url,
            inbound,
            sink,
            source,
            traits,
        } = connection;
        let shared = &self.shared;
        let remote = peer.id;
        let label = if peer.name.is_empty() {
            remote.to_string()
        } else {
            peer.name.clone()
        };
        let drops = Arc::clone(&shared.drops);
        let (sender, receiver) = queue::channel_with(
            shared.options.peer_queue,
            move |envelope: &crate::Envelope, reason| {
                drops.record(&label, &envelope.topic, reason);
            },
        );
        let (link, wishes) = Link::new(
            peer,
            url,
            inbound,
            admission.serial,
            traits,
            shared.options.heartbeat,
            sender,
        );
        if !shared.attach(&link, admission.serial, &announced)? {
            return Err(HandshakeError::Redundant { peer: remote });
        }
        drop(admission);
        let task = link::run(
            Arc::clone(shared),
            Arc::clone(&link),
            receiver,
            wishes,
            sink,
            source,
        );
        shared.tasks.spawn(task);
        Ok(AttachedLink { link })
    }
}

/// A link that has been attached.
#[derive(Debug)]
pub struct AttachedLink {
    link: Arc<Link>,
}

impl AttachedLink {
    /// The peer's ID.
    #[must_use]
    pub fn peer(&self) -> EndpointId {
        self.link.id()
    }

    pub(crate) fn leave(&self) {
        self.link.leave();
    }

    /// Waits until the link has ended; returns whether that was this endpoint's own decision.
    ///
    /// # Cancel safety
    /// Safe: the link is not affected.
    pub async fn closed(&self) -> bool {
        matches!(self.link.closed().await, LinkEnd::Removed(_))
    }
}
