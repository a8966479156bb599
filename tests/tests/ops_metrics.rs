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
    for n in 0..5 {
        Done::of(broker().args([
            "event",
            &url,
            "zeek/cluster/worker",
            "Test::event",
            &n.to_string(),
        ]))
        .ok();
    }
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
            matches!(kind, "gauge" | "counter").then(|| (name.to_owned(), kind.to_owned()))
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
