//! Assembles the plan from what the other modules resolve, workspace by workspace, parents first. It parses
//! nothing itself, and gives no plan when anything is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::canvas::Tile;
use super::environment::Layers;
use super::expand::{self, Sources, Variables};
use super::fields::{Number, Reader};
use super::files::{self, Template, Unreadable};
use super::name::Name;
use super::problems::{Pos, Problems, quoted};
use super::requirements::{Has, Scope};
use super::schema::{self, Defaults};
use super::steps::{Settings, Steps};
use super::{
    channel, identity, include, key, limits, merge, mount, plugin, prompt, render, requirements,
    schedule, seed, settings,
};
use crate::{
    Canvas, Content, Diagnostic, EnvVar, Former, Memory, MemoryScope, Org, Origin, Plan, Refusal,
    Request, SeedFile, TemplateFiles, Workspace,
};

/// Turns a template into a plan, or says everything that is wrong with it.
pub(crate) fn import(
    files: &dyn TemplateFiles,
    request: &Request,
    steps: &mut dyn Steps,
) -> Result<Plan, Refusal> {
    let mut problems = Problems::default();
    let mut template = Template::new(files);
    let skip_external = request.options.skip_external;
    let org = entry(&request.entry, &mut template, &mut problems)
        .and_then(|entry| include::load(&mut template, &entry, skip_external, &mut problems))
        .and_then(|root| schema::read(&root, &mut Reader::new(&mut problems)));
    let plan = org.map(|org| assemble(&org, request, &mut template, steps, &mut problems));
    let warnings = problems.finish()?;
    let Some(plan) = plan else {
        let message = "nothing is left of the template";
        return Err(Diagnostic::new("template-empty", message).into());
    };
    let mut plan = Plan { warnings, ..plan };
    steps.plan(&mut plan)?;
    Ok(plan)
}

/// Where a template begins, unless it is asked for another file: the first one that is there.
const YAML: &str = "org.yaml";
const YML: &str = "org.yml";

/// The path of the file with which the template begins.
fn entry(asked: &str, template: &mut Template<'_>, problems: &mut Problems) -> Option<String> {
    const HELP: &str =
        "an org template is a folder with an `org.yaml` that has `name` and `workspaces`";
    let candidates = if asked.is_empty() {
        vec![YAML.to_owned(), YML.to_owned()]
    } else {
        match files::joined("", asked) {
            Ok(path) => vec![path],
            Err(why) => {
                let message = format!("the entry file {} {why}", quoted(asked));
                problems.error(Diagnostic::new("path-invalid", message).help(HELP));
                return None;
            }
        }
    };
    let found = candidates.iter().find(|path| is_there(path, template));
    if asked.is_empty() && found.is_some_and(|found| found == YAML) && is_there(YML, template) {
        let message = format!("this file is not read: `{YAML}` beside it is the template's");
        let warning = Diagnostic::new("two-entries", message).on(&Pos::of_file(YML, 0));
        problems.warn(warning.help("remove one of them"));
    }
    if found.is_none() {
        let message = format!(
            "there is no {} in the template",
            candidates.join(" and no ")
        );
        problems.error(Diagnostic::new("template-missing", message).help(HELP));
    }
    found.cloned()
}

fn is_there(path: &str, template: &mut Template<'_>) -> bool {
    !matches!(template.text(path), Err(Unreadable::Missing))
}

fn assemble(
    org: &schema::Org,
    request: &Request,
    template: &mut Template<'_>,
    steps: &mut dyn Steps,
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
        folders: seed::Folders::of(&org.workspaces),
        bytes: 0,
        global_memories: org.global_memories.as_slice(),
        workspaces: Vec::new(),
        scopes: Vec::new(),
        template,
        steps,
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

/// The defaults, resolved and checked once.
struct Resolved<'a> {
    spec: &'a Defaults,
    runtime: Option<String>,
    tier: Option<u8>,
    plugins: Vec<merge::ListedPlugin>,
    initial_prompt: Option<String>,
    idle_prompt: Option<String>,
}

