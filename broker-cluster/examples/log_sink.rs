//! A logger that hands the records of two streams to the program itself: one as structs, to raise an alert, one as lines of
//! JSON, for a queue elsewhere.
//!
//! ```text
//! cargo run -p broker-cluster --example log_sink
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::log::{FromLogRecord, LogRecord};
use broker_cluster::logging::{LogBatch, LogSink, LogSinkError, LogSinkSpec};
use broker_cluster::{ClusterNode, Layout};
use broker_core::{Endpoint, MemNetwork, MemTransport};
use tokio::sync::mpsc;

const LAYOUT: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.worker-1]
role = "worker"
"#;

#[derive(LogRecord, FromLogRecord)]
#[broker(path = "ssh_guess", stream = "SSH::GUESS_LOG")]
struct SshGuess {
    host: IpAddr,
    user: String,
}

#[derive(LogRecord)]
#[broker(path = "hosts")]
struct Host {
    host: IpAddr,
    name: Option<String>,
}

/// Counts guesses by host, and says so at the end.
struct Guessers {
    guesses: BTreeMap<IpAddr, u64>,
    alerts: mpsc::Sender<String>,
}

impl LogSink for Guessers {
    async fn write(&mut self, batch: &LogBatch) -> Result<(), LogSinkError> {
        // A batch that failed comes again as a whole: first read all of it, then count.
        let guesses: Vec<SshGuess> = batch.read()?.collect::<Result<_, _>>()?;
        for guess in guesses {
            *self.guesses.entry(guess.host).or_default() += u64::from(guess.user == "root");
        }
        Ok(())
    }

    async fn close(&mut self) {
        for (host, times) in &self.guesses {
            let _ = self
                .alerts
                .send(format!("{host} tried root {times} times"))
                .await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

/// Runs it all.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let layout = Arc::new(Layout::parse(LAYOUT, dir.path().join("cluster.toml"))?);
    let network = MemNetwork::new();
    let builder = |name: &'static str| {
        let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
        ClusterNode::builder(Arc::clone(&layout), name).endpoint_builder(endpoint)
    };
    let (alerts, mut heard) = mpsc::channel(16);
    let guessers = Guessers {
        guesses: BTreeMap::new(),
        alerts: alerts.clone(),
    };
    // Does what a client of a message queue would; a full queue is tried again.
    let hosts = LogSinkSpec::from_fn("hosts", move |batch| {
        let lines = String::from_utf8_lossy(&batch.to_json_lines()).into_owned();
        alerts.try_send(lines).map_err(LogSinkError::retry)
    });
    let manager = builder("manager")
        .log_sink(LogSinkSpec::new("guessers", guessers).streams(["SSH::GUESS_LOG"]))
        .log_sink(hosts.streams(["Hosts::LOG"]))
        .start()
        .await?;
    let worker = builder("worker-1").start().await?;
    if !worker.cluster_started(Duration::from_secs(20)).await {
        return Err(format!("worker-1 waits for {:?}", worker.waiting_for()).into());
    }

    let host = IpAddr::from([192, 0, 2, 7]);
    let mut guesses = worker.logs().typed::<SshGuess>().await?;
    for user in ["root", "admin", "root"] {
        let user = user.to_owned();
        guesses.write(&SshGuess { host, user }).await?;
    }
    let mut hosts = worker.logs().typed::<Host>().await?;
    hosts.write(&Host { host, name: None }).await?;

    // Sinks have everything, and are closed, when the logger has stopped.
    worker.shutdown().await;
    manager.shutdown().await;
    let mut all = Vec::new();
    while let Some(text) = heard.recv().await {
        println!("{}", text.trim_end());
        all.push(text);
    }
    all.sort();
    let expected = [
        "192.0.2.7 tried root 2 times",
        "{\"_path\":\"hosts\",\"host\":\"192.0.2.7\"}\n",
    ];
    if all == expected {
        Ok(())
    } else {
        Err(format!("{all:?} instead of {expected:?}").into())
    }
}
