//! The route for the server's templates. Each is listed with facts from its plan, or with the problem that prevents a plan.

use std::path::Path;
use std::time::Duration;

use axum::extract::State;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::orgs::Page;
use crate::http::wire::parameters::{CallerKey, Query};
use crate::http::{Api, ProblemDocument};
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::plan::{Plan, Requirement};
use crate::problem::{Class, Problem};
use crate::service::{Import, ImportOptions, Source, blocking};

/// The most time for planning all templates of a page. Templates that are not planned by then are listed with a problem.
const PLANNING_TIME: Duration = Duration::from_secs(20);

/// How many templates of a page are planned at the same time.
const CONCURRENCY: usize = 4;

/// A page of templates.
#[derive(Debug, Serialize, ToSchema)]
pub struct Templates {
    /// The templates, sorted by name.
    pub templates: Vec<TemplateView>,
    /// The `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A template with facts from its plan, or with the problem that prevents a plan.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TemplateView {
    /// The template can be planned.
    Planned(PlannedTemplate),
    /// The template cannot be planned.
    Unplanned(UnplannedTemplate),
}

/// A template with facts from its plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlannedTemplate {
    /// The name of its folder, which an import gives as `template`.
    pub name: String,
    /// The name of the org.
    pub org: String,
    /// The description of the org; may be empty.
    pub description: String,
    /// The number of its workspaces.
    pub workspaces: usize,
    /// The required variables. Of each entry one variable must have a value.
    pub required_env: Vec<RequirementView>,
    /// The recommended variables. Of each entry one variable should have a value.
    pub recommended_env: Vec<RequirementView>,
}

/// A template that has no plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnplannedTemplate {
    /// The name of its folder.
    pub name: String,
    /// Why it has no plan.
    pub problem: ProblemDocument,
}

/// A variable, or several variables of which one is enough.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RequirementView {
    /// The name of one variable.
    Name(String),
    /// Several variables of which one is enough.
    AnyOf {
        /// The names of the variables.
        any_of: Vec<String>,
    },
}

impl From<&Requirement> for RequirementView {
    fn from(requirement: &Requirement) -> Self {
        match requirement.any_of.as_slice() {
            [name] => Self::Name(name.clone()),
            names => Self::AnyOf {
                any_of: names.to_vec(),
            },
        }
    }
}

impl PlannedTemplate {
    fn of(name: &str, plan: &Plan) -> Self {
        let views = |all: &[Requirement]| all.iter().map(RequirementView::from).collect();
        Self {
            name: name.to_owned(),
            org: plan.org.name.clone(),
            description: plan.org.description.clone(),
            workspaces: plan.workspaces.len(),
            required_env: views(&plan.required_env),
            recommended_env: views(&plan.recommended_env),
        }
    }
}

/// List the templates that an import may name.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", operation_id = "list_templates", params(Page), responses(
    (status = 200, description = "A page of the templates", body = Templates),
))]
pub async fn list(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    Query(page): Query<Page>,
) -> Result<axum::Json<Templates>, Problem> {
    let after = page.after.clone().unwrap_or_default();
    let mut rest = names(&api).await?.into_iter().filter(|name| *name > after);
    let names: Vec<_> = rest.by_ref().take(page.limit()).collect();
    let next = rest.next().and(names.last().cloned());
    let templates = planned(&api, &caller, names).await;
    Ok(axum::Json(Templates { templates, next }))
}

/// The names of all templates, sorted.
pub async fn names(api: &Api) -> Result<Vec<String>, Problem> {
    let folder = api.service.templates().to_owned();
    blocking(move || read_names(&folder)).await?
}

fn read_names(folder: &Path) -> Result<Vec<String>, Problem> {
    let failed = |error: std::io::Error| {
        let message = format!("the server's templates folder cannot be read: {error}");
        Problem::one(Class::Failed, Diagnostic::new("templates", message))
    };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else {
            continue;
        };
        let has = |file: &str| folder.join(&name).join(file).is_file();
        if !name.starts_with('.') && (has("org.yaml") || has("org.yml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Plans templates. A missing variable or a violation of the policy does not prevent a plan.
pub async fn planned(api: &Api, caller: &str, names: Vec<String>) -> Vec<TemplateView> {
    let deadline = Instant::now() + PLANNING_TIME;
    let views = names.into_iter().map(async |name| {
        let plan = timeout_at(deadline, plan(api, caller, &name)).await;
        let plan = plan.unwrap_or_else(|_| {
            let message = "planning this page of templates took too long: ask for a smaller page";
            let diagnostic = Diagnostic::new("not-planned", message);
            Err(Problem::one(Class::Failed, diagnostic))
        });
        match plan {
            Ok(plan) => TemplateView::Planned(plan),
            Err(problem) => TemplateView::Unplanned(UnplannedTemplate {
                name,
                problem: problem.into(),
            }),
        }
    });
    futures_util::stream::iter(views)
        .buffered(CONCURRENCY)
        .collect()
        .await
}

async fn plan(api: &Api, caller: &str, name: &str) -> Result<PlannedTemplate, Problem> {
    let import = Import {
        caller: caller.to_owned(),
        template: Source::Named(name.to_owned()),
        vars: EnvMap::default(),
        request: ImportOptions {
            template: name.to_owned(),
            ..ImportOptions::default()
        },
    };
    let judged = api.service.plan(import).await?.judgement;
    Ok(match &judged.verdict {
        Ok(approved) => PlannedTemplate::of(name, approved.plan()),
        Err(rejected) => PlannedTemplate::of(name, &rejected.plan),
    })
}
