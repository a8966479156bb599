//! Loading many entries into a store of a node: what arrives there, what is confirmed, and what a refusal names.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_core::{
    BoxFuture, Data, Endpoint, ErrorCode, StoreAccess, StoreEntry, StoreFailure, StoreOperation,
    StoreReply, StoreWatch, WatchRequest,
};
use broker_wire::proto::store_client::StoreClient;
use broker_wire::{BrokerClient, ClientError, GrpcTransport, LoadError, Loaded, proto};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(20);

/// The most entries and keys of one request.
const MOST: usize = 1024;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

/// Writes down what it is asked for together. A key of `none` is refused, and a boolean one is taken already.
#[derive(Default)]
struct FakeStores {
    asked: Mutex<Vec<Vec<StoreOperation>>>,
    /// Permits for that, if it is not to do everything at once.
    gate: Option<Semaphore>,
}

impl FakeStores {
    fn refuses(key: &Data) -> Result<(), StoreFailure> {
        if *key == Data::None {
            return Err(StoreFailure::Code {
                code: ErrorCode::BackendFailure,
                detail: "no room".to_owned(),
            });
        }
        Ok(())
    }
}

impl StoreAccess for FakeStores {
    fn store_names(&self) -> Vec<String> {
        vec!["hosts".to_owned()]
    }

    fn execute<'a>(
        &'a self,
        _: &'a str,
        operation: StoreOperation,
    ) -> BoxFuture<'a, Result<StoreReply, StoreFailure>> {
        Box::pin(async move {
            match operation {
                StoreOperation::Put { key, .. } | StoreOperation::Erase(key) => {
                    Self::refuses(&key).map(|()| StoreReply::Done)
                }
                StoreOperation::PutUnique { key, .. } => {
                    Self::refuses(&key)?;
                    Ok(StoreReply::Value((!matches!(key, Data::Boolean(_))).into()))
                }
                other => panic!("{other:?}"),
            }
        })
    }

    fn execute_all<'a>(
        &'a self,
        store: &'a str,
        operations: Vec<StoreOperation>,
    ) -> BoxFuture<'a, Result<Vec<Result<StoreReply, StoreFailure>>, StoreFailure>> {
        Box::pin(async move {
            if store != "hosts" {
                return Err(StoreFailure::NoSuchStore {
                    name: store.to_owned(),
                    available: self.store_names(),
                });
            }
            let mut replies = Vec::new();
            if operations.is_empty() {
                return Ok(replies);
            }
            self.asked.lock().unwrap().push(operations.clone());
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            for operation in operations {
                replies.push(self.execute(store, operation).await);
            }
            Ok(replies)
        })
    }

    fn watch<'a>(
        &'a self,
        _: &'a str,
        _: WatchRequest,
    ) -> BoxFuture<'a, Result<Box<dyn StoreWatch>, StoreFailure>> {
        panic!("nobody watches")
    }
}

async fn node(stores: FakeStores) -> (Endpoint, BrokerClient, Arc<FakeStores>) {
    let node = Endpoint::builder()
        .name("node")
        .transport(GrpcTransport::new())
        .start();
    let address = node
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let stores = Arc::new(stores);
    node.set_store_access(stores.clone());
    let client = within(BrokerClient::connect(&address)).await.unwrap();
    (node, client, stores)
}

/// The stub that any language would generate.
async fn stub(node: &Endpoint) -> StoreClient<Channel> {
    let address = &node.listening()[0];
    let uri = format!("http://{}", address.authority(0));
    let channel = within(Channel::from_shared(uri).unwrap().connect()).await;
    StoreClient::new(channel.unwrap())
}

fn entry(key: impl Into<Data>) -> StoreEntry {
    StoreEntry {
        key: key.into(),
        value: "value".into(),
        expires_in: None,
    }
}

fn put(
    StoreEntry {
        key,
        value,
        expires_in: expiry,
    }: StoreEntry,
) -> StoreOperation {
    StoreOperation::Put { key, value, expiry }
}

