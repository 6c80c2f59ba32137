//! The two routes with which clients of molecule-core list templates and import orgs, in its JSON. It makes no decisions: the
//! import is [`Service::import`](crate::service::Service::import), under the same policy.
//!
//! Two things differ from molecule-core. Its configured global secrets are here the variables that the operator lists as
//! `grant` under `[server]`. And the whole template is planned before anything is provisioned, so one invalid workspace makes
//! the import fail without any effect.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, ProblemDocument};
use crate::http::routes::orgs;
use crate::http::routes::templates::{RequirementView, TemplateView, names, planned};
use crate::http::wire::body::Json;
use crate::http::wire::parameters::CallerKey;
use crate::http::wire::problem;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::names::NamePath;
use crate::model::plan::{Plan, Workspace};
use crate::problem::{Class, Problem};
use crate::service::{Import, ImportOptions, Source};
use crate::state::store::{Filter, LastOutcome, OperationState, WorkspaceRow};

/// How many seconds the answer waits until the workspaces are seeded and started, as molecule-core waits for their
/// preparation. It does not wait for the programs in them. Workspaces that still start then are in the answer too;
/// `/v1/events` reports their end.
const PREPARATION_SECONDS: u64 = 60;

/// The most templates in the list.
const LISTED_TEMPLATES: usize = 500;

/// A template in the list, as molecule-core shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatTemplate {
    /// The name of its folder, which an import gives as `dir`.
    dir: String,
    /// The name of the org.
    name: String,
    /// The description of the org; may be empty.
    description: String,
    /// The number of its workspaces.
    workspaces: usize,
    /// The required variables. Of each entry one variable must have a value.
    required_env: Vec<RequirementView>,
    /// The recommended variables. Of each entry one variable should have a value.
    recommended_env: Vec<RequirementView>,
}

/// An import as clients of molecule-core send it, with exactly one of `dir` and `template`. Other members are ignored, as
/// molecule-core does.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"dir": "studio"}))]
pub struct CompatImport {
    /// The name of a template's folder on the server.
    #[serde(default)]
    dir: Option<String>,
    /// A template that refers to no other file: the content of its `org.yaml` as an object, or as text.
    #[serde(default)]
    template: Option<Inline>,
    /// `merge` or `reconcile`. `reconcile` removes workspaces of this org that are no longer in the template, unless they are
    /// more than half of the running ones; `POST /v1/orgs` can remove those. Default: `merge`.
    #[serde(default)]
    mode: Option<Mode>,
    /// Reconcile even if the org was imported from another template before. Molecule-core has no such member: it always does
    /// so. Default: false.
    #[serde(default)]
    take_over: bool,
}

/// The content of an `org.yaml`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Inline {
    /// The text, which is YAML.
    Text(String),
    /// The content as a JSON object.
    Object(serde_json::Map<String, serde_json::Value>),
}

/// What happens to workspaces of the org that are not in the template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They stay.
    #[default]
    Merge,
    /// They are removed.
    Reconcile,
}

/// The result of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatImported {
    /// The name of the org.
    org: String,
    /// The workspaces that did not fail, parents before children.
    workspaces: Vec<CompatWorkspace>,
    /// The number of workspaces in `workspaces`.
    count: usize,
    /// The first failure; absent when nothing failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A workspace that was imported.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatWorkspace {
    /// Its id, which is unique on this host.
    id: String,
    /// Its name.
    name: String,
    /// Its tier, 1 to 4.
    tier: u8,
    /// Whether it existed and was unchanged. Default: false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
    /// The types of its channels; absent when it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    /// The channels that were left out; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels_skipped: Vec<CompatChannel>,
}

/// A channel that was left out.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatChannel {
    /// The name of its workspace.
    workspace: String,
    /// The type of the channel.
    r#type: String,
    /// Why it was left out. It may name variables, and never holds their values.
    reason: String,
}

/// A problem document with the member `error`, which clients of molecule-core read.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatProblem {
    /// The problem document.
    #[serde(flatten)]
    problem: ProblemDocument,
    /// The same as `detail`.
    error: String,
}

/// A problem document for required variables without a value.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatMissing {
    #[serde(flatten)]
    problem: CompatProblem,
    #[serde(flatten)]
    missing: Missing,
}

