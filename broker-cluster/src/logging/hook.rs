//! Hooks on log records: they run on the node that writes a record, before it leaves; loggers apply none (reference,
//! zeek-cluster 1.8).

use std::fmt;
use std::sync::Arc;

use crate::log::{Record, Schema};

/// Which log a record is for.
#[derive(Clone, Copy, Debug)]
pub struct LogOrigin<'a> {
    /// The stream's id, such as `Conn::LOG`.
    pub stream: &'a str,
    /// Path and columns, those that are left out later included.
    pub schema: &'a Schema,
}

/// What is shown every record: it may change it, and keeps it back by returning false. A record that does not fit its columns
/// any more is refused. Hooks run on the thread that writes and must not block.
#[derive(Clone)]
pub struct LogHook(Arc<Hook>);

type Hook = dyn Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync;

impl LogHook {
    pub(crate) fn new(
        hook: impl Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn passes(&self, origin: &LogOrigin<'_>, record: &mut Record) -> bool {
        (self.0)(origin, record)
    }
}

impl fmt::Debug for LogHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHook")
    }
}

/// Whether both are the same one.
impl PartialEq for LogHook {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
