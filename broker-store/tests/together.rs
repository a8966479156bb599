//! Operations that are asked for together: one transaction at a master, each with an answer of its own.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use broker_core::{
    Data, Endpoint, ErrorCode, MemNetwork, MemTransport, StoreFailure, StoreOperation, StoreReply,
};
use broker_store::conformance::BeforeApply;
use broker_store::{
    Backend, CloneOptions, FEATURE, MasterOptions, Memory, Mutation, Store, StoreError, StoreExt,
};
use tokio::sync::Mutex;

const LIMIT: Duration = Duration::from_secs(10);

/// Memory that counts the transactions which change entries, and may stand still.
#[derive(Clone, Default)]
struct Counted {
    transactions: Arc<AtomicUsize>,
    gate: Arc<Mutex<()>>,
}

impl Counted {
    fn memory(&self) -> impl Backend {
        let count = self.clone();
        BeforeApply::waiting(Memory::new(), move |batch: &[Mutation]| {
            let _open = count.gate.blocking_lock();
            if batch
                .iter()
                .any(|mutation| matches!(mutation, Mutation::Put { .. }))
            {
                count.transactions.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        })
    }
}

fn endpoint(network: &MemNetwork, name: &str) -> Endpoint {
    Endpoint::builder()
        .name(name)
        .feature(FEATURE)
        .transport(MemTransport::new(network))
        .start()
}

async fn master(network: &MemNetwork, options: MasterOptions) -> (Endpoint, Store, Counted) {
    let manager = endpoint(network, "manager");
    manager
        .listen(&"mem://manager".parse().unwrap())
        .await
        .unwrap();
    let count = Counted::default();
    let master = manager
        .attach_master("s", count.memory(), options)
        .await
        .unwrap();
    (manager, master, count)
}

fn put(key: impl Into<Data>, value: impl Into<Data>) -> StoreOperation {
    StoreOperation::Put {
        key: key.into(),
        value: value.into(),
        expiry: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_writes_asked_for_together_are_one_transaction() {
    let network = MemNetwork::new();
    let (_manager, master, count) = master(&network, MasterOptions::default()).await;
    // A clone that is told of each is what makes a group largest.
    let worker = endpoint(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer("mem://manager".parse().unwrap());
    assert!(clone.attached(LIMIT).await);
    let _events = master.events();
    for round in 1..=3 {
        let writes = (0..1024u64).map(|key| put(key, round));
        let answers = master.execute_all(writes).await;
        assert_eq!(answers, vec![Ok(StoreReply::Done); 1024]);
        assert_eq!(count.transactions.load(Ordering::SeqCst), round as usize);
    }
    let unique = (512..1536u64).map(|key| StoreOperation::PutUnique {
        key: key.into(),
        value: 9u64.into(),
        expiry: None,
    });
    let answers = master.execute_all(unique).await;
    let expected = (512..1536).map(|key| Ok(StoreReply::Value((key >= 1024).into())));
    assert_eq!(answers, expected.collect::<Vec<_>>());
    assert_eq!(count.transactions.load(Ordering::SeqCst), 4);
    clone.sync(LIMIT).await.unwrap();
    assert_eq!((clone.len(), master.len()), (1536, 1536));
}

#[tokio::test(start_paused = true)]
async fn each_operation_has_its_own_answer_and_the_last_write_of_a_key_counts() {
    let network = MemNetwork::new();
    let (_manager, master, _) = master(&network, MasterOptions::default()).await;
    let worker = endpoint(&network, "worker");
    let clone = worker
        .attach_clone("s", CloneOptions::default())
        .await
        .unwrap();
    worker.peer("mem://manager".parse().unwrap());
    assert!(clone.attached(LIMIT).await);
    for store in [&master, &clone] {
        let increment = StoreOperation::Increment {
            key: "text".into(),
            amount: 1u64.into(),
            expiry: None,
        };
        let operations = [
            put("text", "x"),
            increment,
            put("k", 1u64),
            put("k", 2u64),
            StoreOperation::Erase("text".into()),
        ];
        assert_eq!(
            store.execute_all(operations).await,
            [
                Ok(StoreReply::Done),
                Err(StoreError::Refused(ErrorCode::TypeClash)),
                Ok(StoreReply::Done),
                Ok(StoreReply::Done),
                Ok(StoreReply::Done),
            ]
        );
        assert_eq!(store.get("k").await, Ok(Some(2u64.into())));
        assert_eq!(store.get("text").await, Ok(None));
        assert_eq!(store.execute_all([]).await, []);
    }
    // More than are taken together, reads among them.
    let many = (0..3000u64).map(|n| match n % 3 {
        0 => put("n", n),
        1 => StoreOperation::Get("k".into()),
        _ => StoreOperation::Exists("none".into()),
    });
    let answers = clone.execute_all(many).await;
    assert_eq!(answers.len(), 3000);
    assert_eq!(answers[2998], Ok(StoreReply::Value(2u64.into())));
    assert_eq!(answers[2999], Ok(StoreReply::Value(false.into())));
    assert_eq!(clone.get("n").await, Ok(Some(2997u64.into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_behind_a_backend_that_stands_still_ends_with_its_time_and_leaves_room() {
    let network = MemNetwork::new();
    let limit = Duration::from_millis(300);
    let options = MasterOptions::default().request_timeout(limit);
    let (_manager, master, count) = master(&network, options).await;
    let closed = count.gate.lock().await;
    let callers: Vec<_> = (0..16u64)
        .map(|caller| {
            let master = master.clone();
            tokio::spawn(async move {
                master
                    .execute_all([put(caller, 1u64), put(caller, 2u64)])
                    .await
            })
        })
        .collect();
    let late = vec![Err(StoreError::TimedOut(limit)); 2];
    for caller in callers {
        assert_eq!(caller.await.unwrap(), late);
    }
    drop(closed);
    // The request timeout is short; whatever still waits from before is ahead of this one.
    while master.execute_all([put("after", 1u64)]).await != [Ok(StoreReply::Done)] {}
    assert_eq!(master.get("after").await, Ok(Some(1u64.into())));
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_answers_each_and_a_store_that_is_not_there_is_named() {
    let network = MemNetwork::new();
    let (manager, master, _) = master(&network, MasterOptions::default()).await;
    let access = manager.store_access().unwrap();
    let none = access.execute_all("t", Vec::new()).await;
    assert_eq!(
        none,
        Err(StoreFailure::NoSuchStore {
            name: "t".to_owned(),
            available: vec!["s".to_owned()]
        })
    );
    assert_eq!(
        access.execute_all("s", vec![put(1u64, 1u64)]).await,
        Ok(vec![Ok(StoreReply::Done)])
    );
    manager.shutdown().await;
    assert_eq!(
        master.execute_all([put(1u64, 1u64), put(2u64, 2u64)]).await,
        [Err(StoreError::Closed), Err(StoreError::Closed)]
    );
}
