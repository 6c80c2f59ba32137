//! Judges a plan. A plan is untrusted input: nothing is provisioned but what
//! stands in an [`Approved`], and only [`Policy::judge`] makes one. Everything
//! wrong is reported at once. No I/O: whether an approved directory exists,
//! and where its links lead, is checked by who mounts it.

pub mod steering;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::model::isolation::Target;
use crate::model::names::NamePath;
use crate::model::plan::{self, Access, Content, EnvVar, Plan, SeedFile, WorkspaceKey};
use crate::template::path::{TemplatePath, is_normal};

mod secret_file;

/// What the operator allows. The default is safe.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The highest tier that may run. Tiers 3 and 4 are root on this machine.
    pub max_tier: Tier,
    /// Only directories under one of these may be mounted.
    pub allow_mount: Vec<PathBuf>,
    /// Provision although required variables are missing.
    pub ignore_missing_env: bool,
    /// The names of the runtimes that the operator has configured.
    pub runtimes: BTreeSet<String>,
    /// The built-in demonstration runtime stands in for every other name.
    pub demo: bool,
    /// Only where workspaces are kept from the rest of the machine.
    pub require_isolation: bool,
}

/// How much of the machine a workspace gets (`spec/provisioning.md` §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "u8")]
pub enum Tier {
    /// Sealed: read-only, only `/configs`.
    One,
    /// Ordinary.
    Two,
    /// Privileged, with the host's processes.
    Three,
    /// As three, with the host's network and the engine's socket.
    Four,
}

/// One rule that a plan breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// A stable, lower-case code such as `tier-not-allowed`.
    pub code: &'static str,
    /// Absent when it is about the whole org.
    pub workspace: Option<WorkspaceKey>,
    /// What is not allowed.
    pub message: String,
    /// How to allow it, or what to change.
    pub help: String,
    /// The file of the template that is at fault, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl Violation {
    fn new(
        code: &'static str,
        workspace: Option<&WorkspaceKey>,
        message: String,
        help: &str,
    ) -> Self {
        Self {
            code,
            workspace: workspace.cloned(),
            message,
            help: help.to_owned(),
            file: None,
            line: None,
        }
    }
}

impl From<&Violation> for Diagnostic {
    fn from(violation: &Violation) -> Self {
        let mut told = Self::new(violation.code, &violation.message).help(&violation.help);
        told.workspace = violation.workspace.as_ref().map(ToString::to_string);
        told.file.clone_from(&violation.file);
        told.line = violation.line;
        told
    }
}

/// A plan that policy let through: everything in it has a type that cannot hold what policy refuses.
#[derive(Debug)]
pub struct Approved {
    plan: Plan,
    engine: EngineKind,
    workspaces: Vec<Workspace>,
}

/// A plan that policy refused, with every reason.
#[derive(Debug)]
pub struct Rejected {
    /// The plan, to be shown beside the reasons.
    pub plan: Plan,
    /// Never empty.
    pub violations: Vec<Violation>,
}

/// One workspace, approved.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Who it is.
    pub path: NamePath,
    /// Unique in the org.
    pub key: WorkspaceKey,
    /// Stands earlier.
    pub parent: Option<WorkspaceKey>,
    /// What people call it.
    pub name: String,
    /// How it runs; `None` for an external one, which the host does not provision.
    pub runtime: Option<RuntimeName>,
    /// How much of the machine it gets.
    pub tier: Tier,
    /// A directory of the operator's, under an allowed root.
    pub mount: Option<Mount>,
    /// What stands under `/configs`, sorted by path.
    pub files: BTreeMap<SeedPath, SeedSource>,
    /// POSIX names, none of them the host's own.
    pub env: EnvMap,
    /// Where an external workspace runs.
    pub url: Option<String>,
}

/// A runtime that the operator knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeName {
    /// In the configuration file.
    Configured(String),
    /// The built-in demonstration runtime.
    Demo,
}

