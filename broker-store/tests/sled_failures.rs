//! A sled database whose process is killed, or whose disk takes no more: what was acknowledged is there, and the number of
//! entries and the index of deadlines agree with the entries.
#![cfg(all(feature = "sled", unix))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use broker_core::Timestamp;
use broker_store::{Backend, BackendError, Mutation, Sled};

/// Set for a process of this test that writes until it cannot; it names the database.
const WRITER: &str = "BROKER_STORE_SLED_WRITER";

/// Group number n: two new keys, one of them with a deadline, the former group's key gone, and now and then a clear.
fn group(n: u64) -> Vec<Mutation> {
    let put = |key: String, expires_at| Mutation::Put {
        key: key.into(),
        value: "v".repeat(2000).into(),
        expires_at,
    };
    let mut group = vec![
        put(format!("stays {n}"), None),
        put(format!("goes {n}"), Some(Timestamp::from_nanos(n as i64))),
        Mutation::Erase {
            key: format!("goes {}", n.wrapping_sub(1)).into(),
        },
        Mutation::Note {
            name: "last".to_owned(),
            value: Some(n.to_be_bytes().to_vec()),
        },
    ];
    if n % 50 == 49 {
        group.insert(0, Mutation::Clear);
    }
    group
}

fn last(store: &Sled) -> Option<u64> {
    let note = store.note("last").unwrap()?;
    Some(u64::from_be_bytes(note.try_into().unwrap()))
}

/// Exactly the groups up to the last one are there, each whole.
fn check(store: &Sled) {
    store.check().unwrap();
    let Some(last) = last(store) else {
        assert!(store.is_empty().unwrap());
        return;
    };
    let first = if last < 49 {
        0
    } else {
        (last + 1) / 50 * 50 - 1
    };
    assert_eq!(store.len().unwrap(), last - first + 2, "after group {last}");
    for n in first..=last {
        assert!(store.contains(&format!("stays {n}").into()).unwrap());
    }
    assert_eq!(
        store.due(Timestamp::MAX, 9).unwrap(),
        [format!("goes {last}").into()]
    );
}

/// Runs as a process of its own; a test like any other does nothing.
#[test]
fn writer() {
    let Ok(path) = std::env::var(WRITER) else {
        return;
    };
    let mut store = Sled::open(&path).unwrap();
    let next = last(&store).map_or(0, |last| last + 1);
    let mut out = std::io::stderr();
    for n in next.. {
        match store.apply(&group(n)) {
            Ok(()) => writeln!(out, "acknowledged {n}").unwrap(),
            Err(error) => {
                assert!(matches!(error, BackendError::Failed { .. }), "{error:?}");
                writeln!(out, "failed {n}: {error}").unwrap();
                return;
            }
        }
    }
}

/// The writer, under `limit`, a line of the shell.
fn spawn(path: &Path, limit: &str) -> std::process::Child {
    Command::new("sh")
        .args([
            "-c",
            &format!("{limit} exec \"$0\" writer --exact --nocapture"),
        ])
        .arg(std::env::current_exe().unwrap())
        .env(WRITER, path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_everything_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut acks = None;
    for round in 0..8 {
        let mut child = spawn(&path, "");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(n) = acknowledged(&line) {
                acks = Some(n);
                seen += 1;
                if seen == 5 + round * 3 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= 5, "the writer wrote");
        let store = Sled::open(&path).unwrap();
        check(&store);
        // At most one group was on its way.
        let (last, acks) = (last(&store).unwrap(), acks.unwrap());
        assert!(last == acks || last == acks + 1, "{last} {acks}");
    }
}

#[test]
fn a_disk_that_takes_no_more_fails_the_group_and_what_was_acknowledged_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    drop(Sled::open(&path).unwrap());
    // A file of at most 2 or 4 MiB, by the block size of the shell, and an error instead of a signal.
    let child = spawn(&path, "trap '' XFSZ; ulimit -f 4096;");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let acks = text.lines().filter_map(acknowledged).next_back();
    let failed = text.lines().find(|line| line.starts_with("failed "));
    let failed = failed.unwrap_or_else(|| panic!("the limit was never reached: {text}"));
    assert!(failed.contains("db failed: "), "{failed}");
    let mut store = Sled::open(&path).unwrap();
    check(&store);
    assert_eq!(last(&store), acks, "{failed}");
    let next = acks.map_or(0, |n| n + 1);
    store.apply(&group(next)).unwrap();
    check(&store);
}
