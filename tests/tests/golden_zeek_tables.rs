//! The recorded sessions of a Zeek manager and a Zeek worker that share tables, replayed with a node of ours in place of
//! either: tables with `&publish_on_change`, and the announcement of those with `&backend`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use broker_cluster::table::{CHANGE_EVENT, ChangeKind, Member, PublishedTable};
use broker_cluster::{ClusterNode, ClusterNodeBuilder, Layout, NodeEvent, Role};
use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{Data, EndpointId, Filter, FromData, QueueOptions, Set, ToData, Topic};
use broker_tests::golden::{Cue, MessageFrame, Replay, Side};

/// Of elements of `Lab::names`.
const LIFE: Duration = Duration::from_secs(1);
/// Zeek's default, and ours.
const BATCH_DELAY: Duration = Duration::from_millis(10);

const PUBLISHED: &str = "zeek-published-tables";
const ANNOUNCED: &str = "zeek-announced-tables";

/// `type Host: record { ports: count; name: string &optional; };`
#[derive(Clone, Debug, PartialEq)]
struct Host {
    ports: u64,
    name: Option<String>,
}

impl ToData for Host {
    fn to_data(&self) -> Data {
        Data::vector([self.ports.to_data(), self.name.to_data()])
    }
}

impl FromData for Host {
    fn from_data(data: &Data) -> Result<Self, broker_core::ConversionError> {
        let (ports, name) = FromData::from_data(data)?;
        Ok(Self { ports, name })
    }

    fn type_name() -> std::borrow::Cow<'static, str> {
        "Lab::Host".into()
    }
}

/// The tables of the recorded script.
struct Tables {
    seen: PublishedTable<(IpAddr, u64), String>,
    hosts: PublishedTable<String, Host>,
    names: PublishedTable<String, Member>,
}

impl Tables {
    /// `life`: of the elements of `names`.
    fn open(node: &ClusterNode, life: Option<Duration>) -> Self {
        use ChangeKind::{Changed, Expired, New, Removed};
        let kinds = [New, Changed, Removed];
        let seen = node.published_table("Lab::seen").changes(kinds);
        let hosts = node.published_table("Lab::hosts").changes(kinds);
        let names = node.published_table("Lab::names").changes([New, Expired]);
        let names = match life {
            Some(life) => names.create_expire(life),
            None => names,
        };
        Self {
            seen: seen.open().unwrap(),
            hosts: hosts.open().unwrap(),
            names: names.open().unwrap(),
        }
    }

