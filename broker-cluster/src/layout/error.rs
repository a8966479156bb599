//! What can be wrong with a layout file: one line that names the file, the line and the fix.

use std::fmt;
use std::path::{Path, PathBuf};

use super::format::LayoutFormat;
use super::zeek::ZeekLayoutProblem;
use crate::pools::AllocationError;
use crate::role::{Role, UnknownRole};

/// A layout that cannot be used. Its text is one line: `FILE:LINE: what is wrong; the fix`, or `FILE:LINE:COLUMN:` where a
/// line may hold much.
#[derive(Debug)]
pub struct LayoutError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1, where one is to blame.
    pub line: Option<usize>,
    /// The character of the line, counted from 1, where one is to blame.
    pub column: Option<usize>,
    /// What the file is written in, which decides how to mend it.
    pub format: LayoutFormat,
    /// What is wrong.
    pub problem: Box<LayoutProblem>,
}

impl LayoutError {
    pub(super) fn new(file: &Path, line: Option<usize>, problem: LayoutProblem) -> Self {
        Self {
            file: file.to_owned(),
            line,
            column: None,
            format: LayoutFormat::Toml,
            problem: Box::new(problem),
        }
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(
            f,
            ": {}; {}",
            self.problem,
            self.problem.fix_in(self.format)
        )
    }
}

impl std::error::Error for LayoutError {}

