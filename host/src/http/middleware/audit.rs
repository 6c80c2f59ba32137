//! Audits requests: stores a row for every request that changes something, and for every refused one.
//!
//! A change gets its row before it begins, and runs to its end even when the caller hangs up. A row never holds a body, a
//! header or an unknown parameter of the query: each may hold a secret.

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

/// The parameters of a query that are audited: they say what is done, and hold no secrets.
const AUDITED_PARAMETERS: [&str; 2] = ["volumes", "wait"];

/// The most characters of a target that are stored: a path may be as long as a request's head.
const TARGET_CHARS: usize = 400;

/// Runs an admitted request. A change is audited first. When its caller hangs up, it runs on for
/// [`limits::AFTER_HANGUP`], which is enough to store all of it.
pub async fn run(service: &Service, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (row, is_change) = (row(&head), is_change(&head));
    let request = Request::from_parts(head, body);
    if !is_change {
        let response = next.run(request).await;
        record_refusal(service, row, response.status()).await;
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
            tracing::error!(%error, seq, "the status of a request is missing in the audit");
        }
        let _ = sender.send(response);
    };
    let limit = limits::REQUEST_LARGE + Duration::from_secs(limits::WAIT_SECONDS);
    let begun = service
        .tasks()
        .spawn(format!("request {action}"), limit, work, async |_| ());
    let answered = match begun {
        Ok(()) => receiver.await.map_err(|_| problem::defect()),
        Err(closed) => Err(closed.into()),
    };
    match answered {
        Ok(response) => response,
        Err(problem) => {
            let response = problem.into_response();
            let status = response.status().as_u16();
            if let Err(error) = service.store().audit_answered(seq, status).await {
                tracing::error!(%error, seq, "the status of a request is missing in the audit");
            }
            response
        }
    }
}

/// Audits a refused request.
pub async fn refused(service: &Service, request: &Parts, status: StatusCode) {
    record_refusal(service, row(request), status).await;
}

/// Stores the row of a request that was answered with 401 or 403.
async fn record_refusal(service: &Service, mut row: AuditRow, status: StatusCode) {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        row.status = Some(status.as_u16());
        // The request stays refused when the row cannot be stored, for example on a full disk.
        if let Err(error) = service.store().audit(row).await {
            tracing::error!(%error, "a refused request is missing in the audit");
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
    let parameters = uri.query().unwrap_or_default().split('&').filter(|part| {
        let name = part.split('=').next();
        name.is_some_and(|name| AUDITED_PARAMETERS.contains(&name))
    });
    let parameters: Vec<&str> = parameters.collect();
    let target = match parameters.as_slice() {
        [] => uri.path().to_owned(),
        parameters => format!("{}?{}", uri.path(), parameters.join("&")),
    };
    AuditRow {
        seq: 0,
        at_ms: 0,
        caller,
        name,
        address: peer(request).to_string(),
        action: format!("{} {route}", &request.method),
        target: target.chars().take(TARGET_CHARS).collect(),
        status: None,
        request: request_id(&request.headers).to_owned(),
    }
}

/// Which page of the audit to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditPage {
    /// List only requests before this `seq`, which is the `next` of the previous page. Default: the newest requests.
    #[param(required = false)]
    before: Option<i64>,
    /// The most requests to list, 1 to 500. Default: 100.
    #[param(value_type = u64, minimum = 1, maximum = 500, required = false)]
    limit: Option<Bounded<1, 500>>,
}

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub struct Audit {
    /// The requests, newest first.
    pub requests: Vec<AuditRow>,
    /// The `before` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// List the requests that changed something or were refused. The host keeps the newest 1 000 000, and of the refused ones the
/// newest 10 000.
#[utoipa::path(get, path = "/v1/audit", tag = "host", params(AuditPage), responses(
    (status = 200, description = "A page of the audit", body = Audit),
    (status = 403, description = "The token does not have the scope `admin`", body = ProblemDocument),
))]
pub async fn list(
    State(api): State<Api>,
    Query(page): Query<AuditPage>,
) -> Result<axum::Json<Audit>, Problem> {
    let limit = page.limit.map_or(100, Bounded::get);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
    let mut requests = api.service.store().audited(page.before, limit + 1).await?;
    let more = requests.len() > limit;
    requests.truncate(limit);
    let next = requests.last().filter(|_| more).map(|row| row.seq);
    Ok(axum::Json(Audit { requests, next }))
}
