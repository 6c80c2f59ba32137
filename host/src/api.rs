//! The HTTP API: axum, status codes and nothing else. Whatever it answers is made by [`Daemon`]; every error is a problem
//! document (RFC 9457). The document at `/openapi.json` is generated from what is here.

#![allow(unused_qualifications, reason = "utoipa repeats the paths of handlers")]

mod a2a;
mod access;
mod actions;
mod audit;
mod auth;
mod body;
mod compat;
mod connections;
mod document;
mod events;
mod health;
mod idempotency;
mod layers;
mod observe;
mod orgs;
mod page;
mod parameters;
mod plugins;
mod problem;
mod templates;
mod upload;
mod view;
mod workspaces;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::daemon::Daemon;
pub use access::{Access, needed};
pub use audit::Audit;
pub use connections::{Connection, Connections};
pub use problem::ProblemDocument;
pub use view::*;

/// What every handler stands on.
#[derive(Clone)]
pub struct Api {
    daemon: Daemon,
    agents: a2a::Agents,
}

#[derive(OpenApi)]
#[openapi(info(
    title = "orghost",
    description = "Turns org templates into running workspaces. Errors are problem documents (RFC 9457). A POST that \
                   creates or acts takes an `Idempotency-Key`: with the same key it is done once in a day."
))]
struct Document;

impl Api {
    /// An API over a running host.
    pub fn new(daemon: Daemon) -> Self {
        Self {
            daemon,
            agents: a2a::agents(),
        }
    }

    /// Everything that is served.
    pub fn router(self) -> Router {
        let document = Arc::new(document_text());
        let daemon = self.daemon.clone();
        let routes = described()
            .split_for_parts()
            .0
            .merge(page::routes())
            .route(
                "/openapi.json",
                axum::routing::get(async move || {
                    ([("content-type", "application/json")], document.to_string())
                }),
            )
            .fallback(problem::no_route)
            .method_not_allowed_fallback(problem::no_method)
            .with_state(self);
        layers::around(routes, &daemon)
    }
}

/// The OpenAPI document, as `/openapi.json` serves it and `openapi.json` of the repository holds it.
pub fn document_text() -> String {
    let mut document = described().split_for_parts().1;
    document::complete(&mut document);
    let text = document.to_pretty_json().unwrap_or_default();
    format!("{text}\n")
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(orgs::list, orgs::import))
        .routes(routes!(orgs::show, orgs::take_down))
        .routes(routes!(orgs::plan))
        .routes(routes!(orgs::operations))
        .routes(routes!(orgs::operation, orgs::cancel))
        .routes(routes!(workspaces::list))
        .routes(routes!(workspaces::show))
        .routes(routes!(workspaces::logs))
        .routes(routes!(templates::list))
        .routes(routes!(plugins::list, plugins::add))
        .routes(routes!(plugins::remove))
        .routes(routes!(plugins::expand))
        .routes(routes!(compat::templates))
        .routes(routes!(compat::import))
        .routes(routes!(actions::restart))
        .routes(routes!(actions::stop))
        .routes(routes!(actions::start))
        .routes(routes!(actions::remove))
        .routes(routes!(actions::orphans))
        .routes(routes!(a2a::call))
        .routes(routes!(a2a::call_below, a2a::get_below))
        .routes(routes!(events::follow))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(audit::list))
}

/// Where a request comes from: the address of whoever is connected.
pub type Peer = axum::extract::ConnectInfo<SocketAddr>;
