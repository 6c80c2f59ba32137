//! An approved plan: what policy let through, in types that cannot hold what policy refuses.
//!
//! Only the policy makes an [`Approved`], so a function that takes one cannot be given a plan that was not judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::names::NamePath;
use crate::model::plan::{Plan, WorkspaceKey};
use crate::template::path::TemplatePath;

/// The file under `/configs` that a runtime reads as soon as it starts (`spec/provisioning.md` §8).
pub const CONFIG: &str = "config.yaml";

/// The file under `/configs` with the token by which a workspace shows who it is. The host writes it, with mode 0600.
pub const TOKEN_FILE: &str = ".auth_token";

/// Proof that the operator's policy allows a plan on one engine. Holds the plan, and its workspaces in checked types.
#[derive(Debug)]
pub struct Approved {
    plan: Plan,
    engine: EngineKind,
    workspaces: Vec<Workspace>,
}

/// One workspace of an approved plan. Every field was checked by policy.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Its identity: the exact names from the org down to this workspace.
    pub path: NamePath,
    /// How people address it; unique in the org.
    pub key: WorkspaceKey,
    /// The key of its parent, which stands earlier in the plan; `None` at the top of the org.
    pub parent: Option<WorkspaceKey>,
    /// Its name for people.
    pub name: String,
    /// The runtime that runs it; `None` for an external workspace, which the host does not provision.
    pub runtime: Option<RuntimeName>,
    /// How much of the machine it gets.
    pub tier: Tier,
    /// The operator's directory to mount, which is under an allowed root; `None` when the plan asks for none.
    pub mount: Option<Mount>,
    /// The files to seed under `/configs`, sorted by path.
    pub files: BTreeMap<SeedPath, SeedSource>,
    /// Its variables. The names are POSIX names, and none is one that the host sets itself.
    pub env: EnvMap,
    /// The address of an external workspace.
    pub url: Option<String>,
}

/// How much of the machine a workspace gets (`spec/provisioning.md` §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "u8")]
pub enum Tier {
    /// Sealed: a read-only file system, and no volume but `/configs`.
    One,
    /// Ordinary.
    Two,
    /// Privileged; sees the host's processes.
    Three,
    /// As three, and also on the host's network and with the engine's socket.
    Four,
}

/// A runtime that the operator knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeName {
    /// A runtime of the configuration file, by its name there.
    Configured(String),
    /// The built-in demonstration runtime.
    Demo,
}

/// A path under `/configs` that is relative and normalised, and that a plan may seed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeedPath(String);

/// One file to seed: where its bytes come from, and who may read it.
#[derive(Debug, Clone)]
pub struct SeedSource {
    /// The bytes, or the template file that has them.
    pub content: SeedContent,
    /// Whether the file gets mode 0600, for its owner only.
    pub secret: bool,
}

/// Where the bytes of a seeded file come from.
#[derive(Clone)]
pub enum SeedContent {
    /// These bytes.
    Inline(Vec<u8>),
    /// The bytes of a template file, which are read when the workspace is provisioned.
    Template {
        /// The file's path in the template.
        path: TemplatePath,
        /// Whether it is text, in which CR LF becomes LF.
        text: bool,
    },
}

/// A directory of the operator's to mount at `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory: an absolute, normalised path under `root` as written. Its symbolic links are not followed yet.
    pub source: PathBuf,
    /// The operator's allowed root that contains it.
    pub root: PathBuf,
    /// Whether the workspace may write to it.
    pub writable: bool,
}

impl Approved {
    /// Called by the policy alone, after it found no violation.
    pub(super) fn new(plan: Plan, engine: EngineKind, workspaces: Vec<Workspace>) -> Self {
        Self {
            plan,
            engine,
            workspaces,
        }
    }

    /// The plan that was approved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The engine that the plan was judged for. It must not run on another one.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// The workspaces, each after its parent.
    pub fn workspaces(&self) -> &[Workspace] {
        &self.workspaces
    }

    /// Adds its token, as a seeded file, to each workspace that this host provisions.
    pub fn seed_tokens(&mut self, token: impl Fn(&NamePath) -> String) {
        for workspace in self.workspaces.iter_mut().filter(|w| w.runtime.is_some()) {
            let source = SeedSource {
                content: SeedContent::Inline(token(&workspace.path).into_bytes()),
                secret: true,
            };
            let path = SeedPath(TOKEN_FILE.to_owned());
            workspace.files.insert(path, source);
        }
    }
}

impl std::fmt::Debug for SeedContent {
    /// Leaves the bytes out, because they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Template { path, .. } => write!(f, "Template({:?})", path.as_str()),
        }
    }
}

impl SeedPath {
    /// Called by the policy alone, after it checked the path.
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The path, relative to `/configs`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tier {
    /// The tier with this number; `None` unless it is from 1 to 4.
    pub fn new(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            3 => Some(Self::Three),
            4 => Some(Self::Four),
            _ => None,
        }
    }
}

impl From<Tier> for u8 {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::One => 1,
            Tier::Two => 2,
            Tier::Three => 3,
            Tier::Four => 4,
        }
    }
}

impl RuntimeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Configured(name) => name,
            Self::Demo => "demo",
        }
    }
}
