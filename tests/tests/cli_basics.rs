//! The command line as a whole: help, version, mistakes, exit codes, closed pipes.

use broker_tests::{Done, Running, broker};

#[test]
fn every_command_has_help_that_explains_its_options() {
    let help = Done::of(broker().arg("--help")).ok();
    for command in [
        "demo", "node", "cluster", "pub", "event", "sub", "store", "status", "bench",
    ] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is missing in\n{help}"
        );
    }
    for word in [
        "BROKER_LOG",
        "CLUSTER_NODE",
        "BROKER_TLS_PASSPHRASE",
        "BROKER_WS_TOKEN",
        "Exit codes",
        "9998",
        "9999",
        "9997",
        "brokers://",
        "wss://",
        "grpcs://",
    ] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    let cases: [(&[&str], &[&str]); 9] = [
        (
            &["demo"],
            &[
                "--input",
                "--workers",
                "[default: 2]",
                "--out",
                "records_written",
            ],
        ),
        (
            &["node"],
            &[
                "--config",
                "CLUSTER_NODE",
                "--listen",
                "9998",
                "--no-forward",
                "--tls-cafile",
                "--ws-token",
                "BROKER_WS_TOKEN",
                "ready",
            ],
        ),
        (&["cluster", "up"], &["--config", "restarted", "--host"]),
        (&["pub"], &["--stdin", "10.0.0.0/8", "80/tcp", "@data-type"]),
        (&["event"], &["ARG", "MyModule::ping"]),
        (
            &["sub"],
            &["--count", "--timeout", "--json", "PREFIX", "--token"],
        ),
        (
            &["store"],
            &[
                "put-unique",
                "get-index",
                "insert-into",
                "dump",
                "load",
                "watch",
                "no_such_key",
            ],
        ),
        (&["status"], &["--json", "uptime_s"]),
        (
            &["bench", "pubsub"],
            &["--transport", "--kind", "--seconds", "messages_per_s"],
        ),
    ];
    for (command, words) in cases {
        let help = Done::of(broker().args(command).arg("--help")).ok();
        for word in words
            .iter()
            .chain(&["--log-level"])
            .filter(|word| **word != "restarted")
        {
            assert!(
                help.contains(word),
                "{word} is missing in the help of {command:?}:\n{help}"
            );
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Done::of(broker().arg("--version")).ok();
    assert_eq!(version, format!("broker {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        Done::of(broker().args(["status", "--version"]))
            .ok()
            .split(' ')
            .next_back(),
        version.split(' ').next_back()
    );
}

#[test]
fn without_a_command_the_help_goes_to_stderr_and_the_exit_code_is_2() {
    let done = Done::of(&mut broker());
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""));
    assert!(done.stderr.contains("Usage: broker"), "{}", done.stderr);
}

#[test]
fn wrong_arguments_are_one_line_and_exit_2() {
    let cases: [(&[&str], &str); 14] = [
        (&["bogus"], "bogus"),
        (&["pub"], "PEER"),
        (&["status", "grpc://127.0.0.1:1", "--bogus"], "--bogus"),
        (&["status", "127.0.0.1:9998"], "scheme"),
        (&["status", "grpc://127.0.0.1:99999"], "99999"),
        (
            &["sub", "grpc://127.0.0.1:1", "/a", "--count", "many"],
            "many",
        ),
        (
            &["sub", "grpc://127.0.0.1:1", "/a", "--timeout", "-1"],
            "-1",
        ),
        (
            &["pub", "grpc://127.0.0.1:1", "/a", "{\"data\":5}"],
            "JSON v1",
        ),
        (&["pub", "grpc://127.0.0.1:1", "/a", "[1, 2"], "bracket"),
        (
            &["pub", "grpc://127.0.0.1:1", "/a", "99999999999999999999"],
            "integer",
        ),
        (&["pub", "grpc://127.0.0.1:1", "/a", "--bogus"], "--bogus"),
        (
            &["store", "grpc://127.0.0.1:1", "hosts", "frobnicate"],
            "frobnicate",
        ),
        (&["bench", "pubsub", "--kind", "4"], "kinds 1, 2 and 3"),
        (
            &["--log-level", "a=b=c", "status", "grpc://127.0.0.1:1"],
            "log level",
        ),
    ];
    for (args, word) in cases {
        let line = Done::of(broker().args(args)).failed(2);
        assert!(line.contains(word), "{args:?}: {line}");
    }
}

#[test]
fn a_transport_that_cannot_carry_a_command_is_misuse() {
    for url in ["mem://x", "http://127.0.0.1:1"] {
        for command in [
            &["status", url][..],
            &["sub", url, "/a"],
            &["pub", url, "/a", "1"],
            &["event", url, "/a", "e"],
            &["store", url, "s", "keys"],
        ] {
            let line = Done::of(broker().args(command)).failed(2);
            assert!(line.contains(&url[..url.find(':').unwrap_or(0)]), "{line}");
        }
    }
}

#[test]
fn a_node_that_is_not_there_is_one_line_and_exit_1() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("grpc://{}", listener.local_addr().expect("bound"));
    drop(listener);
    for command in [
        &["status", &url][..],
        &["sub", &url, "/a"],
        &["pub", &url, "/a", "1"],
        &["event", &url, "/a", "e"],
        &["store", &url, "s", "keys"],
    ] {
        let line = Done::of(broker().args(command)).failed(1);
        assert!(line.contains(&url), "{line}");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let done = Done::of(
        std::process::Command::new("sh")
            .args(["-c", "\"$0\" --help | head -n 1; exit ${PIPESTATUS:-0}"])
            .arg(broker_tests::program_path()),
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stderr, "");
    // The exit code of the program itself, which writes to a pipe that nobody reads any more.
    let mut command = broker();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = command.arg("--help").stdout(writer).status().expect("runs");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_log_level_is_taken_from_the_environment() {
    let line = Done::of(
        broker()
            .env("BROKER_LOG", "a=b=c")
            .args(["status", "grpc://127.0.0.1:1"]),
    )
    .failed(2);
    assert!(line.contains("log level"), "{line}");
    let mut node = Running::start(broker().env("BROKER_LOG", "off").args([
        "node",
        "--listen",
        "grpc://127.0.0.1:0",
    ]));
    node.line_after("ready");
    let done = node.stop();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
}
