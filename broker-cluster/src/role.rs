//! The four roles of a cluster node, and who dials whom (reference, zeek-cluster 2.1 and 2.2).
//!
//! Zeek's layouts know two more types, NONE and CONTROL; a node of a layout here always has one of
//! the four.

use std::fmt;
use std::str::FromStr;

/// What a node of the cluster is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Coordinates; there is exactly one. Holds the masters of the stores.
    Manager,
    /// Writes log files.
    Logger,
    /// Holds partitioned state and relays between workers.
    Proxy,
    /// Does the work.
    Worker,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Manager, Self::Logger, Self::Proxy, Self::Worker];

    /// The word for the role in layouts and topics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Logger => "logger",
            Self::Proxy => "proxy",
            Self::Worker => "worker",
        }
    }

    /// The roles a node of this role dials, in order: within one role by name, bytewise.
    #[must_use]
    pub const fn dials(self) -> &'static [Self] {
        match self {
            Self::Logger => &[],
            Self::Manager => &[Self::Logger],
            Self::Proxy => &[Self::Logger, Self::Manager],
            Self::Worker => &[Self::Logger, Self::Proxy, Self::Manager],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no role (manager, logger, proxy, worker)")]
pub struct UnknownRole {
    /// The word given.
    pub word: String,
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| UnknownRole {
                word: word.chars().take(64).collect(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_words_read_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("Worker".parse::<Role>().is_err());
    }

    #[test]
    fn of_two_roles_at_most_one_dials_the_other() {
        for a in Role::ALL {
            assert!(!a.dials().contains(&a));
            for b in a.dials() {
                assert!(!b.dials().contains(&a));
            }
        }
    }
}
