//! One node, all doors: what arrives on any transport reaches subscribers on any other, once.

use broker_tests::{Cluster, Done, Running, broker};

/// A kind of URL, and what a command is behind it.
const DOORS: [&str; 3] = ["grpc", "broker", "ws"];

/// A relay for `/shared` behind every door.
fn node() -> (Running, Vec<String>) {
    Cluster::relay_on(&DOORS, &["--subscribe", "/shared", "--name", "node"])
}

fn subscriber(url: &str) -> Running {
    let mut running = Running::start(broker().args(["sub", url, "/shared", "--json"]));
    running.stderr_line("subscribed");
    running
}

#[test]
fn what_comes_in_at_one_door_goes_out_at_every_other_once() {
    let (_node, urls) = node();
    let subs: Vec<_> = urls.iter().map(|url| subscriber(url)).collect();
    for (number, url) in urls.iter().enumerate() {
        let (first, second) = (number.to_string(), format!("{}u", number));
        Done::of(broker().args(["pub", url, "/shared/values", &first, &second])).ok();
        Done::of(broker().args(["event", url, "/shared/events", "My::event", &first])).ok();
    }
    // The last message of all, so that whoever has it has everything before it.
    Done::of(broker().args(["pub", &urls[0], "/shared/end", "true"])).ok();
    let mut printed = Vec::new();
    for mut sub in subs {
        let mut lines = vec![sub.line()];
        while !lines
            .last()
            .is_some_and(|line| line.contains("/shared/end"))
        {
            lines.push(sub.line());
        }
        assert_eq!(sub.stop().ok(), "");
        assert_eq!(lines.len(), 3 * urls.len() + 1, "{lines:#?}");
        printed.push(lines);
    }
    for (lines, door) in printed.iter().zip(DOORS) {
        assert_eq!(lines, &printed[0], "{door}");
    }
}

#[test]
fn a_message_of_each_kind_is_the_same_at_every_door() {
    let (_node, urls) = node();
    let values = [
        "-5",
        "5u",
        "1.5",
        "true",
        "10.0.0.1",
        "10.0.0.0/8",
        "80/tcp",
        "5s",
        "\"text\"",
        "[1, \"a\"]",
        r#"{"@data-type":"enum-value","data":"A::B"}"#,
        r#"{"@data-type":"none","data":{}}"#,
        r#"{"@data-type":"timestamp","data":"2026-01-02T03:04:05.678"}"#,
        r#"{"@data-type":"set","data":[{"@data-type":"count","data":1}]}"#,
        r#"{"@data-type":"table","data":[{"key":{"@data-type":"count","data":1},"value":{"@data-type":"string","data":"x"}}]}"#,
    ];
    for url in &urls {
        let mut subs: Vec<_> = urls.iter().map(|url| subscriber(url)).collect();
        Done::of(broker().args(["pub", url, "/shared"]).args(values)).ok();
        let expected: Vec<_> = values.iter().map(|_| subs[0].line()).collect();
        for sub in &mut subs[1..] {
            let lines: Vec<_> = values.iter().map(|_| sub.line()).collect();
            assert_eq!(lines, expected);
        }
    }
}

#[test]
fn what_is_published_at_one_door_does_not_come_back_there() {
    let (_node, urls) = node();
    for url in &urls {
        // The event goes to whoever else is there, once; the command itself subscribes to nothing and prints nothing.
        let mut sub = subscriber(url);
        let done = Done::of(broker().args(["pub", url, "/shared/self", "1"]));
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""));
        assert_eq!(done.stderr, "");
        Done::of(broker().args(["pub", url, "/shared/end", "1"])).ok();
        assert!(sub.line().contains("/shared/self"));
        assert!(sub.line().contains("/shared/end"));
    }
}

#[test]
fn status_over_a_websocket_is_the_id_the_version_and_the_round_trip() {
    let (_node, urls) = node();
    let status = |url: &str| -> serde_json::Value {
        serde_json::from_str(&Done::of(broker().args(["status", url, "--json"])).ok())
            .expect("json")
    };
    let [grpc, peer, socket] = [0, 1, 2].map(|door| status(&urls[door]));
    assert_eq!(grpc["id"], peer["id"]);
    assert_eq!(grpc["id"], socket["id"]);
    assert_eq!(grpc["version"], peer["version"]);
    assert!(socket["version"].is_string(), "{socket}");
    assert!(socket["rtt_us"].as_f64().is_some_and(|rtt| rtt > 0.0));
    for key in [
        "subscriptions",
        "stores",
        "peers",
        "listening",
        "uptime_s",
        "logs",
    ] {
        assert!(socket[key].is_null(), "{key}: {socket}");
    }
    assert_eq!(grpc["listening"].as_array().map(Vec::len), Some(3));
    let text = Done::of(broker().args(["status", &urls[2]])).ok();
    assert!(text.contains("round trip"), "{text}");
}

#[test]
fn stores_do_not_go_over_a_websocket() {
    let line = Done::of(broker().args(["store", "ws://127.0.0.1:1", "s", "keys"])).failed(2);
    assert!(line.contains("ws://") && line.contains("broker"), "{line}");
}

