//! Serves the page at `/`: static files that are compiled into the program. It serves no data; the page reads its data from
//! the HTTP API.

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::Api;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// The page may load its own files and call this server, and nothing else.
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
    ("address.js", SCRIPT, include_str!("ui/address.js")),
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

/// The routes `/` and `/page/{file}`.
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
        // A browser must not mix files of two versions.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layers of the page's modules, lowest first.
    const LAYERS: &[&[&str]] = &[
        &["address.js", "api.js", "dom.js", "words.js"],
        &[
            "live.js",
            "events.js",
            "notices.js",
            "tree.js",
            "variables.js",
        ],
        &["plan.js", "workspace.js"],
        &["orgs.js", "org.js", "import.js"],
        &["page.js"],
    ];

    fn layer_of(file: &str) -> usize {
        let found = LAYERS.iter().position(|layer| layer.contains(&file));
        found.unwrap_or_else(|| panic!("{file} is in no layer"))
    }

    /// The modules that a module names, as in `from './dom.js'`.
    fn imports_of(text: &str) -> impl Iterator<Item = &str> {
        let quoted = text.split("'./").skip(1);
        quoted.filter_map(|rest| rest.split('\'').next())
    }

    #[test]
    fn each_module_imports_only_from_the_layers_before_its_own() {
        let scripts = FILES.iter().filter(|(_, kind, _)| *kind == SCRIPT);
        let mut imports = 0;
        for (file, _, text) in scripts {
            for imported in imports_of(text) {
                imports += 1;
                assert!(
                    layer_of(imported) < layer_of(file),
                    "{file} imports {imported}"
                );
            }
        }
        assert!(imports > 30, "{imports} imports were found");
    }

    #[test]
    fn every_imported_module_is_served() {
        for imported in FILES.iter().flat_map(|(_, _, text)| imports_of(text)) {
            assert!(
                FILES.iter().any(|(file, ..)| *file == imported),
                "{imported} is not served"
            );
        }
    }
}
