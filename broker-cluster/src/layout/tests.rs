//! Layouts read, and every mistake as its one line.

use super::*;
use crate::log::LogFormat;
use crate::pools::{PoolSpec, Strategy};

const MANAGER: &str = "[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:7001\"]\n";

fn parse(text: &str) -> Result<Layout, LayoutError> {
    Layout::parse(text, "etc/lab.toml")
}

/// The one line that reading `MANAGER` and then `text` ends with.
fn refused(text: &str) -> String {
    let error = parse(&format!("{MANAGER}{text}"))
        .expect_err(text)
        .to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_full_layout_is_read_and_found_by_name() {
    let layout = parse(
        r#"
        [cluster]
        name = "lab"
        log_dir = "out"
        log_format = "json"
        [stores.hosts]
        backend = "memory"
        [node.manager]
        role = "manager"
        listen = ["grpc://127.0.0.1:27761", "broker://127.0.0.1:27771"]
        [node.logger-1]
        role = "logger"
        listen = ["grpc://0.0.0.0:27762"]
        advertise = ["grpc://198.51.100.7:27762"]
        host = "log-host"
        [node.proxy-2]
        role = "proxy"
        listen = "grpc://127.0.0.1:27764"
        weight = 3
        [node.proxy-1]
        role = "proxy"
        listen = ["grpc://127.0.0.1:27763"]
        queue_messages = 16
        queue_bytes = 0x1000
        queue_policy = "block"
        [node.worker-1]
        role = "worker"
        listen = ["grpc://127.0.0.1:0"]
        [pools.proxy]
        max_nodes = 1
        [pools.hosts]
        topic = "zeek/cluster/pool/hosts"
        role = "proxy"
        strategy = "weighted"
        "#,
    )
    .unwrap();
    assert_eq!(
        (layout.name(), layout.log_format()),
        ("lab", LogFormat::Json)
    );
    assert_eq!(layout.log_dir(), std::path::Path::new("etc/out"));
    let worker = layout.require("worker-1").unwrap();
    let dialled: Vec<&str> = layout
        .dials(worker)
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(dialled, ["logger-1", "proxy-1", "proxy-2", "manager"]);
    let logger = layout.node("logger-1").unwrap();
    assert_eq!(
        super::dial_url(logger, &["broker", "grpc"])
            .unwrap()
            .to_string(),
        "grpc://198.51.100.7:27762"
    );
    assert!(layout.writes_logs(logger) && !layout.writes_logs(layout.manager()));
    let proxy = layout.node("proxy-1").unwrap();
    assert_eq!(
        (proxy.queue.max_messages.get(), proxy.queue.max_bytes.get()),
        (16, 4096)
    );
    let pools = layout.pools("worker-1");
    let members = |name: &str| -> Vec<(String, usize)> {
        let pool = pools.iter().find(|pool| pool.spec().name == name).unwrap();
        pool.nodes()
            .iter()
            .map(|node| (node.name.clone(), node.weight))
            .collect()
    };
    assert_eq!(
        members("hosts"),
        [("proxy-1".to_owned(), 1), ("proxy-2".to_owned(), 3)]
    );
    assert_eq!(members(PoolSpec::PROXY), [("proxy-1".to_owned(), 1)]);
    assert_eq!(layout.pool_specs()[3].strategy, Strategy::Weighted);
    assert!(layout.check_spoken("worker-1", &["grpc"]).is_ok());
    assert!(
        layout
            .check_spoken("manager", &["grpc"])
            .unwrap_err()
            .to_string()
            .contains("broker://127.0.0.1:27771")
    );
}

#[test]
fn a_manager_alone_is_a_cluster_and_its_own_logger() {
    let layout =
        parse("[node.m]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n").unwrap();
    assert!(layout.manager_is_logger() && layout.writes_logs(layout.manager()));
    assert_eq!(
        (layout.name(), layout.log_dir()),
        ("lab", std::path::Path::new("etc/logs"))
    );
    let loggers = layout
        .pools("m")
        .into_iter()
        .find(|pool| pool.spec().name == PoolSpec::LOGGER)
        .unwrap();
    assert_eq!(loggers.nodes()[0].name, "m");
}

#[test]
fn every_mistake_is_one_line_with_file_line_and_fix() {
    for (text, line, parts) in [
        (
            "[node.w]\nrol = \"worker\"\n",
            5,
            ["unknown key \"rol\" in [node.w]", "did you mean \"role\"?"],
        ),
        (
            "[cluser]\n",
            4,
            ["unknown key \"cluser\"", "did you mean \"cluster\"?"],
        ),
        (
            "[node.w]\nrole = \"boss\"\n",
            5,
            ["unknown role \"boss\"", "manager, logger, proxy, worker"],
        ),
        (
            "[node.w]\nlisten = []\n",
            4,
            ["[node.w] has no \"role\"", "add role ="],
        ),
        (
            "[node.w]\nrole = 7\n",
            5,
            ["\"role\" in [node.w] is a whole number", "a text in quotes"],
        ),
        (
            "[node.w]\nrole = \"worker\"\nlisten = [\"grpc://h:70000\"]\n",
            6,
            ["\"70000\"", "grpc://127.0.0.1:9998"],
        ),
        (
            "[node.w]\nrole = \"worker\"\nlisten = [\n\"h:1\"]\n",
            7,
            ["expected scheme://host:port", "write scheme://"],
        ),
        (
            "[node.w]\nrole = \"worker\"\nlisten = [\"grcp://h:1\"]\n",
            6,
            ["unknown scheme \"grcp\"", "use one of grpc,"],
        ),
        (
            "[node.manager]\nrole = \"worker\"\n",
            4,
            ["\"manager\" is there a second time", "a name of its own"],
        ),
        (
            "[node.m2]\nrole = \"manager\"\n",
            4,
            [
                "[node.m2] is a second manager beside [node.manager]",
                "another role",
            ],
        ),
        (
            "[node.l]\nrole = \"logger\"\nlisten = [\"grpc://127.0.0.1:7001\"]\n",
            6,
            [
                "[node.l] listens on grpc://127.0.0.1:7001, as [node.manager] does",
                "a port of its own",
            ],
        ),
        (
            "[node.p]\nrole = \"proxy\"\n[node.w]\nrole = \"worker\"\n",
            4,
            ["[node.p] listens nowhere, but [node.w]", "add listen"],
        ),
        (
            "[node.p]\nrole = \"proxy\"\nlisten = [\"grpc://127.0.0.1:0\"]\n[node.w]\nrole = \"worker\"\n",
            6,
            ["nobody can dial grpc://127.0.0.1:0", "advertise"],
        ),
        (
            "[stores.s]\nbackend = \"rocksdb\"\n",
            5,
            ["unknown backend \"rocksdb\"", "memory, sqlite, sled"],
        ),
        (
            "[stores.s]\nbackend = \"memory\"\npath = \"x\"\n",
            6,
            ["\"path\" in [stores.s] means nothing", "remove it"],
        ),
        (
            "[tables.\"a/b\"]\nbackend = \"memory\"\n",
            4,
            [
                "\"a/b\" cannot be the name of a table",
                "name of the global in Zeek",
            ],
        ),
        (
            "[tables.\"A::b\"]\nread_expire = 5\n",
            5,
            ["unknown key \"read_expire\" in [tables.A::b]", "backend"],
        ),
        (
            "[cluster]\nlog_format = \"xml\"\n",
            5,
            ["\"log_format\" in [cluster] is \"xml\"", "tsv, json"],
        ),
        (
            "[node.\"a/b\"]\nrole = \"worker\"\n",
            4,
            ["\"a/b\" cannot be the name of a node", "without /"],
        ),
        (
            "[node.w]\nrole = \"worker\"\nweight = 0\n",
            6,
            ["\"weight\" in [node.w] is 0", "1 or more"],
        ),
        (
            "[node.w]\nrole = \"worker\"\nqueue_messages = -1\n",
            6,
            ["is -1", "0 or more"],
        ),
        (
            "[pools.x]\ntopic = \"t\"\nrole = \"manager\"\n",
            4,
            ["role manager", "change max_nodes"],
        ),
        (
            "[pools.x]\nrole = \"proxy\"\n",
            4,
            ["[pools.x] has no \"topic\"", "add topic ="],
        ),
        (
            "[pools.x]\ntopic = \"t\"\nrole = \"proxy\"\nexclusive = true\nmax_nodes = 3\n",
            4,
            ["not enough nodes", "add nodes"],
        ),
        ("x = = 1\n", 4, ["not valid TOML", "toml.io"]),
    ] {
        let error = refused(text);
        assert!(
            error.starts_with(&format!("etc/lab.toml:{line}: ")),
            "{error} (expected line {line})"
        );
        for part in parts {
            assert!(error.contains(part), "{error} (expected {part:?})");
        }
    }
}

#[test]
fn a_layout_without_manager_or_file_is_refused() {
    let error = parse("[node.w]\nrole = \"worker\"\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("etc/lab.toml: there is no node with role"),
        "{error}"
    );
    let error = Layout::load("/no/such/lab.toml").unwrap_err().to_string();
    assert!(
        error.starts_with("/no/such/lab.toml: cannot read the layout"),
        "{error}"
    );
    let error = parse(MANAGER)
        .unwrap()
        .require("worker-9")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no node called \"worker-9\"; use one of manager"),
        "{error}"
    );
}

