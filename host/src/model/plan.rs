//! A plan: what a plugin proposes. Pure data, untrusted, without any I/O.
//!
//! [`policy`](crate::planning::policy) judges it; nothing here acts. Serialising a plan
//! redacts everything that is flagged secret, always: whoever wants the values
//! asks for [`Plan::revealed`] first.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::names::NamePath;

/// What a plugin proposes for one template.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The org.
    pub org: Org,
    /// Depth first: a parent stands before its children.
    pub workspaces: Vec<Workspace>,
    /// Of each, one variable must be set.
    pub required_env: Vec<Requirement>,
    /// Of each, one variable should be set.
    pub recommended_env: Vec<Requirement>,
    /// What the author of the template should know.
    pub warnings: Vec<Diagnostic>,
}

/// The org that a template describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Org {
    /// Never empty.
    pub name: String,
    /// May be empty.
    pub description: String,
}

/// A path of slugs, one for each ancestor and one for the workspace itself:
/// `pm/dev-lead/core-lead`. A slug is `[a-z0-9]+(-[a-z0-9]+)*`, at most 63 bytes.
/// Only how people address a workspace: a sibling that comes or goes may change
/// it. [`NamePath`] says who a workspace is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceKey(String);

/// One workspace of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workspace {
    /// Unique in the plan; made of names by the host.
    pub key: WorkspaceKey,
    /// Who it is.
    #[serde(skip)]
    pub path: NamePath,
    /// What people call it.
    pub name: String,
    /// What it was called in earlier versions of the template, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renamed_from: Vec<Former>,
    /// What it is for.
    pub role: String,
    /// Stands earlier in the plan.
    pub parent: Option<WorkspaceKey>,
    /// What runs it; the configuration file says how.
    pub runtime: String,
    /// Absent: the runtime chooses.
    pub model: Option<String>,
    /// 1 to 4, when it is sane.
    pub tier: u8,
    /// Runs elsewhere: the host creates nothing.
    pub external: bool,
    /// Where an external workspace runs.
    pub url: Option<String>,
    /// A directory of the operator's machine, wanted at `/workspace`.
    pub workspace_dir: Option<String>,
    /// What may be done with it.
    pub workspace_access: Access,
    /// Agent plugins that the runtime installs.
    pub plugins: Vec<AgentPlugin>,
    /// What stands under `/configs` before the start.
    pub files: Vec<SeedFile>,
    /// The environment of the workspace's process.
    pub env: Vec<EnvVar>,
    /// Prompts that the runtime sends itself.
    pub schedules: Vec<Schedule>,
    /// How people reach it.
    pub channels: Vec<Channel>,
    /// Channels that the plan leaves out, and why.
    pub skipped_channels: Vec<SkippedChannel>,
    /// What it knows from the start.
    pub memories: Vec<Memory>,
    /// At least 1.
    pub max_concurrent_tasks: u32,
    /// Where the canvas shows it.
    pub canvas: Canvas,
}

/// What a workspace may do with the operator's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nothing: it gets a volume.
    None,
    /// Read it.
    ReadOnly,
    /// Read and write it.
    ReadWrite,
}

/// An agent plugin.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct AgentPlugin {
    /// A name or an address.
    pub source: String,
    /// Its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
}

impl fmt::Debug for AgentPlugin {
    /// Without the configuration: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AgentPlugin");
        shown.field("source", &self.source).finish_non_exhaustive()
    }
}

/// A file under `/configs`. The path is untrusted text until policy has judged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Relative to `/configs`.
    pub path: String,
    /// Where its bytes come from.
    pub content: Content,
    /// It may hold a secret: mode 0600, redacted.
    pub secret: bool,
}

/// Where the bytes of a seeded file come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Inline(Vec<u8>),
    /// A file of the template.
    Template {
        /// Path in the template.
        path: String,
        /// Turns CR LF into LF.
        text: bool,
    },
}

impl fmt::Debug for Content {
    /// Without the bytes: they may hold secrets.
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
    /// A POSIX identifier, when it is sane.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The value is shown to nobody unasked.
    pub secret: bool,
    /// Who set it.
    pub origin: Origin,
}

impl fmt::Debug for EnvVar {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("EnvVar");
        shown
            .field("name", &self.name)
            .field("secret", &self.secret);
        shown.field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Who set a variable. Not part of a plan's JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of the template. The line counts from 1; absent when it is not known.
    Template {
        /// Path in the template.
        file: String,
        /// Line in the file.
        line: Option<u32>,
    },
    /// The plugin.
    Plugin,
    /// Whoever asked a server: name and value are in the request. No plugin says so; the host finds it out.
    Caller,
    /// The operator: name and value are the operator's own.
    Operator,
}

/// What a workspace was called before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Former {
    /// It had this name, below the parent that it has now.
    Name(String),
    /// It had these names: its ancestors' from the org down, then its own.
    Path(Vec<String>),
}

