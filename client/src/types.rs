//! What the client sends to a server and reads from it, as far as its callers need it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use orghost_model::diagnostic::Diagnostic;
use orghost_model::event;
use orghost_model::plan::WorkspaceKey;
use orghost_model::status::OperationState;

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
    pub state: OperationState,
    /// How many workspaces failed.
    pub failed: u32,
    /// Why the whole operation failed; empty otherwise.
    #[serde(default)]
    pub errors: Vec<Diagnostic>,
    /// The last lines that each failed workspace printed. Empty unless the token has the scope `write`.
    #[serde(default)]
    pub last_lines: BTreeMap<WorkspaceKey, Vec<String>>,
}
