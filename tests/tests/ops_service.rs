//! A node as a service: what it tells systemd, what it reads again on SIGHUP, and what it says at its end.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use broker_tests::{Cluster, Done, PATIENCE, Running, broker, free_ports};

fn node(cluster: &Cluster, name: &str) -> Command {
    let mut command = broker();
    command
        .arg("node")
        .arg("--config")
        .arg(cluster.path().join("cluster.toml"))
        .args(["--name", name]);
    command
}

/// Replaces the layout.
fn write(cluster: &Cluster, layout: &str) {
    std::fs::write(cluster.path().join("cluster.toml"), layout).expect("written");
}

/// A socket such as systemd has.
struct Systemd(UnixDatagram);

impl Systemd {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(socket)
    }

    /// The next datagram that has a line beginning with `key`.
    fn told(&self, key: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let len = self.0.recv(&mut buffer).expect("something is told");
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if text.lines().any(|line| line.starts_with(key)) {
                return text;
            }
        }
    }
}

const MANAGER: &str = "[cluster]\nname = \"test\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n";

#[test]
fn systemd_is_told_of_readiness_reloads_life_and_the_end() {
    let cluster = Cluster::new(MANAGER);
    let path = cluster.path().join("notify");
    let systemd = Systemd::at(&path);
    let mut node = Running::start(
        node(&cluster, "manager")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000"),
    );
    let ready = systemd.told("READY=1");
    assert!(
        ready.contains("STATUS=ready, listening on grpc://127.0.0.1:"),
        "{ready}"
    );
    node.line_after("ready");
    systemd.told("WATCHDOG=1");
    systemd.told("WATCHDOG=1");
    node.signal("HUP");
    let reloading = systemd.told("RELOADING=1");
    let time = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .expect("a time");
    assert!(time.parse::<u64>().expect("a number") > 0);
    systemd.told("READY=1");
    node.signal("TERM");
    systemd.told("STOPPING=1");
    assert_eq!(node.wait().code, Some(0));
}

#[test]
fn sockets_may_be_abstract_and_wrong_variables_are_misuse() {
    use std::os::linux::net::SocketAddrExt as _;
    let cluster = Cluster::new(MANAGER);
    let name = format!("broker-test-{}", cluster.path().display());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let systemd = Systemd(UnixDatagram::bind_addr(&address).expect("bound"));
    systemd.0.set_read_timeout(Some(PATIENCE)).expect("set");
    let node_at = |socket: &str| {
        let mut command = node(&cluster, "manager");
        command.env("NOTIFY_SOCKET", socket);
        command
    };
    let running = Running::start(&mut node_at(&format!("@{name}")));
    systemd.told("READY=1");
    assert_eq!(running.stop().code, Some(0));
    let line = Done::of(&mut node_at("nowhere")).failed(2);
    assert!(
        line.contains("NOTIFY_SOCKET") && line.contains("nowhere"),
        "{line}"
    );
    let line = Done::of(
        node(&cluster, "manager")
            .env("NOTIFY_SOCKET", "/x")
            .env("WATCHDOG_USEC", "soon"),
    )
    .failed(2);
    assert!(line.contains("WATCHDOG_USEC"), "{line}");
    for (name, value) in [
        ("ZEEK_DEFAULT_LISTEN_RETRY", "soon"),
        ("ZEEK_DEFAULT_CONNECT_RETRY", "1.5"),
        ("ZEEK_WEBSOCKET_LISTEN_PORT", "x"),
        ("ZEEK_BROKER_MAX_THREADS", "0"),
    ] {
        let line = Done::of(node(&cluster, "manager").env(name, value)).failed(2);
        assert!(line.contains(name) && line.contains(value), "{line}");
    }
}

#[test]
fn environment_variables_of_zeek_have_their_effect() {
    let cluster = Cluster::new(MANAGER);
    let fine = Done::of(node(&cluster, "manager").env("ZEEKCTL_CHECK_CONFIG", "1")).ok();
    assert_eq!(fine, "the configuration is fine\n");

    let mut silent = Running::start(node(&cluster, "manager").env("ZEEKCTL_DISABLE_LISTEN", "1"));
    assert_eq!(silent.line(), "ready");
    assert_eq!(silent.stop().code, Some(0));

    let port = free_ports(1)[0];
    let mut more = Running::start(
        node(&cluster, "manager").env("ZEEK_WEBSOCKET_LISTEN_PORT", format!("{port}/tcp")),
    );
    more.line_after(&format!("listening ws://127.0.0.1:{port}"));
    assert_eq!(more.stop().code, Some(0));

    // An address that is taken is tried again until it is free.
    let held = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bound");
    let taken = held.local_addr().expect("bound");
    write(
        &cluster,
        &MANAGER.replace("127.0.0.1:0", &taken.to_string()),
    );
    let mut patient =
        Running::start(node(&cluster, "manager").env("ZEEK_DEFAULT_LISTEN_RETRY", "0.05"));
    patient.stderr_line("trying again every 0.05 s");
    drop(held);
    patient.line_after(&format!("listening grpc://{taken}"));
    assert_eq!(patient.stop().code, Some(0));
}

/// A manager that others dial, and a worker.
fn pair(port: u16, more: &str) -> String {
    format!(
        "[cluster]\nname = \"test\"\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:{port}\"]\n\
         [node.worker-1]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n{more}"
    )
}

