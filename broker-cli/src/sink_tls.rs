//! TLS for the `https://` sinks of loggers.

use broker_cluster::TlsSpec;
use broker_cluster::logging::{SinkClient, SinkTls, SinkTlsError};

/// What this program has.
pub(crate) fn sink_tls() -> SinkTls {
    SinkTls::new(prepare)
}

#[cfg(feature = "tls")]
fn prepare(files: &TlsSpec) -> Result<std::sync::Arc<dyn SinkClient>, SinkTlsError> {
    let options = crate::tls::TlsArgs::default().options(files)?;
    // HTTP/1.1 over TLS 1.2 or newer, as WebSocket servers have it.
    let client = broker_wire::tls::RustlsClient::web_socket(&options)?;
    Ok(std::sync::Arc::new(client::Client(client)))
}

#[cfg(not(feature = "tls"))]
fn prepare(_: &TlsSpec) -> Result<std::sync::Arc<dyn SinkClient>, SinkTlsError> {
    Err(broker_wire::tls::TlsError::NotBuilt {
        scheme: "https",
        feature: "tls",
    }
    .into())
}

#[cfg(feature = "tls")]
mod client {
    use broker_cluster::logging::{SinkClient, SinkStream, SinkTlsError};
    use broker_core::BoxFuture;
    use broker_wire::tls::RustlsClient;
    use tokio::net::TcpStream;

    pub(super) struct Client(pub(super) RustlsClient);

    impl SinkClient for Client {
        fn connect<'a>(
            &'a self,
            host: &'a str,
            stream: TcpStream,
        ) -> BoxFuture<'a, Result<Box<dyn SinkStream>, SinkTlsError>> {
            Box::pin(async move {
                let stream = self.0.connect(host, stream).await?;
                Ok(Box::new(stream) as Box<dyn SinkStream>)
            })
        }
    }
}
