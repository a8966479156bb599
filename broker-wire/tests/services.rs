//! The services for clients: with our own client, and with the stubs that any language would generate.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_core::{
    BoxFuture, Data, Endpoint, ErrorCode, Filter, Message, PeerUrl, QueueOptions, StoreAccess,
    StoreChange, StoreEntry, StoreFailure, StoreOperation, StoreReply, StoreWatch, Table, Topic,
    WatchItem, WatchRequest,
};
use broker_wire::proto::{self, subscribe_reply, value::Kind};
use broker_wire::{BrokerClient, ClientError, GrpcTransport, Published};
use bytes::Bytes;
use tonic::transport::Channel;

const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

async fn node(name: &str) -> (Endpoint, PeerUrl) {
    let endpoint = Endpoint::builder()
        .name(name)
        .transport(GrpcTransport::new())
        .peer_queue(QueueOptions::local())
        .start();
    let address = endpoint
        .listen(&"grpc://127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    (endpoint, address)
}

async fn client(address: &PeerUrl) -> BrokerClient {
    within(BrokerClient::connect(address)).await.unwrap()
}

/// The channel of tonic itself: what a stranger's client is built on.
async fn foreign(address: &PeerUrl) -> Channel {
    let uri = format!("http://{}", address.authority(0));
    within(Channel::from_shared(uri).unwrap().connect())
        .await
        .unwrap()
}

fn topic(text: &'static str) -> Topic {
    Topic::from_static(text)
}

fn filter(text: &'static str) -> Filter {
    Filter::from_iter([topic(text)])
}

// --- publish and subscribe ---------------------------------------------------------------------------

#[tokio::test]
async fn clients_of_one_node_meet_without_further_settings() {
    let (node, address) = node("node").await;
    let (reader, writer) = (client(&address).await, client(&address).await);
    let mut inbox = within(reader.subscribe(&filter("/x"))).await.unwrap();
    let mut local = node.subscribe(filter("/x"), QueueOptions::local());

    let messages: Vec<_> = (0..2_000u64)
        .map(|number| Message::new(topic("/x/y"), number))
        .collect();
    let published = within(writer.publish_all(messages)).await.unwrap();
    assert_eq!(
        published,
        Published {
            accepted: 2_000,
            unclaimed: 0
        }
    );
    for number in 0..2_000u64 {
        let message = within(inbox.recv()).await.unwrap().unwrap();
        assert_eq!(
            (message.topic(), message.data().unwrap()),
            (&topic("/x/y"), &Data::from(number))
        );
        // What a hub publishes reaches local subscribers as well.
        assert_eq!(
            within(local.recv()).await.unwrap().data().unwrap(),
            &Data::from(number)
        );
    }

    let published = within(writer.publish_all([Message::new(topic("/nobody"), 1u64)]))
        .await
        .unwrap();
    assert_eq!(
        published,
        Published {
            accepted: 1,
            unclaimed: 1
        }
    );
    // The node itself reaches its clients, too.
    node.publish(Message::new(topic("/x"), "from the node"))
        .await
        .unwrap();
    assert_eq!(
        within(inbox.recv()).await.unwrap().unwrap().data().unwrap(),
        &Data::from("from the node")
    );
    within(node.shutdown()).await;
    assert_eq!(within(inbox.recv()).await, Ok(None));
}

#[tokio::test]
async fn clients_of_two_peers_meet() {
    let ((left, at_left), (right, at_right)) = (node("left").await, node("right").await);
    within(left.connect(at_right.clone())).await.unwrap();
    assert!(right.await_peer(left.id(), LIMIT).await);
    let (reader, writer) = (client(&at_right).await, client(&at_left).await);
    let mut inbox = within(reader.subscribe(&filter("/x"))).await.unwrap();
    let published = within(writer.publish_all([Message::new(topic("/x"), "across")]))
        .await
        .unwrap();
    assert_eq!(
        published,
        Published {
            accepted: 1,
            unclaimed: 0
        }
    );
    assert_eq!(
        within(inbox.recv()).await.unwrap().unwrap().data().unwrap(),
        &Data::from("across")
    );
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn an_attached_client_does_not_hear_itself() {
    let (node, address) = node("node").await;
    let client = client(&address).await;
    let (one, mut at_one) = within(client.attach(&filter("/x"))).await.unwrap();
    let (other, mut at_other) = within(client.attach(&filter("/x"))).await.unwrap();
    one.publish(Message::new(topic("/x"), "from one"))
        .await
        .unwrap();
    assert_eq!(
        within(at_other.recv())
            .await
            .unwrap()
            .unwrap()
            .data()
            .unwrap(),
        &Data::from("from one")
    );
    other
        .publish(Message::new(topic("/x"), "from other"))
        .await
        .unwrap();
    assert_eq!(
        within(at_one.recv())
            .await
            .unwrap()
            .unwrap()
            .data()
            .unwrap(),
        &Data::from("from other")
    );

    // Ending the publishing half leaves the subscription; a refused message ends both.
    drop(one);
    other
        .publish(Message::new(topic("<$>/local/x"), "reserved"))
        .await
        .unwrap();
    let error = within(at_other.recv()).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { reason } if reason.contains("reserved")),
        "{error}"
    );
    node.publish(Message::new(topic("/x"), "still there"))
        .await
        .unwrap();
    assert_eq!(
        within(at_one.recv())
            .await
            .unwrap()
            .unwrap()
            .data()
            .unwrap(),
        &Data::from("still there")
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn what_a_node_does_not_take_is_refused_with_its_number() {
    let (node, address) = node("node").await;
    let client = client(&address).await;
    let good = Message::new(topic("/x"), 1u64);
    let bad = Message::from_encoded(topic("/x"), Bytes::from_static(&[99]));
    let reserved = Message::new(topic("<$>/local/data/errors"), 1u64);
    for (refused, word) in [(bad, "valid"), (reserved, "reserved")] {
        let error = within(client.publish_all([good.clone(), refused]))
            .await
            .unwrap_err();
        let ClientError::Refused { reason } = &error else {
            panic!("{error:?}")
        };
        assert!(
            reason.starts_with("message 2: ") && reason.contains(word),
            "{reason}"
        );
    }
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_stranger_sends_and_gets_typed_values() {
    let (node, address) = node("node").await;
    let mut stub = proto::broker_client::BrokerClient::new(foreign(&address).await);
    let request = proto::SubscribeRequest {
        prefixes: vec![Bytes::from_static(b"/x")],
        encoded: false,
    };
    let mut replies = within(stub.subscribe(request)).await.unwrap().into_inner();
    let first = within(replies.message()).await.unwrap().unwrap();
    let subscribed = proto::Subscribed {
        endpoint_id: Bytes::copy_from_slice(node.id().as_bytes()),
    };
    assert_eq!(
        first.item,
        Some(subscribe_reply::Item::Subscribed(subscribed))
    );

    let table = Table::from_iter([(
        "k",
        Data::vector([Data::from(Ipv4Addr::new(10, 0, 0, 1)), Data::from(1.5)]),
    )]);
    let value = |kind| proto::Value { kind: Some(kind) };
    let typed = value(Kind::Table(proto::Table {
        entries: vec![proto::TableEntry {
            key: Some(value(Kind::String(Bytes::from_static(b"k")))),
            value: Some(value(Kind::Vector(proto::Vector {
                elements: vec![
                    value(Kind::Address(Bytes::from_static(&[10, 0, 0, 1]))),
                    value(Kind::Real(1.5)),
                ],
            }))),
        }],
    }));
    let mut local = node.subscribe(filter("/x"), QueueOptions::local());
    let message = proto::Message {
        topic: Bytes::from_static(b"/x"),
        value: Some(typed),
    };
    let publish = tokio_stream::iter([proto::PublishRequest {
        messages: vec![message],
    }]);
    let reply = within(stub.publish(publish)).await.unwrap().into_inner();
    assert_eq!(
        reply,
        proto::PublishReply {
            accepted: 1,
            unclaimed: 0
        }
    );
    assert_eq!(
        within(local.recv()).await.unwrap().data().unwrap(),
        &Data::from(table.clone())
    );

    let reply = within(replies.message()).await.unwrap().unwrap();
    let Some(subscribe_reply::Item::Messages(proto::Messages { messages, .. })) = reply.item else {
        panic!("{reply:?}")
    };
    assert!(matches!(
        messages[0].value,
        Some(proto::Value {
            kind: Some(Kind::Table(_))
        })
    ));
    assert_eq!(
        broker_wire::value_from_proto(messages[0].value.clone()),
        Ok(Data::from(table))
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_slow_subscriber_gets_everything_and_a_gone_one_frees_its_place() {
    let (node, address) = node("node").await;
    let (reader, writer) = (client(&address).await, client(&address).await);
    let mut slow = within(reader.subscribe(&filter("/x"))).await.unwrap();
    let gone = within(reader.subscribe(&filter("/x"))).await.unwrap();
    drop(gone);
    let payload = Data::from(vec![7u8; 1000]);
    let messages: Vec<_> =
        std::iter::repeat_n(Message::new(topic("/x"), payload), 50_000).collect();
    let publishing = tokio::spawn(async move { writer.publish_all(messages).await });
    for _ in 0..50_000 {
        assert!(within(slow.recv()).await.unwrap().is_some());
    }
    assert_eq!(within(publishing).await.unwrap().unwrap().accepted, 50_000);
    within(node.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stands_still_holds_nobody_for_long_and_learns_what_it_lost() {
    const COUNT: u64 = 20_000;
    let (node, address) = node("node").await;
    let mut inbox = within(client(&address).await.subscribe(&filter("/x")))
        .await
        .unwrap();
    let message = Message::new(topic("/x"), vec![7u8; 10_000]);
    // 200 MB: more than the queue and everything on the way can hold.
    within(async {
        for _ in 0..COUNT {
            node.publish(message.clone()).await.unwrap();
        }
    })
    .await;
    let mut received = 0;
    while received + inbox.dropped() < COUNT {
        assert!(within(inbox.recv()).await.unwrap().is_some());
        received += 1;
    }
    assert!(inbox.dropped() > 0);
    // Having caught up, it gets everything again. (Of the last batch, some may still be there.)
    node.publish(Message::new(topic("/x"), "the last"))
        .await
        .unwrap();
    while within(inbox.recv()).await.unwrap().unwrap().data().unwrap() != &Data::from("the last") {
        received += 1;
    }
    assert_eq!(received + inbox.dropped(), COUNT);
    within(node.shutdown()).await;
}

// --- status, health, reflection ------------------------------------------------------------------------

#[tokio::test]
async fn the_status_is_that_of_the_node() {
    let ((left, at_left), (right, at_right)) = (node("left").await, node("right").await);
    within(left.connect(at_right)).await.unwrap();
    let status = within(client(&at_left).await.status()).await.unwrap();
    assert_eq!((status.id, status.name.as_str()), (left.id(), "left"));
    assert_eq!(status.listening, [at_left.to_string()]);
    assert_eq!(
        (
            status.peers[0].id,
            status.peers[0].name.as_str(),
            status.peers[0].state.as_str()
        ),
        (right.id(), "right", "peered")
    );
    within(async { tokio::join!(left.shutdown(), right.shutdown()) }).await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest};

    let (node, address) = node("node").await;
    let channel = foreign(&address).await;
    let mut health = HealthClient::new(channel.clone());
    for service in [
        "",
        "broker.v1.Peering",
        "broker.v1.Broker",
        "broker.v1.Store",
    ] {
        let reply = within(health.check(HealthCheckRequest {
            service: service.to_owned(),
        }))
        .await
        .unwrap();
        assert_eq!(reply.into_inner().status, 1, "{service}");
    }
    let mut watch = within(health.watch(HealthCheckRequest {
        service: String::new(),
    }))
    .await
    .unwrap()
    .into_inner();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status, 1);

    let mut reflection = ServerReflectionClient::new(channel);
    let ask = |what| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(what),
    };
    let requests = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "broker.v1.Store".to_owned(),
        )),
        ask(MessageRequest::FileContainingExtension(
            ExtensionRequest::default(),
        )),
    ];
    let mut replies = within(reflection.server_reflection_info(tokio_stream::iter(requests)))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = within(replies.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
    else {
        panic!("no list");
    };
    let mut names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "broker.v1.Broker",
            "broker.v1.Peering",
            "broker.v1.Store",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection"
        ]
    );
    let Some(MessageResponse::FileDescriptorResponse(file)) = within(replies.message())
        .await
        .unwrap()
        .unwrap()
        .message_response
    else {
        panic!("no file");
    };
    assert!(
        file.file_descriptor_proto[0]
            .windows(9)
            .any(|bytes| bytes == b"PutUnique")
    );

    // A watch that is still open does not hold the node up.
    within(node.shutdown()).await;
    assert_eq!(
        within(watch.message()).await.unwrap_err().code(),
        tonic::Code::Unavailable
    );
}