#[test]
fn sighup_takes_over_nodes_peers_and_the_log_level_and_names_what_needs_a_start() {
    let port = free_ports(1)[0];
    let cluster = Cluster::new(&pair(port, ""));
    let (_friend, friend) = Cluster::relay(&["--name", "friend"]);
    let (mut manager, _) = cluster.node("manager");
    let (mut worker, worker_url) = cluster.node("worker-1");
    worker.stderr_line("fully connected");

    let more = format!(
        "peers = [\"{friend}\"]\nqueue_messages = 7\nlog_level = \"debug\"\n\
         [cluster.ready]\nworker = 2\n[stores.hosts]\nbackend = \"memory\"\n[node.worker-2]\nrole = \"worker\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
    );
    write(&cluster, &pair(port, &more));
    worker.signal("HUP");
    let fixed = worker.stderr_line("[stores.hosts]");
    assert!(fixed.contains("when the node is started again"), "{fixed}");
    worker.stderr_line("queue_messages, queue_bytes, queue_policy in [node.worker-1]");
    let done = worker.stderr_line("configuration read again");
    for word in [
        "new nodes worker-2",
        &format!("dials {friend}"),
        "log level debug",
        "takes over [cluster.ready]",
        "2 that need a start",
    ] {
        assert!(done.contains(word), "{done}");
    }
    worker.stderr_line("peer added peer=friend");
    let status = Done::of(broker().args(["status", &worker_url, "--json"])).ok();
    assert!(status.contains("\"friend\""), "{status}");

    // The manager knows the new node once it has read the layout too.
    manager.signal("HUP");
    manager.stderr_line("configuration read again: new nodes worker-2; takes over [cluster.ready]");
    let (second, _) = cluster.node("worker-2");
    manager.stderr_line("got hello from worker-2");
    manager.stderr_line("cluster ready: 2 of 2 workers");
    assert_eq!(second.stop().code, Some(0));

    // What is taken out is parted from.
    write(&cluster, &pair(port, ""));
    worker.signal("HUP");
    worker.stderr_line("peer removed peer=friend");
    let done = worker.stderr_line("configuration read again");
    assert!(done.contains("nodes gone worker-2"), "{done}");
}

#[test]
fn a_broken_file_leaves_everything_as_it_was() {
    let port = free_ports(1)[0];
    let secure = |more: &str| {
        let listen = format!("\"grpc://127.0.0.1:{port}\"");
        pair(port, more).replace(&listen, &format!("{listen}, \"brokers://127.0.0.1:0\""))
    };
    let cluster = Cluster::new(&secure(""));
    let (mut manager, url) = cluster.node("manager");
    for (broken, word) in [
        ("[cluster\n".to_owned(), "not valid TOML"),
        (secure("colour = \"red\"\n"), "colour"),
        (secure("").replace("node.manager", "node.boss"), "manager"),
        (
            secure("").replace(
                "role = \"manager\"",
                "role = \"manager\"\nlog_level = \"info,broker_wire=loud\"",
            ),
            "log level",
        ),
        (
            secure("") + "[tls]\ncertificate = \"none.pem\"\n",
            "none.pem",
        ),
    ] {
        write(&cluster, &broken);
        manager.signal("HUP");
        let line = manager.stderr_line("the configuration stays as it was");
        assert!(line.contains(word), "{broken}\n-> {line}");
    }
    let status = Done::of(broker().args(["status", &url, "--json"])).ok();
    assert!(status.contains("\"manager\""), "{status}");
    write(&cluster, &secure(""));
    manager.signal("HUP");
    manager.stderr_line("configuration read again");
    assert_eq!(manager.stop().code, Some(0));
}

#[test]
fn a_token_can_be_changed_and_not_taken_away_where_strangers_could_come_in() {
    let ws = |rest: &str| {
        format!("[node.manager]\nrole = \"manager\"\nlisten = [\"ws://0.0.0.0:0\"]\n{rest}")
    };
    let guarded = ws("[ws]\ntoken_file = \"token\"\n");
    let cluster = Cluster::new(&guarded);
    let token = cluster.path().join("token");
    std::fs::write(&token, "first\n").expect("written");
    let (mut manager, url) = cluster.node("manager");
    let url = url.replace("0.0.0.0", "127.0.0.1");
    let publish = |token: &str| {
        let mut command = broker();
        command.args(["pub", &url, "/t", "1", "--token", token]);
        Done::of(&mut command).code
    };
    assert_eq!(publish("first"), Some(0));
    std::fs::write(&token, "second\n").expect("written");
    manager.signal("HUP");
    manager.stderr_line("who may be a WebSocket client");
    assert_eq!((publish("second"), publish("first")), (Some(0), Some(1)));
    write(&cluster, &ws(""));
    manager.signal("HUP");
    let line = manager.stderr_line("the configuration stays as it was");
    assert!(line.contains("[ws]"), "{line}");
    assert_eq!((publish("second"), publish("none")), (Some(0), Some(1)));
}

#[test]
fn a_node_says_at_its_end_what_became_of_its_messages() {
    let cluster = Cluster::new(MANAGER);
    let mut running = Running::start(node(&cluster, "manager").arg("--json"));
    let url = running.line_after("listening ");
    running.line_after("ready");
    let mut sub = Running::start(broker().args(["sub", &url, "/t", "--count", "3"]));
    sub.stderr_line("subscribed");
    for n in ["1", "2", "3"] {
        Done::of(broker().args(["pub", &url, "/t", n])).ok();
    }
    assert_eq!(sub.wait().code, Some(0));
    running.signal("TERM");
    let done = running.wait();
    let line = done.stdout.lines().last().expect("a line").to_owned();
    assert!(
        done.stderr
            .contains("stopped: events 3 received, 3 delivered, 0 dropped"),
        "{}",
        done.stderr
    );
    let counts: serde_json::Value = serde_json::from_str(&line).expect("json");
    assert_eq!(
        (&counts["events_received"], &counts["events_delivered"]),
        (&3.into(), &3.into())
    );
    assert_eq!(
        (&counts["events_dropped"], &counts["log_records_left"]),
        (&0.into(), &0.into())
    );
}
