//! `cluster up`, `status` and `stop` of one layout.

use std::path::PathBuf;
use std::process::Command;

use broker_tests::{Cluster, Done, Running, broker, free_ports};

fn layout(ports: &[u16]) -> String {
    format!(
        "[cluster]\nname = \"lab\"\n[stores.hosts]\nbackend = \"memory\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
         [node.logger-1]\nrole = \"logger\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
         [node.proxy-1]\nrole = \"proxy\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n\
         [node.worker-1]\nrole = \"worker\"\n",
        ports[0], ports[1], ports[2]
    )
}

fn cluster(command: &str, cluster: &Cluster) -> Command {
    let mut program = broker();
    program
        .args(["cluster", command, "--config"])
        .arg(cluster.path().join("cluster.toml"));
    program
}

/// Starts all nodes and waits until they are ready.
fn up(of: &Cluster, args: &[&str]) -> (Running, Vec<String>) {
    let mut running = Running::start(cluster("up", of).args(["--log-level", "warn"]).args(args));
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "ready") {
        lines.push(running.line());
    }
    (running, lines)
}

/// The status once it is as `good` wants it.
fn status_when(
    of: &Cluster,
    good: impl Fn(&serde_json::Value, Option<i32>) -> bool,
) -> serde_json::Value {
    let begun = std::time::Instant::now();
    loop {
        let done = Done::of(cluster("status", of).arg("--json"));
        let status: serde_json::Value = serde_json::from_str(&done.stdout).expect("json");
        if good(&status, done.code) {
            return status;
        }
        assert!(begun.elapsed() < broker_tests::PATIENCE, "{status:#}");
    }
}

fn find<'a>(status: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let nodes = status["nodes"].as_array().expect("nodes");
    nodes
        .iter()
        .find(|node| node["name"] == name)
        .expect("the node")
}

fn left_behind(of: &Cluster) -> Vec<PathBuf> {
    std::fs::read_dir(of.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.ends_with(".lock") || name.ends_with(".sock")
        })
        .collect()
}

#[test]
fn a_cluster_is_started_looked_at_and_stopped() {
    let lab = Cluster::new(&layout(&free_ports(3)));
    let (running, lines) = up(&lab, &["--metrics", "0"]);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("proxy-1 metrics http://127.0.0.1:")),
        "{lines:?}"
    );

    let status = status_when(&lab, |status, code| {
        let connected = |name| find(status, name)["peers"] == 3;
        code == Some(0) && connected("manager") && connected("worker-1")
    });
    assert_eq!(status["cluster"], "lab");
    assert_eq!(status["supervisor"]["pid"], running.process_id());
    for (name, role) in [
        ("manager", "manager"),
        ("logger-1", "logger"),
        ("proxy-1", "proxy"),
        ("worker-1", "worker"),
    ] {
        let node = find(&status, name);
        assert_eq!(
            (&node["role"], &node["state"]),
            (&role.into(), &"up".into()),
            "{status:#}"
        );
        assert!(
            node["pid"].is_u64() && node["uptime_s"].is_f64(),
            "{node:#}"
        );
    }
    let manager = find(&status, "manager");
    assert_eq!(
        (&manager["peers_expected"], &manager["waiting_for"]),
        (&3.into(), &serde_json::json!([]))
    );
    assert_eq!(manager["stores"][0]["role"], "master");
    // It listens nowhere, and its supervisor asks it.
    let worker = find(&status, "worker-1");
    assert_eq!(
        (&worker["how"], &worker["peers"], &worker["peers_expected"]),
        (&"answers".into(), &3.into(), &3.into())
    );
    assert_eq!(worker["stores"][0]["role"], "clone");
    assert_eq!(worker["logs"]["Cluster::LOG"]["dropped"], 0, "{worker:#}");
    let detail = Done::of(cluster("status", &lab).args(["worker-1", "manager"])).ok();
    for part in [
        "worker-1",
        "Peers",
        "clone",
        "master",
        "Cluster::LOG",
        "Counters",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let json = Done::of(cluster("status", &lab).args(["worker-1", "--json"])).ok();
    let json: serde_json::Value = serde_json::from_str(&json).expect("json");
    assert_eq!(json["name"], "worker-1");
    let line = Done::of(cluster("status", &lab).arg("worker-9")).failed(2);
    assert!(
        line.contains("worker-9") && line.contains("worker-1"),
        "{line}"
    );
    let table = Done::of(&mut cluster("status", &lab)).ok();
    assert!(
        table.contains("manager") && table.contains("3/3") && table.contains("hosts:master=0"),
        "{table}"
    );

    let line = Done::of(&mut cluster("up", &lab)).failed(2);
    assert!(
        line.contains("up already") && line.contains(&running.process_id().to_string()),
        "{line}"
    );

    let stopped = Done::of(&mut cluster("stop", &lab)).ok();
    let order: Vec<&str> = stopped
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        order,
        ["worker-1", "proxy-1", "manager", "logger-1"],
        "{stopped}"
    );
    assert!(
        stopped.lines().all(|line| line.contains("stopped: ")),
        "{stopped}"
    );
    assert_eq!(running.wait_open().code, Some(0));
    assert_eq!(left_behind(&lab), Vec::<PathBuf>::new());

    let line = Done::of(&mut cluster("stop", &lab)).failed(1);
    assert!(line.contains("no nodes"), "{line}");
    let down = Done::of(cluster("status", &lab).arg("--json"));
    assert_eq!(down.code, Some(1));
    let down: serde_json::Value = serde_json::from_str(&down.stdout).expect("json");
    assert_eq!(down["supervisor"], serde_json::Value::Null);
    assert_eq!(find(&down, "manager")["state"], "down");
    assert_eq!(find(&down, "worker-1")["state"], "unknown");
}

