//! Passes requests from agent to agent, both ways as they come. Decides nothing about what they say; nothing passes
//! without proof of who asks, and no secret of the caller's passes at all.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use http_body_util::{LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Api, ProblemDocument};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::problem::{Class, Problem};
use crate::service::access::may_call;
use crate::service::workspaces::Liveness;
use crate::state::store::{Desired, LastOutcome, WorkspaceRow};
use crate::state::token::{Caller, Scope};

/// Speaks to agents. Follows no redirects, and knows no proxies.
pub type Agents = Client<HttpConnector, Body>;

/// The workspace that asks, when it is one.
const CALLER: HeaderName = HeaderName::from_static("x-workspace-id");

/// Seconds that a caller is willing to wait for all of it.
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout");

/// Headers that are about one connection, or about the caller and this host: RFC 9110, section 7.6.1.
const KEPT_BACK: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::COOKIE,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A client for agents.
pub fn agents() -> Agents {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(limits::A2A_CONNECT));
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Call a workspace's agent (A2A). The caller is another workspace of the same org, with `X-Workspace-ID` and its own
/// token, or an API token. A dead agent answers 503 with `Retry-After`, and is restarted.
#[utoipa::path(post, path = "/v1/workspaces/{id}/a2a", tag = "workspaces",
    params(("id" = String, Path, description = "The workspace that is called"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The workspace that calls")),
    request_body(content = Object, description = "JSON-RPC 2.0, passed as it is"),
    responses(
        (status = 200, description = "What the agent answers, passed as it comes: its own status, too", body = Object),
        (status = 401, description = "The caller did not prove who it is", body = ProblemDocument),
        (status = 403, description = "The caller may not call this workspace", body = ProblemDocument),
        (status = 404, body = ProblemDocument),
        (status = 413, body = ProblemDocument),
        (status = 502, description = "The agent's answer cannot be passed", body = ProblemDocument),
        (status = 503, description = "The agent is busy, or being restarted; `Retry-After` says when to come back", body = ProblemDocument),
    ))]
