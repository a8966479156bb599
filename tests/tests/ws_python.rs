//! Python programs against a node: Zeek's own clients `zeekpy` and `zeek-client`, unchanged, and the example of the
//! documentation.
//!
//! The packages come from PyPI, once per target directory. Where there is no Python 3.11, no pip or no PyPI, these tests
//! say so and do nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use broker_core::zeek::{Event, Message as ZeekMessage};
use broker_core::{
    Data, Endpoint, EnumValue, Filter, Message, PeerUrl, QueueOptions, Set, Subscriber, Topic,
};
use broker_tests::PATIENCE;
use broker_wire::WsTransport;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What is installed. `websockets` and `websocket-client` come along.
const PACKAGES: [&str; 2] = ["zeekpy==0.3.1", "zeek-client==1.5.0"];

/// The directory with the packages, or why there is none.
fn packages() -> Option<&'static Path> {
    static PACKAGES_DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PACKAGES_DIR.get_or_init(install) {
        Ok(directory) => Some(directory),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("python3")
            .args(arguments)
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
            .output()
            .map_err(|error| format!("python3: {error}"))?;
        if output.status.success() {
            Ok(())
        } else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(stderr.lines().last().unwrap_or("python3 failed").to_owned())
        }
    };
    run(&[
        "-c",
        "import sys; sys.exit(sys.version_info < (3, 11) and 'Python is older than 3.11')",
    ])?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-websocket");
    let complete = directory.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == PACKAGES.join(" ")) {
        return Ok(directory);
    }
    let fresh =
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).map_err(|error| error.to_string())?;
    let target = fresh.path().to_str().ok_or("the path is not UTF-8")?;
    let pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--retries",
        "1",
        "--timeout",
        "10",
        "--target",
        target,
    ];
    run(&[&pip[..], &PACKAGES].concat())?;
    std::fs::write(fresh.path().join("complete"), PACKAGES.join(" "))
        .map_err(|error| error.to_string())?;
    // Another run of these tests may have been faster.
    let _ = std::fs::rename(fresh.path(), &directory);
    if complete.exists() {
        Ok(directory)
    } else {
        Err("the packages could not be put in place".to_owned())
    }
}

fn python(packages: &Path, arguments: &[&str]) -> Child {
    Command::new("python3")
        .args(arguments)
        .env("PYTHONPATH", packages)
        .env("HOME", packages)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 was there before")
}

/// Waits for the end of a program, which must be a good one, and returns what it printed.
async fn finished(child: Child) -> String {
    let output = timeout(2 * PATIENCE, child.wait_with_output())
        .await
        .expect("in time")
        .expect("it runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}: {stdout}\n{stderr}",
        output.status
    );
    // Both clients log what goes wrong when they close.
    assert!(
        !stderr.contains("exception") && !stderr.contains("failed"),
        "{stderr}"
    );
    stdout.into_owned()
}

async fn node() -> (Endpoint, PeerUrl) {
    let node = Endpoint::builder()
        .name("node")
        .transport(WsTransport::new())
        .start();
    let url = node
        .listen(&"ws://127.0.0.1:0".parse().expect("a URL"))
        .await
        .expect("a free port");
    (node, url)
}

fn inbox(node: &Endpoint, prefix: &'static str) -> Subscriber {
    let filter = Filter::from_iter([Topic::from_static(prefix)]);
    node.subscribe(
        filter,
        QueueOptions::local().block_timeout(Duration::from_secs(60)),
    )
}

async fn next(inbox: &mut Subscriber) -> Message {
    timeout(PATIENCE, inbox.recv())
        .await
        .expect("in time")
        .expect("the node runs")
}

async fn publish(node: &Endpoint, topic: &'static str, data: Data) {
    node.publish(Message::new(Topic::from_static(topic), data))
        .await
        .expect("published");
}

fn event(name: &str, args: Vec<Data>) -> Data {
    Event::new(name, args).into_data()
}

const PING_PONG: &str = r#"
import sys
from zeekpy import Zeek, count