    /// What all copies have at the end.
    fn assert_final(&self) {
        let mut seen: BTreeMap<(IpAddr, u64), String> = (0..25)
            .map(|i| ((ip("10.1.0.0"), i), i.to_string()))
            .collect();
        seen.insert((ip("2001:db8::1"), 2), String::new());
        seen.insert((ip("192.0.2.9"), 9), "manager".to_owned());
        assert_eq!(self.seen.snapshot(), seen);
        assert!(self.hosts.is_empty() && self.names.is_empty());
        let counters = [
            self.seen.counters(),
            self.hosts.counters(),
            self.names.counters(),
        ];
        assert!(counters.iter().all(|counters| counters.skipped == 0));
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn layout(dir: &tempfile::TempDir, manager: &str, tables: &str) -> Layout {
    let text = format!(
        "{tables}[node.manager]\nrole = \"manager\"\nlisten = [{manager}]\n[node.worker-1]\nrole = \"worker\"\n"
    );
    Layout::parse(&text, dir.path().join("lab.toml")).unwrap()
}

fn builder(replay: &Replay, layout: Layout, name: &str) -> ClusterNodeBuilder {
    // What every Zeek process subscribes to beyond its role.
    let zeek: Filter = [Topic::from_static("zeek/supervisor")]
        .into_iter()
        .collect();
    ClusterNode::builder(layout, name)
        .endpoint_builder(replay.endpoint())
        .subscribe(zeek)
        .events(QueueOptions::local())
}

/// A manager of ours for the recorded worker to dial.
async fn manager(replay: &mut Replay, dir: &tempfile::TempDir, tables: &str) -> ClusterNode {
    // Nobody else dials it, so that what others are told does not matter.
    let addresses = "\"broker://127.0.0.1:0\"]\nadvertise = [\"broker://127.0.0.1:9\"";
    let node = builder(replay, layout(dir, addresses, tables), "manager")
        .start()
        .await
        .unwrap();
    replay.dial(&node.endpoint().listening()[0]);
    node
}

fn event_of(message: &MessageFrame) -> Option<Event> {
    const DATA: u8 = 1;
    let data = Data::decode(&message.payload).ok()?;
    match ZeekMessage::from_data(&data) {
        Ok(ZeekMessage::Event(event)) if message.kind == DATA => Some(event),
        _ => None,
    }
}

fn is_log(message: &MessageFrame) -> bool {
    let data = Data::decode(&message.payload);
    let message = data.map(|data| ZeekMessage::from_data(&data));
    matches!(
        message,
        Ok(Ok(ZeekMessage::LogCreate(_) | ZeekMessage::Batch(_)))
    )
}

/// A recorded event of changes by `own`, with the times of the one that was sent.
fn changes_at_our_time(
    own: EndpointId,
    recorded: &MessageFrame,
    sent: &MessageFrame,
) -> MessageFrame {
    let (Some(mut event), Some(ours)) = (event_of(recorded), event_of(sent)) else {
        return recorded.clone();
    };
    let is_change = [CHANGE_EVENT, "Cluster::forward_table_change_infos"]
        .iter()
        .any(|name| event.name == *name);
    if !is_change || field(&event.args[0], 2) != &Data::from(own.to_string()) {
        return recorded.clone();
    }
    take_time(&mut event.args[0], &ours.args[0]);
    let (Data::Vector(infos), Data::Vector(sent_infos)) = (&mut event.args[1], &ours.args[1])
    else {
        panic!("{ours:?}")
    };
    assert_eq!(infos.len(), sent_infos.len());
    for (info, sent) in infos.iter_mut().zip(sent_infos) {
        take_time(info, sent);
    }
    MessageFrame {
        payload: event.into_data().to_bytes().to_vec(),
        ..recorded.clone()
    }
}

fn field(record: &Data, index: usize) -> &Data {
    &record.as_vector().unwrap()[index]
}

/// The second field of both is a time.
fn take_time(record: &mut Data, sent: &Data) {
    let time = field(sent, 1).clone();
    assert!(matches!(time, Data::Timestamp(_)), "{sent:?}");
    let Data::Vector(fields) = record else {
        panic!("{record:?}")
    };
    assert!(matches!(fields[1], Data::Timestamp(_)), "{fields:?}");
    fields[1] = time;
}

#[tokio::test(start_paused = true)]
async fn our_manager_publishes_what_a_zeek_worker_changes_and_has_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(PUBLISHED, Side::Acceptor).await;
    let own = replay.our_id();
    replay.adapt(move |recorded, sent| changes_at_our_time(own, recorded, sent));
    let node = manager(&mut replay, &dir, "").await;
    // The worker says when elements of `names` expire.
    let tables = Tables::open(&node, None);
    let mut events = node.take_events().unwrap();
    let explained = replay
        .run(async |cue| match cue {
            Cue::Note(note) if note.starts_with("worker-1: publishes Lab::go") => {
                let (_, heard) = std::iter::from_fn(|| events.try_recv()).last().unwrap();
                assert_eq!(heard, Event::new("Lab::go", vec![]));
                let key = (ip("192.0.2.9"), 9);
                tables.seen.insert(key, "manager".to_owned()).unwrap();
            }
            Cue::Note(_) => {}
            Cue::Goodbye => panic!("the worker says goodbye"),
        })
        .await;
    assert!(explained.is_empty(), "{explained:?}");
    tables.assert_final();
}

const FULLY_CONNECTED: &str = "a node of ours tells its manager that it is fully connected";

#[tokio::test(start_paused = true)]
async fn our_worker_has_its_changes_published_by_a_zeek_manager() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(PUBLISHED, Side::Connector).await;
    let own = replay.our_id();
    replay.adapt(move |recorded, sent| changes_at_our_time(own, recorded, sent));
    // This one writes no logs.
    replay.leave_out(is_log);
    // Zeek's nodes do so only with an experimental script (zeek-cluster reference, 2.5).
    replay.unrecorded(FULLY_CONNECTED, |frame| {
        event_of(frame)
            .is_some_and(|event| event.name == "Cluster::Experimental::node_fully_connected")
    });
    let layout = layout(&dir, &format!("\"{}\"", replay.url()), "");
    let node = builder(&replay, layout, "worker-1").start().await.unwrap();
    let tables = Tables::open(&node, Some(LIFE));
    let Tables { seen, hosts, names } = &tables;
    let (first, second) = ((ip("10.0.0.1"), 1), (ip("2001:db8::1"), 2));
    let (mut step, mut end) = (0, None);
    let explained = replay
        .run(async |cue| {
            match cue {
                Cue::Note(note) if note.starts_with("Zeek 9.1-dev") => return,
                Cue::Note(note) => assert!(note.starts_with("worker-1: "), "{note}"),
                Cue::Goodbye => {
                    let node = node.clone();
                    end = Some(tokio::spawn(async move { node.shutdown().await }));
                    return;
                }
            }
            // The worker took its time between them.
            tokio::time::advance(Duration::from_millis(100)).await;
            step += 1;
            match step {
                1 => {
                    seen.insert(first, "a".to_owned()).unwrap();
                    let host = Host {
                        ports: 1,
                        name: None,
                    };
                    hosts.insert("x".to_owned(), host).unwrap();
                }
                2 => {
                    seen.insert(first, "b".to_owned()).unwrap();
                    seen.insert(second, String::new()).unwrap();
                    let host = Host {
                        ports: 2,
                        name: Some("xx".to_owned()),
                    };
                    hosts.insert("x".to_owned(), host).unwrap();
                    names.insert("n".to_owned(), Member).unwrap();
                }
                3 => {
                    seen.remove(&first).unwrap();
                    hosts.remove("x").unwrap();
                }
                4 => {
                    for i in 0..25 {
                        seen.insert((ip("10.1.0.0"), i), i.to_string()).unwrap();
                    }
                }
                5 => tokio::time::advance(LIFE).await,
                _ => {
                    let go = Event::new("Lab::go", vec![]);
                    node.publish_to_role(Role::Manager, go).await.unwrap();
                }
            }
            tokio::time::advance(BATCH_DELAY).await;
        })
        .await;
    end.unwrap().await.unwrap();
    let unknown = explained
        .keys()
        .find(|reason| ![FULLY_CONNECTED, "pings of ours"].contains(reason));
    assert_eq!(unknown, None, "{explained:?}");
    tables.assert_final();
}

