//! Whom a node believes what, and that nobody is left without what the manager has said.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::{ClusterNode, Layout, Role, topics};
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{
    Data, Endpoint, Filter, MemNetwork, MemTransport, Message, QueueOptions, Subscriber, Topic,
};
use support::{Cluster, LIMIT, SMALL, wait_for};
use tokio::time::{Instant, timeout};

const CLUSTER: &str = "[cluster.ready]\nworker = 1\n\
                       [node.manager]\nrole = \"manager\"\nlisten = [\"mem://manager\"]\n\
                       [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://proxy-1\"]\n\
                       [node.worker-1]\nrole = \"worker\"\n";

const STARTED: &str = "Cluster::Experimental::cluster_started";
const CONNECTED: &str = "Cluster::Experimental::node_fully_connected";

/// Somebody who speaks the protocol; a node of ours by its features, or of Zeek's.
struct Other {
    endpoint: Endpoint,
    messages: Subscriber,
}

impl Other {
    fn new(network: &MemNetwork, name: &str, ours: bool) -> Self {
        let mut builder = Endpoint::builder()
            .name(name)
            .forwarding(false)
            .transport(MemTransport::new(network));
        if ours {
            builder = builder.feature("log-receipts");
        }
        let endpoint = builder.start();
        let filter: Filter = [
            topics::nodeid_topic(endpoint.id()),
            Topic::from_static("zeek/cluster/manager"),
        ]
        .into_iter()
        .collect();
        let messages = endpoint.subscribe(filter, QueueOptions::local());
        Self { endpoint, messages }
    }

    async fn say(&self, to: &ClusterNode, event: Event) {
        let topic = topics::nodeid_topic(to.endpoint().id());
        let reached = self.endpoint.publish(Message::new(topic, event)).await;
        assert_eq!(reached.unwrap().peers, 1);
    }

    async fn hello(&self, to: &ClusterNode, name: &str) {
        self.say(to, hello(name, &self.endpoint.id().to_string()))
            .await;
    }

    /// The next event of this name; it may be one that comes every half minute.
    async fn hears(&mut self, name: &str) -> Event {
        self.heard(name, 2 * LIMIT).await.unwrap()
    }

    async fn heard(&mut self, name: &str, limit: Duration) -> Option<Event> {
        let found = async {
            loop {
                let message = self.messages.recv().await.unwrap();
                let parsed = ZeekMessage::from_data(message.data().unwrap()).unwrap();
                if let ZeekMessage::Event(event) = parsed
                    && *event.name == *name.as_bytes()
                {
                    return event;
                }
            }
        };
        timeout(limit, found).await.ok()
    }
}

fn hello(name: &str, id: &str) -> Event {
    Event {
        metadata: Some(Vec::new()),
        ..Event::new("Cluster::hello", vec![Data::from(name), Data::from(id)])
    }
}

fn ready() -> Event {
    let nobody = Data::Set(Default::default());
    Event::new("BrokerRs::cluster_ready", vec![Data::Boolean(true), nobody])
}

fn members(names: &[&str]) -> Event {
    let names = names.iter().map(|name| Data::from(*name)).collect();
    let topic = Data::from("zeek/cluster/pool/proxy");
    Event::new("BrokerRs::pool_members", vec![topic, Data::Set(names)])
}

fn started() -> Event {
    Event::new(STARTED, Vec::new())
}

async fn start(network: &MemNetwork, name: &str) -> ClusterNode {
    let layout = Arc::new(Layout::parse(CLUSTER, "lab.toml").unwrap());
    ClusterNode::builder(layout, name)
        .endpoint_builder(Endpoint::builder().transport(MemTransport::new(network)))
        .start()
        .await
        .unwrap()
}

fn refused(node: &ClusterNode) -> u64 {
    let counters = node.endpoint().status().counters;
    counters.get("cluster_events_refused").copied().unwrap_or(0)
}