/// What is wrong with a layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutProblem {
    /// The file cannot be read.
    #[error("cannot read the layout: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("not valid TOML: {reason}")]
    Syntax {
        /// What the parser said.
        reason: String,
    },
    /// A key or table stands in the file twice.
    #[error("{what:?} is there a second time")]
    Twice {
        /// Its name, as it stands there.
        what: String,
    },
    /// A key or table nobody knows.
    #[error("unknown key {key:?} in {table}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        table: String,
        /// The keys there are.
        known: &'static [&'static str],
    },
    /// A key that must be there.
    #[error("{table} has no {key:?}")]
    MissingKey {
        /// Where it should stand.
        table: String,
        /// The key.
        key: &'static str,
        /// An example line.
        example: &'static str,
    },
    /// A value of another type.
    #[error("{key:?} in {table} is {found}")]
    WrongType {
        /// Where it stands.
        table: String,
        /// The key.
        key: String,
        /// What the value is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number out of range.
    #[error("{key:?} in {table} is {value}")]
    OutOfRange {
        /// Where it stands.
        table: String,
        /// The key.
        key: String,
        /// The number.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A word that is none of those allowed.
    #[error("{key:?} in {table} is {word:?}")]
    UnknownWord {
        /// Where it stands.
        table: String,
        /// The key.
        key: String,
        /// The word.
        word: String,
        /// The words there are.
        accepted: String,
    },
    /// The node that reads the layout again has another role in it.
    #[error("{name} is a {new} here, and runs as a {old}")]
    RoleChanged {
        /// The node.
        name: String,
        /// What it runs as.
        old: crate::role::Role,
        /// What it is in the layout.
        new: crate::role::Role,
    },
    /// A role that does not exist.
    #[error("unknown role {:?} in {table}", .source.word)]
    UnknownRole {
        /// Where it stands.
        table: String,
        /// The word.
        #[source]
        source: UnknownRole,
    },
    /// A name that cannot be part of a topic and of a directory.
    #[error("{name:?} cannot be the name of a {what}")]
    BadName {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// An address that is none.
    #[error("bad address in {table}: {reason}")]
    BadUrl {
        /// Where it stands.
        table: String,
        /// Why it is none.
        reason: String,
    },
    /// An address of a scheme nobody serves.
    #[error("unknown scheme {scheme:?} in {url:?} of {table}")]
    UnknownScheme {
        /// Where it stands.
        table: String,
        /// The address.
        url: String,
        /// The scheme.
        scheme: String,
        /// The schemes there are.
        accepted: String,
    },
    /// Two nodes cannot listen on one address.
    #[error("{table} listens on {url}, as {other} does")]
    DuplicateAddress {
        /// One node.
        table: String,
        /// The address.
        url: String,
        /// The other node.
        other: String,
    },
    /// A cluster has a manager.
    #[error("there is no node with role \"manager\"")]
    NoManager,
    /// A cluster has one manager.
    #[error("{second} is a second manager beside {first}")]
    SecondManager {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Somebody has to dial this node, and it does not listen.
    #[error("{table} listens nowhere, but {by} has to dial it")]
    NotListening {
        /// The node.
        table: String,
        /// Who dials it.
        by: String,
    },
    /// Somebody has to dial this node, and its address says no port or no host.
    #[error("nobody can dial {url} of {table}, but {by} has to")]
    NotDialable {
        /// The node.
        table: String,
        /// The address.
        url: String,
        /// Who dials it.
        by: String,
    },
    /// Somebody has to dial this node, and all it has is for clients.
    #[error("{table} listens on {url} only, which is for clients, but {by} has to dial it")]
    ForClients {
        /// The node.
        table: String,
        /// Its first address.
        url: String,
        /// Who dials it.
        by: String,
    },
    /// A backend that nobody knows.
    #[error("unknown backend {word:?} in {table}")]
    UnknownBackend {
        /// Where it stands.
        table: String,
        /// The word.
        word: String,
    },
    /// A backend that this build lacks.
    #[error("backend {backend:?} in {table} is not part of this build")]
    BackendNotBuilt {
        /// Where it stands.
        table: String,
        /// The backend.
        backend: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// An option that the backend does not have.
    #[error("{key:?} in {table} means nothing to backend {backend:?}")]
    NotForBackend {
        /// Where it stands.
        table: String,
        /// The key.
        key: String,
        /// The backend.
        backend: &'static str,
    },
    /// The pools cannot be filled.
    #[error("{source}")]
    Pools {
        /// Why.
        #[source]
        source: AllocationError,
    },
    /// An event is published again to those who publish it again.
    #[error(
        "{table} publishes its event to {topic}, where it comes back to nodes of role {role} that publish it again"
    )]
    RelayLoop {
        /// The relay.
        table: String,
        /// Where it publishes.
        topic: String,
        /// Who gets it from there.
        role: Role,
    },
    /// A layout of Zeek's that cannot be read.
    #[error("{source}")]
    Zeek {
        /// What is wrong with it.
        source: ZeekLayoutProblem,
    },
    /// The file is too long to be a layout.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// The bytes it may have.
        limit: u64,
    },
    /// A text beside a layout that says everything itself.
    #[error("only a layout of Zeek's takes settings from another file")]
    NothingBeside,
    /// The node to run is not in the layout.
    #[error("there is no node called {name:?}")]
    NoSuchNode {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The node to run is to listen or dial in a way this program cannot.
    #[error("{table} wants {url}, and this program speaks {}", .spoken.join(", "))]
    NotSpoken {
        /// The node.
        table: String,
        /// The address.
        url: String,
        /// The schemes there are transports for.
        spoken: Vec<String>,
    },
}

impl LayoutProblem {
    /// What to do about it in a layout written in `format`.
    #[must_use]
    pub fn fix_in(&self, format: LayoutFormat) -> String {
        let fix = match (self, format) {
            (Self::NoManager | Self::SecondManager { .. }, LayoutFormat::NodeCfg) => {
                "exactly one node has type=manager"
            }
            (Self::NoManager | Self::SecondManager { .. }, LayoutFormat::Zeek) => {
                "exactly one node has $node_type=Cluster::MANAGER"
            }
            (Self::NotListening { .. }, LayoutFormat::Zeek) => "add $p=PORT/tcp",
            (Self::NotDialable { .. }, LayoutFormat::NodeCfg | LayoutFormat::Zeek) => {
                "name the address that others know it by"
            }
            _ => return self.fix(),
        };
        fix.to_owned()
    }

    /// What to do about it in a layout of our own.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check the path and its permissions".to_owned(),
            Self::Syntax { .. } => "see https://toml.io for the syntax".to_owned(),
            Self::Twice { .. } => "give each a name of its own, or remove one".to_owned(),
            Self::UnknownKey { key, known, .. } => match closest(key, known) {
                Some(meant) => format!("did you mean {meant:?}? known are {}", known.join(", ")),
                None => format!("known are {}", known.join(", ")),
            },
            Self::MissingKey { example, .. } => format!("add {example}"),
            Self::WrongType { expected, .. } | Self::OutOfRange { expected, .. } => format!("write {expected}"),
            Self::UnknownWord { accepted, .. } => format!("use one of {accepted}"),
            Self::UnknownRole { .. } => "use one of manager, logger, proxy, worker".to_owned(),
            Self::BadName { what: "table", .. } => {
                "use the name of the global in Zeek, in quotes: letters, digits and _, with :: between, at most 200 bytes, not starting with a digit".to_owned()
            }
            Self::RoleChanged { .. } => "start the node again to give it another role".to_owned(),
            Self::BadName { .. } => {
                "use 1 to 200 letters, digits and marks, without / \\ : or control characters, not starting with a dot".to_owned()
            }
            Self::BadUrl { .. } => "write scheme://host:port, for example grpc://127.0.0.1:9998".to_owned(),
            Self::UnknownScheme { accepted, .. } => format!("use one of {accepted}"),
            Self::DuplicateAddress { .. } => "give each node a port of its own".to_owned(),
            Self::NoManager => "add [node.manager] with role = \"manager\"".to_owned(),
            Self::SecondManager { .. } => "give one of them another role".to_owned(),
            Self::NotListening { .. } => "add listen = [\"grpc://host:port\"]".to_owned(),
            Self::NotDialable { .. } => "name a port other than 0 and a host that others reach, or say both in advertise".to_owned(),
            Self::ForClients { .. } => "add an address that nodes dial, such as grpc://host:port".to_owned(),
            Self::UnknownBackend { .. } => "use one of memory, sqlite, sled".to_owned(),
            Self::BackendNotBuilt { feature, .. } => format!("build with cargo feature {feature:?}, or choose another backend"),
            Self::NotForBackend { .. } => "remove it".to_owned(),
            Self::Pools { .. } => "change max_nodes, exclusive, topic or role of the pools, or add nodes".to_owned(),
            Self::RelayLoop { .. } => "use another topic, such as zeek/cluster/worker".to_owned(),
            Self::Zeek { source } => source.fix(),
            Self::TooLong { .. } => "is this the right file?".to_owned(),
            Self::NothingBeside => "write them into the layout".to_owned(),
            Self::NoSuchNode { known, .. } => format!("use one of {}", known.join(", ")),
            Self::NotSpoken { .. } => "use an address that can be spoken".to_owned(),
        }
    }
}

/// The known word that differs from `word` in at most two letters, if there is one.
fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > 32 {
        return None;
    }
    known
        .iter()
        .copied()
        .map(|other| (distance(word, other), other))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map(|(_, other)| other)
}

/// The number of letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        let known = ["role", "listen", "advertise"];
        assert_eq!(closest("lisen", &known), Some("listen"));
        assert_eq!(closest("rol", &known), Some("role"));
        assert_eq!(closest("colour", &known), None);
    }
}