// --- stores ----------------------------------------------------------------------------------------------

/// Writes down what it is asked and answers by kind.
#[derive(Default)]
struct FakeStores {
    asked: Mutex<Vec<StoreOperation>>,
}

const CHANGES: u64 = 500;

impl StoreAccess for FakeStores {
    fn store_names(&self) -> Vec<String> {
        vec!["hosts".to_owned(), "näme".to_owned()]
    }

    fn execute<'a>(
        &'a self,
        store: &'a str,
        operation: StoreOperation,
    ) -> BoxFuture<'a, Result<StoreReply, StoreFailure>> {
        Box::pin(async move {
            if store != "hosts" {
                return Err(StoreFailure::NoSuchStore {
                    name: store.to_owned(),
                    available: self.store_names(),
                });
            }
            self.asked.lock().unwrap().push(operation.clone());
            let refuse = |code, detail: &str| {
                Err(StoreFailure::Code {
                    code,
                    detail: detail.to_owned(),
                })
            };
            match operation {
                StoreOperation::Get(Data::None) => refuse(ErrorCode::NoSuchKey, ""),
                StoreOperation::Append {
                    key: Data::None, ..
                } => refuse(ErrorCode::TypeClash, "not a string: so"),
                StoreOperation::Get(key) | StoreOperation::Exists(key) => {
                    Ok(StoreReply::Value(key))
                }
                StoreOperation::Keys
                | StoreOperation::GetIndex { .. }
                | StoreOperation::CompareAndSet { .. }
                | StoreOperation::PutUnique { .. } => Ok(StoreReply::Value(Data::from(true))),
                StoreOperation::Scan { after, limit } => {
                    let first = after.map_or(0, |after| after.as_count().unwrap() + 1);
                    let entry = |number| StoreEntry {
                        key: Data::Count(number),
                        value: Data::from(vec![0; 100_000]),
                        expires_in: (number == 0).then_some(Duration::from_nanos(1)),
                    };
                    Ok(StoreReply::Entries(
                        (first..100.min(first + limit as u64)).map(entry).collect(),
                    ))
                }
                _ => Ok(StoreReply::Done),
            }
        })
    }

    fn watch<'a>(
        &'a self,
        store: &'a str,
        _: WatchRequest,
    ) -> BoxFuture<'a, Result<Box<dyn StoreWatch>, StoreFailure>> {
        Box::pin(async move {
            match store {
                "hosts" => Ok(Box::new(FakeWatch { next: 0 }) as Box<dyn StoreWatch>),
                _ => Err(StoreFailure::NoSuchStore {
                    name: store.to_owned(),
                    available: Vec::new(),
                }),
            }
        })
    }
}

