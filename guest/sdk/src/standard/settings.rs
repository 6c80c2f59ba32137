//! Resolves the settings of a workspace: its own values, or else the defaults, or else the rule of org-template.md.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::expand::Sources;
use super::fields::{Number, Text};
use super::files::Template;
use super::merge::ListedPlugin;
use super::problems::{Problems, quoted};
use super::schema::{self, Workspace};
use super::steps::Settings;
use super::{channel, merge, mount, plugin, prompt, routing, schedule, url};
use crate::{Diagnostic, Memory, MemoryScope};

/// The tier of a workspace when neither it nor the defaults set one.
const DEFAULT_TIER: u8 = 2;
/// Seconds.
const DEFAULT_IDLE_INTERVAL: i64 = 600;
/// The runtime of an external workspace when neither it nor the defaults set one.
const EXTERNAL_RUNTIME: &str = "external";

/// The defaults, resolved and checked once for all workspaces.
pub(crate) struct Defaults<'a> {
    spec: &'a schema::Defaults,
    runtime: Option<String>,
    tier: Option<u8>,
    plugins: Vec<ListedPlugin>,
    routing: Rc<BTreeMap<String, Vec<String>>>,
    initial_prompt: Option<String>,
    idle_prompt: Option<String>,
}

impl<'a> Defaults<'a> {
    pub fn resolve(
        spec: &'a schema::Defaults,
        template: &mut Template<'_>,
        problems: &mut Problems,
    ) -> Self {
        // Paths in the defaults are relative to the template's root.
        let root = Some("");
        Self {
            runtime: spec.runtime.as_ref().map(|name| checked(name, problems)),
            tier: spec
                .tier
                .as_ref()
                .and_then(|number| in_range(number, problems)),
            plugins: plugin::resolve(&spec.plugins, root, template, problems),
            routing: Rc::new(routing::merge(&spec.routing, &[])),
            initial_prompt: prompt::resolve(&spec.prompts.initial, root, template, problems),
            idle_prompt: prompt::resolve(&spec.prompts.idle, root, template, problems),
            spec,
        }
    }
}

/// What the settings of a workspace depend on, besides its own fields.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub defaults: &'a Defaults<'a>,
    /// The values of references.
    pub sources: Sources<'a>,
    /// The folder of the workspace's prompt files; `None` after a reported problem.
    pub folder: Option<&'a str>,
    /// Added to the workspace's own memories. Empty for every workspace but the first root.
    pub global_memories: &'a [schema::Memory],
}

/// The settings of one workspace. A value that is wrong is reported, and has its default.
pub(crate) fn resolve(
    spec: &Workspace,
    key: String,
    inputs: Inputs<'_>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Settings {
    let Inputs {
        defaults,
        sources,
        folder,
        global_memories,
    } = inputs;
    let (channels, skipped_channels) = channel::resolve(&spec.channels, sources, problems);
    let (workspace_dir, workspace_access) = mount::resolve(spec, sources, problems);
    let schedules = schedule::resolve(&spec.schedules, folder, template, problems);
    let own_plugins = plugin::resolve(&spec.plugins, folder, template, problems);
    let plugins = merge::plugins(&defaults.plugins, &own_plugins);
    let memories = memories(spec, defaults, global_memories);
    let runtime = runtime(spec, defaults, problems);
    let tier = tier(spec, defaults, problems);
    let url = address(spec, problems);
    let max_concurrent_tasks = max_concurrent_tasks(spec, problems);
    let (mut initial_prompt, mut idle_prompt) = (None, None);
    if !spec.external {
        let mut prompt = |own, default: &Option<String>| {
            prompt::resolve(own, folder, template, problems).or_else(|| default.clone())
        };
        initial_prompt = prompt(&spec.prompts.initial, &defaults.initial_prompt);
        idle_prompt = prompt(&spec.prompts.idle, &defaults.idle_prompt);
    }
    let idle_interval = first_set(
        &spec.prompts.idle_interval,
        &defaults.spec.prompts.idle_interval,
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
            .or(defaults.spec.model.as_ref())
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
        category_routing: if spec.routing.is_empty() {
            Rc::clone(&defaults.routing)
        } else {
            Rc::new(routing::merge(&defaults.spec.routing, &spec.routing))
        },
    }
}

