//! The measurement of one backend, from the clone's end.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use broker_core::{Endpoint, MemNetwork, MemTransport, PeerUrl};
use broker_store::{CloneOptions, FEATURE, Store, StoreExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::master::{self, NAME, Order, State, put_for};
use super::{Figures, StoreArgs};
use crate::bench::Transport;
use crate::bench::memory;
use crate::transports::Transports;

/// The end with the master.
#[derive(Debug)]
enum Master {
    Process {
        process: Box<Child>,
        orders: ChildStdin,
        answers: Lines<BufReader<ChildStdout>>,
    },
    Here {
        endpoint: Endpoint,
        store: Store,
    },
}

/// Measures `args.backend`, which is a single one.
pub(super) async fn measure(args: &StoreArgs) -> anyhow::Result<Figures> {
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.context("cannot make a directory for the store")?;
    let (mut master, endpoint, url) = start(args, dir.path()).await?;
    let before = memory::resident();
    let entries = args
        .entries
        .map_or_else(|| args.backend.default_entries(), u64::from);
    let writers = args.writers;
    let time = Duration::from_secs_f64(args.seconds);
    let say = |what: &str| eprintln!("{}: {what}", args.backend.name());

    let empty = master.order(Order::Tell).await?;
    say(&format!("filling with {entries} entries"));
    let mut at = master.order(Order::Fill { entries, writers }).await?;
    anyhow::ensure!(
        at.entries == entries,
        "the master has {} entries of {entries}",
        at.entries
    );

    say("attaching");
    let began = Instant::now();
    let clone = endpoint.attach_clone(NAME, CloneOptions::default()).await?;
    endpoint.connect(url).await?;
    anyhow::ensure!(
        clone.attached(LIMIT).await,
        "the clone does not find its master"
    );
    check(&clone, &at, "after attaching")?;
    let attach_s = began.elapsed().as_secs_f64();
    let peak = memory::peak();
    let master_peak = match &master {
        Master::Process { .. } => master.order(Order::Tell).await?.peak,
        Master::Here { .. } => None,
    };
    let grown = |peak: Option<u64>, before: Option<u64>| Some(peak?.saturating_sub(before?));
    let bytes = match &master {
        Master::Process { .. } => grown(peak, before)
            .zip(grown(master_peak, empty.resident))
            .map(|(own, others)| own + others),
        Master::Here { .. } => grown(peak, before),
    };

    say("putting at the master");
    let order = |time: Duration| Order::Put {
        entries,
        writers,
        millis: time.as_millis() as u64,
    };
    at = master.checked(order(WARM_UP), &at).await?;
    clone.sync(LIMIT).await?;
    let began = Instant::now();
    at = master.checked(order(time), &at).await?;
    clone.sync(LIMIT).await?;
    let puts_per_s = rate(at.puts, began.elapsed());
    check(&clone, &at, "after puts at the master")?;

    say("putting at the clone");
    let mut acknowledged = put_for(&clone, entries, writers, WARM_UP).await?;
    let began = Instant::now();
    let puts = put_for(&clone, entries, writers, time).await?;
    let clone_puts_per_s = rate(puts, began.elapsed());
    acknowledged += puts;

    say("putting one at a time");
    let mut latencies = Vec::new();
    let began = Instant::now();
    while began.elapsed() < time || latencies.is_empty() {
        let start = Instant::now();
        let key = latencies.len() as u64 % entries;
        clone.put(key, key, None).await?;
        latencies.push(start.elapsed());
    }
    let acknowledged_puts_per_s = rate(latencies.len() as u64, began.elapsed());
    acknowledged += latencies.len() as u64;
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[(latencies.len() - 1) * p / 100].as_nanos() as f64 / 1e3;

    let last = master.order(Order::Tell).await?;
    anyhow::ensure!(
        last.revision == at.revision + acknowledged,
        "{acknowledged} puts of the clone were acknowledged, the master did {}",
        last.revision - at.revision
    );
    clone.sync(LIMIT).await?;
    check(&clone, &last, "after puts at the clone")?;

    say("reading at the clone");
    let threads = std::thread::available_parallelism()?.get();
    let gets_per_s = read(&clone, entries, 1, time).await?;
    let gets_all_threads_per_s = read(&clone, entries, threads, time).await?;

    endpoint.shutdown().await;
    master.stop().await?;
    Ok(Figures {
        bench: "store".to_owned(),
        transport: args.transport.name().to_owned(),
        backend: args.backend.name().to_owned(),
        writers: writers.get(),
        puts_per_s,
        clone_puts_per_s,
        acknowledged_puts_per_s,
        put_p50_us: tenth(percentile(50)),
        put_p99_us: tenth(percentile(99)),
        gets_per_s,
        gets_all_threads_per_s,
        threads,
        attach_entries: entries,
        attach_s: (attach_s * 1e3).round() / 1e3,
        attach_peak_mb: peak.map(|peak| tenth(peak as f64 / 1e6)),
        master_peak_mb: master_peak.map(|peak| tenth(peak as f64 / 1e6)),
        bytes_per_entry: bytes.map(|bytes| (bytes as f64 / entries as f64).round()),
    })
}

async fn start(args: &StoreArgs, dir: &Path) -> anyhow::Result<(Master, Endpoint, PeerUrl)> {
    if args.transport == Transport::Mem {
        let network = MemNetwork::new();
        let node = |name| {
            Endpoint::builder()
                .name(name)
                .feature(FEATURE)
                .transport(MemTransport::new(&network))
                .start()
        };
        let (endpoint, own) = (node("bench-master"), node("bench-clone"));
        let url: PeerUrl = "mem://master".parse()?;
        endpoint.listen(&url).await?;
        let store = master::attach(&endpoint, args.backend, dir).await?;
        return Ok((Master::Here { endpoint, store }, own, url));
    }
    let program = std::env::current_exe().context("cannot find out where this program is")?;
    let mut process = Command::new(program)
        .args(["bench", "store-master", "--backend", args.backend.name()])
        .args([
            "--listen",
            &format!("{}://127.0.0.1:0", args.transport.name()),
        ])
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the master")?;
    let orders = process.stdin.take().context("the master has no stdin")?;
    let stdout = process.stdout.take().context("the master has no stdout")?;
    let mut answers = BufReader::new(stdout).lines();
    let line = answers.next_line().await?.context("the master ended")?;
    let url = line
        .strip_prefix("listening ")
        .with_context(|| format!("the master said {line:?}"))?
        .parse()?;
    let own = Transports::default()
        .builder()
        .name("bench-clone")
        .feature(FEATURE)
        .start();
    let master = Master::Process {
        process: Box::new(process),
        orders,
        answers,
    };
    Ok((master, own, url))
}

impl Master {
    async fn order(&mut self, order: Order) -> anyhow::Result<State> {
        match self {
            Self::Here { store, .. } => master::obey(store, order).await,
            Self::Process {
                orders, answers, ..
            } => {
                let mut line = serde_json::to_vec(&order)?;
                line.push(b'\n');
                orders.write_all(&line).await?;
                let answer = answers.next_line().await?.context("the master ended")?;
                serde_json::from_str(&answer).context("the master's answer is damaged")
            }
        }
    }

    /// An order that puts; the revision has to move by what was acknowledged.
    async fn checked(&mut self, order: Order, before: &State) -> anyhow::Result<State> {
        let after = self.order(order).await?;
        anyhow::ensure!(
            after.revision == before.revision + after.puts,
            "{} puts were acknowledged, the master did {}",
            after.puts,
            after.revision - before.revision
        );
        Ok(after)
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Here { endpoint, .. } => endpoint.shutdown().await,
            Self::Process {
                mut process,
                orders,
                ..
            } => {
                drop(orders);
                let status = process.wait().await?;
                anyhow::ensure!(status.success(), "the master failed: {status}");
            }
        }
        Ok(())
    }
}