#[tokio::test]
async fn entries_and_keys_arrive_in_order_in_sets_of_bounded_size() {
    let (node, client, stores) = node(FakeStores::default()).await;
    let mut load = within(client.load("hosts", false)).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..2500u64 {
        let entry = StoreEntry {
            expires_in: (number % 2 == 0).then_some(Duration::from_millis(number)),
            ..entry(number % 100)
        };
        within(load.put(&entry)).await.unwrap();
        expected.push(put(entry));
    }
    for key in 0..100u64 {
        within(load.erase(&key.into())).await.unwrap();
        expected.push(StoreOperation::Erase(key.into()));
    }
    within(load.put(&entry("last"))).await.unwrap();
    expected.push(put(entry("last")));
    assert!(load.has_collected());
    let loaded = Loaded {
        stored: 2501,
        kept: 0,
        erased: 100,
    };
    assert_eq!(within(load.finish()).await, Ok(loaded));
    assert_eq!((load.loaded().total(), load.has_collected()), (2601, false));
    let asked = std::mem::take(&mut *stores.asked.lock().unwrap());
    let sizes: Vec<_> = asked.iter().map(Vec::len).collect();
    assert_eq!(sizes, [MOST, MOST, 2500 - 2 * MOST + 100, 1]);
    assert_eq!(asked.concat(), expected);

    // By size, well before by number.
    let large = StoreEntry {
        value: vec![7u8; 300_000].into(),
        ..entry("large")
    };
    for _ in 0..6 {
        within(load.put(&large)).await.unwrap();
    }
    within(load.finish()).await.unwrap();
    assert_eq!(stores.asked.lock().unwrap().len(), 6);
    within(node.shutdown()).await;
}

