//! The steps of the standard import that a plugin can change.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::merge::ListedPlugin;
use super::problems::At;
use crate::{
    Channel, Diagnostic, Former, Memory, Plan, Refusal, Schedule, SkippedChannel, WorkspaceAccess,
};

/// The steps of the standard import that a plugin can change. By default a step changes nothing. The errors of the
/// steps are reported together with those of the template.
pub trait Steps {
    /// Called when the settings of a workspace are resolved, and its files are not yet written. A change of the
    /// settings also changes `config.yaml`. It is called for every spawned workspace without an error, parents first.
    ///
    /// # Errors
    /// The errors of the workspace. The import continues, to report all other errors too.
    fn settings(&mut self, settings: &mut Settings) -> Result<(), Refusal> {
        let _ = settings;
        Ok(())
    }

    /// Called when the plan is complete. It is not called when the template has an error.
    ///
    /// # Errors
    /// The errors of the plan.
    fn plan(&mut self, plan: &mut Plan) -> Result<(), Refusal> {
        let _ = plan;
        Ok(())
    }
}

/// The standard import without changes.
pub(crate) struct Unchanged;

impl Steps for Unchanged {}

/// The settings of one workspace, with the defaults, references and prompt files resolved.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    pub(crate) at: At,
    pub(crate) key: String,
    pub(crate) external: bool,
    pub(crate) warnings: Vec<Diagnostic>,
    /// The name, as the template spells it. Changing it does not change the key.
    pub name: String,
    /// Former names, newest first.
    pub renamed_from: Vec<Former>,
    /// What the workspace is for. May be empty.
    pub role: String,
    /// The name of the runtime.
    pub runtime: String,
    /// The model. `None`: the runtime chooses.
    pub model: Option<String>,
    /// The tier, 1 to 4. Default: 2.
    pub tier: u8,
    /// The address of an external workspace.
    pub url: Option<String>,
    /// The absolute path of the operator's directory that it wants.
    pub workspace_dir: Option<String>,
    /// The access that it wants to that directory: read-only by default, and none without a directory.
    pub workspace_access: WorkspaceAccess,
    /// Its agent plugins, merged with those of the defaults.
    pub plugins: Vec<ListedPlugin>,
    /// Its schedules.
    pub schedules: Vec<Schedule>,
    /// Its channels, with references expanded.
    pub channels: Vec<Channel>,
    /// Its channels that are left out, with the reason.
    pub skipped_channels: Vec<SkippedChannel>,
    /// The memories that it starts with.
    pub memories: Vec<Memory>,
    /// At least 1. Default: 1.
    pub max_concurrent_tasks: u32,
    /// The content of `system-prompt.md`.
    pub system_prompt: Option<String>,
    /// The first prompt. Always `None` for an external workspace, which gets no files.
    pub initial_prompt: Option<String>,
    /// The prompt that it gets when it is idle. Always `None` for an external workspace.
    pub idle_prompt: Option<String>,
    /// Seconds until it is idle, at least 1. Default: 600. Without an `idle_prompt` it has no effect.
    pub idle_interval_seconds: i64,
    /// For each category, the names of the workspaces that it is routed to. Workspaces without routes of their own share
    /// those of the defaults; [`Rc::make_mut`] changes them for this workspace alone.
    pub category_routing: Rc<BTreeMap<String, Vec<String>>>,
}

impl Settings {
    /// The key of the workspace: a path of slugs, unique in the plan.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The parent's key; `None` for a root.
    pub fn parent(&self) -> Option<&str> {
        self.key.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// Whether it runs elsewhere. An external workspace gets no files and no variables.
    pub fn is_external(&self) -> bool {
        self.external
    }

    /// An error or a warning about this workspace, with its place, field and name filled in.
    pub fn problem(&self, code: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, message).about(&self.at)
    }

    /// Adds a warning to the plan.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.warnings.push(warning);
    }
}
