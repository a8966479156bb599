//! Keeping a peering: connect, retry with back-off, reconnect after a loss, until told otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::local_node::{AttachedLink, LocalNode};
use super::shared::Shared;
use super::status_events::{StatusEvent, StatusEventCode};
use crate::backoff::Backoff;
use crate::handshake::HandshakeError;
use crate::id::EndpointId;
use crate::transport::{ConnectError, Transport};
use crate::url::PeerUrl;

/// A peer that refuses this endpoint's ID for so long has another endpoint with the ID.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// How long the same failure to connect is not mentioned again.
const SAY_AGAIN: Duration = Duration::from_secs(300);

/// A standing wish to be connected to an address.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) stop: CancellationToken,
    state: AtomicU8,
}

/// Where a kept peering stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    /// It has never been.
    Connecting,
    /// It is, over a connection of its own or of the peer's.
    Peered,
    /// It was, and is to be again.
    Reconnecting,
}

impl Connector {
    /// What [`PeerStatus`](crate::PeerStatus) calls it; `None` while there is a peering.
    pub(crate) fn waiting(&self) -> Option<&'static str> {
        match self.state.load(Ordering::Relaxed) {
            state if state == Standing::Connecting as u8 => Some("connecting"),
            state if state == Standing::Reconnecting as u8 => Some("reconnecting"),
            _ => None,
        }
    }

    fn stands(&self, standing: Standing) {
        self.state.store(standing as u8, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn transport(&self, scheme: &str) -> Result<Arc<dyn Transport>, Vec<String>> {
        let transports = &self.options.transports;
        transports
            .iter()
            .find(|transport| transport.schemes().contains(&scheme))
            .cloned()
            .ok_or_else(|| {
                let mut known: Vec<_> = transports
                    .iter()
                    .flat_map(|transport| transport.schemes())
                    .map(|s| (*s).to_owned())
                    .collect();
                known.sort();
                known
            })
    }

    /// One attempt: dial, shake hands, attach.
    pub(crate) async fn connect_once(
        self: &Arc<Self>,
        url: &PeerUrl,
    ) -> Result<AttachedLink, ConnectError> {
        let local = LocalNode::new(Arc::clone(self));
        let transport =
            self.transport(url.scheme())
                .map_err(|available| ConnectError::UnknownScheme {
                    scheme: url.scheme().to_owned(),
                    available,
                })?;
        let after = self.options.handshake_timeout;
        let handshake = |source| ConnectError::Handshake {
            url: url.clone(),
            source,
        };
        let connection = timeout(after, transport.connect(url, &local))
            .await
            .unwrap_or_else(|_| Err(handshake(HandshakeError::TimedOut { after })))?;
        local.attach(connection).map_err(handshake)
    }

    /// Starts to keep a peering with `url`, unless that is under way already.
    pub(crate) fn keep_peering(self: &Arc<Self>, url: PeerUrl) {
        let connector = {
            let mut control = self.control();
            if control.closed || control.connectors.contains_key(&url) {
                return;
            }
            let connector = Arc::new(Connector {
                stop: self.stop.child_token(),
                state: AtomicU8::new(Standing::Connecting as u8),
            });
            control
                .connectors
                .insert(url.clone(), Arc::clone(&connector));
            connector
        };
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            shared.maintain(&url, &connector).await;
        });
    }

    async fn maintain(self: &Arc<Self>, url: &PeerUrl, connector: &Connector) {
        let stop = &connector.stop;
        let mut backoff = match self.options.connect_retry {
            Some(pause) => Backoff::new(pause, pause),
            None => Backoff::default(),
        };
        let mut last_failure = None;
        let mut refused_since = None;
        // "At once" is the first of the back-off's delays.
        let _ = backoff.next_delay(fastrand::u64(..));
        loop {
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                attempt = self.connect_once(url) => attempt,
            };
            match attempt {
                Ok(link) => {
                    (last_failure, refused_since) = (None, None);
                    connector.stands(Standing::Peered);
                    let since = Instant::now();
                    let removed = tokio::select! {
                        removed = link.closed() => removed,
                        () = stop.cancelled() => {
                            // Given up while the connection was being made: whoever did that did not see
                            // it. At shutdown the links are taken care of.
                            if !self.stop.is_cancelled() {
                                link.leave();
                            }
                            return;
                        }
                    };
                    connector.stands(Standing::Reconnecting);
                    if removed && !self.control().connectors.contains_key(url) {
                        return;
                    }
                    if since.elapsed() >= self.options.heartbeat.timeout {
                        // It was a real peering: the next attempt is immediate.
                        backoff.reset();
                        let _ = backoff.next_delay(fastrand::u64(..));
                        continue;
                    }
                }
                Err(ConnectError::Handshake {
                    source: HandshakeError::Redundant { peer },
                    ..
                }) => {
                    last_failure = None;
                    if self.control().peers.link(peer).is_none() {
                        // It has a connection with somebody of this ID; with a dead one it notices after a while.
                        let since = *refused_since.get_or_insert_with(Instant::now);
                        if since.elapsed() >= REFUSED_FOR && !self.refused.is_cancelled() {
                            tracing::warn!(%url, id = %self.id, "the peer has refused this node for long, it has a connection with another of the same ID");
                            self.refused.cancel();
                        }
                    } else {
                        refused_since = None;
                        connector.stands(Standing::Peered);
                        tokio::select! {
                            () = self.peer_gone(peer) => {}
                            () = stop.cancelled() => return,
                        }
                        connector.stands(Standing::Reconnecting);
                    }
                }
                Err(error) => {
                    let text = describe(&error);
                    self.report_failure(url, &text, &mut last_failure);
                    if matches!(&error, ConnectError::UnknownScheme { .. })
                        || matches!(&error, ConnectError::Handshake { source, .. } if source.is_final())
                    {
                        self.control().connectors.remove(url);
                        return;
                    }
                }
            }
            tokio::select! {
                () = sleep(backoff.next_delay(fastrand::u64(..))) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn report_failure(&self, url: &PeerUrl, text: &str, last: &mut Option<(String, Instant)>) {
        // The same failure again and again is one line now and then, not one a second.
        let said = last
            .as_ref()
            .is_some_and(|(before, when)| before == text && when.elapsed() < SAY_AGAIN);
        if !said {
            tracing::warn!("{text}; retrying");
            *last = Some((text.to_owned(), Instant::now()));
        }
        let mut control = self.control();
        self.emit_event(
            &mut control,
            StatusEvent {
                code: StatusEventCode::PeerUnavailable,
                endpoint: None,
                name: String::new(),
                url: Some(url.clone()),
                message: "unable to connect to remote peer".to_owned(),
            },
        );
    }

    /// Waits until `id` is not a peer.
    pub(crate) async fn peer_gone(&self, id: EndpointId) {
        self.wait_for_table(|shared| shared.control().peers.link(id).is_none())
            .await;
    }

    /// Waits until `id` is a peer.
    pub(crate) async fn peer_there(&self, id: EndpointId) {
        self.wait_for_table(|shared| shared.control().peers.link(id).is_some())
            .await;
    }

    async fn wait_for_table(&self, ready: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.table_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if ready(self) {
                return;
            }
            changed.await;
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