fn runtime(spec: &Workspace, defaults: &Defaults<'_>, problems: &mut Problems) -> String {
    let own = spec.runtime.as_ref().map(|own| checked(own, problems));
    match own.or_else(|| defaults.runtime.clone()) {
        Some(runtime) => runtime,
        None if spec.external => EXTERNAL_RUNTIME.to_owned(),
        None => {
            let message = "the workspace has no runtime, and the defaults have none";
            let help = "add `runtime` to the workspace, or to `defaults`";
            problems.error(
                Diagnostic::new("runtime-missing", message)
                    .about(&spec.at)
                    .help(help),
            );
            String::new()
        }
    }
}

/// The name of a runtime. A name that is not valid is reported.
fn checked(name: &Text, problems: &mut Problems) -> String {
    if !is_runtime(&name.text) {
        let message = format!("{} is not a valid name of a runtime", quoted(&name.text));
        let help = "the name of a runtime has small letters, digits, `.`, `_` and `-`, and begins with a letter or digit";
        problems.error(
            Diagnostic::new("runtime-invalid", message)
                .about(&name.at)
                .help(help),
        );
    }
    name.text.clone()
}

/// `[a-z0-9][a-z0-9._-]*`
fn is_runtime(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.starts_with(word)
        && name
            .chars()
            .all(|c| word(c) || matches!(c, '.' | '_' | '-'))
}

fn tier(spec: &Workspace, defaults: &Defaults<'_>, problems: &mut Problems) -> u8 {
    let own = spec.tier.as_ref().and_then(|own| in_range(own, problems));
    own.or(defaults.tier).unwrap_or(DEFAULT_TIER)
}

/// A tier from 1 to 4. `None` for 0, which means "not set", and after a reported problem.
fn in_range(tier: &Number, problems: &mut Problems) -> Option<u8> {
    match u8::try_from(tier.number) {
        Ok(0) => None,
        Ok(number @ 1..=4) => Some(number),
        _ => {
            let message = format!("there is no tier {}", tier.number);
            problems.error(
                Diagnostic::new("tier-invalid", message)
                    .about(&tier.at)
                    .help("tiers are 1, 2, 3 and 4"),
            );
            None
        }
    }
}

/// The address of an external workspace. An address that is wrong, missing or has no effect is reported.
fn address(spec: &Workspace, problems: &mut Problems) -> Option<String> {
    match &spec.url {
        Some(address) => {
            if let Err(why) = url::check(&address.text) {
                let message = format!("the address of the workspace {why}");
                problems.error(Diagnostic::new("url-invalid", message).about(&address.at));
            }
            if !spec.external {
                let message = "`url` has no effect: the workspace is not `external`";
                problems.warn(Diagnostic::new("url-ignored", message).about(&address.at));
            }
        }
        None if spec.external => {
            let message = "an external workspace needs `url`";
            problems.error(Diagnostic::new("url-missing", message).about(&spec.at));
        }
        None => {}
    }
    spec.url.as_ref().map(|address| address.text.clone())
}

/// At least 1.
fn max_concurrent_tasks(spec: &Workspace, problems: &mut Problems) -> u32 {
    let Some(tasks) = spec
        .max_concurrent_tasks
        .as_ref()
        .filter(|tasks| tasks.number > 0)
    else {
        return 1;
    };
    u32::try_from(tasks.number).unwrap_or_else(|_| {
        let message = format!(
            "`max_concurrent_tasks` is at most {}, and this is {}",
            u32::MAX,
            tasks.number
        );
        problems.error(Diagnostic::new("max-concurrent-tasks", message).about(&tasks.at));
        1
    })
}

/// The workspace's own memories, or else those of the defaults, and then the global ones.
fn memories(
    spec: &Workspace,
    defaults: &Defaults<'_>,
    global_memories: &[schema::Memory],
) -> Vec<Memory> {
    let own = spec.memories.as_ref().or(defaults.spec.memories.as_ref());
    let own = own.into_iter().flatten();
    let own = own.map(|memory| in_scope(memory, memory.scope));
    let global = global_memories
        .iter()
        .map(|memory| in_scope(memory, MemoryScope::Global));
    own.chain(global).collect()
}

fn in_scope(memory: &schema::Memory, scope: MemoryScope) -> Memory {
    Memory {
        content: memory.content.clone(),
        scope,
    }
}

/// The workspace's number, or else the default. 0 means "not set".
fn first_set<'a>(own: &'a Option<Number>, default: &'a Option<Number>) -> Option<&'a Number> {
    let is_set = |number: &&Number| number.number != 0;
    own.as_ref()
        .filter(is_set)
        .or(default.as_ref().filter(is_set))
}