#[test]
fn what_a_killed_supervisor_left_behind_is_no_hindrance() {
    let lab = Cluster::new(&layout(&free_ports(3)));
    let (killed, _) = up(&lab, &[]);
    killed.signal("KILL");
    assert_eq!(killed.wait_open().code, None);
    assert_eq!(left_behind(&lab).len(), 2);
    // Its nodes end with it; until then their ports are taken, and a supervisor waits for them.
    let line = Done::of(&mut cluster("stop", &lab)).failed(1);
    assert!(line.contains("no nodes"), "{line}");
    let (again, _) = up(&lab, &[]);
    status_when(&lab, |status, code| {
        code == Some(0) && status["supervisor"]["pid"] == again.process_id()
    });
    Done::of(&mut cluster("stop", &lab)).ok();
    assert_eq!(again.wait_open().code, Some(0));
    assert_eq!(left_behind(&lab), Vec::<PathBuf>::new());
}

#[test]
fn a_node_that_stands_still_is_told_and_one_that_was_killed_is_started_again() {
    let lab = Cluster::new(&layout(&free_ports(3)));
    let (running, _) = up(&lab, &[]);
    let status = status_when(&lab, |_, code| code == Some(0));
    let process = |status: &serde_json::Value, name: &str| {
        find(status, name)["pid"]
            .as_u64()
            .expect("a process")
            .to_string()
    };
    let signal = |signal: &str, process: &str| {
        let sent = Command::new("kill").args([signal, process]).status();
        assert!(sent.expect("kill runs").success());
    };
    let worker = process(&status, "worker-1");
    signal("-STOP", &worker);
    let done = Done::of(cluster("status", &lab).args(["--json", "--timeout", "0.5"]));
    assert_eq!(done.code, Some(1));
    let still: serde_json::Value = serde_json::from_str(&done.stdout).expect("json");
    assert_eq!(still["not_up"], serde_json::json!(["worker-1"]));
    let how = find(&still, "worker-1")["how"].as_str().expect("a reason");
    assert!(how.contains("does not answer"), "{how}");
    signal("-CONT", &worker);
    status_when(&lab, |_, code| code == Some(0));

    signal("-KILL", &worker);
    let again = status_when(&lab, |status, code| {
        code == Some(0) && find(status, "worker-1")["restarts"] == 1
    });
    assert_ne!(process(&again, "worker-1"), worker);
    let table = Done::of(&mut cluster("status", &lab)).ok();
    assert!(
        table.contains("worker-1: started again once, after it ended with signal: 9"),
        "{table}"
    );
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn of_many_nodes_that_are_down_ten_are_named() {
    let workers: String = (10..30)
        .map(|number| format!("[node.worker-{number}]\nrole = \"worker\"\n"))
        .collect();
    let manager = format!(
        "[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{}\"]\n",
        free_ports(1)[0]
    );
    let lab = Cluster::new(&(manager + &workers));
    let done = Done::of(&mut cluster("status", &lab));
    assert_eq!(done.code, Some(1));
    let named = "worker-16, worker-17, worker-18 and 11 more";
    assert!(done.stderr.contains(named), "{}", done.stderr);
    assert!(done.stdout.contains("worker-29"), "{}", done.stdout);
}

#[test]
fn a_spool_that_cannot_be_written_is_a_mistake_in_its_own_line() {
    let lab = Cluster::new(
        "[cluster]\nlog_dir = \"logs\"\n[logging]\nspool_dir = \"cluster.toml\"\n\
         [node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:1\"]\n[node.worker-1]\nrole = \"worker\"\n",
    );
    let mut node = broker();
    node.args(["node", "--name", "worker-1", "--config"])
        .arg(lab.path().join("cluster.toml"));
    let line = Done::of(&mut node).failed(2);
    assert!(
        line.contains("cluster.toml:4: cannot keep log records on disk"),
        "{line}"
    );
    assert!(line.ends_with("in spool_dir"), "{line}");
}

#[test]
fn a_node_that_is_down_is_told_and_others_wait_for_it() {
    let lab = Cluster::new(&layout(&free_ports(3)));
    let (_manager, _) = lab.node("manager");
    let (_proxy, _) = lab.node("proxy-1");
    let status = status_when(&lab, |status, _| find(status, "proxy-1")["peers"] == 1);
    assert_eq!(
        status["not_up"],
        serde_json::json!(["logger-1", "worker-1"])
    );
    assert_eq!(
        find(&status, "proxy-1")["waiting_for"],
        serde_json::json!(["logger-1", "worker-1"])
    );
    let text = Done::of(&mut cluster("status", &lab));
    assert_eq!(text.code, Some(1));
    assert!(
        text.stderr.contains("not up: logger-1, worker-1"),
        "{}",
        text.stderr
    );
}

#[test]
fn of_nodes_that_listen_for_peers_only_it_is_said_what_asking_them_takes() {
    let ports = free_ports(1);
    let url = format!("broker://127.0.0.1:{}", ports[0]);
    let lab = Cluster::new(&format!(
        "[node.manager]\nrole = \"manager\"\nlisten = [\"{url}\"]\n[node.worker-1]\nrole = \"worker\"\n"
    ));
    // Started one by one: there is no supervisor.
    let (_manager, _) = lab.node("manager");
    let done = Done::of(cluster("status", &lab).arg("--json"));
    let status: serde_json::Value = serde_json::from_str(&done.stdout).expect("json");
    assert_eq!(done.code, Some(1));
    let manager = find(&status, "manager");
    let how = manager["how"].as_str().expect("a text");
    assert_eq!(manager["state"], "unknown");
    assert!(how.contains(&url) && how.contains("grpc://"), "{how}");
    let worker = find(&status, "worker-1")["how"].as_str().expect("a text");
    assert!(worker.contains("it listens nowhere"), "{worker}");
    let line = Done::of(cluster("status", &lab).arg("manager")).failed(1);
    assert!(
        line.contains(&url) && line.contains("grpc://") && line.contains("broker cluster up"),
        "{line}"
    );
    let line = Done::of(&mut cluster("stop", &lab)).failed(1);
    assert!(line.contains("SIGTERM"), "{line}");
}

#[test]
fn sighup_starts_nodes_that_are_new_and_stops_those_that_are_gone() {
    let ports = free_ports(3);
    let lab = Cluster::new(&layout(&ports));
    let (mut running, _) = up(&lab, &[]);
    let with_second = layout(&ports) + "[node.worker-2]\nrole = \"worker\"\n";
    std::fs::write(lab.path().join("cluster.toml"), &with_second).expect("written");
    running.signal("HUP");
    running.stderr_line("1 nodes started, 0 stopped, 4 told");
    running.line_after("worker-2 ready");
    status_when(&lab, |status, code| {
        code == Some(0) && find(status, "manager")["peers"] == 4
    });
    std::fs::write(lab.path().join("cluster.toml"), "[cluster\n").expect("written");
    running.signal("HUP");
    running.stderr_line("the nodes stay as they were");
    std::fs::write(lab.path().join("cluster.toml"), layout(&ports)).expect("written");
    running.signal("HUP");
    running.stderr_line("0 nodes started, 1 stopped, 4 told");
    status_when(&lab, |status, code| {
        code == Some(0) && find(status, "manager")["peers"] == 3
    });
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn shells_get_their_completions() {
    for (shell, word) in [
        ("bash", "_broker"),
        ("zsh", "#compdef broker"),
        ("fish", "complete -c broker"),
    ] {
        let script = Done::of(broker().args(["completions", shell])).ok();
        assert!(
            script.contains(word) && script.contains("completions"),
            "{shell}"
        );
    }
    let line = Done::of(broker().args(["completions", "cmd"])).failed(2);
    assert!(line.contains("bash") && line.contains("fish"), "{line}");
}
