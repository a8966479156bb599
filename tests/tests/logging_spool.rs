//! The disk spool of a writer: a cluster without loggers, writers that stop and are killed, a spool that is full.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::time::{Duration, Instant};

use broker_cluster::ClusterNode;
use broker_cluster::logging::audit_logs;
use broker_core::LogCounters;
use broker_tests::PATIENCE;
use logging_lab::{Lab, batches, numbers, rows, until, write};

const SPOOL: &str = "[logging]\nnode_streams = false\nspool_dir = \"spool\"\n";

fn counted(worker: &ClusterNode) -> LogCounters {
    worker.log_counters()["Test::LOG"]
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_outage_wait_on_disk_and_arrive_in_order() {
    let mut lab = Lab::new(1, SPOOL);
    lab.start("manager");
    lab.start("logger-1");
    let worker = lab.worker().await;
    let mut log = numbers(&worker).await;
    assert!(worker.cluster_started(PATIENCE).await);
    write(&mut log, 0..5000).await;
    assert!(worker.logs().drained(PATIENCE).await);
    lab.kill("logger-1");
    // More than memory holds without receipts: without a spool this would wait for ever.
    write(&mut log, 5000..60_000).await;
    assert!(worker.logs().drained(PATIENCE).await);
    let counters = counted(&worker);
    assert_eq!((counters.received, counters.dropped), (60_000, 0));
    assert_eq!(counters.written + counters.spooled, 60_000);
    assert!(counters.spooled >= 50_000, "{counters:?}");
    lab.start("logger-1");
    write(&mut log, 60_000..61_000).await;
    until("everything is written", || {
        counted(&worker).written == 61_000
    })
    .await;
    assert_eq!(counted(&worker).spooled, 0);
    worker.shutdown().await;
    lab.stop_all();
    let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log")).unwrap();
    assert!(rows(&text).into_iter().eq(0..61_000), "in order, each once");
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (61_000, 0));
}

