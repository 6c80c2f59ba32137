//! The id of a request, which connects its answer, its log lines and its audit row.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use crate::model::digest::hex;
use crate::random::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request that came through [`identify`].
pub fn request_id(headers: &HeaderMap) -> &str {
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    id.unwrap_or_default()
}

/// Gives each request an id and sends it back in `x-request-id`. An id that the caller sent is kept when it has 1 to 64
/// letters, digits, `-`, `_` or `.`.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let given = request_id(request.headers());
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let id = match (1..=64).contains(&given.len()) && given.bytes().all(is_plain) {
        true => given.to_owned(),
        false => hex(random::<8>().unwrap_or_default()),
    };
    let Ok(id) = HeaderValue::from_str(&id) else {
        return next.run(request).await;
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
