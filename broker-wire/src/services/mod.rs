//! What a listener offers to clients, beside the peering.

mod backup;
mod broker;
mod load;
mod store;

use broker_core::LocalNode;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use self::broker::BrokerService;
use self::store::StoreService;
use crate::frame::limits::MAX_FRAME;
use crate::grpc::{Router, RouterBuilder};
use crate::proto;
use crate::proto::broker_server::BrokerServer;
use crate::proto::store_server::StoreServer;

pub(crate) use self::load::MAX_ITEMS as MAX_LOAD_ITEMS;
pub(crate) use self::store::{ENTRY_KEY, ERROR_KEY, NO_SUCH_STORE, STORES_KEY};

/// The name by which health checks know the peering.
const PEERING: &str = "broker.v1.Peering";

/// The services of a listener of `local` that stops with `stop`.
pub(crate) async fn router(local: &LocalNode, stop: &CancellationToken) -> Router {
    let broker = BrokerServer::new(BrokerService::new(local.clone()))
        .max_decoding_message_size(MAX_FRAME)
        .max_encoding_message_size(MAX_FRAME);
    let store = StoreServer::new(StoreService::new(local.clone()))
        .max_decoding_message_size(MAX_FRAME)
        .max_encoding_message_size(MAX_FRAME);
    let health = HealthReporter::new();
    for name in [PEERING, name_of(&broker), name_of(&store)] {
        health
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    let health = HealthServer::new(HealthService::from_health_reporter(health));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are checked in and a test reads them");
    RouterBuilder::default()
        .add(broker)
        .add(store)
        .add_stoppable(health, stop)
        .add_stoppable(reflection, stop)
        .build()
}

const fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}
