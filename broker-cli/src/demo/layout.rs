//! The layout of a demo: which nodes there are and where they listen.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;

use super::{Args, Transport};

/// The nodes of a demo by role.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    pub(crate) transport: Transport,
    pub(crate) manager: String,
    pub(crate) loggers: Vec<String>,
    pub(crate) proxies: Vec<String>,
    pub(crate) workers: Vec<String>,
}

impl Nodes {
    /// The nodes that were asked for.
    pub(crate) fn new(args: &Args) -> Self {
        let names = |role: &str, count| {
            (1..=count)
                .map(|number| format!("{role}-{number}"))
                .collect()
        };
        Self {
            transport: args.transport,
            manager: "manager".to_owned(),
            loggers: names("logger", args.loggers),
            proxies: names("proxy", args.proxies),
            workers: names("worker", args.workers),
        }
    }

    /// All names.
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.manager)
            .chain(&self.loggers)
            .chain(&self.proxies)
            .chain(&self.workers)
    }

    /// The layout as TOML text. Nodes that others dial get free ports; workers take any, only the driver asks them.
    pub(crate) fn layout(&self) -> anyhow::Result<String> {
        self.layout_after(HEAD)
    }

    /// The same behind another beginning.
    pub(crate) fn layout_after(&self, head: &str) -> anyhow::Result<String> {
        let dialled: Vec<_> = std::iter::once((&self.manager, "manager"))
            .chain(self.loggers.iter().map(|name| (name, "logger")))
            .chain(self.proxies.iter().map(|name| (name, "proxy")))
            .collect();
        let ports = free_ports(dialled.len())?;
        let mut text = String::from(head);
        for ((name, role), port) in dialled.into_iter().zip(ports) {
            text.push_str(&self.node(name, role, port));
        }
        for name in &self.workers {
            text.push_str(&self.node(name, "worker", 0));
        }
        Ok(text)
    }

    fn node(&self, name: &str, role: &str, port: u16) -> String {
        // Others dial the first; the driver asks over grpc.
        let listen = match self.transport {
            Transport::Grpc => format!("\"grpc://127.0.0.1:{port}\""),
            Transport::Broker => {
                format!("\"broker://127.0.0.1:{port}\", \"grpc://127.0.0.1:0\"")
            }
        };
        format!(
            "\n[node.{name}]\nrole = \"{role}\"\nlisten = [{listen}]\nqueue_policy = \"block\"\n"
        )
    }
}

/// `count` ports that nobody listens on, below those that systems hand out for outgoing connections, so that none of
/// the cluster's own connections takes one before its node has bound it.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..ATTEMPTS {
        if held.len() == count {
            break;
        }
        let port = fastrand::u16(LOWEST..HIGHEST);
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    anyhow::ensure!(
        held.len() == count,
        "cannot find {count} free ports on 127.0.0.1"
    );
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect::<std::io::Result<_>>()
        .context("free ports")
}

const LOWEST: u16 = 10_240;
const HIGHEST: u16 = 32_000;
const ATTEMPTS: usize = 4096;

/// How every layout of a demo begins.
pub(crate) const HEAD: &str = "\
# Written by `broker demo`; `broker node --config FILE --name NODE` runs a node of it.
[cluster]
name = \"demo\"
log_dir = \".\"

[logging]
node_streams = false # only what the demo writes is counted

[stores.hosts]
backend = \"memory\"
";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_layout_is_one_that_nodes_take() {
        for transport in ["grpc", "broker"] {
            let args =
                Command::parse_from(["demo", "--workers", "3", "--transport", transport]).args;
            let nodes = Nodes::new(&args);
            let layout =
                broker_cluster::Layout::parse(&nodes.layout().expect("ports"), "demo.toml")
                    .expect("a layout");
            let mut names: Vec<_> = nodes.all().cloned().collect();
            names.sort();
            assert_eq!(
                layout
                    .nodes()
                    .map(|node| node.name.clone())
                    .collect::<Vec<_>>(),
                names
            );
            assert_eq!(names.len(), 8);
            for name in &names {
                layout
                    .check_spoken(name, &["grpc", "broker"])
                    .expect("speaks both");
                let dialled =
                    layout.dial_urls(layout.require(name).expect("there"), &["grpc", "broker"]);
                for url in dialled {
                    assert_eq!(url.scheme(), transport);
                }
            }
        }
    }

    #[test]
    fn ports_are_different_from_each_other() {
        let mut ports = free_ports(20).expect("ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 20);
    }
}
