//! Handlers of a running node: the task that brings them events, and what the node itself raises for them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_core::convert::{FromArgs, ToArgs};
use broker_core::queue::{self, Offer};
use broker_core::zeek::Event;
use broker_core::{ByteString, Endpoint, OverflowPolicy, QueueOptions, SubscriptionHandle, Topic};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event_stream::EventStream;
use super::{ClusterNode, ClusterPublishError, Shared};
use crate::events::ClusterEvent;
use crate::handlers::{
    Dispatcher, HandlerCounters, HandlerGuard, Handlers, Incoming, Item, MAX_LOCAL, Registration,
};
use crate::outgoing::{Declarations, Outgoing, PreparedEvent};

/// How long [`ClusterNode::shutdown`] waits for handlers to take the events that have come.
pub const HANDLER_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node keeps for its handlers.
pub(super) struct Handling {
    pub(super) handlers: Handlers,
    pub(super) declarations: Declarations,
    started: OnceLock<Started>,
    /// The task that brings events, and those of handlers with a queue of their own.
    tasks: TaskTracker,
    complained: AtomicBool,
}

struct Started {
    local: queue::Sender<Item>,
    subscription: SubscriptionHandle,
}

impl Handling {
    pub(super) fn new(handlers: Handlers) -> Self {
        Self {
            handlers,
            declarations: Declarations::default(),
            started: OnceLock::new(),
            tasks: TaskTracker::new(),
            complained: AtomicBool::new(false),
        }
    }

    /// What became of events, if handlers are brought any.
    pub(super) fn counters(&self) -> Option<HandlerCounters> {
        let started = self.started.get().is_some();
        started.then(|| self.handlers.counters())
    }

    /// Raises an event for the handlers of this node, if it has any.
    pub(super) fn raise(&self, event: Event) {
        if let Some(started) = self.started.get() {
            let item = Item {
                topic: Topic::default(),
                event,
                bytes: 0,
            };
            if let Offer::Dropped(_) = started.local.offer(item)
                && !self.complained.swap(true, Ordering::Relaxed)
            {
                tracing::warn!("handlers are so slow that events of this node itself are dropped");
            }
        }
    }

    /// Brings handlers what has come and nothing more, and waits until they have taken it. What they publish and log meanwhile
    /// still goes out.
    pub(super) async fn drain(&self) {
        if let Some(started) = self.started.get() {
            started.subscription.end();
            started.local.close();
        }
        self.tasks.close();
        if timeout(HANDLER_DRAIN_TIMEOUT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("handlers still run at shutdown: they are left where they are");
        }
    }

    /// Ends what has not ended by itself; `stop` is cancelled. Closures may own the node: they go.
    pub(super) async fn end(&self) {
        self.tasks.wait().await;
        self.handlers.clear();
    }
}

impl Shared {
    /// Begins to bring events to handlers, unless that is so already.
    pub(super) fn start_handling(&self) {
        let handling = &self.handling;
        handling.started.get_or_init(|| {
            let dispatcher = Dispatcher::new(
                handling.handlers.clone(),
                handling.tasks.clone(),
                self.stop.clone(),
            );
            let options = QueueOptions::local()
                .policy(OverflowPolicy::DropOldest)
                .max_messages(MAX_LOCAL);
            let lost = dispatcher.clone();
            let (local, own) = queue::channel_with(options, move |_, reason| {
                if reason != queue::DropReason::Closed {
                    lost.lost();
                }
            });
            let greetings = self.greetings.watch();
            let stream = EventStream::subscribe(
                &self.endpoint,
                self.subscriptions.clone(),
                QueueOptions::local(),
                greetings,
            );
            let subscription = stream.subscription();
            let work = dispatch(stream, own, dispatcher, self.stop.clone());
            handling.tasks.spawn(work);
            Started {
                local,
                subscription,
            }
        });
    }

    /// Publishes an event again whenever one comes. Handling has started.
    pub(super) fn republish(&self, name: impl Into<ByteString>, topic: Topic) -> HandlerGuard {
        let endpoint: Endpoint = self.endpoint.unowned();
        self.handling.handlers.handler(name).on_event_async(
            move |event: Incoming<Vec<broker_core::Data>>| {
                let (endpoint, topic) = (endpoint.clone(), topic.clone());
                async move {
                    let event = Event {
                        name: event.name,
                        args: event.args,
                        metadata: (!event.metadata.is_empty()).then_some(event.metadata),
                    };
                    let message = broker_core::Message::new(topic, event);
                    if let Err(error) = endpoint.publish(message).await {
                        tracing::warn!(%error, "event not published again");
                    }
                }
            },
        )
    }
}

async fn dispatch(
    stream: EventStream,
    own: queue::Receiver<Item>,
    dispatcher: Dispatcher,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = dispatch_all(stream, own, &dispatcher) => {}
    }
    dispatcher.close();
}

