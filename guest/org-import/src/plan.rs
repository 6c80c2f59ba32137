//! Assembles the plan from what the other modules resolve, workspace by workspace, parents first. It parses
//! nothing itself, and gives no plan when anything is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::canvas::Tile;
use crate::environment::Layers;
use crate::expand::{self, Sources, Variables};
use crate::fields::{Number, Reader};
use crate::files::{self, Template, TemplateFiles, Unreadable};
use crate::problems::{At, Problems, quoted};
use crate::requirements::{Has, Scope};
use crate::schema::{self, Defaults};
use crate::{
    AgentPlugin, Canvas, Content, Diagnostic, EnvVar, Memory, MemoryScope, Org, Plan, Request,
    SeedFile, Workspace,
};
use crate::{
    channel, include, key, limits, merge, mount, prompt, render, requirements, schedule, seed,
    text, url,
};

/// Turns a template into a plan, or says everything that is wrong with it.
pub(crate) fn import(
    files: &dyn TemplateFiles,
    request: &Request,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    let mut template = Template::new(files);
    let skip_external = request.options.skip_external;
    let org = entry(&request.entry, &mut template, &mut problems)
        .and_then(|entry| include::load(&mut template, &entry, skip_external, &mut problems))
        .and_then(|root| schema::read(&root, &mut Reader::new(&mut problems)));
    let plan = org.map(|org| assemble(&org, request, &mut template, &mut problems));
    let warnings = problems.finish()?;
    match plan {
        Some(plan) => Ok(Plan { warnings, ..plan }),
        None => Err(vec![Diagnostic::new(
            "template-empty",
            "nothing is left of the template",
        )]),
    }
}

/// The path of the file with which the template begins.
fn entry(asked: &str, template: &mut Template<'_>, problems: &mut Problems) -> Option<String> {
    const HELP: &str =
        "an org template is a folder with an `org.yaml` that has `name` and `workspaces`";
    let candidates = if asked.is_empty() {
        vec!["org.yaml".to_owned(), "org.yml".to_owned()]
    } else {
        match files::joined("", asked) {
            Ok(path) => vec![path],
            Err(why) => {
                let message = format!("the entry file {} {why}", quoted(asked));
                problems.error(Diagnostic::new("path-invalid", message).hint(HELP));
                return None;
            }
        }
    };
    let found = candidates
        .iter()
        .find(|path| !matches!(template.text(path), Err(Unreadable::Missing)));
    if found.is_none() {
        let message = format!(
            "there is no {} in the template",
            candidates.join(" and no ")
        );
        problems.error(Diagnostic::new("template-missing", message).hint(HELP));
    }
    found.cloned()
}

fn assemble(
    org: &schema::Org,
    request: &Request,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Plan {
    let granted = expand::variables(&request.environment.granted);
    let layers = Layers::new(
        expand::variables(&request.environment.vars),
        template,
        problems,
    );
    let mut assembly = Assembly {
        defaults: Resolved::new(&org.defaults, template, problems),
        org,
        granted: &granted,
        layers,
        folders: seed::Folders::default(),
        inline: 0,
        global_memories: org.global_memories.as_slice(),
        workspaces: Vec::new(),
        scopes: Vec::new(),
        template,
        problems,
    };
    assembly.run();
    let Assembly {
        workspaces,
        scopes,
        problems,
        ..
    } = assembly;
    let (required_env, recommended_env) = requirements::collect(&scopes, &granted, problems);
    Plan {
        org: Org {
            name: org.name.clone(),
            description: org.description.clone(),
        },
        workspaces,
        required_env,
        recommended_env,
        warnings: Vec::new(),
    }
}

/// Defaults that cost something to resolve, resolved once.
struct Resolved<'a> {
    spec: &'a Defaults,
    plugins: Vec<merge::Plugin>,
    initial_prompt: Option<String>,
    idle_prompt: Option<String>,
}

struct Assembly<'a, 'f> {
    org: &'a schema::Org,
    defaults: Resolved<'a>,
    granted: &'a Variables,
    layers: Layers,
    folders: seed::Folders,
    /// Bytes of generated files so far.
    inline: usize,
    /// Until the first root has taken them.
    global_memories: &'a [schema::Memory],
    workspaces: Vec<Workspace>,
    scopes: Vec<Scope<'a>>,
    template: &'a mut Template<'f>,
    problems: &'a mut Problems,
}

