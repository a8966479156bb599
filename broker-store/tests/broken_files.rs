//! Files that refuse: what is said, what becomes of them in either failure mode, and that the node stays up.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use broker_core::{Data, Endpoint, ErrorCode, Timestamp};
use broker_store::{
    Backend, BackendError, Entry, FailureMode, JournalMode, MasterOptions, Mutation, Problem,
    Sqlite, SqliteOptions, Store, StoreExt, Synchronous,
};
use rusqlite::Connection;

const ENTRIES: u64 = 2000;

fn put(key: impl Into<Data>, value: impl Into<Data>) -> Mutation {
    Mutation::Put {
        key: key.into(),
        value: value.into(),
        expires_at: None,
    }
}

/// A store of some size in a directory of its own, closed.
fn store(dir: &Path, mode: JournalMode) -> SqliteOptions {
    let options = SqliteOptions::new(dir.join("s.sqlite")).journal_mode(mode);
    let mut store = Sqlite::open(&options).unwrap();
    let value = "v".repeat(100);
    let all: Vec<_> = (0..ENTRIES).map(|n| put(n, value.as_str())).collect();
    store.apply(&all).unwrap();
    options
}

/// The pages that are leaves of a table or index, in order.
fn leaves(connection: &Connection, tree: &str) -> Vec<u32> {
    let mut select = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path")
        .unwrap();
    let leaves = select.query_map([tree], |row| row.get(0)).unwrap();
    leaves.map(Result::unwrap).collect()
}

/// Overwrites the leaf in the middle of a table or index.
fn damage(path: &Path, tree: &str) {
    let leaves = leaves(&Connection::open(path).unwrap(), tree);
    assert!(leaves.len() > 3, "{tree} is too small to have a middle");
    let start = (leaves[leaves.len() / 2] as usize - 1) * PAGE;
    let mut bytes = fs::read(path).unwrap();
    bytes[start..start + PAGE].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

const PAGE: usize = 4096;

/// Whole text of an error, its causes included.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// The error names the file and says what helps.
fn assert_helpful(error: &BackendError, path: &Path) {
    let text = text(error);
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(
        ["restore", "use another path", "make", "look at"]
            .iter()
            .any(|advice| text.contains(advice)),
        "{text}"
    );
}

/// Both failure modes, with and without a check, for a file whose content `break_it` makes unusable.
fn is_refused_or_replaced(break_it: impl Fn(&Path), only_found_by_check: bool) {
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        for check in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let options = store(dir.path(), mode).integrity_check(check);
            break_it(options.path());
            let broken = fs::read(options.path()).unwrap();
            if only_found_by_check && !check {
                continue;
            }
            let error = Sqlite::open(&options).unwrap_err();
            assert!(
                matches!(
                    error,
                    BackendError::Damaged { .. }
                        | BackendError::Open {
                            problem: Problem::Damaged | Problem::NotAStore,
                            ..
                        }
                ),
                "{error:?}"
            );
            assert_helpful(&error, options.path());
            assert_eq!(
                fs::read(options.path()).unwrap().len(),
                broken.len(),
                "the file is left alone"
            );
            let mut replaced =
                Sqlite::open(&options.clone().failure_mode(FailureMode::Delete)).unwrap();
            assert_eq!(replaced.len().unwrap(), 0);
            replaced.apply(&[put("k", 1u64)]).unwrap();
            drop(replaced);
            let kept = Sqlite::open(&options).unwrap();
            assert_eq!(kept.get(&"k".into()).unwrap(), Some(Entry::lasting(1u64)));
        }
    }
}

#[test]
fn a_file_with_a_garbage_header_is_refused_or_replaced() {
    is_refused_or_replaced(
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[..100].fill(0x5a);
            fs::write(path, bytes).unwrap();
        },
        false,
    );
}

#[test]
fn a_truncated_file_is_refused_or_replaced() {
    is_refused_or_replaced(
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        false,
    );
}

#[test]
fn a_damaged_page_of_entries_is_found_on_opening() {
    is_refused_or_replaced(|path| damage(path, "store"), false);
}

#[test]
fn a_damaged_page_of_the_index_is_found_by_the_check() {
    is_refused_or_replaced(|path| damage(path, "sqlite_autoindex_store_1"), true);
}

