//! Accepts connections up to a limit, and adds the client's address to each request. It does not parse HTTP.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service as TowerService;

use crate::limits;

/// Makes a service for each connection, and refuses connections above [`limits::CONNECTIONS`].
#[derive(Debug, Clone)]
pub struct Connections {
    router: Router,
    slots: Arc<Semaphore>,
}

/// The service of one connection.
#[derive(Debug, Clone)]
pub struct Connection {
    router: Router,
    peer: SocketAddr,
    _slot: Arc<OwnedSemaphorePermit>,
}

impl Connections {
    /// Serves a router on every connection.
    pub fn to(router: Router) -> Self {
        Self {
            router,
            slots: Arc::new(Semaphore::new(limits::CONNECTIONS)),
        }
    }
}

impl TowerService<SocketAddr> for Connections {
    type Response = Connection;
    type Error = io::Error;
    type Future = Ready<io::Result<Connection>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: SocketAddr) -> Self::Future {
        let slot = self.slots.clone().try_acquire_owned();
        ready(
            slot.map_err(|_| io::Error::other("too many connections"))
                .map(|slot| Connection {
                    router: self.router.clone(),
                    peer,
                    _slot: Arc::new(slot),
                }),
        )
    }
}

impl<B> TowerService<Request<B>> for Connection
where
    Router: TowerService<Request<B>>,
{
    type Response = <Router as TowerService<Request<B>>>::Response;
    type Error = <Router as TowerService<Request<B>>>::Error;
    type Future = <Router as TowerService<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.call(request)
    }
}
