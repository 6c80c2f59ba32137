//! The problems of a call to an agent, as answers.
//!
//! They are not made from a [`Problem`](crate::problem::Problem), because their statuses, their `Retry-After` and further
//! members depend on the agent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::http::ProblemDocument;
use crate::limits;
use crate::model::diagnostic::Diagnostic;

/// Seconds after which a caller should try again while its agent restarts.
const RESTART_SECONDS: u16 = 15;

/// A problem document with a status of its own.
pub struct AgentProblem {
    status: StatusCode,
    document: Value,
}

impl AgentProblem {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = Diagnostic::new(code, message);
        let document = ProblemDocument {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: error.message.clone(),
            code: error.code.clone(),
            errors: vec![error],
        };
        Self {
            status,
            document: json!(document),
        }
    }

    pub fn answer(self) -> Response {
        let mut response = (self.status, axum::Json(self.document)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }

    /// The answer with `Retry-After`, in seconds.
    pub fn retry_after(self, seconds: u16) -> Response {
        let mut response = self.answer();
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        response
    }
}

/// The agent was dead, and is being restarted.
pub fn restarting(key: &str) -> Response {
    let message = format!("{key} is being restarted");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut problem = AgentProblem::new(status, "agent-restarting", message);
    if let Some(document) = problem.document.as_object_mut() {
        document.insert("restarting".to_owned(), true.into());
        document.insert("retry_after".to_owned(), RESTART_SECONDS.into());
    }
    problem.retry_after(RESTART_SECONDS)
}

/// The caller is not authenticated.
pub fn unauthenticated() -> Response {
    let message =
        "a workspace must send X-Workspace-ID and its own token, and any other caller an API token";
    let status = StatusCode::UNAUTHORIZED;
    let mut response = AgentProblem::new(status, "unauthenticated", message).answer();
    let bearer = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    response
}

/// The request's body is larger than [`limits::A2A_BODY`].
pub fn too_large() -> Response {
    let message = format!("the body may have at most {} MiB", limits::A2A_BODY >> 20);
    AgentProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message).answer()
}
