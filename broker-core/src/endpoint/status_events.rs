//! What happens to peers, as a stream: discovered, added, lost, removed, unreachable, and failures.
//!
//! Codes, order and texts are those of the broker-wire reference, 2.8. The same events are published as
//! data on the local topics `<$>/local/data/statuses` and `<$>/local/data/errors`.

use crate::code::{ErrorCode, StatusCode};
use crate::data::Data;
use crate::data::EnumValue;
use crate::id::EndpointId;
use crate::port::{Port, Protocol};
use crate::queue::{self, Weigh};
use crate::url::PeerUrl;

/// What a [`StatusEvent`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusEventCode {
    /// First item of every new peering.
    EndpointDiscovered,
    /// Right after it: messages flow.
    PeerAdded,
    /// The peering ended without a decision of ours.
    PeerLost,
    /// The peering ended by our decision.
    PeerRemoved,
    /// Right after either: there is no way to the endpoint any more.
    EndpointUnreachable,
    /// An attempt to connect failed.
    PeerUnavailable,
    /// Asked to unpeer from somebody who is no peer.
    PeerInvalid,
}

/// One event of the status stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// What happened.
    pub code: StatusEventCode,
    /// To whom, where the ID is known.
    pub endpoint: Option<EndpointId>,
    /// The name the peer gave, possibly empty.
    pub name: String,
    /// Where, if that is part of the event.
    pub url: Option<PeerUrl>,
    /// The framework's text for it.
    pub message: String,
}

impl Weigh for StatusEvent {
    fn weight(&self) -> usize {
        128 + self.name.len() + self.message.len()
    }
}

impl StatusEvent {
    /// Whether this is an error rather than a status.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        matches!(
            self.code,
            StatusEventCode::PeerUnavailable | StatusEventCode::PeerInvalid
        )
    }

    /// The event as the value C++ Broker publishes locally.
    #[must_use]
    pub fn to_data(&self) -> Data {
        let name = match self.code {
            StatusEventCode::EndpointDiscovered => StatusCode::EndpointDiscovered.name(),
            StatusEventCode::PeerAdded => StatusCode::PeerAdded.name(),
            StatusEventCode::PeerLost => StatusCode::PeerLost.name(),
            StatusEventCode::PeerRemoved => StatusCode::PeerRemoved.name(),
            StatusEventCode::EndpointUnreachable => StatusCode::EndpointUnreachable.name(),
            StatusEventCode::PeerUnavailable => ErrorCode::PeerUnavailable.name(),
            StatusEventCode::PeerInvalid => ErrorCode::PeerInvalid.name(),
        };
        let code = Data::Enum(EnumValue::new(name));
        let message = Data::from(self.message.as_str());
        if self.is_error() {
            let context = Data::Vector(vec![self.endpoint_info(), message]);
            Data::Vector(vec![Data::from("error"), code, context])
        } else {
            Data::Vector(vec![
                Data::from("status"),
                code,
                self.endpoint_info(),
                message,
            ])
        }
    }

    fn endpoint_info(&self) -> Data {
        let id = self
            .endpoint
            .map_or(Data::None, |id| Data::from(id.to_string().as_str()));
        let mut info = vec![id];
        match &self.url {
            Some(url) => info.extend([
                Data::from(url.host()),
                Data::Port(Port::new(url.port().unwrap_or(0), Protocol::Tcp)),
                Data::Count(0),
            ]),
            None => info.extend([Data::None, Data::None, Data::None]),
        }
        Data::Vector(info)
    }
}

/// The status events of one endpoint from the moment of asking on. A reader that lags by more than 4096
/// events loses the oldest.
#[derive(Debug)]
#[must_use = "the stream ends when it is dropped"]
pub struct StatusSubscriber {
    queue: queue::Receiver<StatusEvent>,
}

impl StatusSubscriber {
    pub(crate) const fn new(queue: queue::Receiver<StatusEvent>) -> Self {
        Self { queue }
    }

    /// Waits for the next event; `None` once the endpoint has shut down.
    ///
    /// # Cancel safety
    /// Safe: no event is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<StatusEvent> {
        self.queue.recv().await
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<StatusEvent> {
        self.queue.try_recv()
    }
}
