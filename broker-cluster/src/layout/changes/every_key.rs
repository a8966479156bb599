//! What becomes of every key of a layout when it changes while a node runs: it is taken over or named, and there is no
//! third case. A key that the reader takes and that has no line here fails the test.

use std::collections::BTreeSet;

use super::super::table::ACCEPTED;
use super::super::{Layout, ZeekOptions};
use super::LayoutChanges;

/// What becomes of a change.
#[derive(Clone, Copy, Debug)]
enum Decision {
    /// It is taken over, and named so.
    Applied(&'static str),
    /// Other addresses are dialled.
    Dialled,
    /// It needs a start, and is named so.
    NeedsStart(&'static str),
    /// The whole layout is refused, in these words.
    Refused(&'static str),
    /// Another node or program has to do with it, this node has not.
    Elsewhere,
    /// It is a table, with keys of its own.
    Table(&'static str),
}
use Decision::{Applied, Dialled, Elsewhere, NeedsStart, Refused, Table};

/// A key of a table, its values before and after, and what becomes of that on `worker-1`.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    Decision,
);

/// Texts by table and key.
type Values = &'static [(&'static str, &'static str, &'static str)];

const BASE: Values = &[
    ("[cluster]", "name", "\"lab\""),
    ("[node.manager]", "role", "\"manager\""),
    ("[node.manager]", "listen", "[\"grpc://h:1\"]"),
    ("[node.proxy-1]", "role", "\"proxy\""),
    ("[node.proxy-1]", "listen", "[\"grpc://h:2\"]"),
    ("[node.worker-1]", "role", "\"worker\""),
    ("[node.worker-1]", "listen", "[\"grpc://h:9\"]"),
    ("[logging.sink.s]", "url", "\"https://h:3/\""),
    ("[logging.sink.s]", "tls", "{ cafile = \"ca.pem\" }"),
    ("[stores.s]", "backend", "\"sqlite\""),
    ("[stores.d]", "backend", "\"sled\""),
    ("[tables.t]", "backend", "\"sqlite\""),
    ("[pools.p]", "topic", "\"site/p\""),
    ("[pools.p]", "role", "\"proxy\""),
    ("[pools.p]", "max_nodes", "1"),
    ("[relays.r]", "event", "\"A::b\""),
    ("[relays.r]", "by", "[\"manager\"]"),
    ("[logging]", "spool_dir", "\"spool\""),
];

const LOGGING: Decision = NeedsStart("[logging]");
const STORE: Decision = NeedsStart("[stores.s]");
const TABLES: Decision = NeedsStart("[tables]");
const POOL: Decision = NeedsStart("[pools.p]");
const TLS: Decision = Applied("[tls]");
const QUEUE: Decision = NeedsStart("queue_messages, queue_bytes, queue_policy in [node.worker-1]");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("the file", "cluster", None, "", Table("[cluster]")),
    ("the file", "logging", None, "", Table("[logging]")),
    ("the file", "stores", None, "", Table("[stores.s]")),
    ("the file", "tables", None, "", Table("[tables.t]")),
    ("the file", "node", None, "", Table("[node.worker-1]")),
    ("the file", "pools", None, "", Table("[pools.p]")),
    ("the file", "relays", None, "", Table("[relays.r]")),
    ("the file", "tls", None, "", Table("[tls]")),
    ("the file", "ws", None, "", Table("[ws]")),
    ("the file", "zeek", None, "", Table("[zeek]")),
    ("[cluster]", "name", Some("\"lab\""), "\"other\"", NeedsStart("name in [cluster]")),
    ("[cluster]", "log_dir", None, "\"elsewhere\"", NeedsStart("log_dir in [cluster]")),
    ("[cluster]", "log_format", None, "\"json\"", NeedsStart("log_format in [cluster]")),
    ("[cluster]", "table_dir", None, "\"elsewhere\"", NeedsStart("table_dir in [cluster]")),
    ("[cluster]", "log_level", None, "\"debug\"", Applied("log_level")),
    ("[cluster]", "ready", None, "", Table("[cluster.ready]")),
    ("[cluster]", "telemetry", None, "", Table("[cluster.telemetry]")),
    ("[cluster.telemetry]", "core_metrics", None, "[\"verbose\"]", NeedsStart("[cluster.telemetry]")),
    ("[cluster.telemetry]", "websocket_metrics", None, "[\"debug\"]", NeedsStart("[cluster.telemetry]")),
    ("[cluster.telemetry]", "topic_normalizations", None, "{ a = \"b\" }", NeedsStart("[cluster.telemetry]")),
    ("[cluster.ready]", "worker", Some("1"), "\"50%\"", Applied("[cluster.ready]")),
    ("[cluster.ready]", "proxy", None, "1", Applied("[cluster.ready]")),
    ("[cluster.ready]", "logger", None, "\"all\"", Applied("[cluster.ready]")),
    ("[cluster.ready]", "within", None, "5", Applied("[cluster.ready]")),
    ("[logging]", "rotation_interval", None, "\"1 hr\"", LOGGING),
    ("[logging]", "rotation_size", Some("5"), "6", LOGGING),
    ("[logging]", "rotation_base", None, "\"6:30\"", LOGGING),
    ("[logging]", "log_suffix", None, "\"txt\"", LOGGING),
    ("[logging]", "rotated_names", None, "\"archiver\"", LOGGING),
    ("[logging]", "rotated_dir", None, "\"queue\"", LOGGING),
    ("[logging]", "leftovers", None, "\"rotate\"", LOGGING),
    ("[logging]", "keep_batches", None, "\"1 day\"", LOGGING),
    ("[logging]", "gzip_level", None, "6", LOGGING),
    ("[logging]", "post_command", None, "[\"true\"]", LOGGING),
    ("[logging]", "post_timeout", None, "\"5 s\"", LOGGING),
    ("[logging]", "post_jobs", None, "5", LOGGING),
    ("[logging]", "spool_dir", Some("\"spool\""), "\"elsewhere\"", LOGGING),
    ("[logging]", "spool_bytes", None, "\"1 MiB\"", LOGGING),
    ("[logging]", "spool_when", None, "\"always\"", LOGGING),
    ("[logging]", "spool_full", None, "\"drop_oldest\"", LOGGING),
    ("[logging]", "log_local", None, "true", LOGGING),
    ("[logging]", "log_remote", None, "false", LOGGING),
    ("[logging]", "limits", None, "\"zeek\"", LOGGING),
    ("[logging]", "max_field_string_bytes", None, "5", LOGGING),
    ("[logging]", "max_total_string_bytes", None, "5", LOGGING),
    ("[logging]", "max_field_container_elements", None, "5", LOGGING),
    ("[logging]", "max_total_container_elements", None, "5", LOGGING),
    ("[logging]", "node_streams", None, "false", LOGGING),
    ("[logging]", "stream", None, "", Table("[logging.stream.a]")),
    ("[logging]", "sink", None, "", Table("[logging.sink.s]")),
    ("[logging.stream.a]", "log_local", None, "true", LOGGING),
    ("[logging.stream.a]", "log_remote", None, "false", LOGGING),
    ("[logging.stream.a]", "include", None, "[\"a\"]", LOGGING),
    ("[logging.stream.a]", "exclude", None, "[\"a\"]", LOGGING),
    ("[logging.stream.a]", "limits", None, "\"zeek\"", LOGGING),
    ("[logging.stream.a]", "max_field_string_bytes", None, "5", LOGGING),
    ("[logging.stream.a]", "max_total_string_bytes", None, "5", LOGGING),
    ("[logging.stream.a]", "max_field_container_elements", None, "5", LOGGING),
    ("[logging.stream.a]", "max_total_container_elements", None, "5", LOGGING),
    ("[logging.stream.a]", "rotation_interval", None, "5", LOGGING),
    ("[logging.stream.a]", "rotation_size", None, "5", LOGGING),
    ("[logging.sink.s]", "url", Some("\"https://h:3/\""), "\"https://h:4/\"", LOGGING),
    ("[logging.sink.s]", "tls", Some("{ cafile = \"ca.pem\" }"), "{ cafile = \"cb.pem\" }", LOGGING),
    ("[logging.sink.s]", "streams", None, "[\"a\"]", LOGGING),
    ("[logging.sink.s]", "queue_bytes", None, "5", LOGGING),
    ("[logging.sink.s]", "when_full", None, "\"drop_newest\"", LOGGING),
    ("[stores.s]", "backend", Some("\"sqlite\""), "\"memory\"", STORE),
    ("[stores.s]", "path", None, "\"a.sqlite\"", STORE),
    ("[stores.s]", "journal_mode", None, "\"wal\"", STORE),
    ("[stores.s]", "synchronous", None, "\"off\"", STORE),
    ("[stores.s]", "failure_mode", None, "\"delete\"", STORE),
    ("[stores.s]", "integrity_check", None, "true", STORE),
    ("[stores.d]", "cache_bytes", None, "2000000", NeedsStart("[stores.d]")),
    ("[tables.t]", "backend", Some("\"sqlite\""), "\"memory\"", TABLES),
    ("[tables.t]", "path", None, "\"a.sqlite\"", TABLES),
    ("[tables.t]", "journal_mode", None, "\"wal\"", TABLES),
    ("[tables.t]", "synchronous", None, "\"off\"", TABLES),
    ("[tables.t]", "failure_mode", None, "\"delete\"", TABLES),
    ("[tables.t]", "integrity_check", None, "true", TABLES),
    ("[node.worker-1]", "role", Some("\"worker\""), "\"proxy\"", Refused("role")),
    ("[node.worker-1]", "listen", Some("[\"grpc://h:9\"]"), "[\"grpc://h:4\"]", NeedsStart("listen in [node.worker-1]")),
    ("[node.worker-1]", "advertise", None, "[\"grpc://h:4\"]", Elsewhere),
    ("[node.worker-1]", "host", None, "\"h\"", Elsewhere),
    ("[node.worker-1]", "queue_messages", None, "5", QUEUE),
    ("[node.worker-1]", "queue_bytes", None, "5", QUEUE),
    ("[node.worker-1]", "queue_policy", None, "\"block\"", QUEUE),
    ("[node.worker-1]", "weight", None, "5", NeedsStart("weight in [node.worker-1]")),
    ("[node.worker-1]", "peers", None, "[\"grpc://far:1\"]", Dialled),
    ("[node.worker-1]", "log_level", None, "\"debug\"", Applied("log_level")),
    ("[node.worker-1]", "metrics", None, "\"127.0.0.1:1\"", NeedsStart("metrics in [node.worker-1]")),
    ("[node.worker-1]", "tls", None, "{ cafile = \"ca.pem\" }", TLS),
    ("[node.worker-1]", "ws", None, "{ token_file = \"token\" }", Applied("[ws]")),
    ("[node.proxy-1]", "role", Some("\"proxy\""), "\"logger\"", NeedsStart("role of proxy-1")),
    ("[node.proxy-1]", "listen", Some("[\"grpc://h:2\"]"), "[\"grpc://h:4\"]", Dialled),
    ("[node.proxy-1]", "advertise", None, "[\"grpc://h:4\"]", Dialled),
    ("[node.proxy-1]", "host", None, "\"h\"", Elsewhere),
    ("[node.proxy-1]", "queue_messages", None, "5", Elsewhere),
    ("[node.proxy-1]", "queue_bytes", None, "5", Elsewhere),
    ("[node.proxy-1]", "queue_policy", None, "\"block\"", Elsewhere),
    ("[node.proxy-1]", "weight", None, "5", NeedsStart("weight of proxy-1")),
    ("[node.proxy-1]", "peers", None, "[\"grpc://far:1\"]", Elsewhere),
    ("[node.proxy-1]", "log_level", None, "\"debug\"", Elsewhere),
    ("[node.proxy-1]", "metrics", None, "\"127.0.0.1:1\"", Elsewhere),
    ("[node.proxy-1]", "tls", None, "{ cafile = \"ca.pem\" }", Elsewhere),
    ("[node.proxy-1]", "ws", None, "{ token_file = \"token\" }", Elsewhere),
    ("[pools.p]", "topic", Some("\"site/p\""), "\"site/q\"", POOL),
    ("[pools.p]", "role", Some("\"proxy\""), "\"worker\"", POOL),
    ("[pools.p]", "max_nodes", Some("1"), "2", POOL),
    ("[pools.p]", "exclusive", None, "true", POOL),
    ("[pools.p]", "strategy", None, "\"weighted\"", POOL),
    ("[relays.r]", "event", Some("\"A::b\""), "\"A::c\"", Applied("[relays.r]")),
    ("[relays.r]", "by", Some("[\"manager\"]"), "[\"proxy\"]", Applied("[relays.r]")),
    ("[relays.r]", "topic", None, "\"site/x\"", Applied("[relays.r]")),
    ("[tls]", "certificate", None, "\"a.pem\"", TLS),
    ("[tls]", "key", None, "\"a.pem\"", TLS),
    ("[tls]", "passphrase_file", None, "\"a\"", TLS),
    ("[tls]", "cafile", None, "\"a.pem\"", TLS),
    ("[tls]", "capath", None, "\"ca\"", TLS),
    ("[tls]", "verify_host_name", None, "false", TLS),
    ("[ws]", "token_file", None, "\"a\"", Applied("[ws]")),
    ("[ws]", "allow_unauthenticated", None, "true",
        NeedsStart("allow_unauthenticated for WebSocket clients in [node.worker-1]")),
    ("[ws]", "allow_origins", None, "[\"https://h\"]", Applied("[ws]")),
    ("[zeek]", "tls", None, "false", NeedsStart("listen in [node.worker-1]")),
    ("[zeek]", "listen_address", None, "\"192.0.2.1\"", NeedsStart("listen in [node.worker-1]")),
    ("[zeek]", "first_port", None, "1000", NeedsStart("listen in [node.worker-1]")),
];

