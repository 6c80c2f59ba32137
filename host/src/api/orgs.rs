//! Orgs and operations.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::body::Json;
use super::{Api, ImportBody, OperationView, OrgSummary, Orgs, PlanAnswer, ProblemDocument};
use crate::daemon::{Import, Request};
use crate::diagnostic::Diagnostic;
use crate::problem::{Class, Problem};
use crate::snapshot::Bundle;
use crate::status::{self, OrgStatus};
use crate::store::{Filter, OperationRow};

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Page {
    /// After this one: the `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 500; default 100.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
pub struct Wait {
    /// Wait at most so many seconds for the operation to end; it goes on whether somebody waits or not.
    #[param(maximum = 3600)]
    wait: Option<u64>,
}

/// What is taken down.
#[derive(Debug, Deserialize, IntoParams)]
pub struct TakeDown {
    /// Remove the agents' own work too.
    #[serde(default)]
    volumes: bool,
    /// Wait at most so many seconds for the operation to end.
    wait: Option<u64>,
}

/// List the orgs.
#[utoipa::path(get, path = "/v1/orgs", tag = "orgs", params(Page), responses((status = 200, body = Orgs)))]
pub async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
) -> Result<axum::Json<Orgs>, Problem> {
    let store = api.daemon.store();
    let limit = page.limit.unwrap_or(100).clamp(1, 500);
    let after = page.after.unwrap_or_default();
    let rows = store.orgs().await?;
    let mut rows = rows.into_iter().filter(|row| row.slug > after);
    let mut orgs = Vec::new();
    for row in rows.by_ref().take(limit) {
        let workspaces = store.workspaces(&row.slug).await?;
        let count = |words: &[&str]| {
            let of = |w: &&crate::store::WorkspaceRow| words.contains(&w.outcome.as_str());
            workspaces.iter().filter(of).count()
        };
        orgs.push(OrgSummary {
            workspaces: workspaces.len(),
            up: count(&["up", "external"]),
            failed: count(&["failed", "skipped"]),
            org: row.slug,
            name: row.name,
            engine: row.engine,
            template: row.template,
        });
    }
    let next = rows.next().and(orgs.last().map(|org| org.org.clone()));
    Ok(axum::Json(Orgs { orgs, next }))
}

/// Import an org: bring it up, or bring it up to date.
#[utoipa::path(post, path = "/v1/orgs", tag = "orgs", params(Wait), request_body = ImportBody, responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 403, description = "Policy refuses the plan", body = ProblemDocument),
    (status = 412, description = "Required variables have no value", body = ProblemDocument),
    (status = 422, description = "There is no plan", body = ProblemDocument),
    (status = 429, description = "Too much is waiting; `Retry-After` says when to come back", body = ProblemDocument),
))]
pub async fn import(
    State(api): State<Api>,
    Query(wait): Query<Wait>,
    Json(body): Json<ImportBody>,
) -> Result<Response, Problem> {
    let row = api.daemon.import(wanted(&api, body)?).await?;
    followed(&api, row, wait.wait).await
}

/// Plan a template, and say what policy makes of it; changes nothing.
#[utoipa::path(post, path = "/v1/plans", tag = "orgs", request_body = ImportBody, responses(
    (status = 200, body = PlanAnswer),
    (status = 422, description = "There is no plan", body = ProblemDocument),
))]
pub async fn plan(
    State(api): State<Api>,
    Json(body): Json<ImportBody>,
) -> Result<axum::Json<PlanAnswer>, Problem> {
    let judged = api.daemon.plan(wanted(&api, body)?).await?;
    let (plan, violations) = match &judged.verdict {
        Ok(approved) => (approved.plan(), &[][..]),
        Err(rejected) => (&rejected.plan, &rejected.violations[..]),
    };
    Ok(axum::Json(PlanAnswer {
        plan: serde_json::json!(plan),
        violations: violations.iter().map(|v| serde_json::json!(v)).collect(),
        planned_by: judged.planned_by,
        log: judged.log,
    }))
}

/// Show an org and its workspaces.
#[utoipa::path(get, path = "/v1/orgs/{org}", tag = "orgs", params(("org" = String, Path, description = "Its slug")), responses(
    (status = 200, body = OrgStatus),
    (status = 404, body = ProblemDocument),
))]
pub async fn show(
    State(api): State<Api>,
    Path(org): Path<String>,
) -> Result<axum::Json<OrgStatus>, Problem> {
    let row = api.daemon.org(&org).await?;
    let status = status::org(api.daemon.store(), api.daemon.engines(), row).await?;
    Ok(axum::Json(status))
}