fn check(clone: &Store, master: &State, when: &str) -> anyhow::Result<()> {
    let here = clone.position();
    anyhow::ensure!(
        here.entries == master.entries && here.digest.to_string() == master.digest,
        "{when} the clone has {} entries with digest {}, the master {} with {}",
        here.entries,
        here.digest,
        master.entries,
        master.digest
    );
    Ok(())
}

/// Reads a second at the clone, by `threads` threads of their own.
async fn read(clone: &Store, entries: u64, threads: usize, time: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let readers: Vec<_> = (0..threads as u64)
        .map(|reader| {
            let clone = clone.clone();
            tokio::task::spawn_blocking(move || -> anyhow::Result<u64> {
                let (mut reads, mut key) = (0, reader * entries / threads as u64);
                while began.elapsed() < time {
                    for _ in 0..BETWEEN_CLOCKS {
                        // A stride that is no multiple of a power of two: not one key beside the other.
                        key = (key + 7919) % entries;
                        let value = clone.get_local(&key.into())?;
                        anyhow::ensure!(value.is_some(), "the clone lacks the key {key}");
                    }
                    reads += BETWEEN_CLOCKS;
                }
                Ok(reads)
            })
        })
        .collect();
    let mut reads = 0;
    for reader in readers {
        reads += reader.await??;
    }
    Ok(rate(reads, began.elapsed()))
}

fn rate(count: u64, time: Duration) -> f64 {
    (count as f64 / time.as_secs_f64()).round()
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The start that is not counted.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long the clone may take to attach or to catch up.
const LIMIT: Duration = Duration::from_secs(300);

/// Reads between two looks at the clock.
const BETWEEN_CLOCKS: u64 = 256;