/// Keys of tables that are stores take the keys of every backend.
const OF_OTHER_BACKENDS: &[(&str, &str)] = &[
    ("[stores.s]", "cache_bytes"),
    ("[tables.t]", "cache_bytes"),
    ("[stores.d]", "backend"),
    ("[stores.d]", "path"),
    ("[stores.d]", "journal_mode"),
    ("[stores.d]", "synchronous"),
    ("[stores.d]", "failure_mode"),
    ("[stores.d]", "integrity_check"),
];

/// A layout as [`BASE`] has it, with another value of one key.
fn text(table: &str, key: &str, value: Option<&str>) -> String {
    let mut texts: Vec<(&str, &str, &str)> = BASE
        .iter()
        .copied()
        .filter(|(of, name, _)| (*of, *name) != (table, key))
        .collect();
    texts.extend(value.map(|value| (table, key, value)));
    let tables: BTreeSet<&str> = texts.iter().map(|(table, ..)| *table).collect();
    let mut text = String::new();
    for table in tables {
        text.push_str(&format!("{table}\n"));
        for (_, key, value) in texts.iter().filter(|(of, ..)| *of == table) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// Reads it; what stands in `[zeek]` as beside a `node.cfg`, as only there it may.
fn read(table: &str, key: &str, value: Option<&str>) -> Layout {
    if table != "[zeek]" {
        return Layout::parse(&text(table, key, value), "lab.toml").unwrap();
    }
    let with = value.map_or_else(String::new, |value| format!("[zeek]\n{key} = {value}\n"));
    let options = ZeekOptions::new().with(with, "with.toml");
    let nodes = "[manager]\ntype=manager\nhost=192.0.2.1\n[worker-1]\ntype=worker\nhost=192.0.2.2\n\
                 [proxy-1]\ntype=proxy\nhost=192.0.2.1\n";
    Layout::from_node_cfg(nodes, "node.cfg", &options).unwrap()
}

const SPOKEN: &[&str] = &["grpc", "broker", "brokers"];

fn names(texts: &[String], name: &str) -> bool {
    texts.iter().any(|text| text.contains(name))
}

fn check(row: &Row) {
    let (table, key, before, after, decision) = *row;
    let (old, new) = (
        read(table, key, before.filter(|_| !after.is_empty())),
        read(table, key, Some(after)),
    );
    assert_ne!(old, new, "{row:?}: nothing changes");
    let taken = old.taking(&new, "worker-1", SPOKEN);
    if let Refused(word) = decision {
        let error = taken.unwrap_err().to_string();
        assert!(error.contains(word), "{row:?}: {error}");
        return;
    }
    let (merged, changes) = taken.unwrap();
    let of_addresses = !changes.dial.is_empty() || !changes.part.is_empty();
    let holds = match decision {
        Applied(name) => names(&changes.applied, name) && changes.fixed.is_empty(),
        Dialled => of_addresses && changes.applied.is_empty() && changes.fixed.is_empty(),
        NeedsStart(name) => names(&changes.fixed, name) && changes.applied.is_empty(),
        Elsewhere => changes.is_nothing(),
        Refused(_) | Table(_) => unreachable!("dealt with before"),
    };
    assert!(holds, "{row:?}: {changes:?}");
    // What was taken over is there, what was not is named as often as it is read.
    let (again, rest) = merged.taking(&new, "worker-1", SPOKEN).unwrap();
    let expected = LayoutChanges {
        fixed: changes.fixed,
        ..LayoutChanges::default()
    };
    assert_eq!((again, rest), (merged, expected), "{row:?}");
}

#[test]
fn a_change_of_any_key_is_taken_over_or_named() {
    if !cfg!(all(feature = "sqlite", feature = "sled")) {
        // Such a build refuses these backends when it reads the layout.
        return;
    }
    ACCEPTED.with_borrow_mut(BTreeSet::clear);
    for row in ROWS.iter().filter(|row| !matches!(row.4, Table(_))) {
        check(row);
    }
    let accepted = ACCEPTED.with_borrow(Clone::clone);
    let decided: BTreeSet<(&str, &str)> = ROWS.iter().map(|row| (row.0, row.1)).collect();
    for (table, key) in &accepted {
        // The tables of a node have the keys of those of the file, and all nodes the same.
        let table = match table.as_str() {
            "[node.worker-1.tls]" | "[node.proxy-1.tls]" | "[logging.sink.s.tls]" => "[tls]",
            "[node.worker-1.ws]" | "[node.proxy-1.ws]" => "[ws]",
            "[node.manager]" => "[node.worker-1]",
            other => other,
        };
        let known = decided.contains(&(table, *key)) || OF_OTHER_BACKENDS.contains(&(table, *key));
        assert!(known, "nobody has decided what becomes of {key} in {table}");
    }
    for row in ROWS {
        assert!(
            accepted.contains(&(row.0.to_owned(), row.1)),
            "{row:?} is no key"
        );
        if let Table(name) = row.4 {
            assert!(accepted.iter().any(|(table, _)| table == name), "{row:?}");
        }
    }
}
