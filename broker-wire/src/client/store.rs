//! The stores of the node.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use broker_core::{Data, StoreOperation, StoreReply, WatchItem, WatchRequest};
use bytes::Bytes;
use futures_core::Stream;
use tonic::{Response, Status, Streaming};

use super::channel::Channel;
use super::{BrokerClient, ClientError};
use crate::convert::{
    duration_to_proto, entry_from_proto, item_from_proto, report_from_proto, value_from_proto,
    value_to_proto, watch_to_proto,
};
use crate::proto;

impl BrokerClient {
    /// The names of the node's stores, sorted.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn store_names(&self) -> Result<Vec<String>, ClientError> {
        let reply = self.stores().list(proto::ListRequest {}).await;
        Ok(reply
            .map_err(|status| ClientError::from_status(&status))?
            .into_inner()
            .names)
    }

    /// Does `operation` on the store called `name`. A write is done once the master has applied it and holds it
    /// as durably as configured.
    ///
    /// # Errors
    /// What the store says no to is [`ClientError::Store`].
    ///
    /// # Cancel safety
    /// If the future is dropped, a write may be applied or not.
    pub async fn store(
        &self,
        name: &str,
        operation: StoreOperation,
    ) -> Result<StoreReply, ClientError> {
        let mut stores = self.stores();
        let failed = |status: Status| ClientError::from_store_status(&status, name);
        let value = |reply: Result<Response<proto::ValueReply>, Status>| {
            let reply = reply.map_err(failed)?.into_inner();
            value_from_proto(reply.value)
                .map(StoreReply::Value)
                .map_err(ClientError::bad_reply)
        };
        let done = |reply: Result<Response<proto::WriteReply>, Status>| {
            reply.map(|_| StoreReply::Done).map_err(failed)
        };
        let encoded = |data: &Data| Some(value_to_proto(data, true));
        let store = || name.to_owned();
        let whole = || proto::StoreRequest {
            store: store(),
            encoded: true,
        };
        let key = |key, expiry| proto::KeyRequest {
            store: store(),
            key: encoded(key),
            expiry_ns: duration_to_proto(expiry),
            encoded: true,
        };
        let put = |key, value, expiry| proto::PutRequest {
            store: store(),
            key: encoded(key),
            value: encoded(value),
            expiry_ns: duration_to_proto(expiry),
            encoded: true,
        };
        let index = |key: &Data, index: &Data, value: Option<&Data>, expiry| proto::IndexRequest {
            store: store(),
            key: encoded(key),
            index: encoded(index),
            value: value.and_then(encoded),
            expiry_ns: duration_to_proto(expiry),
            encoded: true,
        };
        match &operation {
            StoreOperation::Get(of) => value(stores.get(key(of, None)).await),
            StoreOperation::Exists(of) => value(stores.exists(key(of, None)).await),
            StoreOperation::Keys => value(stores.keys(whole()).await),
            StoreOperation::GetIndex { key, index: at } => {
                value(stores.get_index(index(key, at, None, None)).await)
            }
            StoreOperation::Put { key, value, expiry } => {
                done(stores.put(put(key, value, *expiry)).await)
            }
            StoreOperation::PutUnique {
                key,
                value: new,
                expiry,
            } => value(stores.put_unique(put(key, new, *expiry)).await),
            StoreOperation::Erase(of) => done(stores.erase(key(of, None)).await),
            StoreOperation::Clear => done(stores.clear(whole()).await),
            StoreOperation::Increment {
                key,
                amount,
                expiry,
            } => done(stores.increment(put(key, amount, *expiry)).await),
            StoreOperation::Decrement {
                key,
                amount,
                expiry,
            } => done(stores.decrement(put(key, amount, *expiry)).await),
            StoreOperation::Append { key, value, expiry } => {
                done(stores.append(put(key, value, *expiry)).await)
            }
            StoreOperation::InsertInto {
                key,
                index: at,
                value,
                expiry,
            } => done(
                stores
                    .insert_into(index(key, at, value.as_ref(), *expiry))
                    .await,
            ),
            StoreOperation::RemoveFrom {
                key,
                index: at,
                expiry,
            } => done(stores.remove_from(index(key, at, None, *expiry)).await),
            StoreOperation::Push { key, value, expiry } => {
                done(stores.push(put(key, value, *expiry)).await)
            }
            StoreOperation::Pop { key: of, expiry } => done(stores.pop(key(of, *expiry)).await),
            StoreOperation::CompareAndSet {
                key,
                expected,
                value: new,
                expiry,
            } => {
                let request = proto::CompareRequest {
                    store: store(),
                    key: encoded(key),
                    expected: expected.as_ref().and_then(encoded),
                    value: new.as_ref().and_then(encoded),
                    expiry_ns: duration_to_proto(*expiry),
                    encoded: true,
                };
                value(stores.compare_and_set(request).await)
            }
            StoreOperation::Verify => {
                let reply = stores.verify(whole()).await.map_err(failed)?.into_inner();
                report_from_proto(reply)
                    .map(StoreReply::Verified)
                    .map_err(ClientError::bad_reply)
            }
            StoreOperation::Scan { after, limit } => {
                let request = proto::ScanRequest {
                    store: store(),
                    after: after.as_ref().and_then(encoded),
                    limit: u32::try_from(*limit).unwrap_or(u32::MAX),
                    encoded: true,
                };
                let reply = stores.scan(request).await.map_err(failed)?.into_inner();
                let entries: Result<_, _> =
                    reply.entries.into_iter().map(entry_from_proto).collect();
                entries
                    .map(StoreReply::Entries)
                    .map_err(ClientError::bad_reply)
            }
            _ => Err(ClientError::Unsupported),
        }
    }

    /// Watches the store called `name`. Resolves once the watch is in place: from then on no change is missed
    /// while this client keeps up.
    ///
    /// # Errors
    /// What the store says no to is [`ClientError::Store`].
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no watch.
    pub async fn watch(
        &self,
        name: &str,
        request: &WatchRequest,
    ) -> Result<StoreChanges, ClientError> {
        let request = watch_to_proto(name, request);
        let replies = self.stores().watch(request).await;
        let replies = replies
            .map_err(|status| ClientError::from_store_status(&status, name))?
            .into_inner();
        let mut changes = StoreChanges {
            replies,
            _channel: self.channel.clone(),
        };
        match poll_fn(|cx| Pin::new(&mut changes.replies).poll_next(cx)).await {
            Some(Ok(proto::WatchReply {
                item: Some(proto::watch_reply::Item::Watching(_)),
                ..
            })) => Ok(changes),
            Some(Ok(_)) => Err(ClientError::bad_reply("changes before the watch")),
            Some(Err(status)) => Err(ClientError::from_store_status(&status, name)),
            None => Err(ClientError::Lost {
                reason: "closed by the node".to_owned(),
            }),
        }
    }
}

