//! The one place where the contract's types become the host's. What a plan
//! must be to be shown and judged at all is checked here; a plan that is not
//! so is a lie, and is refused whole.

use std::collections::BTreeMap;

use super::answer::{Answer, Lie};
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

pub fn request(request: &PluginInput) -> wit::Request {
    wit::Request {
        entry: String::new(),
        environment: environment(request),
        options: wit::Options {
            skip_external: request.skip_external,
        },
    }
}

pub fn environment(request: &PluginInput) -> wit::Environment {
    let variables = |map: &EnvMap| {
        map.iter()
            .map(|(name, value)| wit::Variable {
                name: name.clone(),
                value: value.clone(),
            })
            .collect()
    };
    wit::Environment {
        vars: variables(&request.vars),
        granted: variables(&request.granted),
    }
}

pub fn description(said: wit::Description) -> Result<Description, CallError> {
    if !crate::model::plan::is_slug(&said.name) {
        let name = shortened(&said.name);
        return Err(CallError::Lied(format!("its name {name:?} is not a slug")));
    }
    Ok(Description {
        name: said.name,
        version: said.version,
        handles: said.handles,
    })
}

pub fn answer(said: Answer) -> Result<Plan, CallError> {
    match said.map_err(CallError::Lied)? {
        Ok(said) => plan(said).map_err(CallError::Lied),
        Err(problems) if problems.is_empty() => {
            Err(CallError::Lied("it failed without saying why".to_owned()))
        }
        Err(problems) => Err(CallError::SaidNo(
            problems.into_iter().map(diagnostic).collect(),
        )),
    }
}

