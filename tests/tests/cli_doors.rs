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
