//! Reads the fields of a template (org-template.md §1) from the nodes of its document. It merges nothing, reads no file
//! and expands nothing.

use std::rc::Rc;

use super::fields::{Field, Fields, Reader, Text};
use super::node::{Node, Value};
use super::problems::{At, quoted};
use super::schema::{
    Channel, Defaults, FormerName, Memory, Need, Needs, Org, Plugin, PluginConfig, Prompt, Prompts,
    Route, Schedule, Workspace,
};
use super::{data, limits, text};
use crate::{Diagnostic, Former, MemoryScope, WorkspaceAccess};

/// Reads a whole template. `None` when the document is not a mapping.
pub(crate) fn org(root: &Node, reader: &mut Reader<'_>) -> Option<Org> {
    let mut fields = Field::root(root).fields(reader)?;
    let mut count = 0;
    let name = fields.required("name", "an org template", reader);
    // The host reads `plugin` to choose the plugin. It is checked here so that it is not an unknown key.
    fields.text("plugin", reader);
    let org = Org {
        name: trimmed(name),
        description: trimmed(fields.text("description", reader)),
        defaults: fields
            .get("defaults")
            .and_then(|field| defaults(&field, reader))
            .unwrap_or_default(),
        workspaces: fields.list("workspaces", reader, |item, reader| {
            workspace(item, 1, &mut count, reader)
        }),
        global_memories: fields.list("global_memories", reader, memory),
        needs: needs(&mut fields, reader),
    };
    fields.finish(reader);
    Some(org)
}

