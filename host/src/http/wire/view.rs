//! What the API says, beside what [`crate::service::status`] and [`crate::model::plan`] say themselves.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parameters::Bounded;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::isolation::Isolation;
use crate::service::admission::Change;
use crate::state::store::{OperationRow, Stored};

/// An org that somebody wants to be up. Exactly one of `template` and `inline`, or an archive beside it (multipart).
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"inline": "name: Acme\ndefaults: {runtime: demo}\nworkspaces: [{name: One}]\n", "ready_seconds": 5}))]
pub struct ImportBody {
    /// The name of one of the server's templates.
    pub template: Option<String>,
    /// The text of an `org.yaml` that needs no other file.
    pub inline: Option<String>,
    /// Variables: for expansion, and in every workspace. Kept sealed, never shown.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub env: EnvMap,
    /// Variables of the server's own environment that the template may use; the operator lists those that may be asked for.
    pub grant: Vec<String>,
    /// The name of an installed plugin.
    pub plugin: Option<String>,
    /// What runs the workspaces.
    pub engine: Option<EngineKind>,
    /// Leave out `!external` subtrees instead of failing.
    pub skip_external: bool,
    /// Remove workspaces that are in the org and no longer in the template.
    pub prune: bool,
    /// Remove them although they are more than half of what runs. Without it that is refused with 409 and
    /// `prune-needs-consent`.
    pub yes: bool,
    /// Stop trying further workspaces once so many failed, and leave those as they are. Until one has come up, they are
    /// tried one at a time.
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub max_failures: Option<NonZeroUsize>,
    /// Leave a failed container that was seeded, for diagnosis, and do not start again what it replaced.
    pub keep_failed: bool,
    /// Wait until each workspace answers, at most so many seconds, before the operation counts as done.
    #[schema(value_type = Option<u64>, maximum = 86400)]
    pub ready_seconds: Option<Bounded<0, 86_400>>,
    /// Where an uploaded archive comes from, for people: the folder that it was made of.
    pub source: Option<String>,
    /// Bring the org up although it came from another template.
    pub take_over: bool,
}

/// An operation: what was asked for, and what came of it.
#[derive(Clone, Serialize, ToSchema)]
pub struct OperationView {
    /// Its identity; `/v1/operations/{id}` follows it.
    pub id: String,
    /// Its org's slug.
    pub org: String,
    /// `up`, `down`, `restart`, `stop`, `start` or `remove`.
    pub operation: &'static str,
    /// The workspace's key, when it is not about the whole org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// `queued`, `running`, `done`, `failed`, `cancelled` or `superseded`.
    pub state: &'static str,
    /// Workspaces that did not come up, or did not go.
    pub failed: u32,
    /// Why it could not be done at all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Diagnostic>,
    /// What its failed workspaces printed last, by their keys. Only where the operation itself is asked for, with the scope
    /// `write`: whoever has it can have a workspace print whatever it knows. Not kept over a restart of the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub last_lines: BTreeMap<String, Vec<String>>,
    /// Milliseconds since 1970.
    pub began_ms: i64,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
}

/// An org in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrgSummary {
    /// Its identity on this host.
    pub org: String,
    /// What people call it.
    pub name: String,
    /// What runs it.
    pub engine: EngineKind,
    /// Where its template came from.
    pub template: String,
    /// How many workspaces it has.
    pub workspaces: usize,
    /// How many of them are up, as far as the store knows.
    pub up: usize,
    /// How many failed or were skipped.
    pub failed: usize,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Orgs {
    /// By their slugs.
    pub orgs: Vec<OrgSummary>,
    /// `?after=` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of an org's operations.
#[derive(Clone, Serialize, ToSchema)]
pub struct Operations {
    /// Newest first.
    pub operations: Vec<OperationView>,
    /// `?after=` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A plan, and what policy says of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanAnswer {
    /// The plan; values of secrets are redacted.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    /// The engine that it was judged for.
    pub engine: EngineKind,
    /// What that engine keeps the workspaces from.
    pub isolation: Isolation,
    /// What policy refuses; empty when the plan may be provisioned.
    #[schema(value_type = Vec<Object>)]
    pub violations: Vec<serde_json::Value>,
    /// Workspaces that would be added, are known by other names, or are in the template no longer; empty for an org that
    /// this host does not know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The plugin, when it is not the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_by: Option<String>,
    /// What the plugin wrote for whoever debugs it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// An event of the stream: `id` is its place, `data` is this.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventView<'a> {
    /// Its place: what `Last-Event-ID` takes.
    pub seq: i64,
    /// Milliseconds since 1970, by the server's clock.
    pub at_ms: i64,
    /// The operation that it is of. (`operation` is what a `began` event tells: which kind.)
    pub operation_id: &'a str,
    /// The event itself: `org`, `workspace`, `event`, and what it tells.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
}

impl From<OperationRow> for OperationView {
    fn from(row: OperationRow) -> Self {
        Self {
            id: row.id.as_str().to_owned(),
            org: row.org,
            operation: row.operation.as_str(),
            workspace: row.workspace.map(|subject| subject.key),
            state: row.state.as_str(),
            failed: row.failed,
            errors: row.errors,
            last_lines: BTreeMap::new(),
            began_ms: row.began_ms,
            ended_ms: row.ended_ms,
        }
    }
}

impl<'a> TryFrom<&'a Stored> for EventView<'a> {
    type Error = serde_json::Error;

    fn try_from(stored: &'a Stored) -> Result<Self, serde_json::Error> {
        Ok(Self {
            seq: stored.seq,
            at_ms: stored.at_ms,
            operation_id: &stored.operation,
            event: serde_json::from_str(&stored.body)?,
        })
    }
}