/// What a workspace's files and variables come from.
struct Base {
    /// Where its files are; `None` after a reported problem.
    folder: Option<String>,
    /// What of it is seeded.
    files: Option<Rc<[SeedFile]>>,
    vars: Rc<Variables>,
}

/// Where a workspace stands in the tree.
#[derive(Clone, Copy)]
struct Parent<'k> {
    key: Option<&'k str>,
    /// `false` below a workspace that is not spawned.
    spawning: bool,
}

impl<'a> Resolved<'a> {
    fn new(spec: &'a Defaults, template: &mut Template<'_>, problems: &mut Problems) -> Self {
        // Files that defaults name are always under the template's root.
        let root = Some("");
        Self {
            plugins: plugins(&spec.plugins, root, template, problems),
            initial_prompt: prompt::resolve(&spec.prompts.initial, root, template, problems),
            idle_prompt: prompt::resolve(&spec.prompts.idle, root, template, problems),
            spec,
        }
    }
}

impl<'a> Assembly<'a, '_> {
    fn run(&mut self) {
        let org = self.org;
        let vars = self.layers.of("", self.template, self.problems);
        let key = String::new();
        self.scopes.push(Scope {
            needs: &org.needs,
            has: Some(Has { key, vars }),
        });
        routing_targets(org, self.problems);
        if org.workspaces.is_empty() && self.problems.errors() == 0 {
            let message = "the template has no workspaces";
            self.problems
                .warn(Diagnostic::new("no-workspaces", message));
        }
        let top = Parent {
            key: None,
            spawning: true,
        };
        self.siblings(&org.workspaces, top);
        if !self.global_memories.is_empty() {
            let message = "`global_memories` are left out: there is no root workspace to hold them";
            self.problems
                .warn(Diagnostic::new("global-memories-unused", message));
        }
        let mut positions = Vec::with_capacity(self.workspaces.len());
        for root in org.workspaces.iter().filter(|root| root.spawning) {
            tile(root).place(root.canvas.unwrap_or_default(), &mut positions);
        }
        for (workspace, position) in self.workspaces.iter_mut().zip(positions) {
            workspace.canvas = position;
        }
    }

    fn siblings(&mut self, siblings: &'a [schema::Workspace], parent: Parent<'_>) {
        let slugs = key::slugs(siblings.iter().map(|sibling| &*sibling.name));
        let mut names = BTreeSet::new();
        for (spec, slug) in siblings.iter().zip(slugs) {
            if !spec.name.is_empty() && !names.insert(&spec.name) {
                let message = format!(
                    "another workspace beside it is called {} too; its key ends in `{slug}`",
                    quoted(&spec.name)
                );
                self.problems
                    .warn(Diagnostic::new("workspace-name-twice", message).at(&spec.at));
            }
            let key = match parent.key {
                Some(parent) => format!("{parent}/{slug}"),
                None => slug,
            };
            let spawning = parent.spawning && spec.spawning;
            if spawning {
                self.workspace(spec, key.clone(), parent.key);
            } else {
                self.scopes.push(Scope {
                    needs: &spec.needs,
                    has: None,
                });
            }
            let here = Parent {
                key: Some(&key),
                spawning,
            };
            self.siblings(&spec.children, here);
        }
    }

    fn workspace(&mut self, spec: &'a schema::Workspace, key: String, parent: Option<&str>) {
        if key.len() > limits::KEY_BYTES {
            let message = format!(
                "its names and those above it make a key of more than {} bytes",
                limits::KEY_BYTES
            );
            self.problems.error(
                Diagnostic::new("key-too-long", message)
                    .at(&spec.at)
                    .hint("use shorter names"),
            );
        }
        let base = self.base(spec);
        let sources = Sources {
            vars: &base.vars,
            granted: self.granted,
        };
        self.scopes.push(Scope {
            needs: &spec.needs,
            has: Some(Has {
                key: key.clone(),
                vars: Rc::clone(&base.vars),
            }),
        });
        let folder = base.folder.as_deref();
        let (channels, skipped_channels) = channel::resolve(&spec.channels, sources, self.problems);
        let (workspace_dir, workspace_access) = mount::resolve(spec, sources, self.problems);
        let schedules = schedule::resolve(&spec.schedules, folder, self.template, self.problems);
        let own_plugins = plugins(&spec.plugins, folder, self.template, self.problems);
        let plugins = merge::plugins(&self.defaults.plugins, &own_plugins);
        let memories = self.memories(spec, parent.is_none());
        let mut workspace = Workspace {
            parent: parent.map(str::to_owned),
            name: spec.name.to_string(),
            role: spec.role.clone(),
            runtime: self.runtime(spec),
            model: spec
                .model
                .as_ref()
                .or(self.defaults.spec.model.as_ref())
                .map(|model| model.text.clone()),
            tier: self.tier(spec),
            external: spec.external,
            url: self.url(spec),
            workspace_dir,
            workspace_access,
            plugins: plugins
                .iter()
                .map(|plugin| self.agent_plugin(plugin))
                .collect(),
            files: Vec::new(),
            env: Vec::new(),
            schedules,
            channels,
            skipped_channels,
            memories,
            max_concurrent_tasks: self.max_concurrent_tasks(spec),
            // Set when the whole tree is known.
            canvas: Canvas { x: 0.0, y: 0.0 },
            key,
        };
        // Nothing is created for an external workspace, and so it is told no secrets.
        if !spec.external {
            workspace.files = self.files(spec, &base, &workspace, &plugins);
            workspace.env = base
                .vars
                .iter()
                .map(|(name, value)| env_var(name, value))
                .collect();
        }
        self.workspaces.push(workspace);
    }

    fn base(&mut self, spec: &schema::Workspace) -> Base {
        let (mut folder, mut files) = (Some(String::new()), None);
        if let Some(dir) = &spec.files_dir {
            folder = files::normalise("", &dir.text, &dir.at, self.problems);
            files = folder.as_ref().and_then(|folder| {
                self.folders
                    .files(folder, &dir.at, self.template, self.problems)
            });
            // What is in the folder cannot be found then, which is no second problem.
            folder = folder.filter(|_| files.is_some());
        }
        let vars = self.layers.of(
            folder.as_deref().unwrap_or_default(),
            self.template,
            self.problems,
        );
        Base {
            folder,
            files,
            vars,
        }
    }

    fn runtime(&mut self, spec: &schema::Workspace) -> String {
        match spec
            .runtime
            .as_ref()
            .or(self.defaults.spec.runtime.as_ref())
        {
            Some(runtime) => {
                if !is_runtime(&runtime.text) {
                    let message = format!("{} is no name of a runtime", quoted(&runtime.text));
                    let help = "names of runtimes have small letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
                    let at = in_workspace(&runtime.at, spec);
                    self.problems.error(
                        Diagnostic::new("runtime-invalid", message)
                            .at(&at)
                            .hint(help),
                    );
                }
                runtime.text.clone()
            }
            None if spec.external => EXTERNAL_RUNTIME.to_owned(),
            None => {
                let message = "the workspace has no runtime, and the defaults have none";
                let help = "add `runtime` to the workspace, or to `defaults`";
                self.problems.error(
                    Diagnostic::new("runtime-missing", message)
                        .at(&spec.at)
                        .hint(help),
                );
                String::new()
            }
        }
    }

    fn tier(&mut self, spec: &schema::Workspace) -> u8 {
        let Some(tier) = first_set(&spec.tier, &self.defaults.spec.tier) else {
            return DEFAULT_TIER;
        };
        match u8::try_from(tier.number) {
            Ok(number @ 1..=4) => number,
            _ => {
                let message = format!("there is no tier {}", tier.number);
                let at = in_workspace(&tier.at, spec);
                self.problems.error(
                    Diagnostic::new("tier-invalid", message)
                        .at(&at)
                        .hint("tiers are 1, 2, 3 and 4"),
                );
                DEFAULT_TIER
            }
        }
    }

    fn url(&mut self, spec: &schema::Workspace) -> Option<String> {
        match &spec.url {
            Some(address) => {
                if let Err(why) = url::check(&address.text) {
                    let message = format!("the address of the workspace {why}");
                    self.problems
                        .error(Diagnostic::new("url-invalid", message).at(&address.at));
                }
                if !spec.external {
                    let message = "`url` has no effect: the workspace is not `external`";
                    self.problems
                        .warn(Diagnostic::new("url-ignored", message).at(&address.at));
                }
            }
            None if spec.external => {
                let message = "an external workspace needs `url`";
                self.problems
                    .error(Diagnostic::new("url-missing", message).at(&spec.at));
            }
            None => {}
        }
        spec.url.as_ref().map(|address| address.text.clone())
    }

    fn max_concurrent_tasks(&mut self, spec: &schema::Workspace) -> u32 {
        let Some(tasks) = spec
            .max_concurrent_tasks
            .as_ref()
            .filter(|tasks| tasks.number > 0)
        else {
            return 1;
        };
        u32::try_from(tasks.number).unwrap_or_else(|_| {
            let message = format!("{} tasks at once are more than {}", tasks.number, u32::MAX);
            self.problems
                .error(Diagnostic::new("max-concurrent-tasks", message).at(&tasks.at));
            1
        })
    }

    fn memories(&mut self, spec: &schema::Workspace, is_root: bool) -> Vec<Memory> {
        let own = if spec.memories.is_empty() {
            &self.defaults.spec.memories
        } else {
            &spec.memories
        };
        let mut memories: Vec<Memory> = own
            .iter()
            .map(|memory| seeded(memory, memory.scope))
            .collect();
        if is_root && !spec.external {
            let global = std::mem::take(&mut self.global_memories);
            memories.extend(
                global
                    .iter()
                    .map(|memory| seeded(memory, MemoryScope::Global)),
            );
        }
        memories
    }

    fn agent_plugin(&mut self, plugin: &merge::Plugin) -> AgentPlugin {
        let config =
            plugin
                .config
                .as_ref()
                .and_then(|config| match serde_json::to_string(config) {
                    Ok(json) => Some(json),
                    Err(error) => {
                        let message = format!(
                            "the configuration of {} cannot be written: {error}",
                            quoted(&plugin.source)
                        );
                        self.problems
                            .error(Diagnostic::new("not-rendered", message));
                        None
                    }
                });
        AgentPlugin {
            source: plugin.source.clone(),
            config,
        }
    }

    /// The folder's files, and the generated ones over them.
    fn files(
        &mut self,
        spec: &schema::Workspace,
        base: &Base,
        workspace: &Workspace,
        plugins: &[merge::Plugin],
    ) -> Vec<SeedFile> {
        let config = self.config(spec, base.folder.as_deref(), workspace, plugins);
        let system_prompt = spec
            .system_prompt
            .as_ref()
            .and_then(|prompt| text::prompt(&prompt.text));
        let Workspace {
            channels, memories, ..
        } = workspace;
        let generated = [
            ("config.yaml", Some(config), false),
            (
                "system-prompt.md",
                system_prompt.map(|prompt| Ok(prompt.into_bytes())),
                false,
            ),
            // It may hold tokens.
            (
                "channels.yaml",
                (!channels.is_empty()).then(|| render::channels(channels)),
                true,
            ),
            (
                "memories.yaml",
                (!memories.is_empty()).then(|| render::memories(memories)),
                false,
            ),
        ];
        let copied = base.files.as_deref().unwrap_or_default();
        let mut files: BTreeMap<String, SeedFile> = copied
            .iter()
            .map(|file| (file.path.clone(), file.clone()))
            .collect();
        let before = self.inline;
        for (path, bytes, secret) in generated {
            let Some(bytes) = bytes else { continue };
            let bytes = bytes.unwrap_or_else(|error| {
                let message = format!("`{path}` cannot be written: {error}");
                self.problems
                    .error(Diagnostic::new("not-rendered", message).at(&spec.at));
                Vec::new()
            });
            self.inline += bytes.len();
            let path = path.to_owned();
            let content = Content::Inline(bytes);
            files.insert(
                path.clone(),
                SeedFile {
                    path,
                    content,
                    secret,
                },
            );
        }
        if self.inline > limits::INLINE_BYTES && before <= limits::INLINE_BYTES {
            let message = format!(
                "the generated files have more than {} MiB together",
                limits::INLINE_BYTES >> 20
            );
            self.problems
                .error(Diagnostic::new("plan-too-large", message).at(&spec.at));
        }
        files.into_values().collect()
    }

    fn config(
        &mut self,
        spec: &schema::Workspace,
        folder: Option<&str>,
        workspace: &Workspace,
        plugins: &[merge::Plugin],
    ) -> Result<Vec<u8>, serde_yaml::Error> {
        let own_initial =
            prompt::resolve(&spec.prompts.initial, folder, self.template, self.problems);
        let own_idle = prompt::resolve(&spec.prompts.idle, folder, self.template, self.problems);
        let idle = own_idle.as_deref().or(self.defaults.idle_prompt.as_deref());
        let interval = first_set(
            &spec.prompts.idle_interval,
            &self.defaults.spec.prompts.idle_interval,
        );
        let interval = interval
            .map(|interval| interval.number)
            .filter(|seconds| *seconds > 0);
        render::yaml(&render::Config {
            name: &workspace.name,
            description: &workspace.role,
            version: "1.0.0",
            tier: workspace.tier,
            runtime: &workspace.runtime,
            model: workspace.model.as_deref(),
            runtime_config: render::RuntimeConfig::of(&workspace.runtime),
            category_routing: merge::routing(&self.defaults.spec.routing, &spec.routing),
            plugins: plugins.iter().map(render::PluginEntry::from).collect(),
            max_concurrent_tasks: workspace.max_concurrent_tasks,
            schedules: workspace
                .schedules
                .iter()
                .map(render::ScheduleEntry::from)
                .collect(),
            initial_prompt: own_initial
                .as_deref()
                .or(self.defaults.initial_prompt.as_deref()),
            idle: idle.map(|prompt| render::Idle {
                interval: interval.unwrap_or(DEFAULT_IDLE_INTERVAL),
                prompt,
            }),
        })
    }
}

