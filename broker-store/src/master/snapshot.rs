//! The content of a store as the pairs of an ack_clone, encoded once for all clones that attach to the same state.

use broker_core::binary;
use bytes::{Bytes, BytesMut};

use crate::backend::{Backend, BackendError};

/// Encoded pairs.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) count: usize,
    pub(super) pairs: Bytes,
}

impl Snapshot {
    /// Reads all of `backend`, page by page, up to `limit` bytes; `None` is more than that.
    pub(super) fn take(backend: &dyn Backend, limit: usize) -> Result<Option<Self>, BackendError> {
        let (mut count, mut pairs, mut after) = (0, BytesMut::new(), None);
        loop {
            let page = backend.scan(after.as_ref(), PAGE)?;
            for (key, entry) in &page {
                binary::encode(key, &mut pairs);
                binary::encode(&entry.value, &mut pairs);
            }
            if pairs.len() > limit {
                return Ok(None);
            }
            count += page.len();
            if page.len() < PAGE {
                return Ok(Some(Self {
                    count,
                    pairs: pairs.freeze(),
                }));
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
        }
    }
}

/// Entries read at a time.
const PAGE: usize = 1024;
