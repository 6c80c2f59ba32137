//! Converts between the contract's types and the host's. It checks the rules that a plan must keep to be shown and judged. A
//! plan that violates one of them is refused as a whole.

use std::collections::BTreeMap;

use super::answer::{Answer, ContractBreach};
use super::bindings::latest::exports::orghost::plugin::importer as wit;
use super::{CallError, Description, PluginInput};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::model::keys;
use crate::model::names::NamePath;
use crate::model::plan::{
    Access, AgentPlugin, Canvas, Channel, ConfigEntry, Content, EnvVar, Former, Memory,
    MemoryScope, Org, Origin, Plan, Requirement, Schedule, SeedFile, SkippedChannel, Workspace,
    WorkspaceKey,
};

pub fn request(input: &PluginInput) -> wit::Request {
    wit::Request {
        entry: String::new(),
        environment: environment(input),
        options: wit::Options {
            skip_external: input.skip_external,
        },
    }
}

pub fn environment(input: &PluginInput) -> wit::Environment {
    let variables = |map: &EnvMap| {
        map.iter()
            .map(|(name, value)| wit::Variable {
                name: name.clone(),
                value: value.clone(),
            })
            .collect()
    };
    wit::Environment {
        vars: variables(&input.vars),
        granted: variables(&input.granted),
    }
}

pub fn description(from: wit::Description) -> Result<Description, CallError> {
    if !crate::model::plan::is_slug(&from.name) {
        let name = shortened(&from.name);
        return Err(CallError::InvalidAnswer(format!(
            "its name {name:?} is not a slug"
        )));
    }
    Ok(Description {
        name: from.name,
        version: from.version,
        handles: from.handles,
    })
}

pub fn answer(answer: Answer) -> Result<Plan, CallError> {
    match answer.map_err(CallError::InvalidAnswer)? {
        Ok(answer) => plan(answer).map_err(CallError::InvalidAnswer),
        Err(problems) if problems.is_empty() => Err(CallError::InvalidAnswer(
            "it failed without any error".to_owned(),
        )),
        Err(problems) => Err(CallError::Rejected(
            problems.into_iter().map(diagnostic).collect(),
        )),
    }
}

fn plan(from: wit::Plan) -> Result<Plan, ContractBreach> {
    if from.org.name.trim().is_empty() {
        return Err("the org has no name".to_owned());
    }
    // This limit protects the host's memory. The policy has a lower limit.
    if from.workspaces.len() > 10 * limits::WORKSPACES {
        return Err(format!("it has {} workspaces", from.workspaces.len()));
    }
    let mut tree = Tree::default();
    let mut workspaces = Vec::with_capacity(from.workspaces.len());
    for workspace in from.workspaces {
        workspaces.push(to_workspace(workspace, &mut tree)?);
    }
    let keys = tree.keys();
    for workspace in &mut workspaces {
        workspace.key = known_key(&keys, &workspace.path)?;
        let parent = workspace.path.parent();
        workspace.parent = parent.map(|path| known_key(&keys, &path)).transpose()?;
    }
    let keys: BTreeMap<&str, &WorkspaceKey> = tree
        .paths
        .iter()
        .filter_map(|(key, path)| Some((key.as_str(), keys.get(path)?)))
        .collect();
    Ok(Plan {
        org: Org {
            name: from.org.name,
            description: from.org.description,
        },
        workspaces,
        required_env: requirements(from.required_env, &keys)?,
        recommended_env: requirements(from.recommended_env, &keys)?,
        warnings: from.warnings.into_iter().map(diagnostic).collect(),
    })
}

/// The tree of a plan's workspaces. The plugin's keys define it; the host then makes keys of its own.
#[derive(Default)]
struct Tree {
    /// The paths of names, by the plugin's keys.
    paths: BTreeMap<WorkspaceKey, NamePath>,
    /// The plugin's keys, by the paths of names.
    keys: BTreeMap<NamePath, WorkspaceKey>,
}

impl Tree {
    /// Adds a workspace with the plugin's key, and returns its path of names.
    fn enter(&mut self, key: &WorkspaceKey, name: &str) -> Result<NamePath, ContractBreach> {
        let parent = match key.parent().map(parse_key).transpose()? {
            None => None,
            Some(parent) => match self.paths.get(&parent) {
                Some(path) => Some(path),
                None => return Err(format!("{key} is before its parent")),
            },
        };
        let path = NamePath::below(parent, name);
        if let Some(other) = self.keys.insert(path.clone(), key.clone()) {
            let name = shortened(path.name());
            return Err(format!(
                "{other} and {key} have the same parent and the same name, {name:?}"
            ));
        }
        if self.paths.insert(key.clone(), path.clone()).is_some() {
            return Err(format!("the key {key} occurs twice"));
        }
        Ok(path)
    }

    /// The host's keys, made from the names.
    fn keys(&self) -> BTreeMap<NamePath, WorkspaceKey> {
        let paths: Vec<&NamePath> = self.keys.keys().collect();
        keys::keys(&paths, &[])
    }
}

fn known_key(
    keys: &BTreeMap<NamePath, WorkspaceKey>,
    path: &NamePath,
) -> Result<WorkspaceKey, ContractBreach> {
    let key = keys.get(path);
    let key = key.ok_or_else(|| format!("{:?} has no key", shortened(path.name())))?;
    if key.as_str().len() > limits::KEY_BYTES {
        let (name, limit) = (shortened(path.name()), limits::KEY_BYTES);
        return Err(format!(
            "the names from the org down to {name:?} make a key of more than {limit} bytes"
        ));
    }
    Ok(key.clone())
}

