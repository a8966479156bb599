//! The master's end of `bench store`: does what lines on stdin say and answers each with a line of JSON.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_core::{Endpoint, PeerUrl};
use broker_store::{FEATURE, MasterOptions, Store, StoreExt, open_backend};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::Backends;
use crate::bench::memory;
use crate::output::Output;
use crate::transports::Transports;

/// Arguments of the master's process.
#[derive(Debug, clap::Args)]
pub(crate) struct MasterArgs {
    #[arg(long)]
    listen: PeerUrl,
    #[arg(long, value_enum)]
    backend: Backends,
    #[arg(long)]
    dir: PathBuf,
}

/// What the master is asked to do; a line of JSON each.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Puts every key below `entries` once.
    Fill { entries: u64, writers: NonZeroUsize },
    /// Puts keys below `entries` for `millis`.
    Put {
        entries: u64,
        writers: NonZeroUsize,
        millis: u64,
    },
    /// Only says where it is.
    Tell,
}

/// Where the master is after an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Puts that were acknowledged to fulfil the order.
    pub(super) puts: u64,
    pub(super) entries: u64,
    pub(super) revision: u64,
    pub(super) digest: String,
    pub(super) peak: Option<u64>,
    pub(super) resident: Option<u64>,
}

impl State {
    fn of(store: &Store, puts: u64) -> Self {
        let position = store.position();
        Self {
            puts,
            entries: position.entries,
            revision: position.revision.map_or(0, |revision| revision.number),
            digest: position.digest.to_string(),
            peak: memory::peak(),
            resident: memory::resident(),
        }
    }
}

/// Attaches the master of the store [`NAME`] to `endpoint`.
pub(super) async fn attach(
    endpoint: &Endpoint,
    backend: Backends,
    dir: &Path,
) -> anyhow::Result<Store> {
    let path = dir.join("store");
    let path = path.to_str().context("the directory's name is not UTF-8")?;
    let (kind, options): (_, &[(&str, &str)]) = match backend {
        Backends::All => anyhow::bail!("a master has one backend"),
        Backends::Memory => ("memory", &[]),
        Backends::Sqlite => ("sqlite", &[("path", path)]),
        Backends::SqliteWal => (
            "sqlite",
            &[
                ("path", path),
                ("journal_mode", "wal"),
                ("synchronous", "normal"),
            ],
        ),
        Backends::Sled => ("sled", &[("path", path)]),
    };
    let backend = open_backend(kind, options)?;
    Ok(endpoint
        .attach_master(NAME, backend, MasterOptions::default())
        .await?)
}

/// Does what it is told.
pub(super) async fn obey(store: &Store, order: Order) -> anyhow::Result<State> {
    let puts = match order {
        Order::Fill { entries, writers } => fill(store, entries, writers).await?,
        Order::Put {
            entries,
            writers,
            millis,
        } => put_for(store, entries, writers, Duration::from_millis(millis)).await?,
        Order::Tell => 0,
    };
    Ok(State::of(store, puts))
}

async fn fill(store: &Store, entries: u64, writers: NonZeroUsize) -> anyhow::Result<u64> {
    let mut keys = 0..entries;
    spread(store, writers, || keys.next()).await
}

/// Puts keys below `entries` for `time` with so many puts under way; says how often. Every put was acknowledged.
pub(super) async fn put_for(
    store: &Store,
    entries: u64,
    writers: NonZeroUsize,
    time: Duration,
) -> anyhow::Result<u64> {
    let end = Instant::now() + time;
    let mut next = 0;
    spread(store, writers, || {
        next += 1;
        // The clock is looked at now and then: it costs as much as a put.
        let goes_on = !u64::is_multiple_of(next, 64) || Instant::now() < end;
        goes_on.then_some(next % entries)
    })
    .await
}

async fn spread(
    store: &Store,
    writers: NonZeroUsize,
    mut next: impl FnMut() -> Option<u64>,
) -> anyhow::Result<u64> {
    let proxy = store.proxy_with(writers);
    let (mut puts, mut acknowledged) = (0, 0);
    while let Some(key) = next() {
        while proxy.put(key, key.wrapping_add(puts), None).is_err() {
            let answer = proxy.recv().await.context("the store is closed")?;
            answer.result?;
            acknowledged += 1;
        }
        puts += 1;
    }
    while !proxy.is_idle() {
        let answer = proxy.recv().await.context("the store is closed")?;
        answer.result?;
        acknowledged += 1;
    }
    anyhow::ensure!(
        acknowledged == puts,
        "{acknowledged} of {puts} puts were answered"
    );
    Ok(puts)
}

/// Runs the master's process until stdin is closed.
pub(in crate::bench) async fn serve(args: MasterArgs) -> anyhow::Result<()> {
    let endpoint = Transports::default()
        .builder()
        .name("bench-master")
        .feature(FEATURE)
        .start();
    let store = attach(&endpoint, args.backend, &args.dir).await?;
    let url = endpoint.listen(&args.listen).await?;
    let mut output = Output::stdout();
    output.line(format!("listening {url}"))?;
    output.flush()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let order = serde_json::from_str(&line).context("not an order")?;
        output.json(&obey(&store, order).await?)?;
        output.flush()?;
    }
    endpoint.shutdown().await;
    Ok(())
}

/// The store that is measured.
pub(super) const NAME: &str = "bench";
