//! The JSON of requests and answers that is the API's own. The rest is in [`crate::service::status`] and
//! [`crate::model::plan`].

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
use crate::state::store::{LastOutcome, ListedOrg, OperationRow, Stored};

/// An import or a plan. It has exactly one source: `template`, `inline`, or an archive in a form (`multipart/form-data`).
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"inline": "name: Acme\ndefaults: {runtime: demo}\nworkspaces: [{name: One}]\n", "ready_seconds": 5}))]
pub struct ImportBody {
    /// The name of one of the server's templates.
    pub template: Option<String>,
    /// The text of an `org.yaml` that refers to no other file.
    pub inline: Option<String>,
    /// Variables for the template and for every workspace. They are stored encrypted and never shown. Default: none.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub env: EnvMap,
    /// Names of variables of the server's environment that the template may use. The operator lists those that callers may
    /// name. Default: none.
    pub grant: Vec<String>,
    /// The name of an installed plugin. Default: the template's own choice, else the built-in plugin.
    pub plugin: Option<String>,
    /// The engine that runs the workspaces. Default: the one that the org runs on; for a new org the configured one, else
    /// Docker when it answers, else `local`.
    pub engine: Option<EngineKind>,
    /// Leave out `!external` subtrees. Otherwise they are an error. Default: false.
    pub skip_external: bool,
    /// Remove workspaces of the org that are no longer in the template. Default: false.
    pub prune: bool,
    /// Let `prune` remove more than half of the running workspaces. Otherwise that is refused with 409 and
    /// `prune-needs-consent`. Default: false.
    pub yes: bool,
    /// Start no further workspaces after this many have failed, and leave the remaining ones as they are. Until the first
    /// workspace is up, they are started one at a time. Default: no limit.
    #[schema(value_type = Option<u64>, minimum = 1)]
    pub max_failures: Option<NonZeroUsize>,
    /// Keep a container that failed after it was seeded, for diagnosis, and do not restart the one it replaced. Default:
    /// false.
    pub keep_failed: bool,
    /// How many seconds the operation waits for each workspace to become ready, at most 86400. Default: it does not wait.
    #[schema(value_type = Option<u64>, maximum = 86400)]
    pub ready_seconds: Option<Bounded<0, 86_400>>,
    /// A label for an uploaded archive, such as the folder it was made from. Default: `archive`.
    pub source: Option<String>,
    /// Import the org even if it was imported from another template before. Default: false.
    pub take_over: bool,
}

/// An operation and its result.
#[derive(Clone, Serialize, ToSchema)]
pub struct OperationView {
    /// The operation's id, for `/v1/operations/{id}`.
    pub id: String,
    /// The slug of its org.
    pub org: String,
    /// `up`, `down`, `restart`, `stop`, `start` or `remove`.
    pub operation: &'static str,
    /// The key of its workspace; absent when it is about the whole org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// `queued`, `running`, `done`, `failed`, `cancelled` or `superseded`.
    pub state: &'static str,
    /// How many workspaces failed to start or to be removed.
    pub failed: u32,
    /// Why the whole operation failed; absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Diagnostic>,
    /// The last lines that each failed workspace printed, by its key. Only `GET /v1/operations/{id}` returns them, and only to
    /// the scope `write`, because the output may hold secrets. A restart of the server discards them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub last_lines: BTreeMap<String, Vec<String>>,
    /// When it was accepted, in milliseconds since 1970 (UTC).
    pub began_ms: i64,
    /// When it ended, in milliseconds since 1970 (UTC); absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
}

/// An org in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OrgSummary {
    /// Its slug, which is unique on this host.
    pub org: String,
    /// Its name.
    pub name: String,
    /// The engine that runs it.
    pub engine: EngineKind,
    /// The source of its template: a name, a folder or a label.
    pub template: String,
    /// The number of its workspaces.
    pub workspaces: usize,
    /// How many of them were up after their last operation. The engine is not asked.
    pub up: usize,
    /// How many of them failed or were skipped.
    pub failed: usize,
}

/// A page of the list of orgs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Orgs {
    /// The orgs, sorted by slug.
    pub orgs: Vec<OrgSummary>,
    /// The `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of an org's operations.
#[derive(Clone, Serialize, ToSchema)]
pub struct Operations {
    /// The operations, newest first.
    pub operations: Vec<OperationView>,
    /// The `after` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A plan, and the policy's judgement of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanAnswer {
    /// The plan. The values of secrets are redacted.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    /// The engine that the plan was judged for.
    pub engine: EngineKind,
    /// How that engine isolates the workspaces.
    pub isolation: Isolation,
    /// The policy's violations; empty when the plan is approved.
    #[schema(value_type = Vec<Object>)]
    pub violations: Vec<serde_json::Value>,
    /// The workspaces that an import would add, that were renamed or moved, or that have left the template. Absent when there
    /// are none, when the org is new, or when the plan is not approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The plugin that made the plan; absent for the built-in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_by: Option<String>,
    /// The lines that the plugin logged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// The `data` of an event in the stream.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventView<'a> {
    /// Its number, which is also its `id` in the stream. A later event has a higher number.
    pub seq: i64,
    /// When it happened, in milliseconds since 1970 (UTC) by the server's clock.
    pub at_ms: i64,
    /// The id of its operation. (The member `operation` of a `began` event is the operation's kind.)
    pub operation_id: &'a str,
    /// The event: `org`, `workspace`, `event`, and the members of this kind of event.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
}

impl From<ListedOrg> for OrgSummary {
    fn from(ListedOrg { org, outcomes }: ListedOrg) -> Self {
        let count = |wanted: &[LastOutcome]| {
            let counted = outcomes
                .iter()
                .filter(|(outcome, _)| wanted.contains(outcome));
            counted.map(|(_, count)| count).sum()
        };
        Self {
            workspaces: outcomes.iter().map(|(_, count)| count).sum(),
            up: count(&[LastOutcome::Up, LastOutcome::External]),
            failed: count(&[LastOutcome::Failed, LastOutcome::Skipped]),
            org: org.slug,
            name: org.name,
            engine: org.engine,
            template: org.template,
        }
    }
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
