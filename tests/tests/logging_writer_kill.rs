//! What the death (SIGKILL) of a writer costs: nothing that is in a spool or has a receipt; what was in memory is lost, and
//! how much that is at most depends on how the spool is used.
//!
//! The writer is this program once more, started for [`writer_process`] alone. It notes each record that was accepted in a
//! file before it writes the next.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command};

use broker_cluster::log::LogValue;
use broker_cluster::logging::{BATCH_RECORDS, MAX_BATCHES, MAX_SPOOLING, audit_logs};
use broker_cluster::{ClusterNode, Layout};
use broker_core::Endpoint;
use broker_tests::PATIENCE;
use broker_wire::GrpcTransport;
use logging_lab::{Lab, numbers, rows, until};

const DIRECTORY: &str = "BROKER_TEST_WRITER";
/// What one stream has in memory that is no batch yet.
const BUFFERED: u64 = BATCH_RECORDS as u64 - 1;

/// No test of its own: what the others kill. Ends at once where nobody asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn writer_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let layout = Layout::load(directory.join("cluster.toml")).unwrap();
    let worker = ClusterNode::builder(layout, "worker-1")
        .endpoint_builder(Endpoint::builder().transport(GrpcTransport::new()))
        .start()
        .await
        .unwrap();
    let mut log = numbers(&worker).await;
    let progress = std::fs::File::create(directory.join("accepted")).unwrap();
    for n in 0_u64.. {
        log.write(&[LogValue::Count(n)]).await.unwrap();
        progress.write_all_at(&(n + 1).to_le_bytes(), 0).unwrap();
    }
}

struct Writer {
    child: Child,
    progress: std::path::PathBuf,
}

impl Writer {
    fn start(lab: &Lab) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_process", "--exact"])
            .env(DIRECTORY, lab.path())
            .spawn()
            .unwrap();
        Self {
            child,
            progress: lab.path().join("accepted"),
        }
    }

    /// How many records it was told are accepted.
    fn accepted(&self) -> u64 {
        let bytes = std::fs::read(&self.progress).unwrap_or_default();
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.accepted()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Has a writer killed in the middle of its work, with or without loggers there; then its next process sends what is left.
/// Returns how many records were accepted and how many of those are nowhere.
async fn killed(logging: &str, loggers_up: bool) -> (u64, u64) {
    let mut lab = Lab::new(1, &format!("[logging]\nnode_streams = false\n{logging}"));
    lab.start("manager");
    if loggers_up {
        lab.start("logger-1");
    }
    let writer = Writer::start(&lab);
    let so_far = || {
        let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log"));
        text.map_or(0, |text| text.lines().count() as u64)
    };
    if loggers_up {
        until("many records are in the file", || so_far() > 20_000).await;
    } else {
        until("many records are accepted", || writer.accepted() > 60_000).await;
    }
    let accepted = writer.kill();
    if !loggers_up {
        lab.start("logger-1");
    }
    let next = lab.worker().await;
    until("the logger is known", || next.id_of("logger-1").is_some()).await;
    assert!(next.logs().drained(PATIENCE).await);
    let left: u64 = next.log_counters().values().map(|log| log.spooled).sum();
    assert_eq!(left, 0, "the spool is empty");
    next.shutdown().await;
    lab.stop_all();

    let text = std::fs::read_to_string(lab.logs("logger-1").join("test.log")).unwrap();
    let rows = rows(&text);
    let distinct: BTreeSet<u64> = rows.iter().copied().collect();
    assert_eq!(distinct.len(), rows.len(), "each once");
    let audit = audit_logs(&lab.path().join("logs")).unwrap();
    assert_eq!(
        (audit.records(), audit.duplicates()),
        (rows.len() as u64, 0)
    );
    // One record may have been accepted and not noted.
    let found = distinct.range(..accepted).count() as u64;
    assert!(rows.len() as u64 - found <= 1, "{accepted}");
    // What is lost is the end, and nothing in the middle.
    assert!(distinct.into_iter().eq(0..rows.len() as u64));
    (accepted, accepted - found)
}

fn report(what: &str, (accepted, lost): (u64, u64), most: u64) {
    println!("{what}: {accepted} records accepted, {lost} lost, {most} at most");
    assert!(lost <= most, "{what}: {lost} of {accepted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_spool_the_death_of_a_writer_costs_what_has_no_receipt() {
    let figures = killed("", true).await;
    let most = (MAX_BATCHES * BATCH_RECORDS) as u64 + BUFFERED;
    report("no spool, a logger up", figures, most);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_spool_has_while_no_logger_is_up_survives_the_death_of_its_writer() {
    let figures = killed("spool_dir = \"spool\"\n", false).await;
    let most = (MAX_BATCHES * BATCH_RECORDS) as u64 + BUFFERED;
    report("spool, no logger up", figures, most);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_for_all_batches_leaves_little_to_lose() {
    let most = (MAX_SPOOLING * BATCH_RECORDS) as u64 + BUFFERED;
    for loggers_up in [true, false] {
        let logging = "spool_dir = \"spool\"\nspool_when = \"always\"\n";
        let figures = killed(logging, loggers_up).await;
        report(
            &format!("spool for all, a logger up: {loggers_up}"),
            figures,
            most,
        );
    }
}
