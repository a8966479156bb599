//! Stores of a peer: which there are, and working with one through a clone that is attached for that alone.
//!
//! A peer does not say what stores it has; but it subscribes to their topics (wire reference 7.1), so its filter tells. A
//! filter holds prefixes only: a peer that subscribed to everything else as well hides them, and has to be asked.

use std::fmt;
use std::time::Duration;

use broker_core::topic::reserved;
use broker_core::{Endpoint, EndpointId, ErrorCode, Filter, StoreFailure};

use crate::error::AttachError;
use crate::options::CloneOptions;
use crate::store::{Role, Store};
use crate::stores::StoreExt;

/// A store that a peer has, as its filter tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerStore {
    /// The store's name.
    pub name: String,
    /// What the peer has of it.
    pub role: Role,
}

impl fmt::Display for PeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.role.name())
    }
}

/// Why a store of a peer cannot be worked with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no such peer, or it has gone.
    #[error("peer_unavailable: {peer} is no peer")]
    NoPeer {
        /// Who it was to be.
        peer: EndpointId,
    },
    /// The peer has no store of that name.
    #[error("no_such_master: the peer has no store {name:?}")]
    NoSuchStore {
        /// The name.
        name: String,
        /// The stores it has.
        available: Vec<PeerStore>,
    },
    /// The peer follows the store only. Store commands reach direct peers, so a clone here would find no master.
    #[error(
        "no_such_master: the peer has a clone of store {name:?}, its master is on another node"
    )]
    CloneOnly {
        /// The name.
        name: String,
    },
    /// Nobody answered as the master of the store.
    #[error("no_such_master: no master of store {name:?} answered within {limit:?}")]
    NoAnswer {
        /// The name.
        name: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The handle could not be attached.
    #[error("cannot follow the store")]
    Attach(#[from] AttachError),
}

impl RemoteError {
    /// The code Broker uses for it. No `_` arm: a new variant must choose its code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoPeer { .. } => ErrorCode::PeerUnavailable,
            Self::NoSuchStore { .. } | Self::CloneOnly { .. } | Self::NoAnswer { .. } => {
                ErrorCode::NoSuchMaster
            }
            Self::Attach(error) => error.code(),
        }
    }
}

impl From<RemoteError> for StoreFailure {
    fn from(error: RemoteError) -> Self {
        if let RemoteError::NoSuchStore { name, available } = error {
            let available = available.into_iter().map(|store| store.name).collect();
            return Self::NoSuchStore { name, available };
        }
        let text = match &error {
            RemoteError::Attach(error) => error.to_string(),
            error => error.to_string(),
        };
        // The texts begin with the code's name.
        let detail = text
            .strip_prefix(error.code().name())
            .map_or(text.as_str(), |detail| detail.trim_start_matches(": "));
        Self::Code {
            code: error.code(),
            detail: detail.to_owned(),
        }
    }
}

/// See [`StoreExt::stores_of`].
pub(crate) fn stores_in(filter: &Filter) -> Vec<PeerStore> {
    let suffixes = [
        (reserved::MASTER_SUFFIX, Role::Master),
        (reserved::CLONE_SUFFIX, Role::Clone),
    ];
    let mut stores: Vec<_> = filter
        .iter()
        .filter_map(|topic| {
            suffixes.iter().find_map(|(suffix, role)| {
                let name = topic.as_bytes().strip_suffix(suffix.as_bytes())?;
                let name = std::str::from_utf8(name.strip_suffix(b"/")?).ok()?;
                (!name.is_empty()).then(|| PeerStore {
                    name: name.to_owned(),
                    role: *role,
                })
            })
        })
        .collect();
    stores.sort();
    stores
}

/// See [`StoreExt::open_remote`].
pub(crate) async fn open(
    endpoint: &Endpoint,
    peer: EndpointId,
    name: &str,
    limit: Duration,
    options: CloneOptions,
) -> Result<Store, RemoteError> {
    let filter = filter_of(endpoint, peer).ok_or(RemoteError::NoPeer { peer })?;
    let topics = crate::stores::topics(name)?;
    if !filter.matches(&topics.master) {
        return Err(if filter.contains(&topics.clone) {
            RemoteError::CloneOnly {
                name: name.to_owned(),
            }
        } else {
            RemoteError::NoSuchStore {
                name: name.to_owned(),
                available: stores_in(&filter),
            }
        });
    }
    let store = endpoint.attach_remote(name, options).await?;
    if store.attached(limit).await {
        return Ok(store);
    }
    // A filter that merely covers the topic promised nothing.
    Err(match filter_of(endpoint, peer) {
        None => RemoteError::NoPeer { peer },
        Some(_) => RemoteError::NoAnswer {
            name: name.to_owned(),
            limit,
        },
    })
}

fn filter_of(endpoint: &Endpoint, peer: EndpointId) -> Option<Filter> {
    let mut peers = endpoint.peers().into_iter();
    peers.find(|info| info.id == peer).map(|info| info.filter)
}

#[cfg(test)]
mod tests {
    use broker_core::Topic;

    use super::*;

    #[test]
    fn a_filter_tells_which_stores_there_are() {
        let topic = |text: &str| Topic::try_from(text).unwrap();
        let mut filter = Filter::new();
        filter.extend([
            topic("zeek/"),
            topic("b/<$>/data/master"),
            topic("a/b/<$>/data/clone"),
            topic("/<$>/data/master"),
            topic("<$>/data/master"),
            Topic::copy_from(b"\xff/<$>/data/master".as_slice()).unwrap(),
        ]);
        let stores: Vec<_> = stores_in(&filter).iter().map(ToString::to_string).collect();
        assert_eq!(stores, ["a/b (clone)", "b (master)"]);
    }

    #[test]
    fn a_failure_has_the_code_and_what_is_behind_it() {
        let failure = StoreFailure::from(RemoteError::CloneOnly {
            name: "s".to_owned(),
        });
        assert_eq!(
            failure,
            StoreFailure::Code {
                code: ErrorCode::NoSuchMaster,
                detail: "the peer has a clone of store \"s\", its master is on another node"
                    .to_owned()
            }
        );
        let failure = StoreFailure::from(RemoteError::Attach(AttachError::Closed));
        assert_eq!(
            failure,
            StoreFailure::Code {
                code: ErrorCode::ShuttingDown,
                detail: String::new()
            }
        );
    }
}
