//! Publishing to a role, a node, a process, or a member of a pool; and relaying, for workers, which do not see each
//! other (reference, zeek-cluster 1.1, 2.5 and 3.7).

use broker_core::{EndpointId, Reached, Topic};

use super::{ClusterNode, ClusterPublishError, Shared};
use crate::events::ClusterEvent;
use crate::outgoing::{Outgoing, PreparedEvent};
use crate::pools::{Pool, PoolSpec, ToHrwKey};
use crate::role::Role;
use crate::topics;

/// Who relays an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVia<'a> {
    /// The manager.
    Manager,
    /// The next proxy in turn of the sequence with this name.
    Proxy(&'a str),
}

impl ClusterNode {
    /// Publishes an event. Own event streams do not get it.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits for room, some receivers may have the event and others not.
    pub async fn publish(
        &self,
        topic: Topic,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        let message = self.checked(event)?.into_message(topic);
        Ok(self.endpoint().publish(message).await?)
    }

    /// Publishes to all nodes of a role that this one is connected to.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_to_role(
        &self,
        role: Role,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        self.publish(topics::role_topic(role), event).await
    }

    /// Publishes to all nodes of all roles that this one is connected to, once to each of the four role topics.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, some roles may have the event and others not.
    pub async fn broadcast(
        &self,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        // Encoded once for all four.
        let event = match self.checked(event)? {
            prepared if prepared.is_prepared() => prepared,
            event => PreparedEvent::new(event.into_event()).into(),
        };
        let mut all = Reached::default();
        for topic in topics::BROADCAST {
            let message = event.clone().into_message(Topic::from_static(topic));
            let reached = self.endpoint().publish(message).await?;
            all.peers += reached.peers;
            all.locals += reached.locals;
        }
        Ok(all)
    }

    /// Publishes to one node of the layout.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_to_node(
        &self,
        name: &str,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        if self.current_layout().node(name).is_none() {
            return Err(ClusterPublishError::NoSuchNode {
                name: name.to_owned(),
            });
        }
        self.publish(topics::node_topic(name), event).await
    }

    /// Publishes to one process.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_to_id(
        &self,
        id: EndpointId,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        self.publish(topics::nodeid_topic(id), event).await
    }

    /// Publishes to all members of a pool.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_to_pool(
        &self,
        pool: &str,
        event: impl Into<Outgoing>,
    ) -> Result<Reached, ClusterPublishError> {
        let topic = self
            .shared
            .with_pool(pool, |pool| Topic::copy_from(pool.spec().topic.as_bytes()))?;
        match topic {
            Ok(topic) => self.publish(topic, event).await,
            Err(_) => Err(ClusterPublishError::NoSuchPool {
                name: pool.to_owned(),
            }),
        }
    }

    /// Publishes to the member of a pool that a key belongs to. `None`: no member is up.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_hrw(
        &self,
        pool: &str,
        key: &(impl ToHrwKey + ?Sized),
        event: impl Into<Outgoing>,
    ) -> Result<Option<Reached>, ClusterPublishError> {
        match self.hrw_topic(pool, key)? {
            Some(topic) => self.publish(topic, event).await.map(Some),
            None => Ok(None),
        }
    }

    /// Publishes to the next member of a pool in turn, of the sequence called `key`. `None`: no member is up. This node
    /// takes its turn if it is a member, and then nobody gets the event, as in Zeek.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn publish_rr(
        &self,
        pool: &str,
        key: &str,
        event: impl Into<Outgoing>,
    ) -> Result<Option<Reached>, ClusterPublishError> {
        match self.rr_topic(pool, key)? {
            Some(topic) => self.publish(topic, event).await.map(Some),
            None => Ok(None),
        }
    }

    /// The name of the member of a pool that a key belongs to at the moment; none if no member is up.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn hrw_node(
        &self,
        pool: &str,
        key: &(impl ToHrwKey + ?Sized),
    ) -> Result<Option<String>, ClusterPublishError> {
        let key = key.to_hrw_key()?;
        self.shared
            .with_pool(pool, |pool| pool.hrw(&key).map(|node| node.name.clone()))
    }

    /// The topic of the member of a pool that a key belongs to at the moment; none if no member is up. Never this node:
    /// a member does not choose itself, as in Zeek.
    ///
    /// # Errors
    /// There is no such pool, or the value cannot be a key.
    pub fn hrw_topic(
        &self,
        pool: &str,
        key: &(impl ToHrwKey + ?Sized),
    ) -> Result<Option<Topic>, ClusterPublishError> {
        let key = key.to_hrw_key()?;
        self.shared
            .with_pool(pool, |pool| pool.hrw(&key).map(|node| node.topic.clone()))
    }

    /// The topic of the next member of a pool in turn, of the sequence called `key`; none if no member is up. This node
    /// takes its turn if it is a member.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn rr_topic(&self, pool: &str, key: &str) -> Result<Option<Topic>, ClusterPublishError> {
        self.shared.with_pool(pool, |pool| {
            pool.round_robin(key).map(|node| node.topic.clone())
        })
    }

    /// Has another node publish an event to `topic`, for example a worker to all workers, this one included. Relaying
    /// nodes are ours; Zeek nodes need a script of their own for it. `false`: nobody to relay is up.
    ///
    /// # Errors
    /// See [`ClusterPublishError`].
    pub async fn relay(
        &self,
        via: RelayVia<'_>,
        topic: Topic,
        event: impl Into<Outgoing>,
    ) -> Result<bool, ClusterPublishError> {
        let event = self.checked(event)?;
        let name = match via {
            RelayVia::Manager => Some(self.current_layout().manager().name.clone()),
            RelayVia::Proxy(key) => self.shared.with_pool(PoolSpec::PROXY, |pool| {
                pool.round_robin(key).map(|node| node.name.clone())
            })?,
        };
        if name.as_deref() == Some(self.spec().name.as_str()) {
            return Ok(!self.publish(topic, event).await?.nobody());
        }
        let Some(id) = name.and_then(|name| self.id_of(&name)) else {
            return Ok(false);
        };
        let event = event.into_event();
        let relay = ClusterEvent::Relay { topic, event }.to_event();
        Ok(self.publish_to_id(id, relay).await?.peers > 0)
    }
}

impl Shared {
    pub(super) fn with_pool<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Pool) -> T,
    ) -> Result<T, ClusterPublishError> {
        let mut state = self.state();
        match state.pools.iter_mut().find(|pool| pool.spec().name == name) {
            Some(pool) => Ok(act(pool)),
            None => Err(ClusterPublishError::NoSuchPool {
                name: name.to_owned(),
            }),
        }
    }
}
