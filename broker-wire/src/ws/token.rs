//! The secret a client shows and a server asks for.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;

/// A token. It is not shown by `{:?}`.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl Token {
    pub(crate) fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The token itself, for the header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token, in a time that does not depend on how much of it is right.
    pub(crate) fn matches(&self, given: &[u8]) -> bool {
        given.ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
