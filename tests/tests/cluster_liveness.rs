//! A host that dies without closing its connections: both ends of a peering notice within the stated time, whatever the
//! transport, and whether the link is idle or full. When packets flow again, so does the cluster.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use broker_cluster::{ClusterNode, Layout, NodeEvent, Role};
use broker_core::{Endpoint, EndpointBuilder, Heartbeat};
use broker_tests::{PATIENCE, TcpProxy, free_ports};
use broker_wire::{GrpcTransport, NativeTransport};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

/// Beyond what is stated, for a busy machine.
const SLACK: Duration = Duration::from_secs(4);

async fn next(events: &mut broadcast::Receiver<NodeEvent>) -> NodeEvent {
    timeout(PATIENCE, events.recv()).await.unwrap().unwrap()
}

fn went(event: &NodeEvent) -> &str {
    match event {
        NodeEvent::Down { name, .. } => name,
        NodeEvent::Up { .. } => panic!("{event:?}"),
    }
}

/// A manager, and a worker that reaches it through a black hole; `silence` is after how long a peer is given up.
async fn dies_silently(
    scheme: &str,
    endpoint: impl Fn() -> EndpointBuilder,
    silence: Duration,
    busy: bool,
) {
    let port = free_ports(1)[0];
    let hole = TcpProxy::start(([127, 0, 0, 1], port).into()).await;
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[node.manager]\nrole = \"manager\"\nlisten = [\"{scheme}://127.0.0.1:{port}\"]\nadvertise = [\"{scheme}://{}\"]\n\
         [node.worker-1]\nrole = \"worker\"\n",
        hole.address()
    );
    let layout = Arc::new(Layout::parse(&text, directory.path().join("lab.toml")).unwrap());
    let start = async |name| {
        ClusterNode::builder(Arc::clone(&layout), name)
            .endpoint_builder(endpoint())
            .start()
            .await
            .unwrap()
    };
    let (manager, worker) = (start("manager").await, start("worker-1").await);
    assert!(worker.cluster_started(PATIENCE).await);
    assert!(manager.cluster_started(PATIENCE).await);
    let (mut at_manager, mut at_worker) = (manager.node_events(), worker.node_events());

    let flood = busy.then(|| {
        let worker = worker.clone();
        tokio::spawn(async move {
            loop {
                let event = ("Test::flood", ("x".repeat(1 << 10),));
                worker.publish_to_role(Role::Manager, event).await.unwrap();
            }
        })
    });
    hole.freeze();
    let frozen = Instant::now();
    let (left, right) = tokio::join!(
        async { (next(&mut at_manager).await, frozen.elapsed()) },
        async { (next(&mut at_worker).await, frozen.elapsed()) }
    );
    assert_eq!((went(&left.0), went(&right.0)), ("worker-1", "manager"));
    for (event, after) in [left, right] {
        // What was heard last may have come a moment before.
        let expected = silence - Duration::from_secs(2)..silence + SLACK;
        assert!(expected.contains(&after), "{event:?} after {after:?}");
    }
    if let Some(flood) = flood {
        flood.abort();
    }
    hole.open();
    assert!(
        matches!(next(&mut at_manager).await, NodeEvent::Up { name, .. } if name == "worker-1")
    );
    assert!(matches!(next(&mut at_worker).await, NodeEvent::Up { name, .. } if name == "manager"));
    worker.shutdown().await;
    manager.shutdown().await;
}

fn grpc() -> EndpointBuilder {
    Endpoint::builder().transport(GrpcTransport::new())
}

/// With less patience than the 15 s that it has by default, for the sake of the test.
fn native() -> EndpointBuilder {
    let heartbeat = Heartbeat {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(4),
    };
    Endpoint::builder().transport(NativeTransport::new().heartbeat(heartbeat))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_a_silent_node_is_down_after_five_seconds() {
    dies_silently("grpc", grpc, Heartbeat::default().timeout, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_broker_a_silent_node_is_down_after_the_silence_that_is_set() {
    dies_silently("broker", native, Duration::from_secs(4), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_full_does_not_hide_the_silence() {
    dies_silently("grpc", grpc, Heartbeat::default().timeout, true).await;
}