#[tokio::test]
async fn what_the_manager_says_is_believed_from_it_alone() {
    let network = MemNetwork::new();
    let proxy = start(&network, "proxy-1").await;
    let stranger = Other::new(&network, "stranger", true);
    let worker = Other::new(&network, "worker-1", true);
    let at = "mem://proxy-1".parse().unwrap();
    stranger.endpoint.connect(at).await.unwrap();
    worker
        .endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    worker.hello(&proxy, "worker-1").await;
    wait_for(|| proxy.nodes_up().contains_key("worker-1")).await;
    for other in [&stranger, &worker] {
        for event in [started(), ready(), members(&["proxy-1"])] {
            other.say(&proxy, event).await;
        }
        let batch = Data::vector([1u64, 1, 0].map(Data::Count));
        let batches = Data::Vector(vec![batch]);
        let receipt = vec![Data::from("manager"), batches];
        other
            .say(&proxy, Event::new("BrokerRs::log_receipt", receipt))
            .await;
    }
    // A hello is for its own process only: nobody can have another taken for the manager.
    stranger
        .say(&proxy, hello("manager", &worker.endpoint.id().to_string()))
        .await;
    // A client of the node is no peer, whatever it publishes.
    let client = proxy.endpoint().hub(Filter::new(), QueueOptions::local());
    let topic = topics::nodeid_topic(proxy.endpoint().id());
    client
        .publish(Message::new(topic, started()))
        .await
        .unwrap();
    wait_for(|| refused(&proxy) == 10).await;
    assert!(!proxy.nodes_up().contains_key("manager"));
    let no_time = Duration::from_millis(1);
    assert!(!proxy.cluster_started(no_time).await);
    assert_eq!(proxy.cluster_ready(no_time).await, None);
    assert_eq!(proxy.homes("proxy").unwrap().up().count(), 0);

    // What Zeek's manager says is believed, and what it says before its hello as well.
    let manager = Other::new(&network, "manager", false);
    manager
        .endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    let masters = Event::new(
        "Broker::announce_masters",
        vec![Data::Set(Default::default())],
    );
    manager.say(&proxy, masters).await;
    manager.hello(&proxy, "manager").await;
    for event in [started(), ready(), members(&["proxy-1"])] {
        manager.say(&proxy, event).await;
    }
    assert!(proxy.cluster_started(LIMIT).await);
    assert!(proxy.cluster_ready(LIMIT).await.unwrap().ready);
    wait_for(|| proxy.homes("proxy").unwrap().is_up("proxy-1")).await;
    assert_eq!(refused(&proxy), 10);
    proxy.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_is_repeated_to_a_manager_of_ours_until_it_has_answered_and_to_zeek_s_made_once() {
    let network = MemNetwork::new();
    let proxy = start(&network, "proxy-1").await;
    let mut zeek = Other::new(&network, "manager", false);
    zeek.endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    zeek.hears("Cluster::hello").await;
    zeek.hello(&proxy, "manager").await;
    zeek.hears(CONNECTED).await;
    let silence = timeout(Duration::from_secs(60), zeek.messages.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    zeek.endpoint.shutdown().await;

    let mut ours = Other::new(&network, "manager", true);
    ours.endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    // It says nothing at first, so it is asked who it is.
    ours.hears("BrokerRs::who").await;
    ours.hello(&proxy, "manager").await;
    let begun = Instant::now();
    for _ in 0..3 {
        let report = ours.hears(CONNECTED).await;
        assert_eq!(report.args[2], Data::Boolean(false));
    }
    assert!(begun.elapsed() <= Duration::from_secs(11));
    ours.say(&proxy, started()).await;
    // It still has not heard whether enough nodes are up.
    let report = ours.hears(CONNECTED).await;
    let report = match report.args[2] {
        // That one may have been under way.
        Data::Boolean(false) => ours.hears(CONNECTED).await,
        _ => report,
    };
    assert_eq!(report.args[2], Data::Boolean(true));
    ours.say(&proxy, ready()).await;
    assert!(proxy.cluster_ready(LIMIT).await.is_some());
    while ours.messages.try_recv().is_some() {}
    let silence = ours.heard(CONNECTED, Duration::from_secs(60)).await;
    assert!(silence.is_none(), "{silence:?}");
    proxy.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_knows_something_else_about_its_pool_is_told_again() {
    let network = MemNetwork::new();
    let proxy = start(&network, "proxy-1").await;
    let mut manager = Other::new(&network, "manager", true);
    manager
        .endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    manager.hello(&proxy, "manager").await;
    // What the member knows is told, so that the manager can say it again if that was lost.
    let nothing = manager.hears("BrokerRs::pool_known").await;
    assert_eq!(nothing.args[0], Data::from("zeek/cluster/pool/proxy"));
    manager.say(&proxy, members(&["proxy-1"])).await;
    let known = manager.hears("BrokerRs::pool_known").await;
    assert_ne!(known.args, nothing.args);
    proxy.shutdown().await;
    manager.endpoint.shutdown().await;

    // The other side: a manager of ours, and a member that says it knows nobody.
    let manager = start(&network, "manager").await;
    let mut member = Other::new(&network, "proxy-1", true);
    member
        .endpoint
        .connect("mem://manager".parse().unwrap())
        .await
        .unwrap();
    member.hello(&manager, "proxy-1").await;
    let told = member.hears("BrokerRs::pool_members").await;
    assert_eq!(told.args, members(&["proxy-1"]).args);
    for known in [&nothing, &known] {
        member.say(&manager, known.clone()).await;
    }
    // Only what it does not know is told.
    let again = member.hears("BrokerRs::pool_members").await;
    assert_eq!(again.args, told.args);
    let limit = Duration::from_secs(60);
    let silence = member.heard("BrokerRs::pool_members", limit).await;
    assert!(silence.is_none(), "{silence:?}");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_peer_that_asks_is_told_again_who_this_is() {
    let network = MemNetwork::new();
    let proxy = start(&network, "proxy-1").await;
    let mut other = Other::new(&network, "worker-1", true);
    other
        .endpoint
        .connect("mem://proxy-1".parse().unwrap())
        .await
        .unwrap();
    other.hears("Cluster::hello").await;
    other
        .say(&proxy, Event::new("BrokerRs::who", Vec::new()))
        .await;
    let again = other.hears("Cluster::hello").await;
    assert_eq!(again.args[0], Data::from("proxy-1"));
    proxy.shutdown().await;
}

#[tokio::test]
async fn a_node_that_starts_again_learns_that_the_cluster_has_started() {
    let mut cluster = Cluster::start(SMALL, |_, _| {}).await;
    for name in ["worker-2", "proxy-1", "manager"] {
        cluster.node(name).shutdown().await;
        cluster.nodes.remove(name);
        let node = cluster.start_node(name, |builder| builder).await;
        assert!(node.cluster_started(LIMIT).await, "{name}");
    }
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_up_in_a_pool_is_told_again_to_a_member_whose_queue_had_no_room_for_it() {
    const TWO: &str = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://manager\"]\n\
                       queue_messages = 64\nqueue_policy = \"drop_newest\"\n\
                       [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"mem://proxy-1\"]\n\
                       [node.proxy-2]\nrole = \"proxy\"\nlisten = [\"mem://proxy-2\"]\n";
    let mut cluster = Cluster::new(TWO);
    let manager = cluster.start_node("manager", |builder| builder).await;
    let second = cluster.start_node("proxy-2", |builder| builder).await;
    let mut first = Other::new(&cluster.network, "proxy-1", true);
    let everything: Filter = [Topic::from_static("zeek/cluster/proxy")]
        .into_iter()
        .collect();
    // It takes nothing in while this is full.
    let narrow = QueueOptions::local()
        .max_messages(NonZeroUsize::MIN)
        .block_timeout(Duration::from_secs(3600));
    let mut stuck = first.endpoint.subscribe(everything, narrow);
    let at = "mem://manager".parse().unwrap();
    first.endpoint.connect(at).await.unwrap();
    first.hello(&manager, "proxy-1").await;
    let pool = |event: &Event| match &event.args[1] {
        Data::Set(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other}"),
    };
    while pool(&first.hears("BrokerRs::pool_members").await).len() < 2 {}
    // Until nothing moves any more: then the queue towards it is full.
    for number in 0..10_000u64 {
        let event = ("Test::flood", (number,));
        manager.publish_to_role(Role::Proxy, event).await.unwrap();
        tokio::task::yield_now().await;
    }
    second.shutdown().await;
    wait_for(|| manager.id_of("proxy-2").is_none()).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let taking = tokio::spawn(async move { while stuck.recv().await.is_some() {} });
    while pool(&first.hears("BrokerRs::pool_members").await).len() > 1 {}
    first.endpoint.shutdown().await;
    taking.await.unwrap();
    manager.shutdown().await;
}
