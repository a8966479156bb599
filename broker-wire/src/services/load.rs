//! Loading many entries: each request of the call is one set of operations that the store does together, and is answered
//! when all of it is as durable as configured.
//!
//! The next request is read while the one before is under way, no further: what else the client sends waits in the
//! connection, whose window is bounded.

use broker_core::{Data, Endpoint, StoreAccess, StoreEntry, StoreOperation, StoreReply};
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Status, Streaming};

use super::broker::next_or_stop;
use super::store::{ENTRY_KEY, refused, unexpected};
use crate::convert::{BadValue, entry_from_proto, value_from_proto};
use crate::proto;

/// Entries and keys of one request: what a store takes together.
pub(crate) const MAX_ITEMS: usize = 1024;

/// Replies on the way to the client; one that does not read them is not read from.
pub(super) const REPLIES_IN_FLIGHT: usize = 4;

/// Loads what `first` and `requests` hold into the store that `first` names, until the client ends or something is
/// refused. A node that stops does what it has begun, and answers that.
pub(super) async fn run(
    access: &dyn StoreAccess,
    first: proto::LoadRequest,
    mut requests: Streaming<proto::LoadRequest>,
    replies: &mpsc::Sender<Result<proto::LoadReply, Status>>,
    endpoint: &Endpoint,
) {
    let (store, keep) = (first.store.clone(), first.keep);
    let mut done = 0;
    let mut next = Ok(Some(first));
    loop {
        let (reply, following) = match next {
            Ok(Some(request)) => {
                let items = request.entries.len() + request.erase.len();
                let loading = part(access, &store, keep, request, done);
                done += items as u64;
                read_ahead(loading, &mut requests).await
            }
            Ok(None) => return,
            Err(status) => (Err(status), None),
        };
        let failed = reply.is_err();
        if replies.send(reply).await.is_err() || failed {
            return;
        }
        next = match following {
            Some(following) => following,
            None => next_or_stop(endpoint, &mut requests).await,
        };
    }
}

/// The outcome of `loading`, and the next request if it came meanwhile.
async fn read_ahead<T, R>(
    loading: impl Future<Output = T>,
    requests: &mut Streaming<R>,
) -> (T, Option<Result<Option<R>, Status>>) {
    tokio::pin!(loading);
    let mut following = None;
    loop {
        tokio::select! {
            biased;
            loaded = &mut loading => return (loaded, following),
            next = requests.message(), if following.is_none() => following = Some(next),
        }
    }
}

/// Does one request, whose first entry has the number `first`.
async fn part(
    access: &dyn StoreAccess,
    store: &str,
    keep: bool,
    request: proto::LoadRequest,
    first: u64,
) -> Result<proto::LoadReply, Status> {
    let entries = request.entries.len();
    let operations = operations(request, keep, first)?;
    let replies = access.execute_all(store, operations).await;
    let mut stored = 0;
    for (index, reply) in replies.map_err(refused)?.into_iter().enumerate() {
        let at = |status| numbered(status, first + index as u64);
        match reply.map_err(|failure| at(refused(failure)))? {
            StoreReply::Done => stored += u32::from(index < entries),
            // Only where `keep` asks for it.
            StoreReply::Value(Data::Boolean(free)) => stored += u32::from(free),
            other => return Err(at(unexpected(&other))),
        }
    }
    Ok(proto::LoadReply { stored })
}

/// What is to be done for a request, whose first entry has the number `first`.
fn operations(
    request: proto::LoadRequest,
    keep: bool,
    first: u64,
) -> Result<Vec<StoreOperation>, Status> {
    let proto::LoadRequest { entries, erase, .. } = request;
    let items = entries.len() + erase.len();
    if items > MAX_ITEMS {
        return Err(Status::invalid_argument(format!(
            "{items} entries and keys in one request, more than {MAX_ITEMS}"
        )));
    }
    let put = |entry| {
        let StoreEntry {
            key,
            value,
            expires_in: expiry,
        } = entry_from_proto(entry)?;
        Ok(if keep {
            StoreOperation::PutUnique { key, value, expiry }
        } else {
            StoreOperation::Put { key, value, expiry }
        })
    };
    let erase = erase
        .into_iter()
        .map(|key| value_from_proto(Some(key)).map(StoreOperation::Erase));
    let operations = entries.into_iter().map(put).chain(erase);
    (first..)
        .zip(operations)
        .map(|(number, operation)| {
            operation.map_err(|error: BadValue| {
                numbered(Status::invalid_argument(error.to_string()), number)
            })
        })
        .collect()
}

/// The status, which is about this entry or key of the call.
fn numbered(mut status: Status, number: u64) -> Status {
    status
        .metadata_mut()
        .insert(ENTRY_KEY, MetadataValue::from(number));
    status
}