#[test]
fn a_backend_that_is_not_built_names_its_feature() {
    for (backend, built) in [
        ("sqlite", cfg!(feature = "sqlite")),
        ("sled", cfg!(feature = "sled")),
    ] {
        let text = format!("{MANAGER}[stores.s]\nbackend = \"{backend}\"\n");
        match parse(&text) {
            Ok(layout) => {
                assert!(built);
                assert_eq!(
                    layout.stores()[0].options,
                    [("path", format!("etc/s.{backend}"))]
                );
            }
            Err(error) => {
                assert!(!built);
                assert!(
                    error
                        .to_string()
                        .contains(&format!("build with cargo feature {backend:?}")),
                    "{error}"
                );
            }
        }
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn options_of_sqlite_are_taken_as_users_and_as_zeek_write_them() {
    let options = |options: &str| {
        let text = format!("{MANAGER}[stores.s]\nbackend = \"sqlite\"\npath = \"x\"\n{options}");
        parse(&text).unwrap().stores()[0].options.clone()
    };
    for [journal, synchronous, failure] in [
        ["wal", "off", "delete"],
        ["WAL", "OFF", "DELETE"],
        ["Wal", "Off", "Delete"],
        [
            "Broker::SQLITE_JOURNAL_MODE_WAL",
            "Broker::SQLITE_SYNCHRONOUS_OFF",
            "Broker::SQLITE_FAILURE_MODE_DELETE",
        ],
        [
            "SQLITE_JOURNAL_MODE_WAL",
            "SQLITE_SYNCHRONOUS_OFF",
            "SQLITE_FAILURE_MODE_DELETE",
        ],
    ] {
        let expected = [
            ("path", "etc/x".to_owned()),
            ("journal_mode", "wal".to_owned()),
            ("synchronous", "off".to_owned()),
            ("failure_mode", "delete".to_owned()),
            ("integrity_check", "true".to_owned()),
        ];
        let text = format!(
            "journal_mode = \"{journal}\"\nsynchronous = \"{synchronous}\"\nfailure_mode = \"{failure}\"\nintegrity_check = true\n"
        );
        assert_eq!(options(&text), expected);
    }
    for (key, word, fix) in [
        (
            "journal_mode",
            "truncate",
            "use one of delete, wal, in any case or as in Broker::SQLITE_JOURNAL_MODE_WAL",
        ),
        (
            "synchronous",
            "Broker::SQLITE_JOURNAL_MODE_WAL",
            "use one of off, normal, full, extra, in any case or as in Broker::SQLITE_SYNCHRONOUS_EXTRA",
        ),
        (
            "failure_mode",
            "Broker::FAIL_",
            "use one of fail, delete, in any case or as in Broker::SQLITE_FAILURE_MODE_DELETE",
        ),
    ] {
        let error = refused(&format!(
            "[stores.s]\nbackend = \"sqlite\"\n{key} = \"{word}\"\n"
        ));
        assert!(
            error.contains(&format!("\"{key}\" in [stores.s] is \"{word}\""))
                && error.contains(fix),
            "{error}"
        );
    }
}

#[cfg(feature = "sled")]
#[test]
fn sled_takes_the_size_of_its_cache() {
    let text = format!("{MANAGER}[stores.s]\nbackend = \"sled\"\ncache_bytes = 2_000_000\n");
    let layout = parse(&text).unwrap();
    assert_eq!(
        layout.stores()[0].options,
        [
            ("path", "etc/s.sled".to_owned()),
            ("cache_bytes", "2000000".to_owned())
        ]
    );
    for (value, part) in [
        ("1048575", "1048576 or more"),
        ("\"64M\"", "a whole number"),
    ] {
        let error = refused(&format!(
            "[stores.s]\nbackend = \"sled\"\ncache_bytes = {value}\n"
        ));
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_size_of_a_cache_means_nothing_to_memory() {
    let error = refused("[stores.s]\nbackend = \"memory\"\ncache_bytes = 2000000\n");
    assert!(
        error.contains("\"cache_bytes\" in [stores.s] means nothing"),
        "{error}"
    );
}

#[test]
fn a_wildcard_takes_the_port_of_the_whole_host_and_other_hosts_are_free() {
    let error = refused("[node.w]\nrole = \"worker\"\nlisten = [\"grpc://0.0.0.0:7001\"]\n");
    assert!(error.contains("as [node.manager] does"), "{error}");
    let elsewhere =
        "[node.w]\nrole = \"worker\"\nhost = \"b\"\nlisten = [\"grpc://127.0.0.1:7001\"]\n";
    assert!(parse(&format!("{MANAGER}{elsewhere}")).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_stops_the_reader(head in ".{0,60}", lines in proptest::collection::vec("(\\[{1,2}[a-z.\"]{0,12}\\]{1,2}|[a-z_]{1,12} ?= ?[-a-z0-9\"\\[\\]{}/:,.]{0,24})", 0..12)) {
        for text in [head.clone(), format!("{MANAGER}{head}\n{}", lines.join("\n"))] {
            if let Err(error) = parse(&text) {
                proptest::prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }
}

#[test]
fn others_dial_the_first_address_they_can_speak_and_never_one_for_clients() {
    let layout = parse(
        r#"
        [node.manager]
        role = "manager"
        listen = ["ws://0.0.0.0:7000", "brokers://h:7001", "broker://h:0", "broker://h:7002", "grpcs://h:7003", "grpc://h:7004"]
        "#,
    )
    .unwrap();
    let manager = layout.manager();
    let dialled = |spoken: &[&str]| super::dial_url(manager, spoken).map(ToString::to_string);
    for (spoken, url) in [
        (
            &["grpc", "broker", "brokers", "ws"][..],
            Some("brokers://h:7001"),
        ),
        (&["grpc", "broker"], Some("broker://h:7002")),
        (&["grpc", "grpcs"], Some("grpcs://h:7003")),
        (&["grpc"], Some("grpc://h:7004")),
        (&["ws", "wss"], None),
    ] {
        assert_eq!(dialled(spoken).as_deref(), url, "{spoken:?}");
    }
}

#[test]
fn a_node_that_has_to_be_dialled_needs_more_than_an_address_for_clients() {
    let error = parse(
        "[node.manager]\nrole = \"manager\"\nlisten = [\"ws://h:1\"]\n[node.worker-1]\nrole = \"worker\"\n",
    )
    .unwrap_err()
    .to_string();
    for part in ["lab.toml:3: ", "ws://h:1", "[node.worker-1]", "grpc://"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_node_has_the_certificates_of_the_file_except_where_it_has_its_own() {
    let layout = parse(&format!(
        r#"{MANAGER}
        [tls]
        cafile = "ca.pem"
        certificate = "node.pem"
        key = "/abs/node.key"
        verify_host_name = false
        [ws]
        token_file = "token"
        [node.worker-1]
        role = "worker"
        [node.worker-1.tls]
        certificate = "worker.pem"
        passphrase_file = "secret"
        [node.worker-1.ws]
        allow_unauthenticated = true
        allow_origins = ["https://a.example"]
        "#
    ))
    .unwrap();
    let path = |path: &str| Some(PathBuf::from(path));
    let manager = layout.manager();
    assert_eq!(
        manager.tls,
        TlsSpec {
            certificate: path("etc/node.pem"),
            key: path("/abs/node.key"),
            cafile: path("etc/ca.pem"),
            verify_host_name: Some(false),
            ..TlsSpec::default()
        }
    );
    let worker = layout.node("worker-1").unwrap();
    assert_eq!(
        worker.tls,
        TlsSpec {
            certificate: path("etc/worker.pem"),
            passphrase_file: path("etc/secret"),
            ..manager.tls.clone()
        }
    );
    assert_eq!(
        worker.ws,
        WsSpec {
            token_file: path("etc/token"),
            allow_unauthenticated: Some(true),
            allow_origins: vec!["https://a.example".to_owned()],
        }
    );
}

#[test]
fn mistakes_in_certificates_are_found_where_they_stand() {
    for (text, line, word) in [
        ("[tls]\ncertifcate = \"x\"\n", ":5: ", "certificate"),
        ("[tls]\npassphrase = \"x\"\n", ":5: ", "passphrase_file"),
        ("tls = 5\n", ":4: ", "a table"),
        ("[tls]\ncafile = \"\"\n", ":5: ", "name of a file"),
        (
            "[node.manager.tls]\nkey = 5\n",
            ":5: ",
            "[node.manager.tls]",
        ),
        ("[ws]\nallow_origins = 5\n", ":5: ", "a list of texts"),
        (
            "[ws]\nallow_unauthenticated = \"yes\"\n",
            ":5: ",
            "true or false",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(line) && error.contains(word), "{error}");
    }
}

#[test]
fn tables_are_stores_whose_files_are_in_a_directory_of_their_own() {
    let text = r#"
        [cluster]
        table_dir = "tables"
        [tables."Hosts::seen"]
        backend = "sqlite"
        journal_mode = "wal"
        [tables.counts]
        [node.manager]
        role = "manager"
        listen = ["grpc://127.0.0.1:0"]
        "#;
    let layout = parse(text).unwrap();
    assert_eq!(layout.table_dir(), Path::new("etc/tables"));
    let [seen, counts] = layout.tables() else {
        panic!("{:?}", layout.tables())
    };
    assert_eq!(
        (seen.name.as_str(), counts.name.as_str()),
        ("Hosts::seen", "counts")
    );
    assert_eq!(seen.store.name, "___sync_store_Hosts::seen");
    let path = Path::new("etc/tables/___sync_store_Hosts::seen.sqlite");
    assert_eq!(
        seen.store.options,
        [
            ("path", path.to_string_lossy().into_owned()),
            ("journal_mode", "wal".to_owned())
        ]
    );
    assert_eq!(
        (counts.store.backend, counts.store.options.len()),
        ("memory", 0)
    );
    assert_eq!(layout.all_stores().count(), 2);
    assert_eq!(parse(MANAGER).unwrap().table_dir(), Path::new("etc"));
}
