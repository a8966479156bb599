//! `store` over `broker://`: the command follows the master of the node, one of ours or one that tells no results.

use broker_core::{Data, Endpoint};
use broker_store::{MasterOptions, Memory, StoreExt as _};
use broker_tests::{Cluster, Done, Running, broker, free_ports};
use broker_wire::NativeTransport;

/// A manager with the stores `s` and `t`, and a logger that follows them.
struct Stores {
    _nodes: [Running; 2],
    _cluster: Cluster,
    manager: String,
    logger: String,
}

impl Stores {
    fn start() -> Self {
        let ports = free_ports(1);
        let cluster = Cluster::new(&format!(
            "[cluster]\nname = \"test\"\n[stores.s]\nbackend = \"memory\"\n[stores.t]\nbackend = \"memory\"\n\
             [node.manager]\nrole = \"manager\"\nlisten = [\"broker://127.0.0.1:0\"]\n\
             [node.logger-1]\nrole = \"logger\"\nlisten = [\"broker://127.0.0.1:{}\"]\n",
            ports[0]
        ));
        let (manager, manager_url) = cluster.node("manager");
        let (logger, logger_url) = cluster.node("logger-1");
        Self {
            _nodes: [manager, logger],
            _cluster: cluster,
            manager: manager_url,
            logger: logger_url,
        }
    }

    fn run(&self, args: &[&str]) -> Done {
        store(&self.manager, args)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok().trim_end().to_owned()
    }
}

fn store(url: &str, args: &[&str]) -> Done {
    Done::of(broker().args(["store", url, "s"]).args(args))
}

#[test]
fn every_operation_does_what_it_does_over_grpc() {
    let stores = Stores::start();
    for (args, printed) in [
        (&["put", "a", "5u"][..], ""),
        (&["get", "a"], "5u"),
        (&["increment", "a", "2u"], ""),
        (&["decrement", "a"], ""),
        (
            &["get", "a", "--json"],
            r#"{"key":{"@data-type":"string","data":"a"},"value":{"@data-type":"count","data":6}}"#,
        ),
        (&["put-unique", "a", "1u"], "false"),
        (&["put-unique", "b", "\"x\"", "--expiry", "3600"], "true"),
        (&["append", "b", "\"y\""], ""),
        (&["get", "b"], "\"xy\""),
        (&["exists", "b"], "true"),
        (&["exists", "c"], "false"),
        (&["push", "v", "1"], ""),
        (&["push", "v", "2"], ""),
        (&["pop", "v"], ""),
        (&["get-index", "v", "0u"], "1"),
        (&["insert-into", "t", "k", "1u"], ""),
        (&["get-index", "t", "k"], "1u"),
        (&["remove-from", "t", "k"], ""),
        (&["erase", "t"], ""),
        (&["keys"], "\"a\"\n\"b\"\n\"v\""),
        (&["clear"], ""),
        (&["keys"], ""),
    ] {
        assert_eq!(stores.ok(args), printed, "{args:?}");
    }
}

#[test]
fn the_masters_errors_come_back_by_name() {
    let stores = Stores::start();
    stores.ok(&["put", "a", "\"text\""]);
    for (args, name) in [
        (&["get", "nothing"][..], "no_such_key"),
        (&["increment", "a", "1u"], "type_clash"),
        (&["decrement", "nothing", "1u"], "no_such_key"),
    ] {
        let line = stores.run(args).failed(1);
        assert!(line.contains(name), "{args:?}: {line}");
    }
}

#[test]
fn a_store_that_is_not_there_or_followed_only_is_told_apart() {
    let stores = Stores::start();
    let line = Done::of(broker().args(["store", &stores.manager, "x", "keys"])).failed(1);
    for part in ["\"x\"", "s (master)", "t (master)"] {
        assert!(line.contains(part), "{line}");
    }
    let line = store(&stores.logger, &["keys"]).failed(1);
    assert!(
        line.contains("clone") && line.contains("no_such_master"),
        "{line}"
    );
    let (_node, urls) = Cluster::relay_on(&["broker"], &[]);
    let line = store(&urls[0], &["keys"]).failed(1);
    assert!(line.contains("no store"), "{line}");
}

#[test]
fn entries_are_dumped_loaded_and_watched() {
    let stores = Stores::start();
    let mut watch =
        Running::start(broker().args(["store", &stores.manager, "s", "watch", "--count", "100"]));
    watch.stderr_line("watching");
    let lines: String = (0..100)
        .map(|n| format!("{{\"key\":{{\"@data-type\":\"count\",\"data\":{n}}},\"value\":{{\"@data-type\":\"integer\",\"data\":{n}}}}}\n"))
        .collect();
    let mut load = Running::start(broker().args(["store", &stores.manager, "s", "load"]));
    load.write(&lines);
    load.wait().ok();
    let seen = watch.wait().ok();
    assert_eq!(
        seen.lines()
            .filter(|line| line.starts_with("insert\t"))
            .count(),
        100
    );
    let dump = stores.run(&["dump"]);
    assert!(!dump.stderr.contains("expiries"), "{}", dump.stderr);
    assert_eq!(dump.ok(), lines);
    // A master of ours is asked, and tells how long entries have.
    stores.run(&["put", "brief", "x", "--expiry", "3600"]).ok();
    assert!(stores.run(&["dump"]).ok().contains("\"expiry\":3"));
    let copy = std::env::temp_dir().join("broker-no-such-copy");
    let line = stores
        .run(&["backup", copy.to_str().expect("text")])
        .failed(2);
    assert!(line.contains("grpc://") && line.contains("dump"), "{line}");
    assert!(!copy.exists());
}

#[test]
fn a_node_that_goes_ends_the_command() {
    let cluster = Cluster::with_stores(&["s"]);
    let text = std::fs::read_to_string(cluster.path().join("cluster.toml")).expect("read");
    std::fs::write(
        cluster.path().join("cluster.toml"),
        text.replace("grpc", "broker"),
    )
    .expect("written");
    let (node, url) = cluster.node("manager");
    let mut watch = Running::start(broker().args(["store", &url, "s", "watch"]));
    watch.stderr_line("watching");
    node.stop().ok();
    assert!(watch.wait_open().failed(1).contains("shut down"));
}

/// A peer without anything that C++ does not have.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_silent_master_does_not_echo_is_said_to_be_in_doubt() {
    let peer = Endpoint::builder()
        .transport(NativeTransport::new().versions(1, 1))
        .start();
    let master = peer
        .attach_master("s", Memory::new(), MasterOptions::default())
        .await
        .expect("attached");
    let url = peer
        .listen(&"broker://127.0.0.1:0".parse().expect("a URL"))
        .await
        .expect("listens")
        .to_string();
    let run = move |args: &'static [&'static str]| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || store(&url, args))
    };
    run(&["put", "a", "\"text\""]).await.expect("runs").ok();
    assert_eq!(
        master.get("a").await.expect("there"),
        Some(Data::from("text"))
    );
    assert_eq!(run(&["get", "a"]).await.expect("runs").ok(), "\"text\"\n");
    assert_eq!(
        run(&["put-unique", "a", "1u"]).await.expect("runs").ok(),
        "false\n"
    );
    // Such a master does not say why it did not do this.
    let line = run(&["increment", "a", "1u"])
        .await
        .expect("runs")
        .failed(1);
    assert!(line.contains("did not echo"), "{line}");
}
