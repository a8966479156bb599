//! What all handles and tasks of one endpoint share.
//!
//! Messages never take the control lock: they read the snapshot in `routes`. Whoever changes peers,
//! filters or subscriptions holds the lock, builds a new snapshot and stores it. The announced filter
//! is sent to the peers by whoever comes first: the next publisher (so that what it publishes finds its
//! answer's way back) or the endpoint's own task (so that a burst of subscriptions is one update).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client_events::ClientEvent;
use super::command::{Command, CommandPort, CommandSink};
use super::connector::Connector;
use super::drops::DropLedger;
use super::link::{Link, LinkEnd};
use super::local::{LocalKind, LocalSink, Wanted};
use super::peer_table::PeerTable;
use super::readers::Readers;
use super::routes::{Ref, Routes, move_prefixes};
use super::status_events::{StatusEvent, StatusEventCode};
use super::telemetry::{Telemetry, Totals};
use crate::cycle_guard::CycleGuard;
use crate::envelope::{Envelope, MessageKind};
use crate::event_meter::EventMeter;
use crate::filter::{Filter, FilterLimits};
use crate::handshake::HandshakeError;
use crate::id::EndpointId;
use crate::message::Message;
use crate::origin_window::{OriginWindow, Verdict};
use crate::peering::Heartbeat;
use crate::queue::{self, Offer, QueueOptions, Weigh};
use crate::rate_limit::RateLimit;
use crate::status::StatusSource;
use crate::store_access::StoreAccess;
use crate::topic::{Topic, reserved};
use crate::transport::Transport;
use crate::url::PeerUrl;

/// What the builder decided.
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) software: String,
    pub(crate) features: Vec<String>,
    pub(crate) forwarding: bool,
    pub(crate) peer_queue: QueueOptions,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) handshake_timeout: Duration,
    pub(crate) telemetry: bool,
    /// Where events count by topic and name besides.
    pub(crate) event_meter: Option<EventMeter>,
    /// A pause of its own between attempts to connect.
    pub(crate) connect_retry: Option<Duration>,
    pub(crate) transports: Vec<Arc<dyn Transport>>,
}

/// The state behind one endpoint.
pub(crate) struct Shared {
    pub(crate) id: EndpointId,
    pub(crate) options: Options,
    pub(crate) started: Instant,
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) sequence: AtomicU64,
    pub(crate) closed: AtomicBool,
    control: Mutex<Control>,
    filter_dirty: AtomicBool,
    filter_changed: Notify,
    /// Peers came or went, or an attempt ended.
    pub(crate) table_changed: Notify,
    seen: Mutex<OriginWindow>,
    guard: Mutex<CycleGuard>,
    /// The guard has something to ask sooner than before.
    guard_changed: Notify,
    log_limit: Mutex<RateLimit>,
    /// Frames that named another sender than the peer they came from.
    pub(crate) mismatched: AtomicU64,
    pub(crate) drops: Arc<DropLedger>,
    pub(crate) telemetry: Option<Telemetry>,
    /// What peerings and local receivers that are gone have done.
    departed: Mutex<Totals>,
    pub(crate) status_sources: Mutex<Vec<Arc<dyn StatusSource>>>,
    pub(crate) store_access: RwLock<Option<Arc<dyn StoreAccess>>>,
    pub(crate) tasks: TaskTracker,
    /// Set once a peer has refused this endpoint's ID for long, as one that it has already.
    pub(crate) refused: CancellationToken,
    /// Cancelled when the endpoint stops accepting and dialling.
    pub(crate) stop: CancellationToken,
}

/// What changes rarely and under a lock.
#[derive(Default)]
pub(crate) struct Control {
    pub(crate) closed: bool,
    pub(crate) peers: PeerTable<Arc<Link>>,
    pub(crate) connectors: HashMap<PeerUrl, Arc<Connector>>,
    pub(crate) listening: Vec<PeerUrl>,
    locals: Vec<Arc<LocalSink>>,
    /// How often each prefix is wanted, by subscriptions, forwards and command ports.
    interests: BTreeMap<Topic, usize>,
    announced: Filter,
    /// Nothing is wanted any more: changes of the filter are not told.
    withdrawn: bool,
    statuses: Readers<StatusEvent>,
    clients: Readers<ClientEvent>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("name", &self.options.name)
            .finish_non_exhaustive()
    }
}

