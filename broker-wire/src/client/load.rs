//! Loading many entries into a store: requests that hold as many as are there, several of them under way.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;

use broker_core::{Data, StoreEntry};
use futures_core::Stream as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::channel::Channel;
use super::{BrokerClient, ClientError};
use crate::convert::{entry_to_proto, value_to_proto};
use crate::proto;
use crate::services::{ENTRY_KEY, MAX_LOAD_ITEMS};

/// A request ends after about so many bytes; or after as many entries as it may have.
const REQUEST_BYTES: usize = 256 << 10;

/// Requests that are sent and not answered: one that is being applied, and others that are on the way meanwhile.
const WINDOW: usize = 4;

impl BrokerClient {
    /// Begins to load entries into the store called `name`; with `keep`, what is there stays and only keys that are free
    /// are filled. Resolves once the node has found the store.
    ///
    /// # Errors
    /// What the store says no to is [`ClientError::Store`]; [`ClientError::Unsupported`]: the node is older than this
    /// call, and takes entries one by one.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is loaded.
    pub async fn load(&self, name: &str, keep: bool) -> Result<StoreLoad, ClientError> {
        let (requests, receiver) = mpsc::channel(WINDOW);
        let first = proto::LoadRequest {
            store: name.to_owned(),
            keep,
            ..Default::default()
        };
        // There is room, and a receiver.
        let _ = requests.try_send(first);
        let replies = self.stores().load(ReceiverStream::new(receiver)).await;
        let replies = replies.map_err(|status| ClientError::from_store_status(&status, name))?;
        Ok(StoreLoad {
            name: name.to_owned(),
            requests: Some(requests),
            replies: replies.into_inner(),
            next: proto::LoadRequest::default(),
            next_bytes: 0,
            under_way: VecDeque::from([Part::default()]),
            loaded: Loaded::default(),
            _channel: self.channel.clone(),
        })
    }
}

/// What the node has confirmed: it is applied and as durable as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Entries that were stored.
    pub stored: u64,
    /// Entries that were not, since their keys were not free.
    pub kept: u64,
    /// Keys that were erased, or were not there.
    pub erased: u64,
}

impl Loaded {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stored + self.kept + self.erased
    }
}

/// Why a load ended early. What was confirmed before is done; the rest may be or not, and doing all of it again does no
/// harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct LoadError {
    /// Which entry or key was refused, in the order they were given, from 0; `None` if it was the call.
    pub item: Option<u64>,
    /// What is wrong.
    #[source]
    pub error: Box<ClientError>,
}

/// A load under way. Dropping it ends it where it is.
///
/// Entries and keys are collected into requests of at most 1024 of them or about 256 KiB, and at most four requests are
/// on their way; a store of ours applies each as one transaction where it can.
#[derive(Debug)]
#[must_use = "what is not finished may not be loaded"]
pub struct StoreLoad {
    name: String,
    /// `None` once there is nothing more to come.
    requests: Option<mpsc::Sender<proto::LoadRequest>>,
    replies: Streaming<proto::LoadReply>,
    /// What is collected and not sent.
    next: proto::LoadRequest,
    next_bytes: usize,
    /// What is sent and not confirmed, oldest first.
    under_way: VecDeque<Part>,
    loaded: Loaded,
    _channel: Channel,
}

/// How much is in a request.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    entries: u64,
    keys: u64,
}

impl StoreLoad {
    /// Stores an entry; of several with one key the last one counts, unless what is there is kept. Waits while as much
    /// is under way as may be.
    ///
    /// # Errors
    /// See [`LoadError`]; the load is over then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the entry is loaded or not.
    pub async fn put(&mut self, entry: &StoreEntry) -> Result<(), LoadError> {
        // Entries of a request come first.
        if !self.next.erase.is_empty() {
            self.flush().await?;
        }
        let entry = entry_to_proto(entry, true);
        self.next_bytes += entry.encoded_len();
        self.next.entries.push(entry);
        self.flush_if_full().await
    }

