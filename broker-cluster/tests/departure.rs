//! A node that leaves while others talk to it: what reached it is handled, and what its handlers say and log gets out.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use broker_cluster::log::{Column, ColumnType, LogValue, Schema};
use broker_cluster::logging::LogSpec;
use broker_cluster::{ClusterNode, topics};
use broker_core::zeek::Event;
use broker_core::{Data, Topic};
use support::{Cluster, LIMIT, SMALL};

const ASKED: u64 = 2000;

#[tokio::test]
async fn what_reached_a_node_that_leaves_is_handled_answered_and_logged() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    let (manager, worker) = (
        cluster.node("manager").clone(),
        cluster.node("worker-1").clone(),
    );
    let answers = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&answers);
    let _guard = manager.on("Test::answer", move |_: (u64,)| {
        heard.fetch_add(1, Ordering::Relaxed);
    });
    let handled = answer_and_log(&worker).await;

    let topic = topics::node_topic("worker-1");
    let ask = async {
        let mut reached = 0;
        for n in 0..ASKED {
            let event = Event::new("Test::ask", vec![Data::Count(n)]);
            reached += manager.publish(topic.clone(), event).await.unwrap().peers as u64;
        }
        reached
    };
    let leave = async {
        // Somewhere in the middle of it.
        while handled.load(Ordering::Relaxed) < ASKED / 10 {
            tokio::task::yield_now().await;
        }
        worker.shutdown().await
    };
    let (reached, departed) = tokio::time::timeout(LIMIT, async { tokio::join!(ask, leave) })
        .await
        .expect("in time");
    let handled = handled.load(Ordering::Relaxed);
    assert!(reached >= ASKED / 10, "{reached}");
    assert_eq!(handled, reached);
    assert_eq!(
        (departed.log_records, departed.acknowledged, departed.left),
        (handled, handled, 0)
    );
    let totals = worker.endpoint().totals();
    assert_eq!(
        (totals.to_locals.dropped, totals.to_locals.queued),
        (0, 0),
        "{totals:?}"
    );
    // Answers are in the manager's hands; its handler may have some before it.
    let all = async {
        while answers.load(Ordering::Relaxed) < handled {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, all)
        .await
        .expect("every answer");
    cluster.nodes.remove("worker-1");
    cluster.stop().await;
}

/// Has `node` answer every question to the manager, and log it. Returns how many it has had.
async fn answer_and_log(node: &ClusterNode) -> Arc<AtomicU64> {
    let schema = Schema {
        path: "asked".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    };
    let log = node.logs().stream(LogSpec::new(schema)).await.unwrap();
    let log = Arc::new(Mutex::new(Some(log)));
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let weak = node.endpoint().unowned();
    let guard = node.on_async("Test::ask", move |(n,): (u64,)| {
        let (endpoint, log, count) = (weak.clone(), Arc::clone(&log), Arc::clone(&count));
        async move {
            let mut stream = log.lock().unwrap().take().unwrap();
            stream.write(&[LogValue::Count(n)]).await.unwrap();
            *log.lock().unwrap() = Some(stream);
            let answer = Event::new("Test::answer", vec![Data::Count(n)]);
            let to = Topic::copy_from(b"zeek/cluster/manager").unwrap();
            let message = broker_core::Message::new(to, answer);
            assert_eq!(endpoint.publish(message).await.unwrap().peers, 1);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    guard.keep();
    handled
}
