//! One peering from the outside: who it is with, whether the peer has seen what was sent, and how it ended.
//!
//! Unlike an endpoint ID, a [`PeeringHandle`] does not outlive a reconnect: what it says is about this
//! connection. So whoever has to know that *everything* arrived asks it, not the peer table.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::link::{Link, LinkEnd, Wish};
use super::shared::Shared;
use super::{Endpoint, PeerInfo};
use crate::filter::Filter;
use crate::id::EndpointId;

/// One peering. Holding it keeps neither the peering nor the endpoint.
#[derive(Clone, Debug)]
pub struct PeeringHandle {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

impl Endpoint {
    /// The peering with `peer`, if there is one.
    #[must_use]
    pub fn peering(&self, peer: EndpointId) -> Option<PeeringHandle> {
        let link = self.shared.control().peers.link(peer).cloned()?;
        Some(PeeringHandle {
            shared: Arc::clone(&self.shared),
            link,
        })
    }
}

impl PeeringHandle {
    /// Who the peer is, with its filter of this moment.
    #[must_use]
    pub fn info(&self) -> PeerInfo {
        peer_info(&self.link)
    }

    /// Waits until the peer has seen all that was queued for it before, our filter included, and returns how long
    /// that took: on an idle peering, a round trip. `None` if the peering ends first. How long a silent peer is
    /// waited for is the heartbeat's business (broker-wire reference, 2.6).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn confirmed(&self) -> Option<Duration> {
        let asked = Instant::now();
        self.shared.flush_filter_if_dirty();
        let (answer, answered) = oneshot::channel();
        self.link.wishes.send(Wish::Barrier(answer)).await.ok()?;
        answered.await.ok()?;
        Some(asked.elapsed())
    }

    /// Waits until the peering has ended.
    ///
    /// # Cancel safety
    /// Safe: the peering is not affected.
    pub async fn ended(&self) -> LinkEnd {
        self.link.closed().await
    }
}

pub(super) fn peer_info(link: &Link) -> PeerInfo {
    PeerInfo {
        id: link.id(),
        name: link.name().to_owned(),
        software: link.peer.software.clone(),
        url: link.url.clone(),
        inbound: link.inbound,
        version: link.peer.version,
        features: link.peer.features.clone(),
        filter: Filter::clone(&link.current_filter()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{MemNetwork, MemTransport};

    async fn pair() -> (Endpoint, Endpoint, PeeringHandle) {
        let network = MemNetwork::new();
        let node = || {
            Endpoint::builder()
                .transport(MemTransport::new(&network))
                .start()
        };
        let (left, right) = (node(), node());
        let url = right
            .listen(&"mem://right".parse().expect("a URL"))
            .await
            .expect("listens");
        let id = left.connect(url).await.expect("connects");
        let peering = left.peering(id).expect("a peering");
        (left, right, peering)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_confirms_what_was_sent_and_none_that_has_gone_does() {
        let (_left, right, peering) = pair().await;
        assert_eq!(peering.info().id, right.id());
        assert!(peering.confirmed().await.is_some());
        right.shutdown().await;
        assert_eq!(peering.ended().await, LinkEnd::Left);
        assert!(peering.confirmed().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peering_says_who_ended_it() {
        let (left, right, peering) = pair().await;
        assert!(left.unpeer_id(right.id()).await);
        assert_eq!(peering.ended().await, LinkEnd::Removed(String::new()));
        assert!(left.peering(right.id()).is_none());
    }
}
