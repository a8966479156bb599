//! Files of C++ Broker: the one that a recorded master left behind, compared with ours.
//!
//! The session ended with a clear, so the file has no rows any more; but SQLite leaves their bytes where they were, and
//! with them how C++ writes each of them.

use std::fs;
use std::net::Ipv4Addr;

use broker_core::{Port, Set, Subnet, Table, Timespan};
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

/// A value of every type, and its bytes as C++ Broker 2.8 wrote them.
fn every_type() -> Vec<(Data, &'static str)> {
    let nested = Data::vector([Data::from("a"), Data::from(1i64)]);
    vec![
        (Data::None, "00"),
        (true.into(), "0101"),
        (42u64.into(), "02000000000000002a"),
        ((-7i64).into(), "03fffffffffffffff9"),
        (2.5.into(), "044004000000000000"),
        (f64::INFINITY.into(), "04fff0000000000000"),
        ("hello".into(), "050568656c6c6f"),
        (
            Ipv4Addr::new(192, 0, 2, 1).into(),
            "0600000000000000000000ffffc0000201",
        ),
        (
            Subnet::new(Ipv4Addr::new(192, 0, 2, 0), 24).unwrap().into(),
            "0700000000000000000000ffffc000020078",
        ),
        (Port::tcp(80).into(), "08005001"),
        (
            Timestamp::from_nanos(1_500_000_000).into(),
            "090000000059682f00",
        ),
        (Timespan::from_nanos(-90_000).into(), "0afffffffffffea070"),
        (
            Data::enum_value("Broker::MEMORY"),
            "0b0e42726f6b65723a3a4d454d4f5259",
        ),
        (
            Set::from_iter([3i64, 1, 2]).into(),
            "0c03030000000000000001030000000000000002030000000000000003",
        ),
        (
            Table::from_iter([(nested, Set::from_iter([1i64, 2]))]).into(),
            "0d010e020501610300000000000000010c02030000000000000001030000000000000002",
        ),
        (
            Data::vector([1i64.into(), "two".into(), true.into(), Data::None]),
            "0e04030000000000000001050374776f010100",
        ),
    ]
}

#[test]
fn keys_and_values_of_every_type_are_the_bytes_of_cpp() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (
        SqliteOptions::new(dir.path().join("ours.sqlite")),
        SqliteOptions::new(dir.path().join("theirs.sqlite")),
    );
    fs::write(theirs.path(), FILE).unwrap();
    let mut store = Sqlite::open(&ours).unwrap();
    let puts = every_type().into_iter().map(|(data, _)| Mutation::Put {
        key: data.clone(),
        value: data,
        expires_at: None,
    });
    store.apply(&puts.collect::<Vec<_>>()).unwrap();
    drop(store);
    // What C++ would find in our file, and what we find where C++ put it.
    let (ours, cpp) = (
        Connection::open(ours.path()).unwrap(),
        Connection::open(theirs.path()).unwrap(),
    );
    for (data, hex) in every_type() {
        let bytes = notes::unhex(hex).unwrap();
        let row: (Vec<u8>, Vec<u8>, Value) = ours
            .query_row(
                "SELECT key, value, expiry FROM store WHERE key = ?1",
                [&bytes],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap_or_else(|error| panic!("{data:?} is not under its bytes: {error}"));
        assert_eq!(row, (bytes.clone(), bytes.clone(), Value::Null), "{data:?}");
        cpp.execute("INSERT INTO store VALUES (?1, ?1, NULL)", [&bytes])
            .unwrap();
    }
    drop(cpp);
    let store = Sqlite::open(&theirs).unwrap();
    assert_eq!(store.len().unwrap(), every_type().len() as u64);
    for (data, _) in every_type() {
        assert_eq!(store.get(&data).unwrap(), Some(Entry::lasting(data)));
    }
}