const BACKED: &str =
    "[tables.\"Lab::seen\"]\nbackend = \"memory\"\n[tables.\"Lab::names\"]\nbackend = \"memory\"\n";

#[tokio::test(start_paused = true)]
async fn our_manager_announces_its_tables_and_a_zeek_worker_makes_clones_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(ANNOUNCED, Side::Acceptor).await;
    // Events of ours carry the network's time only if they are told to.
    replay.adapt(|recorded, _| match event_of(recorded) {
        Some(mut event) => {
            event.metadata = Some(Vec::new());
            MessageFrame {
                payload: event.into_data().to_bytes().to_vec(),
                ..recorded.clone()
            }
        }
        None => recorded.clone(),
    });
    let node = manager(&mut replay, &dir, BACKED).await;
    let mut up = node.node_events();
    let mut events = node.take_events().unwrap();
    let explained = replay.run(async |_| {}).await;
    let reasons: Vec<_> = explained.keys().collect();
    assert_eq!(reasons, [&"keepalives that name their clone"]);
    // A hello with metadata is one.
    assert!(matches!(up.try_recv().unwrap(), NodeEvent::Up { name, .. } if name == "worker-1"));
    let heard: Vec<Event> = std::iter::from_fn(|| events.try_recv())
        .map(|(_, event)| event)
        .filter(|event| event.name == "Lab::stamped")
        .collect();
    let args: Vec<&[Data]> = heard.iter().map(|event| event.args.as_slice()).collect();
    assert_eq!(args, [["cluster".into()], ["broker".into()]]);
    for event in &heard {
        assert!(event.network_timestamp().is_some(), "{event:?}");
    }
}

const READY: &str =
    "a manager of ours says when the cluster is ready, to whoever has a handler for it";

#[tokio::test(start_paused = true)]
async fn our_manager_tells_a_zeek_worker_that_the_cluster_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(PUBLISHED, Side::Acceptor).await;
    let is_own_change = |frame: &MessageFrame| {
        frame.topic == b"zeek/table/Lab::seen/" && frame.payload.windows(7).any(|w| w == b"manager")
    };
    replay.leave_out(is_own_change);
    replay.unrecorded(READY, |frame| {
        let told = Event::new(
            "BrokerRs::cluster_ready",
            vec![true.into(), Set::new().into()],
        );
        event_of(frame) == Some(told)
    });
    let ready = "[cluster.ready]\nworker = \"all\"\n";
    let _node = manager(&mut replay, &dir, ready).await;
    let explained = replay.run(async |_| {}).await;
    assert_eq!(explained.into_iter().collect::<Vec<_>>(), [(READY, 1)]);
}
