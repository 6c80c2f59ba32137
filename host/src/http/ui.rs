//! The page at `/`: files that are part of the program. Serves no data: whatever the page shows, it asks the API for.

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Api;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// Nothing but the page's own files and the API may be used by it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's files, as (name, type, text).
const FILES: &[(&str, &str, &str)] = &[
    (
        "page.css",
        "text/css; charset=utf-8",
        include_str!("ui/page.css"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("ui/icon.svg")),
    ("api.js", SCRIPT, include_str!("ui/api.js")),
    ("dom.js", SCRIPT, include_str!("ui/dom.js")),
    ("events.js", SCRIPT, include_str!("ui/events.js")),
    ("import.js", SCRIPT, include_str!("ui/import.js")),
    ("live.js", SCRIPT, include_str!("ui/live.js")),
    ("notices.js", SCRIPT, include_str!("ui/notices.js")),
    ("org.js", SCRIPT, include_str!("ui/org.js")),
    ("orgs.js", SCRIPT, include_str!("ui/orgs.js")),
    ("page.js", SCRIPT, include_str!("ui/page.js")),
    ("plan.js", SCRIPT, include_str!("ui/plan.js")),
    ("tree.js", SCRIPT, include_str!("ui/tree.js")),
    ("variables.js", SCRIPT, include_str!("ui/variables.js")),
    ("words.js", SCRIPT, include_str!("ui/words.js")),
    ("workspace.js", SCRIPT, include_str!("ui/workspace.js")),
];

/// `/`, and `/page/{file}` for whatever it stands on.
pub fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(index))
        .route("/page/{file}", get(file))
}

async fn index() -> Response {
    served("text/html; charset=utf-8", include_str!("ui/index.html"))
}

async fn file(Path(wanted): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(name, ..)| *name == wanted);
    let &(_, kind, text) = found.ok_or_else(|| {
        let message = format!("the page has no file {wanted:?}");
        Problem::one(Class::NotFound, Diagnostic::new("unknown-file", message))
    })?;
    Ok(served(kind, text))
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The page and its server are of one version.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