impl BrokerClient {
    /// Makes the node copy the store called `name`, which goes on meanwhile, and fetches the copy: the file of a master
    /// on SQLite. Resolves once the copy is made.
    ///
    /// # Errors
    /// What the store says no to is [`ClientError::Store`]; a second backup of a store at a time is refused.
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no copy.
    pub async fn backup(&self, name: &str) -> Result<StoreBackup, ClientError> {
        let request = proto::StoreRequest {
            store: name.to_owned(),
            encoded: true,
        };
        let replies = self.stores().backup(request).await;
        let replies = replies.map_err(|status| ClientError::from_store_status(&status, name))?;
        Ok(StoreBackup {
            replies: replies.into_inner(),
            received: 0,
            total: None,
            _channel: self.channel.clone(),
        })
    }
}

/// The copy of a store on its way. Dropping it ends the transfer.
#[derive(Debug)]
#[must_use = "the transfer ends when it is dropped"]
pub struct StoreBackup {
    replies: Streaming<proto::BackupReply>,
    received: u64,
    total: Option<u64>,
    _channel: Channel,
}

impl StoreBackup {
    /// How many bytes the copy has, known with the first of them.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Waits for the next bytes; `None` when the copy is complete.
    ///
    /// # Errors
    /// See [`ClientError`]; there is no more after an error, and what came is not a whole copy.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, ClientError> {
        let reply = poll_fn(|cx| Pin::new(&mut self.replies).poll_next(cx)).await;
        match reply {
            Some(Ok(proto::BackupReply { data, total })) => {
                self.received += data.len() as u64;
                self.total = Some(total);
                Ok(Some(data))
            }
            Some(Err(status)) => Err(ClientError::from_status(&status)),
            None if self.total == Some(self.received) => Ok(None),
            None => Err(ClientError::Lost {
                reason: "the node ended the copy early".to_owned(),
            }),
        }
    }
}

/// The changes of a watched store. Dropping it ends the watch.
#[derive(Debug)]
#[must_use = "the watch ends when it is dropped"]
pub struct StoreChanges {
    replies: Streaming<proto::WatchReply>,
    _channel: Channel,
}

impl StoreChanges {
    /// Waits for the next item; `None` when the store or the node is gone.
    ///
    /// # Errors
    /// See [`ClientError`]; there is no more after an error.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<WatchItem>, ClientError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<WatchItem>, ClientError>> {
        loop {
            match ready!(Pin::new(&mut self.replies).poll_next(cx)) {
                Some(Ok(reply)) => {
                    if let Some(item) = item_from_proto(reply).map_err(ClientError::bad_reply)? {
                        return Poll::Ready(Ok(Some(item)));
                    }
                }
                Some(Err(status)) => return Poll::Ready(Err(ClientError::from_status(&status))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl Stream for StoreChanges {
    type Item = Result<WatchItem, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}
