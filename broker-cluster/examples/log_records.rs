//! A detector that writes its own log: the record is a struct, from which come the columns, the values, and what is read
//! back from the logger's file.
//!
//! ```text
//! cargo run -p broker-cluster --example log_records
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use broker_cluster::log::{FromLogField, FromLogRecord, LogField, LogRecord, LogRecords};
use broker_cluster::{ClusterNode, Layout};
use broker_core::{Endpoint, MemNetwork, MemTransport, Port, Protocol, Timestamp};

const LAYOUT: &str = r#"
[node.manager]
role = "manager"
listen = ["mem://manager"]
[node.worker-1]
role = "worker"
"#;

/// A line of `ssh_guess.log`.
#[derive(Clone, Debug, PartialEq, LogRecord, FromLogRecord)]
struct SshGuess {
    ts: Timestamp,
    uid: String,
    id: ConnId,
    outcome: Outcome,
    user: Option<String>,
    #[broker(rename = "seen_from")]
    sensors: BTreeSet<IpAddr>,
    /// For the detector alone.
    #[broker(skip)]
    score: u32,
}

/// Four columns: `id.orig_h` to `id.resp_p`.
#[derive(Clone, Debug, PartialEq, LogRecord, FromLogRecord)]
struct ConnId {
    orig_h: IpAddr,
    orig_p: Port,
    resp_h: IpAddr,
    resp_p: Port,
}

/// `SSH::GUESS_FAILED` and `SSH::GUESSED_RIGHT`.
#[derive(Clone, Debug, PartialEq, LogField, FromLogField)]
#[broker(module = "SSH", rename_all = "SCREAMING_SNAKE_CASE")]
enum Outcome {
    GuessFailed,
    GuessedRight,
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
    let start = |name: &'static str| {
        let endpoint = Endpoint::builder().transport(MemTransport::new(&network));
        ClusterNode::builder(Arc::clone(&layout), name)
            .endpoint_builder(endpoint)
            .start()
    };
    let (manager, worker) = (start("manager").await?, start("worker-1").await?);
    if !worker.cluster_started(Duration::from_secs(20)).await {
        return Err(format!("worker-1 waits for {:?}", worker.waiting_for()).into());
    }

    // Hooks and columns that are left out are as of streams without a type.
    let mut log = worker
        .logs()
        .typed_with::<SshGuess>(|spec| spec.exclude(["user"]))
        .await?;
    let written: Vec<SshGuess> = (1..=3).map(guess).collect();
    for record in &written {
        log.write(record).await?;
    }

    worker.shutdown().await;
    manager.shutdown().await;
    let file = layout.log_dir().join("manager/ssh_guess.log");
    print!("{}", std::fs::read_to_string(&file)?);
    let read: Vec<SshGuess> = LogRecords::open(&file)?.collect::<Result<_, _>>()?;
    let expected: Vec<SshGuess> = written.into_iter().map(as_read).collect();
    if read != expected {
        return Err(format!("{read:?} was read instead of {expected:?}").into());
    }
    Ok(())
}

fn guess(number: u16) -> SshGuess {
    SshGuess {
        ts: Timestamp::from_nanos(i64::from(number) * 1_500_000_000),
        uid: format!("C{number}"),
        id: ConnId {
            orig_h: IpAddr::from([192, 0, 2, 7]),
            orig_p: Port::tcp(40_000 + number),
            resp_h: IpAddr::from([198, 51, 100, 1]),
            resp_p: Port::tcp(22),
        },
        outcome: if number < 3 {
            Outcome::GuessFailed
        } else {
            Outcome::GuessedRight
        },
        user: Some("root".to_owned()),
        sensors: BTreeSet::from([IpAddr::from([203, 0, 113, 9])]),
        score: 0,
    }
}

/// Without the column that was left out, and without the protocols of ports, which files do not have.
fn as_read(mut record: SshGuess) -> SshGuess {
    record.user = None;
    record.id.orig_p.protocol = Protocol::Unknown;
    record.id.resp_p.protocol = Protocol::Unknown;
    record
}
