//! `pub`, `event`, `sub` and `status` over `broker://`: the command is a peer of the node.

use std::num::NonZeroUsize;
use std::time::Duration;

use broker_core::{Endpoint, Filter, QueueOptions, Topic};
use broker_tests::{Cluster, Done, Running, broker};
use broker_wire::NativeTransport;

/// A relay for `/shared` that listens on `broker://`.
fn relay(args: &[&str]) -> (Running, String) {
    let (node, mut urls) = Cluster::relay_on(
        &["broker"],
        &[&["--subscribe", "/shared", "--name", "relay"], args].concat(),
    );
    (node, urls.remove(0))
}

/// A subscriber that is in place.
fn subscriber(args: &[&str]) -> Running {
    let mut running = Running::start(broker().arg("sub").args(args));
    running.stderr_line("subscribed");
    running
}

fn line(number: usize) -> String {
    format!(
        "{{\"topic\":\"/shared/n\",\"data\":{{\"@data-type\":\"integer\",\"data\":{number}}}}}\n"
    )
}

#[test]
fn values_and_events_pass_through_a_relay_that_asked_for_them() {
    let (_node, url) = relay(&[]);
    let sub = subscriber(&[&url, "/shared", "--count", "4"]);
    Done::of(broker().args(["pub", &url, "/shared/a", "5u", "[10.0.0.1, 80/tcp]", "text"])).ok();
    Done::of(broker().args(["event", &url, "/shared/b", "My::event", "1"])).ok();
    let printed = sub.wait().ok();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "/shared/a\t5u",
            "/shared/a\t[10.0.0.1, 80/tcp]",
            "/shared/a\t\"text\""
        ]
    );
    assert!(lines[3].contains("My::event"), "{printed}");
}

#[test]
fn what_nobody_asked_for_is_said_and_is_no_failure() {
    let (_node, url) = relay(&[]);
    let done = Done::of(broker().args(["pub", &url, "/elsewhere", "1"]));
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (Some(0), "broker: nobody was interested\n")
    );
    let mut publisher = Running::start(broker().args(["pub", &url, "--stdin"]));
    publisher.write(format!(
        "{}{}",
        line(1),
        line(2).replace("/shared", "/else")
    ));
    let done = publisher.wait();
    assert_eq!(
        (done.code, done.stderr.as_str()),
        (
            Some(0),
            "broker: nobody was interested in 1 of 2 messages\n"
        )
    );
}

#[test]
fn commands_leave_with_a_goodbye() {
    let (mut node, url) = relay(&[]);
    Done::of(broker().args(["pub", &url, "/shared", "1"])).ok();
    node.stderr_line("peer left");
    let sub = subscriber(&[&url, "/shared"]);
    sub.stop().ok();
    node.stderr_line("peer left");
    let sub = subscriber(&[&url, "/shared", "--count", "1"]);
    Done::of(broker().args(["pub", &url, "/shared", "1"])).ok();
    sub.wait().ok();
    node.stderr_line("peer left");
    let left = node.stop();
    assert!(!left.stderr.contains("peer lost"), "{}", left.stderr);
}

#[tokio::test]
async fn not_one_of_many_lines_is_lost_at_a_slow_peer() {
    const LINES: usize = 100_000;
    let peer = Endpoint::builder()
        .transport(NativeTransport::new())
        .start();
    // A queue so short that the publisher has to wait again and again.
    let short = QueueOptions::local()
        .max_messages(NonZeroUsize::new(16).expect("not zero"))
        .block_timeout(Duration::MAX);
    let mut inbox = peer.subscribe(Filter::from_iter([Topic::from_static("/shared")]), short);
    let url = peer
        .listen(&"broker://127.0.0.1:0".parse().expect("a URL"))
        .await
        .expect("listens")
        .to_string();
    let publisher = tokio::task::spawn_blocking(move || {
        let mut publisher = Running::start(broker().args(["pub", &url, "--stdin"]));
        for first in (0..LINES).step_by(1000) {
            publisher.write((first..first + 1000).map(line).collect::<String>());
        }
        publisher.wait().ok();
    });
    for number in 0..LINES {
        let message = inbox.recv().await.expect("a message");
        assert_eq!(
            message.data().expect("a value").as_integer(),
            Some(number as i64)
        );
    }
    publisher.await.expect("it publishes");
    assert!(inbox.try_recv().is_none());
}

