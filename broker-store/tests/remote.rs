//! A tool's endpoint works with a store of its peer, over `mem://`; without the feature the peer is to it as a C++ node is.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use broker_core::{
    Data, Endpoint, EndpointId, ErrorCode, Filter, MemNetwork, MemTransport, PeerUrl, QueueOptions,
    StoreFailure, Topic,
};
use broker_store::{
    CloneOptions, FEATURE, MasterOptions, Memory, RemoteError, Role, Store, StoreError, StoreExt,
};

const LIMIT: Duration = Duration::from_secs(5);

fn endpoint(network: &MemNetwork, features: &[&str]) -> Endpoint {
    let builder = Endpoint::builder().transport(MemTransport::new(network));
    features
        .iter()
        .fold(builder, |builder, feature| builder.feature(*feature))
        .start()
}

fn url() -> PeerUrl {
    "mem://node".parse().unwrap()
}

/// A node that listens, and a tool that is its peer.
struct Pair {
    node: Endpoint,
    tool: Endpoint,
    peer: EndpointId,
}

impl Pair {
    /// `prepare` happens before the tool comes.
    async fn new(features: &[&str], prepare: impl AsyncFnOnce(&Endpoint)) -> Self {
        let network = MemNetwork::new();
        let node = endpoint(&network, features);
        node.listen(&url()).await.unwrap();
        prepare(&node).await;
        // A tool always offers it; what the node does not is not in use.
        let tool = endpoint(&network, &[FEATURE]);
        let peer = tool.connect(url()).await.unwrap();
        Self { node, tool, peer }
    }

    async fn open(&self, name: &str) -> Result<Store, RemoteError> {
        self.tool
            .open_remote(self.peer, name, LIMIT, CloneOptions::default())
            .await
    }
}

async fn master(node: &Endpoint, name: &str) -> Store {
    node.attach_master(name, Memory::new(), MasterOptions::default())
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_operation_has_its_outcome_whether_the_master_tells_it_or_not() {
    for features in [&[FEATURE][..], &[]] {
        let pair = Pair::new(features, async |node| {
            let store = master(node, "hosts").await;
            store.put("there", "text", None).await.unwrap();
        })
        .await;
        let store = pair.open("hosts").await.unwrap();
        assert_eq!(store.get("there").await, Ok(Some("text".into())));
        assert_eq!(store.get("missing").await, Ok(None));
        store.put("k", 1u64, None).await.unwrap();
        store.increment("k", 2u64, None).await.unwrap();
        assert_eq!(store.put_unique("k", 1u64, None).await, Ok(false));
        assert_eq!(store.put_unique("u", 1u64, None).await, Ok(true));
        store.erase("missing").await.unwrap();
        let owner = pair.node.store("hosts").unwrap();
        assert_eq!(owner.get("k").await, Ok(Some(3u64.into())));

        let (clash, missing) = (
            store.increment("there", 1u64, None).await,
            store.decrement("missing", 1u64, None).await,
        );
        if features.is_empty() {
            assert_eq!(clash, Err(StoreError::NotEchoed));
            assert_eq!(missing, Err(StoreError::NotEchoed));
            assert_eq!(
                StoreFailure::from(StoreError::NotEchoed),
                StoreFailure::Code {
                    code: ErrorCode::RequestTimeout,
                    detail: "the master did not echo the write".to_owned()
                }
            );
        } else {
            assert_eq!(clash, Err(StoreError::Refused(ErrorCode::TypeClash)));
            assert_eq!(missing, Err(StoreError::Refused(ErrorCode::NoSuchKey)));
        }
        store.clear().await.unwrap();
        assert_eq!(owner.len(), 0);
        pair.tool.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_echoed_fails_within_about_a_second() {
    let pair = Pair::new(&[], async |node| drop(master(node, "s").await)).await;
    let store = pair.open("s").await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(store.pop("missing", None).await, Err(StoreError::NotEchoed));
    assert!(begun.elapsed() <= Duration::from_millis(1200));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_the_peer_has_not_is_known_at_once_and_those_it_has_are_named() {
    let pair = Pair::new(&[], async |node| {
        master(node, "hosts").await;
        node.attach_clone("others", CloneOptions::default())
            .await
            .unwrap();
    })
    .await;
    let stores = pair.tool.stores_of(pair.peer);
    let found: Vec<_> = stores.iter().map(|s| (s.name.as_str(), s.role)).collect();
    assert_eq!(found, [("hosts", Role::Master), ("others", Role::Clone)]);
    let begun = tokio::time::Instant::now();
    let error = pair.open("nothing").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSuchMaster);
    assert_eq!(
        StoreFailure::from(error),
        StoreFailure::NoSuchStore {
            name: "nothing".to_owned(),
            available: vec!["hosts".to_owned(), "others".to_owned()]
        }
    );
    assert!(matches!(
        pair.open("others").await,
        Err(RemoteError::CloneOnly { .. })
    ));
    assert!(begun.elapsed() < Duration::from_millis(100));
    assert!(pair.tool.stores().is_empty(), "nothing was attached");
    let stranger = EndpointId::random();
    assert!(pair.tool.stores_of(stranger).is_empty());
    assert!(matches!(
        pair.tool
            .open_remote(stranger, "hosts", LIMIT, CloneOptions::default())
            .await,
        Err(RemoteError::NoPeer { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_subscribed_to_everything_is_asked() {
    let mut everything = None;
    let pair = Pair::new(&[], async |node| {
        master(node, "hosts").await;
        let all = Filter::from_iter([Topic::try_from("").unwrap()]);
        everything = Some(node.subscribe(all, QueueOptions::local()));
    })
    .await;
    assert!(pair.tool.stores_of(pair.peer).is_empty());
    let store = pair.open("hosts").await.unwrap();
    store.put("k", Data::None, None).await.unwrap();
    assert_eq!(pair.node.store("hosts").unwrap().len(), 1);
    let begun = tokio::time::Instant::now();
    assert!(matches!(
        pair.open("nothing").await,
        Err(RemoteError::NoAnswer { .. })
    ));
    assert_eq!(begun.elapsed().as_secs(), LIMIT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_second_master_is_not_hindered_by_a_peer_that_subscribed_to_everything() {
    let mut everything = None;
    let pair = Pair::new(&[], async |node| {
        let all = Filter::from_iter([Topic::try_from("").unwrap()]);
        everything = Some(node.subscribe(all, QueueOptions::local()));
    })
    .await;
    master(&pair.tool, "hosts").await;
}
