//! The recorded sessions of a Zeek cluster of manager, logger-1, proxy-1 and worker-1, each between the worker and another node,
//! replayed with a node of ours in place of either.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::time::Duration;

use broker_cluster::logging::LogSpec;
use broker_cluster::pools::{HrwKey, PoolSpec};
use broker_cluster::{ClusterNode, Layout, NodeEvent, Role, ZeekOptions};
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{Data, Filter, PeerUrl, QueueOptions, Topic};
use broker_tests::free_ports;
use broker_tests::golden::{Cue, Frame, Replay, Side, Step, logs};
use tokio::net::TcpListener;

const CLUSTER: &str = r#"
[node.manager]
role = "manager"
listen = ["MANAGER"]
[node.logger-1]
role = "logger"
listen = ["LOGGER"]
[node.proxy-1]
role = "proxy"
listen = ["PROXY"]
[node.worker-1]
role = "worker"
"#;

/// Where a node listens that takes no part: there it stays silent.
struct Silent(TcpListener);

impl Silent {
    async fn new() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    fn url(&self) -> PeerUrl {
        let port = self.0.local_addr().unwrap().port();
        PeerUrl::new("broker", "127.0.0.1", Some(port))
    }
}

fn layout(dir: &tempfile::TempDir, manager: &str, logger: &str, proxy: &str) -> Layout {
    let text = CLUSTER
        .replace("MANAGER", manager)
        .replace("LOGGER", logger)
        .replace("PROXY", proxy);
    Layout::parse(&text, dir.path().join("lab.toml")).unwrap()
}

/// What every Zeek process subscribes to beyond its role.
fn zeek_topics() -> Filter {
    [Topic::from_static("zeek/supervisor")]
        .into_iter()
        .collect()
}

async fn start(replay: &Replay, layout: Layout, name: &str) -> ClusterNode {
    ClusterNode::builder(layout, name)
        .endpoint_builder(replay.endpoint())
        .subscribe(zeek_topics())
        .events(QueueOptions::local())
        .log_hold(Duration::ZERO)
        .start()
        .await
        .unwrap()
}

/// The node `name` of ours, to which the recorded worker is to connect. It has the logs that every Zeek process writes. Those it
/// dials stay silent as long as what comes with it is kept.
async fn serve(
    replay: &mut Replay,
    dir: &tempfile::TempDir,
    name: &str,
) -> (ClusterNode, [Silent; 3]) {
    let silent = [
        Silent::new().await,
        Silent::new().await,
        Silent::new().await,
    ];
    // Ours takes any port, which a layout allows to whoever tells the others another one.
    let url = |n: usize, node: &str| {
        let url = silent[n].url();
        if node == name {
            format!("broker://127.0.0.1:0\"]\nadvertise = [\"{url}")
        } else {
            url.to_string()
        }
    };
    let layout = layout(
        dir,
        &url(0, "manager"),
        &url(1, "logger-1"),
        &url(2, "proxy-1"),
    );
    replay.adapt(logs::at_our_time);
    let node = start(replay, layout, name).await;
    for schema in [logs::broker_log(), logs::cluster_log()] {
        drop(node.logs().stream(LogSpec::new(schema)).await.unwrap());
    }
    replay.dial(&node.endpoint().listening()[0]);
    (node, silent)
}

fn event(name: &str, args: Vec<Data>) -> Event {
    Event {
        metadata: Some(Vec::new()),
        ..Event::new(name, args)
    }
}

