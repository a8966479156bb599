//! `pub`, `event` and `sub` over a node that relays.

use std::time::{Duration, Instant};

use broker_tests::{Cluster, Done, Running, broker};

/// A subscriber that is in place.
fn subscriber(args: &[&str]) -> Running {
    let mut running = Running::start(broker().arg("sub").args(args));
    running.stderr_line("subscribed");
    running
}

#[test]
fn what_is_published_is_printed_in_shorthand_that_can_be_pasted_back() {
    let (_node, url) = Cluster::relay(&[]);
    let values = [
        "5",
        "-5",
        "5u",
        "1.5",
        "true",
        "10.0.0.1",
        "2001:db8::1",
        "10.0.0.0/8",
        "80/tcp",
        "5s",
        "\"text\"",
        "[1, \"a\", 5s]",
        r#"{"@data-type":"enum-value","data":"A::B"}"#,
        r#"{"@data-type":"none","data":{}}"#,
        r#"{"@data-type":"set","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":2}]}"#,
    ];
    let sub = subscriber(&[&url, "/test", "--count", &values.len().to_string()]);
    Done::of(broker().args(["pub", &url, "/test/values"]).args(values)).ok();
    let printed = sub.wait().ok();
    let expected: String = values
        .iter()
        .map(|value| format!("/test/values\t{value}\n"))
        .collect();
    assert_eq!(printed, expected);
}

#[test]
fn any_other_text_is_a_string() {
    let (_node, url) = Cluster::relay(&[]);
    let sub = subscriber(&[&url, "/t", "--count", "2"]);
    Done::of(broker().args(["pub", &url, "/t", "hello world", "1.2.3"])).ok();
    assert_eq!(sub.wait().ok(), "/t\t\"hello world\"\n/t\t\"1.2.3\"\n");
}

#[test]
fn json_lines_of_one_node_can_be_published_at_another() {
    let (_left, left) = Cluster::relay(&[]);
    let (_right, right) = Cluster::relay(&[]);
    let sub = subscriber(&[&left, "/a", "--count", "3", "--json"]);
    Done::of(broker().args(["pub", &left, "/a/1", "5u", "0.1"])).ok();
    Done::of(broker().args([
        "event",
        &left,
        "/a/2",
        "My::event",
        "5u",
        "[10.0.0.1, 80/tcp]",
    ]))
    .ok();
    let lines = sub.wait().ok();
    let parsed: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert_eq!(
        parsed[0],
        serde_json::json!({"topic": "/a/1", "data": {"@data-type": "count", "data": 5}})
    );
    assert_eq!(
        parsed[1]["data"],
        serde_json::json!({"@data-type": "real", "data": 0.1})
    );
    assert_eq!(parsed[2]["topic"], "/a/2");
    assert_eq!(parsed[2]["data"]["@data-type"], "vector");
    assert_eq!(parsed[2]["event"]["name"], "My::event");
    assert_eq!(
        parsed[2]["event"]["args"][0],
        serde_json::json!({"@data-type": "count", "data": 5})
    );
    assert_eq!(
        parsed[2]["event"]["args"][1]["data"][1],
        serde_json::json!({"@data-type": "port", "data": "80/tcp"})
    );

    let again = subscriber(&[&right, "/a", "--count", "3", "--json"]);
    let mut publisher = Running::start(broker().args(["pub", &right, "--stdin"]));
    publisher.write(&lines);
    publisher.wait().ok();
    assert_eq!(again.wait().ok(), lines);
}

#[test]
fn a_bad_line_of_stdin_is_named_and_those_before_it_are_published() {
    let (_node, url) = Cluster::relay(&[]);
    let sub = subscriber(&[&url, "/t", "--count", "1"]);
    let mut publisher = Running::start(broker().args(["pub", &url, "--stdin"]));
    publisher
        .write("{\"topic\":\"/t\",\"data\":{\"@data-type\":\"count\",\"data\":1}}\nnonsense\n");
    let line = publisher.wait().failed(1);
    assert!(line.contains("stdin:2"), "{line}");
    assert_eq!(sub.wait().ok(), "/t\t1u\n");
}

#[test]
fn two_relays_pass_on_what_the_other_asked_for() {
    let (_hub, hub) = Cluster::relay(&["--subscribe", "/shared"]);
    let (_leaf, leaf) = Cluster::relay(&["--peer", &hub, "--subscribe", "/shared"]);
    // The peering is made in the background.
    await_peers(&hub, 1);
    let sub = subscriber(&[&leaf, "/shared", "--count", "1", "--timeout", "30"]);
    Done::of(broker().args(["pub", &hub, "/shared/x", "1"])).ok();
    assert_eq!(sub.wait().ok(), "/shared/x\t1\n");
}

#[test]
fn without_enough_messages_in_time_the_exit_code_is_1() {
    let (_node, url) = Cluster::relay(&[]);
    let done = Done::of(broker().args(["sub", &url, "/t", "--count", "1", "--timeout", "0.3"]));
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("only 0 of 1"), "{}", done.stderr);
    let started = Instant::now();
    let done = Done::of(broker().args(["sub", &url, "/t", "--timeout", "0.3"]));
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), ""));
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_subscriber_stops_on_sigterm_with_what_it_has() {
    let (_node, url) = Cluster::relay(&[]);
    let mut sub = subscriber(&[&url, "/t"]);
    Done::of(broker().args(["pub", &url, "/t", "1"])).ok();
    assert_eq!(sub.line(), "/t\t1");
    assert_eq!(sub.stop().ok(), "");
}

#[test]
fn a_subscriber_whose_node_ends_fails_with_one_line() {
    let (node, url) = Cluster::relay(&[]);
    let sub = subscriber(&[&url, "/t"]);
    node.stop().ok();
    assert!(sub.wait().failed(1).contains(&url));
}

#[test]
fn a_subscriber_whose_reader_has_gone_ends_with_success() {
    let (_node, url) = Cluster::relay(&[]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = broker();
    let mut child = command
        .args(["sub", &url, "/t"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    drop(command);
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).expect("a line");
    assert_eq!(line, "subscribed\n");
    drop(reader);
    Done::of(broker().args(["pub", &url, "/t", "1"])).ok();
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn subscribers_see_only_their_prefixes_in_the_order_published() {
    let (_node, url) = Cluster::relay(&[]);
    let sub = subscriber(&[&url, "/a", "/b", "--count", "200"]);
    let mut publisher = Running::start(broker().args(["pub", &url, "--stdin"]));
    let mut expected = String::new();
    for number in 0..300 {
        let topic = ["/a", "/b/x", "/c"][number % 3];
        publisher.write(format!(
            "{{\"topic\":\"{topic}\",\"data\":{{\"@data-type\":\"integer\",\"data\":{number}}}}}\n"
        ));
        if topic != "/c" {
            expected.push_str(&format!("{topic}\t{number}\n"));
        }
    }
    publisher.wait().ok();
    assert_eq!(sub.wait().ok(), expected);
}

/// Waits until the node at `url` has `count` peers.
fn await_peers(url: &str, count: usize) {
    let deadline = Instant::now() + broker_tests::PATIENCE;
    loop {
        let status: serde_json::Value =
            serde_json::from_str(&Done::of(broker().args(["status", url, "--json"])).ok())
                .expect("json");
        if status["peers"]
            .as_array()
            .is_some_and(|peers| peers.len() >= count)
        {
            return;
        }
        assert!(Instant::now() < deadline, "no peers: {status}");
    }
}