struct Assembly<'a, 'f> {
    org: &'a schema::Org,
    defaults: Resolved<'a>,
    granted: &'a Variables,
    layers: Layers,
    folders: seed::Folders,
    /// What counts for [`limits::PLAN_BYTES`] so far.
    bytes: usize,
    /// Until the first root has taken them.
    global_memories: &'a [schema::Memory],
    workspaces: Vec<Workspace>,
    scopes: Vec<Scope<'a>>,
    template: &'a mut Template<'f>,
    steps: &'a mut dyn Steps,
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
            runtime: spec
                .runtime
                .as_ref()
                .map(|name| settings::runtime(name, problems)),
            tier: spec
                .tier
                .as_ref()
                .and_then(|number| settings::tier(number, problems)),
            plugins: plugin::resolve(&spec.plugins, root, template, problems),
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
        identity::check(&org.workspaces, self.problems);
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
        let names: Vec<Name> = siblings.iter().map(|one| Name::new(&one.name)).collect();
        for (spec, slug) in siblings.iter().zip(key::slugs(&names)) {
            let key = match parent.key {
                Some(parent) => format!("{parent}/{slug}"),
                None => slug,
            };
            let spawning = parent.spawning && spec.spawning;
            if spawning {
                self.workspace(spec, key.clone());
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

    fn workspace(&mut self, spec: &'a schema::Workspace, key: String) {
        if self.bytes > limits::PLAN_BYTES {
            return;
        }
        let before = self.problems.errors();
        if key.len() > limits::KEY_BYTES {
            let message = format!(
                "its names and those above it make a key of more than {} bytes",
                limits::KEY_BYTES
            );
            self.problems.error(
                Diagnostic::new("key-too-long", message)
                    .about(&spec.at)
                    .help("use shorter names"),
            );
        }
        let base = self.base(spec);
        self.scopes.push(Scope {
            needs: &spec.needs,
            has: Some(Has {
                key: key.clone(),
                vars: Rc::clone(&base.vars),
            }),
        });
        let mut settings = self.settings(spec, &base, key);
        if self.problems.errors() == before && !spec.name.is_empty() {
            let done = self.steps.settings(&mut settings);
            for problem in done.err().map(Vec::from).into_iter().flatten() {
                self.problems.error(problem);
            }
            for warning in std::mem::take(&mut settings.warnings) {
                self.problems.warn(warning);
            }
        }
        let (mut files, mut env) = (Vec::new(), Vec::new());
        // Nothing is created for an external workspace, and so it is told no secrets.
        if !spec.external {
            files = self.files(&base, &settings);
            env = base
                .vars
                .iter()
                .map(|(name, value)| EnvVar {
                    name: name.clone(),
                    value: value.text.clone(),
                    secret: true,
                    origin: value.origin.clone(),
                })
                .collect();
        }
        let workspace = Workspace {
            key: settings.key,
            name: settings.name,
            renamed_from: settings.renamed_from,
            role: settings.role,
            runtime: settings.runtime,
            model: settings.model,
            tier: settings.tier,
            external: settings.external,
            url: settings.url,
            workspace_dir: settings.workspace_dir,
            workspace_access: settings.workspace_access,
            plugins: settings
                .plugins
                .iter()
                .map(|plugin| plugin::planned(plugin, self.problems))
                .collect(),
            files,
            env,
            schedules: settings.schedules,
            channels: settings.channels,
            skipped_channels: settings.skipped_channels,
            memories: settings.memories,
            max_concurrent_tasks: settings.max_concurrent_tasks,
            // Set when the whole tree is known.
            canvas: Canvas { x: 0.0, y: 0.0 },
        };
        self.bytes += bytes_of(&workspace, &base.vars);
        if self.bytes > limits::PLAN_BYTES {
            let message = format!(
                "the plan has more than {} MiB of generated files, variables, memories and plugins",
                limits::PLAN_BYTES >> 20
            );
            let help =
                "give fewer workspaces the large texts, or put them into files under `files_dir`";
            self.problems.error(
                Diagnostic::new("plan-too-large", message)
                    .about(&spec.at)
                    .help(help),
            );
        }
        self.workspaces.push(workspace);
    }

    /// Everything that the template says of a workspace, resolved.
    fn settings(&mut self, spec: &'a schema::Workspace, base: &Base, key: String) -> Settings {
        let sources = Sources {
            vars: &base.vars,
            granted: self.granted,
        };
        let folder = base.folder.as_deref();
        let is_root = !key.contains('/');
        let (channels, skipped_channels) = channel::resolve(&spec.channels, sources, self.problems);
        let (workspace_dir, workspace_access) = mount::resolve(spec, sources, self.problems);
        let schedules = schedule::resolve(&spec.schedules, folder, self.template, self.problems);
        let own_plugins = plugin::resolve(&spec.plugins, folder, self.template, self.problems);
        let plugins = merge::plugins(&self.defaults.plugins, &own_plugins);
        let memories = self.memories(spec, is_root);
        let runtime = self.runtime(spec);
        let tier = self.tier(spec);
        let url = settings::url(spec, self.problems);
        let max_concurrent_tasks = settings::max_concurrent_tasks(spec, self.problems);
        let (mut initial_prompt, mut idle_prompt) = (None, None);
        if !spec.external {
            let mut prompt = |own, default: &Option<String>| {
                prompt::resolve(own, folder, self.template, self.problems)
                    .or_else(|| default.clone())
            };
            initial_prompt = prompt(&spec.prompts.initial, &self.defaults.initial_prompt);
            idle_prompt = prompt(&spec.prompts.idle, &self.defaults.idle_prompt);
        }
        let idle_interval = first_set(
            &spec.prompts.idle_interval,
            &self.defaults.spec.prompts.idle_interval,
        );
        Settings {
            at: spec.at.clone(),
            key,
            external: spec.external,
            warnings: Vec::new(),
            name: spec.name.to_string(),
            renamed_from: spec.renamed_from.iter().map(|f| f.former.clone()).collect(),
            role: spec.role.clone(),
            runtime,
            model: spec
                .model
                .as_ref()
                .or(self.defaults.spec.model.as_ref())
                .map(|model| model.text.clone()),
            tier,
            url,
            workspace_dir,
            workspace_access,
            plugins,
            schedules,
            channels,
            skipped_channels,
            memories,
            max_concurrent_tasks,
            system_prompt: spec
                .system_prompt
                .as_ref()
                .map(|prompt| prompt.text.clone()),
            initial_prompt,
            idle_prompt,
            idle_interval_seconds: idle_interval
                .map(|interval| interval.number)
                .filter(|seconds| *seconds > 0)
                .unwrap_or(DEFAULT_IDLE_INTERVAL),
            category_routing: merge::routing(&self.defaults.spec.routing, &spec.routing),
        }
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
        let own = spec
            .runtime
            .as_ref()
            .map(|own| settings::runtime(own, self.problems));
        match own.or_else(|| self.defaults.runtime.clone()) {
            Some(runtime) => runtime,
            None if spec.external => EXTERNAL_RUNTIME.to_owned(),
            None => {
                let message = "the workspace has no runtime, and the defaults have none";
                let help = "add `runtime` to the workspace, or to `defaults`";
                self.problems.error(
                    Diagnostic::new("runtime-missing", message)
                        .about(&spec.at)
                        .help(help),
                );
                String::new()
            }
        }
    }

    fn tier(&mut self, spec: &schema::Workspace) -> u8 {
        let own = spec
            .tier
            .as_ref()
            .and_then(|own| settings::tier(own, self.problems));
        own.or(self.defaults.tier).unwrap_or(DEFAULT_TIER)
    }

    fn memories(&mut self, spec: &schema::Workspace, is_root: bool) -> Vec<Memory> {
        let own = spec.memories.as_ref();
        let own = own.or(self.defaults.spec.memories.as_ref());
        let mut memories: Vec<Memory> = own
            .into_iter()
            .flatten()
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

    /// The folder's files, and the generated ones over them.
    fn files(&mut self, base: &Base, settings: &Settings) -> Vec<SeedFile> {
        let config = render::config(settings);
        let system_prompt = settings
            .system_prompt
            .as_ref()
            .filter(|text| !text.trim().is_empty());
        let Settings {
            channels, memories, ..
        } = settings;
        let generated = [
            ("config.yaml", Some(config), false),
            (
                "system-prompt.md",
                system_prompt.map(|text| Ok(text.clone().into_bytes())),
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
        for (path, bytes, secret) in generated {
            let Some(bytes) = bytes else { continue };
            let bytes = bytes.unwrap_or_else(|error| {
                let message = format!("`{path}` cannot be written: {error}");
                self.problems
                    .error(settings.problem("not-rendered", message));
                Vec::new()
            });
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
        files.into_values().collect()
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

/// What counts for [`limits::PLAN_BYTES`].
fn bytes_of(workspace: &Workspace, vars: &Variables) -> usize {
    /// Of an entry of a list, beside its texts.
    const ENTRY: usize = 16;
    let files = workspace.files.iter().map(|file| match &file.content {
        Content::Inline(bytes) => bytes.len(),
        Content::Template(_) | Content::TemplateText(_) => 0,
    });
    let vars = vars.iter().map(|(name, value)| {
        let file = match &value.origin {
            Origin::Template(place) => place.file.len(),
            Origin::Plugin | Origin::Operator => 0,
        };
        ENTRY + name.len() + value.text.len() + file
    });
    let former = workspace.renamed_from.iter().map(|former| match former {
        Former::Name(name) => ENTRY + name.len(),
        Former::Path(names) => names.iter().map(|name| ENTRY + name.len()).sum(),
    });
    let memories = workspace
        .memories
        .iter()
        .map(|memory| ENTRY + memory.content.len());
    let plugins = workspace
        .plugins
        .iter()
        .map(|plugin| ENTRY + plugin.source.len() + plugin.config.as_ref().map_or(0, String::len));
    files
        .chain(vars)
        .chain(former)
        .chain(memories)
        .chain(plugins)
        .sum()
}

fn seeded(memory: &schema::Memory, scope: MemoryScope) -> Memory {
    Memory {
        content: memory.content.clone(),
        scope,
    }
}

/// Warns of roles that categories are routed to and that no workspace has.
fn routing_targets(org: &schema::Org, problems: &mut Problems) {
    let mut all = Vec::new();
    let mut open: Vec<&schema::Workspace> = org.workspaces.iter().rev().collect();
    while let Some(workspace) = open.pop() {
        all.push(workspace);
        open.extend(workspace.children.iter().rev());
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
                "categories are routed to {}, and no workspace is called that",
                quoted(&role.text)
            );
            problems.warn(Diagnostic::new("routing-target-unknown", message).about(&role.at));
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