/// At most so many warnings about bad messages each [`LOG_INTERVAL`].
const LOG_BURST: u32 = 10;
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Why a peering is cut whose queue overflows, in the words of the original (broker-wire reference, 2.7).
pub(crate) const OVERFLOW: &str = "backpressure_overflow";
/// Commands that may wait at one port, as messages and as bytes.
const COMMAND_QUEUE: usize = 1 << 20;
const COMMAND_QUEUE_BYTES: usize = 1 << 30;

impl Shared {
    /// Messages of this endpoint are numbered from behind `first` on.
    pub(crate) fn new(id: EndpointId, first: u64, options: Options) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            id,
            telemetry: (options.telemetry || options.event_meter.is_some())
                .then(|| Telemetry::new(options.event_meter.as_ref())),
            departed: Mutex::default(),
            options,
            started: now,
            routes: ArcSwap::default(),
            sequence: AtomicU64::new(first),
            closed: AtomicBool::new(false),
            control: Mutex::default(),
            filter_dirty: AtomicBool::new(false),
            filter_changed: Notify::new(),
            table_changed: Notify::new(),
            seen: Mutex::new(OriginWindow::new()),
            guard: Mutex::new(CycleGuard::new(id)),
            guard_changed: Notify::new(),
            log_limit: Mutex::new(RateLimit::new(LOG_BURST, LOG_INTERVAL)),
            mismatched: AtomicU64::new(0),
            drops: Arc::default(),
            status_sources: Mutex::default(),
            store_access: RwLock::default(),
            tasks: TaskTracker::new(),
            refused: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more warning may be logged; if so, how many were left out since the last.
    pub(crate) fn may_log(&self) -> Option<u64> {
        let now = Instant::now().into_std();
        self.log_limit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .check(now)
    }

    pub(crate) fn seen(&self, origin: EndpointId, sequence: u64, first_hop: bool) -> Verdict {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .observe(origin, sequence, first_hop)
    }