/// The required variables, and those without a value.
#[derive(Debug, Serialize, ToSchema)]
pub struct Missing {
    /// The required variables without a value. Of each entry one variable must have a value.
    missing_env: Vec<RequirementView>,
    /// All required variables of the template.
    required_env: Vec<RequirementView>,
    /// The name of the org.
    template: String,
    /// How to set the variables.
    suggestion: String,
}

/// Why nothing was imported.
pub struct Refused(Problem, Option<Missing>);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem, None)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(problem, missing) = self;
        let class = problem.class;
        // Molecule-core answers every invalid request with 400.
        let status = match problem.status() {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        let mut problem = ProblemDocument::from(problem);
        problem.status = status.as_u16();
        problem.title = status.canonical_reason().unwrap_or_default();
        let problem = CompatProblem {
            error: problem.detail.clone(),
            problem,
        };
        match missing {
            None => problem::answer(status, class, &problem),
            Some(missing) => problem::answer(status, class, &CompatMissing { problem, missing }),
        }
    }
}

/// List the templates that an import may name, as molecule-core does. Templates that cannot be planned are left out.
#[utoipa::path(get, path = "/org/templates", tag = "compatibility", operation_id = "compat_templates", responses(
    (status = 200, description = "All templates, at most 500", body = Vec<CompatTemplate>),
))]
pub async fn templates(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
) -> Result<axum::Json<Vec<CompatTemplate>>, Problem> {
    let mut names = names(&api).await?;
    names.truncate(LISTED_TEMPLATES);
    let planned = planned(&api, &caller, names).await.into_iter();
    let templates = planned.filter_map(|view| {
        let TemplateView::Planned(plan) = view else {
            return None;
        };
        Some(CompatTemplate {
            dir: plan.name,
            name: plan.org,
            description: plan.description,
            workspaces: plan.workspaces,
            required_env: plan.required_env,
            recommended_env: plan.recommended_env,
        })
    });
    Ok(axum::Json(templates.collect()))
}

/// Import an org as molecule-core does. The answer comes when its workspaces are seeded and started, after at most 60 seconds.
/// Workspaces that still start then are in the answer too.
#[utoipa::path(post, path = "/org/import", tag = "compatibility", operation_id = "compat_import",
    request_body = CompatImport, responses(
    (status = 201, description = "The org was imported", body = CompatImported),
    (status = 207, description = "The org was imported, but some workspaces failed; `error` is the first failure", body = CompatImported),
    (status = 400, description = "The request or the template is invalid", body = CompatProblem),
    (status = 403, description = "The policy rejects the plan", body = CompatProblem),
    (status = 404, description = "There is no such template", body = CompatProblem),
    (status = 409, description = "The name belongs to another org, or the org is from another template", body = CompatProblem),
    (status = 412, description = "Required variables have no value", body = CompatMissing),
    (status = 413, description = "The template is too large", body = CompatProblem),
    (status = 415, description = "The body has the wrong `Content-Type`", body = CompatProblem),
    (status = 429, description = "Too many operations or plans are waiting; `Retry-After` says when to try again", body = CompatProblem),
    (status = 500, description = "The host failed", body = CompatProblem),
    (status = 503, description = "The host is stopping, or its engine does not answer", body = CompatProblem),
))]
pub async fn import(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    body: Result<Json<CompatImport>, Problem>,
) -> Result<Response, Refused> {
    let Json(body) = body?;
    let import = to_import(&api, caller, body)?;
    let judged = api.service.plan(import.clone()).await?.judgement;
    let plan = match &judged.verdict {
        Ok(approved) => approved.plan(),
        Err(rejected) => &rejected.plan,
    };
    let accepted = api.service.import(import).await;
    let row = accepted.map_err(|problem| {
        let missing = (problem.class == Class::MissingEnv).then(|| Missing::of(plan));
        Refused(problem, missing)
    })?;
    let row = orgs::ended(&api, row, Some(PREPARATION_SECONDS)).await?;
    if let Some(first) = row.errors.first() {
        return Err(Problem::one(Class::Failed, first.clone()).into());
    }
    let known = api.service.store().workspaces(&row.org).await;
    let known = known.map_err(Problem::from)?;
    let unchanged = unchanged(&api, row.id.as_str()).await?;
    let known: BTreeMap<&NamePath, &WorkspaceRow> =
        known.iter().map(|row| (&row.path, row)).collect();
    let mut error = match row.state {
        OperationState::Cancelled => Some("the import was cancelled".to_owned()),
        OperationState::Superseded => Some("a later operation replaced the import".to_owned()),
        _ => None,
    };
    let mut workspaces = Vec::new();
    for workspace in &plan.workspaces {
        let Some(row) = known.get(&workspace.path) else {
            continue;
        };
        if matches!(row.outcome, LastOutcome::Failed | LastOutcome::Skipped) {
            let reason = row.reason.as_deref().unwrap_or("the workspace failed");
            error.get_or_insert_with(|| format!("{}: {reason}", workspace.name));
            continue;
        }
        let skipped = unchanged.contains(workspace.key.as_str());
        workspaces.push(CompatWorkspace::of(workspace, row, skipped));
    }
    let status = match error {
        None => StatusCode::CREATED,
        Some(_) => StatusCode::MULTI_STATUS,
    };
    let imported = CompatImported {
        org: plan.org.name.clone(),
        count: workspaces.len(),
        workspaces,
        error,
    };
    Ok((status, axum::Json(imported)).into_response())
}

