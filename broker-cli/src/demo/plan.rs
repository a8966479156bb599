//! What the nodes of a demo are to do: written by the driver beside the layout, read by every node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use broker_cluster::log::{LogFormat, LogReader};
use serde::{Deserialize, Serialize};

use crate::failure::misuse;

/// The work of all nodes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// What workers read, in this order.
    pub(crate) inputs: Vec<Input>,
    /// The workers, each of which takes the lines of its position.
    pub(crate) workers: Vec<String>,
    /// The proxies.
    pub(crate) proxies: Vec<String>,
    /// Where proxies keep their journals.
    pub(crate) directory: PathBuf,
    /// Who is killed in the middle; workers slow down there until it has happened.
    pub(crate) victims: Vec<String>,
}

/// One log to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The file.
    pub(crate) file: PathBuf,
    /// The path its records are logged under: the one it names, made distinct where two inputs differ in columns or
    /// format.
    pub(crate) path: String,
}

impl Plan {
    /// Reads a plan.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no plan", path.display()))
    }

    /// Writes the plan.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Opens every input to see whether it is a log, and chooses the paths.
pub(crate) fn inputs(files: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut shapes = BTreeMap::new();
    let mut inputs = Vec::new();
    for file in files {
        // Every worker opens it anew, which a pipe or a terminal does not survive.
        if std::fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Err(misuse(format!(
                "{}: is no regular file, and every worker has to read it; save it as a file first",
                file.display()
            )));
        }
        let reader = LogReader::open(file)
            .map_err(|error| misuse(format!("{:#}", anyhow::Error::new(error))))?;
        let shape = (
            reader.format() == LogFormat::Json,
            reader.schema().columns.clone(),
        );
        let path = reader.schema().path.clone();
        let path = distinct(&mut shapes, &path, shape);
        // Links are resolved here: /dev/stdin is another file in every process.
        let file = std::fs::canonicalize(file).with_context(|| format!("{}", file.display()))?;
        inputs.push(Input { file, path });
    }
    Ok(inputs)
}

/// `path` if it is free or has this shape already, else `path-2` and so on, as Zeek names them.
fn distinct<S: PartialEq>(shapes: &mut BTreeMap<String, S>, path: &str, shape: S) -> String {
    let mut number = 1;
    loop {
        let candidate = if number == 1 {
            path.to_owned()
        } else {
            format!("{path}-{number}")
        };
        match shapes.get(&candidate) {
            None => {
                shapes.insert(candidate.clone(), shape);
                return candidate;
            }
            Some(taken) if *taken == shape => return candidate,
            Some(_) => number += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_different_shape_get_paths_of_their_own() {
        let mut shapes = BTreeMap::new();
        let mut path = |path, shape| distinct(&mut shapes, path, shape);
        assert_eq!(path("conn", "tsv"), "conn");
        assert_eq!(path("conn", "json"), "conn-2");
        assert_eq!(path("conn", "tsv"), "conn");
        assert_eq!(path("conn", "json"), "conn-2");
        assert_eq!(path("conn-2", "x"), "conn-2-2");
    }

    #[test]
    fn a_file_that_is_no_log_is_refused_with_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("image.png");
        std::fs::write(&file, b"\x89PNG").expect("written");
        for file in [
            file,
            directory.path().join("missing.log"),
            PathBuf::from("/dev/null"),
        ] {
            let error = inputs(std::slice::from_ref(&file)).expect_err("refused");
            assert!(error.downcast_ref::<crate::failure::Misuse>().is_some());
            assert!(
                error.to_string().contains(&file.display().to_string()),
                "{error}"
            );
        }
    }
}