const DEFAULT_TIER: u8 = 2;
/// Seconds.
const DEFAULT_IDLE_INTERVAL: i64 = 600;
/// Of a workspace that runs elsewhere and names none.
const EXTERNAL_RUNTIME: &str = "external";

/// The workspace's number unless it is 0, else the default unless that is 0.
fn first_set<'a>(own: &'a Option<Number>, default: &'a Option<Number>) -> Option<&'a Number> {
    let is_set = |number: &&Number| number.number != 0;
    own.as_ref()
        .filter(is_set)
        .or(default.as_ref().filter(is_set))
}

/// A default is wrong for every workspace, and reported for each that uses it.
fn in_workspace(at: &At, spec: &schema::Workspace) -> At {
    At {
        workspace: spec.at.workspace.clone(),
        ..at.clone()
    }
}

/// `[a-z0-9][a-z0-9._-]*`
fn is_runtime(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(word)
        && name
            .chars()
            .all(|c| word(c) || matches!(c, '.' | '_' | '-'))
}

fn seeded(memory: &schema::Memory, scope: MemoryScope) -> Memory {
    Memory {
        content: memory.content.clone(),
        scope,
    }
}

fn env_var(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
        secret: true,
    }
}

/// Resolves the schedules in the configurations of plugins.
fn plugins(
    list: &[schema::Plugin],
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Vec<merge::Plugin> {
    let mut resolve = |plugin: &schema::Plugin| {
        let source = plugin.source.text.clone();
        let config = plugin.config.as_ref().map(|config| {
            let mut mapping = config.rest.clone();
            if let Some(list) = &config.schedules {
                let schedules = schedule::resolve(list, folder, template, problems);
                match render::schedules(&schedules) {
                    Ok(schedules) => {
                        mapping.insert("schedules".into(), schedules);
                    }
                    Err(error) => {
                        let message = format!(
                            "the schedules of {} cannot be written: {error}",
                            quoted(&source)
                        );
                        problems
                            .error(Diagnostic::new("not-rendered", message).at(&plugin.source.at));
                    }
                }
            }
            serde_yaml::Value::Mapping(mapping)
        });
        merge::Plugin { source, config }
    };
    list.iter().map(&mut resolve).collect()
}

/// Warns of roles that categories are routed to and that no workspace has.
fn routing_targets(org: &schema::Org, problems: &mut Problems) {
    let mut all = Vec::new();
    let mut open: Vec<&schema::Workspace> = org.workspaces.iter().collect();
    while let Some(workspace) = open.pop() {
        all.push(workspace);
        open.extend(&workspace.children);
    }
    let mut known: BTreeSet<&str> = all.iter().map(|workspace| &*workspace.name).collect();
    let own = all.iter().flat_map(|workspace| &workspace.routing);
    for role in org
        .defaults
        .routing
        .iter()
        .chain(own)
        .flat_map(|route| &route.roles)
    {
        if known.insert(role.text.trim()) {
            let message = format!(
                "no workspace is called {}, and categories are routed to it",
                quoted(&role.text)
            );
            problems.warn(Diagnostic::new("routing-target-unknown", message).at(&role.at));
        }
    }
}

fn tile(workspace: &schema::Workspace) -> Tile {
    Tile::new(
        workspace
            .children
            .iter()
            .filter(|child| child.spawning)
            .map(tile)
            .collect(),
    )
}
