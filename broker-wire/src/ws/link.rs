//! A server as a peer: the link of a client to the router.
//!
//! | of core | on the wire |
//! |---|---|
//! | data | a data message, either way |
//! | routing update: our filter has changed | a second connection with the new subscriptions, then the old one closes |
//! | ping | a WebSocket ping, whose pong comes back as the pong |
//! | pong | an unasked pong: a sign of life |
//! | command | nothing; it is dropped and counted |
//!
//! While one connection follows another, nothing is sent that the other one might bring back: a server returns
//! nothing to the connection it came on, but does to any other. So before a second connection subscribes to what we
//! send, the server must have read what was sent on the first; and until the first has ended, nothing more is sent.
//! How what both bring is put together is told in [`Seam`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker_core::{
    BoxFuture, DataView, EndpointId, Envelope, Filter, FilterLimits, LinkError, LinkSink,
    LinkSource, LocalNode, MessageKind, PeerUrl, RateLimit, Topic, json, topic::reserved,
};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::{Event, Handle, Running};
use super::dial::{Credentials, Dialled, dial, one_line};
use super::error::WsError;
use super::seam::{LINGER, Seam};
use super::settings::CLOSE_GRACE;
use super::socket::Closing;
use super::target::Target;
use super::text::{self, Control};

/// Envelopes handed to the router at a time, at most.
const BATCH: usize = 256;

/// How long the change of a connection waits for the server to have read what was sent.
const QUIET: Duration = Duration::from_secs(2);

/// How long the next change waits for the one before to be over, or for a reading side that is held up.
const PREPARE: Duration = Duration::from_secs(5);

/// The longest payload of a WebSocket ping.
const MAX_PING: usize = 125;

/// Marks the pings of a changing connection.
const CHANGE: &[u8] = b"broker::change::";

/// What the links of a transport have counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) commands_dropped: AtomicU64,
    pub(crate) server_errors: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    said: Mutex<RateLimit>,
}

impl Counts {
    fn count(&self, counter: impl Fn(&Self) -> &AtomicU64, what: std::fmt::Arguments<'_>) {
        counter(self).fetch_add(1, Ordering::Relaxed);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suppressed) = said.check(std::time::Instant::now()) {
            tracing::warn!(suppressed, "{what}");
        }
    }
}

/// How to connect once more.
#[derive(Clone)]
pub(crate) struct Dialler {
    pub(crate) local: LocalNode,
    pub(crate) url: PeerUrl,
    pub(crate) target: Target,
    pub(crate) credentials: Credentials,
}

impl Dialler {
    /// Connects and subscribes to `filter`.
    pub(crate) async fn dial(&self, filter: &Filter) -> Result<Dialled, WsError> {
        // The time core gives an attempt, less what it takes to say why it was not enough.
        let limit = self.local.handshake_timeout().mul_f32(0.9);
        dial(&self.url, &self.target, &self.credentials, filter, limit).await
    }

    /// Runs a connection for as long as the endpoint's tasks may run.
    pub(crate) fn start(&self, dialled: Dialled) -> Running {
        Running::start(dialled, |task| self.local.spawn(task))
    }
}

/// Makes a link of an established connection that is subscribed to `filter`.
pub(crate) fn link(
    dialler: Dialler,
    peer: EndpointId,
    running: Running,
    filter: Filter,
    counts: Arc<Counts>,
) -> (WsSink, WsSource) {
    let (changes, changing) = mpsc::channel(1);
    let local = dialler.local.id();
    let sink = WsSink {
        current: running.handle.clone(),
        dialler,
        peer,
        filter,
        changes,
        changed: 0,
        counts: Arc::clone(&counts),
    };
    let source = WsSource {
        peer,
        local,
        current: running,
        changing: Some(changing),
        change: None,
        awaited: None,
        end: None,
        counts,
    };
    (sink, source)
}

/// What the sink tells the source.
enum Change {
    /// A change of subscription is about to begin.
    Prepare {
        seam: Box<Seam>,
        ready: oneshot::Sender<()>,
    },
    /// Tell when the server has answered this ping.
    Await {
        payload: Bytes,
        answered: oneshot::Sender<()>,
    },
    /// The new connection is there; tell when the old one has ended.
    Connected {
        running: Box<Running>,
        ended: oneshot::Sender<()>,
    },
}

