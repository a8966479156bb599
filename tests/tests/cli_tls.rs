//! TLS as a user sets it up: on the command line, in the environment, in a layout.

use broker_tests::{Certificates, Cluster, Done, PASSPHRASE, Running, broker, free_ports};

/// A relay for `/shared` that listens with these schemes and shows a certificate.
fn relay(schemes: &[&str], certificates: &Certificates) -> (Running, Vec<String>) {
    let mut args = vec!["--subscribe".to_owned(), "/shared".to_owned()];
    args.extend(certificates.args());
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Cluster::relay_on(schemes, &args)
}

#[test]
fn commands_go_through_doors_with_certificates() {
    let certificates = Certificates::new();
    let (_node, urls) = relay(&["grpcs", "brokers", "wss"], &certificates);
    for url in &urls {
        let mut sub = Running::start(
            broker()
                .args(["sub", url, "/shared", "--count", "3"])
                .args(certificates.args()),
        );
        sub.stderr_line("subscribed");
        for peer in &urls {
            Done::of(
                broker()
                    .arg("pub")
                    .args(certificates.args())
                    .args([peer, "/shared/x", "5u"]),
            )
            .ok();
        }
        assert_eq!(sub.wait().ok(), "/shared/x\t5u\n".repeat(3));
        let json = Done::of(
            broker()
                .args(["status", url, "--json"])
                .args(certificates.args()),
        )
        .ok();
        assert!(
            json.contains("rtt_us") || url.starts_with("grpcs"),
            "{json}"
        );
    }
    let line = Done::of(
        broker()
            .args(["store", &urls[0], "hosts", "get", "key"])
            .args(certificates.args()),
    )
    .failed(1);
    assert!(line.contains("no store"), "{line}");
}

#[test]
fn without_any_option_brokers_is_anonymous() {
    let (_node, urls) = Cluster::relay_on(&["brokers"], &["--subscribe", "/shared"]);
    let url = &urls[0];
    let mut sub = Running::start(broker().args(["sub", url, "/shared", "--count", "1"]));
    sub.stderr_line("subscribed");
    Done::of(broker().args(["event", url, "/shared", "e"])).ok();
    sub.wait().ok();
    let line = Done::of(
        broker()
            .arg("pub")
            .args(Certificates::new().args())
            .args([url, "/shared", "1"]),
    )
    .failed(1);
    assert!(line.contains(url), "{line}");
}

#[test]
fn files_that_do_not_do_are_misuse_before_anybody_is_called() {
    let certificates = Certificates::new();
    let file = |name: &str| certificates.file(name).display().to_string();
    let (certificate, key, ca) = (file("node.pem"), file("node.key"), file("ca.pem"));
    let (encrypted, missing) = (file("encrypted.key"), file("missing.pem"));
    let nobody = "grpcs://127.0.0.1:1";
    let cases: [(&[&str], &str); 11] = [
        (&["status", nobody], "--tls-cafile"),
        (&["status", nobody, "--tls-cafile", &missing], &missing),
        (&["status", nobody, "--tls-cafile", &key], &key),
        (
            &["status", nobody, "--tls-cafile", &ca, "--tls-key", &key],
            "certificate",
        ),
        (
            &["status", "brokers://127.0.0.1:1", "--tls-cafile", &ca],
            "--tls-certificate",
        ),
        (
            &[
                "status",
                nobody,
                "--tls-cafile",
                &ca,
                "--tls-certificate",
                &certificate,
                "--tls-key",
                &encrypted,
            ],
            "BROKER_TLS_PASSPHRASE",
        ),
        (
            &["status", nobody, "--tls-passphrase-file", &missing],
            &missing,
        ),
        (
            &["node", "--listen", "grpcs://127.0.0.1:0"],
            "--tls-certificate",
        ),
        (&["node", "--listen", "wss://127.0.0.1:0"], "--tls-key"),
        (&["sub", "wss://127.0.0.1:1", "/t"], "--tls-cafile"),
        (
            &["node", "--listen", "grpc://127.0.0.1:0", "--peer", nobody],
            "--tls-cafile",
        ),
    ];
    for (args, word) in cases {
        let line = Done::of(broker().args(args)).failed(2);
        assert!(line.contains(word), "{args:?}: {line}");
    }
}

