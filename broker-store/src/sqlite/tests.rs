use std::time::Duration;

use rusqlite::types::Value;

use super::*;
use crate::backend::Problem;
use crate::conformance;

fn put(key: &str, value: u64, expires_at: Option<i64>) -> Mutation {
    Mutation::Put {
        key: key.into(),
        value: value.into(),
        expires_at: expires_at.map(Timestamp::from_nanos),
    }
}

fn note(name: &str, value: &[u8]) -> Mutation {
    Mutation::Note {
        name: name.to_owned(),
        value: Some(value.to_vec()),
    }
}

fn count(store: &Sqlite, table: &str) -> i64 {
    store
        .connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}

/// The index of deadlines says what the entries say.
fn check(store: &Sqlite) {
    let pairs = |query: &str| -> Vec<(i64, Value)> {
        let mut select = store.connection.prepare(query).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let indexed = pairs("SELECT expiry, key FROM temp.deadline ORDER BY expiry, key");
    let stored =
        pairs("SELECT expiry, key FROM store WHERE expiry IS NOT NULL ORDER BY expiry, key");
    assert_eq!(indexed, stored);
    assert_eq!(store.limited, stored.len());
}

#[test]
fn sqlite_conforms() {
    conformance::run(|| Sqlite::open_in_memory().expect("open"));
}

#[test]
fn entries_and_deadlines_survive_a_restart_in_both_journal_modes() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("deep/er/store.sqlite"))
            .journal_mode(mode)
            .integrity_check(true);
        let mut store = Sqlite::open(&options).unwrap();
        store
            .apply(&[
                put("a", 1, None),
                put("b", 2, Some(50)),
                put("c", 3, Some(40)),
            ])
            .unwrap();
        drop(store);
        let store = Sqlite::open(&options).unwrap();
        assert_eq!(store.len().unwrap(), 3);
        assert_eq!(store.get(&"a".into()).unwrap(), Some(Entry::lasting(1u64)));
        assert_eq!(
            store.due(Timestamp::from_nanos(51), 10).unwrap(),
            ["c".into(), "b".into()]
        );
        check(&store);
    }
}

#[test]
fn a_rollback_takes_the_deadlines_back_too() {
    let mut store = Sqlite::open_in_memory().unwrap();
    store
        .apply(&[put("a", 1, Some(10)), put("b", 1, Some(20))])
        .unwrap();
    store
        .connection
        .execute_batch(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.store
             WHEN NEW.key = x'05026e6f' BEGIN SELECT RAISE(ABORT, 'told to fail'); END",
        )
        .unwrap();
    for before in [
        vec![put("a", 2, None)],
        vec![put("a", 2, Some(5)), put("c", 1, Some(6))],
        vec![Mutation::Clear],
        vec![
            Mutation::Erase { key: "b".into() },
            Mutation::Clear,
            put("d", 1, Some(7)),
        ],
    ] {
        let batch = [before, vec![put("no", 1, Some(1))]].concat();
        let error = store.apply(&batch).unwrap_err();
        assert!(format!("{error:?}").contains("told to fail"), "{error:?}");
        assert_eq!(
            store.due(Timestamp::MAX, 10).unwrap(),
            ["a".into(), "b".into()]
        );
        assert_eq!(store.len().unwrap(), 2);
        check(&store);
    }
    store.apply(&[put("a", 2, None)]).unwrap();
    assert_eq!(store.due(Timestamp::MAX, 10).unwrap(), ["b".into()]);
    check(&store);
}

#[test]
fn a_file_of_ours_has_no_table_or_index_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let mut store = Sqlite::open(&options).unwrap();
    store
        .apply(&[put("a", 1, Some(10)), note("n", b"x")])
        .unwrap();
    assert_eq!(count(&store, "temp.deadline"), 1);
    assert_eq!(
        count(&store, "main.sqlite_schema WHERE name NOT LIKE 'sqlite_%'"),
        2
    );
}

