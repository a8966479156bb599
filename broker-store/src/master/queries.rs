//! What callers on the master's node ask.

use std::time::Duration;

use broker_core::{Data, ErrorCode, Set, StoreEntry, StoreReply, Timestamp};

use super::{MasterState, normal, report};
use crate::error::StoreError;
use crate::operation::Query;
use crate::semantics;

impl MasterState {
    pub(super) fn answer(&self, now: Timestamp, query: Query) -> Result<StoreReply, StoreError> {
        let missing = StoreError::Refused(ErrorCode::NoSuchKey);
        match query {
            Query::Get(key) => Ok(StoreReply::Value(self.get(key)?.ok_or(missing)?)),
            Query::Exists(key) => Ok(StoreReply::Value(
                self.group
                    .contains(&*self.backend, &normal(key)?)
                    .map_err(report)?
                    .into(),
            )),
            Query::GetIndex { key, index } => {
                let value = self.get(key)?.ok_or(missing)?;
                semantics::index(&value, &index)
                    .map(StoreReply::Value)
                    .map_err(StoreError::Refused)
            }
            Query::Nothing => Ok(StoreReply::Done),
            Query::Keys => Ok(StoreReply::Value(
                self.keys()?.into_iter().collect::<Set>().into(),
            )),
            Query::Scan { after, limit } => {
                let after = after.map(normal).transpose()?;
                let page = self
                    .backend
                    .scan(after.as_ref(), limit.min(MAX_PAGE))
                    .map_err(report)?;
                let entry = |(key, entry): (Data, crate::Entry)| StoreEntry {
                    key,
                    value: entry.value,
                    expires_in: remaining(entry.expires_at, now),
                };
                Ok(StoreReply::Entries(page.into_iter().map(entry).collect()))
            }
        }
    }

    pub(super) fn get(&self, key: Data) -> Result<Option<Data>, StoreError> {
        Ok(self
            .group
            .get(&*self.backend, &normal(key)?)
            .map_err(report)?
            .map(|entry| entry.value))
    }

    pub(super) fn keys(&self) -> Result<Vec<Data>, StoreError> {
        let mut keys = Vec::new();
        loop {
            let page = self.backend.scan(keys.last(), MAX_PAGE).map_err(report)?;
            let last = page.len() < MAX_PAGE;
            keys.extend(page.into_iter().map(|(key, _)| key));
            if last {
                return Ok(keys);
            }
        }
    }
}

/// How long an entry still has; nothing if its time is up.
pub(crate) fn remaining(expires_at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    expires_at.map(|deadline| {
        deadline
            .saturating_since(now)
            .to_duration()
            .unwrap_or_default()
    })
}

/// Entries of one page of a scan, whatever was asked for.
const MAX_PAGE: usize = 4096;
