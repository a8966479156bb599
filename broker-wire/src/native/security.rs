//! The TLS of `brokers://`: which context, made when it is first needed.

use broker_core::PeerUrl;

use crate::tls::{TlsError, TlsOptions};

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
    use std::sync::{Arc, OnceLock};

    use super::{TlsError, TlsOptions};
    use crate::tls::NativeTls;

    /// The options, and the context once somebody has needed it. A failure is not kept, so that a file may be put right
    /// while the node runs.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Security {
        options: TlsOptions,
        context: Arc<OnceLock<NativeTls>>,
    }

    impl Security {
        pub(crate) fn new(options: TlsOptions) -> Self {
            Self {
                options,
                context: Arc::default(),
            }
        }

        pub(crate) fn context(&self) -> Result<NativeTls, TlsError> {
            if let Some(context) = self.context.get() {
                return Ok(context.clone());
            }
            let context = NativeTls::new(&self.options)?;
            Ok(self.context.get_or_init(|| context).clone())
        }
    }
}

#[cfg(not(feature = "openssl-system"))]
mod without {
    use tokio::net::TcpStream;

    use super::{TlsError, TlsOptions};
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