/// So many changes, then silence.
struct FakeWatch {
    next: u64,
}

impl StoreWatch for FakeWatch {
    fn next(&mut self) -> BoxFuture<'_, Option<WatchItem>> {
        Box::pin(async move {
            if self.next == CHANGES {
                return std::future::pending().await;
            }
            self.next += 1;
            Some(WatchItem::Change {
                revision: None,
                change: StoreChange::Insert {
                    key: Data::from(self.next),
                    value: Data::from("v"),
                    expiry: None,
                },
            })
        })
    }
}

async fn node_with_stores() -> (Endpoint, BrokerClient, Arc<FakeStores>) {
    let (node, address) = node("node").await;
    let stores = Arc::new(FakeStores::default());
    node.set_store_access(stores.clone());
    (node, client(&address).await, stores)
}

#[tokio::test]
async fn every_operation_reaches_the_store_as_it_was_meant() {
    let (node, client, stores) = node_with_stores().await;
    let (key, value, index) = (Data::from("k"), Data::vector([1u64, 2]), Data::from(5i64));
    let expiry = Some(Duration::from_millis(1500));
    let deep = (0..100).fold(Data::None, |inner, _| Data::Vector(vec![inner]));
    let operations = [
        StoreOperation::Get(key.clone()),
        StoreOperation::Get(deep.clone()),
        StoreOperation::Exists(key.clone()),
        StoreOperation::Keys,
        StoreOperation::CompareAndSet {
            key: key.clone(),
            expected: Some(value.clone()),
            value: None,
            expiry,
        },
        StoreOperation::GetIndex {
            key: key.clone(),
            index: index.clone(),
        },
        StoreOperation::Put {
            key: key.clone(),
            value: deep,
            expiry: None,
        },
        StoreOperation::PutUnique {
            key: key.clone(),
            value: value.clone(),
            expiry,
        },
        StoreOperation::Erase(key.clone()),
        StoreOperation::Clear,
        StoreOperation::Increment {
            key: key.clone(),
            amount: index.clone(),
            expiry,
        },
        StoreOperation::Decrement {
            key: key.clone(),
            amount: index.clone(),
            expiry: None,
        },
        StoreOperation::Append {
            key: key.clone(),
            value: value.clone(),
            expiry,
        },
        StoreOperation::InsertInto {
            key: key.clone(),
            index: index.clone(),
            value: None,
            expiry,
        },
        StoreOperation::InsertInto {
            key: key.clone(),
            index: index.clone(),
            value: Some(Data::None),
            expiry: None,
        },
        StoreOperation::RemoveFrom {
            key: key.clone(),
            index,
            expiry,
        },
        StoreOperation::Push {
            key: key.clone(),
            value,
            expiry: None,
        },
        StoreOperation::Pop {
            key: key.clone(),
            expiry,
        },
        StoreOperation::Scan {
            after: Some(Data::Count(98)),
            limit: 10,
        },
    ];
    for operation in operations.clone() {
        within(client.store("hosts", operation)).await.unwrap();
    }
    assert_eq!(*stores.asked.lock().unwrap(), operations);
    assert_eq!(
        within(client.store("hosts", StoreOperation::Get(key.clone()))).await,
        Ok(StoreReply::Value(key))
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn pages_end_at_their_size_and_lead_to_the_end() {
    let (node, client, _) = node_with_stores().await;
    let (mut entries, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let scan = StoreOperation::Scan {
            after: after.take(),
            limit: 1_000_000,
        };
        let StoreReply::Entries(page) = within(client.store("hosts", scan)).await.unwrap() else {
            panic!("no page")
        };
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        entries.extend(page);
        pages += 1;
    }
    assert_eq!(entries.len(), 100);
    assert!(pages > 1, "100 entries of 100 kB are more than one page");
    assert_eq!(
        (entries[0].expires_in, entries[1].expires_in),
        (Some(Duration::from_nanos(1)), None)
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn failures_carry_the_codes_of_the_framework() {
    let (node, client, _) = node_with_stores().await;
    let no_key = StoreFailure::Code {
        code: ErrorCode::NoSuchKey,
        detail: String::new(),
    };
    assert_eq!(
        within(client.store("hosts", StoreOperation::Get(Data::None))).await,
        Err(ClientError::Store(no_key))
    );
    let clash = StoreFailure::Code {
        code: ErrorCode::TypeClash,
        detail: "not a string: so".to_owned(),
    };
    let append = StoreOperation::Append {
        key: Data::None,
        value: Data::None,
        expiry: None,
    };
    assert_eq!(
        within(client.store("hosts", append)).await,
        Err(ClientError::Store(clash))
    );
    let missing = StoreFailure::NoSuchStore {
        name: "other".to_owned(),
        available: vec!["hosts".to_owned(), "näme".to_owned()],
    };
    assert_eq!(
        within(client.store("other", StoreOperation::Keys)).await,
        Err(ClientError::Store(missing))
    );
    assert!(
        within(client.watch("other", &WatchRequest::default()))
            .await
            .is_err()
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_node_without_stores_has_none() {
    let (node, address) = node("node").await;
    let client = client(&address).await;
    assert_eq!(within(client.store_names()).await, Ok(Vec::new()));
    let error = within(client.store("hosts", StoreOperation::Keys))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ClientError::Store(StoreFailure::NoSuchStore {
            name: "hosts".to_owned(),
            available: Vec::new()
        })
    );
    within(node.shutdown()).await;
}

#[tokio::test]
async fn a_watch_tells_every_change_in_order_and_ends_with_the_node() {
    let (node, client, _) = node_with_stores().await;
    assert_eq!(
        within(client.store_names()).await,
        Ok(vec!["hosts".to_owned(), "näme".to_owned()])
    );
    let mut changes = within(client.watch("hosts", &WatchRequest::default()))
        .await
        .unwrap();
    for number in 1..=CHANGES {
        let change = StoreChange::Insert {
            key: Data::from(number),
            value: Data::from("v"),
            expiry: None,
        };
        let item = WatchItem::Change {
            revision: None,
            change,
        };
        assert_eq!(within(changes.recv()).await, Ok(Some(item)));
    }
    within(node.shutdown()).await;
    assert!(matches!(
        within(changes.recv()).await,
        Ok(None) | Err(ClientError::Lost { .. })
    ));
}

// --- connecting ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_client_that_cannot_connect_says_why() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url: PeerUrl = format!("grpc://{free}").parse().unwrap();
    let error = within(BrokerClient::connect(&url)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot reach {url}: connection refused: nothing listens there")
    );
    let error = within(BrokerClient::connect(&"ws://127.0.0.1:1".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ws:// is not gRPC"), "{error}");
    let error = within(BrokerClient::connect(
        &"grpcs://127.0.0.1:1".parse().unwrap(),
    ))
    .await
    .unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
}
