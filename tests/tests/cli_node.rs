//! `node`, `cluster up` and `status`: configuration mistakes, readiness, signals.

use std::io::Write as _;

use broker_tests::{Cluster, Done, Running, broker, free_ports};

const GOOD: &str = "[cluster]\nname = \"test\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n";

/// What `node` says to a configuration.
fn refused(config: &str, name: &str) -> String {
    let cluster = Cluster::new(config);
    let mut command = broker();
    command
        .arg("node")
        .arg("--config")
        .arg(cluster.path().join("cluster.toml"))
        .args(["--name", name]);
    Done::of(&mut command).failed(2)
}

#[test]
fn a_mistake_in_a_configuration_is_one_line_with_file_line_and_fix() {
    let worker = |lines: &str| format!("{GOOD}[node.worker-1]\nrole = \"worker\"\n{lines}\n");
    let cases = [
        (worker("colour = \"red\""), "cluster.toml:8", "colour"),
        (
            GOOD.replace("\"manager\"", "\"boss\""),
            "cluster.toml:4",
            "boss",
        ),
        (
            GOOD.replace("127.0.0.1:0", "127.0.0.1:70000"),
            "cluster.toml:5",
            "70000",
        ),
        (
            format!("{GOOD}[node.manager]\nrole = \"worker\"\n"),
            "cluster.toml:6",
            "\"manager\" is there a second time",
        ),
        (
            format!("{GOOD}[node.boss]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:1\"]\n"),
            "cluster.toml",
            "manager",
        ),
        (
            format!("{GOOD}[stores.hosts]\nbackend = \"paper\"\n"),
            "cluster.toml:7",
            "paper",
        ),
        ("[cluster\n".to_owned(), "cluster.toml:1", ""),
        (
            "[cluster]\nname = \"x\"\n".to_owned(),
            "cluster.toml",
            "manager",
        ),
        (
            GOOD.replace("grpc://", "carrier-pigeon://"),
            "cluster.toml",
            "carrier-pigeon",
        ),
    ];
    for (config, place, word) in cases {
        let line = refused(&config, "manager");
        assert!(
            line.contains(place) && line.contains(word),
            "{config}\n-> {line}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_reached_is_a_mistake_in_the_configuration() {
    let logs = GOOD.replace(
        "name = \"test\"",
        "name = \"test\"\nlog_dir = \"/proc/logs\"",
    );
    let line = refused(&logs, "manager");
    assert!(
        line.contains("cluster.toml:3: ")
            && line.contains("/proc/logs")
            && line.contains("log_dir"),
        "{line}"
    );
    let store =
        format!("{GOOD}[stores.hosts]\nbackend = \"sqlite\"\npath = \"/proc/stores/x.sqlite\"\n");
    let line = refused(&store, "manager");
    assert!(
        line.contains("cluster.toml:8: ") && line.contains("/proc/stores/x.sqlite"),
        "{line}"
    );
}

#[test]
fn a_node_that_is_not_in_the_configuration_is_told_which_there_are() {
    let line = refused(GOOD, "worker-9");
    assert!(
        line.contains("worker-9") && line.contains("manager"),
        "{line}"
    );
    let cluster = Cluster::new(GOOD);
    let line = Done::of(
        broker()
            .arg("node")
            .arg("--config")
            .arg(cluster.path().join("cluster.toml")),
    )
    .failed(2);
    assert!(
        line.contains("--name") && line.contains("CLUSTER_NODE"),
        "{line}"
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_misuse() {
    let line = Done::of(broker().args([
        "node",
        "--config",
        "/nonexistent/cluster.toml",
        "--name",
        "manager",
    ]))
    .failed(2);
    assert!(line.contains("/nonexistent/cluster.toml"), "{line}");
    let line = Done::of(broker().args(["cluster", "up", "--config", "/nonexistent/cluster.toml"]))
        .failed(2);
    assert!(line.contains("/nonexistent/cluster.toml"), "{line}");
}

#[test]
fn wrong_addresses_of_a_relay_are_misuse_before_anything_is_bound() {
    for args in [
        &["--listen", "grpc://127.0.0.1:0", "--peer", "smoke://signal"][..],
        &["--listen", "smoke://127.0.0.1:1"],
        &[
            "--listen",
            "grpc://127.0.0.1:7",
            "--listen",
            "grpc://127.0.0.1:7",
        ],
    ] {
        let line = Done::of(broker().arg("node").args(args)).failed(2);
        assert!(line.contains("grpc"), "{line}");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    let line = Done::of(broker().args([
        "node",
        "--log-level",
        "off",
        "--listen",
        &format!("grpc://{address}"),
    ]))
    .failed(1);
    assert!(line.contains(&address), "{line}");
}

#[test]
fn a_node_says_where_it_listens_and_then_that_it_is_ready() {
    let mut node = Running::start(broker().args([
        "node",
        "--listen",
        "grpc://127.0.0.1:0",
        "--listen",
        "grpc://127.0.0.1:0",
    ]));
    let first = node.line();
    let second = node.line();
    assert!(
        first.starts_with("listening grpc://127.0.0.1:") && !first.ends_with(":0"),
        "{first}"
    );
    assert!(
        second.starts_with("listening grpc://127.0.0.1:") && second != first,
        "{second}"
    );
    assert_eq!(node.line(), "ready");
    assert_eq!(node.stop().ok(), "");
}

#[test]
fn sigint_and_sigterm_drain_and_stop_a_node() {
    for signal in ["INT", "TERM"] {
        let (node, _url) = Cluster::relay(&[]);
        node.signal(signal);
        assert_eq!(node.wait().code, Some(0));
        let cluster = Cluster::with_stores(&["a"]);
        let (node, _url) = cluster.node("manager");
        node.signal(signal);
        assert_eq!(node.wait().code, Some(0));
    }
}

#[test]
fn the_name_of_a_node_may_come_from_the_environment() {
    let cluster = Cluster::new(GOOD);
    let mut command = broker();
    command
        .arg("node")
        .arg("--config")
        .arg(cluster.path().join("cluster.toml"))
        .env("CLUSTER_NODE", "manager");
    let mut node = Running::start(&mut command);
    let url = node.line_after("listening ");
    node.line_after("ready");
    let status: serde_json::Value =
        serde_json::from_str(&Done::of(broker().args(["status", &url, "--json"])).ok())
            .expect("json");
    assert_eq!(status["name"], "manager");
}

#[test]
fn status_has_exactly_the_promised_keys() {
    let cluster = Cluster::with_stores(&["hosts"]);
    let (_manager, url) = cluster.node("manager");
    let (_relay, _) =
        Cluster::relay(&["--peer", &url, "--subscribe", "/asked", "--name", "friend"]);
    let status = loop {
        let status: serde_json::Value =
            serde_json::from_str(&Done::of(broker().args(["status", &url, "--json"])).ok())
                .expect("json");
        if status["peers"]
            .as_array()
            .is_some_and(|peers| !peers.is_empty())
        {
            break status;
        }
    };
    let keys = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(
        keys(&status),
        "id listening logs name peers stores subscriptions uptime_s version"
    );
    assert_eq!(
        keys(&status["peers"][0]),
        "dropped filter id name queued queued_bytes received rtt_us sent state url"
    );
    assert_eq!(status["listening"], serde_json::json!([url]));
    assert_eq!(status["peers"][0]["name"], "friend");
    assert_eq!(status["peers"][0]["state"], "peered");
    assert_eq!(status["peers"][0]["filter"], serde_json::json!(["/asked"]));
    let store = &status["stores"][0];
    assert_eq!(
        keys(store),
        "backend digest entries freshness lag name revision role"
    );
    assert_eq!(
        (&store["name"], &store["role"], &store["backend"]),
        (&"hosts".into(), &"master".into(), &"memory".into())
    );
    assert_eq!(store["entries"], 0);
    assert!(
        store["revision"]
            .as_str()
            .is_some_and(|revision| revision.ends_with("-0"))
    );
    let text = Done::of(broker().args(["status", &url])).ok();
    assert!(text.contains("friend") && text.contains("hosts"), "{text}");
}

#[test]
fn garbage_on_the_port_ends_that_connection_and_no_other() {
    let (_node, url) = Cluster::relay(&[]);
    let address = url.strip_prefix("grpc://").expect("grpc");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 4096],
    ] {
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        // The node may hang up while we write.
        let _ = stream.write_all(garbage);
    }
    Done::of(broker().args(["pub", &url, "/t", "1"])).ok();
}

#[test]
fn cluster_up_starts_all_nodes_restarts_one_that_dies_and_stops_them_together() {
    let config = |ports: &[u16]| {
        format!(
            "[cluster]\nname = \"test\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
             [node.logger-1]\nrole = \"logger\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n[node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n",
            ports[0], ports[1]
        )
    };
    let cluster = Cluster::new(&config(&free_ports(2)));
    let mut up = Running::start(
        broker()
            .args(["cluster", "up", "--log-level", "warn", "--config"])
            .arg(cluster.path().join("cluster.toml")),
    );
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "ready") {
        lines.push(up.line());
    }
    for node in ["manager", "logger-1", "worker-1"] {
        assert!(lines.contains(&format!("{node} ready")), "{lines:?}");
    }
    let first = children(&up).remove(0);
    assert!(
        std::process::Command::new("kill")
            .args(["-KILL", first.as_str()])
            .status()
            .expect("kill runs")
            .success()
    );
    up.stderr_line("starting it again");
    loop {
        if up.line().ends_with(" ready") {
            break;
        }
    }
    assert_eq!(up.stop().code, Some(0));
}

#[test]
fn nodes_end_with_a_supervisor_that_is_killed() {
    let cluster = Cluster::new(GOOD);
    let mut up = Running::start(
        broker()
            .args(["cluster", "up", "--log-level", "off", "--config"])
            .arg(cluster.path().join("cluster.toml")),
    );
    up.line_after("ready");
    let node = children(&up).remove(0);
    up.signal("KILL");
    // `tail` waits for the end of a process that is not its child, for as long as the test's own limit allows.
    let mut waiting = std::process::Command::new("tail");
    let waited = Running::start(waiting.args(["-f", "/dev/null", &format!("--pid={node}")])).wait();
    assert_eq!(waited.code, Some(0));
}

/// The processes that `running` has started.
fn children(running: &Running) -> Vec<String> {
    let path = format!("/proc/{0}/task/{0}/children", running.process_id());
    let children = std::fs::read_to_string(path).expect("it runs");
    children.split_whitespace().map(str::to_owned).collect()
}
