//! The stores of one endpoint: attaching them, and the doors to them that core offers to the layers beside.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker_core::{
    BoxFuture, Endpoint, EndpointId, EntityId, NodeStatus, StatusSource, StoreAccess, StoreFailure,
    StoreOperation, StoreReply, StoreStatus, StoreWatch, WatchRequest,
};
use tokio::sync::{mpsc, watch};

use crate::backend::Backend;
use crate::channel::Timers;
use crate::clone::{CloneState, Freshness};
use crate::driver::{
    Clock, CloneDriver, MAX_ASKS, MasterDriver, Shared, Topics, name_of, position, speaks,
};
use crate::error::AttachError;
use crate::ids::EntityIds;
use crate::master::MasterState;
use crate::options::{CloneOptions, MasterOptions};
use crate::remote::{self, PeerStore, RemoteError};
use crate::store::{Copy, Inner, Role, Store};

/// Stores on an endpoint: what this crate adds to [`Endpoint`].
///
/// An endpoint whose stores are to talk to those of other nodes of ours should announce
/// [`FEATURE`](crate::FEATURE) ([`EndpointBuilder::feature`](broker_core::EndpointBuilder::feature)): then writes of
/// clones are answered with the master's result. Without it they are answered by their echo, as with C++ nodes.
pub trait StoreExt {
    /// Attaches the master of the store called `name` over `backend`. If this endpoint has it already, that one is
    /// returned and `backend` dropped.
    ///
    /// # Errors
    /// A peer announces that it has the master, this endpoint has a clone, the backend fails, or the name is unusable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the store is attached or not.
    fn attach_master(
        &self,
        name: &str,
        backend: impl Backend,
        options: MasterOptions,
    ) -> impl Future<Output = Result<Store, AttachError>> + Send;

    /// Attaches a clone of the store called `name`. Succeeds at once: the clone looks for its master until it is there.
    /// If this endpoint has a clone already, that one is returned.
    ///
    /// # Errors
    /// This endpoint has the master, or the name is unusable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the store is attached or not.
    fn attach_clone(
        &self,
        name: &str,
        options: CloneOptions,
    ) -> impl Future<Output = Result<Store, AttachError>> + Send;

    /// Attaches a handle to the store called `name` that keeps no copy: reads are questions to the master, wherever it is
    /// among the peers. Succeeds at once. Behind a C++ master, which cannot be asked, it becomes a clone.
    ///
    /// # Errors
    /// This endpoint has the master or a clone, or the name is unusable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the handle is attached or not.
    fn attach_remote(
        &self,
        name: &str,
        options: CloneOptions,
    ) -> impl Future<Output = Result<Store, AttachError>> + Send;

    /// The store called `name`, if this endpoint has it.
    fn store(&self, name: &str) -> Option<Store>;

    /// The stores of this endpoint, by name.
    fn stores(&self) -> Vec<Store>;

    /// The stores that `peer` has, by name, as its filter tells; none if it is no peer. A peer that subscribed to a
    /// prefix of their topics, the empty one for example, hides them.
    fn stores_of(&self, peer: EndpointId) -> Vec<PeerStore>;

    /// Opens the store called `name` whose master `peer` has, over whatever transport the peering has, as
    /// [`attach_remote`](Self::attach_remote) does, and waits until it can be worked with, at most `limit`. For tools that
    /// come for one operation.
    ///
    /// What became of a write is then known as well as the master tells: with [`FEATURE`](crate::FEATURE) in use on the
    /// link by its code; else by its echo, and a write that is not echoed fails with
    /// [`StoreError::NotEchoed`](crate::StoreError::NotEchoed) within about a second. Behind a C++ master the expiries of
    /// entries that were there before are not known. A handle that found no master stays attached and goes on searching.
    ///
    /// # Errors
    /// There is no such peer; its filter rules the store out, or shows that it has a clone only; or nobody answers.
    ///
    /// # Cancel safety
    /// If the future is dropped, the handle stays attached or not.
    fn open_remote(
        &self,
        peer: EndpointId,
        name: &str,
        limit: Duration,
        options: CloneOptions,
    ) -> impl Future<Output = Result<Store, RemoteError>> + Send;
}

