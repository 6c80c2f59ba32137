//! Stands in until the branch `api` brings its own `GET /v1/templates`: only so much that the page can be tested.

use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use crate::daemon::{Import, Request};
use crate::problem::Problem;

/// List the server's templates.
#[utoipa::path(get, path = "/v1/templates", tag = "templates", responses((status = 200, body = Object)))]
pub async fn list(State(api): State<Api>) -> Result<axum::Json<Value>, Problem> {
    let mut names: Vec<_> = std::fs::read_dir(api.daemon.templates())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    let mut templates = Vec::new();
    for name in names {
        templates.push(match described(&api, &name).await {
            Ok(template) => template,
            Err(problem) => json!({"name": name, "problem": {"detail": problem.errors.first().map(|error| &error.message)}}),
        });
    }
    Ok(axum::Json(json!({ "templates": templates })))
}

async fn described(api: &Api, name: &str) -> Result<Value, Problem> {
    let request = Request {
        template: name.to_owned(),
        ..Request::default()
    };
    let import = Import {
        bundle: api.template(name)?,
        vars: crate::plugin::EnvMap::default(),
        request,
    };
    let judged = api.daemon.plan(import).await?;
    let plan = match &judged.verdict {
        Ok(approved) => approved.plan(),
        Err(rejected) => &rejected.plan,
    };
    Ok(json!({
        "name": name, "org": plan.org.name, "description": plan.org.description, "workspaces": plan.workspaces.len(),
        "required_env": plan.required_env, "recommended_env": plan.recommended_env,
    }))
}
