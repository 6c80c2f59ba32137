//! The routes for orgs, plans and operations.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use crate::http::wire::parameters::{Bounded, CallerKey, Path, Query};
use crate::http::wire::upload::{Upload, UploadForm};
use crate::http::{
    Api, ImportBody, OperationView, Operations, OrgSummary, Orgs, PlanAnswer, ProblemDocument,
};
use crate::model::diagnostic::Diagnostic;
use crate::model::status::OrgStatus;
use crate::planning::planner::Giver;
use crate::problem::{Class, Problem};
use crate::service::status;
use crate::service::{Import, ImportOptions, Preview, Source};
use crate::state::store::{Filter, OperationRow};
use crate::state::token::{Caller, Scope};

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// List only entries after this one, which is the `next` of the previous page. Default: from the start.
    #[param(required = false)]
    pub after: Option<String>,
    /// The most entries to list, 1 to 500. Default: 100.
    #[param(value_type = u64, minimum = 1, maximum = 500, required = false)]
    limit: Option<Bounded<1, 500>>,
}

impl Page {
    /// The most entries to list.
    pub fn limit(&self) -> usize {
        let limit = self.limit.map_or(100, Bounded::get);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }
}

/// How many seconds a caller may wait: at most [`crate::limits::WAIT_SECONDS`].
pub(in crate::http) type Seconds = Bounded<0, 3600>;

/// How long to wait for an operation.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wait {
    /// How many seconds to wait for the end of the operation. The operation runs on when the wait ends. Default: the answer
    /// comes at once.
    #[param(value_type = u64, minimum = 0, maximum = 3600, required = false)]
    pub(in crate::http) wait: Option<Seconds>,
}

/// What is removed with an org.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TakeDown {
    /// Remove the volumes with the agents' own work too. Default: false.
    #[serde(default)]
    volumes: bool,
    /// How many seconds to wait for the end of the operation. Default: the answer comes at once.
    #[param(value_type = u64, minimum = 0, maximum = 3600, required = false)]
    wait: Option<Seconds>,
}

/// List the orgs.
#[utoipa::path(get, path = "/v1/orgs", tag = "orgs", operation_id = "list_orgs", params(Page), responses(
    (status = 200, description = "A page of the orgs", body = Orgs),
))]
pub async fn list(
    State(api): State<Api>,
    Query(page): Query<Page>,
) -> Result<axum::Json<Orgs>, Problem> {
    let store = api.service.store();
    let limit = page.limit();
    // One row more than the page shows whether there is a next page.
    let mut rows = store
        .list_orgs(page.after.as_deref().unwrap_or_default(), limit + 1)
        .await?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let orgs: Vec<OrgSummary> = rows.into_iter().map(OrgSummary::from).collect();
    let last = orgs.last().map(|org| org.org.clone());
    Ok(axum::Json(Orgs {
        next: last.filter(|_| has_more),
        orgs,
    }))
}

/// Import an org: provision its workspaces, or update them to the template.
#[utoipa::path(post, path = "/v1/orgs", tag = "orgs", operation_id = "import", params(Wait), request_body(content((ImportBody = "application/json"), (UploadForm = "multipart/form-data"))), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 403, description = "The policy rejects the plan", body = ProblemDocument),
    (status = 404, description = "There is no such template or plugin", body = ProblemDocument),
    (status = 409, description = "The name belongs to another org, the org is on another engine or from another template, or pruning would remove more than half of the running workspaces (`prune-needs-consent`)", body = ProblemDocument),
    (status = 412, description = "Required variables have no value", body = ProblemDocument),
    (status = 422, description = "The template, the plugin or the body is invalid", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn import(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    Query(wait): Query<Wait>,
    upload: Upload,
) -> Result<Response, Problem> {
    let row = api.service.import(to_import(caller, upload)?).await?;
    followed(&api, row, wait.wait.map(Bounded::get)).await
}

/// Plan a template and judge the plan by the policy. This changes nothing.
#[utoipa::path(post, path = "/v1/plans", tag = "orgs", operation_id = "plan", request_body(content((ImportBody = "application/json"), (UploadForm = "multipart/form-data"))), responses(
    (status = 200, description = "The plan and its violations", body = PlanAnswer),
    (status = 403, description = "The operator does not allow callers this variable, or does not allow this plugin", body = ProblemDocument),
    (status = 404, description = "There is no such template or plugin", body = ProblemDocument),
    (status = 409, description = "The name belongs to another org, or the org is on another engine", body = ProblemDocument),
    (status = 422, description = "The template, the plugin or the body is invalid", body = ProblemDocument),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
))]
pub async fn plan(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    upload: Upload,
) -> Result<axum::Json<PlanAnswer>, Problem> {
    let Preview {
        judgement: judged,
        changes,
    } = api.service.plan(to_import(caller, upload)?).await?;
    let (plan, violations) = match &judged.verdict {
        Ok(approved) => (approved.plan(), &[][..]),
        Err(rejected) => (&rejected.plan, &rejected.violations[..]),
    };
    Ok(axum::Json(PlanAnswer {
        changes,
        plan: serde_json::json!(plan),
        violations: violations.iter().map(|v| serde_json::json!(v)).collect(),
        engine: judged.target.engine,
        isolation: judged.target.isolation.clone(),
        planned_by: judged.planned_by,
        log: judged.log,
    }))
}

