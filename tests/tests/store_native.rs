//! Stores over `broker://` between endpoints of ours: with the version that only ours speak, and with the one of C++,
//! where a node is to its peers what a C++ node is.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use broker_core::{Endpoint, ErrorCode, PeerUrl};
use broker_store::{
    CloneOptions, FEATURE, MasterOptions, Memory, RemoteError, Store, StoreError, StoreExt,
};
use broker_wire::NativeTransport;

const LIMIT: Duration = Duration::from_secs(20);

fn node(version: u8) -> Endpoint {
    Endpoint::builder()
        .feature(FEATURE)
        .transport(NativeTransport::new().versions(1, version))
        .start()
}

async fn with_master(version: u8) -> (Endpoint, PeerUrl, Store) {
    let node = node(version);
    let url = node
        .listen(&"broker://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let store = node
        .attach_master("hosts", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    (node, url, store)
}

#[tokio::test]
async fn a_tool_works_with_a_store_of_its_peer() {
    for version in [1, 2] {
        let (owner, url, master) = with_master(version).await;
        master.put("text", "x", None).await.unwrap();
        let tool = node(2);
        let peer = tool.connect(url).await.unwrap();
        assert!(matches!(
            tool.open_remote(peer, "missing", LIMIT, CloneOptions::default())
                .await,
            Err(RemoteError::NoSuchStore { available, .. }) if available.len() == 1
        ));
        let store = tool
            .open_remote(peer, "hosts", LIMIT, CloneOptions::default())
            .await
            .unwrap();
        store.increment("k", 5u64, None).await.unwrap();
        assert_eq!(store.put_unique("k", 1u64, None).await, Ok(false));
        assert_eq!(master.get("k").await, Ok(Some(5u64.into())));
        let clash = store.increment("text", 1u64, None).await;
        let expected = match version {
            1 => StoreError::NotEchoed,
            _ => StoreError::Refused(ErrorCode::TypeClash),
        };
        assert_eq!(clash, Err(expected), "version {version}");
        tool.shutdown().await;
        owner.shutdown().await;
    }
}

#[tokio::test]
async fn a_clone_goes_on_when_its_peering_comes_back() {
    for version in [1, 2] {
        let (owner, url, master) = with_master(version).await;
        let worker = node(version);
        let clone = worker
            .attach_clone("hosts", CloneOptions::default())
            .await
            .unwrap();
        let peer = worker.connect(url.clone()).await.unwrap();
        assert!(clone.attached(LIMIT).await);
        clone.increment("k", 1u64, None).await.unwrap();
        assert!(worker.unpeer_id(peer).await);
        master.put("meanwhile", 1u64, None).await.unwrap();
        let waiting = tokio::spawn({
            let clone = clone.clone();
            async move { clone.increment("k", 1u64, None).await }
        });
        worker.connect(url).await.unwrap();
        waiting.await.unwrap().unwrap();
        clone.sync(LIMIT).await.unwrap();
        assert_eq!(master.get("k").await, Ok(Some(2u64.into())));
        // What was sent into the gap is fetched; a C++ master cannot be asked how far it is, so it may take a moment.
        let mut events = clone.events();
        let fetched = async {
            while clone.get("meanwhile").await.unwrap().is_none() {
                events.recv().await.expect("running");
            }
        };
        tokio::time::timeout(LIMIT, fetched).await.expect("in time");
        worker.shutdown().await;
        owner.shutdown().await;
    }
}
