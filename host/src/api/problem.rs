//! Problems as documents (RFC 9457), with the same codes as the command line's.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// RFC 9457, with everything that is wrong in `errors`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `about:blank`: the title says what the status says.
    pub r#type: &'static str,
    /// The status as words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The first error's sentence.
    pub detail: String,
    /// The first error's code: stable, lower-case.
    pub code: String,
    /// Everything that is wrong, with its place.
    pub errors: Vec<Diagnostic>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let first = self.errors.first();
        let code = first.map(|error| error.code.clone()).unwrap_or_default();
        let status = match (self.class, code.as_str()) {
            (Class::Failed, "engine-away" | "engine-timeout" | "timeout") => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (Class::Failed, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (Class::Invalid, "template-too-large" | "body-too-large") => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            (Class::Invalid, _) => StatusCode::UNPROCESSABLE_ENTITY,
            (Class::Refused, "token-missing" | "token-invalid" | "loopback-only") => {
                StatusCode::UNAUTHORIZED
            }
            (Class::Refused, _) => StatusCode::FORBIDDEN,
            (Class::Unknown, "method") => StatusCode::METHOD_NOT_ALLOWED,
            (Class::Unknown, _) => StatusCode::NOT_FOUND,
            (Class::Conflict, _) => StatusCode::CONFLICT,
            (Class::MissingEnv, _) => StatusCode::PRECONDITION_FAILED,
            (Class::Busy, "stopping") => StatusCode::SERVICE_UNAVAILABLE,
            (Class::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        };
        if status.is_server_error() {
            tracing::error!(code, errors = ?self.errors, "a request failed");
        }
        let document = ProblemDocument {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: first.map(|error| error.message.clone()).unwrap_or_default(),
            code,
            errors: self.errors,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if matches!(self.class, Class::Busy) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
