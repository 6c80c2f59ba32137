//! Assembles the plan from what the other modules resolve, workspace by workspace, parents first. There is no plan when
//! the template has an error.

use std::rc::Rc;

use super::canvas::Tile;
use super::environment::Layers;
use super::expand::{self, Sources, Variables};
use super::fields::Reader;
use super::files::{self, Template};
use super::name::Name;
use super::problems::Problems;
use super::requirements::{self, Has, Scope};
use super::settings::{Defaults, Inputs};
use super::steps::{Settings, Steps};
use super::{
    entry, identity, include, key, limits, plugin, prompt, read, routing, schema, seed, settings,
};
use crate::{
    Canvas, Content, Diagnostic, EnvVar, Former, Org, Origin, Plan, Refusal, Request, SeedFile,
    TemplateFiles, Workspace,
};

/// Turns a template into a plan.
///
/// # Errors
/// All errors of the template, or what the steps refuse.
pub(crate) fn import(
    files: &dyn TemplateFiles,
    request: &Request,
    steps: &mut dyn Steps,
) -> Result<Plan, Refusal> {
    let mut problems = Problems::default();
    let mut template = Template::new(files);
    let skip_external = request.options.skip_external;
    let org = entry::find(&request.entry, &mut template, &mut problems)
        .and_then(|entry| include::load(&mut template, &entry, skip_external, &mut problems))
        .and_then(|root| {
            let org = read::org(&root, &mut Reader::new(&mut problems));
            // An instance answers one call. Its memory is freed as a whole, which is faster than node by node.
            if cfg!(target_family = "wasm") {
                std::mem::forget(root);
            }
            org
        });
    let plan = org.map(|org| assemble(&org, request, &mut template, steps, &mut problems));
    let warnings = problems.finish()?;
    let Some(plan) = plan else {
        let message = "nothing is left of the template: its whole content is `!external`";
        return Err(Diagnostic::new("template-empty", message).into());
    };
    let mut plan = Plan { warnings, ..plan };
    steps.plan(&mut plan)?;
    Ok(plan)
}

fn assemble(
    org: &schema::Org,
    request: &Request,
    template: &mut Template<'_>,
    steps: &mut dyn Steps,
    problems: &mut Problems,
) -> Plan {
    template.read_ahead(prompt::files(org));
    let granted = expand::variables(&request.environment.granted);
    let layers = Layers::new(
        expand::variables(&request.environment.vars),
        template,
        problems,
    );
    let mut assembly = Assembly {
        defaults: Defaults::resolve(&org.defaults, template, problems),
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

struct Assembly<'a, 'f> {
    org: &'a schema::Org,
    defaults: Defaults<'a>,
    granted: &'a Variables,
    layers: Layers,
    folders: seed::Folders,
    /// Bytes of the workspaces so far, as [`bytes_of`] counts them. At most [`limits::PLAN_BYTES`].
    bytes: usize,
    /// The global memories; empty once the first root workspace has them.
    global_memories: &'a [schema::Memory],
    workspaces: Vec<Workspace>,
    scopes: Vec<Scope<'a>>,
    template: &'a mut Template<'f>,
    steps: &'a mut dyn Steps,
    problems: &'a mut Problems,
}

/// The folder of a workspace's files, and what comes from it.
struct Base {
    /// `None` after a reported problem.
    folder: Option<String>,
    /// The files of the folder that are seeded. `None` when the workspace has no `files_dir`, and after a reported
    /// problem.
    files: Option<Rc<[SeedFile]>>,
    vars: Rc<Variables>,
}

/// The parent of a list of siblings.
#[derive(Clone, Copy)]
struct Parent<'k> {
    /// `None` for roots.
    key: Option<&'k str>,
    /// `false` when the parent, or an ancestor, has `spawning: false`.
    spawning: bool,
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
        routing::check(org, self.problems);
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
                "the key made from this workspace's name and its ancestors' names has more than {} bytes",
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
        // The host creates nothing for an external workspace, so the plan gives it no variables: they may be secrets.
        if !spec.external {
            let copied = base.files.as_deref().unwrap_or_default();
            files = seed::files(copied, &settings, self.problems);
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
                .into_iter()
                .map(|plugin| plugin::planned(plugin, self.problems))
                .collect(),
            files,
            env,
            schedules: settings.schedules,
            channels: settings.channels,
            skipped_channels: settings.skipped_channels,
            memories: settings.memories,
            max_concurrent_tasks: settings.max_concurrent_tasks,
            // `run` sets it when the whole tree is known.
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

    fn settings(&mut self, spec: &'a schema::Workspace, base: &Base, key: String) -> Settings {
        let is_root = !key.contains('/');
        let global_memories = if is_root && !spec.external {
            std::mem::take(&mut self.global_memories)
        } else {
            &[]
        };
        let inputs = Inputs {
            defaults: &self.defaults,
            sources: Sources {
                vars: &base.vars,
                granted: self.granted,
            },
            folder: base.folder.as_deref(),
            global_memories,
        };
        settings::resolve(spec, key, inputs, self.template, self.problems)
    }

    fn base(&mut self, spec: &schema::Workspace) -> Base {
        let (mut folder, mut files) = (Some(String::new()), None);
        if let Some(dir) = &spec.files_dir {
            folder = files::normalise("", &dir.text, &dir.at, self.problems);
            files = folder.as_ref().and_then(|folder| {
                self.folders
                    .files(folder, &dir.at, self.template, self.problems)
            });
            // No prompt file can be found in a folder that is missing. That is one problem, and it is reported already.
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
}

/// Bytes of a workspace that count towards [`limits::PLAN_BYTES`].
fn bytes_of(workspace: &Workspace, vars: &Variables) -> usize {
    /// Bytes that an entry of a list takes besides its texts.
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
