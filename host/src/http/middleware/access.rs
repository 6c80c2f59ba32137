//! The access rule of every route, in one table. A route without a rule is refused, so a new route needs a row here.
//!
//! The table says what a route needs. [`super::auth`] decides whether a caller has it.

use axum::http::Method;

use crate::state::token::Scope;

/// The access rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAccess {
    /// No token: liveness and readiness, the page's files, the OpenAPI document.
    Open,
    /// A token of this scope, or a higher one.
    Needs(Scope),
    /// The handler authenticates its callers. Workspaces call these routes with their own tokens, which are no API tokens. A
    /// caller with an API token of the scope `write` reaches the handler as a [`crate::state::token::Caller`].
    Own,
}

const READ: RouteAccess = RouteAccess::Needs(Scope::Read);
const PLAN: RouteAccess = RouteAccess::Needs(Scope::Plan);
const WRITE: RouteAccess = RouteAccess::Needs(Scope::Write);
const ADMIN: RouteAccess = RouteAccess::Needs(Scope::Admin);

const TABLE: &[(Method, &str, RouteAccess)] = &[
    (Method::GET, "/", RouteAccess::Open),
    (Method::GET, "/page/{file}", RouteAccess::Open),
    (Method::GET, "/openapi.json", RouteAccess::Open),
    (Method::GET, "/healthz", RouteAccess::Open),
    (Method::GET, "/readyz", RouteAccess::Open),
    (Method::GET, "/metrics", READ),
    (Method::GET, "/v1/orgs", READ),
    (Method::POST, "/v1/orgs", WRITE),
    (Method::GET, "/v1/orgs/{org}", READ),
    (Method::DELETE, "/v1/orgs/{org}", WRITE),
    (Method::GET, "/v1/orgs/{org}/workspaces", READ),
    (Method::GET, "/v1/orgs/{org}/operations", READ),
    (Method::GET, "/v1/operations/{id}", READ),
    (Method::DELETE, "/v1/operations/{id}", WRITE),
    (Method::GET, "/v1/workspaces/{id}", READ),
    (Method::DELETE, "/v1/workspaces/{id}", WRITE),
    (Method::GET, "/v1/workspaces/{id}/logs", READ),
    (Method::POST, "/v1/workspaces/{id}/restart", WRITE),
    (Method::POST, "/v1/workspaces/{id}/stop", WRITE),
    (Method::POST, "/v1/workspaces/{id}/start", WRITE),
    (Method::POST, "/v1/workspaces/{id}/a2a", RouteAccess::Own),
    (
        Method::POST,
        "/v1/workspaces/{id}/a2a/{*path}",
        RouteAccess::Own,
    ),
    (
        Method::GET,
        "/v1/workspaces/{id}/a2a/{*path}",
        RouteAccess::Own,
    ),
    (Method::GET, "/v1/orphans", READ),
    (Method::POST, "/v1/plans", PLAN),
    (Method::POST, "/v1/expand", PLAN),
    (Method::GET, "/v1/events", READ),
    (Method::GET, "/v1/templates", READ),
    (Method::GET, "/v1/plugins", READ),
    (Method::POST, "/v1/plugins", ADMIN),
    (Method::DELETE, "/v1/plugins/{name}", ADMIN),
    (Method::GET, "/v1/audit", ADMIN),
    (Method::GET, "/org/templates", READ),
    (Method::POST, "/org/import", WRITE),
];

/// The access rule for a method of a route; `None` when the table has none.
pub fn needed(method: &Method, route: &str) -> Option<RouteAccess> {
    // HEAD needs what GET needs.
    let method = if *method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut rows = TABLE.iter();
    let row = rows.find(|(of, path, _)| of == method && *path == route);
    row.map(|(_, _, access)| *access)
}

/// The methods that a route allows.
pub fn methods(route: &str) -> Vec<&'static str> {
    let rows = TABLE.iter().filter(|(_, path, _)| *path == route);
    rows.flat_map(|(method, ..)| match *method == Method::GET {
        true => vec!["GET", "HEAD"],
        false => vec![method.as_str()],
    })
    .collect()
}

/// Whether a request changes something.
pub fn changes(method: &Method, access: RouteAccess) -> bool {
    !method.is_safe() && matches!(access, RouteAccess::Needs(Scope::Write | Scope::Admin))
}
