//! The status of orgs, workspaces and operations, as the store keeps it, the API sends it and the client reads it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine_kind::EngineKind;
use crate::ids::WorkspaceId;
use crate::isolation::Isolation;
use crate::names::NamePath;
use crate::plan::WorkspaceKey;

/// The status of an org.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OrgStatus {
    /// Its slug: its identity on this host.
    pub org: String,
    /// Its name in the template.
    pub name: String,
    /// The engine that runs it.
    pub engine: EngineKind,
    /// What separates its workspaces from the rest of the machine: the weakest isolation among them. Absent when there is no
    /// workspace, or the engine did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// Where its template came from.
    pub template: String,
    /// Why the engine did not answer. Absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_error: Option<String>,
    /// Operations that are running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<String>,
    /// Operations that were interrupted. The next `up` or `down` resumes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<String>,
    /// Its workspaces, parents first.
    pub workspaces: Vec<WorkspaceStatus>,
}

/// The status of a workspace.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceStatus {
    /// Its row in the store.
    #[serde(flatten)]
    pub row: WorkspaceRow,
    /// `running`, `restarting`, `exited`, `created`, `absent`, `external` or `unknown`.
    pub state: Cow<'static, str>,
    /// The exit code of its program, when it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// A workspace in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceRow {
    /// Its identity on this host.
    #[schema(value_type = String)]
    pub id: WorkspaceId,
    /// How people address it, unique in its org. It may change when a sibling is added or removed.
    #[schema(value_type = String)]
    pub key: WorkspaceKey,
    /// Its path of names from the org down, which decides its identity.
    #[schema(value_type = Vec<String>)]
    pub path: NamePath,
    /// Its name in the template.
    pub name: String,
    /// The runtime that the template names.
    pub runtime: String,
    /// The tier of isolation, 1 to 4.
    pub tier: u8,
    /// Whether it runs elsewhere. This host then only knows its URL.
    pub external: bool,
    /// The URL at which it answered when it came up.
    pub url: Option<String>,
    /// What the last operation did with it.
    pub outcome: LastOutcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// Whether it should run.
    pub wanted: Desired,
    /// Whether it is in the org's template. A workspace that left the template stays until it is removed.
    pub planned: bool,
}

/// What the last operation did with a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastOutcome {
    /// Nothing yet.
    Planned,
    /// It is being made.
    Provisioning,
    /// It came up.
    Up,
    /// It did not come up.
    Failed,
    /// It was not tried.
    Skipped,
    /// It was stopped on request.
    Stopped,
    /// It was removed.
    Removed,
    /// It runs elsewhere.
    External,
}

impl LastOutcome {
    /// All outcomes.
    pub const ALL: [Self; 8] = [
        Self::Planned,
        Self::Provisioning,
        Self::Up,
        Self::Failed,
        Self::Skipped,
        Self::Stopped,
        Self::Removed,
        Self::External,
    ];

    /// The outcome as it is written in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Provisioning => "provisioning",
            Self::Up => "up",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::External => "external",
        }
    }

    /// Whether an operation is making it, or is about to.
    pub fn is_on_its_way(self) -> bool {
        matches!(self, Self::Planned | Self::Provisioning)
    }
}

/// Whether a workspace should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It should run.
    Running,
    /// It should stay stopped.
    Stopped,
}

impl Desired {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Running, Self::Stopped];

    /// The word in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It waits for earlier operations.
    Queued,
    /// It is being carried out, or was interrupted.
    Running,
    /// It ended, and no workspace failed.
    Done,
    /// It could not be carried out, or some workspaces failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// A later operation includes its work.
    Superseded,
}

impl OperationState {
    /// The state as it is written in the store and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether the state never changes again.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Reads what [`OperationState::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Queued,
            Self::Running,
            Self::Done,
            Self::Failed,
            Self::Cancelled,
            Self::Superseded,
        ];
        all.into_iter().find(|state| state.as_str() == word)
    }
}