/// Until the endpoint has shut down and all that came is with its handlers.
async fn dispatch_all(
    mut stream: EventStream,
    mut own: queue::Receiver<Item>,
    dispatcher: &Dispatcher,
) {
    let mut open = true;
    loop {
        let next = tokio::select! {
            biased;
            item = own.recv(), if open => {
                match item {
                    Some(item) => dispatcher.dispatch(item).await,
                    None => open = false,
                }
                continue;
            }
            next = stream.next() => next,
        };
        // The stream goes on behind a hello once the node_up it caused is raised: that comes first.
        while let Some(item) = own.try_recv() {
            dispatcher.dispatch(item).await;
        }
        let Some(next) = next else { return };
        let item = Item {
            topic: next.topic,
            event: next.event,
            bytes: next.bytes,
        };
        dispatcher.dispatch(item).await;
        // Handlers that never wait must not keep others from running.
        tokio::task::coop::consume_budget().await;
    }
}

impl ClusterNode {
    /// Registers a closure for an event; it takes the arguments as a tuple. Which events the node gets its topics
    /// decide: its role, its name, its pools, and [`subscribe`](Self::subscribe). See [`handlers`](crate::handlers).
    ///
    /// The first registration with a running node begins with what comes from then on. A closure that owns a handle to
    /// the node keeps it running until [`shutdown`](Self::shutdown).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on<A: FromArgs + 'static>(
        &self,
        name: impl Into<ByteString>,
        handler: impl FnMut(A) + Send + 'static,
    ) -> HandlerGuard {
        self.handlers().on(name, handler)
    }

    /// Registers a closure that takes arguments, topic and metadata; see [`on`](Self::on).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_event<A: FromArgs + 'static>(
        &self,
        name: impl Into<ByteString>,
        handler: impl FnMut(Incoming<A>) + Send + 'static,
    ) -> HandlerGuard {
        self.handler(name).on_event(handler)
    }

    /// Registers an async closure; see [`on`](Self::on).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_async<A: FromArgs + 'static, F>(
        &self,
        name: impl Into<ByteString>,
        handler: impl FnMut(A) -> F + Send + 'static,
    ) -> HandlerGuard
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.handler(name).on_async(handler)
    }

    /// Begins to register a handler with a priority, a queue of its own, or an async closure.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn handler(&self, name: impl Into<ByteString>) -> Registration<'_> {
        self.handlers().handler(name)
    }

    /// The handlers of this node.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn handlers(&self) -> &Handlers {
        self.shared.start_handling();
        &self.shared.handling.handlers
    }

    /// What became of the events that came to handlers.
    #[must_use]
    pub fn handler_counters(&self) -> HandlerCounters {
        self.shared.handling.handlers.counters()
    }

    /// Publishes an event of this name to `topic` again whenever one comes, whatever its arguments: what the handler of a
    /// manager or proxy does for workers, which do not see each other. Works with workers of Zeek as well. Do not use the
    /// topic the event comes in on: this node does not hear itself, but two such nodes would hear each other.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn republish(&self, name: impl Into<ByteString>, topic: Topic) -> HandlerGuard {
        self.shared.start_handling();
        self.shared.republish(name, topic)
    }

    /// Gets events published to topics with this prefix too, as `Cluster::subscribe`, for handlers; streams say for
    /// themselves what they want. Returns whether it is new.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn subscribe(&self, prefix: Topic) -> bool {
        self.subscription().add_prefix(prefix)
    }

    /// Gives up a prefix that was [subscribed](Self::subscribe) to. Returns whether it was.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn unsubscribe(&self, prefix: &Topic) -> bool {
        if self.shared.subscriptions.contains(prefix) {
            // Those are part of being a member.
            return false;
        }
        self.subscription().remove_prefix(prefix)
    }

    fn subscription(&self) -> &SubscriptionHandle {
        self.shared.start_handling();
        let started = self.shared.handling.started.get();
        &started.expect("it was started above").subscription
    }

    /// Declares the arguments of an event: what is published by this name is checked from now on, in number and types.
    /// The last declaration counts. Events that are not declared are published as they are.
    pub fn declare<A: FromArgs>(&self, name: impl Into<ByteString>) {
        self.shared.handling.declarations.declare::<A>(name.into());
    }

    /// Encodes an event once, to publish it many times.
    ///
    /// # Errors
    /// It was declared with other arguments.
    pub fn prepare(
        &self,
        name: impl Into<ByteString>,
        args: impl ToArgs,
    ) -> Result<PreparedEvent, ClusterPublishError> {
        let event = Event::new(name, args.to_args());
        self.shared.handling.declarations.check(&event)?;
        Ok(PreparedEvent::new(event))
    }

    /// What may be published.
    pub(super) fn checked(
        &self,
        event: impl Into<Outgoing>,
    ) -> Result<Outgoing, ClusterPublishError> {
        let event = event.into();
        self.shared.handling.declarations.check(event.event())?;
        Ok(event)
    }
}

/// What a node raises for its own handlers about the cluster, by the names that Zeek has for them.
pub(super) fn node_event(up: bool, name: &str, id: broker_core::EndpointId) -> Event {
    let what = if up {
        "Cluster::node_up"
    } else {
        "Cluster::node_down"
    };
    Event::new(what, (name, id.to_string()).to_args())
}

/// The event that says that the cluster has started.
pub(super) fn started_event() -> Event {
    ClusterEvent::Started.to_event()
}
