//! Where the records of a stream go and what of them, as layout and program say: files of the writing node, loggers, both;
//! hooks, columns, limits.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::log::{Column, ColumnType, Limits, LogValue, Schema};
use broker_cluster::logging::{LogError, LogSpec};
use broker_cluster::{ClusterNode, Layout};
use broker_core::zeek::Event;
use broker_core::{Endpoint, LogCounters, MemNetwork, MemTransport, Message, QueueOptions, Topic};

const LIMIT: Duration = Duration::from_secs(20);

struct Pair {
    dir: tempfile::TempDir,
    manager: ClusterNode,
    worker: ClusterNode,
}

impl Pair {
    async fn start(logging: &str, locally: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "{logging}\n[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n[node.worker-1]\nrole = \"worker\"\n"
        );
        let layout = Arc::new(Layout::parse(&text, dir.path().join("cluster.toml")).unwrap());
        let network = MemNetwork::new();
        let builder = |name: &str| {
            let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
            ClusterNode::builder(Arc::clone(&layout), name).endpoint_builder(endpoint)
        };
        let manager = builder("manager").start().await.unwrap();
        let mut worker = builder("worker-1");
        if locally {
            worker = worker.log_locally(true);
        }
        let worker = worker.start().await.unwrap();
        assert!(worker.cluster_started(LIMIT).await);
        Self {
            dir,
            manager,
            worker,
        }
    }

    /// Writes one record of each number and returns what the worker counted at its end.
    async fn write(&self, spec: LogSpec, numbers: std::ops::Range<u64>) {
        let mut log = self.worker.logs().stream(spec).await.unwrap();
        for n in numbers {
            let record = [LogValue::Count(n), LogValue::String(vec![b'x'; 20])];
            log.write(&record).await.unwrap();
        }
    }

    async fn finish(
        self,
    ) -> (
        tempfile::TempDir,
        std::collections::BTreeMap<String, LogCounters>,
    ) {
        assert!(self.worker.logs().drained(LIMIT).await);
        self.worker.shutdown().await;
        let counters = self.worker.log_counters();
        self.manager.shutdown().await;
        (self.dir, counters)
    }
}

fn spec(path: &str) -> LogSpec {
    LogSpec::new(Schema {
        path: path.to_owned(),
        columns: vec![
            Column::new("n", ColumnType::parse("count").unwrap()),
            Column::new("text", ColumnType::STRING),
        ],
    })
}