#[test]
fn a_peer_that_is_lost_in_the_middle_is_one_line_and_exit_1() {
    for signal in ["KILL", "TERM"] {
        let (mut node, url) = relay(&[]);
        let sub = subscriber(&[&url, "/shared/else"]);
        let mut publisher = Running::start(broker().args(["pub", &url, "--stdin"]));
        publisher.write(line(1));
        node.stderr_line("peer added");
        node.stderr_line("peer added");
        node.signal(signal);
        drop(node.wait());
        // Its stdin is still open: the publisher does not wait for the end of it.
        let why = if signal == "TERM" {
            "shut down"
        } else {
            "lost"
        };
        for (what, running) in [("pub", publisher.wait_open()), ("sub", sub.wait_open())] {
            let line = running.failed(1);
            assert!(
                line.contains(what) && line.contains(&url) && line.contains(why),
                "{line}"
            );
        }
    }
}

#[test]
fn status_shows_what_a_peer_can_see_and_null_for_the_rest() {
    let (_node, url) = relay(&[]);
    let json = Done::of(broker().args(["status", &url, "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&json).expect("json");
    let mut keys: Vec<_> = status
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    keys.sort();
    assert_eq!(
        keys.join(" "),
        "id listening logs name peers protocol_version rtt_us stores subscriptions uptime_s version"
    );
    assert_eq!(status["name"], "relay");
    assert_eq!(status["subscriptions"], serde_json::json!(["/shared"]));
    assert_eq!(status["protocol_version"], 2);
    assert_eq!(status["stores"], serde_json::json!([]));
    assert!(status["rtt_us"].as_f64().is_some_and(|rtt| rtt > 0.0));
    assert!(
        status["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("broker-rs "))
    );
    for key in ["uptime_s", "listening", "peers", "logs"] {
        assert!(status[key].is_null(), "{key}: {json}");
    }
    let text = Done::of(broker().args(["status", &url])).ok();
    for part in ["relay", "/shared", "round trip", "version 2"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_stores_of_a_peer_are_seen_by_its_filter() {
    let cluster = Cluster::new(
        "[cluster]\nname = \"test\"\n[stores.hosts]\nbackend = \"memory\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"broker://127.0.0.1:0\"]\n",
    );
    let (_manager, url) = cluster.node("manager");
    let json = Done::of(broker().args(["status", &url, "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!(
        status["stores"],
        serde_json::json!([{
            "name": "hosts", "role": "master", "backend": null, "entries": null,
            "revision": null, "lag": null, "digest": null, "freshness": null
        }])
    );
}

#[test]
fn a_node_that_speaks_something_else_or_nothing_is_named() {
    let (_node, grpc) = Cluster::relay(&[]);
    let url = grpc.replace("grpc://", "broker://");
    let line = Done::of(broker().args(["pub", &url, "/t", "1"])).failed(1);
    assert!(line.contains(&url), "{line}");
    let (_node, native) = relay(&[]);
    let url = native.replace("broker://", "grpc://");
    let line = Done::of(broker().args(["pub", &url, "/t", "1"])).failed(1);
    assert!(line.contains(&url), "{line}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("broker://{}", listener.local_addr().expect("bound"));
    drop(listener);
    for command in [
        &["status", &url][..],
        &["sub", &url, "/a"],
        &["pub", &url, "/a", "1"],
        &["event", &url, "/a", "e"],
    ] {
        let line = Done::of(broker().args(command)).failed(1);
        assert!(line.contains(&url) && line.contains("refused"), "{line}");
    }
}