/// The answers of the logger that is killed are held back, so that it has batches of which the writer does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_killed_logger_is_written_again_only_by_another_one_and_told_apart() {
    for back in ["logger-1", "logger-2"] {
        let (mut lab, proxy) = Lab::behind_proxy(2, SPOOL).await;
        lab.start("manager");
        lab.start("logger-1");
        let worker = lab.worker().await;
        until("the logger is known", || worker.id_of("logger-1").is_some()).await;
        let mut log = numbers(&worker).await;
        write(&mut log, 0..2000).await;
        assert!(worker.logs().drained(PATIENCE).await);
        let acknowledged = batches(&lab.logs("logger-1"));
        proxy.mute();
        write(&mut log, 2000..6000).await;
        let there = || batches(&lab.logs("logger-1")).len() - acknowledged.len();
        until("it has batches of which nobody hears", || there() >= 10).await;
        lab.kill("logger-1");
        let unheard: u64 = batches(&lab.logs("logger-1"))
            .into_iter()
            .filter(|(batch, _)| !acknowledged.contains_key(batch))
            .map(|(_, records)| records)
            .sum();
        proxy.open();
        until("they are spooled", || counted(&worker).spooled == 4000).await;
        lab.start(back);
        until("everything is written", || counted(&worker).written == 6000).await;
        worker.shutdown().await;
        lab.stop_all();
        let audit = audit_logs(&lab.path().join("logs")).unwrap();
        let twice = if back == "logger-1" { 0 } else { unheard };
        assert_eq!((audit.records(), audit.duplicates()), (6000, twice));
        println!("{unheard} records unheard, {twice} twice by {back}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stops_without_a_logger_leaves_its_records_to_the_next_one() {
    let mut lab = Lab::new(1, SPOOL);
    lab.start("manager");
    let mut next = 0;
    // A node that has stopped has given its spool up, whoever still holds a handle.
    let mut stopped = Vec::new();
    for _ in 0..3 {
        let worker = lab.worker().await;
        if next > 0 {
            assert_eq!(counted(&worker).spooled, next);
        }
        let mut log = numbers(&worker).await;
        write(&mut log, next..next + 10_100).await;
        next += 10_100;
        let begun = Instant::now();
        worker.shutdown().await;
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "it waits for nobody"
        );
        let counters = counted(&worker);
        assert_eq!((counters.received, counters.dropped), (next, 0));
        assert_eq!(counters.spooled, next);
        stopped.push((worker, log));
    }
    let worker = lab.worker().await;
    lab.start("logger-1");
    until("everything is written", || counted(&worker).written == next).await;
    worker.shutdown().await;
    lab.stop_all();
    let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log")).unwrap();
    assert!(rows(&text).into_iter().eq(0..next), "in order, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_drops_what_it_was_told_to_and_counts_it() {
    for (policy, kept_first) in [("drop_newest", true), ("drop_oldest", false)] {
        let mut lab = Lab::new(
            1,
            &format!("{SPOOL}spool_bytes = \"256 KiB\"\nspool_full = \"{policy}\"\n"),
        );
        lab.start("manager");
        let worker = lab.worker().await;
        let mut log = numbers(&worker).await;
        write(&mut log, 0..40_000).await;
        assert!(worker.logs().drained(PATIENCE).await);
        let counters = counted(&worker);
        assert_eq!(counters.spooled + counters.dropped, 40_000, "{policy}");
        assert!(
            counters.spooled > 0 && counters.dropped > 10_000,
            "{counters:?}"
        );
        lab.start("logger-1");
        until("the spool is empty", || counted(&worker).spooled == 0).await;
        let counters = counted(&worker);
        assert_eq!(counters.written + counters.dropped, 40_000);
        worker.shutdown().await;
        lab.stop_all();
        let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log")).unwrap();
        let rows = rows(&text);
        assert_eq!(rows.len() as u64, counters.written);
        assert!(rows.is_sorted());
        // A small batch may still find room where a large one did not.
        let kept = if kept_first { 0..1000 } else { 39_000..40_000 };
        let lost = if kept_first { 20_000 } else { 0 };
        assert!(
            kept.into_iter().all(|row| rows.binary_search(&row).is_ok()),
            "{policy}"
        );
        assert!(rows.binary_search(&lost).is_err(), "{policy}");
    }
}

/// The worker is a process too, and what it writes is what nodes write about themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_keeps_what_was_spooled() {
    let mut lab = Lab::new(1, "[logging]\nspool_dir = \"spool\"\n");
    let spooled = |lab: &Lab| {
        lab.status("worker-1")["logs"]["Cluster::LOG"]["spooled"]
            .as_u64()
            .unwrap_or(0)
    };
    let mut ports = Vec::new();
    for _ in 0..2 {
        lab.start("worker-1");
        let before = ports.len() as u64;
        until("its records are spooled", || spooled(&lab) > before).await;
        let listening = lab.status("worker-1")["listening"][0]
            .as_str()
            .unwrap()
            .to_owned();
        ports.push(listening.rsplit(':').next().unwrap().to_owned());
        lab.kill("worker-1");
    }
    lab.start("worker-1");
    lab.start("logger-1");
    until("the spool is empty", || {
        let log = &lab.status("worker-1")["logs"]["Cluster::LOG"];
        log["spooled"] == 0 && log["written"].as_u64() > Some(0)
    })
    .await;
    lab.stop("worker-1");
    lab.stop("logger-1");
    let text = std::fs::read_to_string(lab.logs("logger-1").join("cluster.log")).unwrap();
    for port in ports {
        let line = format!("\tworker-1\tlistening on 127.0.0.1:{port}/tcp");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(
        text.contains("\tworker-1\tgot hello from logger-1 ("),
        "{text}"
    );
    assert!(
        text.contains("\tlogger-1\tgot hello from worker-1 ("),
        "{text}"
    );
    assert!(
        text.contains("\tworker-1\tinitiate peering with 127.0.0.1:"),
        "{text}"
    );
    let broker_log = std::fs::read_to_string(lab.logs("logger-1").join("broker.log")).unwrap();
    assert!(
        broker_log.contains("\tBroker::STATUS\tpeer-added\t127.0.0.1\t"),
        "{broker_log}"
    );
    assert!(
        broker_log.contains("#fields\tts\tty\tev\tpeer.address\tpeer.bound_port\tmessage\n"),
        "{broker_log}"
    );
}