/// A path under `/configs`: relative and normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeedPath(String);

/// Where a seeded file's bytes come from.
#[derive(Debug, Clone)]
pub struct SeedSource {
    /// The bytes, or where they are.
    pub content: SeedContent,
    /// Mode 0600.
    pub secret: bool,
}

/// See [`SeedSource`].
#[derive(Clone)]
pub enum SeedContent {
    /// These bytes.
    Inline(Vec<u8>),
    /// A file of the template.
    Template {
        /// Its path.
        path: TemplatePath,
        /// Turns CR LF into LF.
        text: bool,
    },
}

impl std::fmt::Debug for SeedContent {
    /// Without the bytes: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Template { path, .. } => write!(f, "Template({:?})", path.as_str()),
        }
    }
}

/// A directory to mount at `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, normalised, under `root` as written. Its links are not yet followed.
    pub source: PathBuf,
    /// The operator's allowed directory.
    pub root: PathBuf,
    /// Whether it may be written.
    pub writable: bool,
}

/// The file under `/configs` that a runtime reads at its first instruction (`spec/provisioning.md` §8).
pub const CONFIG: &str = "config.yaml";

/// The file with which a workspace shows who it is; the host's own, mode 0600.
pub const TOKEN_FILE: &str = ".auth_token";

/// Names that the host itself sets in a workspace's environment.
pub const RESERVED_ENV: [&str; 10] = [
    "HOST",
    "ORGHOST_ORG",
    "PARENT_ID",
    "PORT",
    "TIER",
    "WORKSPACE_ACCESS",
    "WORKSPACE_CONFIG_PATH",
    "WORKSPACE_DIR",
    "WORKSPACE_ID",
    "WORKSPACE_KEY",
];

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_tier: Tier::Two,
            allow_mount: Vec::new(),
            ignore_missing_env: false,
            runtimes: BTreeSet::new(),
            demo: false,
            require_isolation: false,
        }
    }
}

impl Approved {
    /// The plan that was approved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The engine that it was judged for: it runs on no other.
    pub fn engine(&self) -> EngineKind {
        self.engine
    }

    /// Its workspaces, parents first.
    pub fn workspaces(&self) -> &[Workspace] {
        &self.workspaces
    }

    /// Gives each workspace that this host provisions its token, as a seeded file.
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

impl Policy {
    /// Lets a plan through to its target, or says everything in it that is not allowed there.
    ///
    /// # Errors
    /// [`Rejected`] holds the plan and at least one violation.
    pub fn judge(&self, plan: Plan, target: &Target) -> Result<Approved, Box<Rejected>> {
        let mut violations = Violations::default();
        self.judge_target(target, &mut violations);
        self.judge_org(&plan, &mut violations);
        // Of a plan that is too large, no more than the limit is looked at.
        let judged = plan.workspaces.iter().take(limits::WORKSPACES);
        let workspaces = judged
            .map(|workspace| self.judge_workspace(workspace, target.engine, &mut violations))
            .collect();
        if violations.list.is_empty() {
            Ok(Approved {
                plan,
                engine: target.engine,
                workspaces,
            })
        } else {
            Err(Box::new(Rejected {
                plan,
                violations: violations.list,
            }))
        }
    }

    fn judge_target(&self, target: &Target, violations: &mut Violations) {
        if self.require_isolation && !target.isolation.is_enough() {
            let (engine, isolation) = (target.engine.as_str(), &target.isolation);
            violations.org(
                "not-isolated",
                format!(
                    "the engine {engine} does not give what require_isolation asks for: {isolation}"
                ),
                "use --engine docker, or a kernel with Landlock (Linux 6.2 or newer)",
            );
        }
    }