impl StoreExt for Endpoint {
    async fn attach_master(
        &self,
        name: &str,
        backend: impl Backend,
        options: MasterOptions,
    ) -> Result<Store, AttachError> {
        let stores = Stores::of(self)?;
        let topics = topics(name)?;
        let _one_at_a_time = stores.inner.attaching.lock().await;
        match stores.get(name) {
            Some(store) if store.role() == Role::Master => return Ok(store),
            Some(store) => {
                let name = name.to_owned();
                return Err(match store.role() {
                    Role::Remote => AttachError::RemoteExists { name },
                    _ => AttachError::CloneExists { name },
                });
            }
            None => {}
        }
        // Only the very topic counts: a peer that subscribed to a shorter prefix has no master.
        if let Some(peer) = self
            .peers()
            .into_iter()
            .find(|peer| peer.filter.contains(topics.master.as_bytes()))
        {
            let peer = if peer.name.is_empty() {
                peer.id.to_string()
            } else {
                peer.name
            };
            return Err(AttachError::MasterExists {
                name: name.to_owned(),
                peer,
            });
        }
        // A history's own, so that no other one ever speaks in its name.
        let id = EntityId::new(self.id(), fastrand::u64(1 << 32..));
        let shared_name: Arc<str> = name.into();
        let state_name = Arc::clone(&shared_name);
        let endpoint = self.unowned();
        let names = self.unowned();
        let backup = backend.backup().ok();
        let open = move || {
            MasterState::new(state_name, id, Box::new(backend), Timers::default())
                .map(|state| state.with_names(move |id| name_of(&names, id)))
                .map(|state| state.with_speakers(move |id| speaks(&endpoint, id)))
        };
        let state = tokio::task::spawn_blocking(open)
            .await
            .map_err(|_| AttachError::Closed)??;
        let (asks, received) = mpsc::channel(MAX_ASKS);
        let (shared, clock) = (Arc::new(Shared::default()), Clock::start());
        shared.set_position(position(&state));
        let store = Store::new(Inner {
            name: shared_name,
            role: Role::Master,
            backend: state.backend_name().to_owned(),
            asks,
            together: Store::room_together(),
            copy: None,
            backup,
            shared: Arc::clone(&shared),
            clock,
            request_timeout: options.request_timeout,
        });
        // It may be the one that had the storage before.
        let id = state.id();
        let driver = MasterDriver::new(self.unowned(), id, topics, received, shared, clock);
        self.spawn(driver.run(state));
        stores.insert(store.clone());
        Ok(store)
    }

    async fn attach_clone(&self, name: &str, options: CloneOptions) -> Result<Store, AttachError> {
        attach_follower(self, name, options, Role::Clone).await
    }

    async fn attach_remote(&self, name: &str, options: CloneOptions) -> Result<Store, AttachError> {
        attach_follower(self, name, options, Role::Remote).await
    }

    fn store(&self, name: &str) -> Option<Store> {
        Stores::find(self)?.get(name)
    }

    fn stores(&self) -> Vec<Store> {
        Stores::find(self)
            .map(|stores| stores.all())
            .unwrap_or_default()
    }

    fn stores_of(&self, peer: EndpointId) -> Vec<PeerStore> {
        let peers = self.peers();
        let info = peers.iter().find(|info| info.id == peer);
        info.map(|info| remote::stores_in(&info.filter))
            .unwrap_or_default()
    }

    async fn open_remote(
        &self,
        peer: EndpointId,
        name: &str,
        limit: Duration,
        options: CloneOptions,
    ) -> Result<Store, RemoteError> {
        remote::open(self, peer, name, limit, options).await
    }
}

/// Attaches what follows a master: a clone, or a handle without a copy.
async fn attach_follower(
    endpoint: &Endpoint,
    name: &str,
    options: CloneOptions,
    role: Role,
) -> Result<Store, AttachError> {
    let stores = Stores::of(endpoint)?;
    let topics = topics(name)?;
    let _one_at_a_time = stores.inner.attaching.lock().await;
    let name_of = || name.to_owned();
    match stores.get(name).map(|store| (store.role(), store)) {
        Some((there, store)) if there == role => return Ok(store),
        Some((Role::Master, _)) => return Err(AttachError::MasterIsHere { name: name_of() }),
        Some((Role::Clone, _)) => return Err(AttachError::CloneExists { name: name_of() }),
        Some((Role::Remote, _)) => return Err(AttachError::RemoteExists { name: name_of() }),
        None => {}
    }
    let unowned = endpoint.unowned();
    let state = CloneState::new(
        name,
        stores.inner.ids.clone(),
        options.patience(),
        move |id| speaks(&unowned, id),
    );
    let state = match role {
        Role::Remote => state.without_copy(),
        _ => state,
    };
    let (asks, received) = mpsc::channel(MAX_ASKS);
    let (freshness, watched) = watch::channel(Freshness::Empty);
    let (shared, clock) = (Arc::new(Shared::default()), Clock::start());
    let store = Store::new(Inner {
        name: name.into(),
        role,
        backend: COPY_BACKEND.to_owned(),
        asks,
        together: Store::room_together(),
        backup: None,
        copy: Some(Copy {
            view: state.view(),
            freshness: watched,
            get_delay: options.get_delay,
        }),
        shared: Arc::clone(&shared),
        clock,
        request_timeout: options.request_timeout,
    });
    let driver = CloneDriver::new(
        endpoint.unowned(),
        topics,
        received,
        shared,
        clock,
        freshness,
    );
    endpoint.spawn(driver.run(state));
    stores.insert(store.clone());
    Ok(store)
}

