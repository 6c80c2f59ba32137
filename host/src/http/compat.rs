//! The two endpoints of molecule-core that its clients import orgs with, in its shapes. Nothing is decided here: an import is
//! one of [`Service::import`](crate::service::Service::import), by the same policy.
//!
//! What is different there: the configured global secrets are here the variables that the operator lists as `grant` under
//! `[server]`; and the whole template is planned before anything is made, so one invalid workspace means that nothing is.

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
use crate::http::wire::problem::told;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::names::NamePath;
use crate::model::plan::{Plan, Workspace};
use crate::problem::{Class, Problem};
use crate::service::{Import, ImportOptions, Source};
use crate::state::store::{Filter, LastOutcome, OperationState, WorkspaceRow};

/// Seconds that the answer waits for workspaces to be seeded and started, as the reference waits for their preparation; not
/// for what runs in them. Those that are still under way then are in the answer, too: `/v1/events` tells the rest.
const PREPARATION: u64 = 60;

/// Templates in one list.
const TEMPLATES: usize = 500;

/// A template of the reference's list.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatTemplate {
    /// What an import calls it.
    dir: String,
    /// The org's name.
    name: String,
    /// May be empty.
    description: String,
    /// How many workspaces it has.
    workspaces: usize,
    /// Of each, one variable must be set.
    required_env: Vec<RequirementView>,
    /// Of each, one variable should be set.
    recommended_env: Vec<RequirementView>,
}

/// What the reference's clients send: exactly one of `dir` and `template`. Other members are ignored, as there.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"dir": "studio"}))]
pub struct CompatImport {
    /// The name of a template's folder on the server.
    #[serde(default)]
    dir: Option<String>,
    /// A template that needs no other file: the content of its `org.yaml` as an object, or its text.
    #[serde(default)]
    template: Option<Inline>,
    /// `merge`, the default, or `reconcile`: remove workspaces of this org that are no longer in the template, unless
    /// those are more than half of what runs; for that there is `POST /v1/orgs`.
    #[serde(default)]
    mode: Option<Mode>,
    /// Reconcile although the org came from another template. Not the reference's, which asks nobody.
    #[serde(default)]
    take_over: bool,
}

/// See [`CompatImport::template`].
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Inline {
    /// YAML.
    Text(String),
    /// The same as JSON.
    Object(serde_json::Map<String, serde_json::Value>),
}

/// What happens to workspaces that the template does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They stay.
    #[default]
    Merge,
    /// They are removed.
    Reconcile,
}

/// What came of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatImported {
    /// The org's name.
    org: String,
    /// Those that did not fail, parents first.
    workspaces: Vec<CompatWorkspace>,
    /// How many those are.
    count: usize,
    /// The first failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A workspace that was imported.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatWorkspace {
    /// Its identity on this host.
    id: String,
    /// What people call it.
    name: String,
    /// 1 to 4.
    tier: u8,
    /// It was there, and equal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
    /// The types of its channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels: Vec<String>,
    /// Channels that it does not have, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    channels_skipped: Vec<CompatChannel>,
}

/// A channel that was left out.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatChannel {
    /// The workspace's name.
    workspace: String,
    /// Its type.
    r#type: String,
    /// Names variables, never values.
    reason: String,
}

/// A problem, with the members that the reference's clients look for.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatProblem {
    /// As everywhere.
    #[serde(flatten)]
    problem: ProblemDocument,
    /// The same as `detail`.
    error: String,
}

/// A problem that says which variables have no value.
#[derive(Debug, Serialize, ToSchema)]
pub struct CompatMissing {
    #[serde(flatten)]
    problem: CompatProblem,
    #[serde(flatten)]
    missing: Missing,
}

/// Which variables have no value.
#[derive(Debug, Serialize, ToSchema)]
pub struct Missing {
    /// Of each, one must be set, and none is.
    missing_env: Vec<RequirementView>,
    /// Everything that the template requires.
    required_env: Vec<RequirementView>,
    /// The org's name.
    template: String,
    /// What to do about it.
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
        // The reference knows one status for everything that is wrong with a request.
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
            None => told(status, class, &problem),
            Some(missing) => told(status, class, &CompatMissing { problem, missing }),
        }
    }
}

