//! The corpus of the fuzz targets, replayed: every file in `fuzz/corpus/` through the body of its target.
//!
//! (`value_text` is replayed by the program's own tests, since its decoder is inside the program.)

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::thread;

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(name)
}

/// The names in a directory, without what stands behind the first dot.
fn stems(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("a directory of the repository");
    entries
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            let name = name.to_str().expect("a name in ASCII");
            name.split('.').next().unwrap_or(name).to_owned()
        })
        .collect()
}

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    let failed: Vec<_> = thread::scope(|scope| {
        let replays: Vec<_> = fuzz::TARGETS
            .iter()
            .map(|target| scope.spawn(move || replay(target)))
            .collect();
        replays
            .into_iter()
            .flat_map(|replay| replay.join().expect("panics are caught"))
            .collect()
    });
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

/// The files at which the target panics.
fn replay((name, body): &fuzz::Target) -> Vec<String> {
    let directory = directory("corpus").join(name);
    let mut failed = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(directory).expect("a corpus for each target") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a readable file");
        if catch_unwind(|| body(&bytes)).is_err() {
            failed.push(path.display().to_string());
        }
        files += 1;
    }
    assert!(files > 0, "{name} has an empty corpus");
    failed
}

#[test]
fn every_target_has_a_corpus_and_a_program_and_nothing_else_has() {
    let mut names: BTreeSet<_> = fuzz::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names.len(), fuzz::TARGETS.len(), "a name stands twice");
    names.insert("value_text".to_owned());
    assert_eq!(stems(&directory("corpus")), names);
    assert_eq!(stems(&directory("fuzz_targets")), names);
    let manifest = fs::read_to_string(directory("Cargo.toml")).expect("the manifest");
    for name in names {
        let program = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&program), "{name} is not built");
    }
}
