//! Forwards calls to the agents of workspaces (A2A) and their answers, without reading them. A call needs proof of who makes
//! it, and no credentials of the caller reach the agent.
//!
//! The client is hyper-util's, and not the reqwest client of [`crate::client`]: it streams a body both ways as it comes, uses
//! no proxy and no TLS, and follows no redirects. It is kept between calls, so that calls reuse connections. The health check
//! and the restart notice of `provision` use the same library, but make a client for each request: a check must open a new
//! connection, and a workspace that is about to stop needs none kept open.

mod authorize;
mod headers;
mod problems;

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use http_body_util::{LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Api, ProblemDocument};
use crate::limits;
use crate::service::workspaces::liveness::Liveness;
use crate::state::store::WorkspaceRow;
use authorize::{authorize, failed};
use problems::{AgentProblem, restarting, too_large};

/// The HTTP client for agents.
pub type AgentClient = Client<HttpConnector, Body>;

/// How many seconds the caller is willing to wait for the whole answer.
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

/// Seconds after which a caller should try again when the address of its agent is not known.
const NO_ADDRESS_SECONDS: u16 = 5;

/// Seconds after which a caller should try again when its agent is busy.
const BUSY_SECONDS: u16 = 30;

/// A client for agents.
pub fn agent_client() -> AgentClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(limits::A2A_CONNECT));
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Call the agent of a workspace (A2A). A calling workspace of the same org sends `X-Workspace-ID` and its own token; any other
/// caller sends an API token of the scope `write`. When the agent is dead, the host restarts it and answers 503 with
/// `Retry-After`.
#[utoipa::path(post, path = "/v1/workspaces/{id}/a2a", tag = "workspaces",
    params(("id" = String, Path, description = "The id of the called workspace"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The id of the calling workspace; other callers do not send it")),
    request_body(content = Object, description = "A JSON-RPC 2.0 request, which the host forwards unchanged"),
    responses(
        (status = 200, description = "The answer of the agent, with its own status", body = Object),
        (status = 401, description = "The caller is not authenticated", body = ProblemDocument),
        (status = 403, description = "The caller may not call this workspace", body = ProblemDocument),
        (status = 404, description = "There is no such workspace", body = ProblemDocument),
        (status = 413, description = "The body is too large", body = ProblemDocument),
        (status = 502, description = "The agent cannot be reached, or answers with a redirect", body = ProblemDocument),
        (status = 503, description = "The agent is busy or restarts; `Retry-After` says when to try again", body = ProblemDocument),
    ))]