#[test]
fn notes_stay_as_long_as_nobody_else_opens_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let raw = |sql: &str| {
        let connection = Connection::open(options.path()).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    let notes = || {
        let store = Sqlite::open(&options).unwrap();
        (
            store.note("master").unwrap(),
            store.note("writers").unwrap(),
        )
    };
    let (master, writers) = (Some(b"m".to_vec()), Some(b"w".to_vec()));
    let write = || {
        let mut store = Sqlite::open(&options).unwrap();
        store
            .apply(&[note("master", b"?"), note("writers", b"w")])
            .unwrap();
        store.apply(&[note("master", b"m")]).unwrap();
    };
    write();
    for _ in 0..3 {
        assert_eq!(notes(), (master.clone(), writers.clone()));
    }
    raw("VACUUM");
    assert_eq!(notes(), (master.clone(), writers.clone()), "after a VACUUM");
    raw("SELECT count(*) FROM store");
    assert_eq!(notes(), (master, writers), "a reader changes nothing");
    // What C++ Broker does on opening.
    let cpp = "CREATE TABLE IF NOT EXISTS meta(key text primary key, value text);
               CREATE TABLE IF NOT EXISTS store(key blob primary key, value blob, expiry integer);
               INSERT OR REPLACE INTO meta (key, value) VALUES ('broker_version', '2.7.0');";
    raw(cpp);
    assert_eq!(notes(), (None, None), "C++ has opened it");
    write();
    raw(cpp);
    raw("VACUUM");
    assert_eq!(
        notes(),
        (None, None),
        "C++ has opened it, and then a VACUUM"
    );
    write();
    raw("DELETE FROM meta WHERE key = 'broker_version'");
    assert_eq!(notes(), (None, None), "the version row is gone");
}

#[test]
fn a_file_has_one_master_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite")).failure_mode(FailureMode::Delete);
    let mut store = Sqlite::open(&options).unwrap();
    store.apply(&[put("a", 1, None)]).unwrap();
    let error = Sqlite::open(&options).unwrap_err();
    assert!(
        matches!(&error, BackendError::Open { problem: Problem::InUse, path, .. } if path == options.path()),
        "{error:?}"
    );
    let roundabout = SqliteOptions::new(dir.path().join(".").join("s.sqlite"));
    assert!(Sqlite::open(&roundabout).is_err());
    drop(store);
    let store = Sqlite::open(&options).unwrap();
    assert_eq!(store.len().unwrap(), 1, "it was not deleted");
}

#[test]
fn a_store_that_is_just_being_closed_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let store = Sqlite::open(&options).unwrap();
    let (begun, opening) = std::sync::mpsc::channel();
    let second = std::thread::spawn(move || {
        begun.send(()).unwrap();
        Sqlite::open(&options).map(|_| ())
    });
    opening.recv().unwrap();
    drop(store);
    second.join().unwrap().unwrap();
}

#[test]
fn a_locked_database_fails_the_group_and_leaves_the_store_as_it_was() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("s.sqlite")).journal_mode(mode);
        let mut store = Sqlite::open(&options).unwrap();
        store.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(options.path()).unwrap();
        other
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO store VALUES (x'01', x'01', 9)")
            .unwrap();
        let error = store.apply(&[put("a", 1, Some(5))]).unwrap_err();
        assert!(
            matches!(
                error,
                BackendError::Failed {
                    problem: Problem::Locked,
                    ..
                }
            ),
            "{error:?}"
        );
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(store.due(Timestamp::MAX, 10).unwrap(), []);
        store.apply(&[put("a", 2, None)]).unwrap();
        assert_eq!(store.get(&"a".into()).unwrap(), Some(Entry::lasting(2u64)));
    }
}

#[test]
fn a_lock_that_lasts_a_moment_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let mut store = Sqlite::open(&options).unwrap();
    let other = Connection::open(options.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (begun, writing) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        begun.send(()).unwrap();
        store.apply(&[put("a", 1, None)]).map(|()| store)
    });
    writing.recv().unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    let store = writer.join().unwrap().unwrap();
    assert_eq!(store.len().unwrap(), 1);
}

#[test]
fn a_full_disk_fails_the_group_and_writes_work_again_when_there_is_room() {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteOptions::new(dir.path().join("s.sqlite")).journal_mode(mode);
        let mut store = Sqlite::open(&options).unwrap();
        store.apply(&[put("small", 1, Some(7))]).unwrap();
        let limit = |store: &Sqlite, pages: u32| {
            store
                .connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .unwrap();
        };
        limit(&store, 12);
        let big: Vec<_> = (0..2000)
            .map(|n| put(&format!("a key of some length, number {n}"), n, Some(9)))
            .collect();
        let error = store.apply(&big).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("the disk is full"), "{text}");
        assert!(text.contains("s.sqlite"), "{text}");
        assert_eq!(store.len().unwrap(), 1, "nothing is half applied");
        check(&store);
        store.apply(&[put("small", 2, None)]).unwrap();
        limit(&store, 100_000);
        store.apply(&big).unwrap();
        assert_eq!(store.len().unwrap(), 2001);
        check(&store);
    }
}

#[test]
fn a_connection_that_may_not_write_says_that_it_is_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let mut store = Sqlite::open(&options).unwrap();
    store
        .connection
        .execute_batch("PRAGMA query_only = ON")
        .unwrap();
    let error = store.apply(&[put("a", 1, None)]).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    store
        .connection
        .execute_batch("PRAGMA query_only = OFF")
        .unwrap();
    store.apply(&[put("a", 1, None)]).unwrap();
}
