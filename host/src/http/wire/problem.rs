//! Turns problems into problem documents (RFC 9457) and HTTP statuses. The codes are the command line's.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};

/// A problem document (RFC 9457) that lists all errors in `errors`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no org \"acme\" on this host",
    "code": "unknown-org", "errors": [{"code": "unknown-org", "message": "there is no org \"acme\" on this host"}],
}))]
pub struct ProblemDocument {
    /// Always `about:blank`: `title` only names the status.
    pub r#type: &'static str,
    /// The name of the status.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The message of the first error.
    pub detail: String,
    /// The code of the first error: stable, in lower case.
    pub code: String,
    /// All errors, each with its place where it has one.
    pub errors: Vec<Diagnostic>,
}

impl Problem {
    /// The HTTP status for this problem.
    pub fn status(&self) -> StatusCode {
        let code = self.errors.first().map(|error| error.code.as_str());
        match (self.class, code.unwrap_or_default()) {
            (Class::Failed, "engine-away" | "engine-timeout" | "timeout") => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (Class::Failed, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (Class::Invalid, "template-too-large" | "body-too-large") => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            (Class::Invalid, "malformed") => StatusCode::BAD_REQUEST,
            (Class::Invalid, "media-type") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            (Class::Invalid, "method") => StatusCode::METHOD_NOT_ALLOWED,
            (Class::Invalid, "plugin-not-installed") => StatusCode::NOT_FOUND,
            (Class::Invalid, _) => StatusCode::UNPROCESSABLE_ENTITY,
            (Class::Refused, "token-missing" | "token-invalid" | "loopback-only") => {
                StatusCode::UNAUTHORIZED
            }
            (Class::Refused, _) => StatusCode::FORBIDDEN,
            (Class::NotFound, "method") => StatusCode::METHOD_NOT_ALLOWED,
            (Class::NotFound, _) => StatusCode::NOT_FOUND,
            (Class::Conflict, _) => StatusCode::CONFLICT,
            (Class::MissingEnv, _) => StatusCode::PRECONDITION_FAILED,
            (Class::Busy, "stopping") => StatusCode::SERVICE_UNAVAILABLE,
            (Class::Busy, _) => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl From<Problem> for ProblemDocument {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let first = problem.errors.first();
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: first.map(|error| error.message.clone()).unwrap_or_default(),
            code: first.map(|error| error.code.clone()).unwrap_or_default(),
            errors: problem.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, class) = (self.status(), self.class);
        if status.is_server_error() {
            tracing::error!(errors = ?self.errors, "a request failed");
        }
        answer(status, class, &ProblemDocument::from(self))
    }
}

/// The answer with a problem document. `document` is a [`ProblemDocument`], or a type with its members and more.
pub fn answer(status: StatusCode, class: Class, document: &impl Serialize) -> Response {
    let mut response = (status, Json(document)).into_response();
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/problem+json");
    headers.insert(header::CONTENT_TYPE, json);
    if matches!(class, Class::Busy) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

/// The answer to an unknown path.
pub async fn no_route() -> Problem {
    let diagnostic = Diagnostic::new("unknown-route", "there is no route at this path");
    Problem::one(
        Class::NotFound,
        diagnostic.help("/openapi.json lists all routes"),
    )
}

/// The answer to a method that the path does not allow.
pub async fn no_method() -> Problem {
    let message =
        "this path does not allow this method; the header `Allow` lists those that it allows";
    Problem::one(Class::Invalid, Diagnostic::new("method", message))
}

/// The problem that a caller gets after a panic.
pub fn defect() -> Problem {
    let diagnostic = Diagnostic::new("broke", "orghost failed because of a defect")
        .help("please report it, with the error from the server's log");
    Problem::one(Class::Failed, diagnostic)
}
