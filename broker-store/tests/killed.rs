//! Backends whose process is killed while it writes: what was acknowledged is there, and nothing is half there.
//!
//! The test program starts itself as the writer. `BROKER_STORE_KILLS=200 cargo test -p broker-store --all-features --test
//! killed` does more rounds than the few of an ordinary run.
#![cfg(all(unix, feature = "sqlite"))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use broker_core::{Data, Timestamp};
use broker_store::backend::{KeyBytes, key_bytes};
use broker_store::{Backend, Entry, Mutation, open_backend};

/// Tells the writer what it is and where it writes: backend, options, path.
const WRITER: &str = "BROKER_STORE_TEST_WRITER";

/// Kills of each backend, if nothing else is said.
const KILLS: u32 = 5;

/// Group number `n`, the same in both processes.
fn group(n: u64) -> Vec<Mutation> {
    let mut group = Vec::new();
    if n.is_multiple_of(97) {
        group.push(Mutation::Clear);
    }
    for key in [n % 50, n % 7] {
        group.push(Mutation::Put {
            key: key.into(),
            value: n.into(),
            expires_at: n.is_multiple_of(3).then(|| at(n)),
        });
    }
    if n.is_multiple_of(5) {
        let key = (n * 7 % 50).into();
        group.push(Mutation::Erase { key });
    }
    group.push(Mutation::Put {
        key: LAST.into(),
        value: n.into(),
        expires_at: None,
    });
    group.push(Mutation::Note {
        name: LAST.to_owned(),
        value: Some(n.to_be_bytes().to_vec()),
    });
    group
}

const LAST: &str = "last";

fn at(n: u64) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(n).unwrap())
}

/// The number of the last group that `store` has.
fn last(store: &dyn Backend) -> u64 {
    let last = store.get(&LAST.into()).unwrap();
    last.map_or(0, |entry| entry.value.as_count().unwrap())
}

/// Writes for ever, and says the number of each group once it is applied.
fn write(path: &Path, kind: &str, options: &[(&str, &str)]) {
    let mut store = open(path, kind, options);
    let mut out = std::io::stdout().lock();
    for n in last(&*store) + 1.. {
        store.apply(&group(n)).unwrap();
        writeln!(out, "{SAID}{n}").unwrap();
        out.flush().unwrap();
    }
}

const SAID: &str = "applied ";

fn open(path: &Path, kind: &str, options: &[(&str, &str)]) -> Box<dyn Backend> {
    let path = [("path", path.to_str().unwrap())];
    open_backend(kind, &[&path, options].concat()).unwrap()
}

/// Kills a writer again and again and looks at what it left; `check` looks at what only this backend has.
fn survives(test: &str, kind: &str, options: &[(&str, &str)], check: impl Fn(&Path)) {
    if let Some(path) = std::env::var_os(WRITER) {
        write(Path::new(&path), kind, options);
        return;
    }
    let kills = std::env::var("BROKER_STORE_KILLS");
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut model, mut modelled) = (BTreeMap::new(), 0);
    let mut rng = fastrand::Rng::with_seed(kills.into());
    for kill in 0..kills {
        let acknowledged = write_and_kill(test, &path, rng.usize(1..200));
        let store = open(&path, kind, options);
        let reached = last(&*store);
        assert!(
            (acknowledged..=acknowledged + 1).contains(&reached),
            "kill {kill}: {acknowledged} groups were acknowledged, {reached} are there"
        );
        for n in modelled + 1..=reached {
            apply(&mut model, &group(n));
        }
        modelled = reached;
        assert_equals(&*store, &model, reached);
        drop(store);
        check(&path);
    }
    assert!(modelled >= u64::from(kills));
}

/// Starts a writer, kills it once it has said `groups` numbers, and returns the last number that it said.
fn write_and_kill(test: &str, path: &Path, groups: usize) -> u64 {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(WRITER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut numbers = lines
        .map(Result::unwrap)
        .filter_map(|line| line.rsplit_once(SAID)?.1.parse::<u64>().ok());
    let before = numbers.by_ref().take(groups).last();
    assert!(before.is_some(), "the writer writes");
    writer.kill().unwrap();
    let ended = writer.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "it did not end by itself: {ended}");
    // What it said before it was dead.
    numbers.last().or(before).unwrap()
}

type Model = BTreeMap<KeyBytes, (Data, Entry)>;

fn apply(model: &mut Model, group: &[Mutation]) {
    for mutation in group.iter().cloned() {
        match mutation {
            Mutation::Put {
                key,
                value,
                expires_at,
            } => {
                model.insert(key_bytes(&key), (key, Entry { value, expires_at }));
            }
            Mutation::Erase { key } => {
                model.remove(&key_bytes(&key));
            }
            Mutation::Clear => model.clear(),
            Mutation::Note { .. } => {}
        }
    }
}

fn assert_equals(store: &dyn Backend, model: &Model, reached: u64) {
    let all: Vec<_> = model.values().cloned().collect();
    assert_eq!(store.scan(None, usize::MAX).unwrap(), all);
    assert_eq!(store.len().unwrap(), all.len() as u64);
    assert_eq!(
        store.note(LAST).unwrap(),
        Some(reached.to_be_bytes().to_vec()),
        "notes and entries are one transaction"
    );
    let mut deadlines: Vec<_> = all
        .iter()
        .filter_map(|(_, entry)| entry.expires_at)
        .collect();
    deadlines.sort();
    let due = store.due(Timestamp::MAX, usize::MAX).unwrap();
    let due: Vec<_> = due
        .iter()
        .map(|key| model[&key_bytes(key)].1.expires_at.unwrap())
        .collect();
    assert_eq!(due, deadlines);
}

fn check_sqlite(path: &Path) {
    let report: String = rusqlite::Connection::open(path)
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(report, "ok");
}

#[test]
fn sqlite_with_a_rollback_journal_survives() {
    survives(
        "sqlite_with_a_rollback_journal_survives",
        "sqlite",
        &[("journal_mode", "delete")],
        check_sqlite,
    );
}

#[test]
fn sqlite_with_a_write_ahead_log_survives() {
    survives(
        "sqlite_with_a_write_ahead_log_survives",
        "sqlite",
        &[("journal_mode", "wal"), ("synchronous", "normal")],
        check_sqlite,
    );
}

#[cfg(feature = "sled")]
#[test]
fn sled_survives() {
    survives("sled_survives", "sled", &[], |path| {
        broker_store::Sled::open(path).unwrap().check().unwrap();
    });
}
