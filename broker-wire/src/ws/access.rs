//! Who may connect, changed while servers listen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::accept::Gate;
use super::token::Token;

/// Who may be a client of the servers of a [`WsTransport`](super::WsTransport), and of those its clones listen with. A
/// change is for clients that connect from then on; those that are connected stay.
#[derive(Clone, Debug, Default)]
pub struct WsAccess {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    gate: RwLock<Arc<Gate>>,
    /// Whether somebody listens where nothing but the token keeps strangers out.
    needs_token: AtomicBool,
}

/// Taking the token away would let anybody in who reaches the port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "without a token anybody who reaches an address of this node could read and publish everything"
)]
pub struct TokenNeeded;

impl WsAccess {
    /// Asks clients for `token` from now on, or for none, and lets web pages of `origins` connect besides those of the
    /// server's own address. All of it or, with an error, none.
    ///
    /// # Errors
    /// There was a token, and a server listens on an address for which there has to be one.
    pub fn replace(&self, token: Option<&str>, origins: Vec<String>) -> Result<(), TokenNeeded> {
        if token.is_none() && self.inner.needs_token.load(Ordering::Acquire) {
            return Err(TokenNeeded);
        }
        self.set(Gate {
            token: token.map(Token::new),
            origins,
        });
        Ok(())
    }

    pub(super) fn gate(&self) -> Arc<Gate> {
        let gate = self.inner.gate.read();
        Arc::clone(&gate.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn needs_token(&self) {
        self.inner.needs_token.store(true, Ordering::Release);
    }

    /// A copy of its own that `change` was made to: for builders, whose clones must not change with them.
    pub(super) fn with(&self, change: impl FnOnce(&mut Gate)) -> Self {
        let mut gate = Gate::clone(&self.gate());
        change(&mut gate);
        let access = Self::default();
        access.set(gate);
        access
    }

    fn set(&self, gate: Gate) {
        let mut current = self
            .inner
            .gate
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_needed_can_be_changed_and_not_taken_away() {
        let access = WsAccess::default().with(|gate| gate.token = Some(Token::new("a")));
        access.replace(None, Vec::new()).expect("nobody listens");
        access.replace(Some("b"), Vec::new()).expect("a token");
        access.needs_token();
        assert_eq!(access.replace(None, vec!["*".to_owned()]), Err(TokenNeeded));
        assert!(access.gate().origins.is_empty());
        access
            .replace(Some("c"), vec!["*".to_owned()])
            .expect("a token");
        let gate = access.gate();
        assert!(gate.token.as_ref().is_some_and(|token| token.matches(b"c")));
        assert_eq!(gate.origins, ["*"]);
    }
}
