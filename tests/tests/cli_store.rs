//! `store`: every operation at the master of a running node.

use broker_tests::{Cluster, Done, Running, broker, free_ports};

/// A manager with the store `s`.
struct Store {
    _cluster: Cluster,
    _node: Running,
    url: String,
}

impl Store {
    fn start() -> Self {
        let cluster = Cluster::with_stores(&["s", "t"]);
        let (node, url) = cluster.node("manager");
        Self {
            _cluster: cluster,
            _node: node,
            url,
        }
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(broker().args(["store", &self.url, "s"]).args(args))
    }

    /// What an operation prints.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok().trim_end().to_owned()
    }
}

#[test]
fn values_are_put_and_got_as_they_are() {
    let store = Store::start();
    for (key, value) in [
        ("a", "5u"),
        ("10.0.0.1", "\"text\""),
        ("[1, \"x\"]", "80/tcp"),
        (
            "b",
            r#"{"@data-type":"table","data":[{"key":{"@data-type":"string","data":"k"},"value":{"@data-type":"real","data":0.5}}]}"#,
        ),
    ] {
        assert_eq!(store.ok(&["put", key, value]), "");
        assert_eq!(store.ok(&["get", key]), value);
    }
    assert_eq!(store.ok(&["keys"]), "\"a\"\n\"b\"\n10.0.0.1\n[1, \"x\"]");
    assert_eq!(store.ok(&["erase", "a"]), "");
    assert_eq!(store.ok(&["exists", "a"]), "false");
    assert_eq!(store.ok(&["exists", "b"]), "true");
    assert_eq!(store.ok(&["clear"]), "");
    assert_eq!(store.ok(&["keys"]), "");
}

#[test]
fn a_key_that_is_not_there_exits_1_with_the_errors_name() {
    let store = Store::start();
    assert!(
        store
            .run(&["get", "nothing"])
            .failed(1)
            .contains("no_such_key")
    );
    assert!(
        store
            .run(&["decrement", "nothing", "1u"])
            .failed(1)
            .contains("no_such_key")
    );
    assert_eq!(store.ok(&["erase", "nothing"]), "");
}

#[test]
fn put_unique_says_whether_the_key_was_free() {
    let store = Store::start();
    assert_eq!(store.ok(&["put-unique", "a", "1u"]), "true");
    assert_eq!(store.ok(&["put-unique", "a", "2u"]), "false");
    assert_eq!(store.ok(&["get", "a"]), "1u");
}

#[test]
fn numbers_strings_and_containers_change_in_place() {
    let store = Store::start();
    store.ok(&["increment", "n", "5u"]);
    store.ok(&["increment", "n"]);
    store.ok(&["decrement", "n", "2u"]);
    assert_eq!(store.ok(&["get", "n"]), "4u");
    store.ok(&["append", "text", "ab"]);
    store.ok(&["append", "text", "cd"]);
    assert_eq!(store.ok(&["get", "text"]), "\"abcd\"");
    store.ok(&["insert-into", "set", "1u"]);
    store.ok(&["insert-into", "set", "2u"]);
    store.ok(&["remove-from", "set", "1u"]);
    assert_eq!(store.ok(&["get-index", "set", "2u"]), "true");
    assert_eq!(store.ok(&["get-index", "set", "1u"]), "false");
    store.ok(&["insert-into", "table", "k", "v"]);
    assert_eq!(store.ok(&["get-index", "table", "k"]), "\"v\"");
    assert!(
        store
            .run(&["get-index", "table", "x"])
            .failed(1)
            .contains("no_such_key")
    );
    store.ok(&["push", "vector", "1"]);
    store.ok(&["push", "vector", "2"]);
    store.ok(&["pop", "vector"]);
    assert_eq!(store.ok(&["get", "vector"]), "[1]");
    assert_eq!(store.ok(&["get-index", "vector", "0u"]), "1");
    assert!(
        store
            .run(&["increment", "text", "1u"])
            .failed(1)
            .contains("type_clash")
    );
    assert!(
        store
            .run(&["push", "n", "text"])
            .failed(1)
            .contains("type_clash")
    );
}

