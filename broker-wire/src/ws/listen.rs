//! The listening side: which address, and for whom. Binding and accepting is [`tcp`](crate::tcp)'s.

use broker_core::{ListenError, PeerUrl};

use super::serve::ServeError;
use super::settings::{DEFAULT_PORT, PATH};
use crate::tcp::{Listener, Served};

/// Binds `url`; the second part is the address to tell, path included. If anybody may use it (`is_open`), only an
/// address that this machine alone can reach will do.
pub(crate) async fn bind(url: &PeerUrl, is_open: bool) -> Result<(Listener, PeerUrl), ListenError> {
    let refuse = |reason: String| ListenError::Bind {
        url: url.clone(),
        reason,
    };
    if !matches!(url.path(), "" | "/" | PATH) {
        return Err(refuse(format!("the path is always {PATH}")));
    }
    let listener = Listener::bind(url, DEFAULT_PORT).await?;
    if is_open && !listener.is_loopback() {
        return Err(ListenError::Unprotected { url: url.clone() });
    }
    let bound = PeerUrl::new(url.scheme(), url.host(), listener.url().port());
    let told = format!("{bound}{PATH}");
    let told = told
        .parse()
        .map_err(|_| refuse(format!("{told} is no address")))?;
    Ok((listener, told))
}

/// How a client that was served came to its end.
pub(crate) fn served(result: Result<(), ServeError>) -> Served {
    match result {
        Ok(()) => Served::Fine,
        Err(error) if error.is_harmless() => Served::Harmless(error.to_string()),
        Err(error) => Served::Failed(error.to_string()),
    }
}