/// List the templates that an import may name, as molecule-core does: those that cannot be planned are left out.
#[utoipa::path(get, path = "/org/templates", tag = "compatibility", operation_id = "compat_templates", responses(
    (status = 200, description = "All of them, at most 500", body = Vec<CompatTemplate>),
))]
pub async fn templates(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
) -> Result<axum::Json<Vec<CompatTemplate>>, Problem> {
    let mut names = names(&api).await?;
    names.truncate(TEMPLATES);
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

/// Import an org as molecule-core does. The answer comes when its workspaces were seeded and started, at most 60 seconds
/// later; those that are still under way then are in it, too.
#[utoipa::path(post, path = "/org/import", tag = "compatibility", operation_id = "compat_import",
    request_body = CompatImport, responses(
    (status = 201, description = "Imported", body = CompatImported),
    (status = 207, description = "Imported but for workspaces that failed: `error` says why", body = CompatImported),
    (status = 400, description = "The request or the template is invalid", body = CompatProblem),
    (status = 403, description = "Policy refuses the plan", body = CompatProblem),
    (status = 404, description = "There is no such template", body = CompatProblem),
    (status = 409, description = "The org's name is another one's", body = CompatProblem),
    (status = 412, description = "Required variables have no value", body = CompatMissing),
    (status = 413, description = "The template is too large", body = CompatProblem),
    (status = 415, description = "The body is not sent as JSON", body = CompatProblem),
    (status = 429, description = "Too much is waiting", body = CompatProblem),
    (status = 500, description = "The host failed", body = CompatProblem),
    (status = 503, description = "The host is stopping, or its engine is away", body = CompatProblem),
))]
pub async fn import(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    body: Result<Json<CompatImport>, Problem>,
) -> Result<Response, Refused> {
    let Json(body) = body?;
    let import = wanted(&api, caller, body)?;
    let judged = api.service.plan(import.clone()).await?;
    let plan = match &judged.verdict {
        Ok(approved) => approved.plan(),
        Err(rejected) => &rejected.plan,
    };
    let accepted = api.service.import(import).await;
    let row = accepted.map_err(|problem| {
        let missing = (problem.class == Class::MissingEnv).then(|| Missing::of(plan));
        Refused(problem, missing)
    })?;
    let row = orgs::ended(&api, row, Some(PREPARATION)).await?;
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
        OperationState::Superseded => Some("a later operation took its place".to_owned()),
        _ => None,
    };
    let mut workspaces = Vec::new();
    for workspace in &plan.workspaces {
        let Some(row) = known.get(&workspace.path) else {
            continue;
        };
        if matches!(row.outcome, LastOutcome::Failed | LastOutcome::Skipped) {
            let reason = row.reason.as_deref().unwrap_or("it did not come up");
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

fn wanted(api: &Api, caller: String, body: CompatImport) -> Result<Import, Problem> {
    // The reference takes an empty text for none.
    let dir = body.dir.filter(|dir| !dir.is_empty());
    let (source, template) = match (dir, body.template) {
        (Some(dir), None) => (Source::Named(dir.clone()), dir),
        (None, Some(Inline::Text(text))) => (Source::Text(text), "inline".to_owned()),
        (None, Some(Inline::Object(object))) => {
            // JSON is YAML; with line breaks, so that what is wrong has a line.
            let text = format!("{:#}", serde_json::Value::Object(object));
            (Source::Text(text), "inline".to_owned())
        }
        _ => {
            let message = "the body has exactly one of `dir` and `template`";
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

/// The keys of the workspaces that an operation found there and equal.
async fn unchanged(api: &Api, operation: &str) -> Result<BTreeSet<String>, Problem> {
    /// What happens to one workspace in one operation: its steps, and its end.
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
            suggestion: "set them in the server's environment and list them as `grant` under [server] in the operator's \
                         file, or import with POST /v1/orgs, which takes `env`"
                .to_owned(),
        }
    }
}