async fn attach(node: &Endpoint, options: &SqliteOptions) -> Store {
    let sqlite = Sqlite::open(options).unwrap();
    node.attach_master("s", sqlite, MasterOptions::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn damage_that_is_met_later_fails_single_operations_and_the_node_stays_up() {
    let dir = tempfile::tempdir().unwrap();
    // Nor does this failure mode delete a file that is open.
    let options = store(dir.path(), JournalMode::Delete)
        .failure_mode(FailureMode::Delete)
        .synchronous(Synchronous::Off);
    let node = Endpoint::builder().name("manager").start();
    let master = attach(&node, &options).await;
    master.put("k", 1u64, None).await.unwrap();
    node.shutdown().await;
    damage(options.path(), "sqlite_autoindex_store_1");

    let node = Endpoint::builder().name("manager").start();
    let master = attach(&node, &options).await;
    let mut failed = 0;
    for key in (0..ENTRIES).step_by(7) {
        let (read, written) = (master.get(key).await, master.put(key, 1u64, None).await);
        assert_eq!(read.is_err(), written.is_err(), "{read:?} {written:?}");
        for error in [read.err(), written.err()].into_iter().flatten() {
            assert_eq!(error.code(), ErrorCode::BackendFailure);
            let text = error.to_string();
            assert!(text.contains("it is damaged; restore a backup"), "{text}");
            failed += 1;
        }
    }
    assert!((1..ENTRIES / 2).contains(&failed), "{failed}");
    assert_eq!(master.get("k").await, Ok(Some(1u64.into())));
    assert!(!node.is_shutting_down() && !master.is_closed());
    assert!(options.path().exists());
}

/// What is whole is not deleted, whatever the failure mode: only what keeps it from being used is told.
fn is_kept(options: &SqliteOptions) -> BackendError {
    let before = fs::metadata(options.path()).unwrap().len();
    let error = Sqlite::open(&options.clone().failure_mode(FailureMode::Delete)).unwrap_err();
    assert_eq!(fs::metadata(options.path()).unwrap().len(), before);
    assert_eq!(
        text(&Sqlite::open(options).unwrap_err()),
        text(&error),
        "both failure modes say the same"
    );
    error
}

#[test]
fn the_database_of_another_program_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("s.sqlite"));
    let other = Connection::open(options.path()).unwrap();
    other
        .execute_batch(
            "CREATE TABLE store(id integer, goods text); INSERT INTO store VALUES (1, 'x')",
        )
        .unwrap();
    let error = is_kept(&options);
    assert!(text(&error).contains("no column named"), "{}", text(&error));
    let goods: String = other
        .query_row("SELECT goods FROM store", [], |row| row.get(0))
        .unwrap();
    assert_eq!(goods, "x");
}

#[test]
fn an_expiry_that_is_no_number_does_not_cost_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let options = store(dir.path(), JournalMode::Delete);
    let intruder = Connection::open(options.path()).unwrap();
    intruder
        .execute_batch("UPDATE store SET expiry = 'soon' WHERE rowid = 7")
        .unwrap();
    drop(intruder);
    let mut store = Sqlite::open(&options.failure_mode(FailureMode::Delete)).unwrap();
    assert_eq!(store.len().unwrap(), ENTRIES);
    assert!(store.get(&6u64.into()).is_err(), "the entry is unreadable");
    assert!(store.get(&7u64.into()).unwrap().is_some());
    // And can be replaced, also while other keys have a deadline.
    let limited = Mutation::Put {
        key: "k".into(),
        value: 1u64.into(),
        expires_at: Some(Timestamp::from_nanos(5)),
    };
    store.apply(&[limited]).unwrap();
    store.apply(&[put(6u64, 1u64)]).unwrap();
    assert_eq!(store.get(&6u64.into()).unwrap(), Some(Entry::lasting(1u64)));
    assert_eq!(store.due(Timestamp::MAX, 9).unwrap(), ["k".into()]);
}

