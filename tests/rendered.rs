//! Reads the YAML files that the default plugin renders with a second reader, `serde_yaml`, and compares every value with
//! the plan. `serde_yaml` resolves plain scalars, so a text that was written without its quotes comes back as a number, a
//! boolean or null and fails the test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use org_import::{Content, MemoryFiles, MemoryScope, Plan, Schedule, Workspace};
use orghost::model::env_map::EnvMap;
use orghost::template::directory::TemplateDir;
use proptest::prelude::{Strategy, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use serde_json::{Value as Json, json};
use serde_yaml::Value;

use crate::support::{native, own_templates, root, shared_templates};

/// Texts that YAML reads as something else when they stand without quotes, or that are difficult to quote.
const AMBIGUOUS: [&str; 60] = [
    "no",
    "yes",
    "on",
    "Off",
    "y",
    "N",
    "true",
    "FALSE",
    "null",
    "Null",
    "~",
    "1e3",
    "1E3",
    "0x1F",
    "0o17",
    "010",
    "1_000",
    "12:30",
    "-1",
    "+1",
    "1.5",
    ".5",
    ".inf",
    "-.INF",
    ".nan",
    "2024-01-01",
    "- a",
    "-",
    "? a",
    "a: b",
    "a:",
    ": a",
    "# a",
    "a #b",
    "a# b",
    "'a'",
    "\"a\"",
    "it's",
    "{a: b}",
    "[a]",
    "!tag a",
    "&a b",
    "*a",
    "|",
    "> a",
    "@a",
    "`a`",
    "%a",
    "=",
    "<<",
    "---",
    "...",
    "a\\nb",
    "a\nb",
    "a\n  b\n\nc",
    "- a\n- b",
    "é",
    "日本語",
    "\u{1f600} x",
    "a\tb",
];

#[test]
fn rendered_templates_read_back_equal_through_a_second_reader() {
    let conformance = std::fs::read_dir(root().join("host/conformance/org-template-1")).unwrap();
    // The cases of the expander have no template.
    let conformance = conformance
        .map(|case| case.unwrap().path().join("template"))
        .filter(|template| template.is_dir());
    let folders: Vec<PathBuf> = own_templates()
        .into_iter()
        .chain(shared_templates())
        .chain(conformance)
        .collect();
    let mut workspaces = 0;
    for folder in folders {
        let files = native::Files(TemplateDir::open(&folder).unwrap());
        let Ok(plan) = org_import::import_org(&files, &native::request(&EnvMap::default())) else {
            continue;
        };
        for workspace in &plan.workspaces {
            let at = format!("{}: {}", folder.display(), workspace.key);
            assert_eq!(read_back(workspace), from_plan(workspace), "{at}");
        }
        workspaces += plan.workspaces.len();
    }
    assert!(
        workspaces > 200,
        "only {workspaces} workspaces were compared"
    );
}

proptest! {
    #[test]
    fn rendered_texts_read_back_equal_through_a_second_reader(
        texts in proptest::collection::vec(text(), 8),
        roles in proptest::collection::vec(select(&AMBIGUOUS[..]), 1..4),
        prompts in (text(), text()),
    ) {
        let [name, role, model, memory, schedule, source, user, id] = &texts[..] else { unreachable!() };
        let is_blank = |text: &str| text.trim().is_empty();
        let name = if is_blank(name) { "W" } else { name };
        let org = json!({
            "name": "O",
            "workspaces": [{
                "name": name,
                "role": role,
                "runtime": "r",
                "model": model,
                "category_routing": {roles[0]: roles, "known": ["a"]},
                "plugins": [source, {"source": "configured", "config": {"text": user, "list": [id, 1.5, true, null]}}],
                "schedules": [{"name": schedule, "cron_expr": "0 8 * * *", "prompt": format!("{}x", prompts.0)}],
                "initial_prompt": prompts.0,
                "idle_prompt": prompts.1,
                "initial_memories": [{"content": memory}, {"content": "second", "scope": "team"}],
                "channels": [{"type": "telegram", "config": {"bot_token": "1:a", "chat_id": format!("{id}x")}, "allowed_users": [user]}],
            }],
        });
        let workspace = one(&org);
        prop_assert_eq!(read_back(&workspace), from_plan(&workspace));

        let config = read(&workspace, "config.yaml").unwrap();
        prop_assert_eq!(config.get("initial_prompt").cloned(), rendered_prompt(&prompts.0));
        prop_assert_eq!(config.get("idle_prompt").cloned(), rendered_prompt(&prompts.1));
        let mut routing = BTreeMap::from([("known", vec!["a"])]);
        routing.insert(roles[0], roles.clone());
        prop_assert_eq!(&config["category_routing"], &serde_yaml::to_value(routing).unwrap());
    }
}

/// A template in which the only difference between reading and misreading is a pair of quotes.
#[test]
fn an_ambiguous_text_stays_a_text() {
    for text in AMBIGUOUS {
        let org = json!({"name": "O", "workspaces": [{"name": "W", "runtime": "r", "role": text}]});
        let config = read(&one(&org), "config.yaml").unwrap();
        assert_eq!(config["description"], Value::from(text), "{text:?}");
    }
}

/// A text without the characters that a template must not have.
fn text() -> impl Strategy<Value = String> {
    let any = "([#:&*!|>'\"%@`{}\\[\\],?~=<-]|---|[.]{3}|[0-9a-z]|[ \t\n]|\\PC){0,30}";
    let pair = (select(&AMBIGUOUS[..]), select(&AMBIGUOUS[..]));
    prop_oneof![
        select(&AMBIGUOUS[..]).prop_map(str::to_owned),
        pair.prop_map(|(first, second)| format!("{first}\n{second}")),
        any.prop_map(|text| text),
    ]
    .prop_filter("a character that is refused", |text: &String| {
        let refused = ['\u{feff}', '\u{2028}', '\u{2029}', '\u{fffe}', '\u{ffff}'];
        !text.contains(refused)
    })
}

/// The only workspace of an org. JSON is also YAML.
fn one(org: &Json) -> Workspace {
    let files: MemoryFiles = [("org.yaml", org.to_string())].into_iter().collect();
    let plan = org_import::import_org(&files, &native::request(&EnvMap::default()));
    let Plan { mut workspaces, .. } = plan.unwrap_or_else(|refusal| panic!("{org}: {refusal:?}"));
    workspaces.remove(0)
}

/// The rule for prompts (spec/org-template.md §6).
fn rendered_prompt(text: &str) -> Option<Value> {
    let lines = text.trim().split('\n');
    let lines: String = lines
        .map(|line| format!("{}\n", line.trim_end_matches([' ', '\t'])))
        .collect();
    (!text.trim().is_empty()).then(|| Value::from(lines))
}

fn read(workspace: &Workspace, path: &str) -> Option<Value> {
    let file = workspace.files.iter().find(|file| file.path == path)?;
    let Content::Inline(bytes) = &file.content else {
        panic!("{path} is not inline");
    };
    let text = String::from_utf8_lossy(bytes);
    Some(serde_yaml::from_slice(bytes).unwrap_or_else(|error| panic!("{error}:\n{text}")))
}

/// The values of the rendered files that the plan holds too.
fn read_back(workspace: &Workspace) -> Value {
    let mut config = read(workspace, "config.yaml").unwrap_or_default();
    if let Some(config) = config.as_mapping_mut() {
        for only_rendered in [
            "runtime_config",
            "category_routing",
            "initial_prompt",
            "idle_interval_seconds",
            "idle_prompt",
        ] {
            config.remove(only_rendered);
        }
    }
    yaml(&json!({
        "config": config,
        "channels": read(workspace, "channels.yaml"),
        "memories": read(workspace, "memories.yaml"),
    }))
}

/// The same values, taken from the plan.
fn from_plan(workspace: &Workspace) -> Value {
    let mut config = json!({
        "name": workspace.name,
        "description": workspace.role,
        "version": "1.0.0",
        "tier": workspace.tier,
        "runtime": workspace.runtime,
    });
    let mut set = |key: &str, value: Json, is_set: bool| {
        if is_set {
            config[key] = value;
        }
    };
    set("model", json!(workspace.model), workspace.model.is_some());
    let plugins = workspace.plugins.iter().map(|plugin| match &plugin.config {
        None => json!(plugin.source),
        Some(config) => {
            let config: Json = serde_json::from_str(config).unwrap();
            json!({"source": plugin.source, "config": config})
        }
    });
    set("plugins", plugins.collect(), !workspace.plugins.is_empty());
    let tasks = workspace.max_concurrent_tasks;
    set("max_concurrent_tasks", json!(tasks), tasks != 1);
    let schedules = workspace.schedules.iter().map(schedule);
    let has_schedules = !workspace.schedules.is_empty();
    set("schedules", schedules.collect(), has_schedules);

    let channels = workspace.channels.iter().map(|channel| {
        let config = channel.config.iter();
        let config: BTreeMap<_, _> = config.map(|entry| (&entry.name, &entry.value)).collect();
        json!({
            "type": channel.kind,
            "enabled": channel.enabled,
            "allowed_users": channel.allowed_users,
            "config": config,
        })
    });
    let channels: Vec<Json> = channels.collect();
    let memories = workspace.memories.iter().map(|memory| {
        let scope = match memory.scope {
            MemoryScope::Local => "LOCAL",
            MemoryScope::Team => "TEAM",
            MemoryScope::Global => "GLOBAL",
        };
        json!({"scope": scope, "content": memory.content})
    });
    let memories: Vec<Json> = memories.collect();
    let is_external = workspace.external;
    yaml(&json!({
        "config": (!is_external).then_some(config),
        "channels": (!is_external && !channels.is_empty()).then_some(channels),
        "memories": (!is_external && !memories.is_empty()).then_some(memories),
    }))
}

fn schedule(schedule: &Schedule) -> Json {
    json!({
        "name": schedule.name,
        "cron_expr": schedule.cron,
        "timezone": schedule.timezone,
        "enabled": schedule.enabled,
        "prompt": schedule.prompt,
    })
}

fn yaml(value: &Json) -> Value {
    serde_yaml::to_value(value).unwrap()
}