pub async fn call(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Response> {
    forward(&api, &id, request).await
}

/// Call another path of a workspace's agent.
#[utoipa::path(post, path = "/v1/workspaces/{id}/a2a/{*path}", tag = "workspaces",
    params(("id" = String, Path, description = "The id of the called workspace"), ("path" = String, Path, description = "The path at the agent"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The id of the calling workspace; other callers do not send it")),
    request_body(content = Object, description = "The host forwards it unchanged"),
    responses((status = 200, description = "The answer of the agent, with its own status", body = Object),
              (status = 403, description = "The caller may not call this workspace, or this path cannot be called", body = ProblemDocument),
              (status = 503, description = "The agent is busy or restarts; `Retry-After` says when to try again", body = ProblemDocument)))]
pub async fn call_below(
    State(api): State<Api>,
    Path(parameters): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    forward(&api, &parameters.0, request).await
}

/// Read another path of a workspace's agent, such as its card.
#[utoipa::path(get, path = "/v1/workspaces/{id}/a2a/{*path}", tag = "workspaces",
    params(("id" = String, Path, description = "The id of the called workspace"), ("path" = String, Path, description = "The path at the agent"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The id of the calling workspace; other callers do not send it")),
    responses((status = 200, description = "The answer of the agent, with its own status", body = Object),
              (status = 403, description = "The caller may not call this workspace, or this path cannot be called", body = ProblemDocument),
              (status = 503, description = "The agent is busy or restarts; `Retry-After` says when to try again", body = ProblemDocument)))]
pub async fn get_below(
    State(api): State<Api>,
    Path(parameters): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    forward(&api, &parameters.0, request).await
}

/// Forwards one request to the agent of the workspace `id`, and its answer to the caller.
async fn forward(api: &Api, id: &str, request: Request) -> Result<Response, Response> {
    let (head, body) = request.into_parts();
    let (org, workspace) = authorize(api, id, &head).await?;
    let Some(path) = path_at_agent(id, &head.uri) else {
        let message = "this path of an agent cannot be called";
        return Err(AgentProblem::new(StatusCode::FORBIDDEN, "agent-path", message).answer());
    };
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > limits::A2A_BODY) {
        return Err(too_large());
    }
    let Some(url) = address(api, &org, &workspace).await? else {
        let message = format!("the address of {} is not known", workspace.key);
        let problem = AgentProblem::new(StatusCode::SERVICE_UNAVAILABLE, "no-address", message);
        return Err(problem.retry_after(NO_ADDRESS_SECONDS));
    };
    let body = Limited::new(body, limits::A2A_BODY);
    let mut forwarded = Request::new(Body::new(body));
    *forwarded.method_mut() = head.method;
    *forwarded.uri_mut() = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .map_err(|_| {
            let message = format!("the address of {} is not a URL", workspace.key);
            AgentProblem::new(StatusCode::BAD_GATEWAY, "agent-address", message).answer()
        })?;
    let deadline = Instant::now() + total_time(&head.headers);
    *forwarded.headers_mut() = headers::forwarded(head.headers);
    let answered = timeout(limits::A2A_IDLE, api.agents.request(forwarded));
    let answer = match timeout_at(deadline, answered).await {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Ok(Err(error))) if has_cause::<LengthLimitError>(&error) => return Err(too_large()),
        Ok(Ok(Err(error))) => {
            tracing::info!(org, workspace = %workspace.key, error = ?error, "an agent could not be reached");
            return Err(match api.service.check_liveness(&org, &workspace).await {
                Liveness::Restarting => restarting(workspace.key.as_str()),
                Liveness::Alive => {
                    let message = format!("the connection to {} failed", workspace.key);
                    AgentProblem::new(StatusCode::BAD_GATEWAY, "agent-unreachable", message)
                        .answer()
                }
            });
        }
        Ok(Err(_)) | Err(_) => {
            return Err(match api.service.check_liveness(&org, &workspace).await {
                Liveness::Restarting => restarting(workspace.key.as_str()),
                Liveness::Alive => {
                    let message = format!("{} did not answer in time: it is busy", workspace.key);
                    AgentProblem::new(StatusCode::SERVICE_UNAVAILABLE, "agent-busy", message)
                        .retry_after(BUSY_SECONDS)
                }
            });
        }
    };
    if answer.status().is_redirection() {
        let message = format!(
            "{} answered with a redirect, which the host does not follow",
            workspace.key
        );
        return Err(
            AgentProblem::new(StatusCode::BAD_GATEWAY, "agent-redirects", message).answer(),
        );
    }
    let is_suspicious = matches!(answer.status().as_u16(), 502..=504 | 521..=524);
    if is_suspicious && api.service.check_liveness(&org, &workspace).await == Liveness::Restarting {
        return Err(restarting(workspace.key.as_str()));
    }
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::from_stream(limited(Body::new(body), deadline)));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::forwarded(head.headers);
    // A browser must not run an agent's answer as a page of this host.
    let headers = response.headers_mut();
    let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

/// The address of a workspace's agent: the stored one, else the one that its engine gives.
async fn address(
    api: &Api,
    org: &str,
    workspace: &WorkspaceRow,
) -> Result<Option<String>, Response> {
    if workspace.url.is_some() {
        return Ok(workspace.url.clone());
    }
    if api.service.check_liveness(org, workspace).await == Liveness::Restarting {
        return Err(restarting(workspace.key.as_str()));
    }
    // `check_liveness` has asked the engine and stored the address.
    let found = api.service.store().workspace(workspace.id.as_str()).await;
    Ok(found.map_err(failed)?.and_then(|(_, row)| row.url))
}

/// The path and the query at the agent; `None` when callers may not use them. `/signals` is for the host alone.
fn path_at_agent(id: &str, uri: &Uri) -> Option<String> {
    let route = format!("/v1/workspaces/{id}/a2a");
    let path = uri.path().strip_prefix(&route).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let is_plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b));
    let mut parts = path.split('/').skip(1);
    let is_signal = path.starts_with("/signals/") || path == "/signals";
    let is_safe = path == "/" || parts.all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain || !is_safe || is_signal {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}"));
    Some(format!("{path}{}", query.unwrap_or_default()))
}

/// How long the whole call may take: `X-Timeout` seconds, at least 1, and at most [`limits::A2A_TOTAL`], the default.
fn total_time(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(TIMEOUT)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let total = seconds.map(|seconds: u64| Duration::from_secs(seconds.max(1)));
    total.unwrap_or(limits::A2A_TOTAL).min(limits::A2A_TOTAL)
}

/// An agent's body, which ends with an error when the agent is silent for [`limits::A2A_IDLE`] or the deadline passes.
fn limited(
    body: Body,
    deadline: Instant,
) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> {
    let chunks = Some(Box::pin(body.into_data_stream()));
    futures_util::stream::unfold(chunks, move |chunks| async move {
        let mut chunks = chunks?;
        let next = timeout(limits::A2A_IDLE, chunks.next());
        match timeout_at(deadline, next).await {
            Ok(Ok(Some(Ok(chunk)))) => Some((Ok(chunk), Some(chunks))),
            Ok(Ok(Some(Err(error)))) => Some((Err(error.into()), None)),
            Ok(Ok(None)) => None,
            Ok(Err(_)) | Err(_) => Some((Err("the agent took too long".into()), None)),
        }
    })
}

fn has_cause<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}
