//! The program under test, built by the test itself, so that no test ever runs a stale one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A command that runs the program `broker`, without the environment variables that change what it does.
#[must_use]
pub fn broker() -> Command {
    let mut command = Command::new(program_path());
    for variable in [
        "BROKER_LOG",
        "CLUSTER_NODE",
        "BROKER_TLS_PASSPHRASE",
        "BROKER_WS_TOKEN",
        "BROKER_WS_PEER_TOKEN",
        "BROKER_RUN_DIR",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "ZEEK_DEFAULT_LISTEN_ADDRESS",
        "ZEEK_DEFAULT_LISTEN_RETRY",
        "ZEEK_DEFAULT_CONNECT_RETRY",
        "ZEEK_BROKER_MAX_THREADS",
        "ZEEK_WEBSOCKET_LISTEN_ADDRESS",
        "ZEEK_WEBSOCKET_LISTEN_PORT",
        "ZEEKCTL_CHECK_CONFIG",
        "ZEEKCTL_DISABLE_LISTEN",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Where the program is. The first call of a process builds it, in the profile of the tests.
///
/// # Panics
/// If it cannot be built.
pub fn program_path() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build)
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a member of the workspace");
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--package",
            "broker-cli",
            "--bin",
            "broker",
            "--message-format",
            "json-render-diagnostics",
        ])
        .args(["--profile", profile()])
        .stderr(std::process::Stdio::inherit());
    // What cargo tells this test about its own package is not for the build: build scripts that look at it (ring's does)
    // would run anew each time somebody builds without it, and with them everything above.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if OF_THIS_PACKAGE
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            command.env_remove(&variable);
        }
    }
    let output = command.output().expect("cargo can be started");
    assert!(output.status.success(), "broker-cli does not build");
    // Cargo names what it built, wherever the target directory is.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == "broker"
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program it built")
}

/// The profile the tests themselves were built in: the directory `target/PROFILE/deps` that this test runs from.
fn profile() -> &'static str {
    if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    }
}

/// How the variables begin that cargo sets for the tests of a package.
const OF_THIS_PACKAGE: [&str; 4] = [
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
];
