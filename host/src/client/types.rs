//! What the client sends to a server and reads from it, as far as its callers need it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use crate::model::diagnostic::Diagnostic;
use crate::model::event;
use crate::model::plan::WorkspaceKey;

/// A template's archive, and the options of its import or plan.
#[derive(Clone)]
pub struct Upload {
    /// The JSON of the form's part `request`. It may hold the values of variables, so it is never shown.
    pub request: Value,
    /// A tar archive.
    pub archive: Bytes,
    /// The archive's file name.
    pub name: String,
}

/// An operation, without the fields that no caller reads.
#[derive(Clone, Deserialize)]
pub struct Operation {
    /// The operation's id.
    pub id: String,
    /// The slug of its org.
    pub org: String,
    /// Its kind, such as `up`.
    pub operation: event::Operation,
    /// Its state.
    pub state: State,
    /// How many workspaces failed.
    pub failed: u32,
    /// Why the whole operation failed; empty otherwise.
    #[serde(default)]
    pub errors: Vec<Diagnostic>,
    /// The last lines that each failed workspace printed. Empty unless the token has the scope `write`.
    #[serde(default)]
    pub last_lines: BTreeMap<WorkspaceKey, Vec<String>>,
}

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for earlier operations.
    Queued,
    /// It runs.
    Running,
    /// It ended, and no workspace failed.
    Done,
    /// It ended, and it or some of its workspaces failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// A later operation of the same org replaced it before it ran.
    Superseded,
}

impl State {
    /// Whether the operation has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// The state as the API writes it.
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
}
