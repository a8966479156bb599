//! The code of `broker-wire/src/generated` is what its `.proto` files say.
//!
//! Users of the crate need neither protoc nor a build script; this test is where the schema is
//! compiled. After a change of the schema, run it once with `BROKER_REGENERATE=1` to write the files.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::path::{Path, PathBuf};

const FILES: [&str; 4] = [
    "broker/v1/value.proto",
    "broker/v1/peering.proto",
    "broker/v1/broker.proto",
    "broker/v1/store.proto",
];

#[test]
fn the_generated_code_is_up_to_date() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../broker-wire");
    let checked_in = wire.join("src/generated");
    let fresh = tempfile::tempdir().unwrap();
    generate(&wire.join("proto"), fresh.path());

    let names = names(fresh.path());
    assert_eq!(names, ["broker.v1.rs", "broker_v1.bin"]);
    for name in &names {
        let new = fs::read(fresh.path().join(name)).unwrap();
        if std::env::var_os("BROKER_REGENERATE").is_some() {
            fs::write(checked_in.join(name), &new).unwrap();
        }
        let old = fs::read(checked_in.join(name)).unwrap_or_default();
        assert!(
            old == new,
            "{name} is stale; run this test with BROKER_REGENERATE=1"
        );
    }
    assert_eq!(
        self::names(&checked_in),
        names,
        "files that no schema makes"
    );
}

fn generate(protos: &Path, out: &Path) {
    let mut compiler = protox::Compiler::new([protos]).unwrap();
    compiler.open_files(FILES).unwrap();
    fs::write(
        out.join("broker_v1.bin"),
        compiler.encode_file_descriptor_set(),
    )
    .unwrap();

    // Comments of the schema become the documentation of the code; the descriptors do without.
    let mut compiler = protox::Compiler::new([protos]).unwrap();
    compiler
        .include_source_info(true)
        .open_files(FILES)
        .unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .build_transport(false)
        .bytes(".broker.v1")
        .codec_path("crate::codec::ScreenedCodec")
        .emit_rerun_if_changed(false)
        .compile_fds(compiler.file_descriptor_set())
        .unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}
