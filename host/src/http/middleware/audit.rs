//! What changes something is audited before it is begun, and carried to its end whoever hangs up; who is refused is audited
//! too. Never a body, a header or an unknown part of a query: any of them may be a secret.

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};
use utoipa::{IntoParams, ToSchema};

use super::access;
use super::peer::peer;
use super::request_id::request_id;
use crate::http::wire::parameters::{Bounded, Query};
use crate::http::wire::problem;
use crate::http::{Api, ProblemDocument};
use crate::limits;
use crate::problem::Problem;
use crate::service::Service;
use crate::state::store::AuditRow;
use crate::state::token::Caller;

/// Parts of a query that say what is done, and are no secrets.
const TOLD: [&str; 2] = ["volumes", "wait"];

/// Characters of a target that are kept: a path may be as long as a request's head.
const TARGET: usize = 400;

/// Runs what was let through. A change is audited first, and then goes on even if its caller hangs up: for
/// [`limits::AFTER_HANGUP`], which is enough to store it whole.
pub async fn carry(service: &Service, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (row, is_change) = (row(&head), is_change(&head));
    let request = Request::from_parts(head, body);
    if !is_change {
        let response = next.run(request).await;
        note(service, row, response.status()).await;
        return response;
    }
    let action = row.action.clone();
    let seq = match service.store().audit(row).await {
        Ok(seq) => seq,
        Err(error) => return Problem::from(error).into_response(),
    };
    let (mut sender, receiver) = oneshot::channel();
    let store = service.store().clone();
    let work = async move {
        let mut run = std::pin::pin!(next.run(request));
        let response = tokio::select! {
            response = &mut run => response,
            () = sender.closed() => match timeout(limits::AFTER_HANGUP, run).await {
                Ok(response) => response,
                Err(_) => return,
            },
        };
        if let Err(error) = store.audit_answered(seq, response.status().as_u16()).await {
            tracing::error!(%error, seq, "the audit does not know what was answered");
        }
        let _ = sender.send(response);
    };
    let limit = limits::REQUEST_LARGE + Duration::from_secs(limits::WAIT_SECONDS);
    let begun = service
        .tasks()
        .spawn(format!("request {action}"), limit, work, async |_| ());
    let answered = match begun {
        Ok(()) => receiver.await.map_err(|_| problem::broke()),
        Err(closed) => Err(closed.into()),
    };
    match answered {
        Ok(response) => response,
        Err(problem) => {
            let response = problem.into_response();
            let status = response.status().as_u16();
            if let Err(error) = service.store().audit_answered(seq, status).await {
                tracing::error!(%error, seq, "the audit does not know what was answered");
            }
            response
        }
    }
}

/// Audits who was not let through.
pub async fn refused(service: &Service, request: &Parts, status: StatusCode) {
    note(service, row(request), status).await;
}

async fn note(service: &Service, mut row: AuditRow, status: StatusCode) {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        row.status = Some(status.as_u16());
        // It was refused, and stays refused on a full disk too.
        if let Err(error) = service.store().audit(row).await {
            tracing::error!(%error, "a refused request is not in the audit");
        }
    }
}

fn is_change(request: &Parts) -> bool {
    let route = request.extensions.get::<MatchedPath>();
    let access = route.and_then(|route| access::needed(&request.method, route.as_str()));
    access.is_some_and(|access| access::changes(&request.method, access))
}

fn row(request: &Parts) -> AuditRow {
    let caller = request.extensions.get::<Caller>().cloned();
    let (caller, name) = caller
        .map(|caller| (caller.id, caller.name))
        .unwrap_or_default();
    let route = request.extensions.get::<MatchedPath>();
    let route = route.map_or("(no route)", MatchedPath::as_str);
    let uri = &request.uri;
    let told = uri.query().unwrap_or_default().split('&').filter(|part| {
        let name = part.split('=').next();
        name.is_some_and(|name| TOLD.contains(&name))
    });
    let told: Vec<&str> = told.collect();
    let target = match told.as_slice() {
        [] => uri.path().to_owned(),
        told => format!("{}?{}", uri.path(), told.join("&")),
    };
    AuditRow {
        seq: 0,
        at_ms: 0,
        caller,
        name,
        address: peer(request).to_string(),
        action: format!("{} {route}", &request.method),
        target: target.chars().take(TARGET).collect(),
        status: None,
        request: request_id(&request.headers).to_owned(),
    }
}

/// A page of the audit.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Those before this place: the `next` of the page before. Without it, the newest.
    #[param(required = false)]
    before: Option<i64>,
    /// At most so many; default 100.
    #[param(value_type = u64, minimum = 1, maximum = 500, required = false)]
    limit: Option<Bounded<1, 500>>,
}

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    /// Newest first.
    pub requests: Vec<AuditRow>,
    /// `?before=` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// Who changed what, or was refused. The newest 1 000 000 requests are kept, among them 10 000 refused ones.
#[utoipa::path(get, path = "/v1/audit", tag = "host", params(Which), responses(
    (status = 200, description = "A page of it", body = Audit),
    (status = 403, description = "It needs the scope `admin`", body = ProblemDocument),
))]
pub async fn list(
    State(api): State<Api>,
    Query(which): Query<Which>,
) -> Result<axum::Json<Audit>, Problem> {
    let limit = which.limit.map_or(100, Bounded::get);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
    let mut requests = api.service.store().audited(which.before, limit + 1).await?;
    let more = requests.len() > limit;
    requests.truncate(limit);
    let next = requests.last().filter(|_| more).map(|row| row.seq);
    Ok(axum::Json(Audit { requests, next }))
}
