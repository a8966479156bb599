//! The arrows of ARCHITECTURE.md, guarded: who may depend on whom.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Every dependency of `package`, dev and build dependencies left out.
fn dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|entry| entry["name"] == package)
        .expect("a workspace member");
    package["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn arrows_between_the_crates_point_down_only() {
    let metadata = metadata();
    let allowed = [
        ("broker-derive", &[][..]),
        ("broker-core", &["broker-derive"]),
        ("broker-wire", &["broker-core"]),
        ("broker-store", &["broker-core"]),
        (
            "broker-cluster",
            &["broker-core", "broker-derive", "broker-store"],
        ),
        (
            "broker-cli",
            &[
                "broker-core",
                "broker-wire",
                "broker-store",
                "broker-cluster",
            ],
        ),
    ];
    for (package, allowed) in allowed {
        for dependency in dependencies(&metadata, package) {
            if dependency.starts_with("broker-") {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{package} must not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn engines_and_protocol_stacks_stay_in_their_crates() {
    let metadata = metadata();
    let home = [
        ("rusqlite", "broker-store"),
        ("sled", "broker-store"),
        ("openssl", "broker-wire"),
        ("tonic", "broker-wire"),
        ("prost", "broker-wire"),
        ("tungstenite", "broker-wire"),
        ("hrw-hash", "broker-cluster"),
        ("clap", "broker-cli"),
        ("anyhow", "broker-cli"),
    ];
    for package in [
        "broker-core",
        "broker-wire",
        "broker-store",
        "broker-cluster",
        "broker-cli",
    ] {
        let dependencies = dependencies(&metadata, package);
        for (dependency, home) in home {
            assert!(
                package == home || !dependencies.contains(dependency),
                "{dependency} belongs to {home}, not {package}"
            );
        }
    }
}

#[test]
fn core_has_no_sockets_and_no_files() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let core = packages
        .iter()
        .find(|entry| entry["name"] == "broker-core")
        .expect("broker-core");
    let tokio = core["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter()
        .find(|dependency| dependency["name"] == "tokio" && dependency["kind"].is_null())
        .expect("tokio");
    let features: Vec<_> = tokio["features"]
        .as_array()
        .expect("features")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for banned in ["net", "fs", "full", "process"] {
        assert!(
            !features.contains(&banned),
            "tokio's {banned} has no place in broker-core"
        );
    }
    assert_eq!(tokio["uses_default_features"], false);
}