/// The import that a body asks for.
fn to_import(api: &Api, caller: String, body: CompatImport) -> Result<Import, Problem> {
    // For molecule-core an empty `dir` is none.
    let dir = body.dir.filter(|dir| !dir.is_empty());
    let (source, template) = match (dir, body.template) {
        (Some(dir), None) => (Source::Named(dir.clone()), dir),
        (None, Some(Inline::Text(text))) => (Source::Text(text), "inline".to_owned()),
        (None, Some(Inline::Object(object))) => {
            // JSON is YAML. It gets line breaks, so that each error has its line.
            let text = format!("{:#}", serde_json::Value::Object(object));
            (Source::Text(text), "inline".to_owned())
        }
        _ => {
            let message = "the body must have exactly one of `dir` and `template`";
            let diagnostic = Diagnostic::new("body", message);
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
    };
    Ok(Import {
        caller,
        template: source,
        vars: EnvMap::default(),
        request: ImportOptions {
            template,
            grant: api.service.config().server.grant.clone(),
            prune: body.mode == Some(Mode::Reconcile),
            // A merge removes nothing.
            take_over: body.take_over || body.mode != Some(Mode::Reconcile),
            ..ImportOptions::default()
        },
    })
}

/// The keys of the workspaces that existed and were unchanged in an operation.
async fn unchanged(api: &Api, operation: &str) -> Result<BTreeSet<String>, Problem> {
    /// The most events of one workspace in one operation: its steps and its end.
    const EVENTS_OF_WORKSPACE: usize = 20;
    let filter = Filter {
        operation: Some(operation.to_owned()),
        ..Filter::default()
    };
    let most = limits::WORKSPACES * EVENTS_OF_WORKSPACE;
    let events = api.service.store().events(0, &filter, most).await?;
    let is_unchanged = |body: &str| {
        let event = serde_json::from_str::<serde_json::Value>(body);
        event.is_ok_and(|event| event.get("event").is_some_and(|kind| kind == "unchanged"))
    };
    Ok(events
        .into_iter()
        .filter(|event| is_unchanged(&event.body))
        .filter_map(|event| event.workspace)
        .collect())
}

impl CompatWorkspace {
    fn of(workspace: &Workspace, row: &WorkspaceRow, skipped: bool) -> Self {
        let channels = workspace.channels.iter();
        let left_out = workspace.skipped_channels.iter();
        Self {
            id: row.id.to_string(),
            name: workspace.name.clone(),
            tier: workspace.tier,
            skipped,
            channels: channels.map(|channel| channel.kind.clone()).collect(),
            channels_skipped: left_out
                .map(|channel| CompatChannel {
                    workspace: workspace.name.clone(),
                    r#type: channel.kind.clone(),
                    reason: channel.reason.clone(),
                })
                .collect(),
        }
    }
}

impl Missing {
    fn of(plan: &Plan) -> Self {
        let required = plan.required_env.iter();
        let missing = required
            .clone()
            .filter(|required| !required.missing_for.is_empty());
        Self {
            missing_env: missing.map(RequirementView::from).collect(),
            required_env: required.map(RequirementView::from).collect(),
            template: plan.org.name.clone(),
            suggestion: "set them in the server's environment and list them as `grant` under [server] in the configuration \
                         file, or import with POST /v1/orgs, which takes `env`"
                .to_owned(),
        }
    }
}
