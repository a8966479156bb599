//! One attached peer: what the router sees of it, and the two tasks that move its envelopes.
//!
//! The writer drains the queue in batches, each one call of the transport. The reader hands batches to
//! the router, runs the [`Peering`] machine and answers the endpoint's wishes (leave, barrier). The
//! reader waits for local subscribers whose policy is `block`, so that a slow application pushes
//! back through the transport; it never waits for another link.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::density::Density;
use super::shared::{OVERFLOW, Shared};
use crate::cycle_guard::GuardedLink;
use crate::envelope::{Envelope, MessageKind};
use crate::filter::Filter;
use crate::handshake::PeerIdentity;
use crate::id::EndpointId;
use crate::peering::{Ended, Event, Heartbeat, Peering, Transmit};
use crate::queue;
use crate::topic::reserved;
use crate::transport::{LinkSink, LinkSource, LinkTraits};
use crate::url::PeerUrl;

/// The writer takes at most so many envelopes for one call of the transport.
const WRITE_BATCH_MESSAGES: usize = 512;
/// ... and about so many bytes.
const WRITE_BATCH_BYTES: usize = 256 << 10;
/// How long an ending link may take to write what it still has.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// Wishes of the endpoint that may wait for the reader.
const CONTROL_QUEUE: usize = 64;

/// What the endpoint asks of a link's reader.
#[derive(Debug)]
pub(crate) enum Wish {
    /// Say goodbye and close.
    Leave,
    /// Answer when the peer has seen everything sent so far.
    Barrier(oneshot::Sender<()>),
}

/// Why a peering ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// Without a decision of ours; the text says what was seen.
    #[error("connection lost: {0}")]
    Lost(String),
    /// By the peer's decision, announced.
    #[error("the peer has left")]
    Left,
    /// By our decision; the text is a reason, or empty.
    #[error("ended on this side: {0}")]
    Removed(String),
}

/// A link as the router sees it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerIdentity,
    pub(crate) url: PeerUrl,
    pub(crate) inbound: bool,
    pub(crate) guarded: GuardedLink,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) queue: queue::Sender<Envelope>,
    /// The filter the peer announced last. Changed only under the endpoint's control lock.
    pub(crate) filter: Mutex<Arc<Filter>>,
    pub(crate) wishes: mpsc::Sender<Wish>,
    /// What the peer turned out to be called after its handshake, which has no name in version 1.
    learned_name: OnceLock<String>,
    pub(crate) received: AtomicU64,
    pub(crate) rejected: AtomicU64,
    rtt_nanos: AtomicU64,
    /// When the peer was last heard, in nanoseconds since `attached`.
    heard_nanos: AtomicU64,
    attached: Instant,
    /// Cancelled to end the link at once.
    cut: CancellationToken,
    cut_reason: OnceLock<LinkEnd>,
    /// Cancelled when both tasks have ended and the router has forgotten the link.
    closed: CancellationToken,
    end: OnceLock<LinkEnd>,
}

impl Link {
    pub(crate) fn new(
        peer: PeerIdentity,
        url: PeerUrl,
        inbound: bool,
        serial: u64,
        traits: LinkTraits,
        heartbeat: Heartbeat,
        queue: queue::Sender<Envelope>,
    ) -> (Arc<Self>, mpsc::Receiver<Wish>) {
        let (wishes, wish_receiver) = mpsc::channel(CONTROL_QUEUE);
        let filter = Mutex::new(Arc::new(peer.filter.clone()));
        let link = Self {
            peer,
            url,
            inbound,
            guarded: GuardedLink {
                serial,
                secret: EndpointId::random(),
                numbered: traits.numbered,
                forwards_pings: traits.forwards_pings,
            },
            heartbeat: traits.heartbeat.unwrap_or(heartbeat),
            queue,
            filter,
            wishes,
            learned_name: OnceLock::new(),
            received: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            rtt_nanos: AtomicU64::new(0),
            heard_nanos: AtomicU64::new(0),
            attached: Instant::now(),
            cut: CancellationToken::new(),
            cut_reason: OnceLock::new(),
            closed: CancellationToken::new(),
            end: OnceLock::new(),
        };
        (Arc::new(link), wish_receiver)
    }

    pub(crate) const fn id(&self) -> EndpointId {
        self.peer.id
    }

