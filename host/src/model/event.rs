//! What happens while an org is provisioned, as data. Append-only: an event
//! is never changed, and never holds the value of a variable.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::engine_kind::EngineKind;
use crate::model::ids::{OrgId, WorkspaceId};
use crate::model::plan::WorkspaceKey;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The org's slug.
    pub org: String,
    /// How people address the workspace; absent when it is about the org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceKey>,
    /// Who the workspace is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// An event that is about a whole org.
    pub fn of_org(org: &OrgId, what: What) -> Self {
        Self {
            org: org.slug().to_owned(),
            workspace: None,
            workspace_id: None,
            what,
        }
    }

    /// An event that is about one workspace of an org.
    pub fn of_workspace(org: &OrgId, key: &WorkspaceKey, id: &WorkspaceId, what: What) -> Self {
        Self {
            org: org.slug().to_owned(),
            workspace: Some(key.clone()),
            workspace_id: Some(id.clone()),
            what,
        }
    }
}

/// See [`Event`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// An operation began: of an org, or of the one workspace that the event names.
    Began {
        /// Which.
        operation: Operation,
        /// On which engine.
        engine: EngineKind,
        /// How many workspaces it is about.
        workspaces: usize,
    },
    /// An earlier operation was cut off (the host was killed); this one finishes or cleans up.
    Resumed {
        /// Which was cut off.
        operation: Operation,
        /// Steps that had begun and not ended, as `key: step`.
        cut_off: Vec<String>,
    },
    /// A step is about to be taken. Stored before it is taken: this is the journal.
    Step {
        /// Which.
        step: Step,
    },
    /// It is there already, and equal.
    Unchanged {
        /// Where it answers.
        url: Option<String>,
    },
    /// It runs elsewhere; nothing is provisioned.
    External {
        /// Where.
        url: Option<String>,
    },
    /// It was seeded, verified and started.
    Up {
        /// Where it answers.
        url: Option<String>,
        /// Whether its health was seen, not only its start.
        ready: bool,
    },
    /// It did not come up.
    Failed(Box<Failure>),
    /// It was not tried, because its parent did not come up or somebody cancelled.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It was stopped, because somebody wants it stopped.
    Stopped,
    /// It was stopped and removed.
    Removed,
    /// It carried this host's labels and belonged to nobody: a sweep removed it.
    Swept {
        /// What its engine called it.
        name: String,
    },
    /// The operation ended by a defect, or took too long.
    Broke {
        /// What is known of it.
        reason: String,
    },
    /// The operation ended.
    Ended {
        /// Workspaces that did not come up, or did not go.
        failed: usize,
    },
}

/// Why a workspace did not come up, and what that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it stopped.
    pub step: Step,
    /// A stable, lower-case code.
    pub code: Cow<'static, str>,
    /// Why.
    pub reason: String,
    /// What to do about it.
    pub help: String,
    /// The last lines that it printed, when it had been started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// It was going well until somebody cancelled. Known only to whoever did it.
    #[serde(skip)]
    pub is_cancelled: bool,
    /// How it ended, when it had been started and ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What is still there of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
    /// What became of the one that it was to replace, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

/// What became of the one before, when its replacement failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Before {
    /// It was not stopped, and runs.
    Runs {
        /// Where it answers.
        url: Option<String>,
    },
    /// It was stopped, and was started again.
    RunsAgain {
        /// Where it answers now.
        url: Option<String>,
    },
    /// It is stopped.
    Stopped {
        /// Why it was not started again.
        reason: String,
    },
}

impl Before {
    /// Where it answers.
    pub fn url(&self) -> Option<&String> {
        match self {
            Self::Runs { url } | Self::RunsAgain { url } => url.as_ref(),
            Self::Stopped { .. } => None,
        }
    }
}

/// What a host can do with an org.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Bring it up.
    Up,
    /// Take it down.
    Down,
    /// Make one workspace anew in its own place: seed, stop, start.
    Restart,
    /// Stop one workspace, and leave it stopped.
    Stop,
    /// Start one stopped workspace.
    Start,
    /// Stop and remove one workspace.
    Remove,
}

/// One step of provisioning a workspace, in their order (`spec/provisioning.md` §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reach the engine, and make what the org shares.
    Prepare,
    /// Take away what is not wanted: before, what an operation that was cut off left; after, what was replaced.
    Remove,
    /// Make its volumes.
    Volumes,
    /// Make its container, not started.
    Create,
    /// Put the seed.
    Seed,
    /// Read the seed back and compare.
    Verify,
    /// Stop what it replaces.
    Stop,
    /// Start.
    Start,
    /// Wait until it answers.
    Ready,
    /// It failed: start again what it was to replace.
    Rollback,
}

impl Step {
    /// Whether the workspace answers nowhere from now on. Before that, what it replaces still does.
    pub fn interrupts(self) -> bool {
        matches!(self, Self::Stop | Self::Start | Self::Rollback)
    }

    /// The step as a word.
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
    /// The operation as a word: the command's name.
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

    /// From the word; `None` for every other one.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Up,
            Self::Down,
            Self::Restart,
            Self::Stop,
            Self::Start,
            Self::Remove,
        ];
        all.into_iter().find(|operation| operation.as_str() == word)
    }
}
