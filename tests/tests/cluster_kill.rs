//! Loggers that are killed, stopped and started again while a worker writes: every record is in the files, and what is
//! there twice is known. The loggers are processes of the real program, the worker is a node in this one.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::TcpListener;
use std::path::Path;

use broker_cluster::log::{Column, ColumnType, LogValue, Schema};
use broker_cluster::logging::{LogSpec, LogStream, audit_logs};
use broker_cluster::{ClusterNode, Layout};
use broker_core::{Endpoint, LogCounters};
use broker_tests::{Cluster, PATIENCE, Running};
use broker_wire::GrpcTransport;

/// A manager, loggers, and a worker that is not a process of its own.
struct Lab {
    cluster: Cluster,
    processes: Vec<(String, Running)>,
    worker: ClusterNode,
    log: LogStream,
}

impl Lab {
    async fn start(loggers: usize) -> Self {
        let mut ports = free_ports(loggers + 1).into_iter();
        let mut node = |name: &str, role: &str| {
            let port = ports.next().unwrap();
            format!("[node.{name}]\nrole = \"{role}\"\nlisten = [\"grpc://127.0.0.1:{port}\"]\n")
        };
        let mut text = String::from("[logging]\nnode_streams = false\n");
        text.push_str(&node("manager", "manager"));
        let names: Vec<String> = (1..=loggers)
            .map(|number| format!("logger-{number}"))
            .collect();
        names
            .iter()
            .for_each(|name| text.push_str(&node(name, "logger")));
        text.push_str("[node.worker-1]\nrole = \"worker\"\n");
        let cluster = Cluster::new(&text);
        let mut processes = Vec::new();
        for name in std::iter::once("manager").chain(names.iter().map(String::as_str)) {
            processes.push((name.to_owned(), cluster.node(name).0));
        }
        let layout = Layout::load(cluster.path().join("cluster.toml")).unwrap();
        let endpoint = Endpoint::builder().transport(GrpcTransport::new());
        let worker = ClusterNode::builder(layout, "worker-1")
            .endpoint_builder(endpoint)
            .start()
            .await
            .unwrap();
        assert!(
            worker.cluster_started(PATIENCE).await,
            "waits for {:?}",
            worker.waiting_for()
        );
        let schema = Schema {
            path: "test".to_owned(),
            columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
        };
        let log = worker.logs().stream(LogSpec::new(schema)).await.unwrap();
        Self {
            cluster,
            processes,
            worker,
            log,
        }
    }

    async fn write(&mut self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            self.log.write(&[LogValue::Count(n)]).await.unwrap();
        }
    }

    fn process(&mut self, name: &str) -> &mut Running {
        &mut self
            .processes
            .iter_mut()
            .find(|(other, _)| other == name)
            .unwrap()
            .1
    }

    fn kill(&mut self, name: &str) {
        let at = self
            .processes
            .iter()
            .position(|(other, _)| other == name)
            .unwrap();
        let (_, process) = self.processes.swap_remove(at);
        process.signal("KILL");
        process.wait();
    }

    fn start_again(&mut self, name: &str) {
        let (process, _) = self.cluster.node(name);
        self.processes.push((name.to_owned(), process));
    }

    /// Waits for all receipts, stops everybody, and returns what the worker counted.
    async fn finish(mut self) -> (Cluster, LogCounters) {
        assert!(self.worker.logs().drained(PATIENCE).await);
        let counted = self.worker.log_counters()["Test::LOG"];
        self.worker.shutdown().await;
        for (_, process) in self.processes.drain(..) {
            assert_eq!(process.stop().code, Some(0));
        }
        (self.cluster, counted)
    }
}

/// The numbers in all files of the log, sorted.
fn rows(dir: &Path) -> Vec<u64> {
    let mut rows = Vec::new();
    for logger in std::fs::read_dir(dir).unwrap() {
        for file in std::fs::read_dir(logger.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|suffix| suffix == "log") {
                let text = std::fs::read_to_string(path).unwrap();
                // A killed logger that was not started again may leave half a line behind.
                let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
                rows.extend(
                    whole
                        .lines()
                        .filter(|line| !line.starts_with('#'))
                        .map(|line| line.parse::<u64>().unwrap()),
                );
            }
        }
    }
    rows.sort_unstable();
    rows
}

fn check(cluster: &Cluster, counted: LogCounters, expected: u64) -> u64 {
    assert_eq!(
        (counted.received, counted.written, counted.dropped),
        (expected, expected, 0)
    );
    let dir = cluster.path().join("logs");
    let mut rows = rows(&dir);
    let twice = rows.len() as u64 - expected;
    rows.dedup();
    assert!(
        rows.into_iter().eq(0..expected),
        "every record is in the files"
    );
    let audit = audit_logs(&dir).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (expected, twice));
    twice
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_that_is_killed_for_good_costs_no_record() {
    let mut lab = Lab::start(2).await;
    lab.write(0..10_000).await;
    lab.kill("logger-1");
    lab.write(10_000..30_000).await;
    let (cluster, counted) = lab.finish().await;
    check(&cluster, counted, 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_logger_is_killed_and_continues_its_files() {
    let mut lab = Lab::start(1).await;
    lab.write(0..10_000).await;
    lab.kill("logger-1");
    lab.start_again("logger-1");
    lab.write(10_000..20_000).await;
    lab.kill("logger-1");
    lab.start_again("logger-1");
    let (cluster, counted) = lab.finish().await;
    assert_eq!(
        check(&cluster, counted, 20_000),
        0,
        "one logger writes nothing twice"
    );
    assert!(!cluster.path().join("logs/logger-1/test.1.log").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_that_stands_still_is_replaced_and_what_it_writes_later_is_counted_as_twice() {
    let mut lab = Lab::start(2).await;
    lab.process("logger-1").signal("STOP");
    lab.write(0..5_000).await;
    assert!(lab.worker.logs().drained(PATIENCE).await);
    lab.process("logger-1").signal("CONT");
    let (cluster, counted) = lab.finish().await;
    check(&cluster, counted, 5_000);
}
