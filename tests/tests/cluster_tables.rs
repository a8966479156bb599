//! The users' documentation's broker-backed table with the real program: the master on the manager, clones on the other
//! nodes, reads from the local copy, and everything back after the manager was killed.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;

use broker_tests::{Cluster, Done, broker, free_ports};

const STORE: &str = "___sync_store_Hosts::seen";

fn store(url: &str, args: &[&str]) -> Done {
    Done::of(broker().args(["store", url, STORE]).args(args))
}

/// Repeats a question until it is answered so: clones follow their master a moment later.
fn until(url: &str, args: &[&str], expected: &str) {
    let begun = std::time::Instant::now();
    loop {
        let done = store(url, args);
        if done.code == Some(0) && done.stdout.trim() == expected {
            return;
        }
        assert!(
            begun.elapsed().as_secs() < 30,
            "{args:?} at {url}: {done:?}"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_broker_backed_table_is_on_every_node_and_survives_the_manager() {
    let ports = free_ports(3);
    let node = |name: &str, role: &str, port: u16| {
        format!("[node.{name}]\nrole = \"{role}\"\nlisten = [\"grpc://127.0.0.1:{port}\"]\n")
    };
    let cluster = Cluster::new(&format!(
        "[cluster]\ntable_dir = \"tables\"\n[tables.\"Hosts::seen\"]\nbackend = \"sqlite\"\n{}{}{}",
        node("manager", "manager", ports[0]),
        node("worker-1", "worker", ports[1]),
        node("worker-2", "worker", ports[2]),
    ));
    // The order does not matter.
    let (first, first_url) = cluster.node("worker-1");
    let (manager, manager_url) = cluster.node("manager");
    let (second, second_url) = cluster.node("worker-2");

    // table["alpha"] = 1 at one worker.
    store(&first_url, &["put", "\"alpha\"", "1u"]).ok();
    until(&second_url, &["get", "\"alpha\""], "1u");
    until(&manager_url, &["get", "\"alpha\""], "1u");
    store(&second_url, &["put", "\"beta\"", "2u"]).ok();
    store(&manager_url, &["put", "\"gamma\"", "3u"]).ok();
    until(&first_url, &["keys"], "\"alpha\"\n\"beta\"\n\"gamma\"");
    let status = Done::of(broker().args(["status", "--json", &second_url])).ok();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let entry = status["stores"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == STORE)
        .unwrap();
    assert_eq!(
        (&entry["role"], &entry["entries"]),
        (&"clone".into(), &3.into())
    );
    let file = Path::new("tables").join(format!("{STORE}.sqlite"));
    assert!(cluster.path().join(file).exists());

    // Killed, not stopped: reads go on at the workers.
    manager.signal("KILL");
    drop(manager);
    store(&first_url, &["get", "\"beta\""]).ok();
    let (manager, manager_url) = cluster.node("manager");
    until(&manager_url, &["keys"], "\"alpha\"\n\"beta\"\n\"gamma\"");
    store(&manager_url, &["erase", "\"alpha\""]).ok();
    until(&first_url, &["keys"], "\"beta\"\n\"gamma\"");
    until(&second_url, &["keys"], "\"beta\"\n\"gamma\"");
    for node in [first, second, manager] {
        assert_eq!(node.stop().code, Some(0));
    }
}
