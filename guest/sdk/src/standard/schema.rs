//! What a template can say (org-template.md §1): its fields as typed values with their places.

use std::rc::Rc;

use super::data::Data;
use super::fields::{Number, Text};
use super::problems::At;
use crate::{Former, MemoryScope, WorkspaceAccess};

/// A whole template.
pub(crate) struct Org {
    pub name: String,
    pub description: String,
    pub defaults: Defaults,
    pub workspaces: Vec<Workspace>,
    pub global_memories: Vec<Memory>,
    pub needs: Needs,
}

/// The values of workspaces that have no value of their own.
#[derive(Default)]
pub(crate) struct Defaults {
    pub runtime: Option<Text>,
    pub tier: Option<Number>,
    pub model: Option<Text>,
    pub plugins: Vec<Plugin>,
    pub prompts: Prompts,
    pub routing: Vec<Route>,
    pub memories: Option<Vec<Memory>>,
}

/// A workspace, with its children.
pub(crate) struct Workspace {
    pub at: At,
    /// Empty after a reported problem.
    pub name: Rc<str>,
    pub renamed_from: Vec<FormerName>,
    pub role: String,
    pub runtime: Option<Text>,
    pub model: Option<Text>,
    pub tier: Option<Number>,
    pub files_dir: Option<Text>,
    pub spawning: bool,
    pub system_prompt: Option<Text>,
    pub dir: Option<Text>,
    pub access: Option<(WorkspaceAccess, At)>,
    pub plugins: Vec<Plugin>,
    pub prompts: Prompts,
    pub routing: Vec<Route>,
    /// `None` when there is no list, or an empty one.
    pub memories: Option<Vec<Memory>>,
    pub max_concurrent_tasks: Option<Number>,
    pub schedules: Vec<Schedule>,
    pub channels: Vec<Channel>,
    pub external: bool,
    pub url: Option<Text>,
    pub canvas: Option<(f64, f64)>,
    pub needs: Needs,
    pub children: Vec<Workspace>,
}

/// A former name of a workspace, and its place.
pub(crate) struct FormerName {
    pub former: Former,
    pub at: At,
}

/// The prompts of a workspace, or of the defaults.
#[derive(Default)]
pub(crate) struct Prompts {
    pub initial: Prompt,
    pub idle: Prompt,
    /// Seconds.
    pub idle_interval: Option<Number>,
}

/// A prompt. The inline text wins over the file.
#[derive(Default)]
pub(crate) struct Prompt {
    pub inline: Option<Text>,
    pub file: Option<Text>,
}

/// A category, and the names of the workspaces that it is routed to.
pub(crate) struct Route {
    pub category: Rc<str>,
    pub roles: Vec<Text>,
}

/// An agent plugin.
pub(crate) struct Plugin {
    pub source: Text,
    pub config: Option<PluginConfig>,
}

/// The configuration of an agent plugin.
pub(crate) struct PluginConfig {
    /// Everything but the schedules.
    pub rest: Vec<(String, Data)>,
    pub schedules: Option<Vec<Schedule>>,
}

/// A schedule.
pub(crate) struct Schedule {
    pub at: At,
    pub name: Option<Text>,
    pub cron: Option<Text>,
    pub timezone: Option<Text>,
    pub prompt: Prompt,
    pub enabled: bool,
}

/// A channel.
pub(crate) struct Channel {
    pub at: At,
    pub kind: Option<Text>,
    pub config: Vec<(Rc<str>, Text)>,
    pub allowed_users: Vec<Text>,
    pub enabled: bool,
}

/// A memory.
#[derive(Clone)]
pub(crate) struct Memory {
    pub content: String,
    pub scope: MemoryScope,
}

/// The required and the recommended variables of the org or of a workspace.
#[derive(Default)]
pub(crate) struct Needs {
    pub required: Vec<Need>,
    pub recommended: Vec<Need>,
}

/// Names of variables, one of which must be set. The names are not checked yet.
pub(crate) struct Need {
    pub names: Vec<Text>,
}
