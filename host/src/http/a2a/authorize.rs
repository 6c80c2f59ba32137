//! Decides whether a caller may call a workspace's agent. A caller that is not authenticated learns nothing about the
//! workspace.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problems::{AgentProblem, unauthenticated};
use crate::http::Api;
use crate::model::diagnostic::Diagnostic;
use crate::model::ids::WorkspaceId;
use crate::model::names::NamePath;
use crate::problem::{Class, Problem};
use crate::service::access::may_call;
use crate::state::store::{Desired, LastOutcome, StoreError, WorkspaceRow};
use crate::state::token::{Caller, Scope};

/// The id of the calling workspace. Other callers do not send it.
const CALLER: HeaderName = HeaderName::from_static("x-workspace-id");

/// The org and the row of the called workspace, when the caller may call it and it is meant to run.
pub async fn authorize(
    api: &Api,
    id: &str,
    head: &Parts,
) -> Result<(String, WorkspaceRow), Response> {
    let headers = &head.headers;
    let store = api.service.store();
    let target = store.workspace(id).await.map_err(failed)?;
    if let Some(caller) = headers.get(CALLER) {
        let (caller_org, caller_path) = authenticate(api, caller, headers).await?;
        let denied = || {
            let message =
                "a workspace may call itself, its siblings, its ancestors and its descendants";
            AgentProblem::new(StatusCode::FORBIDDEN, "not-yours-to-call", message).answer()
        };
        // An unknown workspace gives the same answer as a forbidden one, so that callers cannot find out which ids exist.
        let (org, workspace) = target.as_ref().ok_or_else(denied)?;
        if caller_org != *org || !may_call(&caller_path, &workspace.path) {
            return Err(denied());
        }
    } else if !is_operator(head) {
        return Err(unauthenticated());
    }
    let Some((org, workspace)) = target else {
        let message = format!("there is no workspace {id:?} on this host");
        let diagnostic = Diagnostic::new("unknown-workspace", message);
        return Err(Problem::one(Class::NotFound, diagnostic).into_response());
    };
    let not_running = match workspace.outcome {
        _ if workspace.external => Some(("external-workspace", "is external")),
        LastOutcome::Removed => Some(("workspace-removed", "was removed")),
        _ if workspace.wanted == Desired::Stopped => Some(("workspace-stopped", "is stopped")),
        // Otherwise every call would restart it.
        LastOutcome::Failed | LastOutcome::Skipped => Some(("workspace-failed", "has failed")),
        _ => None,
    };
    if let Some((code, state)) = not_running {
        let diagnostic = Diagnostic::new(code, format!("{} {state}", workspace.key));
        return Err(Problem::one(Class::Conflict, diagnostic).into_response());
    }
    Ok((org, workspace))
}

/// Authenticates a calling workspace by its own token. Returns its org and its path of names.
async fn authenticate(
    api: &Api,
    caller: &HeaderValue,
    headers: &HeaderMap,
) -> Result<(String, NamePath), Response> {
    let caller = caller.to_str().ok().and_then(WorkspaceId::parse);
    let token = headers.get(header::AUTHORIZATION);
    let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let (Some(caller), Some(token)) = (caller, token) else {
        return Err(unauthenticated());
    };
    let tokens = api.service.agent_tokens().await;
    let tokens = tokens.map_err(IntoResponse::into_response)?;
    if !tokens.is_of(&caller, token.trim()) {
        return Err(unauthenticated());
    }
    let found = api.service.store().workspace(caller.as_str()).await;
    let found = found.map_err(failed)?;
    match found {
        Some((org, row)) if !row.external && row.outcome != LastOutcome::Removed => {
            Ok((org, row.path))
        }
        _ => Err(unauthenticated()),
    }
}

/// Whether the caller may call every workspace: it has an API token of the scope `write`, or is a local user while no token
/// was ever made.
fn is_operator(head: &Parts) -> bool {
    let caller = head.extensions.get::<Caller>();
    caller.is_some_and(|caller| caller.scope >= Scope::Write)
}

/// The answer to an error of the store.
pub fn failed(error: StoreError) -> Response {
    Problem::from(error).into_response()
}