/// Show an org and its workspaces.
#[utoipa::path(get, path = "/v1/orgs/{org}", tag = "orgs", operation_id = "show_org", params(("org" = String, Path, description = "The slug or the name of the org")), responses(
    (status = 200, description = "The org", body = OrgStatus),
    (status = 404, description = "There is no such org", body = ProblemDocument),
))]
pub async fn show(
    State(api): State<Api>,
    Path(org): Path<String>,
) -> Result<axum::Json<OrgStatus>, Problem> {
    let row = api.service.org(&org).await?;
    let status = status::org(api.service.store(), api.service.engines(), row).await?;
    Ok(axum::Json(status))
}

/// Take an org down: stop and remove all its workspaces.
#[utoipa::path(delete, path = "/v1/orgs/{org}", tag = "orgs", operation_id = "take_down", params(("org" = String, Path, description = "The slug or the name of the org"), TakeDown), responses(
    (status = 202, description = "Accepted; `Location` is the operation", body = OperationView),
    (status = 200, description = "The operation ended within `wait` seconds", body = OperationView),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = ProblemDocument),
    (status = 404, description = "There is no such org", body = ProblemDocument),
))]
pub async fn take_down(
    State(api): State<Api>,
    Path(org): Path<String>,
    Query(options): Query<TakeDown>,
) -> Result<Response, Problem> {
    let row = api.service.take_down(&org, options.volumes, None).await?;
    followed(&api, row, options.wait.map(Bounded::get)).await
}

/// List the operations of an org, newest first, even after it was taken down.
#[utoipa::path(get, path = "/v1/orgs/{org}/operations", tag = "orgs", operation_id = "list_operations",
    params(("org" = String, Path, description = "The slug or the name of the org"), Page), responses(
    (status = 200, description = "A page of the operations", body = Operations),
    (status = 404, description = "There never was such an org, or there is no operation `after`", body = ProblemDocument),
))]
pub async fn operations(
    State(api): State<Api>,
    Path(org): Path<String>,
    Query(page): Query<Page>,
) -> Result<axum::Json<Operations>, Problem> {
    let store = api.service.store();
    let known = api.service.org(&org).await;
    let slug = known.as_ref().map_or(org.as_str(), |row| row.slug.as_str());
    if let Some(after) = &page.after {
        known_operation(&api, after).await?;
    }
    // One row more than the page shows whether there is a next page.
    let limit = page.limit();
    let mut rows = store
        .operations(slug, page.after.as_deref(), limit + 1)
        .await?;
    if rows.is_empty() && page.after.is_none() {
        known?;
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|row| row.id.as_str().to_owned());
    Ok(axum::Json(Operations {
        next: last.filter(|_| has_more),
        operations: rows.into_iter().map(OperationView::from).collect(),
    }))
}

