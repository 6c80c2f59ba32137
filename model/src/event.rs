//! Events of provisioning. The journal is append-only: an event is never changed. It never holds the value of a variable.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::engine_kind::EngineKind;
use crate::ids::{OrgId, WorkspaceId};
use crate::plan::WorkspaceKey;

/// One event of an org or of one of its workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The org's slug.
    pub org: String,
    /// The key of the workspace. Absent when the event is about the org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceKey>,
    /// The identity of the workspace. Absent when the event is about the org.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// An event about an org.
    pub fn of_org(org: &OrgId, what: What) -> Self {
        Self {
            org: org.slug().to_owned(),
            workspace: None,
            workspace_id: None,
            what,
        }
    }

    /// An event about one workspace of an org.
    pub fn of_workspace(org: &OrgId, key: &WorkspaceKey, id: &WorkspaceId, what: What) -> Self {
        Self {
            org: org.slug().to_owned(),
            workspace: Some(key.clone()),
            workspace_id: Some(id.clone()),
            what,
        }
    }
}

/// What happened in an [`Event`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// An operation began, for an org or for the workspace that the event names.
    Began {
        /// The operation.
        operation: Operation,
        /// The engine that it runs on.
        engine: EngineKind,
        /// The number of workspaces of the operation.
        workspaces: usize,
    },
    /// An earlier operation was interrupted because the host was killed. This one finishes it or cleans up.
    Resumed {
        /// The interrupted operation.
        operation: Operation,
        /// The steps that had begun and not ended, as `key: step`.
        cut_off: Vec<String>,
    },
    /// A step of a workspace begins. It is stored before the step is taken, so that the journal is complete.
    Step {
        /// The step.
        step: Step,
    },
    /// The workspace exists and is equal to the plan, so it was not changed.
    Unchanged {
        /// The workspace's address.
        url: Option<String>,
    },
    /// The workspace runs elsewhere, so the host provisions nothing.
    External {
        /// The workspace's address.
        url: Option<String>,
    },
    /// The workspace was seeded, verified and started.
    Up {
        /// The workspace's address.
        url: Option<String>,
        /// Whether its health was checked, not only its start.
        ready: bool,
    },
    /// The workspace did not start.
    Failed(Box<Failure>),
    /// The workspace was not provisioned, because its parent failed or the operation was cancelled.
    Skipped {
        /// Why it was skipped.
        reason: String,
    },
    /// The workspace was stopped on request.
    Stopped,
    /// The workspace was stopped and removed.
    Removed,
    /// A sweep removed an orphan: a resource with this host's labels that belongs to no org or workspace in the store.
    Swept {
        /// The engine's name of the resource.
        name: String,
    },
    /// The operation ended because of a defect in the host, or took too long.
    Broke {
        /// The error, as far as it is known.
        reason: String,
    },
    /// The operation ended.
    Ended {
        /// The number of workspaces that could not be started or removed.
        failed: usize,
    },
}

/// Why a workspace did not start, and what remains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// A stable, lower-case code.
    pub code: Cow<'static, str>,
    /// Why it failed.
    pub reason: String,
    /// What to do about it.
    pub help: String,
    /// The last lines of its output, if it had started. At most [`LAST_LINES`](crate::limits::LAST_LINES).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// Whether it failed only because the operation was cancelled. Not part of the JSON.
    #[serde(skip)]
    pub is_cancelled: bool,
    /// The exit code of its process, if it had started and ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The resources that could not be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
    /// The state of the generation that it was to replace, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// The state of the previous generation after its replacement failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Before {
    /// It was not stopped and runs.
    Runs {
        /// Its address.
        url: Option<String>,
    },
    /// It was stopped, and was started again.
    RunsAgain {
        /// Its address now.
        url: Option<String>,
    },
    /// It is stopped.
    Stopped {
        /// Why it was not started again.
        reason: String,
    },
}

impl Before {
    /// Its address. `None` when it is stopped or has none.
    pub fn url(&self) -> Option<&String> {
        match self {
            Self::Runs { url } | Self::RunsAgain { url } => url.as_ref(),
            Self::Stopped { .. } => None,
        }
    }
}

/// The kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Apply an org.
    Up,
    /// Destroy an org.
    Down,
    /// Replace one workspace by a new generation: seed, stop, start.
    Restart,
    /// Stop one workspace and keep it stopped.
    Stop,
    /// Start one stopped workspace.
    Start,
    /// Stop and remove one workspace.
    Remove,
}

/// The steps of provisioning a workspace, in their order (`spec/provisioning.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Connect to the engine and create what all workspaces of the org share.
    Prepare,
    /// Remove leftovers: at the beginning those of an interrupted operation, at the end the replaced generation.
    Remove,
    /// Create the volumes.
    Volumes,
    /// Create the container without starting it.
    Create,
    /// Copy the seed into the workspace.
    Seed,
    /// Read the seed back and compare it.
    Verify,
    /// Stop the previous generation.
    Stop,
    /// Start the workspace.
    Start,
    /// Wait until the workspace is ready.
    Ready,
    /// Start the previous generation again after a failure.
    Rollback,
}

impl Step {
    /// Whether the workspace is unreachable from this step on. Before it, the previous generation still answers.
    pub fn interrupts(self) -> bool {
        matches!(self, Self::Stop | Self::Start | Self::Rollback)
    }

    /// The name of the step in events and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Remove => "remove",
            Self::Volumes => "volumes",
            Self::Create => "create",
            Self::Seed => "seed",
            Self::Verify => "verify",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Ready => "ready",
            Self::Rollback => "rollback",
        }
    }
}

impl Operation {
    /// The name of the operation, which is also the command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Remove => "remove",
        }
    }

    /// The operation of this name. `None` for any other text.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Up,
            Self::Down,
            Self::Restart,
            Self::Stop,
            Self::Start,
            Self::Remove,
        ];
        all.into_iter().find(|operation| operation.as_str() == name)
    }
}