#[test]
fn json_has_the_promised_members() {
    let store = Store::start();
    store.ok(&["put", "k", "5u"]);
    let json =
        |args: &[&str]| serde_json::from_str::<serde_json::Value>(&store.ok(args)).expect("json");
    let (key, value) = (
        serde_json::json!({"@data-type": "string", "data": "k"}),
        serde_json::json!({"@data-type": "count", "data": 5}),
    );
    assert_eq!(
        json(&["get", "k", "--json"]),
        serde_json::json!({"key": key, "value": value})
    );
    assert_eq!(json(&["--json", "keys"]), serde_json::json!({"key": key}));
    assert_eq!(
        json(&["exists", "k", "--json"]),
        serde_json::json!({"result": {"@data-type": "boolean", "data": true}})
    );
    assert_eq!(
        json(&["put", "k", "6u", "--json"])["result"]["@data-type"],
        "none"
    );
}

#[test]
fn an_entry_vanishes_when_its_time_is_up() {
    let store = Store::start();
    let mut watch =
        Running::start(broker().args(["store", &store.url, "s", "watch", "--count", "2"]));
    watch.stderr_line("watching");
    store.ok(&["put", "brief", "1u", "--expiry", "0.2"]);
    assert_eq!(watch.line(), "insert\t\"brief\"\t1u");
    assert_eq!(watch.line(), "expire\t\"brief\"");
    watch.wait().ok();
    assert!(
        store
            .run(&["get", "brief"])
            .failed(1)
            .contains("no_such_key")
    );
}

#[test]
fn a_watch_shows_changes_in_their_order() {
    let store = Store::start();
    let mut watch = Running::start(broker().args(["store", &store.url, "s", "watch", "--json"]));
    watch.stderr_line("watching");
    store.ok(&["put", "k", "1u"]);
    store.ok(&["put", "k", "2u"]);
    store.ok(&["erase", "k"]);
    let mut change = || serde_json::from_str::<serde_json::Value>(&watch.line()).expect("json");
    let position = change();
    assert_eq!(position["change"], "none");
    let (insert, update, erase) = (change(), change(), change());
    assert_eq!(
        (&insert["change"], &insert["value"]["data"]),
        (&"insert".into(), &1.into())
    );
    assert_eq!(
        (
            &update["change"],
            &update["old"]["data"],
            &update["value"]["data"]
        ),
        (&"update".into(), &1.into(), &2.into())
    );
    assert_eq!(
        (&erase["change"], &erase["key"]["data"]),
        (&"erase".into(), &"k".into())
    );
    assert_eq!(watch.stop().code, Some(0));
}

