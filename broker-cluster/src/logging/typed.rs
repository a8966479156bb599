//! Streams of a program's own record types: [`LogClient::typed`].

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use super::client::{LogClient, LogError, LogStream};
use super::spec::LogSpec;
use crate::log::{LogRecord, Record, Schema};

impl LogSpec {
    /// The log of a record type, in its stream, with its path and columns.
    #[must_use]
    pub fn of<R: LogRecord>() -> Self {
        Self::new(R::schema()).stream(R::stream())
    }
}

impl LogClient {
    /// Starts to write the log of a record type: announces it to the loggers. Like [`stream`](Self::stream), with
    /// structs for records.
    ///
    /// ```no_run
    /// # #[derive(broker_cluster::log::LogRecord)]
    /// # struct SshGuess { host: std::net::IpAddr }
    /// # async fn example(node: broker_cluster::ClusterNode) -> Result<(), broker_cluster::logging::LogError> {
    /// let mut guesses = node.logs().typed::<SshGuess>().await?;
    /// guesses.write(&SshGuess { host: [192, 0, 2, 7].into() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The node is shutting down, or has too many streams; two fields of the record have the same column; a setting of the
    /// node names a column that does not exist, or asks for files on a node that writes none.
    pub async fn typed<R: LogRecord>(&self) -> Result<TypedLogStream<R>, LogError> {
        self.typed_with(|spec| spec).await
    }

    /// Like [`typed`](Self::typed), with settings: hooks, columns that are left out, a format.
    ///
    /// ```no_run
    /// # #[derive(broker_cluster::log::LogRecord)]
    /// # struct SshGuess { host: std::net::IpAddr, user: String }
    /// # async fn example(node: broker_cluster::ClusterNode) -> Result<(), broker_cluster::logging::LogError> {
    /// let guesses = node.logs().typed_with::<SshGuess>(|spec| spec.exclude(["user"])).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As of `typed`; the settings name a column that does not exist.
    pub async fn typed_with<R: LogRecord>(
        &self,
        set: impl FnOnce(LogSpec) -> LogSpec,
    ) -> Result<TypedLogStream<R>, LogError> {
        let spec = LogSpec::of::<R>();
        let mut names = HashSet::new();
        let mut columns = spec.schema.columns.iter();
        if let Some(twice) = columns.find(|column| !names.insert(&column.name)) {
            return Err(LogError::SameColumn {
                stream: spec.stream.clone(),
                column: twice.name.clone(),
            });
        }
        Ok(TypedLogStream {
            stream: self.stream(set(spec)).await?,
            values: Record::new(),
            record: PhantomData,
        })
    }
}

/// A log that is being written, of records of one type.
pub struct TypedLogStream<R> {
    stream: LogStream,
    values: Record,
    record: PhantomData<fn(&R)>,
}

impl<R: LogRecord> TypedLogStream<R> {
    /// Path and columns.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        self.stream.schema()
    }

    /// Writes one record; see [`LogStream::write`].
    ///
    /// # Errors
    /// The record is too long, a hook has made something of it that does not fit its columns, or the node is shutting down.
    ///
    /// # Cancel safety
    /// If the future is dropped before it resolves, the record was not accepted.
    pub async fn write(&mut self, record: &R) -> Result<(), LogError> {
        self.fill(record);
        self.stream.write(&self.values).await
    }

    /// Writes one record if there is room now. `Ok(false)`: there is not, and it counts as dropped.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub fn try_write(&mut self, record: &R) -> Result<bool, LogError> {
        self.fill(record);
        self.stream.try_write(&self.values)
    }

    /// The stream that takes values.
    #[must_use]
    pub fn into_untyped(self) -> LogStream {
        self.stream
    }

    fn fill(&mut self, record: &R) {
        self.values.clear();
        record.values(&mut self.values);
    }
}

impl<R> fmt::Debug for TypedLogStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedLogStream")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
