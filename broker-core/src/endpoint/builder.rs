//! How an endpoint is set up.

use std::sync::Arc;
use std::time::Duration;

use super::local_node::LocalNode;
use super::shared::{Options, Shared};
use super::{Endpoint, Guard};
use crate::event_meter::EventMeter;
use crate::handshake::HANDSHAKE_TIMEOUT;
use crate::id::EndpointId;
use crate::peering::Heartbeat;
use crate::queue::QueueOptions;
use crate::time::Timestamp;
use crate::transport::Transport;

/// Sets up an [`Endpoint`].
#[must_use = "the endpoint runs once start() is called"]
pub struct EndpointBuilder {
    id: Option<EndpointId>,
    options: Options,
}

impl std::fmt::Debug for EndpointBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndpointBuilder")
            .field("id", &self.id)
            .field("name", &self.options.name)
            .finish_non_exhaustive()
    }
}

impl EndpointBuilder {
    pub(crate) fn new() -> Self {
        Self {
            id: None,
            options: Options {
                name: String::new(),
                software: concat!("broker-core ", env!("CARGO_PKG_VERSION")).to_owned(),
                features: Vec::new(),
                forwarding: true,
                peer_queue: QueueOptions::peer(),
                heartbeat: Heartbeat::default(),
                handshake_timeout: HANDSHAKE_TIMEOUT,
                telemetry: false,
                event_meter: None,
                connect_retry: None,
                transports: Vec::new(),
            },
        }
    }

    /// The name peers are told, for people; default none. In a cluster, the node's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// Software and version peers are told; default this crate's.
    pub fn software(mut self, software: impl Into<String>) -> Self {
        self.options.software = software.into();
        self
    }

    /// The endpoint's ID; default a fresh random one, which is right unless somebody keeps IDs across restarts.
    /// Two endpoints with one ID cannot be peers and confuse all others.
    pub const fn id(mut self, id: EndpointId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a transport; of two that serve the same scheme the first is used. Default none: then the
    /// endpoint works only within itself.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.options.transports.push(Arc::new(transport));
        self
    }

    /// Whether messages of one peer are passed on to other peers that want them; default yes. Nodes of a
    /// Zeek cluster do not. Among C++ nodes, forwarding in a ring makes messages circulate.
    pub const fn forwarding(mut self, forwarding: bool) -> Self {
        self.options.forwarding = forwarding;
        self
    }

    /// Bounds and policy of each peer's queue; default [`QueueOptions::peer`]. With `block`, publishers run at
    /// the speed of the slowest peer, within the block timeout.
    pub const fn peer_queue(mut self, options: QueueOptions) -> Self {
        self.options.peer_queue = options;
        self
    }

    /// How peers are watched; default a ping a second and five seconds of silence.
    pub const fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// How long connecting and shaking hands may take; default 10 s.
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = timeout;
        self
    }

    /// Dials a kept peering again after this time, always the same within 20 %; default at once, then after 100 ms doubling
    /// to 5 s. A short time keeps a peer busy that cannot serve everybody who comes.
    pub const fn connect_retry(mut self, pause: Duration) -> Self {
        self.options.connect_retry = Some(pause);
        self
    }

    /// Counts what passes through by kind, for [`Endpoint::traffic`]; default no, since it costs a look at every payload.
    pub const fn telemetry(mut self, count: bool) -> Self {
        self.options.telemetry = count;
        self
    }

    /// Counts events by topic and name in `meter`, in the scope without a name; default no, since it costs two look-ups for
    /// each event. It brings [`telemetry`](Self::telemetry) with it.
    pub fn event_meter(mut self, meter: EventMeter) -> Self {
        self.options.event_meter = Some(meter);
        self
    }

    /// Offers an optional feature to peers; it is in use where both sides offer it.
    pub fn feature(mut self, feature: impl Into<String>) -> Self {
        let feature = feature.into();
        if !self.options.features.contains(&feature) {
            self.options.features.push(feature);
        }
        self
    }

    /// Starts the endpoint.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use = "the endpoint stops when its last handle is dropped"]
    pub fn start(self) -> Endpoint {
        // An ID that was given may have been another process's before, whose numbers others remember: this one's have to
        // be above them. Nanoseconds since the epoch are, whatever was sent meanwhile.
        let first = match self.id {
            Some(_) => u64::try_from(Timestamp::now().as_nanos()).unwrap_or(0),
            None => 0,
        };
        let id = self.id.unwrap_or_else(EndpointId::random);
        let shared = Shared::new(id, first, self.options);
        shared.tasks.spawn(Arc::clone(&shared).announce_changes());
        shared.tasks.spawn(Arc::clone(&shared).ask_about_cycles());
        let local = LocalNode::new(Arc::clone(&shared));
        for transport in &shared.options.transports {
            transport.started(&local);
        }
        let guard = Arc::new(Guard {
            shared: Arc::clone(&shared),
        });
        Endpoint {
            shared,
            _guard: Some(guard),
        }
    }
}