/// The stores of one endpoint. Holds nothing of the endpoint, which holds it.
#[derive(Clone, Debug)]
struct Stores {
    inner: Arc<StoresInner>,
}

#[derive(Debug)]
struct StoresInner {
    ids: EntityIds,
    by_name: Mutex<BTreeMap<String, Store>>,
    attaching: tokio::sync::Mutex<()>,
}

impl Stores {
    /// The stores of `endpoint`, installed there at the first call.
    fn of(endpoint: &Endpoint) -> Result<Self, AttachError> {
        if endpoint.is_shutting_down() {
            return Err(AttachError::Closed);
        }
        let mut fresh = None;
        let access = endpoint.store_access_or_set(|| {
            let ids = EntityIds::new(endpoint.id());
            let stores = Self {
                inner: Arc::new(StoresInner {
                    ids,
                    by_name: Mutex::default(),
                    attaching: tokio::sync::Mutex::default(),
                }),
            };
            Arc::new(fresh.insert(stores).clone())
        });
        if let Some(stores) = fresh {
            endpoint.register_status(Arc::new(stores));
        }
        Self::downcast(&*access).ok_or(AttachError::ForeignAccess)
    }

    fn find(endpoint: &Endpoint) -> Option<Self> {
        Self::downcast(&*endpoint.store_access()?)
    }

    fn downcast(access: &dyn StoreAccess) -> Option<Self> {
        let access: &dyn Any = access;
        access.downcast_ref::<Self>().cloned()
    }

    /// The store of this name, unless it is closed.
    fn get(&self, name: &str) -> Option<Store> {
        self.lock()
            .get(name)
            .filter(|store| !store.is_closed())
            .cloned()
    }

    fn all(&self) -> Vec<Store> {
        self.lock()
            .values()
            .filter(|store| !store.is_closed())
            .cloned()
            .collect()
    }

    fn insert(&self, store: Store) {
        self.lock().insert(store.name().to_owned(), store);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Store>> {
        self.inner
            .by_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn find_or_fail(&self, name: &str) -> Result<Store, StoreFailure> {
        self.get(name).ok_or_else(|| StoreFailure::NoSuchStore {
            name: name.to_owned(),
            available: self.store_names(),
        })
    }
}

impl StoreAccess for Stores {
    fn store_names(&self) -> Vec<String> {
        self.all()
            .iter()
            .map(|store| store.name().to_owned())
            .collect()
    }

    fn execute<'a>(
        &'a self,
        store: &'a str,
        operation: StoreOperation,
    ) -> BoxFuture<'a, Result<StoreReply, StoreFailure>> {
        Box::pin(async move { Ok(self.find_or_fail(store)?.execute(operation).await?) })
    }

    fn execute_all<'a>(
        &'a self,
        store: &'a str,
        operations: Vec<StoreOperation>,
    ) -> BoxFuture<'a, Result<Vec<Result<StoreReply, StoreFailure>>, StoreFailure>> {
        Box::pin(async move {
            let replies = self.find_or_fail(store)?.execute_all(operations).await;
            let told = |reply: Result<StoreReply, crate::StoreError>| reply.map_err(Into::into);
            Ok(replies.into_iter().map(told).collect())
        })
    }

    fn watch<'a>(
        &'a self,
        store: &'a str,
        request: WatchRequest,
    ) -> BoxFuture<'a, Result<Box<dyn StoreWatch>, StoreFailure>> {
        Box::pin(async move {
            let watch = self.find_or_fail(store)?.watch(request).await?;
            Ok(Box::new(watch) as Box<dyn StoreWatch>)
        })
    }

    fn backup<'a>(
        &'a self,
        store: &'a str,
        to: &'a Path,
    ) -> BoxFuture<'a, Result<(), StoreFailure>> {
        Box::pin(async move { Ok(self.find_or_fail(store)?.backup(to).await?) })
    }
}

impl StatusSource for Stores {
    fn contribute(&self, status: &mut NodeStatus) {
        for store in self.all() {
            let position = store.position();
            status.stores.push(StoreStatus {
                name: store.name().to_owned(),
                role: store.role().name().to_owned(),
                backend: store.backend().to_owned(),
                entries: store.len(),
                revision: position.revision,
                lag: (store.role() != Role::Master).then_some(position.lag),
                digest: position
                    .revision
                    .map(|_| position.digest.to_string())
                    .unwrap_or_default(),
                freshness: store.freshness().name().to_owned(),
            });
        }
    }
}

/// The topics of the store called `name`.
pub(crate) fn topics(name: &str) -> Result<Topics, AttachError> {
    if name.is_empty() {
        return Err(AttachError::InvalidName {
            name: name.to_owned(),
            source: None,
        });
    }
    Topics::new(name).map_err(|source| AttachError::InvalidName {
        name: name.to_owned(),
        source: Some(source),
    })
}

/// Where a clone keeps its copy.
const COPY_BACKEND: &str = "memory";
