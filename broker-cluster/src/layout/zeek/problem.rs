//! What can be wrong with a layout of Zeek's.

/// What is wrong with a `node.cfg`, a `zeekctl.cfg` or a `cluster-layout.zeek`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZeekLayoutProblem {
    /// Something else stands there.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// Something begins there and never ends.
    #[error("{what} has no end")]
    Unclosed {
        /// What.
        what: &'static str,
    },
    /// Brackets stand too deep.
    #[error("brackets are nested too deep")]
    TooDeep,
    /// A directive that would have to be carried out.
    #[error("{word:?} cannot be carried out here")]
    Condition {
        /// Its name.
        word: String,
    },
    /// No address.
    #[error("{text:?} is no address")]
    BadAddress {
        /// What stands there.
        text: String,
    },
    /// No port of Zeek's.
    #[error("{text:?} is no port that a node can listen on")]
    BadPort {
        /// What stands there.
        text: String,
    },
    /// Another type of nodes.
    #[error("{word:?} is no type of nodes")]
    UnknownType {
        /// The word.
        word: String,
    },
    /// Something that each node must have.
    #[error("node {node:?} has no {key}")]
    Missing {
        /// The node.
        node: String,
        /// What it lacks.
        key: &'static str,
    },
    /// A name that cannot be part of a topic and of a directory.
    #[error("{name:?} cannot be the name of a node")]
    BadName {
        /// The name.
        name: String,
    },
    /// A node's manager is none.
    #[error("the manager of node {node:?} is {manager:?}, which is not the manager")]
    NotItsManager {
        /// The node.
        node: String,
        /// Whom it names.
        manager: String,
    },
    /// Nothing in the file defines nodes.
    #[error("there are no nodes in it")]
    NoNodes,
    /// More nodes than a layout may have.
    #[error("there are more than {} nodes", crate::Layout::MAX_NODES)]
    TooManyNodes,
    /// A cluster of zeekctl's has a proxy.
    #[error("there is no node with type=proxy")]
    NoProxy,
    /// A standalone node is alone.
    #[error("{node:?} is standalone, and there are others")]
    NotAlone {
        /// The standalone node.
        node: String,
    },
    /// Others cannot reach a manager at localhost.
    #[error("node {node:?} is at {host:?}, and the manager at localhost")]
    Unreachable {
        /// The node.
        node: String,
        /// Where it is.
        host: String,
    },
    /// Two names that differ in case only.
    #[error("node {name:?} is there as {other:?} already")]
    SameName {
        /// The name.
        name: String,
        /// The other.
        other: String,
    },
    /// A value that is none of those there may be.
    #[error("{key} is {value:?}")]
    BadValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The ports that are dealt out end at 65535.
    #[error("there are not enough ports from {first} on")]
    OutOfPorts {
        /// The first.
        first: u16,
        /// The option that says so.
        option: &'static str,
    },
    /// A cluster that talks to itself in another way.
    #[error("its nodes speak {backend}, not Broker")]
    OtherBackend {
        /// The backend.
        backend: String,
    },
}

impl ZeekLayoutProblem {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Expected { .. } | Self::Unclosed { .. } | Self::TooDeep => {
                "see docs/cluster.md for what is understood".to_owned()
            }
            Self::Condition { .. } => "write what holds without it".to_owned(),
            Self::BadAddress { .. } => {
                "write an IPv4 address, or an IPv6 address in brackets".to_owned()
            }
            Self::BadPort { .. } => "write a number from 0 to 65535 and /tcp".to_owned(),
            Self::UnknownType { .. } => {
                "use one of manager, logger, proxy, worker (or standalone, control)".to_owned()
            }
            Self::Missing { key, .. } => format!("add {key}"),
            Self::BadName { .. } => {
                "use 1 to 200 letters, digits and marks, without / \\ : or control characters, not starting with a dot".to_owned()
            }
            Self::NotItsManager { .. } => "name the one node with type manager".to_owned(),
            Self::NoNodes => "is this the right file?".to_owned(),
            Self::TooManyNodes => "divide the cluster".to_owned(),
            Self::NoProxy => "add one, as zeekctl wants it".to_owned(),
            Self::NotAlone { .. } => "make it a manager, or remove the others".to_owned(),
            Self::Unreachable { .. } => {
                "give the manager the address that others know it by".to_owned()
            }
            Self::SameName { .. } => "give each node a name of its own".to_owned(),
            Self::BadValue { expected, .. } => format!("write {expected}"),
            Self::OutOfPorts { option, .. } => format!("choose a smaller {option}"),
            Self::OtherBackend { .. } => "set ClusterBackend = Broker and deploy again".to_owned(),
        }
    }
}