#[test]
fn a_database_that_is_locked_while_it_is_opened_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = store(dir.path(), JournalMode::Delete);
    let other = Connection::open(options.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = Sqlite::open(&options.clone().failure_mode(FailureMode::Delete)).unwrap_err();
    assert!(
        matches!(
            error,
            BackendError::Open {
                problem: Problem::Locked,
                ..
            }
        ),
        "{error:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(Sqlite::open(&options).unwrap().len().unwrap(), ENTRIES);
}

#[test]
fn a_directory_in_the_place_of_the_file_is_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.sqlite");
    fs::create_dir(&path).unwrap();
    for mode in [FailureMode::Fail, FailureMode::Delete] {
        let error = Sqlite::open(&SqliteOptions::new(&path).failure_mode(mode)).unwrap_err();
        assert!(
            matches!(
                error,
                BackendError::Open {
                    problem: Problem::WrongKindOfFile,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_helpful(&error, &path);
        assert!(path.is_dir());
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let options = SqliteOptions::new(file.join("s.sqlite"));
    let error = Sqlite::open(&options).unwrap_err();
    assert_helpful(&error, options.path());
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[cfg(unix)]
#[test]
fn a_file_or_directory_that_may_not_be_written_is_told_and_kept() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let options = store(dir.path(), JournalMode::Delete);
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let probe = dir.path().join("probe");
    fs::write(&probe, "x").unwrap();
    set(&probe, 0o400).unwrap();
    if fs::OpenOptions::new().write(true).open(&probe).is_ok() {
        eprintln!("skipped: this user may write everything");
        return;
    }
    set(options.path(), 0o400).unwrap();
    assert_helpful(&is_kept(&options), options.path());
    set(options.path(), 0o600).unwrap();
    set(dir.path(), 0o500).unwrap();
    assert_helpful(&is_kept(&options), options.path());
    set(dir.path(), 0o700).unwrap();
    let mut store = Sqlite::open(&options).unwrap();
    store.apply(&[put("k", 1u64)]).unwrap();
    assert_eq!(store.len().unwrap(), ENTRIES + 1);
}

/// Says to the test below that it is the process with the limit.
const LIMITED: &str = "BROKER_STORE_TEST_LIMITED_FILE";

/// A limit on the size of files stands for a disk that is full: the system refuses the write, not SQLite.
#[cfg(unix)]
#[test]
fn a_write_that_the_system_refuses_fails_as_a_whole_and_smaller_ones_go_on() {
    if let Some(path) = std::env::var_os(LIMITED) {
        write_beyond_the_limit(PathBuf::from(path));
        return;
    }
    for mode in [JournalMode::Delete, JournalMode::Wal] {
        let dir = tempfile::tempdir().unwrap();
        let options = store(dir.path(), mode);
        let size = fs::metadata(options.path()).unwrap().len();
        // In units of 512 bytes; a shell may only lower it, and passes on that the signal is ignored.
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"",
            size / 512 + 200
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("a_write_that_the_system_refuses_fails_as_a_whole_and_smaller_ones_go_on")
            .env(LIMITED, options.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("refused as a whole"),
            "{said}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Without the limit.
        let mut store = Sqlite::open(&options.integrity_check(true)).unwrap();
        assert_eq!(store.len().unwrap(), ENTRIES);
        assert_eq!(
            store.get(&3u64.into()).unwrap(),
            Some(Entry::lasting("small"))
        );
        store.apply(&large_group()).unwrap();
        assert_eq!(store.len().unwrap(), ENTRIES + large_group().len() as u64);
    }
}

#[cfg(unix)]
fn large_group() -> Vec<Mutation> {
    let value = "large".repeat(200);
    (0..1000u64)
        .map(|n| put(format!("large {n}"), value.as_str()))
        .collect()
}

#[cfg(unix)]
fn write_beyond_the_limit(path: PathBuf) {
    let mut store = Sqlite::open(&SqliteOptions::new(&path)).unwrap();
    let error = store.apply(&large_group()).unwrap_err();
    assert!(
        matches!(
            error,
            BackendError::Failed {
                problem: Problem::DiskFull | Problem::InputOutput,
                ..
            }
        ),
        "{error:?}"
    );
    assert_helpful(&error, &path);
    assert_eq!(store.len().unwrap(), ENTRIES);
    store.apply(&[put(3u64, "small")]).unwrap();
    assert_eq!(
        store.get(&3u64.into()).unwrap(),
        Some(Entry::lasting("small"))
    );
    println!("refused as a whole: {}", text(&error));
}
