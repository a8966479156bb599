//! The directory of a demo: its layout and plan, the logs, the proxies' journals.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use broker_cluster::Layout;

use super::layout::HEAD;
use super::plan::{Input, Plan};
use crate::failure::{complain, misuse};

/// The directory, made ready for a run.
#[derive(Debug)]
pub(super) struct Workspace {
    directory: PathBuf,
}

impl Workspace {
    /// `out`, or a new directory among the temporary ones. What an earlier demo has left in `out` makes way, unless it
    /// is among the `inputs`.
    pub(super) fn create(out: Option<&Path>, inputs: &[Input]) -> anyhow::Result<Self> {
        let directory = match out {
            Some(out) => {
                std::fs::create_dir_all(out)
                    .map_err(|error| misuse(format!("cannot create {}: {error}", out.display())))?;
                std::path::absolute(out).with_context(|| out.display().to_string())?
            }
            None => tempfile::Builder::new()
                .prefix("broker-demo-")
                .tempdir()
                .context("cannot create a temporary directory")?
                .keep(),
        };
        let workspace = Self { directory };
        workspace.clear(inputs)?;
        Ok(workspace)
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// The layout file.
    pub(super) fn layout(&self) -> PathBuf {
        self.directory.join("demo.toml")
    }

    /// The plan file.
    pub(super) fn plan(&self) -> PathBuf {
        self.directory.join("demo-plan.json")
    }

    /// Writes layout and plan, and a directory for each proxy's journal.
    pub(super) fn write(&self, layout: &str, plan: &Plan) -> anyhow::Result<()> {
        for proxy in &plan.proxies {
            let directory = self.directory.join(proxy);
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let file = self.layout();
        std::fs::write(&file, layout)
            .with_context(|| format!("cannot write {}", file.display()))?;
        plan.save(&self.plan())
    }

    /// Writes the samples of the program as files.
    pub(super) fn write_samples(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.directory.join("samples");
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let write = |(name, content): &(&str, &[u8])| {
            let file = directory.join(name);
            std::fs::write(&file, content)
                .with_context(|| format!("cannot write {}", file.display()))?;
            Ok(file)
        };
        SAMPLES.iter().map(write).collect()
    }

    /// Removes the directories of an earlier demo's nodes. Only what a layout of ours names is touched, and a node's
    /// directory without such a layout is somebody else's.
    fn clear(&self, inputs: &[Input]) -> anyhow::Result<()> {
        let file = self.layout();
        let Ok(text) = std::fs::read_to_string(&file) else {
            return Ok(());
        };
        let refuse = || {
            misuse(format!(
                "{} is not from an earlier demo; choose another directory with --out",
                file.display()
            ))
        };
        if !text.starts_with(HEAD) {
            return Err(refuse());
        }
        let layout = Layout::parse(&text, &file).map_err(|_| refuse())?;
        for node in layout.nodes() {
            let directory = self.directory.join(&node.name);
            // One that is not there holds no input.
            let directory = std::fs::canonicalize(&directory).unwrap_or(directory);
            if let Some(input) = inputs
                .iter()
                .find(|input| input.file.starts_with(&directory))
            {
                return Err(misuse(format!(
                    "{} is from the earlier demo in {}, which would be replaced; choose another directory with --out",
                    input.file.display(),
                    self.directory.display()
                )));
            }
        }
        complain(&format!(
            "replacing the results of an earlier demo in {}",
            self.directory.display()
        ));
        for node in layout.nodes() {
            let directory = self.directory.join(&node.name);
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Real logs that the program brings; see samples/README.md for where they are from.
const SAMPLES: [(&str, &[u8]); 2] = [
    ("conn.log", include_bytes!("../../samples/conn.log")),
    ("dns.log", include_bytes!("../../samples/dns.log")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_demos_logs_make_way_and_other_files_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let logger = directory.path().join("logger-1");
        std::fs::create_dir(&logger).expect("made");
        std::fs::write(directory.path().join("mine.txt"), "x").expect("written");
        let layout = format!(
            "{HEAD}\n[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:1\"]\n[node.logger-1]\nrole = \"logger\"\nlisten = [\"grpc://127.0.0.1:2\"]\n"
        );
        std::fs::write(directory.path().join("demo.toml"), layout).expect("written");
        let input = Input {
            file: std::fs::canonicalize(&logger)
                .expect("a path")
                .join("conn.log"),
            path: "conn".to_owned(),
        };
        let error = Workspace::create(Some(directory.path()), &[input]).expect_err("refused");
        assert!(error.downcast_ref::<crate::failure::Misuse>().is_some());
        assert!(logger.exists());
        Workspace::create(Some(directory.path()), &[]).expect("made ready");
        assert!(!logger.exists());
        assert!(directory.path().join("mine.txt").exists());
    }

    #[test]
    fn somebody_elses_layout_is_not_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("demo.toml"), "[cluster]\n").expect("written");
        let error = Workspace::create(Some(directory.path()), &[]).expect_err("refused");
        assert!(error.downcast_ref::<crate::failure::Misuse>().is_some());
    }
}
