//! A node that stops: it waits for calls that run, and for nobody else.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use broker_core::{
    BoxFuture, Data, Endpoint, PeerUrl, StoreAccess, StoreFailure, StoreOperation, StoreReply,
    StoreWatch, WatchRequest,
};
use broker_wire::{BrokerClient, ClientError, GrpcTransport};
use tokio::sync::Semaphore;

const LIMIT: Duration = Duration::from_secs(60);

/// Far less than calls that run may take, far more than a node needs that waits for none.
const SOON: Duration = Duration::from_secs(8);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Answers each operation once it is let.
struct Gated {
    asked: Semaphore,
    gate: Semaphore,
}

impl StoreAccess for Gated {
    fn store_names(&self) -> Vec<String> {
        vec!["s".to_owned()]
    }

    fn execute<'a>(
        &'a self,
        _: &'a str,
        _: StoreOperation,
    ) -> BoxFuture<'a, Result<StoreReply, StoreFailure>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            Ok(StoreReply::Done)
        })
    }

    fn watch<'a>(
        &'a self,
        _: &'a str,
        _: WatchRequest,
    ) -> BoxFuture<'a, Result<Box<dyn StoreWatch>, StoreFailure>> {
        Box::pin(async { Ok(Box::new(Silent) as Box<dyn StoreWatch>) })
    }
}

/// Nothing ever changes.
struct Silent;

impl StoreWatch for Silent {
    fn next(&mut self) -> BoxFuture<'_, Option<broker_core::WatchItem>> {
        Box::pin(std::future::pending())
    }
}

async fn node() -> (Endpoint, PeerUrl, Arc<Gated>) {
    let node = Endpoint::builder()
        .name("node")
        .transport(GrpcTransport::new())
        .start();
    let address = node
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let stores = Arc::new(Gated {
        asked: Semaphore::new(0),
        gate: Semaphore::new(0),
    });
    node.set_store_access(stores.clone());
    (node, address, stores)
}

fn put() -> StoreOperation {
    StoreOperation::Put {
        key: Data::from(1u64),
        value: Data::from(2u64),
        expiry: None,
    }
}

/// Connects from a thread of its own that does nothing more until the sender is dropped, so that whatever the node says
/// stays unread.
fn frozen_client(address: &PeerUrl) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (thaw, thawed) = mpsc::channel();
    let (connected, is_connected) = mpsc::channel();
    let address = address.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(BrokerClient::connect(&address)).unwrap();
        connected.send(()).unwrap();
        // Ends with the sender.
        let _ = thawed.recv();
        drop(client);
    });
    is_connected.recv_timeout(LIMIT).unwrap();
    (thaw, thread)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_holds_nobody_up_even_if_the_client_says_nothing() {
    let (node, address, _) = node().await;
    let awake = within(BrokerClient::connect(&address)).await.unwrap();
    let frozen = tokio::task::spawn_blocking(move || frozen_client(&address));
    let (thaw, thread) = frozen.await.unwrap();
    let begun = Instant::now();
    within(node.shutdown()).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let after = within(awake.store("s", put())).await;
    assert!(matches!(after, Err(ClientError::Lost { .. })), "{after:?}");
    drop(thaw);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_runs_is_answered_and_a_watch_ends() {
    let (node, address, stores) = node().await;
    let client = within(BrokerClient::connect(&address)).await.unwrap();
    let mut watch = within(client.watch("s", &WatchRequest::default()))
        .await
        .unwrap();
    let write = tokio::spawn({
        let client = client.clone();
        async move { client.store("s", put()).await }
    });
    within(stores.asked.acquire()).await.unwrap().forget();
    let stopping = tokio::spawn({
        let node = node.clone();
        async move { node.shutdown().await }
    });
    // The node has begun to stop, and waits.
    within(watch.recv()).await.unwrap_err();
    assert!(!write.is_finished() && !stopping.is_finished());
    let late = within(client.store("s", put())).await;
    assert!(matches!(late, Err(ClientError::Lost { .. })), "{late:?}");
    stores.gate.add_permits(1);
    assert_eq!(within(write).await.unwrap(), Ok(StoreReply::Done));
    let begun = Instant::now();
    within(stopping).await.unwrap();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}
