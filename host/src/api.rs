//! The HTTP API: axum, status codes and nothing else. Whatever it answers is made by [`Daemon`]; every error is a problem
//! document (RFC 9457). The document at `/openapi.json` is generated from what is here.

#![allow(unused_qualifications, reason = "utoipa repeats the paths of handlers")]

mod body;
mod events;
mod health;
mod orgs;
mod page;
mod problem;
mod templates;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::daemon::Daemon;
pub use problem::ProblemDocument;
pub use view::*;

/// What every handler stands on.
#[derive(Clone)]
pub struct Api {
    daemon: Daemon,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "orghost",
    description = "Turns org templates into running workspaces. Errors are problem documents (RFC 9457)."
))]
struct Document;

impl Api {
    /// An API over a running host.
    pub fn new(daemon: Daemon) -> Self {
        Self { daemon }
    }

    /// Everything that is served.
    pub fn router(self) -> Router {
        let (router, document) = described().split_for_parts();
        let document = Arc::new(document.to_pretty_json().unwrap_or_default());
        router
            .merge(page::routes())
            .route(
                "/openapi.json",
                axum::routing::get(async move || {
                    ([("content-type", "application/json")], document.to_string())
                }),
            )
            .with_state(self)
    }
}

/// The OpenAPI document, as `/openapi.json` serves it and `openapi.json` of the repository holds it.
pub fn document() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(orgs::list, orgs::import))
        .routes(routes!(orgs::show, orgs::take_down))
        .routes(routes!(orgs::plan))
        .routes(routes!(orgs::operation, orgs::cancel))
        .routes(routes!(templates::list))
        .routes(routes!(events::follow))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// Where a request comes from: the address of whoever is connected.
pub type Peer = axum::extract::ConnectInfo<SocketAddr>;