#[tokio::test]
async fn what_is_there_stays_if_it_is_to_be_kept() {
    let (node, client, stores) = node(FakeStores::default()).await;
    let mut load = within(client.load("hosts", true)).await.unwrap();
    for key in [Data::from(1u64), Data::from(true), Data::from("k")] {
        within(load.put(&entry(key))).await.unwrap();
    }
    let loaded = Loaded {
        stored: 2,
        kept: 1,
        erased: 0,
    };
    assert_eq!(within(load.finish()).await, Ok(loaded));
    assert!(
        stores.asked.lock().unwrap()[0]
            .iter()
            .all(|operation| matches!(operation, StoreOperation::PutUnique { .. }))
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn what_is_collected_goes_once_everything_before_is_confirmed() {
    let stores = FakeStores {
        gate: Some(Semaphore::new(0)),
        ..FakeStores::default()
    };
    let (node, client, stores) = node(stores).await;
    let gate = stores.gate.as_ref().unwrap();
    let mut load = within(client.load("hosts", false)).await.unwrap();
    within(load.put(&entry(1u64))).await.unwrap();
    // Nothing is under way but the beginning.
    within(load.send_when_idle()).await.unwrap();
    assert!(!load.has_collected());
    within(load.put(&entry(2u64))).await.unwrap();
    within(load.put(&entry(3u64))).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(50), load.send_when_idle());
    assert!(waiting.await.is_err(), "the first is not confirmed");
    assert!(load.has_collected());
    gate.add_permits(1);
    within(load.send_when_idle()).await.unwrap();
    assert_eq!(load.loaded().stored, 1);
    gate.add_permits(1);
    assert_eq!(within(load.finish()).await.unwrap().stored, 3);
    let sizes: Vec<_> = stores.asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 2]);
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_store_that_stands_still_is_sent_no_more_than_the_window() {
    let stores = FakeStores {
        gate: Some(Semaphore::new(0)),
        ..FakeStores::default()
    };
    let (node, client, stores) = node(stores).await;
    let mut load = within(client.load("hosts", false)).await.unwrap();
    // Four requests on their way, and one more that is collected: all but the entry that would send it.
    for number in 1..5 * MOST as u64 {
        within(load.put(&entry(number))).await.unwrap();
    }
    let last = entry(0u64);
    let full = tokio::time::timeout(Duration::from_millis(50), load.put(&last));
    assert!(full.await.is_err());
    let begun = stores.asked.lock().unwrap().len();
    assert!(begun <= 1, "one at a time is begun, not {begun}");
    stores.gate.as_ref().unwrap().add_permits(100);
    assert_eq!(within(load.finish()).await.unwrap().stored, 5 * MOST as u64);
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_refusal_names_the_entry_or_key_and_ends_the_load() {
    let (node, client, _) = node(FakeStores::default()).await;
    let refused = |item| {
        Err(LoadError {
            item: Some(item),
            error: Box::new(ClientError::Store(StoreFailure::Code {
                code: ErrorCode::BackendFailure,
                detail: "no room".to_owned(),
            })),
        })
    };
    let mut load = within(client.load("hosts", false)).await.unwrap();
    for number in 0..1500u64 {
        let key = if number == 1300 {
            Data::None
        } else {
            number.into()
        };
        within(load.put(&entry(key))).await.unwrap();
    }
    assert_eq!(within(load.finish()).await, refused(1300));
    assert_eq!(load.loaded().stored, MOST as u64);
    within(load.put(&entry(1u64))).await.unwrap();
    let over = within(load.finish()).await.unwrap_err();
    assert!(matches!(*over.error, ClientError::Lost { .. }), "{over}");

    let mut load = within(client.load("hosts", true)).await.unwrap();
    within(load.put(&entry(1u64))).await.unwrap();
    within(load.erase(&Data::None)).await.unwrap();
    assert_eq!(within(load.finish()).await, refused(1));
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_store_that_is_not_there_is_told_before_anything_is_sent() {
    let (node, client, _) = node(FakeStores::default()).await;
    let missing = StoreFailure::NoSuchStore {
        name: "other".to_owned(),
        available: vec!["hosts".to_owned()],
    };
    let error = within(client.load("other", false)).await.unwrap_err();
    assert_eq!(error, ClientError::Store(missing));
    within(node.shutdown()).await;
}

#[tokio::test]
async fn requests_of_strangers_are_bounded_and_checked() {
    let (node, _client, stores) = node(FakeStores::default()).await;
    let mut stub = stub(&node).await;
    let none = within(stub.load(tokio_stream::iter([]))).await.unwrap_err();
    assert_eq!(none.code(), tonic::Code::InvalidArgument);

    let value = |bytes: &'static [u8]| proto::Value {
        kind: Some(proto::value::Kind::Encoded(Bytes::from_static(bytes))),
    };
    let begin = proto::LoadRequest {
        store: "hosts".to_owned(),
        ..Default::default()
    };
    let many = |items| proto::LoadRequest {
        store: "hosts".to_owned(),
        erase: vec![value(b"\x02\x00\x00\x00\x00\x00\x00\x00\x01"); items],
        ..Default::default()
    };
    // Keys of a typed value, and of bytes that are none.
    let bad = proto::LoadRequest {
        entries: vec![proto::Entry::default(); 3],
        erase: vec![value(b"\xff")],
        ..Default::default()
    };
    for (requests, replies, item) in [
        (vec![begin.clone(), many(MOST)], 2, None),
        (vec![many(MOST + 1)], 0, None),
        (vec![begin.clone(), many(7), bad], 2, Some("10")),
    ] {
        let expect_error = requests.len() > replies;
        let answers = within(stub.load(tokio_stream::iter(requests))).await;
        let mut answers = answers.unwrap().into_inner();
        for _ in 0..replies {
            let reply = within(answers.message()).await.unwrap().unwrap();
            assert_eq!(reply.stored, 0);
        }
        match within(answers.message()).await {
            Ok(end) => assert!(end.is_none() && !expect_error),
            Err(status) => {
                assert!(expect_error, "{status}");
                assert_eq!(status.code(), tonic::Code::InvalidArgument);
                let named = status.metadata().get("broker-entry");
                assert_eq!(named.map(|named| named.to_str().unwrap()), item);
            }
        }
    }
    // What is refused for its form reaches no store.
    let sizes: Vec<_> = stores.asked.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [MOST, 7]);
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_node_that_stops_confirms_what_it_has_begun_and_ends_the_load() {
    let stores = FakeStores {
        gate: Some(Semaphore::new(0)),
        ..FakeStores::default()
    };
    let (node, client, stores) = node(stores).await;
    let mut load = within(client.load("hosts", false)).await.unwrap();
    within(load.put(&entry(1u64))).await.unwrap();
    within(load.send_when_idle()).await.unwrap();
    within(async {
        while stores.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stopped = async {
        let begun = async {
            node.stopping().await;
            stores.gate.as_ref().unwrap().add_permits(1);
        };
        tokio::join!(node.shutdown(), begun);
    };
    let (end, ()) = within(async { tokio::join!(load.finish(), stopped) }).await;
    // The first is confirmed; whether the end of the call is seen depends on whether anything was to follow.
    assert_eq!(end, Ok(load.loaded()));
    assert_eq!(load.loaded().stored, 1);
    within(load.put(&entry(2u64))).await.unwrap();
    let end = within(load.finish()).await.unwrap_err();
    assert_eq!(end.item, None);
    assert!(matches!(*end.error, ClientError::Lost { .. }), "{end}");
}