#[test]
fn an_encrypted_key_is_opened_by_a_file_or_the_environment_and_by_nothing_else() {
    let certificates = Certificates::new();
    let (_node, urls) = relay(&["grpcs"], &certificates);
    let command = || {
        let mut command = broker();
        command
            .args(["status", &urls[0]])
            .arg("--tls-certificate")
            .arg(certificates.file("node.pem"))
            .arg("--tls-key")
            .arg(certificates.file("encrypted.key"))
            .arg("--tls-cafile")
            .arg(certificates.file("ca.pem"));
        command
    };
    Done::of(
        command()
            .arg("--tls-passphrase-file")
            .arg(certificates.file("passphrase")),
    )
    .ok();
    Done::of(command().env("BROKER_TLS_PASSPHRASE", PASSPHRASE)).ok();
    let line = Done::of(command().env("BROKER_TLS_PASSPHRASE", "wrong")).failed(2);
    assert!(
        line.contains("passphrase") && !line.contains("wrong"),
        "{line}"
    );
}

#[test]
fn a_plain_command_at_a_tls_port_is_told_so_and_the_reverse() {
    let certificates = Certificates::new();
    let (_safe, safe) = relay(&["grpcs", "brokers", "wss"], &certificates);
    let (_plain, plain) = Cluster::relay_on(&["grpc", "broker", "ws"], &[]);
    let cases = [
        (safe[0].replace("grpcs", "grpc"), "grpcs://"),
        (safe[1].replace("brokers", "broker"), "TLS"),
        (plain[0].replace("grpc", "grpcs"), "without TLS"),
        (plain[1].replace("broker", "brokers"), "without TLS"),
        (safe[0].replace("grpcs", "broker"), "TLS"),
        (safe[2].replace("wss", "ws"), "TLS"),
        (plain[2].replace("ws", "wss"), "without TLS"),
    ];
    for (url, word) in cases {
        let line = Done::of(
            broker()
                .arg("pub")
                .args(certificates.args())
                .args([&url, "/shared", "1"]),
        )
        .failed(1);
        assert!(line.contains(&url) && line.contains(word), "{url}: {line}");
    }
}

#[test]
fn who_has_a_certificate_of_another_ca_or_host_is_refused() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let (_node, urls) = relay(&["grpcs", "brokers", "wss"], &ours);
    for url in &urls {
        let line = Done::of(broker().args(["status", url]).args(theirs.args())).failed(1);
        assert!(line.contains(url), "{line}");
    }
    let mut elsewhere = broker();
    elsewhere
        .args(["node", "--listen", "grpcs://127.0.0.1:0"])
        .arg("--tls-certificate")
        .arg(ours.file("elsewhere.pem"))
        .arg("--tls-key")
        .arg(ours.file("node.key"));
    let mut node = Running::start(&mut elsewhere);
    let url = node.line_after("listening ");
    let status = |more: &[&str]| {
        let mut command = broker();
        command.args(["status", &url]).args(more);
        Done::of(command.arg("--tls-cafile").arg(ours.file("ca.pem")))
    };
    assert!(status(&[]).failed(1).contains("host"));
    status(&["--tls-any-host"]).ok();
}

#[test]
fn a_cluster_takes_its_certificates_from_the_layout() {
    let certificates = Certificates::new();
    for scheme in ["grpcs", "brokers"] {
        let ports = free_ports(2);
        let cluster = Cluster::new(&format!(
            r#"
[cluster]
name = "test"
[tls]
certificate = "node.pem"
key = "node.key"
cafile = "ca.pem"
[node.manager]
role = "manager"
listen = ["{scheme}://127.0.0.1:{}", "grpc://127.0.0.1:{}"]
[node.worker-1]
role = "worker"
[node.worker-1.tls]
key = "encrypted.key"
passphrase_file = "passphrase"
"#,
            ports[0], ports[1]
        ));
        for name in [
            "ca.pem",
            "node.pem",
            "node.key",
            "encrypted.key",
            "passphrase",
        ] {
            std::fs::copy(certificates.file(name), cluster.path().join(name)).expect("copied");
        }
        let mut up = Running::start(
            broker()
                .args(["cluster", "up", "--log-level", "info", "--config"])
                .arg(cluster.path().join("cluster.toml")),
        );
        up.line_after("ready");
        let line = up.stderr_line("peer added");
        let url = format!("grpc://127.0.0.1:{}", ports[1]);
        let status: serde_json::Value =
            serde_json::from_str(&Done::of(broker().args(["status", &url, "--json"])).ok())
                .expect("json");
        let peer = &status["peers"][0];
        assert_eq!(peer["name"], "worker-1", "{line}\n{status}");
        assert!(
            peer["url"]
                .as_str()
                .is_some_and(|url| url.starts_with(scheme)),
            "{status}"
        );
        assert_eq!(up.stop().code, Some(0));

        std::fs::remove_file(cluster.path().join("passphrase")).expect("removed");
        let line = Done::of(
            broker()
                .args(["cluster", "up", "--config"])
                .arg(cluster.path().join("cluster.toml")),
        )
        .failed(2);
        assert!(line.contains("passphrase"), "{line}");
    }
}