#[test]
fn a_websocket_door_with_a_token_opens_to_those_who_show_it() {
    let (_node, urls) =
        Cluster::relay_on(&["ws"], &["--subscribe", "/shared", "--ws-token", "hush"]);
    let url = &urls[0];
    for command in [
        &["status", url][..],
        &["pub", url, "/shared", "1"],
        &["event", url, "/shared", "e"],
        &["sub", url, "/shared"],
    ] {
        for token in [None, Some("wrong")] {
            let mut command_line = broker();
            command_line.arg(command[0]);
            if let Some(token) = token {
                command_line.args(["--token", token]);
            }
            let line = Done::of(command_line.args(&command[1..])).failed(1);
            assert!(line.contains(url) && line.contains("token"), "{line}");
        }
    }
    Done::of(broker().args(["status", url, "--token", "hush"])).ok();
    Done::of(
        broker()
            .args(["pub", url, "/shared", "1"])
            .env("BROKER_WS_TOKEN", "hush"),
    )
    .ok();
}

#[test]
fn a_node_shows_a_token_to_others_only_if_told_to() {
    let (_asks, urls) = Cluster::relay_on(&["ws"], &["--ws-token", "hush"]);
    let leaf = |option: &str| Cluster::relay(&["--peer", &urls[0], option, "hush"]);
    let (mut silent, _) = leaf("--ws-token");
    silent.stderr_line("token");
    let (mut shows, _) = leaf("--ws-peer-token");
    shows.stderr_line("peer added");
}

#[test]
fn an_open_websocket_door_must_be_asked_for() {
    let node = |more: &[&str]| {
        let mut command = broker();
        command
            .args(["node", "--listen", "ws://0.0.0.0:0"])
            .args(more);
        command
    };
    let line = Done::of(&mut node(&[])).failed(2);
    assert!(line.contains("--ws-token"), "{line}");
    for more in [&["--ws-allow-unauthenticated"][..], &["--ws-token", "hush"]] {
        let mut running = Running::start(&mut node(more));
        running.line_after("ready");
        assert_eq!(running.stop().code, Some(0));
    }
}

#[test]
fn a_websocket_that_is_none_or_whose_node_goes_is_told_in_one_line() {
    let (_node, urls) = node();
    let url = urls[0].replace("grpc://", "ws://");
    let line = Done::of(broker().args(["pub", &url, "/t", "1"])).failed(1);
    assert!(line.contains(&url), "{line}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let line = Done::of(broker().args(["sub", &url, "/t"])).failed(1);
    assert!(line.contains(&url) && line.contains("refused"), "{line}");
    let line =
        Done::of(broker().args(["pub", &urls[2].replace("/v1/", "/v2/"), "/t", "1"])).failed(1);
    assert!(line.contains("URI") || line.contains("path"), "{line}");

    let (node, urls) = node();
    let mut publisher = Running::start(broker().args(["pub", &urls[2], "--stdin"]));
    publisher.write("{\"topic\":\"/shared/go\",\"data\":{\"@data-type\":\"count\",\"data\":1}}\n");
    let mut sub = subscriber(&urls[2]);
    Done::of(broker().args(["pub", &urls[0], "/shared", "1"])).ok();
    sub.line();
    node.stop().ok();
    for running in [publisher, sub] {
        let done = running.wait_open();
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains("shut down"), "{done:?}");
    }
}

#[test]
fn many_lines_go_through_a_websocket_without_loss() {
    const LINES: usize = 20_000;
    let (_node, urls) = node();
    let mut sub =
        Running::start(broker().args(["sub", &urls[2], "/shared", "--count", &LINES.to_string()]));
    sub.stderr_line("subscribed");
    let mut publisher = Running::start(broker().args(["pub", &urls[2], "--stdin"]));
    for first in (0..LINES).step_by(1000) {
        publisher.write(
            (first..first + 1000)
                .map(|n| format!("{{\"topic\":\"/shared\",\"data\":{{\"@data-type\":\"integer\",\"data\":{n}}}}}\n"))
                .collect::<String>(),
        );
    }
    publisher.wait().ok();
    for n in 0..LINES {
        assert_eq!(sub.line(), format!("/shared\t{n}"));
    }
}

#[test]
fn a_relay_joins_another_node_through_its_websocket_door() {
    let (_zeek, urls) = node();
    let (_leaf, leaf) = Cluster::relay(&[
        "--peer",
        &format!("{}?send=/shared", urls[2]),
        "--subscribe",
        "/shared",
    ]);
    // The peering is made in the background.
    let deadline = std::time::Instant::now() + broker_tests::PATIENCE;
    loop {
        assert!(std::time::Instant::now() < deadline, "no peering");
        let json = Done::of(broker().args(["status", &leaf, "--json"])).ok();
        let status: serde_json::Value = serde_json::from_str(&json).expect("json");
        if status["peers"][0]["state"] == "peered" {
            break;
        }
    }
    let mut there = subscriber(&urls[0]);
    Done::of(broker().args(["event", &leaf, "/shared/up", "My::event", "1"])).ok();
    assert!(there.line().contains("/shared/up"));
    let mut here = subscriber(&leaf);
    Done::of(broker().args(["event", &urls[1], "/shared/down", "My::event", "2"])).ok();
    assert!(here.line().contains("/shared/down"));
}