/// A prompt that the runtime sends itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// What people call it.
    pub name: String,
    /// Five fields.
    pub cron: String,
    /// An IANA name.
    pub timezone: String,
    /// What is sent.
    pub prompt: String,
    /// Whether it runs.
    pub enabled: bool,
}

/// How people reach a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// `telegram`, `slack`, `lark` or `discord`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its configuration.
    #[serde(serialize_with = "redacted_map")]
    pub config: Vec<ConfigEntry>,
    /// Empty: everyone.
    pub allowed_users: Vec<String>,
    /// Whether it is used.
    pub enabled: bool,
}

/// One value of a channel's configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: String,
    /// The value, expanded.
    pub value: String,
    /// The value is shown to nobody unasked.
    pub secret: bool,
}

impl fmt::Debug for ConfigEntry {
    /// Without the value.
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
    /// See [`Channel::kind`].
    #[serde(rename = "type")]
    pub kind: String,
    /// Names variables, never values.
    pub reason: String,
}

/// What a workspace knows from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The text.
    pub content: String,
    /// Who sees it.
    pub scope: MemoryScope,
}

/// Who sees a memory.
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

/// Pixels from the canvas's top left corner.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "x and y")]
pub struct Canvas {
    pub x: f64,
    pub y: f64,
}

/// Variables of which one is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Never empty.
    pub any_of: Vec<String>,
    /// Keys of the workspaces that lack it; the empty text stands for the org.
    pub missing_for: Vec<String>,
}

/// Why a text is no [`WorkspaceKey`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a workspace key: slugs of [a-z0-9-], joined by `/`")]
pub struct InvalidKey(pub String);

impl WorkspaceKey {
    /// Accepts a path of slugs.
    ///
    /// # Errors
    /// [`InvalidKey`] holds the text.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.len() <= limits::KEY_BYTES && text.split('/').all(is_slug) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey(text.to_owned()))
        }
    }

    /// The key of a child of `parent`, or of a workspace without one. `slug` must be one.
    pub(crate) fn below(parent: Option<&Self>, slug: &str) -> Self {
        Self(match parent {
            Some(parent) => format!("{parent}/{slug}"),
            None => slug.to_owned(),
        })
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last slug.
    pub fn slug(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The key without its last slug.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// How many ancestors it has.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

impl TryFrom<String> for WorkspaceKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        Self::new(&text)
    }
}

impl From<WorkspaceKey> for String {
    fn from(key: WorkspaceKey) -> Self {
        key.0
    }
}

impl fmt::Display for WorkspaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a text is one slug: `[a-z0-9]+(-[a-z0-9]+)*`, at most 63 bytes (RFC 1123's length of a label).
pub fn is_slug(text: &str) -> bool {
    text.len() <= 63
        && text.split('-').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
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
    /// A copy in which nothing is flagged secret, and so nothing is redacted.
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

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let missing: Vec<_> = self
            .required_env
            .iter()
            .filter(|requirement| !requirement.missing_for.is_empty())
            .map(|requirement| {
                serde_json::json!({"any_of": requirement.any_of, "missing_for": requirement.missing_for})
            })
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", &1)?;
        map.serialize_entry("org", &self.org)?;
        map.serialize_entry("workspaces", &self.workspaces)?;
        map.serialize_entry("required_env", &self.required_env)?;
        map.serialize_entry("recommended_env", &self.recommended_env)?;
        map.serialize_entry("missing_env", &missing)?;
        map.serialize_entry("warnings", &self.warnings)?;
        map.end()
    }
}

/// As a template writes it: a name, or `{any_of: […]}`.
impl Serialize for Requirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [name] = self.any_of.as_slice() {
            return serializer.serialize_str(name);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("any_of", &self.any_of)?;
        map.end()
    }
}

impl Serialize for SeedFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path)?;
        match &self.content {
            Content::Inline(_) if self.secret => map.serialize_entry("redacted", &true)?,
            Content::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => map.serialize_entry("inline", text)?,
                Err(_) => map.serialize_entry("inline_base64", &BASE64.encode(bytes))?,
            },
            Content::Template { path, text } => {
                map.serialize_entry("template", path)?;
                if *text {
                    map.serialize_entry("text", &true)?;
                }
            }
        }
        map.end()
    }
}

impl Serialize for EnvVar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", &self.name)?;
        if self.secret {
            map.serialize_entry("redacted", &true)?;
        } else {
            map.serialize_entry("value", &self.value)?;
        }
        map.end()
    }
}

fn redacted_map<S: Serializer>(config: &[ConfigEntry], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(config.len()))?;
    for entry in config {
        let value = if entry.secret { REDACTED } else { &entry.value };
        map.serialize_entry(&entry.name, value)?;
    }
    map.end()
}

/// Stands for a value that is shown to nobody unasked.
pub const REDACTED: &str = "[redacted]";
