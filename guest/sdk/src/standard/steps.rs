//! Where another plugin can step into the standard import. It changes nothing by itself.

use std::collections::BTreeMap;

use super::merge::ListedPlugin;
use super::problems::At;
use crate::{
    Channel, Diagnostic, Former, Memory, Plan, Refusal, Schedule, SkippedChannel, WorkspaceAccess,
};

/// The steps of the standard import that another plugin can change; by default each leaves everything as it is.
/// Their problems are reported together with those of the template.
pub trait Steps {
    /// A workspace's settings are resolved, and its files are not written yet: what changes here shows up in
    /// `config.yaml` too. Called for every workspace that is spawned and whose settings could be resolved, parents
    /// first; what the template got wrong in another way has its default.
    ///
    /// # Errors
    /// What is wrong with the workspace; the import goes on, to find what else is.
    fn settings(&mut self, settings: &mut Settings) -> Result<(), Refusal> {
        let _ = settings;
        Ok(())
    }

    /// The plan is made. Not called when there is a problem.
    ///
    /// # Errors
    /// Why this is no plan.
    fn plan(&mut self, plan: &mut Plan) -> Result<(), Refusal> {
        let _ = plan;
        Ok(())
    }
}

/// The standard import as it is.
pub(crate) struct Unchanged;

impl Steps for Unchanged {}

/// What the template says of one workspace, with the defaults, references and prompt files resolved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    pub(crate) at: At,
    pub(crate) key: String,
    pub(crate) external: bool,
    pub(crate) warnings: Vec<Diagnostic>,
    /// The name, as it is written. The key depends on the template's name alone.
    pub name: String,
    /// What it was called before, newest first.
    pub renamed_from: Vec<Former>,
    /// What the workspace is for.
    pub role: String,
    /// What runs it.
    pub runtime: String,
    /// `None`: the runtime chooses.
    pub model: Option<String>,
    /// 1 to 4.
    pub tier: u8,
    /// Where an external workspace runs.
    pub url: Option<String>,
    /// The operator's directory that it wants.
    pub workspace_dir: Option<String>,
    /// What it may do with that.
    pub workspace_access: WorkspaceAccess,
    /// Agent plugins, those of the defaults merged with its own.
    pub plugins: Vec<ListedPlugin>,
    /// Prompts that it gets at times.
    pub schedules: Vec<Schedule>,
    /// Channels that work, expanded.
    pub channels: Vec<Channel>,
    /// Channels that are left out.
    pub skipped_channels: Vec<SkippedChannel>,
    /// What it remembers from the beginning.
    pub memories: Vec<Memory>,
    /// At least 1.
    pub max_concurrent_tasks: u32,
    /// What becomes `system-prompt.md`, as it is.
    pub system_prompt: Option<String>,
    /// The first prompt. `None` for an external workspace, which gets no files.
    pub initial_prompt: Option<String>,
    /// The prompt of an idle workspace. `None` for an external workspace.
    pub idle_prompt: Option<String>,
    /// Seconds until a workspace is idle; counts where there is an `idle_prompt`.
    pub idle_interval_seconds: i64,
    /// Categories, and the names of those who are told.
    pub category_routing: BTreeMap<String, Vec<String>>,
}

impl Settings {
    /// The path of slugs that names the workspace in the plan.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The parent's key; `None` for a root.
    pub fn parent(&self) -> Option<&str> {
        self.key.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Whether it runs elsewhere: it then gets no files and no variables.
    pub fn is_external(&self) -> bool {
        self.external
    }

    /// A problem, or a warning, about this workspace: its place, field and name are filled in.
    pub fn problem(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message).about(&self.at)
    }

    /// Adds a warning to the plan.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }
}