/// Take an org down.
#[utoipa::path(delete, path = "/v1/orgs/{org}", tag = "orgs", params(("org" = String, Path, description = "Its slug"), TakeDown), responses(
    (status = 202, description = "Accepted; `Location` follows it", body = OperationView),
    (status = 200, description = "It ended while the caller waited", body = OperationView),
    (status = 404, body = ProblemDocument),
))]
pub async fn take_down(
    State(api): State<Api>,
    Path(org): Path<String>,
    Query(how): Query<TakeDown>,
) -> Result<Response, Problem> {
    let row = api.daemon.take_down(&org, how.volumes).await?;
    followed(&api, row, how.wait).await
}

/// Show an operation.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "orgs", params(("id" = String, Path, description = "Its identity"), Wait), responses(
    (status = 200, body = OperationView),
    (status = 404, body = ProblemDocument),
))]
pub async fn operation(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<axum::Json<OperationView>, Problem> {
    let row = known(&api, &id).await?;
    let row = ended(&api, row, wait.wait).await?;
    Ok(axum::Json(row.into()))
}

/// Cancel an operation: what is under way is taken back.
#[utoipa::path(delete, path = "/v1/operations/{id}", tag = "orgs", params(("id" = String, Path, description = "Its identity")), responses(
    (status = 202, description = "It is being cancelled", body = OperationView),
    (status = 404, body = ProblemDocument),
    (status = 409, description = "It has ended", body = ProblemDocument),
))]
pub async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let row = known(&api, &id).await?;
    if !api.daemon.cancel(&row.id).await? {
        let diagnostic = Diagnostic::new("operation-ended", "the operation has ended");
        return Err(Problem::one(Class::Conflict, diagnostic));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(OperationView::from(row))).into_response())
}

async fn known(api: &Api, id: &str) -> Result<OperationRow, Problem> {
    let row = api.daemon.store().operation(id).await?;
    row.ok_or_else(|| {
        let message = format!("there is no operation {id:?}");
        Problem::one(
            Class::Unknown,
            Diagnostic::new("unknown-operation", message),
        )
    })
}

/// 202 and where to look, or 200 when it ended while the caller waited.
async fn followed(api: &Api, row: OperationRow, wait: Option<u64>) -> Result<Response, Problem> {
    let location = format!("/v1/operations/{}", row.id.as_str());
    let row = ended(api, row, wait).await?;
    let status = match row.state.is_final() {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    let view = axum::Json(OperationView::from(row));
    Ok((status, [(header::LOCATION, location)], view).into_response())
}

/// The operation after it ended, or after so many seconds.
async fn ended(api: &Api, row: OperationRow, wait: Option<u64>) -> Result<OperationRow, Problem> {
    let Some(seconds) = wait.filter(|_| !row.state.is_final()) else {
        return Ok(row);
    };
    let store = api.daemon.store();
    let id = row.id.as_str().to_owned();
    let mut events = std::pin::pin!(store.follow(
        store.newest().await?,
        Filter {
            operation: Some(id.clone()),
            ..Filter::default()
        }
    ));
    let stopping = api.daemon.tasks().stopping();
    let end = async {
        loop {
            let row = known(api, &id).await?;
            if row.state.is_final() {
                return Ok(row);
            }
            tokio::select! {
                _ = events.next() => {}
                // The end itself is no event.
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = stopping.cancelled() => return Ok(row),
            }
        }
    };
    match timeout(Duration::from_secs(seconds.min(3600)), end).await {
        Ok(ended) => ended,
        Err(_) => known(api, &id).await,
    }
}

/// The template that a body means, and the rest of it.
fn wanted(api: &Api, body: ImportBody) -> Result<Import, Problem> {
    let (bundle, label) = match (&body.template, &body.inline) {
        (Some(name), None) => (api.template(name)?, name.clone()),
        (None, Some(text)) => (Bundle::of_text(text), "inline".to_owned()),
        _ => {
            let diagnostic = Diagnostic::new(
                "body",
                "the body has exactly one of `template` and `inline`",
            );
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
    };
    Ok(Import {
        bundle,
        vars: body.env,
        request: Request {
            template: label,
            plugin: body.plugin,
            grant: body.grant,
            skip_external: body.skip_external,
            engine: body.engine,
            prune: body.prune,
            keep_failed: body.keep_failed,
            ready_seconds: body.ready_seconds,
        },
    })
}

impl Api {
    /// One of the server's templates, by the name of its folder.
    pub(super) fn template(&self, name: &str) -> Result<Bundle, Problem> {
        let unknown = || {
            let message = format!("there is no template {name:?} on this server");
            Problem::one(Class::Unknown, Diagnostic::new("unknown-template", message))
        };
        let is_plain =
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !is_plain {
            return Err(unknown());
        }
        let folder = self.daemon.templates().join(name);
        let template = crate::template::TemplateDir::open(&folder).map_err(|_| unknown())?;
        Ok(Bundle::of_template(&template)?)
    }
}
