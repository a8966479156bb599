//! `broker.v1.Store`: the stores of this node, through the door that broker-store opens in core.

use broker_core::{LocalNode, StoreAccess, StoreFailure, StoreOperation, StoreReply};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status, Streaming};

use super::backup::Backups;
use super::broker::next_or_stop;
use super::load;
use crate::convert::{
    BadValue, duration_from_proto, entry_to_proto, item_to_proto, report_to_proto,
    value_from_proto, value_to_proto, watch_from_proto,
};
use crate::grpc::stopping;
use crate::proto::{self, store_server::Store, watch_reply};

/// Broker's name of the error is in this metadata entry.
pub(crate) const ERROR_KEY: &str = "broker-error";
/// ... and this one, of which Broker knows nothing.
pub(crate) const NO_SUCH_STORE: &str = "no_such_store";
/// The stores there are instead.
pub(crate) const STORES_KEY: &str = "broker-stores-bin";
/// Which entry or key of a load was refused, from 0.
pub(crate) const ENTRY_KEY: &str = "broker-entry";

/// How many names of stores an error lists, and how many bytes of them; headers are bounded.
const MAX_NAMES: usize = 64;
const MAX_NAME_BYTES: usize = 4096;

/// A page holds at most so many entries ...
const MAX_PAGE: usize = 4096;
/// ... and ends after about so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// Changes between the store and the connection.
const CHANGES_IN_FLIGHT: usize = 64;

/// Parts of a backup between the file and the connection.
const CHUNKS_IN_FLIGHT: usize = 4;

/// The service of one node.
#[derive(Clone, Debug)]
pub(crate) struct StoreService {
    local: LocalNode,
    backups: Backups,
}

impl StoreService {
    pub(crate) fn new(local: LocalNode) -> Self {
        Self {
            local,
            backups: Backups::default(),
        }
    }

    fn access(&self, store: &str) -> Result<std::sync::Arc<dyn StoreAccess>, Status> {
        let none = || {
            refused(StoreFailure::NoSuchStore {
                name: store.to_owned(),
                available: Vec::new(),
            })
        };
        self.local.endpoint().store_access().ok_or_else(none)
    }

    async fn execute(&self, store: &str, operation: StoreOperation) -> Result<StoreReply, Status> {
        self.access(store)?
            .execute(store, operation)
            .await
            .map_err(refused)
    }

    async fn read(
        &self,
        store: &str,
        operation: StoreOperation,
        encoded: bool,
    ) -> Result<Response<proto::ValueReply>, Status> {
        match self.execute(store, operation).await? {
            StoreReply::Value(value) => Ok(Response::new(proto::ValueReply {
                value: Some(value_to_proto(&value, encoded)),
            })),
            other => Err(unexpected(&other)),
        }
    }

    async fn write(
        &self,
        store: &str,
        operation: StoreOperation,
    ) -> Result<Response<proto::WriteReply>, Status> {
        match self.execute(store, operation).await? {
            StoreReply::Done => Ok(Response::new(proto::WriteReply {})),
            other => Err(unexpected(&other)),
        }
    }
}

/// A put of the same shape: the operation's name and that of its value.
macro_rules! put {
    ($request:expr, $operation:ident, $value:ident) => {{
        let proto::PutRequest {
            store,
            key,
            value,
            expiry_ns,
            encoded,
        } = $request.into_inner();
        let operation = StoreOperation::$operation {
            key: data(key)?,
            $value: data(value)?,
            expiry: duration_from_proto(expiry_ns),
        };
        (store, operation, encoded)
    }};
}

#[tonic::async_trait]
impl Store for StoreService {
    type LoadStream = ReceiverStream<Result<proto::LoadReply, Status>>;
    type BackupStream = ReceiverStream<Result<proto::BackupReply, Status>>;
    type WatchStream = ReceiverStream<Result<proto::WatchReply, Status>>;

