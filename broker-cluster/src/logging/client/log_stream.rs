//! One log that is being written.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{LogClient, LogError};
use crate::log::{Column, Limits, LogValue, Schema, serial};
use crate::logging::hook::{LogHook, LogOrigin};
use crate::logging::wire::MAX_RECORD;

/// A log that is being written.
#[derive(Debug)]
pub struct LogStream {
    pub(super) client: LogClient,
    pub(super) index: usize,
    pub(super) stream: String,
    pub(super) schema: Schema,
    /// The columns that are written.
    pub(super) columns: Vec<Column>,
    /// Their places in the schema, if not all are.
    pub(super) kept: Option<Vec<usize>>,
    pub(super) limits: Option<Limits>,
    pub(super) hooks: Vec<LogHook>,
    pub(super) scratch: Vec<u8>,
}

impl LogStream {
    /// Path and columns.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Writes one record: resolves when it is buffered. Waits while too many batches have no receipt; what has been
    /// accepted is not lost when a logger dies. A record that a hook keeps back is taken and goes nowhere.
    ///
    /// # Errors
    /// The record does not fit the columns, or the node is shutting down.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the record was not accepted.
    pub async fn write(&mut self, record: &[LogValue]) -> Result<(), LogError> {
        if !self.prepare(record)? {
            return Ok(());
        }
        let shared = &self.client.shared;
        loop {
            if self.put()? {
                return Ok(());
            }
            let progress = shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.put()? {
                return Ok(());
            }
            tokio::select! {
                () = progress => {}
                () = shared.closed.cancelled() => return Err(LogError::Closed),
            }
        }
    }

    /// Writes one record if there is room now. `Ok(false)`: there is not, and it counts as dropped.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn try_write(&mut self, record: &[LogValue]) -> Result<bool, LogError> {
        if !self.prepare(record)? {
            return Ok(true);
        }
        let written = self.put()?;
        if !written {
            self.client.outbox().refused(self.index);
        }
        Ok(written)
    }

    /// Encodes what is to be written of a record into `scratch`. `Ok(false)`: nothing is.
    fn prepare(&mut self, record: &[LogValue]) -> Result<bool, LogError> {
        self.scratch.clear();
        let shared = &self.client.shared;
        let common = shared.hooks.read().unwrap_or_else(PoisonError::into_inner);
        let untouched = common.is_empty()
            && self.hooks.is_empty()
            && self.kept.is_none()
            && self.limits.is_none();
        let encoded = if untouched {
            serial::encode(record, &self.columns, &mut self.scratch)
        } else {
            let origin = LogOrigin {
                stream: &self.stream,
                schema: &self.schema,
            };
            let mut record = record.to_vec();
            let mut hooks = common.iter().chain(&self.hooks);
            if !hooks.all(|hook| hook.passes(&origin, &mut record)) {
                shared.filtered.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            if let Some(kept) = &self.kept
                && record.len() == self.schema.columns.len()
            {
                record = kept
                    .iter()
                    .map(|at| std::mem::replace(&mut record[*at], LogValue::Unset))
                    .collect();
            }
            if let Some(limits) = self.limits {
                let cut = limits.apply(&mut record) as u64;
                shared.cut.fetch_add(cut, Ordering::Relaxed);
            }
            serial::encode(&record, &self.columns, &mut self.scratch)
        };
        drop(common);
        if let Err(error) = encoded {
            self.client.outbox().refused(self.index);
            return Err(error.into());
        }
        if self.scratch.len() > MAX_RECORD {
            self.client.outbox().refused(self.index);
            return Err(LogError::TooLong {
                size: self.scratch.len(),
            });
        }
        Ok(true)
    }

    /// Writes what is in `scratch` if there is room.
    fn put(&self) -> Result<bool, LogError> {
        let shared = &self.client.shared;
        if shared.closed.is_cancelled() {
            return Err(LogError::Closed);
        }
        let mut outbox = self.client.outbox();
        let written = outbox
            .write(self.index, &self.scratch, Instant::now())
            .is_ok();
        let ready = outbox.has_ready();
        drop(outbox);
        if ready {
            shared.wake.notify_one();
        }
        Ok(written)
    }
}
