//! Files of C++ Broker: the one that a recorded master left behind, compared with ours.
//!
//! The session ended with a clear, so the file has no rows any more; but SQLite leaves their bytes where they were, and
//! with them how C++ writes each of them.

use std::fs;

use rusqlite::types::Value;

use super::*;

const FILE: &[u8] = include_bytes!("../../tests/golden/golden-store.sqlite");

/// When `will-expire` was to expire, by the clock of that day.
const DEADLINE: i64 = 1_795_419_209_048_828_020;

/// A row as C++ wrote it.
struct Row {
    key: Data,
    value: Data,
    expiry: Option<i64>,
}

/// Rows of the recorded session whose bytes are still whole in the file: entries from before the session, and what its writes
/// came to.
fn rows() -> Vec<Row> {
    let row = |key: &str, value: Data, expiry| Row {
        key: key.into(),
        value,
        expiry,
    };
    vec![
        row("pre", "existing".into(), None),
        row("will-expire", 1i64.into(), Some(DEADLINE)),
        row("k2", 2u64.into(), None),
        row("k4", "first".into(), None),
    ]
}

impl Row {
    /// The row as a record of SQLite: two blobs, and an integer of eight bytes or NULL.
    fn record(&self) -> Vec<u8> {
        let (key, value) = (encoded(&self.key), encoded(&self.value));
        let blob = |bytes: &[u8]| u8::try_from(12 + 2 * bytes.len()).unwrap();
        let expiry = if self.expiry.is_some() { 6 } else { 0 };
        let mut record = vec![4, blob(&key), blob(&value), expiry];
        record.extend(key);
        record.extend(value);
        record.extend(self.expiry.into_iter().flat_map(i64::to_be_bytes));
        record
    }

    fn entry(&self) -> Entry {
        Entry {
            value: self.value.clone(),
            expires_at: self.expiry.map(Timestamp::from_nanos),
        }
    }
}

fn encoded(data: &Data) -> Vec<u8> {
    let mut bytes = Vec::new();
    binary::encode_to_vec(data, &mut bytes);
    bytes
}

fn contains(file: &[u8], record: &[u8]) -> bool {
    file.windows(record.len()).any(|window| window == record)
}

/// What is the same for all files of a store: schema, version row, and what SQLite says of the file.
fn frame(connection: &Connection) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for query in [
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid",
        "SELECT key, value, typeof(key), typeof(value) FROM meta",
        "PRAGMA user_version",
        "PRAGMA application_id",
        "PRAGMA journal_mode",
        "PRAGMA page_size",
        "PRAGMA encoding",
        "PRAGMA auto_vacuum",
    ] {
        let mut select = connection.prepare(query).unwrap();
        let columns = select.column_count();
        let found = select
            .query_map([], |row| (0..columns).map(|n| row.get(n)).collect())
            .unwrap();
        rows.extend(found.map(Result::<Vec<Value>, _>::unwrap));
    }
    rows
}

#[test]
fn a_file_of_ours_is_one_of_cpp_byte_for_byte_where_it_matters() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs.sqlite");
    fs::write(&theirs, FILE).unwrap();
    let ours = dir.path().join("ours.sqlite");
    let mut store = Sqlite::open(&SqliteOptions::new(&ours)).unwrap();
    let puts: Vec<_> = rows()
        .into_iter()
        .map(|row| Mutation::Put {
            expires_at: row.entry().expires_at,
            key: row.key,
            value: row.value,
        })
        .collect();
    store.apply(&puts).unwrap();
    drop(store);
    assert_eq!(
        frame(&Connection::open(&ours).unwrap()),
        frame(&Connection::open(&theirs).unwrap())
    );
    let file = fs::read(&ours).unwrap();
    for row in rows() {
        let record = row.record();
        assert!(contains(FILE, &record), "C++ wrote {:?} so", row.key);
        assert!(contains(&file, &record), "we write {:?} so", row.key);
    }
}

#[test]
fn a_file_of_cpp_opens_with_its_values_and_expiries_and_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = SqliteOptions::new(dir.path().join("golden.sqlite")).integrity_check(true);
    fs::write(options.path(), FILE).unwrap();
    // The rows as they were before the clear.
    let cpp = Connection::open(options.path()).unwrap();
    for row in rows() {
        cpp.execute(
            "INSERT INTO store VALUES (?1, ?2, ?3)",
            params![encoded(&row.key), encoded(&row.value), row.expiry],
        )
        .unwrap();
    }
    let before = frame(&cpp);
    drop(cpp);
    let mut store = Sqlite::open(&options).unwrap();
    assert_eq!(store.len().unwrap(), rows().len() as u64);
    for row in rows() {
        assert_eq!(store.get(&row.key).unwrap(), Some(row.entry()));
    }
    let limited = Timestamp::from_nanos(DEADLINE);
    assert_eq!(store.due(limited, 9).unwrap(), []);
    assert_eq!(
        store.due(Timestamp::MAX, 9).unwrap(),
        ["will-expire".into()]
    );
    // A write without an expiry clears the column.
    store
        .apply(&[Mutation::Put {
            key: "will-expire".into(),
            value: 2u64.into(),
            expires_at: None,
        }])
        .unwrap();
    drop(store);
    let cpp = Connection::open(options.path()).unwrap();
    assert_eq!(frame(&cpp), before);
    let row: (Vec<u8>, Option<i64>) = cpp
        .query_row(
            "SELECT value, expiry FROM store WHERE key = ?1",
            [encoded(&"will-expire".into())],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(row, (encoded(&2u64.into()), None));
}