pub async fn call(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Response> {
    pass(&api, &id, request).await
}

/// Call another path of a workspace's agent.
#[utoipa::path(post, path = "/v1/workspaces/{id}/a2a/{*path}", tag = "workspaces",
    params(("id" = String, Path, description = "The workspace that is called"), ("path" = String, Path, description = "The path at the agent"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The workspace that calls")),
    request_body(content = Object, description = "Passed as it is"),
    responses((status = 200, description = "What the agent answers", body = Object),
              (status = 403, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub async fn call_below(
    State(api): State<Api>,
    Path(at): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    pass(&api, &at.0, request).await
}

/// Read another path of a workspace's agent, such as its card.
#[utoipa::path(get, path = "/v1/workspaces/{id}/a2a/{*path}", tag = "workspaces",
    params(("id" = String, Path, description = "The workspace that is called"), ("path" = String, Path, description = "The path at the agent"),
           ("X-Workspace-ID" = Option<String>, Header, description = "The workspace that calls")),
    responses((status = 200, description = "What the agent answers", body = Object),
              (status = 403, body = ProblemDocument), (status = 503, body = ProblemDocument)))]
pub async fn get_below(
    State(api): State<Api>,
    Path(at): Path<(String, String)>,
    request: Request,
) -> Result<Response, Response> {
    pass(&api, &at.0, request).await
}

/// The whole way of one request.
async fn pass(api: &Api, id: &str, request: Request) -> Result<Response, Response> {
    let (head, body) = request.into_parts();
    let (org, workspace) = authorised(api, id, &head).await?;
    let Some(path) = path_at_agent(id, &head.uri) else {
        let why = "this path of an agent cannot be called";
        return Err(Told::of(StatusCode::FORBIDDEN, "agent-path", why).answer());
    };
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > limits::A2A_BODY) {
        return Err(too_large());
    }
    let Some(url) = address(api, &org, &workspace).await? else {
        let why = format!("nobody knows where {} answers", workspace.key);
        return Err(Told::of(StatusCode::SERVICE_UNAVAILABLE, "no-address", why).after(5));
    };
    let body = Limited::new(body, limits::A2A_BODY);
    let mut passed = Request::new(Body::new(body));
    *passed.method_mut() = head.method;
    *passed.uri_mut() = format!("{}{path}", url.trim_end_matches('/'))
        .parse()
        .map_err(|_| {
            let why = format!("the address of {} is none", workspace.key);
            Told::of(StatusCode::BAD_GATEWAY, "agent-address", why).answer()
        })?;
    let deadline = Instant::now() + total(&head.headers);
    *passed.headers_mut() = end_to_end(head.headers);
    let asked = timeout(limits::A2A_IDLE, api.agents.request(passed));
    let answer = match timeout_at(deadline, asked).await {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Ok(Err(error))) if has_cause::<LengthLimitError>(&error) => return Err(too_large()),
        Ok(Ok(Err(error))) => {
            tracing::info!(org, workspace = %workspace.key, error = ?error, "an agent could not be reached");
            return Err(match api.service.suspect(&org, &workspace).await {
                Liveness::Restarting => restarting(workspace.key.as_str()),
                Liveness::Lives => {
                    let why = format!("{} did not answer: the connection failed", workspace.key);
                    Told::of(StatusCode::BAD_GATEWAY, "agent-unreachable", why).answer()
                }
            });
        }
        Ok(Err(_)) | Err(_) => {
            return Err(match api.service.suspect(&org, &workspace).await {
                Liveness::Restarting => restarting(workspace.key.as_str()),
                Liveness::Lives => {
                    let why = format!("{} is busy: it did not answer in time", workspace.key);
                    Told::of(StatusCode::SERVICE_UNAVAILABLE, "agent-busy", why).after(30)
                }
            });
        }
    };
    if answer.status().is_redirection() {
        let why = format!("{} redirects, which is not followed", workspace.key);
        return Err(Told::of(StatusCode::BAD_GATEWAY, "agent-redirects", why).answer());
    }
    let is_suspicious = matches!(answer.status().as_u16(), 502..=504 | 521..=524);
    if is_suspicious && api.service.suspect(&org, &workspace).await == Liveness::Restarting {
        return Err(restarting(workspace.key.as_str()));
    }
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::from_stream(bounded(Body::new(body), deadline)));
    *response.status_mut() = head.status;
    *response.headers_mut() = end_to_end(head.headers);
    // What an agent says must not run as if this host had said it.
    let headers = response.headers_mut();
    let sandbox = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

/// The workspace that is called, when the caller may call it. Whoever has not proved who it is learns nothing.
async fn authorised(api: &Api, id: &str, head: &Parts) -> Result<(String, WorkspaceRow), Response> {
    let headers = &head.headers;
    let store = api.service.store();
    let target = store.workspace(id).await.map_err(failed)?;
    if let Some(caller) = headers.get(CALLER) {
        let caller = proven(api, caller, headers).await?;
        let denied = || {
            let why = "a workspace may call itself, its siblings, those above and those below it";
            Told::of(StatusCode::FORBIDDEN, "not-yours-to-call", why).answer()
        };
        // What is not there is denied like what is not allowed: nobody learns which.
        let (org, workspace) = target.as_ref().ok_or_else(denied)?;
        if caller.0 != *org || !may_call(&caller.1, &workspace.path) {
            return Err(denied());
        }
    } else if !is_operator(head) {
        return Err(unproven());
    }
    let Some((org, workspace)) = target else {
        let message = format!("there is no workspace {id:?} on this host");
        let diagnostic = Diagnostic::new("unknown-workspace", message);
        return Err(Problem::one(Class::NotFound, diagnostic).into_response());
    };
    let refused = match workspace.outcome {
        _ if workspace.external => Some(("external-workspace", "runs elsewhere")),
        LastOutcome::Removed => Some(("workspace-removed", "was removed")),
        _ if workspace.wanted == Desired::Stopped => Some(("workspace-stopped", "is stopped")),
        // Restarted at every call it would never come to rest.
        LastOutcome::Failed | LastOutcome::Skipped => Some(("workspace-failed", "did not come up")),
        _ => None,
    };
    if let Some((code, why)) = refused {
        let diagnostic = Diagnostic::new(code, format!("{} {why}", workspace.key));
        return Err(Problem::one(Class::Conflict, diagnostic).into_response());
    }
    Ok((org, workspace))
}

/// The org of the workspace that asks, and who it is there, after it has shown its own token.
async fn proven(
    api: &Api,
    caller: &HeaderValue,
    headers: &HeaderMap,
) -> Result<(String, NamePath), Response> {
    let caller = caller.to_str().ok().and_then(WorkspaceId::parse);
    let token = headers.get(header::AUTHORIZATION);
    let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let (Some(caller), Some(token)) = (caller, token) else {
        return Err(unproven());
    };
    let tokens = api.service.agent_tokens().await;
    let tokens = tokens.map_err(IntoResponse::into_response)?;
    if !tokens.is_of(&caller, token.trim()) {
        return Err(unproven());
    }
    let found = api.service.store().workspace(caller.as_str()).await;
    let found = found.map_err(failed)?;
    match found {
        Some((org, row)) if !row.external && row.outcome != LastOutcome::Removed => {
            Ok((org, row.path))
        }
        _ => Err(unproven()),
    }
}

/// Whether the caller may call every workspace: one with an API token, or who sits at this machine while there is none.
fn is_operator(head: &Parts) -> bool {
    let caller = head.extensions.get::<Caller>();
    caller.is_some_and(|caller| caller.scope >= Scope::Write)
}

/// Where it answers: as it was when it came up, else as its engine says.
async fn address(
    api: &Api,
    org: &str,
    workspace: &WorkspaceRow,
) -> Result<Option<String>, Response> {
    if workspace.url.is_some() {
        return Ok(workspace.url.clone());
    }
    if api.service.suspect(org, workspace).await == Liveness::Restarting {
        return Err(restarting(workspace.key.as_str()));
    }
    // The look has stored what it saw.
    let now = api.service.store().workspace(workspace.id.as_str()).await;
    Ok(now.map_err(failed)?.and_then(|(_, row)| row.url))
}

/// The path and the query at the agent, when others may call it: what the host itself signals is not for them to say.
fn path_at_agent(id: &str, uri: &Uri) -> Option<String> {
    let at = format!("/v1/workspaces/{id}/a2a");
    let path = uri.path().strip_prefix(&at).unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let is_plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~/:@".contains(&b));
    let mut parts = path.split('/').skip(1);
    let is_own = path.starts_with("/signals/") || path == "/signals";
    let is_safe = path == "/" || parts.all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain || !is_safe || is_own {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}"));
    Some(format!("{path}{}", query.unwrap_or_default()))
}

fn total(headers: &HeaderMap) -> Duration {
    let wanted = headers
        .get(TIMEOUT)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let wanted = wanted.map(|seconds: u64| Duration::from_secs(seconds.max(1)));
    wanted.unwrap_or(limits::A2A_TOTAL).min(limits::A2A_TOTAL)
}

/// What is about the message itself.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in KEPT_BACK.iter().chain(&named) {
        headers.remove(name);
    }
    headers
}

