//! What nodes of the real program write into `cluster.log`: WebSocket clients that come and go, stores, those of tables too.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod logging_lab;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use broker_core::{Filter, PeerUrl, Topic};
use broker_tests::Cluster;
use broker_wire::{WsClient, WsClientOptions};
use logging_lab::until;

/// A manager that writes the logs itself, and how its `cluster.log` reads.
struct Node {
    cluster: Cluster,
}

impl Node {
    fn lines(&self, name: &str) -> Vec<String> {
        let path = self
            .cluster
            .path()
            .join("logs")
            .join(name)
            .join("cluster.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split('\t').next_back().unwrap().to_owned())
            .collect()
    }

    /// Waits until a line of the manager's holds `text`, and returns it.
    async fn line(&self, text: &str) -> String {
        let find = || {
            let lines = self.lines("manager");
            lines.into_iter().find(|line| line.contains(text))
        };
        until(text, || find().is_some()).await;
        find().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn web_socket_clients_are_named_when_they_come_and_when_they_go() {
    let node = Node {
        cluster: Cluster::new(
            "[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\", \"ws://127.0.0.1:0\"]\n",
        ),
    };
    let (process, url) = node.cluster.node("manager");
    let listening = node.line("listening on").await;
    assert!(
        url.starts_with("grpc://") && listening.contains("127.0.0.1"),
        "{listening}"
    );
    let ws = ws_of(&url);
    let id = broker_id(&url);
    let topics = Filter::from_iter(["/b", "/a"].map(Topic::from_static));
    let options = WsClientOptions::new().application_name("dashboard");
    let client = WsClient::connect(&ws, &topics, &options).await.unwrap();
    let came = node.line("WebSocket client '").await;
    let name = format!("WebSocket client '{id}-websocket-0' (127.0.0.1:");
    assert!(came.starts_with(&name), "{came}");
    assert!(
        came.ends_with(") application_name=dashboard subscribed to [/a, /b]"),
        "{came}"
    );
    client.close().await.unwrap();
    let gone = node.line("gone with code").await;
    assert!(gone.starts_with(&name), "{gone}");
    assert!(
        gone.ends_with(") application_name=dashboard gone with code 1000"),
        "{gone}"
    );

    // One that breaks off, and before it one that is refused, which counts and of which nothing is said.
    drop(upgraded(&ws, "/elsewhere"));
    let mut stream = upgraded(&ws, "/v1/messages/json");
    // An unmasked frame would be none of a client's: this one is masked with zeros.
    stream.write_all(b"\x81\x82\0\0\0\0[]").unwrap();
    let name = format!("WebSocket client '{id}-websocket-2' (127.0.0.1:");
    let came = node.line(&name).await;
    assert!(came.ends_with(") subscribed to []"), "{came}");
    drop(stream);
    let gone = node.line("gone with code 1006").await;
    assert!(gone.starts_with(&name), "{gone}");
    assert!(gone.ends_with(" and reason 'Abnormal closure'"), "{gone}");
    assert!(
        !node
            .lines("manager")
            .iter()
            .any(|line| line.contains("-websocket-1'"))
    );
    process.signal("TERM");
    assert_eq!(process.wait().code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_a_layout_and_of_its_tables_are_named_where_they_are_made() {
    let ports = broker_tests::free_ports(1);
    let node = Node {
        cluster: Cluster::new(&format!(
            "[stores.hosts]\nbackend = \"memory\"\n[tables.\"Hosts::seen\"]\nbackend = \"memory\"\n\
             [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
             [node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n",
            ports[0]
        )),
    };
    let (manager, _) = node.cluster.node("manager");
    let (worker, _) = node.cluster.node("worker-1");
    for line in [
        "created master store: hosts",
        "created master store: ___sync_store_Hosts::seen",
        "created clone store: hosts",
        "created clone store: ___sync_store_Hosts::seen",
    ] {
        assert_eq!(node.line(line).await, line);
    }
    worker.signal("TERM");
    assert_eq!(worker.wait().code, Some(0));
    manager.signal("TERM");
    assert_eq!(manager.wait().code, Some(0));
}

fn status(url: &str) -> serde_json::Value {
    let text = broker_tests::Done::of(broker_tests::broker().args(["status", url, "--json"])).ok();
    serde_json::from_str(&text).unwrap()
}

/// The ID of the node behind `url`.
fn broker_id(url: &str) -> String {
    status(url)["id"].as_str().unwrap().to_owned()
}

/// The WebSocket address of the node behind `url`.
fn ws_of(url: &str) -> PeerUrl {
    let status = status(url);
    let listening = status["listening"].as_array().unwrap();
    let mut urls = listening.iter().filter_map(serde_json::Value::as_str);
    urls.find(|url| url.starts_with("ws://"))
        .unwrap()
        .parse()
        .unwrap()
}

/// A connection that has been upgraded.
fn upgraded(url: &PeerUrl, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect((url.host(), url.port().unwrap())).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}