    fn judge_org(&self, plan: &Plan, violations: &mut Violations) {
        let count = plan.workspaces.len();
        if count > limits::WORKSPACES {
            violations.org(
                "too-many-workspaces",
                format!(
                    "the plan has {count} workspaces; {} are allowed",
                    limits::WORKSPACES
                ),
                "split the template into several orgs",
            );
        }
        if self.ignore_missing_env {
            return;
        }
        for requirement in plan
            .required_env
            .iter()
            .filter(|r| !r.missing_for.is_empty())
        {
            let names = requirement.any_of.join(" or ");
            let who: Vec<&str> = requirement
                .missing_for
                .iter()
                .map(|key| if key.is_empty() { "the org" } else { key })
                .collect();
            violations.org(
                "missing-env",
                format!("{names} is required by {} and is not set", listed(&who)),
                "set it with --env NAME=VALUE, --env-file or --grant NAME, or pass --ignore-missing-env",
            );
        }
    }

    fn judge_workspace(
        &self,
        workspace: &plan::Workspace,
        engine: EngineKind,
        violations: &mut Violations,
    ) -> Workspace {
        let mut judged = WorkspaceViolations {
            key: &workspace.key,
            violations,
        };
        let runtime = (!workspace.external).then(|| self.runtime(&workspace.runtime, &mut judged));
        let mut tier = self.tier(workspace, &mut judged);
        if runtime == Some(RuntimeName::Demo) {
            // The plan was judged as it stands; a demonstration needs no privileges to show it.
            tier = tier.min(Tier::Two);
        }
        if runtime.is_some() && engine.runs_on_the_machine_itself() {
            steering::judge(&workspace.env, engine, &mut judged);
        }
        Workspace {
            path: workspace.path.clone(),
            key: workspace.key.clone(),
            parent: workspace.parent.clone(),
            name: workspace.name.clone(),
            runtime,
            tier,
            mount: self.mount(workspace, &mut judged),
            files: files(&workspace.files, workspace.external, &mut judged),
            env: env(&workspace.env, &mut judged),
            url: workspace.url.clone(),
        }
    }

    fn runtime(&self, name: &str, judged: &mut WorkspaceViolations<'_>) -> RuntimeName {
        if self.runtimes.contains(name) {
            return RuntimeName::Configured(name.to_owned());
        }
        if !self.demo {
            let known: Vec<&str> = self.runtimes.iter().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none is configured".to_owned()
            } else {
                format!("known are {}", listed(&known))
            };
            judged.add(
                "unknown-runtime",
                format!("the runtime {name:?} is not configured; {known}"),
                "add it to the configuration file (see `orghost up --help`), or pass --demo for the demonstration runtime",
            );
        }
        RuntimeName::Demo
    }

    fn tier(&self, workspace: &plan::Workspace, judged: &mut WorkspaceViolations<'_>) -> Tier {
        let Some(tier) = Tier::new(workspace.tier) else {
            judged.add(
                "unknown-tier",
                format!("there is no tier {}", workspace.tier),
                "tiers are 1, 2, 3 and 4",
            );
            return Tier::One;
        };
        if tier > self.max_tier && !workspace.external {
            let risk = match tier {
                Tier::One | Tier::Two => "",
                Tier::Three => ": it is privileged and sees the host's processes",
                Tier::Four => {
                    ": it is privileged, on the host's network, and holds the engine's socket"
                }
            };
            let (tier, max) = (u8::from(tier), u8::from(self.max_tier));
            judged.add(
                "tier-not-allowed",
                format!("tier {tier} is above the allowed tier {max}{risk}"),
                &format!("pass --max-tier {tier} if you trust this template that far"),
            );
        }
        tier
    }