fn plan(said: wit::Plan) -> Result<Plan, Lie> {
    if said.org.name.trim().is_empty() {
        return Err("the org has no name".to_owned());
    }
    // A hard bound on what is held and shown; the operator's own bound is policy.
    if said.workspaces.len() > 10 * limits::WORKSPACES {
        return Err(format!("it has {} workspaces", said.workspaces.len()));
    }
    let mut tree = Tree::default();
    let mut workspaces = Vec::with_capacity(said.workspaces.len());
    for workspace in said.workspaces {
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
        .filter_map(|(said, path)| Some((said.as_str(), keys.get(path)?)))
        .collect();
    Ok(Plan {
        org: Org {
            name: said.org.name,
            description: said.org.description,
        },
        workspaces,
        required_env: requirements(said.required_env, &keys)?,
        recommended_env: requirements(said.recommended_env, &keys)?,
        warnings: said.warnings.into_iter().map(diagnostic).collect(),
    })
}

/// Where the workspaces of a plan stand. A plugin's keys say so, and are used for nothing else.
#[derive(Default)]
struct Tree {
    paths: BTreeMap<WorkspaceKey, NamePath>,
    keys: BTreeMap<NamePath, WorkspaceKey>,
}

impl Tree {
    /// Who the workspace of a plugin's key is.
    fn enter(&mut self, key: &WorkspaceKey, name: &str) -> Result<NamePath, Lie> {
        let parent = match key.parent().map(parse_key).transpose()? {
            None => None,
            Some(parent) => match self.paths.get(&parent) {
                Some(path) => Some(path),
                None => return Err(format!("{key} stands before its parent")),
            },
        };
        let path = NamePath::below(parent, name);
        if let Some(other) = self.keys.insert(path.clone(), key.clone()) {
            let name = shortened(path.name());
            return Err(format!(
                "{other} and {key} have one parent and one name, {name:?}"
            ));
        }
        if self.paths.insert(key.clone(), path.clone()).is_some() {
            return Err(format!("the key {key} occurs twice"));
        }
        Ok(path)
    }

    /// The keys that people see.
    fn keys(&self) -> BTreeMap<NamePath, WorkspaceKey> {
        let paths: Vec<&NamePath> = self.keys.keys().collect();
        keys::keys(&paths, &[])
    }
}

fn known_key(
    keys: &BTreeMap<NamePath, WorkspaceKey>,
    path: &NamePath,
) -> Result<WorkspaceKey, Lie> {
    let key = keys.get(path);
    let key = key.ok_or_else(|| format!("{} stands nowhere", shortened(path.name())))?;
    if key.as_str().len() > limits::KEY_BYTES {
        let (name, limit) = (shortened(path.name()), limits::KEY_BYTES);
        return Err(format!(
            "the names from the org down to {name:?} make a key of more than {limit} bytes"
        ));
    }
    Ok(key.clone())
}

fn to_workspace(said: wit::Workspace, tree: &mut Tree) -> Result<Workspace, Lie> {
    let key = parse_key(&said.key)?;
    if said.name.trim().is_empty() {
        return Err(format!("{key} has no name"));
    }
    let path = tree.enter(&key, &said.name)?;
    let plugins = said
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
        .collect::<Result<_, Lie>>()?;
    Ok(Workspace {
        // Until all names are known.
        parent: None,
        key,
        path,
        name: said.name,
        renamed_from: said.renamed_from.into_iter().map(former).collect(),
        role: said.role,
        runtime: said.runtime,
        model: said.model,
        tier: said.tier,
        external: said.external,
        url: said.url,
        workspace_dir: said.workspace_dir,
        workspace_access: match said.workspace_access {
            wit::WorkspaceAccess::None => Access::None,
            wit::WorkspaceAccess::ReadOnly => Access::ReadOnly,
            wit::WorkspaceAccess::ReadWrite => Access::ReadWrite,
        },
        plugins,
        files: said.files.into_iter().map(seed_file).collect(),
        env: said.env.into_iter().map(env_var).collect(),
        schedules: said.schedules.into_iter().map(schedule).collect(),
        channels: said.channels.into_iter().map(channel).collect(),
        skipped_channels: said.skipped_channels.into_iter().map(skipped).collect(),
        memories: said.memories.into_iter().map(memory).collect(),
        max_concurrent_tasks: said.max_concurrent_tasks.max(1),
        canvas: Canvas {
            x: said.canvas.x,
            y: said.canvas.y,
        },
    })
}

fn plugin_config(text: &str) -> Result<serde_json::Value, Lie> {
    if text.len() > limits::AGENT_PLUGIN_CONFIG {
        return Err(format!("has {} bytes", text.len()));
    }
    match serde_json::from_str(text) {
        Ok(config @ serde_json::Value::Object(_)) => Ok(config),
        Ok(_) => Err("is no object".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

fn parse_key(text: &str) -> Result<WorkspaceKey, Lie> {
    WorkspaceKey::new(text).map_err(|e| shortened(&e.to_string()))
}

fn requirements(
    said: Vec<wit::Requirement>,
    keys: &BTreeMap<&str, &WorkspaceKey>,
) -> Result<Vec<Requirement>, Lie> {
    said.into_iter()
        .map(|requirement| {
            if requirement.any_of.is_empty() {
                return Err("a requirement names no variable".to_owned());
            }
            let missing_for = requirement.missing_for.into_iter();
            Ok(Requirement {
                any_of: requirement.any_of,
                missing_for: missing_for
                    .map(|said| keys.get(said.as_str()).map_or(said, ToString::to_string))
                    .collect(),
            })
        })
        .collect()
}

fn seed_file(said: wit::SeedFile) -> SeedFile {
    SeedFile {
        path: said.path,
        content: match said.content {
            wit::Content::Inline(bytes) => Content::Inline(bytes),
            wit::Content::Template(path) => Content::Template { path, text: false },
            wit::Content::TemplateText(path) => Content::Template { path, text: true },
        },
        secret: said.secret,
    }
}

fn former(said: wit::Former) -> Former {
    match said {
        wit::Former::Name(name) => Former::Name(name),
        wit::Former::Path(names) => Former::Path(names),
    }
}

fn env_var(said: wit::EnvVar) -> EnvVar {
    EnvVar {
        name: said.name,
        value: said.value,
        secret: said.secret,
        origin: match said.origin {
            wit::Origin::Template(place) => Origin::Template {
                file: place.file,
                line: known(place.line),
            },
            wit::Origin::Plugin => Origin::Plugin,
            wit::Origin::Operator => Origin::Operator,
        },
    }
}

fn schedule(said: wit::Schedule) -> Schedule {
    Schedule {
        name: said.name,
        cron: said.cron,
        timezone: said.timezone,
        prompt: said.prompt,
        enabled: said.enabled,
    }
}

fn channel(said: wit::Channel) -> Channel {
    let config = said.config.into_iter().map(|entry| ConfigEntry {
        name: entry.name,
        value: entry.value,
        secret: entry.secret,
    });
    Channel {
        kind: said.kind,
        config: config.collect(),
        allowed_users: said.allowed_users,
        enabled: said.enabled,
    }
}

fn skipped(said: wit::SkippedChannel) -> SkippedChannel {
    SkippedChannel {
        kind: said.kind,
        reason: said.reason,
    }
}

fn memory(said: wit::Memory) -> Memory {
    Memory {
        content: said.content,
        scope: match said.scope {
            wit::MemoryScope::Local => MemoryScope::Local,
            wit::MemoryScope::Team => MemoryScope::Team,
            wit::MemoryScope::Global => MemoryScope::Global,
        },
    }
}

fn diagnostic(said: wit::Diagnostic) -> Diagnostic {
    let (file, line, column) = match said.place {
        Some(place) => (Some(place.file), known(place.line), known(place.column)),
        None => (None, None, None),
    };
    Diagnostic {
        code: said.code,
        message: said.message,
        file,
        line,
        column,
        field: said.field,
        workspace: said.workspace,
        help: said.help,
    }
}

/// A lie is told, not repeated at length.
pub fn shortened(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The contract's 0 means unknown.
fn known(number: u32) -> Option<u32> {
    (number > 0).then_some(number)
}
