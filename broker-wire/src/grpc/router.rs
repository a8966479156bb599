//! Which service answers which path.
//!
//! `Peering.Connect` is answered by [`stream`](super::stream) directly; the others are tonic's servers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use broker_core::BoxFuture;
use hyper::http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;

use super::stoppable::Stoppable;

/// The services of one listener. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Router {
    routes: Arc<HashMap<&'static str, Route>>,
}

type Route = Box<dyn Fn(Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// Collects services.
#[derive(Default)]
pub(crate) struct RouterBuilder {
    routes: HashMap<&'static str, Route>,
}

impl RouterBuilder {
    /// Adds `service`. It must see to it that its calls end when the node stops.
    pub(crate) fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let route: Route = Box::new(move |request| {
            let call = service.clone().call(request);
            Box::pin(async move { call.await.unwrap_or_else(|never| match never {}) })
        });
        self.routes.insert(S::NAME, route);
        self
    }

    /// Adds `service`, whose calls are cut short when `stop` is cancelled.
    pub(crate) fn add_stoppable<S>(self, service: S, stop: &CancellationToken) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.add(Stoppable::new(service, stop.clone()))
    }

    pub(crate) fn build(self) -> Router {
        Router {
            routes: Arc::new(self.routes),
        }
    }
}

impl Router {
    /// Answers one call.
    pub(crate) async fn call(&self, request: Request<Body>) -> Response<Body> {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.routes.get(service) {
            Some(route) => route(request).await,
            None => Status::unimplemented("no such service here").into_http(),
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}