fn defaults(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Defaults> {
    let mut fields = field.fields(reader)?;
    let defaults = Defaults {
        runtime: fields.text("runtime", reader),
        tier: fields.number("tier", reader),
        model: fields.text("model", reader),
        plugins: fields.list("plugins", reader, plugin),
        prompts: prompts(&mut fields, reader),
        routing: routing(&mut fields, reader),
        memories: initial_memories(&mut fields, reader),
    };
    fields.finish(reader);
    Some(defaults)
}

fn workspace(
    field: &Field<'_>,
    depth: usize,
    count: &mut usize,
    reader: &mut Reader<'_>,
) -> Option<Workspace> {
    let mut fields = field.fields(reader)?;
    *count += 1;
    if *count == limits::WORKSPACES + 1 {
        let message = format!(
            "the template has more than {} workspaces",
            limits::WORKSPACES
        );
        reader
            .problems
            .error(Diagnostic::new("too-many-workspaces", message).about(&field.at));
    }
    if *count > limits::WORKSPACES {
        return None;
    }
    if depth > limits::WORKSPACE_DEPTH {
        let message = format!(
            "workspaces are more than {} levels deep here",
            limits::WORKSPACE_DEPTH
        );
        reader
            .problems
            .error(Diagnostic::new("workspaces-too-deep", message).about(&field.at));
        return None;
    }
    let name = fields.required("name", "a workspace", reader);
    let name = name.and_then(|name| workspace_name(&name, reader));
    let name: Option<Rc<str>> = name.map(Rc::from);
    let name = name.unwrap_or_default();
    fields.at.workspace = (!name.is_empty()).then(|| Rc::clone(&name));
    if let Some(template) = fields.get("template") {
        let message = "`template` has no effect: there is no folder of templates on the host";
        let help = "put the files into the template and name their folder in `files_dir`";
        reader.problems.warn(
            Diagnostic::new("template-ignored", message)
                .about(&template.at)
                .help(help),
        );
    }
    let workspace = Workspace {
        at: fields.at.clone(),
        name,
        renamed_from: renamed_from(&mut fields, reader),
        role: fields
            .text("role", reader)
            .map(|role| role.text.trim_end().to_owned())
            .unwrap_or_default(),
        runtime: fields.text("runtime", reader),
        model: fields.text("model", reader),
        tier: fields.number("tier", reader),
        files_dir: fields.text("files_dir", reader),
        spawning: fields.flag("spawning", reader).unwrap_or(true),
        system_prompt: fields.text("system_prompt", reader),
        dir: fields.text("workspace_dir", reader),
        access: fields
            .text("workspace_access", reader)
            .and_then(|text| access(text, reader)),
        plugins: fields.list("plugins", reader, plugin),
        prompts: prompts(&mut fields, reader),
        routing: routing(&mut fields, reader),
        memories: initial_memories(&mut fields, reader),
        max_concurrent_tasks: fields.number("max_concurrent_tasks", reader),
        schedules: fields.list("schedules", reader, schedule),
        channels: fields.list("channels", reader, channel),
        external: fields.flag("external", reader).unwrap_or(false),
        url: fields.text("url", reader),
        canvas: fields
            .get("canvas")
            .and_then(|field| canvas(&field, reader)),
        needs: needs(&mut fields, reader),
        children: fields.list("children", reader, |item, reader| {
            workspace(item, depth + 1, count, reader)
        }),
    };
    fields.finish(reader);
    Some(workspace)
}

fn workspace_name(name: &Text, reader: &mut Reader<'_>) -> Option<String> {
    let trimmed = name.text.trim();
    if trimmed.len() > limits::NAME_BYTES {
        let message = format!(
            "the name {} has more than {} bytes",
            quoted(trimmed),
            limits::NAME_BYTES
        );
        let help = "give it a short `name`, and say more in `role`";
        let problem = Diagnostic::new("name-too-long", message).about(&name.at);
        reader.problems.error(problem.help(help));
        return None;
    }
    Some(trimmed.to_owned())
}

/// Reads `renamed_from`: a name, or a list of names and of paths of names.
fn renamed_from(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Vec<FormerName> {
    let Some(field) = fields.get("renamed_from") else {
        return Vec::new();
    };
    let items = match &field.node.value {
        Value::Scalar { .. } => vec![field],
        _ => field.items(reader),
    };
    let items = items.iter();
    items.filter_map(|item| former_name(item, reader)).collect()
}

fn former_name(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<FormerName> {
    let at = item.at.clone();
    let former = if matches!(item.node.value, Value::List(_)) {
        let names = item.items(reader);
        if names.is_empty() || names.len() > limits::WORKSPACE_DEPTH {
            let message = format!(
                "a path of former names has 1 to {} names, and this one has {}",
                limits::WORKSPACE_DEPTH,
                names.len()
            );
            let problem = Diagnostic::new("renamed-from-path", message).about(&at);
            reader.problems.error(problem.help(
                    "a path has the names from the org down: those of the ancestors first, then its own",
                ));
            return None;
        }
        let names: Option<Vec<String>> = names
            .iter()
            .map(|name| one_former_name(name, reader))
            .collect();
        Former::Path(names?)
    } else {
        Former::Name(one_former_name(item, reader)?)
    };
    Some(FormerName { former, at })
}

fn one_former_name(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let before = reader.problems.errors();
    let name = item
        .text(reader)
        .filter(|name| !name.text.trim().is_empty());
    if name.is_none() && reader.problems.errors() == before {
        let message = "a former name is empty";
        let problem = Diagnostic::new("renamed-from-empty", message).about(&item.at);
        reader.problems.error(problem);
    }
    workspace_name(&name?, reader)
}

fn trimmed(text: Option<Text>) -> String {
    text.map(|text| text.text.trim().to_owned())
        .unwrap_or_default()
}

fn prompts(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Prompts {
    Prompts {
        initial: Prompt {
            inline: fields.text("initial_prompt", reader),
            file: fields.text("initial_prompt_file", reader),
        },
        idle: Prompt {
            inline: fields.text("idle_prompt", reader),
            file: fields.text("idle_prompt_file", reader),
        },
        idle_interval: fields.number("idle_interval_seconds", reader),
    }
}

fn access(text: Text, reader: &mut Reader<'_>) -> Option<(WorkspaceAccess, At)> {
    const KNOWN: [(&str, WorkspaceAccess); 3] = [
        ("none", WorkspaceAccess::None),
        ("read_only", WorkspaceAccess::ReadOnly),
        ("read_write", WorkspaceAccess::ReadWrite),
    ];
    let known = KNOWN.into_iter().find(|(name, _)| *name == text.text);
    if known.is_none() {
        let names = KNOWN.map(|(name, _)| name);
        let near = reader.problems.did_you_mean(&text.text, names);
        let message = format!(
            "there is no `workspace_access` {}{near}",
            quoted(&text.text)
        );
        let help = "it is `none`, `read_only` or `read_write`";
        reader.problems.error(
            Diagnostic::new("workspace-access", message)
                .about(&text.at)
                .help(help),
        );
    }
    known.map(|(_, access)| (access, text.at))
}

fn routing(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Vec<Route> {
    let entries = fields
        .get("category_routing")
        .map(|field| field.entries(reader))
        .unwrap_or_default();
    let route = |(category, field): (Rc<str>, Field<'_>)| Route {
        category,
        roles: field.texts(reader),
    };
    entries
        .into_iter()
        .map(route)
        .filter(|route| !route.category.is_empty())
        .collect()
}

fn plugin(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<Plugin> {
    if !matches!(item.node.value, Value::Map(_)) {
        let source = item.text(reader)?;
        return Some(Plugin {
            source,
            config: None,
        });
    }
    let mut fields = item.fields(reader)?;
    let source = fields.required("source", "a plugin", reader);
    let config = fields
        .get("config")
        .map(|field| plugin_config(&field, reader));
    fields.finish(reader);
    Some(Plugin {
        source: source?,
        config,
    })
}

fn plugin_config(field: &Field<'_>, reader: &mut Reader<'_>) -> PluginConfig {
    let mut config = PluginConfig {
        rest: Vec::new(),
        schedules: None,
    };
    for (key, value) in field.entries(reader) {
        if &*key == "schedules" {
            let items = value.items(reader);
            config.schedules = Some(
                items
                    .iter()
                    .filter_map(|item| schedule(item, reader))
                    .collect(),
            );
        } else {
            config
                .rest
                .push((key.to_string(), data::read(&value, reader)));
        }
    }
    config
}

fn schedule(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<Schedule> {
    let mut fields = item.fields(reader)?;
    let schedule = Schedule {
        at: item.at.clone(),
        name: fields.text("name", reader),
        cron: fields.required("cron_expr", "a schedule", reader),
        timezone: fields.text("timezone", reader),
        prompt: Prompt {
            inline: fields.text("prompt", reader),
            file: fields.text("prompt_file", reader),
        },
        enabled: fields.flag("enabled", reader).unwrap_or(true),
    };
    fields.finish(reader);
    Some(schedule)
}

fn channel(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<Channel> {
    let mut fields = item.fields(reader)?;
    let kind = fields.text("type", reader);
    let config = fields
        .get("config")
        .map(|field| field.entries(reader))
        .unwrap_or_default();
    let config = config.into_iter().filter_map(|(key, field)| {
        // An empty value is kept: the channel's type decides whether it may be empty.
        let empty = || Text {
            text: String::new(),
            at: field.at.clone(),
        };
        let scalar = matches!(field.node.value, Value::Scalar { .. });
        let value = field.text(reader).or_else(|| scalar.then(empty))?;
        Some((key, value))
    });
    let channel = Channel {
        at: item.at.clone(),
        kind,
        config: config.collect(),
        allowed_users: fields.texts("allowed_users", reader),
        enabled: fields.flag("enabled", reader).unwrap_or(true),
    };
    fields.finish(reader);
    Some(channel)
}

/// Reads `initial_memories`. `None` for a missing or empty list. A list with only empty memories is a list without
/// memories, and replaces the defaults.
fn initial_memories(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Vec<Memory>> {
    let items = fields.get("initial_memories")?.items(reader);
    let memories = items.iter().filter_map(|item| memory(item, reader));
    let memories = memories.collect();
    (!items.is_empty()).then_some(memories)
}

fn memory(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<Memory> {
    let mut fields = item.fields(reader)?;
    let content = fields.text("content", reader);
    let scope = match fields.text("scope", reader) {
        None => Some(MemoryScope::Local),
        Some(text) => scope(&text, reader),
    };
    fields.finish(reader);
    let Some(mut content) = content
        .map(|content| content.text)
        .filter(|content| !content.trim().is_empty())
    else {
        let message = "this memory has no content and is left out";
        reader
            .problems
            .warn(Diagnostic::new("memory-empty", message).about(&item.at));
        return None;
    };
    if text::cut(&mut content, limits::MEMORY_BYTES) {
        let message = format!("this memory is cut to {} bytes", limits::MEMORY_BYTES);
        reader
            .problems
            .warn(Diagnostic::new("memory-cut", message).about(&item.at));
    }
    Some(Memory {
        content,
        scope: scope?,
    })
}

fn scope(text: &Text, reader: &mut Reader<'_>) -> Option<MemoryScope> {
    match text.text.to_uppercase().as_str() {
        "LOCAL" => Some(MemoryScope::Local),
        "TEAM" => Some(MemoryScope::Team),
        "GLOBAL" => Some(MemoryScope::Global),
        _ => {
            let message = format!("there is no memory scope {}", quoted(&text.text));
            let help = "it is LOCAL, TEAM or GLOBAL";
            reader.problems.error(
                Diagnostic::new("memory-scope", message)
                    .about(&text.at)
                    .help(help),
            );
            None
        }
    }
}

fn canvas(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<(f64, f64)> {
    let mut fields = field.fields(reader)?;
    let (x, y) = (fields.decimal("x", reader), fields.decimal("y", reader));
    fields.finish(reader);
    Some((x.unwrap_or(0.0), y.unwrap_or(0.0)))
}

fn needs(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Needs {
    Needs {
        required: fields.list("required_env", reader, need),
        recommended: fields.list("recommended_env", reader, need),
    }
}

fn need(item: &Field<'_>, reader: &mut Reader<'_>) -> Option<Need> {
    if !matches!(item.node.value, Value::Map(_)) {
        return Some(Need {
            names: vec![item.text(reader)?],
        });
    }
    let mut fields = item.fields(reader)?;
    let any_of = fields.get("any_of");
    fields.finish(reader);
    let before = reader.problems.errors();
    let names = any_of.map(|field| field.texts(reader)).unwrap_or_default();
    if names.is_empty() {
        if reader.problems.errors() == before {
            let message = "a group of variables needs `any_of` with at least one name";
            reader
                .problems
                .error(Diagnostic::new("any-of-empty", message).about(&item.at));
        }
        return None;
    }
    Some(Need { names })
}
