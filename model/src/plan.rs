//! A plan: what a plugin proposes for a template. It is untrusted until the host's policy has judged it.
//! No I/O.
//!
//! Serialising a plan always redacts the values that are flagged secret. [`Plan::revealed`] makes a copy without the flags.

mod json;
mod key;

use std::fmt;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::names::NamePath;

pub use key::{InvalidKey, WorkspaceKey, is_slug};

/// What a plugin proposes for one template.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The org.
    pub org: Org,
    /// The workspaces, depth first: each parent is before its children.
    pub workspaces: Vec<Workspace>,
    /// Variables that must be set, one of each requirement.
    pub required_env: Vec<Requirement>,
    /// Variables that should be set, one of each requirement.
    pub recommended_env: Vec<Requirement>,
    /// Warnings for the author of the template.
    pub warnings: Vec<Diagnostic>,
}

/// The org that a template describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Org {
    /// The name. Never empty.
    pub name: String,
    /// The description. Can be empty.
    pub description: String,
}

/// One workspace of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workspace {
    /// The key, unique in the plan. The host makes it from the names.
    pub key: WorkspaceKey,
    /// The path of names, from which the identity is made.
    #[serde(skip)]
    pub path: NamePath,
    /// The name.
    pub name: String,
    /// The names in earlier versions of the template, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renamed_from: Vec<Former>,
    /// The role, as free text.
    pub role: String,
    /// The key of the parent, which is earlier in the plan. Absent for a workspace at the top.
    pub parent: Option<WorkspaceKey>,
    /// The name of the runtime, which the configuration file describes.
    pub runtime: String,
    /// The model. Absent when the runtime chooses it.
    pub model: Option<String>,
    /// The tier, 1 to 4. A plugin can propose any number; the policy refuses others.
    pub tier: u8,
    /// Whether the workspace runs elsewhere, so that the host creates nothing.
    pub external: bool,
    /// The address of an external workspace.
    pub url: Option<String>,
    /// A directory of the host's machine to mount at `/workspace`.
    pub workspace_dir: Option<String>,
    /// How the workspace can use that directory.
    pub workspace_access: Access,
    /// Agent plugins that the runtime installs.
    pub plugins: Vec<AgentPlugin>,
    /// The files under `/configs`, seeded before the start.
    pub files: Vec<SeedFile>,
    /// The environment of the workspace's process.
    pub env: Vec<EnvVar>,
    /// Prompts that the runtime sends at given times.
    pub schedules: Vec<Schedule>,
    /// The channels by which people reach the workspace.
    pub channels: Vec<Channel>,
    /// Channels that the plan leaves out, with the reasons.
    pub skipped_channels: Vec<SkippedChannel>,
    /// The initial memories.
    pub memories: Vec<Memory>,
    /// The number of tasks that run at the same time, at least 1.
    pub max_concurrent_tasks: u32,
    /// The position on the canvas.
    pub canvas: Canvas,
}

/// How a workspace can use a directory of the host's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Not at all. It gets a volume instead.
    None,
    /// It can read the directory.
    ReadOnly,
    /// It can read and write the directory.
    ReadWrite,
}

/// A plugin of the agent. The runtime installs it; the host does not run it.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct AgentPlugin {
    /// A name or an address.
    pub source: String,
    /// Its configuration, a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

impl fmt::Debug for AgentPlugin {
    /// Leaves out the configuration, because it can hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AgentPlugin");
        shown.field("source", &self.source).finish_non_exhaustive()
    }
}

/// A file under `/configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// The path relative to `/configs`. It is untrusted text until the policy has judged it.
    pub path: String,
    /// The source of its bytes.
    pub content: Content,
    /// Whether it can hold a secret. Then it has mode 0600 and is redacted.
    pub secret: bool,
}

/// The source of a seeded file's bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Bytes in the plan.
    Inline(Vec<u8>),
    /// A file of the template.
    Template {
        /// The path in the template.
        path: String,
        /// Whether it is text, so that CR LF becomes LF.
        text: bool,
    },
}

impl fmt::Debug for Content {
    /// Leaves out the bytes, because they can hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Template { path, .. } => write!(f, "Template({path:?})"),
        }
    }
}

/// A variable of a workspace's process.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// The name. The policy refuses a plan in which it is not a POSIX identifier.
    pub name: String,
    /// The value.
    pub value: String,
    /// Whether the value is redacted in output.
    pub secret: bool,
    /// Who set the variable.
    pub origin: Origin,
}

impl fmt::Debug for EnvVar {
    /// Leaves out the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EnvVar");
        shown
            .field("name", &self.name)
            .field("secret", &self.secret);
        shown.field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Who set a variable. It is not part of a plan's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of the template.
    Template {
        /// The path in the template.
        file: String,
        /// The line in the file, from 1. Absent when it is unknown.
        line: Option<u32>,
    },
    /// The plugin.
    Plugin,
    /// The caller of a server, by a variable of the request. The host sets this origin; a plugin cannot.
    Caller,
    /// The operator.
    Operator,
}

/// A former name of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Former {
    /// The former name, below the present parent.
    Name(String),
    /// The former path: the names of the ancestors, outermost first, then its own.
    Path(Vec<String>),
}

/// A prompt that the runtime sends at given times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// The name.
    pub name: String,
    /// The times, as a cron expression of five fields.
    pub cron: String,
    /// The time zone, as an IANA name.
    pub timezone: String,
    /// The prompt.
    pub prompt: String,
    /// Whether the schedule is active.
    pub enabled: bool,
}

/// A channel by which people reach a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// `telegram`, `slack`, `lark` or `discord`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The configuration, with expanded values.
    #[serde(serialize_with = "json::redacted_map")]
    pub config: Vec<ConfigEntry>,
    /// The users who may use the channel. When it is empty, everyone may.
    pub allowed_users: Vec<String>,
    /// Whether the channel is active.
    pub enabled: bool,
}

/// One value of a channel's configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// The value, expanded.
    pub value: String,
    /// Whether the value is redacted in output.
    pub secret: bool,
}

impl fmt::Debug for ConfigEntry {
    /// Leaves out the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ConfigEntry");
        shown
            .field("name", &self.name)
            .field("secret", &self.secret);
        shown.finish_non_exhaustive()
    }
}

/// A channel that the plan leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedChannel {
    /// The type of channel, as in [`Channel::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason. It names variables but no values.
    pub reason: String,
}

/// An initial memory of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The text.
    pub content: String,
    /// Who can read it.
    pub scope: MemoryScope,
}

/// Who can read a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MemoryScope {
    /// The workspace.
    Local,
    /// Its team.
    Team,
    /// The org.
    Global,
}

/// A position in pixels from the top left corner of the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "x and y")]
pub struct Canvas {
    pub x: f64,
    pub y: f64,
}

/// A group of variables of which one must be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The names of the variables. Never empty.
    pub any_of: Vec<String>,
    /// The keys of the workspaces that have none of them. The empty text stands for the org.
    pub missing_for: Vec<String>,
}

/// Whether a text is a POSIX identifier: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Plan {
    /// A copy in which no value is flagged secret, so that its JSON has all values.
    pub fn revealed(&self) -> Self {
        let mut plan = self.clone();
        for workspace in &mut plan.workspaces {
            workspace
                .files
                .iter_mut()
                .for_each(|file| file.secret = false);
            workspace.env.iter_mut().for_each(|var| var.secret = false);
            let entries = workspace.channels.iter_mut().flat_map(|c| &mut c.config);
            entries.for_each(|entry| entry.secret = false);
        }
        plan
    }
}

/// Replaces a secret value in output.
pub const REDACTED: &str = "[redacted]";
