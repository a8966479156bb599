//! A cluster for the tests of logging: manager and loggers are processes of the real program, the worker is a node of
//! this one, so that a test knows what it has written.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker_cluster::log::{Column, ColumnType, LogValue, Schema};
use broker_cluster::logging::{LogSpec, LogStream};
use broker_cluster::{ClusterNode, Layout};
use broker_core::Endpoint;
use broker_tests::{Cluster, Done, PATIENCE, Running, TcpProxy, broker, free_ports};
use broker_wire::GrpcTransport;
use serde_json::Value;

pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    processes: BTreeMap<String, (Running, String)>,
}

impl Lab {
    /// A layout with a manager, so many loggers and a worker; `logging` goes in front. Nothing is started.
    pub(crate) fn new(loggers: usize, logging: &str) -> Self {
        let ports = free_ports(loggers + 1);
        Self::of(&ports, logging, |_| String::new())
    }

    /// The same where all others reach the first logger through a proxy.
    pub(crate) async fn behind_proxy(loggers: usize, logging: &str) -> (Self, TcpProxy) {
        let ports = free_ports(loggers + 1);
        let proxy = TcpProxy::start(([127, 0, 0, 1], ports[1]).into()).await;
        let advertise = format!("advertise = [\"grpc://{}\"]\n", proxy.address());
        let lab = Self::of(&ports, logging, |name| match name {
            "logger-1" => advertise.clone(),
            _ => String::new(),
        });
        (lab, proxy)
    }

    /// A port each for the manager and the loggers; `more` is what else the layout says of a node.
    fn of(ports: &[u16], logging: &str, more: impl Fn(&str) -> String) -> Self {
        let mut text = format!("{logging}\n");
        for (number, port) in ports.iter().enumerate() {
            let (name, role) = match number {
                0 => ("manager".to_owned(), "manager"),
                _ => (format!("logger-{number}"), "logger"),
            };
            text.push_str(&format!(
                "[node.{name}]\nrole = \"{role}\"\nlisten = [\"grpc://127.0.0.1:{port}\"]\n{}",
                more(&name)
            ));
        }
        text.push_str("[node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n");
        Self {
            cluster: Cluster::new(&text),
            processes: BTreeMap::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.cluster.path()
    }

    /// The directory of a logger's files.
    pub(crate) fn logs(&self, logger: &str) -> PathBuf {
        self.path().join("logs").join(logger)
    }

    pub(crate) fn start(&mut self, name: &str) {
        self.start_with(name, &[]);
    }

    pub(crate) fn start_with(&mut self, name: &str, environment: &[(&str, &str)]) {
        let started = self.cluster.node_with(name, environment);
        self.processes.insert(name.to_owned(), started);
    }

    pub(crate) fn process(&mut self, name: &str) -> &mut Running {
        &mut self.processes.get_mut(name).unwrap().0
    }

    pub(crate) fn kill(&mut self, name: &str) {
        let (process, _) = self.processes.remove(name).unwrap();
        process.signal("KILL");
        process.wait();
    }

    /// Stops a process in order and returns what it said.
    pub(crate) fn stop(&mut self, name: &str) -> Done {
        let (process, _) = self.processes.remove(name).unwrap();
        let done = process.stop();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done
    }

    pub(crate) fn stop_all(&mut self) {
        let names: Vec<String> = self.processes.keys().cloned().collect();
        for name in names {
            self.stop(&name);
        }
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let url = &self.processes[name].1;
        let text = Done::of(broker().args(["status", url, "--json"])).ok();
        serde_json::from_str(&text).unwrap()
    }

    /// A counter of a node, from the tables that the program prints; 0 if it is not there.
    pub(crate) fn counter(&self, name: &str, counter: &str) -> u64 {
        let url = &self.processes[name].1;
        let text = Done::of(broker().args(["status", url])).ok();
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(counter));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Starts the worker in this process.
    pub(crate) async fn worker(&self) -> ClusterNode {
        let layout = Layout::load(self.path().join("cluster.toml")).unwrap();
        ClusterNode::builder(layout, "worker-1")
            .endpoint_builder(Endpoint::builder().transport(GrpcTransport::new()))
            .start()
            .await
            .unwrap()
    }
}

/// A log of numbers on a node.
pub(crate) async fn numbers(worker: &ClusterNode) -> LogStream {
    worker.logs().stream(LogSpec::new(schema())).await.unwrap()
}

pub(crate) fn schema() -> Schema {
    Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    }
}

pub(crate) async fn write(log: &mut LogStream, numbers: std::ops::Range<u64>) {
    for n in numbers {
        log.write(&[LogValue::Count(n)]).await.unwrap();
    }
}

/// The batches that the journals of a logger name: writer and number, and how many records.
pub(crate) fn batches(dir: &Path) -> BTreeMap<(String, u64), u64> {
    let mut all = BTreeMap::new();
    for path in files(dir, ".batches") {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be half written while the logger runs.
            if let [writer, number, records, _] = words[..]
                && writer.len() == 36
            {
                let (number, records) = (number.parse().unwrap(), records.parse().unwrap());
                all.insert((writer.to_owned(), number), records);
            }
        }
    }
    all
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The files of a directory whose names end like this, sorted.
pub(crate) fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(suffix)))
        .collect();
    files.sort();
    files
}

pub(crate) fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The numbers in the text of a log, in order.
pub(crate) fn rows(text: &str) -> Vec<u64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.parse().unwrap())
        .collect()
}