    /// Erases a key; a missing one is no error. Waits as [`put`](Self::put) does.
    ///
    /// # Errors
    /// See [`LoadError`]; the load is over then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the key is erased or not.
    pub async fn erase(&mut self, key: &Data) -> Result<(), LoadError> {
        let key = value_to_proto(key, true);
        self.next_bytes += key.encoded_len();
        self.next.erase.push(key);
        self.flush_if_full().await
    }

    /// What is confirmed so far.
    #[must_use]
    pub const fn loaded(&self) -> Loaded {
        self.loaded
    }

    /// Whether something is collected and not on its way, since more may fit into the request.
    #[must_use]
    pub fn has_collected(&self) -> bool {
        !self.next.entries.is_empty() || !self.next.erase.is_empty()
    }

    /// Waits until all that is on its way is confirmed, then sends what is collected: to be called while there is nothing
    /// to add, so that it goes at once where nothing is waited for, and together where something is.
    ///
    /// # Errors
    /// See [`LoadError`]; the load is over then.
    ///
    /// # Cancel safety
    /// Safe: what is collected stays so, or is on its way as a whole.
    pub async fn send_when_idle(&mut self) -> Result<(), LoadError> {
        while !self.under_way.is_empty() {
            self.confirm().await?;
        }
        self.flush().await
    }

    /// Sends what is left and waits until all of it is confirmed.
    ///
    /// # Errors
    /// See [`LoadError`].
    ///
    /// # Cancel safety
    /// If the future is dropped, what is not confirmed may be loaded or not.
    pub async fn finish(&mut self) -> Result<Loaded, LoadError> {
        self.flush().await?;
        while !self.under_way.is_empty() {
            self.confirm().await?;
        }
        Ok(self.loaded)
    }

    async fn flush_if_full(&mut self) -> Result<(), LoadError> {
        let items = self.next.entries.len() + self.next.erase.len();
        if items >= MAX_LOAD_ITEMS || self.next_bytes >= REQUEST_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), LoadError> {
        if !self.has_collected() {
            return Ok(());
        }
        while self.under_way.len() >= WINDOW {
            self.confirm().await?;
        }
        // What is in the channel is under way, so there is room.
        let request = std::mem::take(&mut self.next);
        self.next_bytes = 0;
        let part = Part {
            entries: request.entries.len() as u64,
            keys: request.erase.len() as u64,
        };
        let sent = self
            .requests
            .as_ref()
            .map(|requests| requests.try_send(request));
        if matches!(sent, Some(Ok(()))) {
            self.under_way.push_back(part);
            return Ok(());
        }
        // The replies say why.
        while !self.under_way.is_empty() {
            self.confirm().await?;
        }
        Err(self.ended())
    }

    /// Waits for the next reply.
    async fn confirm(&mut self) -> Result<(), LoadError> {
        let reply = poll_fn(|cx| Pin::new(&mut self.replies).poll_next(cx)).await;
        let failed = |item, error| {
            let error = Box::new(error);
            Err(LoadError { item, error })
        };
        match reply {
            Some(Ok(proto::LoadReply { stored })) => {
                let Some(part) = self.under_way.pop_front() else {
                    return failed(None, ClientError::bad_reply("more replies than requests"));
                };
                let stored = u64::from(stored);
                let Some(kept) = part.entries.checked_sub(stored) else {
                    return failed(None, ClientError::bad_reply("more entries than were sent"));
                };
                self.loaded.stored += stored;
                self.loaded.kept += kept;
                self.loaded.erased += part.keys;
                Ok(())
            }
            Some(Err(status)) => {
                self.requests = None;
                let item = status.metadata().get(ENTRY_KEY);
                let item = item.and_then(|item| item.to_str().ok()?.parse().ok());
                failed(item, ClientError::from_store_status(&status, &self.name))
            }
            None => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> LoadError {
        self.requests = None;
        LoadError {
            item: None,
            error: Box::new(ClientError::Lost {
                reason: "the node ended the load early".to_owned(),
            }),
        }
    }
}