/// Plays a whole recording to a node of ours, in which the worker says goodbye.
async fn play(replay: Replay) {
    let explained = replay
        .run(async |cue| {
            assert!(matches!(cue, Cue::Note(note) if note.starts_with("Zeek 9.1-dev cluster")));
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
}

#[tokio::test(start_paused = true)]
async fn a_zeek_worker_meets_our_manager() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new("zeek-cluster-worker-manager", Side::Acceptor).await;
    let (manager, _silent) = serve(&mut replay, &dir, "manager").await;
    let (node, mut events) = (manager.clone(), manager.take_events().unwrap());
    let mut nodes = manager.node_events();
    let worker = replay.played_id();
    let script = tokio::spawn(async move {
        let up = NodeEvent::Up {
            name: "worker-1".to_owned(),
            role: Role::Worker,
            id: worker,
        };
        assert_eq!(nodes.recv().await.unwrap(), up);
        // Version 1 has no names in its handshake: the hello says who the peer is.
        let peers = node.endpoint().peers();
        assert_eq!(peers[0].name, "worker-1");
        let (topic, heard) = events.recv().await.unwrap();
        assert_eq!(topic.as_bytes(), b"zeek/cluster/manager");
        assert_eq!(heard, event("to_manager", vec!["worker-1".into()]));
        let answer = event("to_manager", vec!["back".into()]);
        let reached = node.publish_to_role(Role::Worker, answer).await.unwrap();
        assert_eq!(reached.peers, 1);
    });
    play(replay).await;
    script.await.unwrap();
    assert!(manager.nodes_up().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_zeek_worker_meets_our_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new("zeek-cluster-worker-proxy", Side::Acceptor).await;
    let (proxy, _silent) = serve(&mut replay, &dir, "proxy-1").await;
    let mut events = proxy.take_events().unwrap();
    play(replay).await;
    for how in ["hrw", "rr"] {
        let (topic, heard) = events.try_recv().unwrap();
        assert_eq!(topic.as_bytes(), b"zeek/cluster/node/proxy-1/");
        assert_eq!(heard, Event::new("to_proxy", vec![how.into()]));
    }
    assert!(events.try_recv().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_zeek_worker_logs_to_our_logger() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new("zeek-cluster-worker-logger", Side::Acceptor).await;
    let (logger, _silent) = serve(&mut replay, &dir, "logger-1").await;
    takes_the_logs_of_a_zeek_worker(replay, logger, &dir).await;
}

/// What `zeekctl` generates, with the ports of this run.
const GENERATED: &str = r#"# Automatically generated. Do not edit.
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {
	["control"] = [$node_type=Cluster::CONTROL, $ip=127.0.0.1, $p=9/tcp],
	["manager"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p=MANAGER/tcp, $metrics_port=9991/tcp],
	["logger-1"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p=LOGGER/tcp, $metrics_port=9992/tcp],
	["proxy-1"] = [$node_type=Cluster::PROXY, $ip=127.0.0.1, $p=PROXY/tcp, $manager="manager", $metrics_port=9993/tcp],
	["worker-1"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p=WORKER/tcp, $manager="manager", $metrics_port=9994/tcp],
};
"#;

#[tokio::test(start_paused = true)]
async fn a_zeek_worker_logs_to_our_logger_of_its_own_cluster_layout() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = GENERATED.to_owned();
    for (name, port) in ["MANAGER", "LOGGER", "PROXY", "WORKER"]
        .iter()
        .zip(free_ports(4))
    {
        text = text.replace(&format!("$p={name}/"), &format!("$p={port}/"));
    }
    // The recording is of a cluster without TLS.
    let options = ZeekOptions::new()
        .tls(false)
        .listen_address("127.0.0.1")
        .with(
            "[logging]\nrotation_interval = 0\n",
            dir.path().join("beside.toml"),
        );
    let layout =
        Layout::from_cluster_layout_zeek(&text, dir.path().join("cluster-layout.zeek"), &options)
            .unwrap();
    let mut replay = Replay::new("zeek-cluster-worker-logger", Side::Acceptor).await;
    replay.adapt(logs::at_our_time);
    let logger = start(&replay, layout, "logger-1").await;
    for schema in [logs::broker_log(), logs::cluster_log()] {
        drop(logger.logs().stream(LogSpec::new(schema)).await.unwrap());
    }
    replay.dial(&logger.spec().advertise[0].clone());
    takes_the_logs_of_a_zeek_worker(replay, logger, &dir).await;
}

async fn takes_the_logs_of_a_zeek_worker(
    replay: Replay,
    logger: ClusterNode,
    dir: &tempfile::TempDir,
) {
    play(replay).await;
    logger.shutdown().await;
    let counters = logger.log_counters();
    for (stream, records) in [("Broker::LOG", 3), ("Cluster::LOG", 3), ("Golden::LOG", 2)] {
        let counted = &counters[stream];
        assert_eq!(
            (counted.received, counted.written),
            (records, records),
            "{stream}"
        );
    }
    let ours = std::fs::read_to_string(dir.path().join("logs/logger-1/golden.log")).unwrap();
    // The same records as in the other recording but the third; this writer's hash table had the sets in another order.
    let zeeks = logs::zeeks_file("zeek-golden.log")
        .replace("\\x2d,x,y\\x2cz", "x,\\x2d,y\\x2cz")
        .replace("::1,10.0.0.1", "10.0.0.1,::1");
    let zeeks: Vec<_> = zeeks
        .lines()
        .filter(|line| !line.starts_with("1700000002"))
        .collect();
    logs::assert_same_log(&ours, &(zeeks.join("\n") + "\n"));
}

/// One of the recordings that are played to our worker, by the numbers of its frames.
struct Session {
    replay: Replay,
    handshake: Vec<Step>,
    steps: BTreeMap<u64, Step>,
}

impl Session {
    async fn new(recording: &str) -> Self {
        let mut replay = Replay::new(recording, Side::Connector).await;
        replay.adapt(logs::at_our_time);
        let (mut handshake, mut steps) = (Vec::new(), BTreeMap::new());
        for step in replay.take_steps() {
            match &step {
                Step::Note(note) => assert!(note.starts_with("Zeek 9.1-dev cluster")),
                Step::Frame(recorded) => match recorded.frame {
                    Frame::Message(_) => drop(steps.insert(recorded.number, step)),
                    _ => handshake.push(step),
                },
            }
        }
        Self {
            replay,
            handshake,
            steps,
        }
    }

    async fn shake_hands(&mut self) {
        for step in std::mem::take(&mut self.handshake) {
            self.replay.step(&step, &mut async |_| {}).await;
        }
    }

    /// Plays these frames, in this order.
    async fn play(&mut self, numbers: &[u64]) {
        for number in numbers {
            let step = self.steps.remove(number).unwrap();
            self.replay.step(&step, &mut async |_| {}).await;
            self.replay.settle().await;
        }
    }

    /// Plays what is left, the goodbye of ours.
    async fn end(mut self) {
        let left: Vec<_> = self.steps.keys().copied().collect();
        assert_eq!(left.len(), 2, "a goodbye and its answer");
        for number in left {
            let step = self.steps.remove(&number).unwrap();
            self.replay.step(&step, &mut async |_| {}).await;
        }
        let explained = self.replay.finish().await;
        let unknown = explained
            .keys()
            .find(|reason| ![FULLY_CONNECTED, "pings of ours"].contains(reason));
        assert_eq!(unknown, None, "{explained:?}");
    }
}

const FULLY_CONNECTED: &str = "a node of ours tells its manager that it is fully connected";

/// All three recordings at once, since it is one worker. Two things come in another order: the announcements of logs to a new
/// peer, which Zeek takes from a hash table and we in the order of their creation, and batches, which Zeek flushes stream by
/// stream once a second, those from before the logger was up beside those from after, and we when there is a logger or none.
#[tokio::test(start_paused = true)]
async fn our_worker_meets_the_nodes_of_a_zeek_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let mut logger = Session::new("zeek-cluster-worker-logger").await;
    let mut proxy = Session::new("zeek-cluster-worker-proxy").await;
    let mut manager = Session::new("zeek-cluster-worker-manager").await;
    // Zeek's nodes do so only with an experimental script, for a manager that hears it (zeek-cluster reference, 2.5).
    manager.replay.unrecorded(FULLY_CONNECTED, |frame| {
        let data = Data::decode(&frame.payload);
        let message = data.map(|data| ZeekMessage::from_data(&data));
        matches!(message, Ok(Ok(ZeekMessage::Event(event)))
            if event.name == "Cluster::Experimental::node_fully_connected")
    });
    let layout = layout(
        &dir,
        &manager.replay.url().to_string(),
        &logger.replay.url().to_string(),
        &proxy.replay.url().to_string(),
    );
    let worker = start(&logger.replay, layout, "worker-1").await;
    let mut events = worker.take_events().unwrap();
    let client = worker.logs().clone();
    let stream = async |schema| client.stream(LogSpec::new(schema)).await.unwrap();

    // The worker writes its first records when it is connected to the logger and has not heard of it.
    let mut cluster_log = stream(logs::cluster_log()).await;
    logger.shake_hands().await;
    logger.play(&[6, 8]).await;
    let mut broker_log = stream(logs::broker_log()).await;
    logger.play(&[9]).await;
    let id = |session: &Session| session.replay.played_id().to_string();
    let first = logs::peer_added(0x41da_c0fa_30da_9ae9, 0xa7fd);
    broker_log.write(&first).await.unwrap();
    let first = logs::got_hello(0x41da_c0fa_30da_d2bb, "logger-1", &id(&logger));
    cluster_log.write(&first).await.unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    logger.play(&[13, 11]).await;
    logger.play(&[7]).await;
    assert!(worker.nodes_up().contains_key("logger-1"));

    proxy.shake_hands().await;
    proxy.play(&[10, 9, 11, 6, 7, 8]).await;
    manager.shake_hands().await;
    manager.play(&[12, 11, 13, 7, 8, 9, 10]).await;
    assert_eq!(worker.nodes_up().len(), 3);

    for port in [0xa61f, 0x90d7] {
        let record = logs::peer_added(0x41da_c0fa_30da_e211, port);
        broker_log.write(&record).await.unwrap();
    }
    for (time, name, session) in [
        (0x41da_c0fa_30da_ee74, "proxy-1", &proxy),
        (0x41da_c0fa_30db_0093, "manager", &manager),
    ] {
        let record = logs::got_hello(time, name, &id(session));
        cluster_log.write(&record).await.unwrap();
    }
    client.flush();
    logger.play(&[12, 10]).await;
    let mut golden_log = stream(logs::golden_log()).await;
    logger.play(&[14]).await;
    for n in 0..2 {
        let record = logs::golden_record(n, ["x", "-", "y,z"], ["10.0.0.1", "::1"]);
        golden_log.write(&record).await.unwrap();
    }
    client.flush();
    logger.play(&[15]).await;

    let to_proxy = |how: &str| Event::new("to_proxy", vec![how.into()]);
    let key = HrwKey::string(b"a key");
    let sent = worker.publish_hrw(PoolSpec::PROXY, &key, to_proxy("hrw"));
    assert_eq!(sent.await.unwrap().unwrap().peers, 1);
    let sent = worker.publish_rr(PoolSpec::PROXY, "", to_proxy("rr"));
    assert_eq!(sent.await.unwrap().unwrap().peers, 1);
    proxy.play(&[12, 13]).await;
    let to_manager = event("to_manager", vec!["worker-1".into()]);
    worker
        .publish_to_role(Role::Manager, to_manager)
        .await
        .unwrap();
    manager.play(&[14, 15]).await;
    let (topic, heard) = events.recv().await.unwrap();
    assert_eq!(topic.as_bytes(), b"zeek/cluster/worker");
    assert_eq!(heard, event("to_manager", vec!["back".into()]));

    let end = tokio::spawn(async move { worker.shutdown().await });
    tokio::join!(logger.end(), proxy.end(), manager.end());
    end.await.unwrap();
}
