//! Sinks of the program itself on a node: which records they get, when, and what the node says of them.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use broker_cluster::log::{FromLogRecord, LogRecord, LogRecords};
use broker_cluster::logging::{LogBatch, LogSink, LogSinkError, LogSinkSpec, SinkSetupError};
use broker_cluster::{ClusterNode, StartError};
use support::{Cluster, LIMIT, TWO_WORKERS, wait_for};

#[derive(Clone, Debug, PartialEq, LogRecord, FromLogRecord)]
#[broker(path = "guesses")]
struct Guess {
    number: u64,
    host: std::net::IpAddr,
}

#[derive(LogRecord)]
#[broker(path = "others")]
struct Other {
    text: String,
}

/// What the sink did.
#[derive(Debug, PartialEq)]
enum Said {
    Took(Vec<Guess>),
    Closed,
}

struct Guesses {
    file: PathBuf,
    said: mpsc::Sender<Said>,
}

impl LogSink for Guesses {
    async fn write(&mut self, batch: &LogBatch) -> Result<(), LogSinkError> {
        let guesses: Vec<Guess> = batch.read()?.collect::<Result<_, _>>()?;
        let file = read(&self.file);
        let found = guesses.iter().all(|guess| file.contains(guess));
        assert!(found, "a record is in the file before it is here");
        self.said.send(Said::Took(guesses)).unwrap();
        Ok(())
    }

    async fn close(&mut self) {
        self.said.send(Said::Closed).unwrap();
    }
}

fn read(file: &Path) -> Vec<Guess> {
    LogRecords::open(file)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn sink(name: &str, dir: &Path) -> (LogSinkSpec, mpsc::Receiver<Said>) {
    let (said, heard) = mpsc::channel();
    let sink = Guesses {
        file: dir.join("logs/manager/guesses.log"),
        said,
    };
    (
        LogSinkSpec::new(name, sink).streams(["Guesses::LOG"]),
        heard,
    )
}

fn guess(number: u64) -> Guess {
    Guess {
        number,
        host: [192, 0, 2, 7].into(),
    }
}

fn counter(node: &ClusterNode, name: &str) -> u64 {
    node.endpoint().status().counters[name]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_gives_the_program_the_streams_it_wants_and_closes_it_behind_the_last_record() {
    let mut cluster = Cluster::new(TWO_WORKERS);
    let (on_manager, heard) = sink("guesses", cluster.dir.path());
    let (on_worker, idle) = sink("guesses", cluster.dir.path());
    let broken = LogSinkSpec::from_fn("broken", |_| panic!("told to")).streams(["Others::LOG"]);
    let manager = cluster
        .start_node("manager", |builder| {
            builder.log_sink(on_manager).log_sink(broken)
        })
        .await;
    let worker = cluster
        .start_node("worker-1", |builder| builder.log_sink(on_worker))
        .await;
    for name in ["proxy-1", "worker-2"] {
        cluster.start_node(name, |builder| builder).await;
    }
    assert!(worker.cluster_started(LIMIT).await);
    let mut guesses = worker.logs().typed::<Guess>().await.unwrap();
    let mut others = worker.logs().typed::<Other>().await.unwrap();
    for number in 0..1000 {
        guesses.write(&guess(number)).await.unwrap();
        let text = number.to_string();
        others.write(&Other { text }).await.unwrap();
    }
    assert!(worker.logs().drained(LIMIT).await);
    wait_for(|| {
        counter(&manager, "log_sink_guesses_sent") == 1000
            && counter(&manager, "log_sink_broken_dropped") == 1000
    })
    .await;
    assert_eq!(counter(&manager, "log_sink_guesses_offered"), 1000);
    assert_eq!(counter(&manager, "log_sink_guesses_queued"), 0);
    guesses.write(&guess(1000)).await.unwrap();
    drop((guesses, others, worker, manager));
    cluster.stop().await;

    let mut numbers = Vec::new();
    let mut said = heard.try_iter();
    loop {
        match said.next() {
            Some(Said::Took(guesses)) => numbers.extend(guesses.iter().map(|guess| guess.number)),
            other => {
                // It was closed before `stop` returned.
                assert_eq!(other, Some(Said::Closed));
                break;
            }
        }
    }
    assert_eq!(said.next(), None);
    assert_eq!(numbers, (0..=1000).collect::<Vec<_>>());
    assert!(idle.try_iter().next().is_none(), "a worker writes no files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_of_the_layout_and_one_of_the_program_need_two_names() {
    let text = format!("[logging.sink.guesses]\nurl = \"tcp://127.0.0.1:1\"\n{TWO_WORKERS}");
    let cluster = Cluster::new(&text);
    let (own, _heard) = sink("guesses", cluster.dir.path());
    let started = ClusterNode::builder(cluster.layout.clone(), "manager")
        .endpoint_builder(cluster.endpoint())
        .log_sink(own)
        .start()
        .await;
    assert!(matches!(
        started,
        Err(StartError::Sink(SinkSetupError::SameName { sink })) if sink == "guesses"
    ));
}
