//! Hooks on log records: they run on the node that writes a record, before it leaves; loggers apply none (reference,
//! zeek-cluster 1.8).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log::{Record, Schema};
use crate::panic::caught;

/// Which log a record is for.
#[derive(Clone, Copy, Debug)]
pub struct LogOrigin<'a> {
    /// The stream's id, such as `Conn::LOG`.
    pub stream: &'a str,
    /// Path and columns, those that are left out later included.
    pub schema: &'a Schema,
}

/// What is shown every record: it may change it, and keeps it back by returning false. A record that does not fit its columns
/// any more is refused. Hooks run on the thread that writes and must not block. One that panics keeps that record back, and
/// the log says so the first time.
#[derive(Clone)]
pub struct LogHook(Arc<Hook>);

struct Hook {
    call: Box<Call>,
    /// Whether it has panicked before.
    panicked: AtomicBool,
}

type Call = dyn Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync;

impl LogHook {
    pub(crate) fn new(
        hook: impl Fn(&LogOrigin<'_>, &mut Record) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Hook {
            call: Box::new(hook),
            panicked: AtomicBool::new(false),
        }))
    }

    pub(crate) fn passes(&self, origin: &LogOrigin<'_>, record: &mut Record) -> bool {
        // What a panic leaves half changed is the record, which then goes nowhere.
        caught(|| (self.0.call)(origin, record)).unwrap_or_else(|panic| {
            if !self.0.panicked.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    stream = origin.stream,
                    panic,
                    "a hook on log records panicked; such records are kept back"
                );
            }
            false
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_whose_hook_panics_is_kept_back_and_the_next_is_not() {
        let hook = LogHook::new(|_, record| {
            assert!(!record.is_empty(), "told to");
            true
        });
        let schema = Schema {
            path: "test".to_owned(),
            columns: vec![],
        };
        let origin = LogOrigin {
            stream: "Test::LOG",
            schema: &schema,
        };
        assert!(!hook.passes(&origin, &mut vec![]));
        assert!(hook.passes(&origin, &mut vec![crate::log::LogValue::Count(1)]));
    }
}