    /// The name for people: the peer's, else its ID.
    pub(crate) fn label(&self) -> String {
        match self.name() {
            "" => self.peer.id.to_string(),
            name => name.to_owned(),
        }
    }

    /// What the peer is called: by itself in the handshake, else as was learned later; empty if neither.
    pub(crate) fn name(&self) -> &str {
        if self.peer.name.is_empty() {
            self.learned_name.get().map_or("", String::as_str)
        } else {
            &self.peer.name
        }
    }

    /// Notes the name of a peer that told none. The first one stays.
    pub(crate) fn learn_name(&self, name: &str) {
        if self.peer.name.is_empty() {
            let _ = self.learned_name.set(name.to_owned());
        }
    }

    pub(crate) fn current_filter(&self) -> Arc<Filter> {
        Arc::clone(&self.filter.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace_filter(&self, filter: Arc<Filter>) -> Arc<Filter> {
        std::mem::replace(
            &mut *self.filter.lock().unwrap_or_else(PoisonError::into_inner),
            filter,
        )
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        Some(self.rtt_nanos.load(Ordering::Relaxed))
            .filter(|nanos| *nanos > 0)
            .map(Duration::from_nanos)
    }

    /// When something was last heard from the peer.
    pub(crate) fn last_heard(&self) -> Instant {
        self.attached + Duration::from_nanos(self.heard_nanos.load(Ordering::Relaxed))
    }

    fn heard(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.attached).as_nanos();
        self.heard_nanos
            .store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Asks the reader to say goodbye and close; if it cannot be asked, ends the link at once.
    pub(crate) fn leave(&self) {
        if self.wishes.try_send(Wish::Leave).is_err() {
            self.cut(LinkEnd::Removed(String::new()));
        }
    }

    /// Ends the link without a goodbye.
    pub(crate) fn cut(&self, why: LinkEnd) {
        let _ = self.cut_reason.set(why);
        self.cut.cancel();
    }

    /// Waits until the link has ended and is out of the routing table.
    pub(crate) async fn closed(&self) -> LinkEnd {
        self.closed.cancelled().await;
        self.end
            .get()
            .cloned()
            .unwrap_or(LinkEnd::Lost(String::new()))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn control(&self, local: EndpointId, kind: MessageKind, payload: Bytes) -> Envelope {
        Envelope::unicast(kind, local, self.id(), reserved::CONTROL, payload)
    }
}

/// Runs a link until it ends, then takes it out of the endpoint.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: Arc<Link>,
    queue: queue::Receiver<Envelope>,
    wishes: mpsc::Receiver<Wish>,
    sink: Box<dyn LinkSink>,
    source: Box<dyn LinkSource>,
) {
    let writer = write(Arc::clone(&shared), Arc::clone(&link), queue, sink);
    let reader = async {
        let end = read(&shared, &link, wishes, source).await;
        link.queue.close();
        end
    };
    // The writer may end first (the transport failed); the reader then sees the same.
    let writer = tokio::spawn(writer);
    let end = reader.await;
    if matches!(end, LinkEnd::Lost(_) | LinkEnd::Left) {
        link.cut.cancel();
    }
    // What is queued (a goodbye's answer, say) still goes out, unless the transport is stuck.
    let mut writer = writer;
    if timeout(FLUSH_TIMEOUT, &mut writer).await.is_err() {
        link.cut.cancel();
        let _ = writer.await;
    }
    shared.detach(&link, &end);
    shared.link_ended(&link, &end);
    let _ = link.end.set(end);
    link.closed.cancel();
}

async fn write(
    shared: Arc<Shared>,
    link: Arc<Link>,
    mut queue: queue::Receiver<Envelope>,
    mut sink: Box<dyn LinkSink>,
) {
    let mut batch = Vec::with_capacity(WRITE_BATCH_MESSAGES);
    // The reader's pings keep the peer content, unless a slow subscriber holds the reader up: then this does.
    let quiet = 2 * link.heartbeat.interval;
    loop {
        let taken = tokio::select! {
            biased;
            () = link.cut.cancelled() => break,
            taken = queue.recv_many(&mut batch, WRITE_BATCH_MESSAGES, WRITE_BATCH_BYTES) => taken,
            () = sleep(quiet) => {
                // A pong nobody waits for is a sign of life that asks for no answer.
                batch.push(link.control(shared.id, MessageKind::Pong, Bytes::new()));
                1
            }
        };
        if taken == 0 {
            if queue.is_cut() {
                link.cut(LinkEnd::Removed(OVERFLOW.to_owned()));
            }
            break;
        }
        let sent = tokio::select! {
            biased;
            sent = sink.send(&mut batch) => sent,
            () = link.cut.cancelled() => break,
        };
        if let Err(error) = sent {
            link.cut(LinkEnd::Lost(error.to_string()));
            break;
        }
        if taken < WRITE_BATCH_MESSAGES {
            // Others first: what they publish meanwhile makes a batch and needs no wake-up.
            tokio::task::yield_now().await;
        }
    }
    let _ = timeout(FLUSH_TIMEOUT, sink.close()).await;
}

async fn read(
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    mut wishes: mpsc::Receiver<Wish>,
    mut source: Box<dyn LinkSource>,
) -> LinkEnd {
    let mut peering = Peering::new(Instant::now(), link.heartbeat, fastrand::u64(..));
    let mut barriers: Vec<(u64, oneshot::Sender<()>)> = Vec::new();
    let mut batch = Vec::new();
    let mut density = Density::default();
    loop {
        while let Some(frame) = peering.poll_transmit() {
            let (kind, payload) = match frame {
                Transmit::Ping(payload) => (MessageKind::Ping, payload),
                Transmit::Pong(payload) => (MessageKind::Pong, payload),
            };
            if matches!(
                link.queue
                    .offer_or_drop(link.control(shared.id, kind, payload)),
                queue::Offer::Disconnect
            ) {
                return LinkEnd::Removed(OVERFLOW.to_owned());
            }
        }
        while let Some(event) = peering.poll_event() {
            match event {
                Event::Ended(Ended::Left) => return LinkEnd::Removed(String::new()),
                Event::Ended(Ended::LeftWithoutAnswer) => {
                    return LinkEnd::Removed("timeout during graceful disconnect".to_owned());
                }
                Event::Ended(Ended::Silent) => {
                    let seconds = link.heartbeat.timeout.as_secs_f32();
                    return LinkEnd::Lost(format!("nothing heard for {seconds} s"));
                }
                Event::RoundTrip(rtt) => {
                    let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX).max(1);
                    link.rtt_nanos.store(nanos, Ordering::Relaxed);
                }
                Event::BarrierReached(number) => {
                    if let Some(at) = barriers.iter().position(|(waiting, _)| *waiting == number) {
                        let _ = barriers.swap_remove(at).1.send(());
                    }
                }
            }
        }
        let timeout = peering.next_timeout().unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            () = link.cut.cancelled() => {
                return link.cut_reason.get().cloned().unwrap_or_else(|| LinkEnd::Lost("cut".to_owned()));
            }
            wish = wishes.recv() => match wish {
                Some(Wish::Leave) => peering.leave(Instant::now()),
                Some(Wish::Barrier(answer)) => {
                    barriers.retain(|(_, waiting)| !waiting.is_closed());
                    if let Some(number) = peering.barrier() {
                        barriers.push((number, answer));
                    }
                }
                None => return LinkEnd::Removed(String::new()),
            },
            got = source.recv(&mut batch) => match got {
                Ok(true) => {
                    let now = Instant::now();
                    peering.heard(now);
                    link.heard(now);
                    link.rejected.fetch_add(source.take_rejected(), Ordering::Relaxed);
                    shared.inbound(link, &mut batch, &mut peering, &mut density).await;
                    // Time spent waiting for a local subscriber is not silence of the peer. And a link that is
                    // never idle must keep its deadlines too.
                    let now = Instant::now();
                    peering.heard(now);
                    peering.handle_timeout(now);
                }
                Ok(false) | Err(_) if peering.is_leaving() => return LinkEnd::Removed(String::new()),
                Ok(false) | Err(_) if peering.peer_said_bye() => return LinkEnd::Left,
                Ok(false) => return LinkEnd::Lost("closed by the peer".to_owned()),
                Err(error) => return LinkEnd::Lost(error.to_string()),
            },
            () = sleep_until(timeout) => peering.handle_timeout(Instant::now()),
        }
    }
}