    fn mount(
        &self,
        workspace: &plan::Workspace,
        judged: &mut WorkspaceViolations<'_>,
    ) -> Option<Mount> {
        let wanted = workspace.workspace_dir.as_deref()?;
        let writable = match workspace.workspace_access {
            Access::None => return None,
            Access::ReadOnly => false,
            Access::ReadWrite => true,
        };
        let source = Path::new(wanted);
        if !is_absolute_and_normal(source) || wanted.contains('\0') {
            judged.add(
                "mount-path",
                format!("the directory {wanted:?} is not an absolute path without `.` and `..`"),
                "write the whole path of the directory",
            );
            return None;
        }
        // Components are compared, so that /srv does not contain /srvx; the closest root counts.
        let roots = self.allow_mount.iter();
        let root = roots
            .filter(|root| source.starts_with(root))
            .max_by_key(|root| root.components().count());
        if root.is_none() {
            judged.add(
                "mount-not-allowed",
                format!("the directory {wanted} of this machine is not under an allowed root"),
                &format!("pass --allow-mount {wanted}, or a directory above it, if the workspace may have it"),
            );
        }
        Some(Mount {
            source: source.to_owned(),
            root: root?.clone(),
            writable,
        })
    }
}

fn files(
    files: &[SeedFile],
    external: bool,
    judged: &mut WorkspaceViolations<'_>,
) -> BTreeMap<SeedPath, SeedSource> {
    if files.len() > limits::SEED_FILES {
        judged.add(
            "too-many-files",
            format!(
                "{} files are to be seeded; {} are allowed",
                files.len(),
                limits::SEED_FILES
            ),
            "seed fewer files, or point files_dir to a smaller folder",
        );
        return BTreeMap::new();
    }
    let inline: u64 = files.iter().map(inline_bytes).sum();
    if inline > limits::SEED_BYTES {
        judged.add(
            "seed-too-large",
            format!(
                "{inline} bytes are to be seeded; {} are allowed",
                limits::SEED_BYTES
            ),
            "seed less, or let the workspace fetch large files itself",
        );
    }
    let mut approved = BTreeMap::new();
    for file in files {
        let Some(path) = seed_path(&file.path, judged) else {
            continue;
        };
        let content = match &file.content {
            Content::Inline(bytes) => SeedContent::Inline(bytes.clone()),
            Content::Template { path, text } => {
                let Ok(template) = TemplatePath::new(path) else {
                    judged.add(
                        "file-path",
                        format!("the template file {path:?} is not a plain relative path"),
                        "a path in the template is relative, without `.` and `..`",
                    );
                    continue;
                };
                if secret_file::is_private(path) {
                    judged.add(
                        "env-file",
                        format!("{path:?} may hold secrets and is not copied into /configs"),
                        "a template's .env files reach a workspace through its environment only",
                    );
                } else if secret_file::holds_credentials(path) {
                    judged.add(
                        "secret-file",
                        format!(
                            "{path:?} holds secrets by its name, and is not copied into /configs"
                        ),
                        "take it out of the template, and give secrets as variables",
                    );
                }
                SeedContent::Template {
                    path: template,
                    text: *text,
                }
            }
        };
        let source = SeedSource {
            content,
            secret: file.secret,
        };
        if approved.insert(path, source).is_some() {
            judged.add(
                "file-twice",
                format!("{:?} is seeded twice", file.path),
                "this is a defect of the plugin",
            );
        }
    }
    let is_config = |file: &&SeedFile| {
        let empty = matches!(&file.content, Content::Inline(bytes) if bytes.is_empty());
        file.path == CONFIG && !empty
    };
    if !external && !files.iter().any(|file| is_config(&file)) {
        judged.add(
            "no-config",
            format!("no {CONFIG} is seeded, or an empty one: the runtime would crash at its first instruction"),
            "this is a defect of the plugin",
        );
    }
    // A file where another file needs a folder would fail half-way through the seed.
    let paths: BTreeSet<&str> = approved.keys().map(SeedPath::as_str).collect();
    for path in &paths {
        let mut above = *path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if paths.contains(parent) {
                judged.add(
                    "file-path",
                    format!("{parent:?} is a file, and a folder of {path:?}"),
                    "rename one of them",
                );
            }
            above = parent;
        }
    }
    approved
}