fn to_workspace(from: wit::Workspace, tree: &mut Tree) -> Result<Workspace, ContractBreach> {
    let key = parse_key(&from.key)?;
    if from.name.trim().is_empty() {
        return Err(format!("{key} has no name"));
    }
    let path = tree.enter(&key, &from.name)?;
    let plugins = from
        .plugins
        .into_iter()
        .map(|plugin| {
            let config = plugin.config.as_deref().map(plugin_config).transpose();
            let config =
                config.map_err(|why| format!("{key}: the configuration of a plugin {why}"))?;
            Ok(AgentPlugin {
                source: plugin.source,
                config,
            })
        })
        .collect::<Result<_, ContractBreach>>()?;
    Ok(Workspace {
        // The key and the parent are replaced when all names are known.
        parent: None,
        key,
        path,
        name: from.name,
        renamed_from: from.renamed_from.into_iter().map(former).collect(),
        role: from.role,
        runtime: from.runtime,
        model: from.model,
        tier: from.tier,
        external: from.external,
        url: from.url,
        workspace_dir: from.workspace_dir,
        workspace_access: match from.workspace_access {
            wit::WorkspaceAccess::None => Access::None,
            wit::WorkspaceAccess::ReadOnly => Access::ReadOnly,
            wit::WorkspaceAccess::ReadWrite => Access::ReadWrite,
        },
        plugins,
        files: from.files.into_iter().map(seed_file).collect(),
        env: from.env.into_iter().map(env_var).collect(),
        schedules: from.schedules.into_iter().map(schedule).collect(),
        channels: from.channels.into_iter().map(channel).collect(),
        skipped_channels: from.skipped_channels.into_iter().map(skipped).collect(),
        memories: from.memories.into_iter().map(memory).collect(),
        max_concurrent_tasks: from.max_concurrent_tasks.max(1),
        canvas: Canvas {
            x: from.canvas.x,
            y: from.canvas.y,
        },
    })
}

fn plugin_config(text: &str) -> Result<serde_json::Value, ContractBreach> {
    if text.len() > limits::AGENT_PLUGIN_CONFIG {
        return Err(format!("has {} bytes", text.len()));
    }
    match serde_json::from_str(text) {
        Ok(config @ serde_json::Value::Object(_)) => Ok(config),
        Ok(_) => Err("is not a JSON object".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

fn parse_key(text: &str) -> Result<WorkspaceKey, ContractBreach> {
    WorkspaceKey::new(text).map_err(|e| shortened(&e.to_string()))
}

fn requirements(
    from: Vec<wit::Requirement>,
    keys: &BTreeMap<&str, &WorkspaceKey>,
) -> Result<Vec<Requirement>, ContractBreach> {
    from.into_iter()
        .map(|requirement| {
            if requirement.any_of.is_empty() {
                return Err("a requirement names no variable".to_owned());
            }
            let missing_for = requirement.missing_for.into_iter();
            Ok(Requirement {
                any_of: requirement.any_of,
                missing_for: missing_for
                    .map(|key| keys.get(key.as_str()).map_or(key, ToString::to_string))
                    .collect(),
            })
        })
        .collect()
}

fn seed_file(from: wit::SeedFile) -> SeedFile {
    SeedFile {
        path: from.path,
        content: match from.content {
            wit::Content::Inline(bytes) => Content::Inline(bytes),
            wit::Content::Template(path) => Content::Template { path, text: false },
            wit::Content::TemplateText(path) => Content::Template { path, text: true },
        },
        secret: from.secret,
    }
}

fn former(from: wit::Former) -> Former {
    match from {
        wit::Former::Name(name) => Former::Name(name),
        wit::Former::Path(names) => Former::Path(names),
    }
}

fn env_var(from: wit::EnvVar) -> EnvVar {
    EnvVar {
        name: from.name,
        value: from.value,
        secret: from.secret,
        origin: match from.origin {
            wit::Origin::Template(place) => Origin::Template {
                file: place.file,
                line: known(place.line),
            },
            wit::Origin::Plugin => Origin::Plugin,
            wit::Origin::Operator => Origin::Operator,
        },
    }
}

fn schedule(from: wit::Schedule) -> Schedule {
    Schedule {
        name: from.name,
        cron: from.cron,
        timezone: from.timezone,
        prompt: from.prompt,
        enabled: from.enabled,
    }
}

fn channel(from: wit::Channel) -> Channel {
    let config = from.config.into_iter().map(|entry| ConfigEntry {
        name: entry.name,
        value: entry.value,
        secret: entry.secret,
    });
    Channel {
        kind: from.kind,
        config: config.collect(),
        allowed_users: from.allowed_users,
        enabled: from.enabled,
    }
}

fn skipped(from: wit::SkippedChannel) -> SkippedChannel {
    SkippedChannel {
        kind: from.kind,
        reason: from.reason,
    }
}

fn memory(from: wit::Memory) -> Memory {
    Memory {
        content: from.content,
        scope: match from.scope {
            wit::MemoryScope::Local => MemoryScope::Local,
            wit::MemoryScope::Team => MemoryScope::Team,
            wit::MemoryScope::Global => MemoryScope::Global,
        },
    }
}

fn diagnostic(from: wit::Diagnostic) -> Diagnostic {
    let (file, line, column) = match from.place {
        Some(place) => (Some(place.file), known(place.line), known(place.column)),
        None => (None, None, None),
    };
    Diagnostic {
        code: from.code,
        message: from.message,
        file,
        line,
        column,
        field: from.field,
        workspace: from.workspace,
        help: from.help,
    }
}

/// The first 120 characters of a text from a plugin, for messages.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A line or column number. The contract uses 0 for an unknown one.
fn known(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}
