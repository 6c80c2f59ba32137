//! An error or a warning with its place, in the form that `--json` and the API use too. It never holds the value of a
//! variable or a part of it.

use serde::{Deserialize, Serialize};

/// One error or one warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Diagnostic {
    /// A stable, lower-case code such as `include-cycle`.
    pub code: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Path of the file, in the template or on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in the line, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The path of the field in the file, such as `workspaces[0].tier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The name or the key of the workspace, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic with a code and a sentence. The methods below add the other fields.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets the file.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets the workspace.
    #[must_use]
    pub fn workspace(mut self, workspace: impl Into<String>) -> Self {
        self.workspace = Some(workspace.into());
        self
    }
}

/// What happened, when a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The engine, the store, the machine or the network failed. The operator can do something about it.
    Failed,
    /// The request, the template or the plugin is not valid. The caller can correct it.
    Invalid,
    /// Policy or a missing permission forbids it. The operator can allow it.
    Refused,
    /// What the caller named does not exist.
    NotFound,
    /// The request contradicts the present state, such as a start of a workspace that was removed.
    Conflict,
    /// Required variables have no value. The caller can set them.
    MissingEnv,
    /// The host has too much to do or is stopping. The caller can try again later.
    Busy,
}
