//! Real logs of Zeek through two loggers, one of which is killed and started again half-way: every record comes out at
//! least once and equal value by value, and what came out more often is what the batch numbers say.
//!
//! That some come out twice is made sure of: a proxy holds the answers of the one that is killed back, so that the writer does not hear
//! of batches that are in its files, and sends them to the other one.
//!
//! The logs are those in the tree, each written so many times over that the kill falls into the middle. With
//! `BROKER_ZEEK_LOGS` set to a directory of logs, those are taken as well.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use broker_cluster::log::{LogItem, LogReader, Record};
use broker_cluster::logging::{LogSpec, LogStream, audit_logs};
use broker_tests::PATIENCE;
use logging_lab::{Lab, batches, files, until};

/// How often each file is written.
const ROUNDS: u64 = 30;

/// How often each record of each log is there. Values are compared as they are, by their debug form, which tells all
/// of them apart.
type Counted = BTreeMap<(String, String), u64>;

fn records(path: &Path) -> (LogReader, Vec<Record>) {
    let reader = LogReader::open(path).unwrap();
    let records = LogReader::open(path)
        .unwrap()
        .filter_map(|item| match item.unwrap() {
            LogItem::Record { record, .. } => Some(record),
            _ => None,
        })
        .collect();
    (reader, records)
}

fn count(counted: &mut Counted, log: &str, record: &Record) {
    *counted
        .entry((log.to_owned(), format!("{record:?}")))
        .or_default() += 1;
}

async fn through_two_loggers(inputs: Vec<PathBuf>) {
    let (mut lab, proxy) = Lab::behind_proxy(2, "[logging]\nnode_streams = false\n").await;
    for name in ["manager", "logger-1", "logger-2"] {
        lab.start(name);
    }
    let worker = lab.worker().await;
    assert!(worker.cluster_started(PATIENCE).await);
    let mut expected = Counted::new();
    let mut logs: Vec<(String, LogStream, Vec<Record>)> = Vec::new();
    for path in &inputs {
        let (reader, records) = records(path);
        let schema = reader.schema().as_ref().clone();
        let name = schema.path.clone();
        let spec = LogSpec::new(schema).style(&reader.style());
        logs.push((name, worker.logs().stream(spec).await.unwrap(), records));
    }
    let mut written = 0;
    let mut acknowledged = BTreeMap::new();
    let mut unheard = BTreeMap::new();
    for round in 0..ROUNDS {
        match round {
            // Both loggers have files by now.
            1 => assert!(worker.logs().drained(PATIENCE).await),
            _ if round == ROUNDS / 2 => {
                assert!(worker.logs().drained(PATIENCE).await);
                acknowledged = batches(&lab.logs("logger-1"));
                proxy.mute();
            }
            _ if round == ROUNDS / 2 + 1 => {
                worker.logs().flush();
                let there = || batches(&lab.logs("logger-1")).len() - acknowledged.len();
                until("it has batches of which nobody hears", || {
                    there() >= logs.len()
                })
                .await;
                lab.kill("logger-1");
                unheard = batches(&lab.logs("logger-1"));
                unheard.retain(|batch, _| !acknowledged.contains_key(batch));
                proxy.open();
            }
            _ if round == ROUNDS * 3 / 4 => {
                lab.start("logger-1");
                until("it is known again", || worker.id_of("logger-1").is_some()).await;
            }
            _ => {}
        }
        for (name, log, records) in &mut logs {
            for record in records {
                log.write(record).await.unwrap();
                count(&mut expected, name, record);
                written += 1;
            }
        }
    }
    assert!(worker.logs().drained(PATIENCE).await);
    let totals = worker
        .log_counters()
        .into_values()
        .fold((0, 0, 0), |sum, log| {
            (
                sum.0 + log.received,
                sum.1 + log.written,
                sum.2 + log.dropped,
            )
        });
    assert_eq!(totals, (written, written, 0));
    worker.shutdown().await;
    lab.stop_all();

    let mut found = Counted::new();
    let mut twice = 0;
    for logger in ["logger-1", "logger-2"] {
        for path in files(&lab.logs(logger), ".log") {
            // A JSON file without records is empty.
            if std::fs::metadata(&path).unwrap().len() == 0 {
                continue;
            }
            let (reader, records) = records(&path);
            let name = reader.schema().path.clone();
            records
                .iter()
                .for_each(|record| count(&mut found, &name, record));
        }
    }
    for (record, times) in &found {
        let wanted = expected.get(record).copied().unwrap_or(0);
        assert!(wanted > 0, "nobody wrote {record:?}");
        assert!(*times >= wanted, "{times} of {wanted}: {record:?}");
        twice += times - wanted;
    }
    assert_eq!(found.len(), expected.len(), "every record is there");
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!((audit.records(), audit.duplicates()), (written, twice));
    // All of them are told apart by writer and number.
    let other = batches(&lab.logs("logger-2"));
    let again: u64 = unheard.values().sum();
    assert!(again > 0, "some are certain");
    assert!(unheard.keys().all(|batch| other.contains_key(batch)));
    let both = batches(&lab.logs("logger-1"));
    let both = both.iter().filter(|(batch, _)| other.contains_key(batch));
    assert_eq!(
        both.map(|(_, records)| records).sum::<u64>() + audit.unacknowledged,
        twice
    );
    println!(
        "{written} records of {} logs, {twice} twice, {again} of them made sure of in {} batches",
        inputs.len(),
        unheard.len()
    );
}

/// The logs in the tree, and those of the directory that the environment names.
fn inputs(below: &str) -> Vec<Vec<PathBuf>> {
    let tree =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker-cluster/tests/golden/zeek-logs");
    let mut all = vec![files(&tree.join(below), ".log")];
    assert!(all[0].len() >= 3, "{all:?}");
    match std::env::var_os("BROKER_ZEEK_LOGS") {
        Some(dir) => {
            let found = files(&Path::new(&dir).join(below), ".log");
            println!("also {} logs of {}", found.len(), dir.to_string_lossy());
            all.push(found);
        }
        None => println!("BROKER_ZEEK_LOGS is not set: the logs in the tree alone"),
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn tsv_logs_come_out_as_they_went_in_though_a_logger_is_killed() {
    for logs in inputs("") {
        through_two_loggers(logs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_logs_come_out_as_they_went_in_though_a_logger_is_killed() {
    for logs in inputs("json") {
        through_two_loggers(logs).await;
    }
}