#[test]
fn a_watch_of_a_prefix_that_was_killed_goes_on_from_the_last_revision_it_told() {
    let store = Store::start();
    let watch = |options: &[&str]| {
        Running::start(
            broker()
                .args(["store", &store.url, "s", "watch", "--json", "--prefix", "a"])
                .args(options),
        )
    };
    let next = |watch: &mut Running| {
        serde_json::from_str::<serde_json::Value>(&watch.line()).expect("json")
    };
    let mut first = watch(&[]);
    first.stderr_line("watching");
    assert_eq!(next(&mut first)["change"], "none");
    store.ok(&["put", "a1", "1u"]);
    store.ok(&["put", "b1", "1u"]);
    let told = next(&mut first);
    assert_eq!(
        (&told["change"], &told["key"]["data"]),
        (&"insert".into(), &"a1".into())
    );
    let revision = told["revision"].as_str().expect("a revision").to_owned();
    first.signal("KILL");
    first.wait();
    store.ok(&["put", "a1", "2u"]);
    store.ok(&["erase", "b1"]);
    store.ok(&["put", "a2", "3u"]);
    let mut again = watch(&["--from", &revision, "--count", "2"]);
    assert_eq!(next(&mut again)["revision"], revision.as_str());
    let (update, insert) = (next(&mut again), next(&mut again));
    assert_eq!(
        (&update["change"], &update["value"]["data"]),
        (&"update".into(), &2.into())
    );
    assert_eq!(
        (&insert["change"], &insert["key"]["data"]),
        (&"insert".into(), &"a2".into())
    );
    again.wait().ok();

    let mut strange = watch(&["--from", "00000000deadbeef-1"]);
    let lines: Vec<_> = (0..4).map(|_| next(&mut strange)).collect();
    let changes: Vec<_> = lines
        .iter()
        .map(|line| line["change"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(changes, ["reset", "entry", "entry", "none"]);
    assert_eq!(strange.stop().code, Some(0));
    assert!(
        store
            .run(&["watch", "--from", "yesterday"])
            .failed(2)
            .contains("no revision")
    );
}

#[test]
fn compare_and_set_changes_a_key_only_if_it_has_what_was_expected() {
    let store = Store::start();
    let set = |args: &[&str]| store.ok(&[&["compare-and-set"], args].concat());
    assert_eq!(set(&["k", "1u", "--if-missing"]), "true");
    assert_eq!(set(&["k", "--if-missing", "2u"]), "false");
    assert_eq!(set(&["k", "1u", "2u", "--expiry", "3600"]), "true");
    assert_eq!(set(&["k", "1u", "3u"]), "false");
    assert_eq!(store.ok(&["get", "k"]), "2u");
    assert!(store.ok(&["dump"]).contains("expiry"));
    assert_eq!(set(&["--erase", "k", "2u"]), "true");
    assert_eq!(store.ok(&["exists", "k"]), "false");
    assert_eq!(set(&["n", "-5", "--if-missing"]), "true");
    assert!(
        store
            .run(&["compare-and-set", "k", "1u"])
            .failed(2)
            .contains("EXPECTED")
    );
}

#[test]
fn verify_and_status_tell_the_same_revision_and_digest() {
    let store = Store::start();
    store.ok(&["put", "k", "1u"]);
    let report: serde_json::Value =
        serde_json::from_str(&store.ok(&["verify", "--json"])).expect("json");
    assert_eq!(
        (&report["entries"], &report["copies"]),
        (&1.into(), &serde_json::json!([]))
    );
    let status = Done::of(broker().args(["status", &store.url, "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("json");
    let stores = status["stores"].as_array().expect("stores");
    let told = stores.iter().find(|told| told["name"] == "s").expect("s");
    for member in ["revision", "digest"] {
        assert_eq!(told[member], report[member], "{member}");
    }
    assert_eq!(
        (&told["freshness"], &told["lag"]),
        (&"live".into(), &serde_json::Value::Null)
    );
    let table = Done::of(broker().args(["status", &store.url])).ok();
    let revision = report["revision"].as_str().expect("text");
    assert!(
        table.contains(revision) && table.contains("live"),
        "{table}"
    );
}

#[test]
fn a_dump_can_be_loaded_into_another_store() {
    let store = Store::start();
    for number in 0..20 {
        store.ok(&["put", &number.to_string(), &format!("[{number}, 1.5s]")]);
    }
    store.ok(&["put", "brief", "x", "--expiry", "3600"]);
    let dump = store.ok(&["dump"]);
    assert_eq!(dump.lines().count(), 21);
    let brief: serde_json::Value = dump
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .find(|line: &serde_json::Value| line["key"]["data"] == "brief")
        .expect("dumped");
    let left = brief["expiry"].as_f64().expect("a number");
    assert!((3000.0..=3600.0).contains(&left), "{left}");

    let mut load = Running::start(broker().args(["store", &store.url, "t", "load"]));
    load.write(format!("{dump}\n"));
    load.wait().ok();
    let other = Done::of(broker().args(["store", &store.url, "t", "dump"])).ok();
    let without_expiry = |text: &str| -> Vec<(String, String)> {
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("json"))
            .map(|line| (line["key"].to_string(), line["value"].to_string()))
            .collect()
    };
    assert_eq!(without_expiry(&other), without_expiry(&dump));
    assert!(other.contains("expiry"));
}

/// A line of a dump.
fn line(key: u64, value: u64) -> String {
    let count = |number| format!("{{\"@data-type\":\"count\",\"data\":{number}}}");
    format!("{{\"key\":{},\"value\":{}}}\n", count(key), count(value))
}

/// Loads `input` and returns what is said on stderr.
fn load(store: &Store, options: &[&str], input: String) -> String {
    let mut load = Running::start(
        broker()
            .args(["store", &store.url, "s", "load"])
            .args(options),
    );
    load.write(input);
    let done = load.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stderr
}

#[test]
fn a_load_into_a_store_with_entries_overwrites_keeps_or_replaces_them() {
    let store = Store::start();
    let input = || line(1, 10) + &line(2, 20);
    store.ok(&["put", "2u", "0u"]);
    store.ok(&["put", "3u", "0u"]);
    let told = load(&store, &["--keep"], input());
    assert!(told.contains("loaded 1 entry, kept 1"), "{told}");
    assert_eq!(store.ok(&["get", "2u"]), "0u");
    let told = load(&store, &[], input());
    assert!(told.contains("loaded 2 entries"), "{told}");
    assert_eq!(
        (store.ok(&["get", "2u"]), store.ok(&["keys"])),
        ("20u".to_owned(), "1u\n2u\n3u".to_owned())
    );
    let told = load(&store, &["--replace"], input());
    assert!(told.contains("loaded 2 entries, erased 1"), "{told}");
    assert_eq!(store.ok(&["keys"]), "1u\n2u");
    assert!(
        store
            .run(&["load", "--keep", "--replace"])
            .failed(2)
            .contains("--keep")
    );
}

#[test]
fn a_replacing_load_that_is_cut_off_erases_nothing() {
    let store = Store::start();
    store.ok(&["put", "3u", "0u"]);
    let mut load = Running::start(broker().args(["store", &store.url, "s", "load", "--replace"]));
    load.write(line(1, 10) + "{\"key\":");
    assert!(load.wait().failed(1).contains("stdin:2"));
    assert_eq!(store.ok(&["keys"]), "1u\n3u");
}

#[test]
fn the_last_line_of_a_key_counts_in_a_long_load() {
    let store = Store::start();
    let input: String = (0..20_000)
        .map(|number| line(number % 5_000, number))
        .collect();
    let told = load(&store, &[], input);
    assert!(told.contains("loaded 20000 entries"), "{told}");
    let dump = store.ok(&["dump"]);
    assert_eq!(dump.lines().count(), 5_000);
    assert_eq!(store.ok(&["get", "4999u"]), "19999u");
    assert_eq!(store.ok(&["get", "0u"]), "15000u");
}

#[test]
fn an_unknown_operation_is_misuse_and_the_known_ones_are_listed() {
    let line = Done::of(broker().args(["store", "grpc://127.0.0.1:1", "s", "frob"])).failed(2);
    assert!(
        line.contains("no operation \"frob\"; there are get, exists, keys"),
        "{line}"
    );
}

#[test]
fn a_bad_line_ends_a_load_with_its_number() {
    let store = Store::start();
    let mut load = Running::start(broker().args(["store", &store.url, "s", "load"]));
    load.write("{\"key\":{\"@data-type\":\"count\",\"data\":1},\"value\":{\"@data-type\":\"count\",\"data\":1}}\n{\"key\":5}\n");
    assert!(load.wait().failed(1).contains("stdin:2"));
    assert_eq!(store.ok(&["get", "1u"]), "1u");
}

#[test]
fn a_store_that_is_not_there_is_told_with_those_that_are() {
    let store = Store::start();
    let line = Done::of(broker().args(["store", &store.url, "other", "keys"])).failed(1);
    assert!(line.contains("other") && line.contains("s, t"), "{line}");
    let (_relay, url) = Cluster::relay(&[]);
    let line = Done::of(broker().args(["store", &url, "s", "keys"])).failed(1);
    assert!(line.contains('s'), "{line}");
}

#[test]
fn what_is_written_at_a_clone_is_at_the_master_when_the_command_returns() {
    let manager_port = free_ports(1)[0];
    let cluster = Cluster::new(&format!(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"memory\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{manager_port}\"]\n\
         [node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
    ));
    let (_manager, master) = cluster.node("manager");
    let (_worker, clone) = cluster.node("worker-1");
    let run = |url: &str, args: &[&str]| Done::of(broker().args(["store", url, "s"]).args(args));
    run(&clone, &["put", "k", "5u"]).ok();
    assert_eq!(run(&master, &["get", "k"]).ok(), "5u\n");
    run(&clone, &["increment", "k", "2u"]).ok();
    assert_eq!(run(&master, &["get", "k"]).ok(), "7u\n");
    assert!(
        run(&clone, &["append", "k", "x"])
            .failed(1)
            .contains("type_clash")
    );
    assert_eq!(run(&clone, &["put-unique", "k", "1u"]).ok(), "false\n");
    assert_eq!(run(&clone, &["get", "k"]).ok(), "7u\n");
}

#[test]
fn a_store_on_disk_survives_a_restart_of_its_node() {
    for backend in ["sqlite", "sled"] {
        let cluster = Cluster::new(&format!(
            "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"{backend}\"\npath = \"s.{backend}\"\n\
             [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
        ));
        for (signal, expected) in [("TERM", "1u\n"), ("KILL", "2u\n"), ("TERM", "3u\n")] {
            let (node, url) = cluster.node("manager");
            Done::of(broker().args(["store", &url, "s", "increment", "starts", "1u"])).ok();
            assert_eq!(
                Done::of(broker().args(["store", &url, "s", "get", "starts"])).ok(),
                expected,
                "{backend}"
            );
            node.signal(signal);
            node.wait();
        }
    }
}

/// A manager with the store `s` on SQLite.
fn on_sqlite() -> Cluster {
    Cluster::new(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"sqlite\"\npath = \"s.sqlite\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\", \"broker://127.0.0.1:0\"]\n",
    )
}

#[test]
fn a_backup_is_a_private_file_that_opens_as_a_store_of_its_own() {
    let cluster = on_sqlite();
    let (node, url) = cluster.node("manager");
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("s.sqlite");
    let store = |url: &str, args: &[&str]| Done::of(broker().args(["store", url, "s"]).args(args));
    store(&url, &["put", "k", "[1, \"x\"]", "--expiry", "3600"]).ok();
    let path = copy.to_str().expect("text");
    store(&url, &["backup", path]).ok();
    store(&url, &["put", "later", "1u"]).ok();
    assert!(store(&url, &["backup", path]).failed(1).contains("--force"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&copy)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let other = Cluster::new(&format!(
        "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"sqlite\"\npath = {path:?}\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
    ));
    let (_restored, restored) = other.node("manager");
    assert_eq!(store(&restored, &["keys"]).ok(), "\"k\"\n");
    assert!(store(&restored, &["dump"]).ok().contains("\"expiry\":"));
    let again = directory.path().join("again");
    let again = again.to_str().expect("text");
    store(&url, &["backup", again]).ok();
    store(&url, &["backup", again, "--force"]).ok();
    assert_eq!(
        std::fs::read_dir(directory.path())
            .expect("read")
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.file_name().to_string_lossy().contains("partial"))
            })
            .count(),
        0
    );
    node.stop();
}

#[test]
fn a_backup_that_cannot_be_names_dump() {
    let store = Store::start();
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("copy");
    let line = store
        .run(&["backup", copy.to_str().expect("text")])
        .failed(1);
    assert!(line.contains("memory") && line.contains("dump"), "{line}");
    assert!(!copy.exists());
}

#[test]
fn a_watch_outlives_a_restart_of_a_node_whose_store_is_on_disk() {
    let cluster = on_sqlite();
    let (node, url) = cluster.node("manager");
    let put = |url: &str, key: &str| {
        Done::of(broker().args(["store", url, "s", "put", key, "1u"])).ok();
    };
    let watch = |url: &str, from: &[&str]| {
        Running::start(
            broker()
                .args(["store", url, "s", "watch", "--json"])
                .args(from),
        )
    };
    let next = |watch: &mut Running| {
        serde_json::from_str::<serde_json::Value>(&watch.line()).expect("json")
    };
    let mut first = watch(&url, &[]);
    first.stderr_line("watching");
    next(&mut first);
    put(&url, "a");
    let revision = next(&mut first)["revision"]
        .as_str()
        .expect("text")
        .to_owned();
    node.signal("KILL");
    node.wait();
    first.wait();

    let (node, url) = cluster.node("manager");
    // The history goes on, so nothing was missed.
    let mut second = watch(&url, &["--from", &revision]);
    let position = next(&mut second);
    assert_eq!(
        (&position["change"], &position["revision"]),
        (&"none".into(), &revision.as_str().into())
    );
    put(&url, "b");
    assert_eq!(next(&mut second)["key"]["data"], "b");
    node.signal("KILL");
    node.wait();
    second.wait();

    let (_node, url) = cluster.node("manager");
    // What happened since is not known any more: everything is told.
    let mut third = watch(&url, &["--from", &revision]);
    let changes: Vec<_> = (0..4).map(|_| next(&mut third)).collect();
    assert_eq!(changes[0]["change"], "reset");
    assert_eq!(
        (&changes[1]["key"]["data"], &changes[2]["key"]["data"]),
        (&"a".into(), &"b".into())
    );
    assert_eq!(changes[3]["change"], "none");
}