zeek = Zeek(sys.argv[1], topics=["/pings"], app_name="tests/zeekpy")

@zeek.on("ping")
def ping(text: str, number: count):
    zeek.publish("/pongs", "pong", [text + "!", count(number + 1)])
    if number == 99:
        zeek.stop()

with zeek:
    assert "-websocket-" in zeek.endpoint, zeek.endpoint
    zeek.publish("/ready", "ready", [])
    zeek.consume()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeekpy_subscribes_publishes_and_receives() {
    let Some(packages) = packages() else { return };
    let (node, url) = node().await;
    let (mut ready, mut pongs) = (inbox(&node, "/ready"), inbox(&node, "/pongs"));
    let client = python(packages, &["-c", PING_PONG, &url.to_string()]);
    assert_eq!(
        next(&mut ready).await.data().expect("a value"),
        &event("ready", Vec::new())
    );
    for number in 0..100u64 {
        publish(
            &node,
            "/pings",
            event("ping", vec!["hi".into(), number.into()]),
        )
        .await;
    }
    for number in 1..=100u64 {
        let expected = event("pong", vec!["hi!".into(), number.into()]);
        assert_eq!(next(&mut pongs).await.data().expect("a value"), &expected);
    }
    finished(client).await;
    node.shutdown().await;
}

const ALL_TYPES: &str = r#"
import datetime, ipaddress, sys
from zeekpy import Zeek, addr, count, enum, port, subnet

zeek = Zeek(sys.argv[1], topics=["/in"])

@zeek.on("all")
def all(b: bool, c: count, i: int, r: float, s: str, a4: addr, a6: addr, n: subnet, p: port, e: enum,
        t: datetime.datetime, d: datetime.timedelta, v: list[count], x: set[str], m: dict[str, count], o: str | None):
    zeek.publish("/out", "all", [b, c, i, r, s, a4, a6, n, p, e, t, d, v, x, m, o])
    zeek.stop()

