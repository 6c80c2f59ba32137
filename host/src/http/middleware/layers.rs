//! What is around every route: the request's id, its limits in bytes and seconds, compression, and what is said when a
//! handler panics. Knows no route's meaning.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http_body_util::Limited;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutBody;

use super::access::{self, RouteAccess};
use super::auth::{self, AuthLayer};
use super::idempotency::{self, Keys};
use super::observe;
use super::request_id;
use crate::http::wire::problem;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::service::Service;

/// Puts everything around the routes; what is last here is outermost.
pub fn around(routes: Router, service: &Service) -> Router {
    let gate = Arc::new(AuthLayer::new(service.clone()));
    let keys = Arc::new(Keys::new(service.store().clone()));
    let large = Arc::new(Semaphore::new(limits::LARGE_BODIES));
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(keys, idempotency::once))
        .layer(from_fn_with_state(large, bounds))
        .layer(from_fn_with_state(gate, auth::gate))
        .layer(from_fn(deadline))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(is_whole)))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(
            service.metrics().clone(),
            observe::request,
        ))
        .layer(from_fn(request_id::identify))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
        ]))
}

/// Bounds the time until an answer begins; a stream may go on after that.
async fn deadline(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let needed = route.and_then(|route| access::needed(request.method(), route.as_str()));
    let limit = match needed {
        // It waits for an agent, and has limits of its own.
        Some(RouteAccess::Own) => return next.run(request).await,
        _ if request.method().is_safe() => limits::REQUEST,
        _ => limits::REQUEST_LARGE,
    };
    let query = request.uri().query().unwrap_or_default();
    let wait = query
        .split('&')
        .find_map(|part| part.strip_prefix("wait=")?.parse::<u64>().ok());
    let wait = Duration::from_secs(wait.unwrap_or_default().min(limits::WAIT_SECONDS));
    match timeout(limit + wait, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let diagnostic = Diagnostic::new("timeout", "this request took too long")
                .help("it may have been done: look, or ask again");
            Problem::one(Class::Failed, diagnostic).into_response()
        }
    }
}

/// Bounds a body in bytes and in time, and how many large ones are in memory.
async fn bounds(State(large): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let limit = match is_upload(request.headers()) {
        true => limits::UPLOAD_BYTES,
        false => limits::BODY_BYTES,
    };
    let length = request.body().size_hint().upper();
    if length.is_some_and(|length| length > limit) {
        return too_large(limit).into_response();
    }
    // Held until the answer begins: by then the body was used.
    let _held = match length.is_none_or(|length| length > limits::LARGE_BODY) {
        false => None,
        true => match large.try_acquire() {
            Ok(held) => Some(held),
            Err(_) => {
                let diagnostic = Diagnostic::new("busy", "too many large bodies are being read")
                    .help("try again in a few seconds");
                return Problem::one(Class::Busy, diagnostic).into_response();
            }
        },
    };
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let bounded = request.map(|body| {
        Body::new(TimeoutBody::new(
            limits::BODY_READ,
            Limited::new(body, most),
        ))
    });
    next.run(bounded).await
}

/// Whether the body is a file rather than JSON.
pub fn is_upload(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    [
        "multipart/form-data",
        "application/wasm",
        "application/octet-stream",
    ]
    .iter()
    .any(|upload| kind.eq_ignore_ascii_case(upload))
}

fn too_large(limit: u64) -> Problem {
    let message = format!("the body is larger than {limit} bytes");
    Problem::one(Class::Invalid, Diagnostic::new("body-too-large", message))
}

#[allow(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(words, "a handler panicked");
    problem::broke().into_response()
}

/// What comes at once is compressed; what is streamed must not wait for a full buffer.
fn is_whole(_: StatusCode, _: Version, headers: &HeaderMap, _: &axum::http::Extensions) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    [
        "application/json",
        "application/problem+json",
        "text/html",
        "text/css",
        "text/javascript",
        "image/svg+xml",
    ]
    .iter()
    .any(|whole| kind.starts_with(whole))
}
