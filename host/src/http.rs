//! The HTTP API: routes, bodies and status codes over [`Service`], which makes every decision.
//!
//! Every error is a problem document (RFC 9457). `/openapi.json` is generated from the handlers.

#![allow(unused_qualifications, reason = "utoipa repeats the paths of handlers")]

mod a2a;
mod compat;
mod middleware;
mod routes;
mod ui;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
pub use middleware::access::{RouteAccess, needed};
pub use middleware::audit::Audit;
pub use middleware::connections::{Connection, Connections};
pub use wire::problem::ProblemDocument;
pub use wire::view::*;

/// The state that all handlers share.
#[derive(Clone)]
pub struct Api {
    service: Service,
    agents: a2a::AgentClient,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "orghost",
    description = "Turns org templates into running workspaces. Errors are problem documents (RFC 9457). A POST that creates \
                   or acts takes an `Idempotency-Key`: requests with the same key take effect once within 24 hours."
))]
struct Document;

impl Api {
    /// The API of a running service.
    pub fn new(service: Service) -> Self {
        Self {
            service,
            agents: a2a::agent_client(),
        }
    }

    /// All routes, with the middleware around them.
    pub fn router(self) -> Router {
        let document = Arc::new(document_text());
        let service = self.service.clone();
        let routes = documented_routes()
            .split_for_parts()
            .0
            .merge(ui::routes())
            .route(
                "/openapi.json",
                axum::routing::get(async move || {
                    ([("content-type", "application/json")], document.to_string())
                }),
            )
            .fallback(wire::problem::no_route)
            .method_not_allowed_fallback(wire::problem::no_method)
            .with_state(self);
        middleware::layers::around(routes, &service)
    }
}

/// The OpenAPI document: `/openapi.json` serves it, and the repository's `openapi.json` is a copy.
pub fn document_text() -> String {
    let mut document = documented_routes().split_for_parts().1;
    wire::document::complete(&mut document);
    let text = document.to_pretty_json().unwrap_or_default();
    format!("{text}\n")
}

fn documented_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(routes::orgs::list, routes::orgs::import))
        .routes(routes!(routes::orgs::show, routes::orgs::take_down))
        .routes(routes!(routes::orgs::plan))
        .routes(routes!(routes::orgs::operations))
        .routes(routes!(routes::orgs::operation, routes::orgs::cancel))
        .routes(routes!(routes::workspaces::list))
        .routes(routes!(routes::workspaces::show))
        .routes(routes!(routes::workspaces::logs))
        .routes(routes!(routes::templates::list))
        .routes(routes!(routes::plugins::list, routes::plugins::add))
        .routes(routes!(routes::plugins::remove))
        .routes(routes!(routes::plugins::expand))
        .routes(routes!(compat::templates))
        .routes(routes!(compat::import))
        .routes(routes!(routes::actions::restart))
        .routes(routes!(routes::actions::stop))
        .routes(routes!(routes::actions::start))
        .routes(routes!(routes::actions::remove))
        .routes(routes!(routes::actions::orphans))
        .routes(routes!(a2a::call))
        .routes(routes!(a2a::call_below, a2a::get_below))
        .routes(routes!(routes::events::follow))
        .routes(routes!(routes::health::live))
        .routes(routes!(routes::health::ready))
        .routes(routes!(routes::health::metrics))
        .routes(routes!(middleware::audit::list))
}

/// The address of the client at the other end of a connection, as a request extension.
pub type Peer = axum::extract::ConnectInfo<SocketAddr>;
