//! Installed plugins, and the expander.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::wire::body::{Component, Json};
use crate::http::wire::parameters::{CallerKey, Path, Query};
use crate::http::{Api, ProblemDocument};
use crate::model::plugin::PluginDigest;
use crate::plugin::catalog::Fetched;
use crate::plugin::installer::{InstalledPlugin, Plugins, name};
use crate::plugin::sandbox::Expansion;
use crate::problem::Problem;

/// A plugin that somebody uploads.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Upload {
    /// What it is to be called here; default: as it calls itself.
    #[param(
        required = false,
        pattern = "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$",
        example = "acme"
    )]
    name: Option<String>,
    /// Its signature: the text of the `.minisig` file.
    #[param(required = false, max_length = 4096)]
    signature: Option<String>,
}

/// A plugin that was added.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedPlugin {
    /// What runs now.
    pub plugin: InstalledPlugin,
    /// Whether another file ran before, or none.
    pub changed: bool,
}

/// A text whose references are to be expanded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "${A}/x", "env": {"A": "1"}}))]
pub struct ExpandBody {
    /// The text.
    text: String,
    /// Variables.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    env: crate::model::env_map::EnvMap,
    /// Variables of the server's own environment, for texts that are one reference; the operator lists those that may be
    /// asked for.
    #[serde(default)]
    grant: Vec<String>,
}

/// List the installed plugins; the built-in one is not among them.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", operation_id = "list_plugins", responses(
    (status = 200, description = "All of them", body = Plugins),
))]
pub async fn list(State(api): State<Api>) -> Result<axum::Json<Plugins>, Problem> {
    let plugins = api.service.plugins(|installer, _| installer.list());
    Ok(axum::Json(plugins.await?))
}

/// Install a plugin, or a new version of one. It is examined as the operator demands before anything moves to it; a new
/// version that is refused is quarantined, and the one before it stays.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins", operation_id = "add_plugin", params(Upload),
    request_body(description = "The component, at most 64 MiB", content(
        (Vec<u8> = "application/wasm"),
        (Vec<u8> = "application/octet-stream"),
    )), responses(
    (status = 201, description = "It runs now", body = AddedPlugin),
    (status = 200, description = "It ran already", body = AddedPlugin),
    (status = 403, description = "It is not what the operator demands", body = ProblemDocument),
    (status = 422, description = "It is no plugin, or has no usable name", body = ProblemDocument),
))]
pub async fn add(
    State(api): State<Api>,
    Query(upload): Query<Upload>,
    Component(bytes): Component,
) -> Result<Response, Problem> {
    let given = upload.name.as_deref().map(name).transpose()?;
    // Two uploads come from the same place only when they are the same file: else one without a name would take the place of
    // another plugin.
    let source = format!("upload {}", PluginDigest::of(&bytes).short());
    let fetched = Fetched {
        bytes: bytes.into(),
        signature: upload.signature,
        source,
        manifest: None,
    };
    let work = api.service.plugins(move |installer, sandbox| {
        let added = installer.add(sandbox, given, &fetched)?;
        Ok(AddedPlugin {
            plugin: installer.shown(&added.name, &added.pin),
            changed: added.before.as_ref() != Some(&added.pin.digest),
        })
    });
    let added = work.await?;
    let status = match added.changed {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, axum::Json(added)).into_response())
}

/// Forget an installed plugin. Orgs that were made with it stay as they are.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "remove_plugin",
    params(("name" = String, Path, description = "What it is called here", pattern = "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$")), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "No such plugin is installed", body = ProblemDocument),
    (status = 422, description = "It is the built-in one, or no name of a plugin", body = ProblemDocument),
))]
pub async fn remove(
    State(api): State<Api>,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let name = name(&text)?;
    let work = api
        .service
        .plugins(move |installer, _| installer.remove(&name));
    work.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Expand the references in a text, as templates do.
#[utoipa::path(post, path = "/v1/expand", tag = "plugins", operation_id = "expand", request_body = ExpandBody, responses(
    (status = 200, description = "The text, and what in it has no value or is no reference", body = Expansion),
    (status = 403, description = "A variable that callers may not ask for", body = ProblemDocument),
))]
pub async fn expand(
    State(api): State<Api>,
    CallerKey(caller): CallerKey,
    Json(body): Json<ExpandBody>,
) -> Result<axum::Json<Expansion>, Problem> {
    let service = &api.service;
    let expansion = service.expand(&caller, body.text, body.env, body.grant);
    Ok(axum::Json(expansion.await?))
}