/// Show an operation.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "orgs", operation_id = "show_operation", params(("id" = String, Path, description = "The id of the operation"), Wait), responses(
    (status = 200, description = "The operation", body = OperationView),
    (status = 404, description = "There is no such operation", body = ProblemDocument),
))]
pub async fn operation(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<axum::Json<OperationView>, Problem> {
    let row = known_operation(&api, &id).await?;
    let row = ended(&api, row, wait.wait.map(Bounded::get)).await?;
    // Never in the answer to a POST: the host keeps those answers for their idempotency keys.
    let last_lines = match caller.scope >= Scope::Write {
        true => api.service.last_lines().of(&row.id),
        false => BTreeMap::new(),
    };
    Ok(axum::Json(OperationView {
        last_lines,
        ..row.into()
    }))
}

/// Cancel an operation and undo what it did so far.
#[utoipa::path(delete, path = "/v1/operations/{id}", tag = "orgs", operation_id = "cancel", params(("id" = String, Path, description = "The id of the operation")), responses(
    (status = 202, description = "The operation is being cancelled", body = OperationView),
    (status = 404, description = "There is no such operation", body = ProblemDocument),
    (status = 409, description = "The operation has ended", body = ProblemDocument),
))]
pub async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let row = known_operation(&api, &id).await?;
    if !api.service.cancel(&row.id).await? {
        let diagnostic = Diagnostic::new("operation-ended", "the operation has ended");
        return Err(Problem::one(Class::Conflict, diagnostic));
    }
    Ok((StatusCode::ACCEPTED, axum::Json(OperationView::from(row))).into_response())
}

async fn known_operation(api: &Api, id: &str) -> Result<OperationRow, Problem> {
    let row = api.service.store().operation(id).await?;
    row.ok_or_else(|| {
        let message = format!("there is no operation {id:?}");
        Problem::one(
            Class::NotFound,
            Diagnostic::new("unknown-operation", message),
        )
    })
}

/// Answers with an operation and its `Location`: 200 when it ends within `wait` seconds, else 202.
pub(in crate::http) async fn followed(
    api: &Api,
    row: OperationRow,
    wait: Option<u64>,
) -> Result<Response, Problem> {
    let location = format!("/v1/operations/{}", row.id.as_str());
    let row = ended(api, row, wait).await?;
    let status = match row.state.is_final() {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    let view = axum::Json(OperationView::from(row));
    Ok((status, [(header::LOCATION, location)], view).into_response())
}

/// The operation after it ended, or after `wait` seconds.
pub async fn ended(
    api: &Api,
    row: OperationRow,
    wait: Option<u64>,
) -> Result<OperationRow, Problem> {
    let Some(seconds) = wait.filter(|_| !row.state.is_final()) else {
        return Ok(row);
    };
    let store = api.service.store();
    let id = row.id.as_str().to_owned();
    let mut events = std::pin::pin!(store.follow(
        store.newest().await?,
        Filter {
            operation: Some(id.clone()),
            ..Filter::default()
        }
    ));
    let stopping = api.service.tasks().stopping();
    let end = async {
        loop {
            let row = known_operation(api, &id).await?;
            if row.state.is_final() {
                return Ok(row);
            }
            tokio::select! {
                _ = events.next() => {}
                // The operation ends in the store a moment after its last event, and that sends no event.
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = stopping.cancelled() => return Ok(row),
            }
        }
    };
    match timeout(Duration::from_secs(seconds), end).await {
        Ok(ended) => ended,
        Err(_) => known_operation(api, &id).await,
    }
}

/// The import that a body asks for.
fn to_import(caller: String, Upload { body, archive }: Upload) -> Result<Import, Problem> {
    let (source, label) = match (body.template, body.inline, archive) {
        (Some(name), None, None) => (Source::Named(name.clone()), name),
        (None, Some(text), None) => (Source::Text(text), "inline".to_owned()),
        (None, None, Some(archive)) => {
            let label = body.source.unwrap_or_else(|| "archive".to_owned());
            (Source::Archive(archive), label)
        }
        _ => {
            let diagnostic = Diagnostic::new(
                "body",
                "the body must have exactly one of `template`, `inline` and, as a part of a form, `archive`",
            );
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
    };
    Ok(Import {
        caller,
        template: source,
        vars: body.env,
        request: ImportOptions {
            template: label,
            plugin: body.plugin,
            grant: body.grant,
            giver: Giver::Caller,
            skip_external: body.skip_external,
            engine: body.engine,
            prune: body.prune,
            yes: body.yes,
            max_failures: body.max_failures,
            keep_failed: body.keep_failed,
            ready_seconds: body.ready_seconds.map(Bounded::get),
            take_over: body.take_over,
        },
    })
}
