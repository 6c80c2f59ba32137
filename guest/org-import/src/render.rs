//! Renders the files that the importer generates: `config.yaml`, `channels.yaml` and `memories.yaml`
//! (org-template.md §6). It decides nothing, and `config.yaml` holds no secret.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::merge::Plugin;
use crate::{Channel, Memory, MemoryScope, Schedule};

/// `config.yaml`. The order of the fields is the order in the file.
#[derive(Serialize)]
pub(crate) struct Config<'a> {
    pub name: &'a str,
    /// The role.
    pub description: &'a str,
    /// Of the layout of this file.
    pub version: &'static str,
    pub tier: u8,
    pub runtime: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_config: Option<RuntimeConfig>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub category_routing: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginEntry<'a>>,
    #[serde(skip_serializing_if = "is_one")]
    pub max_concurrent_tasks: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_prompt: Option<&'a str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle<'a>>,
}

#[derive(Serialize)]
pub(crate) struct RuntimeConfig {
    timeout: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum PluginEntry<'a> {
    Name(&'a str),
    Configured {
        source: &'a str,
        config: &'a serde_yaml::Value,
    },
}

#[derive(Serialize)]
pub(crate) struct ScheduleEntry<'a> {
    name: &'a str,
    cron_expr: &'a str,
    timezone: &'a str,
    enabled: bool,
    prompt: &'a str,
}

/// A prompt that an idle workspace sends itself.
#[derive(Serialize)]
pub(crate) struct Idle<'a> {
    #[serde(rename = "idle_interval_seconds")]
    pub interval: i64,
    #[serde(rename = "idle_prompt")]
    pub prompt: &'a str,
}

#[derive(Serialize)]
struct ChannelEntry<'a> {
    r#type: &'a str,
    enabled: bool,
    allowed_users: &'a [String],
    config: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct MemoryEntry<'a> {
    scope: &'static str,
    content: &'a str,
}

impl RuntimeConfig {
    /// Most runtimes want it; two have no such setting.
    pub fn of(runtime: &str) -> Option<Self> {
        (!matches!(runtime, "langgraph" | "deepagents")).then_some(Self { timeout: 0 })
    }
}

impl<'a> From<&'a Plugin> for PluginEntry<'a> {
    fn from(plugin: &'a Plugin) -> Self {
        let source = &plugin.source;
        match &plugin.config {
            None => Self::Name(source),
            Some(config) => Self::Configured { source, config },
        }
    }
}

impl<'a> From<&'a Schedule> for ScheduleEntry<'a> {
    fn from(schedule: &'a Schedule) -> Self {
        Self {
            name: &schedule.name,
            cron_expr: &schedule.cron,
            timezone: &schedule.timezone,
            enabled: schedule.enabled,
            prompt: &schedule.prompt,
        }
    }
}

impl<'a> From<&'a Channel> for ChannelEntry<'a> {
    fn from(channel: &'a Channel) -> Self {
        let config = channel.config.iter();
        Self {
            r#type: &channel.kind,
            enabled: channel.enabled,
            allowed_users: &channel.allowed_users,
            config: config
                .map(|entry| (entry.name.as_str(), entry.value.as_str()))
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
            content: &memory.content,
        }
    }
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

/// A document of YAML.
pub(crate) fn yaml(document: &impl Serialize) -> Result<Vec<u8>, serde_yaml::Error> {
    serde_yaml::to_string(document).map(String::into_bytes)
}

/// `channels.yaml`: a secret file, since it may hold tokens.
pub(crate) fn channels(channels: &[Channel]) -> Result<Vec<u8>, serde_yaml::Error> {
    yaml(&channels.iter().map(ChannelEntry::from).collect::<Vec<_>>())
}

/// `memories.yaml`.
pub(crate) fn memories(memories: &[Memory]) -> Result<Vec<u8>, serde_yaml::Error> {
    yaml(&memories.iter().map(MemoryEntry::from).collect::<Vec<_>>())
}

/// The schedules of a plugin's configuration, as they stand in `config.yaml`.
pub(crate) fn schedules(schedules: &[Schedule]) -> Result<serde_yaml::Value, serde_yaml::Error> {
    serde_yaml::to_value(
        schedules
            .iter()
            .map(ScheduleEntry::from)
            .collect::<Vec<_>>(),
    )
}