fn seed_path(path: &str, judged: &mut WorkspaceViolations<'_>) -> Option<SeedPath> {
    if !is_normal(path) || path.chars().any(char::is_control) || path.len() > 1024 {
        judged.add(
            "file-path",
            format!("the seeded path {path:?} is not a plain relative path"),
            "a path under /configs is relative, without `.`, `..` and control characters",
        );
        return None;
    }
    if secret_file::is_private(path) {
        judged.add(
            "env-file",
            format!("{path:?} is not seeded: it may hold secrets"),
            "a template's .env files reach a workspace through its environment only",
        );
        return None;
    }
    if path.split('/').next() == Some(TOKEN_FILE) {
        judged.add(
            "reserved-file",
            format!("{path:?} is the host's own"),
            "rename it: the host puts the workspace's token there",
        );
        return None;
    }
    Some(SeedPath(path.to_owned()))
}

fn env(vars: &[EnvVar], judged: &mut WorkspaceViolations<'_>) -> EnvMap {
    if vars.len() > limits::ENV_VARS {
        judged.add(
            "too-many-variables",
            format!(
                "it has {} variables; {} are allowed",
                vars.len(),
                limits::ENV_VARS
            ),
            "set fewer variables",
        );
        return EnvMap::default();
    }
    let mut approved = EnvMap::default();
    for EnvVar { name, value, .. } in vars {
        let wrong = if !plan::is_identifier(name) {
            Some("env-name")
        } else if RESERVED_ENV.contains(&name.as_str()) {
            Some("reserved-env")
        } else if value.len() > limits::ENV_VALUE_BYTES || value.contains('\0') {
            Some("env-value")
        } else if approved.insert(name.clone(), value.clone()).is_some() {
            Some("env-twice")
        } else {
            None
        };
        // Never the value: it is a secret.
        let (message, help) = match wrong {
            None => continue,
            Some("env-name") => (
                format!("{name:?} is not a name of a variable"),
                "letters, digits and `_`, not beginning with a digit",
            ),
            Some("reserved-env") => (
                format!("{name} is set by the host itself"),
                "choose another name",
            ),
            Some("env-twice") => (
                format!("{name} is set twice"),
                "this is a defect of the plugin",
            ),
            Some(_) => (
                format!(
                    "the value of {name} has a NUL, or more than {} bytes",
                    limits::ENV_VALUE_BYTES
                ),
                "put large values into a file",
            ),
        };
        judged.add(wrong.unwrap_or_default(), message, help);
    }
    approved
}

fn inline_bytes(file: &SeedFile) -> u64 {
    match &file.content {
        Content::Inline(bytes) => bytes.len() as u64,
        Content::Template { .. } => 0,
    }
}

fn is_absolute_and_normal(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        // `components` drops `.`, which is harmless, but then the text is not what is mounted.
        && !path.as_os_str().to_string_lossy().split('/').any(|part| part == ".")
}

/// The first few of a list: 42 names help nobody.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => {
            format!("{} and {} more", first.join(", "), names.len() - SHOWN)
        }
        _ => names.join(", "),
    }
}

#[derive(Default)]
struct Violations {
    list: Vec<Violation>,
}

impl Violations {
    fn org(&mut self, code: &'static str, message: String, help: &str) {
        self.add(Violation::new(code, None, message, help));
    }

    fn add(&mut self, violation: Violation) {
        if self.list.len() < limits::VIOLATIONS {
            self.list.push(violation);
        }
    }
}

struct WorkspaceViolations<'a> {
    key: &'a WorkspaceKey,
    violations: &'a mut Violations,
}

impl WorkspaceViolations<'_> {
    fn add(&mut self, code: &'static str, message: String, help: &str) {
        let violation = Violation::new(code, Some(self.key), message, help);
        self.violations.add(violation);
    }
}

impl SeedPath {
    /// The path, relative to `/configs`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tier {
    /// The tier of a number from 1 to 4.
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
