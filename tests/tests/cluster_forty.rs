//! A cluster of 40 processes under a tenth of the load that `broker bench cluster` puts on it: the manager, a third of the
//! proxies and a logger are killed while it runs, and everything adds up.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use broker_tests::{Done, broker};
use serde_json::Value;

#[test]
fn forty_nodes_lose_manager_proxies_and_a_logger_and_everything_adds_up() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let done = Done::of(
        broker()
            .args(["bench", "cluster", "--scale", "0.1", "--json", "--out"])
            .arg(&out),
    );
    let progress = done.stderr.clone();
    let summary: Value = serde_json::from_str(&done.ok()).unwrap();
    let count = |path: &str| {
        let value = summary.pointer(path);
        value
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{path} in {summary}"))
    };
    assert_eq!(count("/nodes"), 40);
    assert_eq!(
        summary["killed"],
        serde_json::json!(["manager", "proxy-1", "proxy-2", "logger-1"])
    );
    for name in ["manager", "proxy-1", "proxy-2", "logger-1"] {
        assert!(progress.contains(&format!("{name} is back")), "{progress}");
    }

    assert_eq!(count("/records/distinct"), 100_000);
    assert_eq!(count("/records/acknowledged"), 100_000);
    assert_eq!(count("/records/missing") + count("/records/foreign"), 0);
    assert_eq!(
        count("/records/duplicates"),
        count("/records/duplicates_by_batch")
    );
    assert_eq!(count("/keyed_events/published"), 75_000);
    assert_eq!(count("/keyed_events/counted"), 75_000);
    assert_eq!(count("/orders/taken"), 25_000);
    // Each proxy had its part, those that were killed included.
    let proxies = summary["keyed_events"]["by_proxy"].as_object().unwrap();
    assert_eq!(proxies.len(), 6);
    assert!(
        proxies
            .values()
            .all(|counted| counted.as_u64() > Some(1000)),
        "{proxies:?}"
    );

    // The files themselves, counted again: lines of all loggers, less those that are there twice.
    let mut lines = 0;
    for logger in ["logger-1", "logger-2", "logger-3"] {
        for entry in std::fs::read_dir(out.join(logger)).unwrap() {
            let path = entry.unwrap().path();
            // What nodes say about themselves is beside it.
            let own = path.ends_with("cluster.log") || path.ends_with("broker.log");
            if !own && path.extension().is_some_and(|suffix| suffix == "log") {
                let text = std::fs::read_to_string(path).unwrap();
                lines += text.lines().filter(|line| !line.starts_with('#')).count() as u64;
            }
        }
    }
    assert_eq!(lines - count("/records/duplicates"), 100_000);
    assert!(count("/memory/peak_of_one_bytes") > 1 << 20);
    assert!(count("/memory/open_files_of_one") < 512);
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mine.txt"), "x").unwrap();
    let mut bench = broker();
    bench
        .args(["bench", "cluster", "--scale", "0.001", "--out"])
        .arg(directory.path());
    let line = Done::of(&mut bench).failed(2);
    assert!(line.contains("is not empty"), "{line}");
    let mut bench = broker();
    bench.args(["bench", "cluster", "--scale", "0"]);
    let line = Done::of(&mut bench).failed(2);
    assert!(line.contains("expected a factor"), "{line}");
}