    async fn list(
        &self,
        _: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListReply>, Status> {
        let names = self
            .local
            .endpoint()
            .store_access()
            .map_or_else(Vec::new, |access| access.store_names());
        Ok(Response::new(proto::ListReply { names }))
    }

    async fn get(
        &self,
        request: Request<proto::KeyRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let proto::KeyRequest {
            store,
            key,
            encoded,
            ..
        } = request.into_inner();
        self.read(&store, StoreOperation::Get(data(key)?), encoded)
            .await
    }

    async fn exists(
        &self,
        request: Request<proto::KeyRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let proto::KeyRequest {
            store,
            key,
            encoded,
            ..
        } = request.into_inner();
        self.read(&store, StoreOperation::Exists(data(key)?), encoded)
            .await
    }

    async fn keys(
        &self,
        request: Request<proto::StoreRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let proto::StoreRequest { store, encoded } = request.into_inner();
        self.read(&store, StoreOperation::Keys, encoded).await
    }

    async fn get_index(
        &self,
        request: Request<proto::IndexRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let proto::IndexRequest {
            store,
            key,
            index,
            encoded,
            ..
        } = request.into_inner();
        self.read(
            &store,
            StoreOperation::GetIndex {
                key: data(key)?,
                index: data(index)?,
            },
            encoded,
        )
        .await
    }

    async fn put(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let (store, operation, _) = put!(request, Put, value);
        self.write(&store, operation).await
    }

    async fn put_unique(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let (store, operation, encoded) = put!(request, PutUnique, value);
        self.read(&store, operation, encoded).await
    }

    async fn erase(
        &self,
        request: Request<proto::KeyRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let proto::KeyRequest { store, key, .. } = request.into_inner();
        self.write(&store, StoreOperation::Erase(data(key)?)).await
    }

    async fn clear(
        &self,
        request: Request<proto::StoreRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        self.write(&request.into_inner().store, StoreOperation::Clear)
            .await
    }

    async fn increment(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let (store, operation, _) = put!(request, Increment, amount);
        self.write(&store, operation).await
    }

    async fn decrement(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let (store, operation, _) = put!(request, Decrement, amount);
        self.write(&store, operation).await
    }

    async fn append(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let (store, operation, _) = put!(request, Append, value);
        self.write(&store, operation).await
    }

    async fn insert_into(
        &self,
        request: Request<proto::IndexRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let proto::IndexRequest {
            store,
            key,
            index,
            value,
            expiry_ns,
            ..
        } = request.into_inner();
        let value = value.map(|value| data(Some(value))).transpose()?;
        let operation = StoreOperation::InsertInto {
            key: data(key)?,
            index: data(index)?,
            value,
            expiry: duration_from_proto(expiry_ns),
        };
        self.write(&store, operation).await
    }

    async fn remove_from(
        &self,
        request: Request<proto::IndexRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let proto::IndexRequest {
            store,
            key,
            index,
            expiry_ns,
            ..
        } = request.into_inner();
        let operation = StoreOperation::RemoveFrom {
            key: data(key)?,
            index: data(index)?,
            expiry: duration_from_proto(expiry_ns),
        };
        self.write(&store, operation).await
    }

    async fn push(
        &self,
        request: Request<proto::PutRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let (store, operation, _) = put!(request, Push, value);
        self.write(&store, operation).await
    }

    async fn pop(
        &self,
        request: Request<proto::KeyRequest>,
    ) -> Result<Response<proto::WriteReply>, Status> {
        let proto::KeyRequest {
            store,
            key,
            expiry_ns,
            ..
        } = request.into_inner();
        self.write(
            &store,
            StoreOperation::Pop {
                key: data(key)?,
                expiry: duration_from_proto(expiry_ns),
            },
        )
        .await
    }

    async fn scan(
        &self,
        request: Request<proto::ScanRequest>,
    ) -> Result<Response<proto::ScanReply>, Status> {
        let proto::ScanRequest {
            store,
            after,
            limit,
            encoded,
        } = request.into_inner();
        let after = after.map(|after| data(Some(after))).transpose()?;
        let limit = match usize::try_from(limit) {
            Ok(limit @ 1..=MAX_PAGE) => limit,
            _ => MAX_PAGE,
        };
        let StoreReply::Entries(page) = self
            .execute(&store, StoreOperation::Scan { after, limit })
            .await?
        else {
            return Err(Status::internal(
                "the store answered a scan with something else",
            ));
        };
        let mut entries = Vec::with_capacity(page.len());
        let mut bytes = 0;
        for entry in &page {
            let entry = entry_to_proto(entry, encoded);
            bytes += entry.encoded_len();
            entries.push(entry);
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(Response::new(proto::ScanReply { entries }))
    }

    async fn compare_and_set(
        &self,
        request: Request<proto::CompareRequest>,
    ) -> Result<Response<proto::ValueReply>, Status> {
        let proto::CompareRequest {
            store,
            key,
            expected,
            value,
            expiry_ns,
            encoded,
        } = request.into_inner();
        let optional =
            |value: Option<proto::Value>| value.map(|value| data(Some(value))).transpose();
        let operation = StoreOperation::CompareAndSet {
            key: data(key)?,
            expected: optional(expected)?,
            value: optional(value)?,
            expiry: duration_from_proto(expiry_ns),
        };
        self.read(&store, operation, encoded).await
    }

    async fn verify(
        &self,
        request: Request<proto::StoreRequest>,
    ) -> Result<Response<proto::VerifyReply>, Status> {
        let proto::StoreRequest { store, encoded } = request.into_inner();
        match self.execute(&store, StoreOperation::Verify).await? {
            StoreReply::Verified(report) => Ok(Response::new(report_to_proto(report, encoded))),
            other => Err(unexpected(&other)),
        }
    }

    async fn load(
        &self,
        request: Request<Streaming<proto::LoadRequest>>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let mut requests = request.into_inner();
        let endpoint = self.local.endpoint();
        let Some(first) = next_or_stop(&endpoint, &mut requests).await? else {
            return Err(Status::invalid_argument(
                "the first request must name the store",
            ));
        };
        let access = self.access(&first.store)?;
        let found = access.execute_all(&first.store, Vec::new()).await;
        found.map_err(refused)?;
        let (sender, receiver) = mpsc::channel(load::REPLIES_IN_FLIGHT);
        self.local.spawn(async move {
            let loading = load::run(&*access, first, requests, &sender, &endpoint);
            // What was begun is done or not, as with any write that is cut off.
            tokio::select! {
                () = loading => {}
                () = sender.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn backup(
        &self,
        request: Request<proto::StoreRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let proto::StoreRequest { store, .. } = request.into_inner();
        let access = self.access(&store)?;
        let place = self.backups.begin(&store)?;
        let (made, copied) = oneshot::channel();
        // A client that goes away does not leave a copy behind that nobody removes.
        self.local.spawn(async move {
            let result = access.backup(&store, &place.file()).await;
            let _ = made.send(result.map(|()| place));
        });
        let copied = copied
            .await
            .map_err(|_| Status::unavailable("shutting_down"))?;
        let place = copied.map_err(refused)?;
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        tokio::task::spawn_blocking(move || place.send(&sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let proto::WatchRequest {
            store,
            encoded,
            keys,
            from,
        } = request.into_inner();
        let request = watch_from_proto(keys, &from).map_err(Status::invalid_argument)?;
        let watch = self.access(&store)?.watch(&store, request).await;
        let mut watch = watch.map_err(refused)?;
        let endpoint = self.local.endpoint();
        let (sender, receiver) = mpsc::channel(CHANGES_IN_FLIGHT);
        let started = proto::WatchReply {
            item: Some(watch_reply::Item::Watching(proto::Watching {})),
            revision: String::new(),
        };
        let _ = sender.try_send(Ok(started));
        self.local.spawn(async move {
            loop {
                let item = tokio::select! {
                    item = watch.next() => item,
                    () = sender.closed() => return,
                    () = endpoint.stopping() => {
                        // A client that has read nothing for long sees the end without a reason.
                        let _ = sender.try_send(Err(stopping()));
                        return;
                    }
                };
                let Some(item) = item else { return };
                let Some(reply) = item_to_proto(&item, encoded) else {
                    continue;
                };
                // A client that does not read holds its watch up, which has a bound of its own.
                let sent = tokio::select! {
                    sent = sender.send(Ok(reply)) => sent,
                    () = endpoint.stopping() => return,
                };
                if sent.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn data(value: Option<proto::Value>) -> Result<broker_core::Data, Status> {
    value_from_proto(value).map_err(|error: BadValue| Status::invalid_argument(error.to_string()))
}

pub(super) fn unexpected(reply: &StoreReply) -> Status {
    let kind = match reply {
        StoreReply::Done => "nothing",
        StoreReply::Value(_) => "a value",
        StoreReply::Entries(_) => "entries",
        _ => "something else",
    };
    Status::internal(format!("the store answered with {kind}"))
}

/// A failure of the store as the client sees it.
pub(super) fn refused(failure: StoreFailure) -> Status {
    let (code, name, text) = match &failure {
        StoreFailure::NoSuchStore { available, .. } => {
            let there_are = if available.is_empty() {
                "there are none".to_owned()
            } else {
                available.join(", ")
            };
            (
                Code::NotFound,
                NO_SUCH_STORE,
                format!("{failure} ({there_are})"),
            )
        }
        StoreFailure::Code { code, detail } => {
            let text = if detail.is_empty() {
                code.name().to_owned()
            } else {
                format!("{}: {detail}", code.name())
            };
            (grpc_code(*code), code.name(), text)
        }
        other => (Code::Unknown, "unspecified", other.to_string()),
    };
    let mut status = Status::new(code, crate::frame::hello::one_line(&text));
    status
        .metadata_mut()
        .insert(ERROR_KEY, MetadataValue::from_static(name));
    if let StoreFailure::NoSuchStore { available, .. } = failure {
        let mut bytes = 0;
        for name in available.iter().take(MAX_NAMES) {
            bytes += name.len();
            if bytes > MAX_NAME_BYTES {
                break;
            }
            status
                .metadata_mut()
                .append_bin(STORES_KEY, MetadataValue::from_bytes(name.as_bytes()));
        }
    }
    status
}

/// The gRPC code that says most nearly the same.
const fn grpc_code(code: broker_core::ErrorCode) -> Code {
    use broker_core::ErrorCode;
    match code {
        ErrorCode::NoSuchKey => Code::NotFound,
        ErrorCode::TypeClash => Code::FailedPrecondition,
        ErrorCode::InvalidData => Code::InvalidArgument,
        ErrorCode::RequestTimeout => Code::DeadlineExceeded,
        ErrorCode::MasterExists => Code::AlreadyExists,
        ErrorCode::NoSuchMaster | ErrorCode::ShuttingDown => Code::Unavailable,
        ErrorCode::BackendFailure => Code::Internal,
        _ => Code::Unknown,
    }
}
