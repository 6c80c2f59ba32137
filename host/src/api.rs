//! The HTTP API: axum, status codes and nothing else. Whatever it answers is made by [`Daemon`]; every error is a problem
//! document (RFC 9457). The document at `/openapi.json` is generated from what is here.

#![allow(unused_qualifications, reason = "utoipa repeats the paths of handlers")]

mod access;
mod audit;
mod auth;
mod body;
mod connections;
mod events;
mod health;
mod idempotency;
mod layers;
mod orgs;
mod page;
mod problem;
mod upload;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
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
}

#[derive(OpenApi)]
#[openapi(info(
    title = "orghost",
    description = "Turns org templates into running workspaces. Errors are problem documents (RFC 9457). A POST that \
                   creates or acts takes an `Idempotency-Key`: with the same key it is done once in a day."
), modifiers(&Bearer))]
struct Document;

/// Says in the document how callers say who they are.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `orghost token new`; none is needed from the server's own machine while none was made."));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
        document.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    }
}

impl Api {
    /// An API over a running host.
    pub fn new(daemon: Daemon) -> Self {
        Self { daemon }
    }

    /// Everything that is served.
    pub fn router(self) -> Router {
        let (router, document) = described().split_for_parts();
        let document = Arc::new(document.to_pretty_json().unwrap_or_default());
        let daemon = self.daemon.clone();
        let routes = router
            .merge(page::routes())
            .route(
                "/openapi.json",
                axum::routing::get(async move || {
                    ([("content-type", "application/json")], document.to_string())
                }),
            )
            .fallback(auth::nothing)
            .with_state(self);
        layers::around(routes, &daemon)
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
        .routes(routes!(events::follow))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(audit::list))
}

/// Where a request comes from: the address of whoever is connected.
pub type Peer = axum::extract::ConnectInfo<SocketAddr>;
