//! What callers on the master's node ask.

use std::time::Duration;

use broker_core::{
    Data, EntityId, ErrorCode, Set, StoreEntry, StoreReply, Timespan, Timestamp, binary,
};

use super::group::Effect;
use super::offer::MAX_PAGE_BYTES;
use super::verify::Asker;
use super::{MasterState, normal, report};
use crate::command::{Answer, Question};
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
            Query::Nothing | Query::Verify => Ok(StoreReply::Done),
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

    /// A handle without a copy asks.
    pub(super) fn handle_query(
        &mut self,
        now: Timestamp,
        from: EntityId,
        id: u64,
        question: Question,
    ) {
        if !self.is_ours(from.endpoint) {
            return;
        }
        let answer = match question {
            Question::Verify => {
                return self.verify(Asker::Remote {
                    id: from,
                    query: id,
                });
            }
            Question::Get(key) => self.answer_value(now, Query::Get(key)),
            Question::Exists(key) => self.answer_value(now, Query::Exists(key)),
            Question::GetIndex { key, index } => {
                self.answer_value(now, Query::GetIndex { key, index })
            }
            Question::Scan { after, limit } => {
                self.commit();
                self.answer_scan(now, after, usize::try_from(limit).unwrap_or(usize::MAX))
            }
            Question::Keys { after } => {
                self.commit();
                self.answer_keys(after)
            }
        };
        let answer = answer.unwrap_or_else(|error| Answer::Refused(error.code()));
        self.group.then(Effect::Answer {
            to: from,
            id,
            answer,
        });
    }

    fn answer_value(&self, now: Timestamp, query: Query) -> Result<Answer, StoreError> {
        match self.answer(now, query)? {
            StoreReply::Value(value) => Ok(Answer::Value(value)),
            _ => Ok(Answer::Refused(ErrorCode::Unspecified)),
        }
    }

    fn answer_scan(
        &self,
        now: Timestamp,
        after: Option<Data>,
        limit: usize,
    ) -> Result<Answer, StoreError> {
        let after = after.map(normal).transpose()?;
        let (mut entries, _) = self.read_page(now, after, MAX_PAGE_BYTES).map_err(report)?;
        entries.truncate(limit.max(1));
        Ok(Answer::Entries(entries))
    }

    fn answer_keys(&self, after: Option<Data>) -> Result<Answer, StoreError> {
        let after = after.map(normal).transpose()?;
        let page = self
            .backend
            .scan(after.as_ref(), MAX_PAGE)
            .map_err(report)?;
        let mut bytes = 0;
        let keys = page.into_iter().map(|(key, _)| key).take_while(|key| {
            let first = bytes == 0;
            bytes += binary::encoded_len(key);
            first || bytes <= MAX_PAGE_BYTES
        });
        Ok(Answer::Keys(keys.collect()))
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

/// How long an entry still has; not less than nothing.
pub(super) fn remaining_span(expires_at: Option<Timestamp>, now: Timestamp) -> Option<Timespan> {
    expires_at.map(|deadline| deadline.saturating_since(now).max(Timespan::ZERO))
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
