//! Copies of a SQLite store that is written to all the time.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker_core::{Data, Endpoint, ErrorCode};
use broker_store::{
    Backend, BackendError, JournalMode, MasterOptions, Memory, Mutation, Problem, Sqlite,
    SqliteOptions, StoreExt,
};

fn put(key: impl Into<Data>, value: impl Into<Data>) -> Mutation {
    Mutation::Put {
        key: key.into(),
        value: value.into(),
        expires_at: None,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Group number n puts the keys 2n and 2n + 1 and says so under "last".
fn group(n: u64) -> [Mutation; 4] {
    let note = Mutation::Note {
        name: "master".to_owned(),
        value: Some(n.to_be_bytes().to_vec()),
    };
    let text = "x".repeat(300);
    [
        put(2 * n, text.as_str()),
        put(2 * n + 1, text.as_str()),
        put("last", n),
        note,
    ]
}

#[test]
fn a_backup_under_constant_writes_is_what_was_there_at_one_moment() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("s.sqlite"))
            .journal_mode(mode)
            .synchronous(broker_store::Synchronous::Off);
        let mut store = Sqlite::open(&options).unwrap();
        const BEFORE: u64 = 3000;
        for n in 0..BEFORE / 100 {
            let groups: Vec<_> = (n * 100..n * 100 + 100).flat_map(group).collect();
            store.apply(&groups).unwrap();
        }
        let backup = store.backup().unwrap();
        let target = dir.path().join("copies");
        fs::create_dir(&target).unwrap();
        let target_file = target.join("copy.sqlite");
        fs::write(&target_file, "something else was here").unwrap();
        let (stop, written) = (AtomicBool::new(false), AtomicU64::new(BEFORE));
        let (before, after, steps) = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = BEFORE;
                while !stop.load(Ordering::Acquire) {
                    store.apply(&group(n)).unwrap();
                    n += 1;
                    written.store(n, Ordering::Release);
                }
            });
            // The writer is on its way.
            while written.load(Ordering::Acquire) == BEFORE {
                std::thread::yield_now();
            }
            let before = written.load(Ordering::Acquire);
            let mut steps = Vec::new();
            let result = backup.run(&target_file, |progress| steps.push(progress));
            let after = written.load(Ordering::Acquire);
            stop.store(true, Ordering::Release);
            result.unwrap();
            (before, after, steps)
        });
        assert!(after > before, "the writer was not held up");
        let last = steps.last().unwrap();
        assert!(steps.len() > 1 && last.done == last.total && last.total > 100);
        assert_eq!(names(&target), ["copy.sqlite"]);

        let copy = Sqlite::open(&SqliteOptions::new(&target_file).integrity_check(true)).unwrap();
        let at = copy.get(&"last".into()).unwrap().unwrap().value;
        let at = at.as_count().unwrap();
        assert!((before - 1..=after).contains(&at), "{before} {at} {after}");
        assert_eq!(copy.len().unwrap(), 2 * (at + 1) + 1);
        assert!(copy.contains(&(2 * at + 1).into()).unwrap());
        assert_eq!(
            copy.note("master").unwrap(),
            None,
            "a copy is not the master"
        );
        drop(copy);
        assert_eq!(
            fs::read(&target_file).unwrap()[18..20],
            [1, 1],
            "a copy needs no log beside it"
        );
    }
}

#[test]
fn a_backup_that_cannot_be_made_leaves_the_target_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let mut store = Sqlite::open(&options).unwrap();
    store.apply(&group(0)).unwrap();
    let backup = store.backup().unwrap();
    let problem = |to: &Path| match backup.run(to, |_| {}) {
        Err(BackendError::Backup { problem, path, .. }) if path == to => problem,
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(options.path()), Problem::InUse);
    assert_eq!(problem(dir.path()), Problem::WrongKindOfFile);
    assert_eq!(
        problem(&dir.path().join("missing/copy.sqlite")),
        Problem::NoAccess
    );
    let other = SqliteOptions::new(dir.path().join("other.sqlite"));
    let open = Sqlite::open(&other).unwrap();
    assert_eq!(problem(other.path()), Problem::InUse);
    drop(open);
    backup.run(other.path(), |_| {}).unwrap();
    assert_eq!(Sqlite::open(&other).unwrap().len().unwrap(), 3);
    assert_eq!(store.len().unwrap(), 3);

    let error = Memory::new().backup().unwrap_err();
    assert!(error.to_string().contains("dump"), "{error}");
}

#[tokio::test]
async fn a_master_is_backed_up_through_its_handle_and_others_say_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Endpoint::builder().name("manager").start();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let sqlite = Sqlite::open(&options).unwrap();
    let store = node
        .attach_master("s", sqlite, MasterOptions::default())
        .await
        .unwrap();
    store.put("k", 1u64, None).await.unwrap();
    let to = dir.path().join("copy.sqlite");
    store.backup(&to).await.unwrap();
    store.put("k", 2u64, None).await.unwrap();
    let copy = Sqlite::open(&SqliteOptions::new(&to)).unwrap();
    let copied = node
        .attach_master("copy", copy, MasterOptions::default())
        .await
        .unwrap();
    assert_eq!(copied.get("k").await, Ok(Some(1u64.into())));
    assert_ne!(
        copied.revision().unwrap().history,
        store.revision().unwrap().history,
        "a copy has a history of its own"
    );
    let memory = node
        .attach_master("m", Memory::new(), MasterOptions::default())
        .await
        .unwrap();
    let error = memory.backup(&to).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::BackendFailure);
    assert!(error.to_string().contains("dump"), "{error}");
    let error = store.backup(&to).await.unwrap_err();
    assert!(error.to_string().contains("open"), "{error}");
}
