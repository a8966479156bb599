//! The TLS of `brokers://`: which context, made when it is first needed.

use broker_core::PeerUrl;

use crate::tls::{TlsError, TlsOptions, TlsRenewal};

#[cfg(feature = "openssl-system")]
pub(crate) use with_openssl::Security;
#[cfg(not(feature = "openssl-system"))]
pub(crate) use without::Security;

/// Whether connections of `url` are encrypted.
pub(crate) fn is_secure(url: &PeerUrl) -> bool {
    url.scheme() == "brokers"
}

#[cfg(feature = "openssl-system")]
mod with_openssl {
    use std::sync::{Arc, PoisonError, RwLock};

    use super::{TlsError, TlsOptions, TlsRenewal};
    use crate::tls::NativeTls;

    /// The options, and the context once somebody has needed it. A failure is not kept, so that a file may be put right
    /// while the node runs.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Security {
        inner: Arc<RwLock<Inner>>,
    }

    #[derive(Debug, Default)]
    struct Inner {
        options: TlsOptions,
        context: Option<NativeTls>,
    }

    impl Security {
        pub(crate) fn new(options: TlsOptions) -> Self {
            let inner = Inner {
                options,
                context: None,
            };
            Self {
                inner: Arc::new(RwLock::new(inner)),
            }
        }

        pub(crate) fn context(&self) -> Result<NativeTls, TlsError> {
            let options = {
                let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(context) = &inner.context {
                    return Ok(context.clone());
                }
                inner.options.clone()
            };
            let context = NativeTls::new(&options)?;
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            // It may have been replaced meanwhile.
            if inner.options == options {
                inner.context = Some(context.clone());
            }
            Ok(context)
        }

        pub(crate) fn renew(&self, options: &TlsOptions) -> Result<TlsRenewal, TlsError> {
            let mut renewal = TlsRenewal::default();
            let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
            if !inner.options.is_anonymous() && options.is_anonymous() {
                return Err(TlsError::NoAuthority);
            }
            // What is not in use need not fit: the files may be meant for other schemes.
            let context = match &inner.context {
                Some(_) => Some(NativeTls::new(options)?),
                None => None,
            };
            let new = Inner {
                options: options.clone(),
                context,
            };
            let current = Arc::clone(&self.inner);
            renewal.step(move || {
                *current.write().unwrap_or_else(PoisonError::into_inner) = new;
            });
            Ok(renewal)
        }
    }
}

#[cfg(not(feature = "openssl-system"))]
mod without {
    use tokio::net::TcpStream;

    use super::{TlsError, TlsOptions, TlsRenewal};
    use crate::tls::TlsHandshakeError;

    /// There is none.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Security(());

    /// What can never be had.
    #[derive(Clone, Debug)]
    pub(crate) enum Never {}

    impl Security {
        pub(crate) fn new(_: TlsOptions) -> Self {
            Self(())
        }

        pub(crate) fn renew(&self, _: &TlsOptions) -> Result<TlsRenewal, TlsError> {
            Ok(TlsRenewal::default())
        }

        pub(crate) fn context(&self) -> Result<Never, TlsError> {
            Err(TlsError::NotBuilt {
                scheme: "brokers",
                feature: "openssl",
            })
        }
    }

    impl Never {
        pub(crate) async fn connect(&self, _: TcpStream) -> Result<TcpStream, TlsHandshakeError> {
            match *self {}
        }

        pub(crate) async fn accept(&self, _: TcpStream) -> Result<TcpStream, TlsHandshakeError> {
            match *self {}
        }
    }
}
