use std::sync::{Arc, Mutex};

use broker_core::convert::ToArgs;
use broker_core::zeek::Event;
use broker_core::{OverflowPolicy, QueueOptions, Timestamp, Topic};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

type Seen = Arc<Mutex<Vec<String>>>;

struct Bench {
    handlers: Handlers,
    dispatcher: Dispatcher,
    tasks: TaskTracker,
    seen: Seen,
}

impl Bench {
    fn new() -> Self {
        let (handlers, tasks) = (Handlers::new(), TaskTracker::new());
        Self {
            dispatcher: Dispatcher::new(handlers.clone(), tasks.clone(), CancellationToken::new()),
            handlers,
            tasks,
            seen: Seen::default(),
        }
    }

    fn note(&self) -> impl Fn(String) + Send + use<> {
        let seen = Arc::clone(&self.seen);
        move |text| seen.lock().unwrap().push(text)
    }

    async fn send(&self, name: &str, args: impl ToArgs) {
        self.dispatcher
            .dispatch(Item {
                topic: Topic::from_static("t"),
                event: Event::new(name, args.to_args()),
                bytes: 10,
            })
            .await;
    }

    /// Waits for the handlers with queues of their own to end.
    async fn end(&self) {
        self.dispatcher.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[tokio::test]
async fn handlers_run_by_priority_and_then_in_the_order_of_registration() {
    let bench = Bench::new();
    for (name, priority) in [("low", -5), ("first", 0), ("second", 0), ("high", 5)] {
        let note = bench.note();
        bench
            .handlers
            .handler("M::e")
            .priority(priority)
            .on(move |(text, n): (String, u64)| note(format!("{name} {text} {n}")))
            .keep();
    }
    bench.send("M::e", ("a", 1u64)).await;
    assert_eq!(
        bench.seen(),
        ["high a 1", "first a 1", "second a 1", "low a 1"]
    );
    bench.send("M::e", ("b", 2u64)).await;
    assert_eq!(bench.seen().len(), 4);
    assert_eq!(bench.handlers.counters().handled, 8);
}

#[tokio::test]
async fn an_async_handler_is_waited_for_before_the_next_event() {
    let bench = Bench::new();
    let note = Arc::new(Mutex::new(bench.note()));
    bench
        .handlers
        .handler("M::e")
        .on_async(move |(n,): (u64,)| {
            let note = Arc::clone(&note);
            async move {
                note.lock().unwrap()(format!("begin {n}"));
                tokio::task::yield_now().await;
                note.lock().unwrap()(format!("end {n}"));
            }
        })
        .keep();
    bench.send("M::e", (1u64,)).await;
    bench.send("M::e", (2u64,)).await;
    assert_eq!(bench.seen(), ["begin 1", "end 1", "begin 2", "end 2"]);
}

#[tokio::test]
async fn unknown_events_are_ignored_and_arguments_that_do_not_fit_are_counted() {
    let bench = Bench::new();
    let (good, other) = (bench.note(), bench.note());
    bench
        .handlers
        .on("M::e", move |(n,): (u64,)| good(n.to_string()))
        .keep();
    bench
        .handlers
        .on("M::e", move |(n,): (i64,)| other(format!("int {n}")))
        .keep();
    bench.send("M::other", ()).await;
    bench.send("M::e", (1u64,)).await;
    bench.send("M::e", (1u64, 2u64)).await;
    assert_eq!(bench.seen(), ["1"]);
    let counters = bench.handlers.counters();
    assert_eq!(
        (
            counters.received,
            counters.unknown,
            counters.handled,
            counters.mismatched
        ),
        (3, 1, 1, 3)
    );
}

#[test]
fn a_mismatch_is_told_in_zeek_s_words_with_the_types_that_are_wanted() {
    use broker_core::convert::FromArgs;
    let text = |args: &[broker_core::Data]| {
        let error = <(String, u64)>::from_args(args).unwrap_err();
        dispatcher::mismatch("M::e", &error, "string, count")
    };
    assert_eq!(
        text(&["a".into()]),
        "got event message 'M::e' with invalid # of args, got 1, expected 2: its handler takes (string, count)"
    );
    assert_eq!(
        text(&["a".into(), "b".into()]),
        "failed to convert remote event 'M::e' arg #2, got string, expected count: its handler takes (string, count)"
    );
}

#[tokio::test]
async fn a_panic_ends_neither_the_handler_nor_the_others() {
    let bench = Bench::new();
    let note = bench.note();
    bench
        .handlers
        .handler("M::e")
        .priority(1)
        .on(|(n,): (u64,)| assert_ne!(n, 1, "on purpose"))
        .keep();
    bench
        .handlers
        .handler("M::e")
        .priority(1)
        .on_async(|(n,): (u64,)| async move { assert_ne!(n, 1, "on purpose") })
        .keep();
    bench
        .handlers
        .on("M::e", move |(n,): (u64,)| note(n.to_string()))
        .keep();
    bench.send("M::e", (1u64,)).await;
    bench.send("M::e", (2u64,)).await;
    assert_eq!(bench.seen(), ["1", "2"]);
    let counters = bench.handlers.counters();
    assert_eq!((counters.panicked, counters.handled), (2, 4));
}

#[tokio::test]
async fn a_dropped_guard_takes_the_handler_back() {
    let bench = Bench::new();
    let note = bench.note();
    let guard = bench
        .handlers
        .on("M::e", move |(n,): (u64,)| note(n.to_string()));
    bench.send("M::e", (1u64,)).await;
    drop(guard);
    bench.send("M::e", (2u64,)).await;
    assert_eq!(bench.seen(), ["1"]);
    assert!(bench.handlers.is_empty());
    assert_eq!(bench.handlers.counters().unknown, 1);
}

#[tokio::test]
async fn topic_and_metadata_come_with_the_event() {
    let bench = Bench::new();
    let note = bench.note();
    bench
        .handlers
        .handler("M::e")
        .on_event(move |event: Incoming<(u64,)>| {
            let time = event.network_timestamp().map(Timestamp::as_nanos);
            note(format!(
                "{} {} {:?} {time:?}",
                event.topic,
                event.args.0,
                event.name.to_str()
            ));
        })
        .keep();
    let event =
        Event::new("M::e", (1u64,).to_args()).with_network_timestamp(Timestamp::from_nanos(5));
    let item = Item {
        topic: Topic::from_static("t"),
        event,
        bytes: 0,
    };
    bench.dispatcher.dispatch(item).await;
    assert_eq!(bench.seen(), ["t 1 Some(\"M::e\") Some(5)"]);
}

#[tokio::test]
async fn a_slow_handler_with_a_queue_of_its_own_holds_up_nobody_and_keeps_its_order() {
    let bench = Bench::new();
    let (note, slow) = (bench.note(), Arc::new(Mutex::new(bench.note())));
    let gate = Arc::new(Notify::new());
    let open = Arc::clone(&gate);
    bench
        .handlers
        .handler("M::e")
        .priority(9)
        .queue(QueueOptions::local())
        .on_async(move |(n,): (u64,)| {
            let (slow, open) = (Arc::clone(&slow), Arc::clone(&open));
            async move {
                if n == 0 {
                    open.notified().await;
                }
                slow.lock().unwrap()(format!("slow {n}"));
            }
        })
        .keep();
    bench
        .handlers
        .on("M::e", move |(n,): (u64,)| note(n.to_string()))
        .keep();
    for n in 0..3u64 {
        bench.send("M::e", (n,)).await;
    }
    assert_eq!(bench.seen(), ["0", "1", "2"]);
    gate.notify_one();
    bench.end().await;
    assert_eq!(bench.seen(), ["slow 0", "slow 1", "slow 2"]);
}

#[tokio::test]
async fn a_full_queue_of_a_handler_drops_by_its_policy_and_counts() {
    let bench = Bench::new();
    let note = bench.note();
    let queue = QueueOptions::local()
        .policy(OverflowPolicy::DropOldest)
        .max_messages(2.try_into().unwrap());
    bench
        .handlers
        .handler("M::e")
        .queue(queue)
        .on(move |(n,): (u64,)| note(n.to_string()))
        .keep();
    // Nothing is awaited that would let the handler's task run.
    for n in 0..5u64 {
        bench.send("M::e", (n,)).await;
    }
    bench.end().await;
    let seen = bench.seen();
    assert_eq!(seen, ["3", "4"]);
    assert_eq!(bench.handlers.counters().dropped, 3);
}

#[tokio::test]
async fn a_guard_dropped_in_its_own_handler_ends_a_queue_too() {
    let bench = Bench::new();
    let guard: Arc<Mutex<Option<HandlerGuard>>> = Arc::default();
    let (note, own) = (bench.note(), Arc::clone(&guard));
    let registered = bench
        .handlers
        .handler("M::e")
        .queue(QueueOptions::local())
        .on(move |(n,): (u64,)| {
            note(n.to_string());
            drop(own.lock().unwrap().take());
        });
    *guard.lock().unwrap() = Some(registered);
    bench.send("M::e", (1u64,)).await;
    bench.send("M::e", (2u64,)).await;
    // Without `close`: the guard has closed the queue.
    bench.tasks.close();
    bench.tasks.wait().await;
    assert_eq!(bench.seen(), ["1"]);
}
