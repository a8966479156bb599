//! The stores of the layout on this node, those behind its tables included: masters on the manager, clones elsewhere.

use broker_core::{Endpoint, EndpointId};
use broker_store::{Backend, CloneOptions, MasterOptions, MasterState, StoreExt, open_backend};

use super::StartError;
use crate::layout::{Layout, NodeSpec, StoreSpec};
use crate::role::Role;
use crate::table::clone_options;

/// The storage of the masters, opened before there is an endpoint: who the node is may be written in it.
pub(super) struct Masters(Vec<(String, Box<dyn Backend>)>);

impl Masters {
    /// Opens the storage of every store that this node is to have the master of.
    pub(super) async fn open(layout: &Layout, node: &NodeSpec) -> Result<Self, StartError> {
        let mut masters = Vec::new();
        if node.role == Role::Manager {
            for spec in layout.all_stores() {
                masters.push((spec.name.clone(), open(spec.clone()).await?));
            }
        }
        Ok(Self(masters))
    }

    /// Under which ID the node had these stores before: the first one that says so decides.
    pub(super) fn kept_id(&self) -> Result<Option<EndpointId>, StartError> {
        for (store, backend) in &self.0 {
            let kept = MasterState::kept_endpoint(&**backend);
            let kept = kept.map_err(|source| StartError::Backend {
                store: store.clone(),
                source,
            })?;
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }

    /// Attaches every store of the layout. A clone need not have found its master yet.
    pub(super) async fn attach(
        self,
        endpoint: &Endpoint,
        layout: &Layout,
        node: &NodeSpec,
    ) -> Result<(), StartError> {
        let failed = |store: &str| {
            let store = store.to_owned();
            move |source| StartError::Store { store, source }
        };
        for (name, backend) in self.0 {
            endpoint
                .attach_master(&name, backend, MasterOptions::default())
                .await
                .map_err(failed(&name))?;
        }
        if node.role != Role::Manager {
            let stores = layout.stores().iter();
            let stores = stores.map(|spec| (spec, CloneOptions::default()));
            let tables = layout.tables().iter();
            let tables = tables.map(|table| (&table.store, clone_options()));
            for (spec, options) in stores.chain(tables) {
                endpoint
                    .attach_clone(&spec.name, options)
                    .await
                    .map_err(failed(&spec.name))?;
            }
        }
        Ok(())
    }
}

/// Files are opened off the async threads.
async fn open(spec: StoreSpec) -> Result<Box<dyn Backend>, StartError> {
    let store = spec.name.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let options: Vec<(&str, &str)> = spec
            .options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        open_backend(spec.backend, &options)
    });
    match opened.await {
        Ok(result) => result.map_err(|source| StartError::Backend { store, source }),
        Err(stopped) => Err(StartError::Runtime(stopped)),
    }
}