    pub(crate) fn guard(&self) -> MutexGuard<'_, CycleGuard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn guard_changed(&self) {
        self.guard_changed.notify_one();
    }

    /// Asks about the cycles that were found, until the endpoint stops.
    pub(crate) async fn ask_about_cycles(self: Arc<Self>) {
        loop {
            let next = self.guard().next_timeout();
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.guard_changed.notified() => {}
                () = due => {
                    let probes = self.guard().handle_timeout(Instant::now());
                    let routes = self.routes.load();
                    for (serial, topic, payload) in probes {
                        let link = routes.by_id.values().find(|link| link.guarded.serial == serial);
                        if let Some(link) = link {
                            self.send_probe(link, topic, payload);
                        }
                    }
                }
            }
        }
    }

    /// Sends a ping that forwarding nodes pass on like data.
    pub(crate) fn send_probe(&self, link: &Link, topic: Topic, payload: Bytes) {
        let probe = self.number(EndpointId::NIL, MessageKind::Ping, topic, payload);
        if matches!(link.queue.offer_or_drop(probe), Offer::Disconnect) {
            link.cut(LinkEnd::Removed(OVERFLOW.to_owned()));
        }
    }

    fn change_routes(&self, change: impl FnOnce(&mut Routes)) {
        let mut routes = Routes::clone(&self.routes.load());
        change(&mut routes);
        self.routes.store(Arc::new(routes));
    }

    // --- filters -------------------------------------------------------------------------------

    /// The filter peers know or are about to learn.
    pub(crate) fn announced(&self) -> Filter {
        self.control().announced.clone()
    }

    fn mark_filter_dirty(&self) {
        self.filter_dirty.store(true, Ordering::Release);
        self.filter_changed.notify_one();
    }

    /// Sends the filter to all peers if it has changed since the last time.
    pub(crate) fn flush_filter_if_dirty(&self) {
        if self.filter_dirty.load(Ordering::Acquire) {
            let control = self.control();
            if self.filter_dirty.swap(false, Ordering::AcqRel) && !control.withdrawn {
                let payload = Bytes::from(control.announced.to_bytes());
                let limits = FilterLimits::default();
                if control.announced.len() > limits.max_entries as usize
                    || payload.len() > limits.max_bytes
                {
                    tracing::error!(
                        prefixes = control.announced.len(),
                        "the filter is larger than peers take ({} prefixes, {} bytes): subscribe to shorter prefixes",
                        limits.max_entries,
                        limits.max_bytes
                    );
                }
                for link in control.peers.links() {
                    self.send_filter(link, payload.clone());
                }
            }
        }
    }

    /// Tells the peers that nothing but store commands is wanted any more, once and for all.
    pub(crate) fn withdraw(&self) {
        let mut control = self.control();
        let routes = self.routes.load();
        let commands = routes.commands.iter().map(|(_, port)| port.topic.clone());
        let left = commands.collect::<Filter>();
        if std::mem::replace(&mut control.withdrawn, true) || control.announced == left {
            return;
        }
        let payload = Bytes::from(left.to_bytes());
        for link in control.peers.links() {
            self.send_filter(link, payload.clone());
        }
    }

    fn send_filter(&self, link: &Link, payload: Bytes) {
        let update = Envelope::unicast(
            MessageKind::RoutingUpdate,
            self.id,
            link.id(),
            reserved::CONTROL,
            payload,
        );
        if matches!(link.queue.offer_or_drop(update), Offer::Disconnect) {
            link.cut(LinkEnd::Removed(OVERFLOW.to_owned()));
        }
    }

    /// Sends filter changes nobody else has sent, until the endpoint stops.
    pub(crate) async fn announce_changes(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.filter_changed.notified() => self.flush_filter_if_dirty(),
            }
        }
    }

    fn change_interests(&self, control: &mut Control, old: &Filter, new: &Filter) {
        let mut shrunk = false;
        let mut changed = false;
        for prefix in old
            .iter()
            .filter(|prefix| !prefix.is_local() && !new.contains(prefix))
        {
            if let Some(count) = control.interests.get_mut(prefix) {
                *count -= 1;
                if *count == 0 {
                    control.interests.remove(prefix);
                    shrunk |= control.announced.contains(prefix);
                }
            }
        }
        for prefix in new
            .iter()
            .filter(|prefix| !prefix.is_local() && !old.contains(prefix))
        {
            *control.interests.entry(prefix.clone()).or_insert(0) += 1;
            changed |= control.announced.insert(prefix.clone());
        }
        if shrunk {
            control.announced = control.interests.keys().cloned().collect();
        }
        if shrunk || changed {
            self.mark_filter_dirty();
        }
    }

    /// Announces prefixes without local delivery, for good.
    pub(crate) fn add_forward(&self, prefixes: &Filter) {
        let mut control = self.control();
        self.change_interests(&mut control, &Filter::new(), prefixes);
    }

    pub(crate) fn replace_link_filter(&self, link: &Arc<Link>, filter: Filter) {
        let control = self.control();
        if !control
            .peers
            .link(link.id())
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            return;
        }
        let filter = Arc::new(filter);
        let old = link.replace_filter(Arc::clone(&filter));
        let value = Ref::new(Arc::clone(link));
        self.change_routes(|routes| move_prefixes(&mut routes.links, &old, &filter, &value));
    }

    // --- local receivers -----------------------------------------------------------------------

    pub(crate) fn add_local(
        self: &Arc<Self>,
        kind: LocalKind,
        filter: Filter,
        options: QueueOptions,
        wanted: Option<Box<Wanted>>,
    ) -> (Arc<LocalSink>, queue::Receiver<Message>) {
        let (sender, receiver) = queue::channel(options);
        let sink = Arc::new(LocalSink {
            kind,
            queue: sender,
            wanted,
            filter: Mutex::new(Filter::new()),
        });
        {
            let mut control = self.control();
            if control.closed {
                sink.queue.close();
            } else {
                control.locals.push(Arc::clone(&sink));
            }
        }
        self.change_local(&sink, |prefixes| *prefixes = filter);
        (sink, receiver)
    }

    pub(crate) fn change_local(&self, sink: &Arc<LocalSink>, change: impl FnOnce(&mut Filter)) {
        self.change_filter(&mut self.control(), sink, change);
    }

    /// Like `change_local`, unless the receiver is gone.
    pub(crate) fn change_present(&self, sink: &Arc<LocalSink>, change: impl FnOnce(&mut Filter)) {
        let mut control = self.control();
        if control.locals.iter().any(|other| Arc::ptr_eq(other, sink)) {
            self.change_filter(&mut control, sink, change);
        }
    }

    fn change_filter(
        &self,
        control: &mut Control,
        sink: &Arc<LocalSink>,
        change: impl FnOnce(&mut Filter),
    ) {
        let (old, new) = {
            let mut filter = sink.filter.lock().unwrap_or_else(PoisonError::into_inner);
            let old = filter.clone();
            change(&mut filter);
            (old, filter.clone())
        };
        let value = Ref::new(Arc::clone(sink));
        self.change_routes(|routes| move_prefixes(&mut routes.locals, &old, &new, &value));
        self.change_interests(control, &old, &new);
    }

    pub(crate) fn remove_local(&self, sink: &Arc<LocalSink>) {
        let mut control = self.control();
        control.locals.retain(|other| !Arc::ptr_eq(other, sink));
        self.change_filter(&mut control, sink, |filter| *filter = Filter::new());
    }

    // --- totals --------------------------------------------------------------------------------

    /// The tasks of a link have ended: its figures are final.
    pub(crate) fn link_ended(&self, link: &Link, end: &LinkEnd) {
        if matches!(end, LinkEnd::Removed(reason) if reason == OVERFLOW) {
            self.drops.cut(&link.label());
        }
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.received += link.received.load(Ordering::Relaxed);
        departed.rejected += link.rejected.load(Ordering::Relaxed);
        departed.to_peers.add(&link.queue.counters());
    }

    /// A local receiver is gone, with what it had not taken.
    pub(crate) fn local_ended(&self, counters: &queue::Counters) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.to_locals.add(counters);
        // Nobody takes it any more.
        departed.to_locals.dropped += std::mem::take(&mut departed.to_locals.queued);
    }

    pub(crate) fn totals(&self) -> Totals {
        let control = self.control();
        let mut totals = *self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        for link in control.peers.links() {
            totals.received += link.received.load(Ordering::Relaxed);
            totals.rejected += link.rejected.load(Ordering::Relaxed);
            totals.to_peers.add(&link.queue.counters());
        }
        for local in &control.locals {
            totals.to_locals.add(&local.queue.counters());
        }
        totals
    }

    // --- commands ------------------------------------------------------------------------------

    pub(crate) fn open_command_port(self: &Arc<Self>, topic: Topic) -> CommandPort {
        let options = QueueOptions::local()
            .max_messages(
                std::num::NonZeroUsize::new(COMMAND_QUEUE).unwrap_or(std::num::NonZeroUsize::MIN),
            )
            .max_bytes(
                std::num::NonZeroUsize::new(COMMAND_QUEUE_BYTES)
                    .unwrap_or(std::num::NonZeroUsize::MIN),
            );
        let (sender, receiver) = queue::channel::<Command>(options);
        let sink = Arc::new(CommandSink {
            topic: topic.clone(),
            queue: sender,
        });
        let mut control = self.control();
        if control.closed {
            sink.queue.close();
        } else {
            let value = Ref::new(Arc::clone(&sink));
            self.change_routes(|routes| {
                routes.commands.insert_mut(topic.as_bytes(), value);
            });
            self.change_interests(
                &mut control,
                &Filter::new(),
                &std::iter::once(topic).collect(),
            );
        }
        drop(control);
        CommandPort::new(Arc::clone(self), sink, receiver)
    }

    pub(crate) fn close_command_port(&self, sink: &Arc<CommandSink>) {
        let mut control = self.control();
        let value = Ref::new(Arc::clone(sink));
        self.change_routes(|routes| {
            routes.commands.remove_mut(sink.topic.as_bytes(), &value);
        });
        self.change_interests(
            &mut control,
            &std::iter::once(sink.topic.clone()).collect(),
            &Filter::new(),
        );
    }

    /// Sends a command to one direct peer or to all whose filter matches, local ports included.
    pub(crate) fn send_command(
        &self,
        receiver: Option<EndpointId>,
        topic: Topic,
        payload: Bytes,
    ) -> usize {
        self.flush_filter_if_dirty();
        let envelope = self.number(
            receiver.unwrap_or(EndpointId::NIL),
            MessageKind::Command,
            topic,
            payload,
        );
        let routes = self.routes.load();
        let mut reached = 0;
        if envelope.receiver.is_nil() || envelope.receiver == self.id {
            reached += self.deliver_command(&routes, &envelope);
        }
        let mut send = |link: &Ref<Link>| match link.queue.offer_or_drop(envelope.clone()) {
            Offer::Disconnect => link.cut(LinkEnd::Removed(OVERFLOW.to_owned())),
            _ => reached += 1,
        };
        if envelope.receiver.is_nil() {
            routes.links.for_each_match(envelope.topic.as_bytes(), send);
        } else if let Some(link) = routes.by_id.get(&envelope.receiver) {
            send(link);
        }
        reached
    }

    // --- peers ---------------------------------------------------------------------------------

    /// Puts a link into the table. `Ok(false)`: a newer attempt has replaced this one.
    pub(crate) fn attach(
        &self,
        link: &Arc<Link>,
        serial: u64,
        announced: &Filter,
    ) -> Result<bool, HandshakeError> {
        let mut control = self.control();
        if control.closed {
            return Err(HandshakeError::ShuttingDown);
        }
        let Ok(superseded) = control.peers.attach(link.id(), serial, Arc::clone(link)) else {
            return Ok(false);
        };
        if let Some(old) = superseded {
            self.forget(
                &mut control,
                &old,
                &LinkEnd::Lost("replaced by a newer connection".to_owned()),
            );
            old.cut(LinkEnd::Lost("replaced by a newer connection".to_owned()));
        }
        let value = Ref::new(Arc::clone(link));
        self.change_routes(|routes| {
            move_prefixes(
                &mut routes.links,
                &Filter::new(),
                &link.current_filter(),
                &value,
            );
            Arc::make_mut(&mut routes.by_id).insert(link.id(), value);
        });
        if control.announced != *announced {
            self.send_filter(link, Bytes::from(control.announced.to_bytes()));
        }
        self.emit(
            &mut control,
            link,
            StatusEventCode::EndpointDiscovered,
            "found a new peer in the network",
        );
        self.emit(
            &mut control,
            link,
            StatusEventCode::PeerAdded,
            "handshake successful",
        );
        drop(control);
        self.table_changed.notify_waiters();
        tracing::info!(peer = %link.label(), url = %link.url, "peer added");
        Ok(true)
    }

    /// Takes a link that has ended out of the table.
    pub(crate) fn detach(&self, link: &Arc<Link>, end: &LinkEnd) {
        let mut control = self.control();
        if control
            .peers
            .detach(link.id(), |current| Arc::ptr_eq(current, link))
        {
            self.forget(&mut control, link, end);
        }
        drop(control);
        self.table_changed.notify_waiters();
    }

    /// Removes a link from the routes and says so.
    fn forget(&self, control: &mut Control, link: &Arc<Link>, end: &LinkEnd) {
        self.guard().forget(link.guarded.serial);
        let value = Ref::new(Arc::clone(link));
        self.change_routes(|routes| {
            move_prefixes(
                &mut routes.links,
                &link.current_filter(),
                &Filter::new(),
                &value,
            );
            let by_id = Arc::make_mut(&mut routes.by_id);
            if by_id.get(&link.id()) == Some(&value) {
                by_id.remove(&link.id());
            }
        });
        let (code, text) = match end {
            LinkEnd::Lost(reason) => {
                tracing::warn!(peer = %link.label(), url = %link.url, "peer lost: {reason}");
                (
                    StatusEventCode::PeerLost,
                    "lost connection to remote peer".to_owned(),
                )
            }
            LinkEnd::Left => {
                tracing::info!(peer = %link.label(), url = %link.url, "peer left");
                (
                    StatusEventCode::PeerLost,
                    "lost connection to remote peer".to_owned(),
                )
            }
            LinkEnd::Removed(reason) => {
                let because = if reason.is_empty() {
                    String::new()
                } else {
                    format!(" ({reason})")
                };
                tracing::info!(peer = %link.label(), url = %link.url, "peer removed{because}");
                (
                    StatusEventCode::PeerRemoved,
                    format!("removed connection to remote peer{because}"),
                )
            }
        };
        self.emit(control, link, code, &text);
        self.emit(
            control,
            link,
            StatusEventCode::EndpointUnreachable,
            "lost the last path",
        );
    }

    // --- status events -------------------------------------------------------------------------

    fn emit(&self, control: &mut Control, link: &Link, code: StatusEventCode, message: &str) {
        let url = matches!(
            code,
            StatusEventCode::PeerAdded | StatusEventCode::PeerLost | StatusEventCode::PeerRemoved
        )
        .then(|| link.url.clone());
        let event = StatusEvent {
            code,
            endpoint: Some(link.id()),
            name: link.name().to_owned(),
            url,
            message: message.to_owned(),
        };
        self.emit_event(control, event);
    }

    pub(crate) fn emit_event(&self, control: &mut Control, event: StatusEvent) {
        let topic = if event.is_error() {
            reserved::LOCAL_ERRORS
        } else {
            reserved::LOCAL_STATUSES
        };
        let message = Message::new(topic, event.to_data());
        self.routes
            .load()
            .locals
            .for_each_match(message.topic().as_bytes(), |local| {
                // Hubs stand for clients elsewhere: what is local is not for them.
                if local.kind == LocalKind::Subscriber && local.wants(&message) {
                    let _ = local.queue.offer_or_drop(message.clone());
                }
            });
        control.statuses.tell(&event);
    }

    pub(crate) fn add_status_reader(&self) -> queue::Receiver<StatusEvent> {
        self.add_reader(|control| &mut control.statuses)
    }

    pub(crate) fn add_client_reader(&self) -> queue::Receiver<ClientEvent> {
        self.add_reader(|control| &mut control.clients)
    }

    fn add_reader<T: Weigh + Clone>(
        &self,
        of: impl Fn(&mut Control) -> &mut Readers<T>,
    ) -> queue::Receiver<T> {
        let mut control = self.control();
        let closed = control.closed;
        let readers = of(&mut control);
        let reader = readers.add();
        if closed {
            readers.close();
        }
        reader
    }

    pub(crate) fn client_event(&self, event: &ClientEvent) {
        self.control().clients.tell(event);
    }

    // --- the end -------------------------------------------------------------------------------

    /// Refuses new work from now on. Returns false if that was so already.
    pub(crate) fn close(&self) -> bool {
        let mut control = self.control();
        self.closed.store(true, Ordering::Release);
        self.stop.cancel();
        !std::mem::replace(&mut control.closed, true)
    }

    /// Ends the local receivers: they get what is queued and then the end.
    pub(crate) fn close_locals(&self) {
        let mut control = self.control();
        // They stay in the list until their receivers are dropped, so that they are counted.
        control.locals.iter().for_each(|local| local.queue.close());
        control.statuses.close();
        control.clients.close();
        drop(control);
        for port in self.routes.load().commands.iter() {
            port.1.queue.close();
        }
    }
}
