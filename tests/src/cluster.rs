//! Nodes for tests: relays and small clusters with a configuration of their own.

use std::path::Path;

use tempfile::TempDir;

use crate::{Running, broker};

/// A directory with a configuration, and the nodes started from it.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
}

impl Cluster {
    /// A configuration file with this text in a directory of its own.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("cluster.toml"), config).expect("written");
        Self { directory }
    }

    /// A manager alone, on any port, with these stores in memory.
    #[must_use]
    pub fn with_stores(names: &[&str]) -> Self {
        let stores: String = names
            .iter()
            .map(|name| format!("[stores.{name}]\nbackend = \"memory\"\n"))
            .collect();
        Self::new(&format!(
            "[cluster]\nname = \"test\"\n{stores}[node.manager]\nrole = \"manager\"\nlisten = [\"grpc://127.0.0.1:0\"]\n"
        ))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the node called `name` and waits until it is ready; also says where it listens.
    #[must_use]
    pub fn node(&self, name: &str) -> (Running, String) {
        self.node_with(name, &[])
    }

    /// The same with these environment variables.
    #[must_use]
    pub fn node_with(&self, name: &str, environment: &[(&str, &str)]) -> (Running, String) {
        let mut command = broker();
        command
            .envs(environment.iter().copied())
            .arg("node")
            .arg("--config")
            .arg(self.path().join("cluster.toml"))
            .args(["--name", name]);
        let mut node = Running::start(&mut command);
        let url = node.line_after("listening ");
        node.line_after("ready");
        (node, url)
    }

    /// Starts a relay on any port with further arguments and waits until it is ready; also says where it listens.
    #[must_use]
    pub fn relay(args: &[&str]) -> (Running, String) {
        let (node, mut urls) = Self::relay_on(&["grpc"], args);
        (node, urls.remove(0))
    }

    /// Starts a relay that listens on any port with each of these schemes, with further arguments, and waits until it
    /// is ready; also says where it listens, in the same order.
    #[must_use]
    pub fn relay_on(schemes: &[&str], args: &[&str]) -> (Running, Vec<String>) {
        let mut command = broker();
        command.arg("node");
        for scheme in schemes {
            command.args(["--listen", &format!("{scheme}://127.0.0.1:0")]);
        }
        let mut node = Running::start(command.args(args));
        let urls = schemes
            .iter()
            .map(|_| node.line_after("listening "))
            .collect();
        node.line_after("ready");
        (node, urls)
    }
}