/// The lines of a log of a node; none if it has no such file.
fn rows(dir: &Path, node: &str, path: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(dir.join(format!("logs/{node}/{path}.log"))).ok()?;
    Some(
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_where_layout_and_program_say() {
    let pair = Pair::start(
        "[logging.stream.\"Here::LOG\"]\nlog_local = true\nlog_remote = false\n\
         [logging.stream.\"Both::LOG\"]\nlog_local = true\n\
         [logging.stream.\"Nowhere::LOG\"]\nlog_remote = false\n",
        false,
    )
    .await;
    for path in ["here", "both", "there"] {
        pair.write(spec(path), 0..5).await;
    }
    // What the layout says of a stream goes before what the program says.
    pair.write(spec("nowhere").log_remote(true), 0..5).await;
    let (dir, counters) = pair.finish().await;
    for (path, worker, manager) in [
        ("here", true, false),
        ("both", true, true),
        ("there", false, true),
        ("nowhere", false, false),
    ] {
        for (node, has) in [("worker-1", worker), ("manager", manager)] {
            let rows = rows(dir.path(), node, path).map(|rows| rows.len());
            assert_eq!(rows, has.then_some(5), "{path} on {node}");
        }
    }
    let counted = |name: &str| {
        let log = counters.get(name).copied().unwrap_or_default();
        (log.received, log.written)
    };
    assert_eq!(counted("Here::LOG"), (5, 5));
    assert_eq!(counted("Both::LOG"), (5, 5));
    assert_eq!(counted("Both::LOG (local)"), (5, 5));
    assert_eq!(counted("There::LOG"), (5, 5));
    assert_eq!(counted("There::LOG (local)"), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_ask_for_files_only_on_a_node_that_writes_some() {
    let pair = Pair::start("", false).await;
    let refused = pair.worker.logs().stream(spec("x").log_local(true)).await;
    assert_eq!(
        refused.err(),
        Some(LogError::NoLocalLogger {
            stream: "X::LOG".to_owned()
        })
    );
    pair.finish().await;

    let pair = Pair::start("", true).await;
    pair.write(spec("x"), 0..3).await;
    pair.write(spec("y").log_local(false), 0..3).await;
    let (dir, _) = pair.finish().await;
    assert_eq!(
        rows(dir.path(), "worker-1", "x").map(|rows| rows.len()),
        Some(3)
    );
    assert_eq!(rows(dir.path(), "worker-1", "y"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_columns_and_limits_apply_where_a_record_is_written() {
    let pair = Pair::start(
        "[logging]\nmax_field_string_bytes = 4\n[logging.stream.\"Short::LOG\"]\nexclude = [\"n\"]\n",
        false,
    )
    .await;
    // On the node that receives a record no hook runs.
    pair.manager.logs().add_hook(|_, _| false);
    pair.worker.logs().add_hook(|origin, record| {
        if origin.stream == "Changed::LOG" {
            record[0] = match record[0] {
                LogValue::Count(n) => LogValue::Count(n * 10),
                ref other => other.clone(),
            };
        }
        true
    });
    let even = |_: &broker_cluster::logging::LogOrigin<'_>, record: &mut Vec<LogValue>| matches!(record[0], LogValue::Count(n) if n % 20 == 0);
    pair.write(spec("changed").hook(even), 0..5).await;
    let unlimited = Limits {
        field_bytes: 0,
        ..Limits::default()
    };
    pair.write(spec("short").limits(unlimited), 0..1).await;
    assert_eq!(pair.worker.logs().filtered(), 2);
    assert_eq!(pair.worker.logs().cut(), 3);
    let unknown = pair.worker.logs().stream(spec("z").include(["no"])).await;
    assert_eq!(
        unknown.err(),
        Some(LogError::NoSuchColumn {
            stream: "Z::LOG".to_owned(),
            column: "no".to_owned()
        })
    );
    let (dir, _) = pair.finish().await;
    let changed = rows(dir.path(), "manager", "changed").unwrap();
    assert_eq!(changed, ["0\txxxx", "20\txxxx", "40\txxxx"]);
    let short = rows(dir.path(), "manager", "short").unwrap();
    assert_eq!(short, ["x".repeat(20)]);
}

/// Numbered batches come on the topic of the logger's node, which its events come on, too.
#[tokio::test(flavor = "multi_thread")]
async fn log_records_take_no_room_among_the_events_of_a_logger() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[node.manager]\nrole = \"manager\"\nlisten = [\"mem://m\"]\n\
                [node.worker-1]\nrole = \"worker\"\n";
    let layout = Arc::new(Layout::parse(text, dir.path().join("cluster.toml")).unwrap());
    let network = MemNetwork::new();
    let builder = |name: &str| {
        let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
        ClusterNode::builder(Arc::clone(&layout), name).endpoint_builder(endpoint)
    };
    // Room for a few events, and nobody reads them: records would hold up the link of the worker for ever.
    let room = QueueOptions::local().max_messages(NonZeroUsize::new(4).unwrap());
    let manager = builder("manager").events(room).start().await.unwrap();
    let worker = builder("worker-1").start().await.unwrap();
    assert!(worker.cluster_started(LIMIT).await);
    let pair = Pair {
        dir,
        manager: manager.clone(),
        worker: worker.clone(),
    };
    pair.write(spec("conn"), 0..10_000).await;
    assert!(worker.logs().drained(LIMIT).await);
    let manager_topic = Topic::from_static("zeek/cluster/node/manager/");
    let event = Event::new("Test::done", vec![]);
    let message = Message::new(manager_topic, event);
    worker.endpoint().publish(message).await.unwrap();
    let mut events = manager.take_events().unwrap();
    let (_, event) = events.recv().await.unwrap();
    assert_eq!(event.name.as_slice(), b"Test::done");
    assert!(events.counters().offered <= 4, "{:?}", events.counters());
    let (dir, counters) = pair.finish().await;
    assert_eq!(counters["Conn::LOG"].written, 10_000);
    assert_eq!(rows(dir.path(), "manager", "conn").unwrap().len(), 10_000);
}