/// A body as it comes, until its agent is silent for too long or all of it takes too long.
fn bounded(
    body: Body,
    deadline: Instant,
) -> impl Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> {
    let pieces = Some(Box::pin(body.into_data_stream()));
    futures_util::stream::unfold(pieces, move |pieces| async move {
        let mut pieces = pieces?;
        let next = timeout(limits::A2A_IDLE, pieces.next());
        match timeout_at(deadline, next).await {
            Ok(Ok(Some(Ok(piece)))) => Some((Ok(piece), Some(pieces))),
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

/// A problem with a status of its own.
struct Told {
    status: StatusCode,
    document: Value,
}

impl Told {
    fn of(status: StatusCode, code: &str, why: impl Into<String>) -> Self {
        let error = Diagnostic::new(code, why);
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

    fn answer(self) -> Response {
        let mut response = (self.status, axum::Json(self.document)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }

    /// With the seconds after which to come back.
    fn after(self, seconds: u16) -> Response {
        let mut response = self.answer();
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
        response
    }
}

/// The agent is dead and will be back.
fn restarting(key: &str) -> Response {
    let why = format!("{key} is being restarted");
    let mut told = Told::of(StatusCode::SERVICE_UNAVAILABLE, "agent-restarting", why);
    if let Some(document) = told.document.as_object_mut() {
        document.insert("restarting".to_owned(), true.into());
        document.insert("retry_after".to_owned(), 15.into());
    }
    told.after(15)
}

fn unproven() -> Response {
    let why =
        "a workspace calls with X-Workspace-ID and its own token, anybody else with an API token";
    let mut response = Told::of(StatusCode::UNAUTHORIZED, "unauthenticated", why).answer();
    let bearer = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, bearer);
    response
}

fn too_large() -> Response {
    let why = format!("a request has at most {} MiB", limits::A2A_BODY >> 20);
    Told::of(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", why).answer()
}

fn failed(error: crate::state::store::StoreError) -> Response {
    Problem::from(error).into_response()
}