/// The outgoing half.
pub(crate) struct WsSink {
    dialler: Dialler,
    peer: EndpointId,
    current: Handle,
    /// What the current connection is subscribed to.
    filter: Filter,
    changes: mpsc::Sender<Change>,
    changed: u64,
    counts: Arc<Counts>,
}

impl LinkSink for WsSink {
    fn send<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            // Of several changes in one batch only the last one matters; it comes in the place of the first.
            let mut update = batch
                .iter()
                .rfind(|envelope| envelope.kind == MessageKind::RoutingUpdate)
                .map(|envelope| envelope.payload.clone());
            for envelope in batch.drain(..) {
                match envelope.kind {
                    MessageKind::Data => self.data(&envelope).await,
                    MessageKind::RoutingUpdate => {
                        if let Some(payload) = update.take() {
                            self.subscribe(&payload).await?;
                        }
                    }
                    MessageKind::Ping if envelope.payload.len() <= MAX_PING => {
                        self.current.socket.ping(envelope.payload);
                    }
                    MessageKind::Ping => {}
                    MessageKind::Pong => self.current.socket.unasked_pong(),
                    MessageKind::Command => self.counts.count(
                        |counts| &counts.commands_dropped,
                        format_args!(
                            "{}: a command for {} cannot go over a WebSocket",
                            self.dialler.url, envelope.topic
                        ),
                    ),
                }
            }
            if self.current.has_ended() {
                return Err(lost("the connection has ended"));
            }
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.current.close(Closing::new(1000, "")))
    }
}

impl WsSink {
    async fn data(&mut self, envelope: &Envelope) {
        self.current.socket.room().await;
        if let Ok(view) = DataView::parse(&envelope.payload) {
            let text = text::for_server(&envelope.topic, &view);
            self.current.socket.text(text);
        }
    }

    /// Connects with a new subscription.
    async fn subscribe(&mut self, update: &[u8]) -> Result<(), LinkError> {
        let filter = Filter::decode(update, FilterLimits::default())
            .map_err(|error| lost(&error.to_string()))?
            .without_local();
        if filter == self.filter {
            return Ok(());
        }
        let send = &self.dialler.target.send;
        if overlap(send, &filter) {
            self.read_by_server().await?;
        }
        let (ready, prepared) = oneshot::channel();
        let seam = Box::new(Seam::new(self.filter.clone(), filter.clone()));
        self.tell(Change::Prepare { seam, ready }).await?;
        // A reader that is held up cannot remember; then a message may come twice.
        let _ = timeout(PREPARE, prepared).await;
        let dialled = self
            .dialler
            .dial(&filter)
            .await
            .map_err(|error| lost(&format!("cannot change the subscription: {error}")))?;
        if let Some(id) = server_id(&dialled.endpoint)
            && id != self.peer
        {
            return Err(lost("another server answers at the address now"));
        }
        let running = self.dialler.start(dialled);
        self.current = running.handle.clone();
        let (ended, old_ended) = oneshot::channel();
        let running = Box::new(running);
        self.tell(Change::Connected { running, ended }).await?;
        if overlap(&self.dialler.target.send, &self.filter) {
            let _ = timeout(LINGER + CLOSE_GRACE + QUIET, old_ended).await;
        }
        self.filter = filter;
        Ok(())
    }

    /// Waits until the server has read everything sent so far; not for ever, since it may be busy.
    async fn read_by_server(&mut self) -> Result<(), LinkError> {
        self.changed += 1;
        let payload = Bytes::from([CHANGE, self.changed.to_string().as_bytes()].concat());
        let (answered, answer) = oneshot::channel();
        self.tell(Change::Await {
            payload: payload.clone(),
            answered,
        })
        .await?;
        self.current.socket.ping(payload);
        let _ = timeout(QUIET, answer).await;
        Ok(())
    }

    async fn tell(&self, change: Change) -> Result<(), LinkError> {
        self.changes
            .send(change)
            .await
            .map_err(|_| lost("the connection has ended"))
    }
}

/// The incoming half.
pub(crate) struct WsSource {
    peer: EndpointId,
    local: EndpointId,
    current: Running,
    /// What the sink tells, as long as there is one.
    changing: Option<mpsc::Receiver<Change>>,
    change: Option<Changing>,
    /// A ping whose answer the sink waits for.
    awaited: Option<(Bytes, oneshot::Sender<()>)>,
    /// What the next call says, everything before being delivered.
    end: Option<Result<bool, LinkError>>,
    counts: Arc<Counts>,
}

