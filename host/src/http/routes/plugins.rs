//! The routes for installed plugins, and for the expansion of references.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::wire::body::{Component, Json};
use crate::http::wire::parameters::{CallerKey, Path, Query};
use crate::http::{Api, ProblemDocument};
use crate::model::expansion::Expansion;
use crate::model::plugin::PluginDigest;
use crate::plugin::catalog::Fetched;
use crate::plugin::installer::{InstalledPlugin, Plugins, name};
use crate::problem::Problem;

/// How an uploaded plugin is installed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Upload {
    /// The name to install it under. Default: its own name.
    #[param(
        required = false,
        pattern = "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$",
        example = "acme"
    )]
    name: Option<String>,
    /// Its signature, which is the text of the `.minisig` file. Default: none.
    #[param(required = false, max_length = 4096)]
    signature: Option<String>,
}

/// An installed plugin, and whether it changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedPlugin {
    /// The plugin as it is installed now.
    pub plugin: InstalledPlugin,
    /// Whether the plugin is new or was installed from another file before.
    pub changed: bool,
}

/// A text whose references the server expands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "${A}/x", "env": {"A": "1"}}))]
pub struct ExpandBody {
    /// The text.
    text: String,
    /// The values of variables. Default: none.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    env: crate::model::env_map::EnvMap,
    /// Names of variables of the server's environment that a text of a single reference may use. The operator lists those that
    /// callers may name. Default: none.
    #[serde(default)]
    grant: Vec<String>,
}

/// List the installed plugins, without the built-in one.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", operation_id = "list_plugins", responses(
    (status = 200, description = "All installed plugins", body = Plugins),
))]
pub async fn list(State(api): State<Api>) -> Result<axum::Json<Plugins>, Problem> {
    let plugins = api.service.plugins(|installer, _| installer.list());
    Ok(axum::Json(plugins.await?))
}

/// Install a plugin or a new version of one. The host first checks it against the operator's requirements. A new version that
/// fails the check is quarantined, and the installed version stays.
#[utoipa::path(post, path = "/v1/plugins", tag = "plugins", operation_id = "add_plugin", params(Upload),
    request_body(description = "The component, at most 64 MiB", content(
        (Vec<u8> = "application/wasm"),
        (Vec<u8> = "application/octet-stream"),
    )), responses(
    (status = 201, description = "The plugin was installed", body = AddedPlugin),
    (status = 200, description = "This file of the plugin was installed already", body = AddedPlugin),
    (status = 403, description = "The plugin does not meet the operator's requirements", body = ProblemDocument),
    (status = 422, description = "The file is not a plugin, or its name is invalid", body = ProblemDocument),
))]
pub async fn add(
    State(api): State<Api>,
    Query(upload): Query<Upload>,
    Component(bytes): Component,
) -> Result<Response, Problem> {
    let given = upload.name.as_deref().map(name).transpose()?;
    // The source holds the digest, so that only the same file has the same source. Otherwise an upload without a name could
    // replace another plugin.
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

/// Remove an installed plugin. Orgs that it planned stay as they are.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "remove_plugin",
    params(("name" = String, Path, description = "The name of the installed plugin", pattern = "^[a-z]([a-z0-9-]{0,62}[a-z0-9])?$")), responses(
    (status = 204, description = "The plugin was removed"),
    (status = 404, description = "No such plugin is installed", body = ProblemDocument),
    (status = 422, description = "The name is invalid, or is the built-in plugin's", body = ProblemDocument),
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

/// Expand the references in a text as in a template.
#[utoipa::path(post, path = "/v1/expand", tag = "plugins", operation_id = "expand", request_body = ExpandBody, responses(
    (status = 200, description = "The expanded text, the references without a value, and the malformed ones", body = Expansion),
    (status = 403, description = "The operator does not allow callers this variable", body = ProblemDocument),
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
