//! Panics of a program's own closures stay in the closure: the task that calls it serves others, too.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `closure`. A panic is an error with its message; what the closure owns is as a thread that unwinds would leave it.
pub(crate) fn caught<T>(closure: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(closure)).map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