/// A change of connection as the source sees it.
struct Changing {
    seam: Seam,
    /// The connection before, while both are there.
    old: Option<Running>,
    /// When the old one is given up, if it is being closed.
    closing: Option<Instant>,
    ended: Option<oneshot::Sender<()>>,
}

/// What there is to handle.
enum Next {
    Told(Change),
    Old(Option<Event>),
    Current(Option<Event>),
    Time,
}

impl LinkSource for WsSource {
    fn recv<'a>(
        &'a mut self,
        batch: &'a mut Vec<Envelope>,
    ) -> BoxFuture<'a, Result<bool, LinkError>> {
        Box::pin(async move {
            let before = batch.len();
            loop {
                if let Some(end) = self.end.take() {
                    return end;
                }
                let next = self.next().await;
                self.handle(next, batch);
                while batch.len() - before < BATCH
                    && self.end.is_none()
                    && let Ok(event) = self.current.inbox.try_recv()
                {
                    self.handle(Next::Current(Some(event)), batch);
                }
                if batch.len() > before {
                    return Ok(true);
                }
            }
        })
    }
}

impl WsSource {
    /// Waits for something to handle.
    async fn next(&mut self) -> Next {
        loop {
            let change = self.change.as_mut();
            let takes_change = change.as_ref().is_none_or(|change| change.takes_another());
            let until = change.as_ref().and_then(|change| change.next_timeout());
            let old = change.and_then(|change| change.old.as_mut());
            let told = self.changing.as_mut().filter(|_| takes_change);
            return tokio::select! {
                biased;
                told = or_never(told.map(mpsc::Receiver::recv)) => match told {
                    Some(change) => Next::Told(change),
                    None => {
                        self.changing = None;
                        continue;
                    }
                },
                event = or_never(old.map(|old| old.inbox.recv())) => Next::Old(event),
                event = self.current.inbox.recv() => Next::Current(event),
                () = or_never(until.map(sleep_until)) => Next::Time,
            };
        }
    }

    fn handle(&mut self, next: Next, batch: &mut Vec<Envelope>) {
        match next {
            Next::Told(change) => self.told(change),
            Next::Old(event) => self.event(event, true, batch),
            Next::Current(event) => self.event(event, false, batch),
            Next::Time => {}
        }
        if let Some(change) = &mut self.change {
            change.go_on(Instant::now(), batch);
            if change.seam.is_over() {
                self.change = None;
            }
        }
    }

    fn told(&mut self, change: Change) {
        match change {
            Change::Await { payload, answered } => self.awaited = Some((payload, answered)),
            Change::Prepare { seam, ready } => {
                self.change = Some(Changing {
                    seam: *seam,
                    old: None,
                    closing: None,
                    ended: None,
                });
                let _ = ready.send(());
            }
            Change::Connected { running, ended } => {
                let old = std::mem::replace(&mut self.current, *running);
                if let Some(change) = &mut self.change {
                    change.seam.connected(Instant::now());
                    change.old = Some(old);
                    change.ended = Some(ended);
                }
            }
        }
    }

    fn event(&mut self, event: Option<Event>, is_old: bool, batch: &mut Vec<Envelope>) {
        match event {
            Some(Event::Message(text)) => {
                let Some(envelope) = self.read(&text) else {
                    return;
                };
                match &mut self.change {
                    // Until the new connection is there, the current one is what will be the old one.
                    Some(change) if is_old || !change.seam.has_connected() => {
                        change.seam.on_old(envelope, batch);
                    }
                    Some(change) => change.seam.on_new(envelope, batch),
                    None => batch.push(envelope),
                }
            }
            Some(Event::Ping) => batch.push(self.pong(Bytes::new())),
            Some(Event::Pong(payload)) => {
                match self.awaited.take_if(|(awaited, _)| *awaited == payload) {
                    Some((_, answered)) => {
                        let _ = answered.send(());
                    }
                    None => batch.push(self.pong(payload)),
                }
            }
            Some(Event::Closed(_) | Event::Failed(_)) | None if is_old => {
                if let Some(change) = &mut self.change {
                    change.old_ended(Instant::now(), batch);
                }
            }
            Some(Event::Closed(Some(Closing { code, reason }))) if !matches!(code, 1000 | 1001) => {
                let reason = one_line(&reason);
                self.end = Some(Err(lost(&format!("closed by the server: {code} {reason}"))));
            }
            Some(Event::Closed(_)) | None => self.end = Some(Ok(false)),
            Some(Event::Failed(error)) => self.end = Some(Err(lost(&error.to_string()))),
        }
    }

