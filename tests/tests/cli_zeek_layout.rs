//! Nodes of ours in a cluster that Zeek's own files describe, by the real program.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use broker_cluster::log::{Column, ColumnType, LogValue, Schema};
use broker_cluster::logging::LogSpec;
use broker_cluster::{ClusterNode, LayoutSource, ZeekOptions};
use broker_core::Endpoint;
use broker_tests::{Done, PATIENCE, Running, broker, free_ports};
use broker_wire::NativeTransport;

/// What zeekctl generates for a cluster on one machine.
fn generated(ports: &[u16]) -> String {
    format!(
        "# Automatically generated. Do not edit.
redef Cluster::manager_is_logger = F;
redef Cluster::nodes = {{
\t[\"control\"] = [$node_type=Cluster::CONTROL, $ip=127.0.0.1, $p=27760/tcp],
\t[\"manager\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1, $p={}/tcp],
\t[\"logger-1\"] = [$node_type=Cluster::LOGGER, $ip=127.0.0.1, $p={}/tcp, $metrics_port={}/tcp],
\t[\"proxy-1\"] = [$node_type=Cluster::PROXY, $ip=127.0.0.1, $p={}/tcp, $manager=\"manager\"],
\t[\"worker-1\"] = [$node_type=Cluster::WORKER, $ip=127.0.0.1, $p={}/tcp, $manager=\"manager\"],
}};

event zeek_init()
\t{{
\tif ( getenv(\"ZEEKCTL_DISABLE_LISTEN\") == \"\" )
\t\tCluster::listen_websocket([$listen_addr=127.0.0.1, $listen_port=27759/tcp]);
\t}}
",
        ports[0], ports[1], ports[4], ports[2], ports[3]
    )
}

/// The program in `directory`, listening at loopback only, as Zeek would.
fn in_directory(directory: &Path) -> Command {
    let mut command = broker();
    command
        .current_dir(directory)
        .env("ZEEK_DEFAULT_LISTEN_ADDRESS", "127.0.0.1");
    command
}

/// A node of ours in this process, over `brokers://` as the layout says.
async fn member(directory: &Path, name: &str) -> ClusterNode {
    let layout = LayoutSource::new(directory.join("cluster-layout.zeek"))
        .zeek(ZeekOptions::new().listen_address("127.0.0.1"))
        .load()
        .unwrap();
    ClusterNode::builder(layout, name)
        .endpoint_builder(Endpoint::builder().transport(NativeTransport::new()))
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logger_named_by_cluster_node_joins_the_cluster_of_a_cluster_layout_zeek() {
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports(5);
    let file = directory.path().join("cluster-layout.zeek");
    std::fs::write(&file, generated(&ports)).unwrap();
    std::fs::write(
        directory.path().join("logger.toml"),
        "[cluster]\nlog_dir = \"out\"\nlog_format = \"json\"\n[node.logger-1]\nlisten = [\"grpc://127.0.0.1:0\"]\n",
    )
    .unwrap();
    let mut logger = Running::start(
        in_directory(directory.path())
            .args([
                "node",
                "--config",
                "cluster-layout.zeek",
                "--with",
                "logger.toml",
            ])
            .env("CLUSTER_NODE", "logger-1"),
    );
    assert_eq!(
        logger.line_after("metrics "),
        format!("http://127.0.0.1:{}/metrics", ports[4])
    );
    assert_eq!(
        logger.line_after("listening "),
        format!("brokers://127.0.0.1:{}", ports[1])
    );
    let door = logger.line_after("listening ");
    assert!(door.starts_with("grpc://127.0.0.1:"), "{door}");
    logger.line_after("ready");

    let manager = member(directory.path(), "manager").await;
    let proxy = member(directory.path(), "proxy-1").await;
    let worker = member(directory.path(), "worker-1").await;
    assert!(
        worker.cluster_started(PATIENCE).await,
        "waits for {:?}",
        worker.waiting_for()
    );
    let schema = Schema {
        path: "test".to_owned(),
        columns: vec![Column::new("n", ColumnType::parse("count").unwrap())],
    };
    let mut log = worker.logs().stream(LogSpec::new(schema)).await.unwrap();
    for n in 0..1000 {
        log.write(&[LogValue::Count(n)]).await.unwrap();
    }
    assert!(worker.logs().drained(PATIENCE).await);
    let json = Done::of(broker().args(["status", &door, "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["name"], "logger-1");
    let mut peers: Vec<_> = status["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| peer["name"].as_str().unwrap().to_owned())
        .collect();
    peers.sort();
    assert_eq!(peers, ["manager", "proxy-1", "worker-1"]);
    for node in [worker, proxy, manager] {
        node.shutdown().await;
    }
    let done = logger.stop();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    // As Zeek's loggers do, it has rotated its file at its end.
    let file = std::fs::read_dir(directory.path().join("out/logger-1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with("test.20") && name.ends_with(".log"))
        .expect("a rotated file");
    let text = std::fs::read_to_string(directory.path().join("out/logger-1").join(file)).unwrap();
    let expected: String = (0..1000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    assert_eq!(text, expected);
}

/// `count` ports in a row that nobody listens on; zeekctl deals them out so.
fn ports_in_a_row(count: u16) -> u16 {
    let random = RandomState::new();
    (0u32..1000)
        .map(|n| 10_240 + u16::try_from(random.hash_one(n) % 20_000).unwrap())
        .find(|first| {
            let bound =
                (*first..first + count).map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
            bound.collect::<Result<Vec<_>, _>>().is_ok()
        })
        .unwrap()
}

#[test]
fn cluster_up_runs_the_nodes_of_a_node_cfg_at_the_ports_of_zeekctl() {
    let directory = tempfile::tempdir().unwrap();
    let first = ports_in_a_row(6);
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "node.cfg",
        "[worker-1]\ntype=worker\nhost=localhost\ninterface=eth0\nlb_method=af_packet\nlb_procs=2\npin_cpus=0\nenv_vars=BROKER_LOG=off\n[manager]\ntype=manager\nhost=localhost\n[proxy-1]\ntype=proxy\nhost=localhost\n",
    );
    write(
        "zeekctl.cfg",
        &format!("ZeekPort = {first}\nClusterBackend = Broker\n"),
    );
    let mut up = Running::start(
        in_directory(directory.path()).args(["cluster", "up", "--config", "node.cfg", "--no-tls"]),
    );
    let mut listening = Vec::new();
    loop {
        let line = up.line();
        if line == "ready" {
            break;
        }
        listening.extend(
            line.split_once(" listening ")
                .map(|(node, url)| (node.to_owned(), url.to_owned())),
        );
    }
    listening.sort();
    let expected: Vec<_> = ["manager", "proxy-1", "worker-1-1", "worker-1-2"]
        .iter()
        .zip(first + 1..)
        .map(|(name, port)| ((*name).to_owned(), format!("broker://127.0.0.1:{port}")))
        .collect();
    assert_eq!(listening, expected);
    Done::of(broker().args(["status", &expected[0].1])).ok();
    assert_eq!(up.stop().code, Some(0));
    // Without loggers the manager writes the logs, where the program was started.
    assert!(directory.path().join("logs/manager").is_dir());
}

#[test]
fn what_does_not_do_is_misuse_with_file_line_and_fix() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "cluster-layout.zeek",
        &generated(&[1, 2, 3, 4, 0]).replace("Cluster::PROXY", "Cluster::PROXI"),
    );
    write("right.zeek", &generated(&[1, 2, 3, 4, 0]));
    write("own.toml", "[node.manager]\nrole = \"manager\"\n");
    write("with.toml", "[cluster]\nlog_dirs = \"x\"\n");
    write(
        "node.cfg",
        "[m]\ntype=manager\nhost=localhost\n[p]\ntype=proxy\nhost=localhost\n",
    );
    write("zeekctl.cfg", "ClusterBackend = ZeroMQ\n");
    let cases: [(&[&str], &str); 8] = [
        (
            &["--config", "cluster-layout.zeek", "--name", "proxy-1"],
            "cluster-layout.zeek:7:28: \"Cluster::PROXI\" is no type of nodes",
        ),
        (
            &["--config", "right.zeek", "--name", "control"],
            "right.zeek: there is no node called \"control\"; use one of logger-1, manager, proxy-1, worker-1",
        ),
        (
            &[
                "--config",
                "right.zeek",
                "--name",
                "manager",
                "--with",
                "with.toml",
            ],
            "with.toml:2: unknown key \"log_dirs\" in [cluster]; did you mean \"log_dir\"?",
        ),
        (
            &[
                "--config",
                "right.zeek",
                "--name",
                "manager",
                "--layout-format",
                "toml",
            ],
            "right.zeek:2: not valid TOML",
        ),
        (
            &[
                "--config",
                "own.toml",
                "--name",
                "manager",
                "--with",
                "with.toml",
            ],
            "with.toml: only a layout of Zeek's takes settings from another file",
        ),
        (
            &["--config", "node.cfg", "--name", "m"],
            "zeekctl.cfg:1: its nodes speak ZeroMQ, not Broker; set ClusterBackend = Broker",
        ),
        (
            &[
                "--config",
                "own.toml",
                "--name",
                "manager",
                "--layout-format",
                "ini",
            ],
            "\"ini\" is no format of layouts (toml, node-cfg, zeek)",
        ),
        (
            &["--config", "own.toml", "--name", "manager", "--no-tls"],
            "own.toml: --no-tls is for layouts of Zeek's",
        ),
    ];
    for (args, expected) in cases {
        // What is passed over in the generated file is told, but is no mistake.
        let mut node = in_directory(directory.path());
        node.env("BROKER_LOG", "error").arg("node").args(args);
        let line = Done::of(&mut node).failed(2);
        assert!(line.contains(expected), "{line}\nwithout\n{expected}");
    }
    let line = Done::of(
        in_directory(directory.path())
            .env("ZEEK_DEFAULT_LISTEN_ADDRESS", "here")
            .args(["node", "--config", "right.zeek", "--name", "manager"]),
    )
    .failed(2);
    assert!(
        line.contains("ZEEK_DEFAULT_LISTEN_ADDRESS: \"here\" is no address"),
        "{line}"
    );
}
