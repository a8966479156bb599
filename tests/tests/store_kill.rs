//! Nodes with a store on disk that are killed while clients write: after each restart everything acknowledged is there,
//! and what was not answered is there wholly or not at all.
//!
//! The node is a process of the real program. Several lanes write at once, so that their writes share transactions. A lane
//! owns its keys and has one write under way, so that it knows for each key what must be there: the value of the last
//! acknowledged write or, for the key of a write that the kill left unanswered, that or the value after it. A counter that
//! all lanes increment is known up to the unanswered ones.
//!
//! While the node is down, a copy of its files is opened apart from it, and the storage's own books are checked: SQLite's
//! integrity check, the count, the index of deadlines.
//!
//! A kill takes the process, not the machine: what the system has not yet written to the disk survives it, so these tests
//! say nothing about a loss of power.
//!
//! `BROKER_KILL_ROUNDS=200` for many rounds, `BROKER_KILL_SEED` for a run's seed, which is printed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_core::{Data, StoreEntry, StoreOperation, StoreReply, Timestamp};
use broker_store::open_backend;
use broker_tests::{Cluster, PATIENCE};
use broker_wire::BrokerClient;
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_keeps_what_sqlite_acknowledged_with_its_rollback_journal() {
    rounds(
        "sqlite",
        &[("journal_mode", "delete"), ("synchronous", "full")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_keeps_what_sqlite_acknowledged_with_a_write_ahead_log_and_full_synchronisation()
 {
    rounds(
        "sqlite",
        &[("journal_mode", "wal"), ("synchronous", "full")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_keeps_what_sqlite_acknowledged_with_a_write_ahead_log_and_normal_synchronisation()
 {
    rounds(
        "sqlite",
        &[("journal_mode", "wal"), ("synchronous", "normal")],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_keeps_what_sled_acknowledged() {
    rounds("sled", &[]).await;
}

/// Kills and restarts a node until the rounds are over.
async fn rounds(backend: &str, options: &[(&str, &str)]) {
    let seed = number_in("BROKER_KILL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("BROKER_KILL_SEED={seed}");
    let mut rng = Rng(seed);
    let cluster = Cluster::new(&layout(backend, options));
    let mut lanes: Vec<Lane> = (0..LANES)
        .map(|number| Lane::new(number, &mut rng))
        .collect();
    let (mut acknowledged, mut unanswered, mut carried_out) = (0, 0, 0);
    let mut sum = 0;
    let kills = number_in("BROKER_KILL_ROUNDS").unwrap_or(ROUNDS);
    for round in 0..=kills {
        let (node, url) = cluster.node("manager");
        let client = BrokerClient::connect(&url.parse().unwrap()).await.unwrap();
        let found = content(&client).await;
        let context = format!("{backend} {options:?}, seed {seed}, round {round}");
        let status = client.status().await.unwrap();
        assert_eq!(
            status.stores[0].entries,
            found.len() as u64,
            "{context}: the status counts what is there"
        );
        let mut rest = found.clone();
        let (least, most) = lanes.iter().fold((sum, sum), |(least, most), lane| {
            (
                least + lane.counted,
                most + lane.counted + u64::from(lane.count_pending),
            )
        });
        sum = rest
            .remove(&Data::from(SUM))
            .map_or(0, |entry| entry.value.as_count().unwrap());
        assert!(
            (least..=most).contains(&sum),
            "{context}: {least} increments acknowledged, at most {most} asked for, {sum} counted"
        );
        for lane in &mut lanes {
            carried_out += u64::from(lane.settle(&mut rest, &context));
        }
        assert!(rest.is_empty(), "{context}: nobody wrote {rest:?}");

        if round == kills {
            assert_eq!(node.stop().code, Some(0));
            break;
        }
        let killed = Arc::new(AtomicBool::new(false));
        let (progress, mut seen) = watch::channel(0u64);
        let progress = Arc::new(progress);
        let tasks: Vec<_> = lanes
            .drain(..)
            .map(|lane| {
                tokio::spawn(lane.write(client.clone(), Arc::clone(&killed), Arc::clone(&progress)))
            })
            .collect();
        let until = rng.below(MAX_WRITES);
        tokio::time::timeout(PATIENCE, seen.wait_for(|done| *done >= until))
            .await
            .expect("writes are acknowledged")
            .unwrap();
        killed.store(true, Ordering::SeqCst);
        node.signal("KILL");
        node.wait();
        for task in tasks {
            let lane = tokio::time::timeout(PATIENCE, task)
                .await
                .expect("a lane ends with the node")
                .unwrap();
            unanswered += u64::from(lane.pending.is_some() || lane.count_pending);
            lanes.push(lane);
        }
        acknowledged += *seen.borrow();
        check_files(&cluster, backend, options, &context);
    }
    println!(
        "{acknowledged} acknowledged, {unanswered} unanswered, of which {carried_out} changed a key"
    );
    assert!(
        acknowledged > 0 && unanswered > 0,
        "the kills came while something was written"
    );
}

fn layout(backend: &str, options: &[(&str, &str)]) -> String {
    let options: String = options
        .iter()
        .map(|(name, value)| format!("{name} = \"{value}\"\n"))
        .collect();
    format!(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"{backend}\"\npath = \"data/s\"\n{options}\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
    )
}

/// Opens a copy of the store's files, as they were left, and compares what the storage says of itself.
fn check_files(cluster: &Cluster, backend: &str, options: &[(&str, &str)], context: &str) {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&cluster.path().join("data"), copy.path());
    let path = copy.path().join("s");
    let mut options = options.to_vec();
    options.push(("path", path.to_str().unwrap()));
    if backend == "sqlite" {
        options.push(("integrity_check", "true"));
    }
    let store = open_backend(backend, &options)
        .unwrap_or_else(|error| panic!("{context}: the files are whole: {error}"));
    let mut entries = Vec::new();
    loop {
        let page = store
            .scan(entries.last().map(|(key, _)| key), PAGE)
            .unwrap();
        if page.is_empty() {
            break;
        }
        entries.extend(page);
    }
    assert_eq!(
        store.len().unwrap(),
        entries.len() as u64,
        "{context}: the count"
    );
    let due: BTreeSet<Data> = store
        .due(Timestamp::MAX, usize::MAX)
        .unwrap()
        .into_iter()
        .collect();
    let deadlines: BTreeSet<Data> = entries
        .into_iter()
        .filter(|(_, entry)| entry.expires_at.is_some())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(due, deadlines, "{context}: the index of deadlines");
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn content(client: &BrokerClient) -> BTreeMap<Data, StoreEntry> {
    let mut entries: BTreeMap<Data, StoreEntry> = BTreeMap::new();
    loop {
        let after = entries.last_key_value().map(|(key, _)| key.clone());
        let operation = StoreOperation::Scan { after, limit: PAGE };
        let StoreReply::Entries(page) = client.store("s", operation).await.unwrap() else {
            panic!("a scan answers with entries");
        };
        if page.is_empty() {
            return entries;
        }
        entries.extend(page.into_iter().map(|entry| (entry.key.clone(), entry)));
    }
}

/// A writer of keys of its own, and what it knows of them.
struct Lane {
    number: u64,
    rng: Rng,
    /// What must be there.
    held: BTreeMap<Data, Data>,
    /// The key of the write that was not answered, and what it holds if it was carried out.
    pending: Option<(Data, Option<Data>)>,
    /// Acknowledged increments of the common counter since the last start, and whether one more was not answered.
    counted: u64,
    count_pending: bool,
    writes: u64,
}

impl Lane {
    fn new(number: u64, rng: &mut Rng) -> Self {
        Self {
            number,
            rng: Rng(rng.next()),
            held: BTreeMap::new(),
            pending: None,
            counted: 0,
            count_pending: false,
            writes: 0,
        }
    }

    /// Takes this lane's entries out of `found`; says whether the unanswered write was carried out.
    fn settle(&mut self, found: &mut BTreeMap<Data, StoreEntry>, context: &str) -> bool {
        let mine: Vec<Data> = found
            .keys()
            .filter(|key| {
                key.as_vector()
                    .is_some_and(|parts| parts[0] == Data::from(self.number))
            })
            .cloned()
            .collect();
        let mut there = BTreeMap::new();
        for key in mine {
            let entry = found.remove(&key).unwrap();
            let lasting = key != self.key(Kind::Expiring);
            match entry.expires_in {
                None => assert!(lasting, "{context}: {key} has lost its deadline"),
                Some(left) => assert!(
                    !lasting && left <= LIFE && left > LIFE / 2,
                    "{context}: {key} expires in {left:?}"
                ),
            }
            there.insert(key, entry.value);
        }
        let mut carried_out = false;
        if let Some((key, after)) = self.pending.take() {
            let now = there.get(&key).cloned();
            carried_out = now == after && now.as_ref() != self.held.get(&key);
            if carried_out {
                self.set(key, after);
            }
        }
        assert_eq!(
            there, self.held,
            "{context}: lane {} holds what it should",
            self.number
        );
        (self.counted, self.count_pending) = (0, false);
        carried_out
    }

    fn set(&mut self, key: Data, value: Option<Data>) {
        match value {
            Some(value) => self.held.insert(key, value),
            None => self.held.remove(&key),
        };
    }

    fn key(&self, kind: Kind) -> Data {
        Data::vector([Data::from(self.number), Data::from(kind as u64)])
    }

    /// Writes until the node is gone.
    async fn write(
        mut self,
        client: BrokerClient,
        killed: Arc<AtomicBool>,
        progress: Arc<watch::Sender<u64>>,
    ) -> Self {
        loop {
            self.writes += 1;
            let kind = KINDS[usize::try_from(self.rng.below(KINDS.len() as u64)).unwrap()];
            let (operation, after, reply) = self.draw(kind);
            if kind == Kind::Sum {
                self.count_pending = true;
            } else {
                self.pending = Some((self.key(kind), after.clone()));
            }
            match client.store("s", operation.clone()).await {
                Ok(answer) => assert_eq!(answer, reply, "{operation:?}"),
                Err(error) => {
                    assert!(
                        killed.load(Ordering::SeqCst),
                        "{operation:?} fails: {error}"
                    );
                    return self;
                }
            }
            if kind == Kind::Sum {
                self.counted += 1;
                self.count_pending = false;
            } else {
                self.pending = None;
                self.set(self.key(kind), after);
            }
            progress.send_modify(|done| *done += 1);
        }
    }

    /// A write, what its key holds afterwards, and its answer.
    fn draw(&mut self, kind: Kind) -> (StoreOperation, Option<Data>, StoreReply) {
        let key = self.key(kind);
        let held = self.held.get(&key).cloned();
        let value = self.value();
        let one = Data::from(1u64);
        let count = |data: &Option<Data>| data.as_ref().map_or(0, |data| data.as_count().unwrap());
        let (operation, after) = match kind {
            Kind::Sum => (
                StoreOperation::Increment {
                    key: SUM.into(),
                    amount: one,
                    expiry: None,
                },
                None,
            ),
            Kind::Put => (
                StoreOperation::Put {
                    key,
                    value: value.clone(),
                    expiry: None,
                },
                Some(value),
            ),
            Kind::Expiring => (
                StoreOperation::Put {
                    key,
                    value: value.clone(),
                    expiry: Some(LIFE),
                },
                Some(value),
            ),
            Kind::Increment => (
                StoreOperation::Increment {
                    key,
                    amount: one,
                    expiry: None,
                },
                Some((count(&held) + 1).into()),
            ),
            Kind::Append | Kind::Erase | Kind::Unique
                if held.is_some()
                    && (kind != Kind::Append || self.rng.below(50) == 0)
                    && self.rng.below(2) == 0 =>
            {
                (StoreOperation::Erase(key), None)
            }
            Kind::Erase => (
                StoreOperation::Put {
                    key,
                    value: value.clone(),
                    expiry: None,
                },
                Some(value),
            ),
            Kind::Append => {
                let more = format!("{};", self.writes);
                let text = held
                    .as_ref()
                    .map_or_else(String::new, |data| data.as_string().unwrap().to_string());
                (
                    StoreOperation::Append {
                        key,
                        value: more.as_str().into(),
                        expiry: None,
                    },
                    Some(format!("{text}{more}").into()),
                )
            }
            Kind::Unique => {
                let reply = StoreReply::Value(held.is_none().into());
                let after = held.unwrap_or_else(|| value.clone());
                return (
                    StoreOperation::PutUnique {
                        key,
                        value,
                        expiry: None,
                    },
                    Some(after),
                    reply,
                );
            }
        };
        (operation, after, StoreReply::Done)
    }

    /// A value that is written once only: short, of a page or of several.
    fn value(&mut self) -> Data {
        let length = match self.rng.below(20) {
            0 => 20_000,
            1..=5 => 2_000,
            _ => 20,
        };
        let length = usize::try_from(self.rng.below(length)).unwrap();
        let text = format!("{}:{};", self.number, self.writes).repeat(1 + length / 4);
        Data::vector([Data::from(self.writes), text.into()])
    }
}

/// What is done to a key, and the key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sum,
    Put,
    Expiring,
    Increment,
    Append,
    Erase,
    Unique,
}

const KINDS: [Kind; 7] = [
    Kind::Sum,
    Kind::Put,
    Kind::Expiring,
    Kind::Increment,
    Kind::Append,
    Kind::Erase,
    Kind::Unique,
];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number")),
    )
}

/// Writers at once.
const LANES: u64 = 16;
/// Kills unless asked for more.
const ROUNDS: u64 = 2;
/// A kill comes before so many writes were acknowledged.
const MAX_WRITES: u64 = 400;
const PAGE: usize = 64;
const SUM: &str = "sum";
/// Of entries that expire, longer than any run.
const LIFE: Duration = Duration::from_secs(1_000_000);