    fn pong(&self, payload: Bytes) -> Envelope {
        Envelope::unicast(
            MessageKind::Pong,
            self.peer,
            self.local,
            reserved::CONTROL,
            payload,
        )
    }

    /// The message that a text is; whatever else it is, is counted and said.
    fn read(&self, text: &[u8]) -> Option<Envelope> {
        let peer = self.peer;
        match json::parse_message(text) {
            Ok((topic, data)) => {
                let topic = Topic::copy_from(&topic).ok()?;
                let payload = data.to_bytes();
                Some(Envelope::unicast(
                    MessageKind::Data,
                    peer,
                    EndpointId::NIL,
                    topic,
                    payload,
                ))
            }
            Err(error) => {
                match text::parse_control(text) {
                    Some(Control::Error { code, context }) => self.counts.count(
                        |counts| &counts.server_errors,
                        format_args!(
                            "{peer} did not take a message: {}: {}",
                            one_line(&code),
                            one_line(&context)
                        ),
                    ),
                    _ => self.counts.count(
                        |counts| &counts.unreadable,
                        format_args!("{peer} sent what cannot be read: {error}"),
                    ),
                }
                None
            }
        }
    }
}

impl Changing {
    /// Whether what the sink tells next belongs to this change; another one has to wait for the end of this one.
    fn takes_another(&self) -> bool {
        !self.seam.has_connected()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.closing.or_else(|| self.seam.next_timeout())
    }

    fn go_on(&mut self, now: Instant, batch: &mut Vec<Envelope>) {
        self.seam.handle_timeout(now);
        if self.closing.is_some_and(|until| now >= until) {
            self.old_ended(now, batch);
        }
        if self.seam.wants_old_closed()
            && self.closing.is_none()
            && let Some(old) = &self.old
        {
            old.handle.socket.close(Closing::new(1000, ""));
            self.closing = Some(now + CLOSE_GRACE);
        }
    }

    fn old_ended(&mut self, now: Instant, batch: &mut Vec<Envelope>) {
        if self.old.take().is_some() {
            self.closing = None;
            self.seam.old_ended(now, batch);
            if let Some(ended) = self.ended.take() {
                let _ = ended.send(());
            }
        }
    }
}

async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Whether there are topics both filters match.
fn overlap(one: &Filter, other: &Filter) -> bool {
    one.iter().any(|prefix| other.covers(prefix)) || other.iter().any(|prefix| one.covers(prefix))
}

/// The ID of the server, if the name it gave us holds it: `<id>-websocket-<number>`, or only the ID.
pub(crate) fn server_id(endpoint: &str) -> Option<EndpointId> {
    const UUID: usize = 36;
    let (id, rest) = endpoint.split_at_checked(UUID)?;
    if !(rest.is_empty() || rest.starts_with("-websocket-")) {
        return None;
    }
    id.parse().ok()
}

fn lost(reason: &str) -> LinkError {
    LinkError::Lost {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_server_is_in_the_name_it_gives() {
        let id = EndpointId::random();
        assert_eq!(server_id(&id.to_string()), Some(id));
        assert_eq!(server_id(&format!("{id}-websocket-17")), Some(id));
        for other in ["", "zeek", &format!("{id}x"), &format!("x{id}")] {
            assert_eq!(server_id(other), None, "{other}");
        }
    }

    #[test]
    fn filters_overlap_where_one_prefix_begins_the_other() {
        let filter = |prefixes: &[&'static str]| -> Filter {
            prefixes.iter().copied().map(Topic::from_static).collect()
        };
        assert!(overlap(&filter(&["/a"]), &filter(&["/a/b", "/c"])));
        assert!(overlap(&filter(&["/a/b"]), &filter(&["/a"])));
        assert!(overlap(&filter(&[""]), &filter(&["/a"])));
        assert!(!overlap(&filter(&["/a"]), &filter(&["/b"])));
        assert!(!overlap(&filter(&[]), &filter(&[""])));
    }
}
