//! Metrics and health over HTTP, as a scraper and an orchestrator see them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use broker_tests::{Cluster, Done, PATIENCE, Running, broker, free_ports};

/// What an HTTP server said: status, head, body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends `request` as it is.
fn raw(address: &str, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    // A server that has seen enough may hang up while we write.
    let _ = stream.write_all(request.as_bytes());
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

fn get(address: &str, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    raw(address, &request).expect("an answer")
}

/// Starts a node with metrics, and says where they are; not that it is ready.
fn with_metrics(cluster: &Cluster, name: &str) -> (Running, String) {
    let mut command = broker();
    command
        .arg("node")
        .arg("--config")
        .arg(cluster.path().join("cluster.toml"))
        .args(["--name", name, "--metrics", "127.0.0.1:0"]);
    let mut node = Running::start(&mut command);
    let url = node.line_after("metrics http://");
    (node, url.trim_end_matches("/metrics").to_owned())
}

/// The samples of a text: name with labels, and value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The samples once they are as `good` wants them.
fn samples_when(
    address: &str,
    good: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let begun = std::time::Instant::now();
    loop {
        let samples = samples(&get(address, "/metrics").body);
        if good(&samples) {
            return samples;
        }
        assert!(begun.elapsed() < PATIENCE, "{samples:#?}");
    }
}

fn send_five_events(url: &str) {
    for n in 0..5 {
        Done::of(broker().args([
            "event",
            url,
            "zeek/cluster/worker",
            "Test::event",
            &n.to_string(),
        ]))
        .ok();
    }
}

fn layout(ports: &[u16]) -> String {
    format!(
        "[cluster]\nname = \"test\"\n[stores.hosts]\nbackend = \"memory\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
         [node.worker-1]\nrole = \"worker\"\n",
        ports[0]
    )
}

#[test]
fn a_member_is_ready_once_it_is_connected_and_says_whom_it_waits_for() {
    let cluster = Cluster::new(&layout(&free_ports(1)));
    let (mut worker, at) = with_metrics(&cluster, "worker-1");
    worker.line_after("ready");
    let answer = get(&at, "/readyz");
    assert_eq!(answer.status, 503, "{answer:?}");
    let why: serde_json::Value = serde_json::from_str(&answer.body).expect("json");
    assert_eq!(why["ready"], false);
    let reason = why["reasons"][0].as_str().expect("a reason");
    assert!(
        reason.contains("not fully connected") && reason.contains("manager"),
        "{reason}"
    );
    assert_eq!(get(&at, "/healthz").status, 200);

    let (manager, _) = cluster.node("manager");
    let seen = samples_when(&at, |samples| {
        samples[r#"broker_ready{endpoint="worker-1"}"#] == 1.0
    });
    assert_eq!(
        seen[r#"broker_cluster_fully_connected{endpoint="worker-1"}"#],
        1.0
    );
    let answer = get(&at, "/readyz");
    assert_eq!(
        (answer.status, answer.body.contains("\"ready\":true")),
        (200, true)
    );

    // Who has been connected once stays ready, and says who is missing.
    assert_eq!(manager.stop().code, Some(0));
    samples_when(&at, |samples| {
        samples[r#"broker_peer_up{endpoint="worker-1",peer="manager"}"#] == 0.0
    });
    let answer = get(&at, "/readyz");
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("\"missing\":[\"manager\"]"),
        "{answer:?}"
    );
}

#[test]
fn a_node_that_a_reload_takes_out_of_the_layout_is_missing_no_longer() {
    let base = layout(&free_ports(1));
    let cluster = Cluster::new(&format!("{base}[node.worker-2]\nrole = \"worker\"\n"));
    let (mut manager, at) = with_metrics(&cluster, "manager");
    manager.line_after("ready");
    let expected = r#"broker_cluster_nodes_expected{endpoint="manager",role="worker"}"#;
    assert_eq!(samples(&get(&at, "/metrics").body)[expected], 2.0);
    std::fs::write(cluster.path().join("cluster.toml"), base).expect("written");
    manager.signal("HUP");
    let seen = samples_when(&at, |samples| samples[expected] == 1.0);
    let up = |name: &str| {
        seen.get(&format!(
            r#"broker_peer_up{{endpoint="manager",peer="{name}"}}"#
        ))
    };
    assert_eq!((up("worker-1"), up("worker-2")), (Some(&0.0), None));
}

#[test]
fn figures_are_those_of_what_happened() {
    let ports = free_ports(1);
    let cluster = Cluster::new(&layout(&ports));
    let (mut manager, at) = with_metrics(&cluster, "manager");
    manager.line_after("ready");
    let (_worker, _) = with_metrics(&cluster, "worker-1");
    let own = |name: &str, labels: &str| format!("{name}{{endpoint=\"manager\"{labels}}}");
    samples_when(&at, |samples| {
        samples[&own("broker_cluster_nodes_up", ",role=\"worker\"")] == 1.0
    });
    let url = format!("grpc://127.0.0.1:{}", ports[0]);
    let before = samples(&get(&at, "/metrics").body);
    send_five_events(&url);
    Done::of(broker().args(["store", &url, "hosts", "put", "10.0.0.1", "5u"])).ok();
    let outgoing = own("zeek_broker_outgoing_events_total", "");
    let attached = own("broker_store_output_channels", ",name=\"hosts\"");
    let seen = samples_when(&at, |samples| {
        samples[&outgoing] >= before[&outgoing] + 5.0 && samples[&attached] == 1.0
    });
    for (name, labels, value) in [
        ("zeek_broker_peers", "", 1.0),
        ("zeek_broker_stores", "", 1.0),
        ("broker_connections", ",type=\"native\"", 1.0),
        ("broker_store_entries", ",name=\"hosts\"", 1.0),
        ("broker_store_revision", ",name=\"hosts\"", 1.0),
        ("broker_peer_up", ",peer=\"worker-1\"", 1.0),
        (
            "zeek_broker_peer_buffer_overflows_total",
            ",peer=\"worker-1\"",
            0.0,
        ),
        ("broker_cluster_nodes_expected", ",role=\"worker\"", 1.0),
    ] {
        assert_eq!(seen[&own(name, labels)], value, "{name}: {seen:#?}");
    }
    assert_eq!(
        seen[&outgoing],
        seen[&own("zeek_cluster_core_outgoing_events_total", "")]
    );
}

/// The samples of a metric.
fn family<'a>(
    samples: &'a BTreeMap<String, f64>,
    name: &'a str,
) -> impl Iterator<Item = (&'a str, f64)> {
    let is_of = move |sample: &str| sample.split('{').next() == Some(name);
    let of = samples.iter().filter(move |(sample, _)| is_of(sample));
    of.map(|(sample, value)| (sample.as_str(), *value))
}

#[test]
fn events_are_counted_by_topic_and_name_where_the_layout_asks_for_it() {
    let ports = free_ports(1);
    let levels = "core_metrics = [\"info\", \"verbose\", \"debug\"]";
    let cluster = Cluster::new(&format!(
        "{}[cluster.telemetry]\n{levels}\n",
        layout(&ports)
    ));
    let (mut manager, at) = with_metrics(&cluster, "manager");
    manager.line_after("ready");
    let (mut worker, at_worker) = with_metrics(&cluster, "worker-1");
    worker.line_after("ready");
    samples_when(&at, |samples| {
        samples[r#"broker_cluster_nodes_up{endpoint="manager",role="worker"}"#] == 1.0
    });
    let url = format!("grpc://127.0.0.1:{}", ports[0]);
    send_five_events(&url);
    let labels = |node: &str, topic: &str, handler: &str| {
        format!("{{endpoint=\"{node}\",topic=\"{topic}\",handler=\"{handler}\"")
    };
    // Version, type, a vector with name and a vector with an integer; metadata there is none.
    let size = 2.0 + 9.0 + 9.0 + 2.0 + (2.0 + 11.0) + (2.0 + 9.0);
    for (node, at, direction) in [
        ("manager", &at, "outgoing"),
        ("worker-1", &at_worker, "incoming"),
    ] {
        let own = labels(node, "zeek/cluster/worker", "Test::event");
        let verbose = format!("zeek_cluster_core_verbose_{direction}_events_total");
        let info = format!("zeek_cluster_core_{direction}_events_total{{endpoint=\"{node}\"}}");
        // Nodes go on talking, and what is counted while somebody reads may be in one figure and not in the other yet.
        let seen = samples_when(at, |samples| {
            let all: f64 = family(samples, &verbose).map(|(_, value)| value).sum();
            samples.get(&format!("{verbose}{own}}}")) == Some(&5.0) && all == samples[&info]
        });
        let sizes = format!("zeek_cluster_core_debug_{direction}_event_sizes");
        assert_eq!(seen[&format!("{sizes}_count{own}}}")], 5.0, "{seen:#?}");
        assert_eq!(seen[&format!("{sizes}_sum{own}}}")], 5.0 * size);
        assert_eq!(seen[&format!("{sizes}_bucket{own},le=\"10\"}}")], 0.0);
        assert_eq!(seen[&format!("{sizes}_bucket{own},le=\"50\"}}")], 5.0);
        assert_eq!(seen[&format!("{sizes}_bucket{own},le=\"+Inf\"}}")], 5.0);
        // Whoever says hello is told apart by no random part of a topic.
        let hello = labels(node, "zeek/cluster/nodeid/__normalized__", "Cluster::hello");
        assert!(seen[&format!("{verbose}{hello}}}")] >= 1.0, "{seen:#?}");
        for (sample, _) in family(&seen, &verbose) {
            let random = sample.contains("/nodeid/") && !sample.contains("/nodeid/__normalized__");
            assert!(!random, "{sample}");
        }
        let websocket = family(
            &seen,
            "zeek_cluster_websocket_verbose_outgoing_events_total",
        );
        assert_eq!(websocket.count(), 0);
    }
}

#[test]
fn what_clients_make_a_node_tell_apart_has_a_bound() {
    let mut command = broker();
    let args = ["--metrics", "0", "--telemetry", "verbose,debug"];
    command.args(["node", "--name", "n", "--listen", "ws://127.0.0.1:0"]);
    let mut node = Running::start(command.args(args));
    let url = node.line_after("metrics http://");
    let at = url.trim_end_matches("/metrics").to_owned();
    let door = node.line_after("listening ");
    node.line_after("ready");
    const EVENTS: usize = 1200;
    let event = |n: usize| {
        let count = |n: u64| serde_json::json!({"@data-type": "count", "data": n});
        let vector = |data: Vec<_>| serde_json::json!({"@data-type": "vector", "data": data});
        let name = serde_json::json!({"@data-type": "string", "data": format!("Test::e{n}")});
        let message = vec![count(1), count(1), vector(vec![name, vector(vec![])])];
        let line = serde_json::json!({"topic": "/test", "data": vector(message)});
        format!("{line}\n")
    };
    let mut publisher = Running::start(broker().args(["pub", &door, "--stdin"]));
    publisher.write((0..EVENTS).map(event).collect::<String>());
    publisher.close_stdin();
    assert_eq!(publisher.wait().code, Some(0));
    let (verbose, sizes) = (
        "zeek_cluster_websocket_verbose_outgoing_events_total",
        "zeek_cluster_websocket_debug_outgoing_event_sizes_count",
    );
    let info = r#"zeek_cluster_websocket_outgoing_events_total{endpoint="n",app="broker-cli"}"#;
    let seen = samples_when(&at, |samples| samples.get(info) == Some(&(EVENTS as f64)));
    for name in [verbose, sizes] {
        let counted: Vec<(&str, f64)> = family(&seen, name).collect();
        assert_eq!(counted.len(), 1024 + 1, "{name}");
        let all: f64 = counted.iter().map(|(_, value)| value).sum();
        assert_eq!(all, EVENTS as f64);
        let other = r#"{endpoint="n",app="broker-cli",topic="other",handler="other"}"#;
        assert_eq!(seen[&format!("{name}{other}")], (EVENTS - 1024) as f64);
    }
    assert_eq!(node.stop().code, Some(0));
}

#[test]
fn levels_that_are_none_or_that_nobody_serves_are_told() {
    let line = Done::of(broker().args(["node", "--metrics", "0", "--telemetry", "loud"])).failed(2);
    assert!(line.contains("info, verbose or debug"), "{line}");
    let line = Done::of(broker().args(["node", "--telemetry", "verbose"])).failed(2);
    assert!(line.contains("--metrics"), "{line}");
    let text =
        "[cluster.telemetry]\ncore_metrics = [\"loud\"]\n[node.manager]\nrole = \"manager\"\n";
    let cluster = Cluster::new(text);
    let config = cluster.path().join("cluster.toml");
    let line = Done::of(
        broker()
            .args(["node", "--name", "manager", "--config"])
            .arg(config),
    )
    .failed(2);
    assert!(
        line.contains("cluster.toml:2") && line.contains("info, verbose, debug"),
        "{line}"
    );
}

#[test]
fn every_metric_is_in_the_documentation_and_every_one_in_it_is_served() {
    let (mut node, at) = {
        let mut command = broker();
        command.args(["node", "--listen", "grpc://127.0.0.1:0", "--metrics", "0"]);
        let mut node = Running::start(&mut command);
        let url = node.line_after("metrics http://");
        (node, url.trim_end_matches("/metrics").to_owned())
    };
    node.line_after("ready");
    let served: BTreeSet<(String, String)> = get(&at, "/metrics")
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let documented: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`');
            let kind = cells.next()?;
            matches!(kind, "gauge" | "counter" | "histogram")
                .then(|| (name.to_owned(), kind.to_owned()))
        })
        .collect();
    assert!(served.len() > 40, "{served:?}");
    assert_eq!(served, documented);
    // Labels that are served are documented with their metric.
    for sample in samples(&get(&at, "/metrics").body).into_keys() {
        let (name, labels) = sample.split_once('{').expect("labels");
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")))
            .expect("documented");
        for label in labels
            .split(',')
            .filter_map(|label| label.split('=').next())
        {
            assert!(
                label == "endpoint" || row.contains(&format!("`{label}`")),
                "{sample}"
            );
        }
    }
}

#[test]
fn whatever_else_is_asked_is_refused_and_harms_nobody() {
    let mut command = broker();
    command.args([
        "node",
        "--listen",
        "grpc://127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--log-level",
        "off",
    ]);
    let mut node = Running::start(&mut command);
    let at = node
        .line_after("metrics http://")
        .trim_end_matches("/metrics")
        .to_owned();
    node.line_after("ready");
    assert_eq!(get(&at, "/").status, 404);
    assert_eq!(get(&at, "/metrics/x").status, 404);
    let post = raw(
        &at,
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    )
    .expect("an answer");
    assert_eq!(
        (post.status, post.head.contains("allow: get, head")),
        (405, true)
    );
    let open = raw(
        &at,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n",
    );
    let open = open.expect("an answer");
    assert!(open.head.contains("application/openmetrics-text") && open.body.ends_with("# EOF\n"));
    let head = raw(&at, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("an answer");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = "x".repeat(100_000);
    for garbage in [
        "\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}".repeat(2000),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(500)),
    ] {
        if let Some(answer) = raw(&at, &garbage) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    // Those who connect and say nothing are let go of; so many at a time do not keep others out for good.
    let idle: Vec<TcpStream> = (0..64)
        .filter_map(|_| TcpStream::connect(&at).ok())
        .collect();
    assert!(idle.len() > 32);
    drop(idle);
    let begun = std::time::Instant::now();
    while raw(&at, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .is_none_or(|answer| answer.status != 200)
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(node.stop().code, Some(0));
}

#[test]
fn an_address_for_metrics_that_is_none_or_taken_is_told() {
    for bad in ["nowhere", "127.0.0.1:99999", "http://127.0.0.1:1"] {
        let line = Done::of(broker().args(["node", "--metrics", bad])).failed(2);
        assert!(line.contains(bad) && line.contains("HOST:PORT"), "{line}");
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = held.local_addr().expect("bound").to_string();
    let args = [
        "node",
        "--listen",
        "grpc://127.0.0.1:0",
        "--log-level",
        "off",
        "--metrics",
    ];
    let line = Done::of(broker().args(args).arg(&taken)).failed(1);
    assert!(line.contains(&taken) && line.contains("metrics"), "{line}");
    let cluster = Cluster::new(
        "[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\nmetrics = \"nowhere\"\n",
    );
    let line = Done::of(
        broker()
            .args(["node", "--name", "manager", "--config"])
            .arg(cluster.path().join("cluster.toml")),
    )
    .failed(2);
    assert!(
        line.contains("cluster.toml:4") && line.contains("metrics"),
        "{line}"
    );
}
