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
use http_body_util::{LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutBody;

use super::access::{self, Access};
use super::auth::{self, Gate};
use super::idempotency::{self, Keys};
use super::observe;
use crate::daemon::Daemon;
use crate::diagnostic::Diagnostic;
use crate::digest::hex;
use crate::limits;
use crate::problem::{Class, Problem};
use crate::vault;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts everything around the routes; what is last here is outermost.
pub fn around(routes: Router, daemon: &Daemon) -> Router {
    let gate = Arc::new(Gate::new(daemon.clone()));
    let keys = Arc::new(Keys::new(daemon.store().clone()));
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
            daemon.metrics().clone(),
            observe::request,
        ))
        .layer(from_fn(identify))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
        ]))
}

/// The id of a request that came through [`identify`].
pub fn request_id(headers: &HeaderMap) -> &str {
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    id.unwrap_or_default()
}

/// Gives each request an id, which the answer and the audit tell. A caller's own is kept if it is short and plain.
async fn identify(mut request: Request, next: Next) -> Response {
    let given = request_id(request.headers());
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let id = match (1..=64).contains(&given.len()) && given.bytes().all(is_plain) {
        true => given.to_owned(),
        false => hex(&vault::random::<8>().unwrap_or_default()),
    };
    let Ok(id) = HeaderValue::from_str(&id) else {
        return next.run(request).await;
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Bounds the time until an answer begins; a stream may go on after that.
async fn deadline(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let needed = route.and_then(|route| access::needed(request.method(), route.as_str()));
    let limit = match needed {
        // It waits for an agent, and has limits of its own.
        Some(Access::Own) => return next.run(request).await,
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

/// Why a body could not be read.
pub fn unread(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::one(
                Class::Invalid,
                Diagnostic::new("body-too-large", "the body is too large"),
            );
        }
        cause = error.source();
    }
    Problem::one(
        Class::Invalid,
        Diagnostic::new("body", format!("the body cannot be read: {error}")),
    )
}

fn too_large(limit: u64) -> Problem {
    let message = format!("the body is larger than {limit} bytes");
    Problem::one(Class::Invalid, Diagnostic::new("body-too-large", message))
}

/// A handler's defect, as its caller learns of it.
pub fn broke() -> Problem {
    let diagnostic = Diagnostic::new("broke", "this is a defect of orghost")
        .help("the server's log has more; please report it");
    Problem::one(Class::Failed, diagnostic)
}

#[allow(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(words, "a handler panicked");
    broke().into_response()
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
