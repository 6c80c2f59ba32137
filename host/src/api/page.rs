//! The page at `/`: files that are part of the program. Serves no data: whatever the page shows, it asks the API for.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::Api;

/// Nothing but the page's own files and the API may be used by it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's files, as (path, type, text).
const FILES: &[(&str, &str, &str)] = &[
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/page/page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
    (
        "/page/icon.svg",
        "image/svg+xml",
        include_str!("page/icon.svg"),
    ),
    ("/page/api.js", SCRIPT, include_str!("page/api.js")),
    ("/page/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/page/events.js", SCRIPT, include_str!("page/events.js")),
    ("/page/import.js", SCRIPT, include_str!("page/import.js")),
    ("/page/live.js", SCRIPT, include_str!("page/live.js")),
    ("/page/notices.js", SCRIPT, include_str!("page/notices.js")),
    ("/page/org.js", SCRIPT, include_str!("page/org.js")),
    ("/page/orgs.js", SCRIPT, include_str!("page/orgs.js")),
    ("/page/page.js", SCRIPT, include_str!("page/page.js")),
    ("/page/plan.js", SCRIPT, include_str!("page/plan.js")),
    ("/page/tree.js", SCRIPT, include_str!("page/tree.js")),
    (
        "/page/variables.js",
        SCRIPT,
        include_str!("page/variables.js"),
    ),
    ("/page/words.js", SCRIPT, include_str!("page/words.js")),
    (
        "/page/workspace.js",
        SCRIPT,
        include_str!("page/workspace.js"),
    ),
];

/// The page's files.
pub fn routes() -> Router<Api> {
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, kind, text)| {
            router.route(
                path,
                get(async move || {
                    let headers = [
                        (header::CONTENT_TYPE, kind),
                        (header::CONTENT_SECURITY_POLICY, POLICY),
                        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                        (header::REFERRER_POLICY, "no-referrer"),
                        // The page and its server are of one version.
                        (header::CACHE_CONTROL, "no-cache"),
                    ];
                    (headers, text).into_response()
                }),
            )
        })
}