with zeek:
    zeek.publish("/ready", "ready", [])
    zeek.consume()
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_goes_to_zeekpy_and_back() {
    let Some(packages) = packages() else { return };
    let (node, url) = node().await;
    let (mut ready, mut out) = (inbox(&node, "/ready"), inbox(&node, "/out"));
    let client = python(packages, &["-c", ALL_TYPES, &url.to_string()]);
    next(&mut ready).await;
    let text = |name: &str, data: &str| {
        let text = format!(r#"{{"@data-type":"{name}","data":{data}}}"#);
        broker_core::json::parse_value(text.as_bytes()).expect("a value")
    };
    let sent = event(
        "all",
        vec![
            true.into(),
            5u64.into(),
            Data::Integer(-5),
            2.5.into(),
            "é \"q\"\n\u{1}".into(),
            text("address", r#""192.0.2.1""#),
            text("address", r#""2001:db8::1""#),
            text("subnet", r#""192.0.2.0/24""#),
            text("port", r#""80/tcp""#),
            Data::Enum(EnumValue("Notice::LOG".into())),
            text("timestamp", r#""2023-11-14T22:13:20.500""#),
            text("timespan", r#""1500ms""#),
            Data::vector([Data::Count(1), Data::Count(2)]),
            Data::Set(Set::from_iter([Data::from("a"), Data::from("b")])),
            text(
                "table",
                r#"[{"key":{"@data-type":"string","data":"k"},"value":{"@data-type":"count","data":1}}]"#,
            ),
            Data::None,
        ],
    );
    publish(&node, "/in", sent.clone()).await;
    assert_eq!(next(&mut out).await.data().expect("a value"), &sent);
    finished(client).await;
    node.shutdown().await;
}

const FLOOD: &str = r#"
import sys
from zeekpy import Zeek, count

with Zeek(sys.argv[1]) as zeek:
    for number in range(100_000):
        zeek.publish("/flood", "n", [count(number)])
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_of_zeekpy_at_full_speed_arrive_without_a_cut() {
    let Some(packages) = packages() else { return };
    let (node, url) = node().await;
    let mut flood = inbox(&node, "/flood");
    let client = python(packages, &["-c", FLOOD, &url.to_string()]);
    for number in 0..100_000u64 {
        let message = next(&mut flood).await;
        assert_eq!(
            message.data().expect("a value"),
            &event("n", vec![number.into()])
        );
    }
    finished(client).await;
    assert_eq!(flood.counters().dropped_total(), 0);
    node.shutdown().await;
}

const LEAVE: &str = r#"
import sys
from zeekpy import Zeek, count

zeek = Zeek(sys.argv[1], topics=["/many"])

@zeek.on("n")
def n(number: count):
    if number == 10:
        zeek.publish("/last", "last", [number])
        raise KeyboardInterrupt

try:
    with zeek:
        zeek.publish("/ready", "ready", [])
        zeek.consume()
except KeyboardInterrupt:
    print("left")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeekpy_drains_and_closes_in_the_middle_of_a_stream() {
    let Some(packages) = packages() else { return };
    let (node, url) = node().await;
    let (mut ready, mut last) = (inbox(&node, "/ready"), inbox(&node, "/last"));
    let client = python(packages, &["-c", LEAVE, &url.to_string()]);
    next(&mut ready).await;
    for number in 0..5000u64 {
        publish(&node, "/many", event("n", vec![number.into()])).await;
    }
    assert_eq!(
        next(&mut last).await.data().expect("a value"),
        &event("last", vec![10u64.into()])
    );
    assert_eq!(finished(client).await.trim(), "left");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeek_client_gets_an_answer_through_the_node() {
    const CONTROLLER: &str = "zeek/management/controller";
    let Some(packages) = packages() else { return };
    let (node, url) = node().await;
    let mut requests = inbox(&node, CONTROLLER);
    let program = packages.join("bin/zeek-client");
    let program = program.to_str().expect("a path of ours");
    let controller = url.authority(0);
    let client = python(
        packages,
        &[program, "--controller", &controller, "get-instances"],
    );
    let request = next(&mut requests).await;
    let Ok(ZeekMessage::Event(request)) = ZeekMessage::from_data(request.data().expect("a value"))
    else {
        panic!("no event")
    };
    assert_eq!(
        request.name,
        "Management::Controller::API::get_instances_request"
    );
    let [id] = &request.args[..] else {
        panic!("not one argument: {request:?}")
    };
    let instance = Data::vector([
        Data::from("agent-1"),
        "192.0.2.1"
            .parse::<broker_core::Address>()
            .expect("an address")
            .into(),
        Data::None,
    ]);
    let result = Data::vector([
        id.clone(),
        true.into(),
        Data::None,
        Data::vector([instance]),
        Data::None,
        Data::None,
    ]);
    let answer = event(
        "Management::Controller::API::get_instances_response",
        vec![id.clone(), result],
    );
    publish(&node, CONTROLLER, answer).await;
    let printed: serde_json::Value = serde_json::from_str(&finished(client).await).expect("JSON");
    assert_eq!(
        printed,
        serde_json::json!({"agent-1": {"host": "192.0.2.1"}})
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_of_the_documentation_runs() {
    let Some(packages) = packages() else { return };
    let documentation = include_str!("../../docs/websocket.md");
    let (_, example) = documentation.split_once("```python\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    let (node, url) = node().await;
    let mut seen = inbox(&node, "/hosts/seen");
    let client = python(packages, &["-c", example, &url.to_string()]);
    let address: broker_core::Address = "192.0.2.7".parse().expect("an address");
    assert_eq!(
        next(&mut seen).await.data().expect("a value"),
        &Data::from(address)
    );
    publish(&node, "/hosts/new", "x".into()).await;
    publish(&node, "/hosts/end", 1u64.into()).await;
    let printed = finished(client).await;
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], format!("connected as {}-websocket-0", node.id()));
    assert_eq!(lines[1..], ["/hosts/new string x", "/hosts/end count 1"]);
    node.shutdown().await;
}
