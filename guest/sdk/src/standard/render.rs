//! Renders the generated files: `config.yaml`, `channels.yaml` and `memories.yaml` (org-template.md §6). `config.yaml`
//! holds no secret.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_saphyr::DoubleQuoted;
pub use serde_saphyr::SerializeError as Error;

use super::data::Data;
use super::merge::ListedPlugin;
use super::steps::Settings;
use crate::{Channel, Memory, MemoryScope, Schedule};

/// The content of `config.yaml`. Its fields are in the order of the file.
#[derive(Serialize)]
struct Config<'a> {
    name: Text<'a>,
    /// The workspace's role.
    description: Text<'a>,
    /// The version of the file's layout.
    version: &'static str,
    tier: u8,
    runtime: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_config: Option<RuntimeConfig>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "routing")]
    category_routing: &'a BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plugins: Vec<PluginEntry<'a>>,
    #[serde(skip_serializing_if = "is_one")]
    max_concurrent_tasks: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schedules: Vec<ScheduleEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_prompt: Option<Text<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    idle: Option<Idle<'a>>,
}

/// A text of the template. It is quoted when its first line that is not empty begins with a tab, because libyaml
/// refuses such a text as a block scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Text<'a>(&'a str);

#[derive(Serialize)]
struct RuntimeConfig {
    timeout: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PluginEntry<'a> {
    Name(Text<'a>),
    Configured { source: Text<'a>, config: &'a Data },
}

#[derive(Serialize)]
struct ScheduleEntry<'a> {
    name: Text<'a>,
    cron_expr: &'a str,
    timezone: &'a str,
    enabled: bool,
    prompt: Text<'a>,
}

/// The prompt that an idle workspace gets, and the number of seconds until it is idle.
#[derive(Serialize)]
struct Idle<'a> {
    #[serde(rename = "idle_interval_seconds")]
    interval: i64,
    #[serde(rename = "idle_prompt")]
    prompt: Text<'a>,
}

#[derive(Serialize)]
struct ChannelEntry<'a> {
    r#type: &'a str,
    enabled: bool,
    allowed_users: Vec<Text<'a>>,
    config: BTreeMap<&'a str, Text<'a>>,
}

#[derive(Serialize)]
struct MemoryEntry<'a> {
    scope: &'static str,
    content: Text<'a>,
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(text) = *self;
        if text.trim_start_matches(['\n', ' ']).starts_with('\t') {
            DoubleQuoted(text).serialize(serializer)
        } else {
            serializer.serialize_str(text)
        }
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => Text(text).serialize(serializer),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Schedules(list) => serializer.collect_seq(list.iter().map(ScheduleEntry::from)),
        }
    }
}

impl RuntimeConfig {
    /// Two runtimes do not have this setting.
    fn of(runtime: &str) -> Option<Self> {
        (!matches!(runtime, "langgraph" | "deepagents")).then_some(Self { timeout: 0 })
    }
}

impl<'a> From<&'a ListedPlugin> for PluginEntry<'a> {
    fn from(plugin: &'a ListedPlugin) -> Self {
        let source = Text(&plugin.source);
        match &plugin.config {
            None => Self::Name(source),
            Some(config) => Self::Configured { source, config },
        }
    }
}

impl<'a> From<&'a Schedule> for ScheduleEntry<'a> {
    fn from(schedule: &'a Schedule) -> Self {
        Self {
            name: Text(&schedule.name),
            cron_expr: &schedule.cron,
            timezone: &schedule.timezone,
            enabled: schedule.enabled,
            prompt: Text(&schedule.prompt),
        }
    }
}

impl<'a> From<&'a Channel> for ChannelEntry<'a> {
    fn from(channel: &'a Channel) -> Self {
        let (users, config) = (channel.allowed_users.iter(), channel.config.iter());
        Self {
            r#type: &channel.kind,
            enabled: channel.enabled,
            allowed_users: users.map(|user| Text(user)).collect(),
            config: config
                .map(|entry| (entry.name.as_str(), Text(&entry.value)))
                .collect(),
        }
    }
}

impl<'a> From<&'a Memory> for MemoryEntry<'a> {
    fn from(memory: &'a Memory) -> Self {
        let scope = match memory.scope {
            MemoryScope::Local => "LOCAL",
            MemoryScope::Team => "TEAM",
            MemoryScope::Global => "GLOBAL",
        };
        Self {
            scope,
            content: Text(&memory.content),
        }
    }
}

fn routing<S: Serializer>(
    routing: &BTreeMap<String, Vec<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let entries = routing.iter().map(|(category, roles)| {
        let roles: Vec<Text<'_>> = roles.iter().map(|role| Text(role)).collect();
        (category, roles)
    });
    serializer.collect_map(entries)
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Renders `config.yaml`.
///
/// # Errors
/// As [`yaml`].
pub(crate) fn config(settings: &Settings) -> Result<Vec<u8>, Error> {
    yaml(&Config {
        name: Text(&settings.name),
        description: Text(&settings.role),
        version: "1.0.0",
        tier: settings.tier,
        runtime: Text(&settings.runtime),
        model: settings.model.as_deref().map(Text),
        runtime_config: RuntimeConfig::of(&settings.runtime),
        category_routing: &settings.category_routing,
        plugins: settings.plugins.iter().map(PluginEntry::from).collect(),
        max_concurrent_tasks: settings.max_concurrent_tasks,
        schedules: settings.schedules.iter().map(ScheduleEntry::from).collect(),
        initial_prompt: settings.initial_prompt.as_deref().map(Text),
        idle: settings.idle_prompt.as_deref().map(|prompt| Idle {
            interval: settings.idle_interval_seconds,
            prompt: Text(prompt),
        }),
    })
}

/// Writes a YAML document that readers of YAML 1.1 (such as PyYAML) and of YAML 1.2 understand in the same way: `yes`
/// and `12:30` are in quotes. Texts with several lines are block scalars, and no line is folded.
///
/// ```
/// use std::collections::BTreeMap;
///
/// let written = orghost_plugin::standard::render::yaml(&BTreeMap::from([("at", "12:30")])).unwrap();
/// assert_eq!(written, b"at: \"12:30\"\n");
/// ```
///
/// # Errors
/// When the document cannot be written as YAML.
pub fn yaml(document: &impl Serialize) -> Result<Vec<u8>, Error> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(document, options).map(String::into_bytes)
}

/// Renders `channels.yaml`. This is a secret file, because it may hold tokens.
///
/// # Errors
/// As [`yaml`].
pub fn channels(channels: &[Channel]) -> Result<Vec<u8>, Error> {
    yaml(&channels.iter().map(ChannelEntry::from).collect::<Vec<_>>())
}

/// Renders `memories.yaml`.
///
/// # Errors
/// As [`yaml`].
pub fn memories(memories: &[Memory]) -> Result<Vec<u8>, Error> {
    yaml(&memories.iter().map(MemoryEntry::from).collect::<Vec<_>>())
}
