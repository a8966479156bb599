//! One HTTP/2 connection as tonic's client stubs want it.
//!
//! tonic's own channel connects when first used and again by itself; here a connection is one connection,
//! made when asked for, with an error that says what is wrong.

use std::fmt;
use std::task::{Context, Poll};

use broker_core::{BoxFuture, PeerUrl};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::http::{Request, Response, Uri};
use tonic::body::Body;
use tonic::codegen::Service;

use crate::grpc::DialError;
use crate::grpc::dial::{Alive, Clues, Dialled, dial};
use crate::grpc::origin;
use crate::grpc::settings::KeepAlive;
use crate::socket::{Dialler, TlsSetup};
use crate::tls::TlsOptions;

/// A connection. Clones share it; it closes when the last one is gone.
#[derive(Clone)]
pub(crate) struct Channel {
    http: SendRequest<Body>,
    origin: Uri,
    clues: Clues,
    _alive: Alive,
}

impl Channel {
    pub(crate) async fn open(url: &PeerUrl, tls: Option<&TlsOptions>) -> Result<Self, DialError> {
        let setup = tls.cloned().map(TlsSetup::new);
        let dialler = Dialler::new(url, setup.as_ref())?;
        let no_host = || DialError::NoSuchHost {
            host: url.host().to_owned(),
            reason: "it is no host name".to_owned(),
        };
        let origin = origin(url).ok_or_else(no_host)?;
        let Dialled { http, alive, clues } = dial(
            url,
            &dialler,
            KeepAlive::Pinged,
            std::future::ready(()),
            |driver| drop(tokio::spawn(driver)),
        )
        .await?;
        Ok(Self {
            http,
            origin,
            clues,
            _alive: alive,
        })
    }

    /// What is wrong with the other side, if more was seen than that it does not answer.
    pub(crate) fn explain(&self) -> Option<DialError> {
        self.clues.explain()
    }

    pub(crate) fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        // A connection that has ended lets the call fail, as one that ends during a call does: the stubs would make a
        // refusal of it.
        self.http.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.http.send_request(request))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
