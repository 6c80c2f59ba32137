//! Puts the middleware around all routes in its order: the request id, limits in bytes and seconds, compression, and the answer
//! to a panic.

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

/// Puts all layers around the routes. The last layer is the outermost.
pub fn around(routes: Router, service: &Service) -> Router {
    let auth = Arc::new(AuthLayer::new(service.clone()));
    let keys = Arc::new(Keys::new(service.store().clone()));
    let large = Arc::new(Semaphore::new(limits::LARGE_BODIES));
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    routes
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(keys, idempotency::once))
        .layer(from_fn_with_state(large, limit_body))
        .layer(from_fn_with_state(auth, auth::authenticate))
        .layer(from_fn(deadline))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(is_sent_at_once)))
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

/// Limits the time until an answer begins. A stream may take longer.
async fn deadline(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let needed = route.and_then(|route| access::needed(request.method(), route.as_str()));
    let limit = match needed {
        // The call of an agent, which has its own limits.
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
                .help("it may have taken effect: check before you repeat it");
            Problem::one(Class::Failed, diagnostic).into_response()
        }
    }
}

/// Limits a body in bytes and in time, and the number of large bodies in memory.
async fn limit_body(State(large): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let limit = match is_upload(request.headers()) {
        true => limits::UPLOAD_BYTES,
        false => limits::BODY_BYTES,
    };
    let length = request.body().size_hint().upper();
    if length.is_some_and(|length| length > limit) {
        return too_large(limit).into_response();
    }
    // Held until the answer begins, when the body is no longer in memory.
    let _permit = match length.is_none_or(|length| length > limits::LARGE_BODY) {
        false => None,
        true => match large.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => {
                let diagnostic = Diagnostic::new("busy", "too many large bodies are being read")
                    .help("try again in a few seconds");
                return Problem::one(Class::Busy, diagnostic).into_response();
            }
        },
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let limited = request.map(|body| {
        Body::new(TimeoutBody::new(
            limits::BODY_READ,
            Limited::new(body, limit),
        ))
    });
    next.run(limited).await
}

/// Whether the body is an upload, and not JSON.
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
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message, "a handler panicked");
    problem::defect().into_response()
}

/// Whether an answer may be compressed. A stream may not: its parts would wait until the compressor's buffer is full.
fn is_sent_at_once(
    _: StatusCode,
    _: Version,
    headers: &HeaderMap,
    _: &axum::http::Extensions,
) -> bool {
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
    .any(|compressible| kind.starts_with(compressible))
}
