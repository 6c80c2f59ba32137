//! Renders YAML: the generated files `channels.yaml` and `memories.yaml` (org-template.md §6), and the parts of
//! `config.yaml` that may need quotes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_saphyr::DoubleQuoted;
pub use serde_saphyr::SerializeError as Error;

use super::data::Data;
use crate::{Channel, Memory, MemoryScope, Schedule};

/// A text of the template. It is quoted when its first line that is not empty begins with a tab, because libyaml
/// refuses such a text as a block scalar.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(pub &'a str);

/// An agent plugin with a configuration.
#[derive(Serialize)]
struct PluginEntry<'a> {
    source: Text<'a>,
    config: &'a Data,
}

#[derive(Serialize)]
struct ScheduleEntry<'a> {
    name: Text<'a>,
    cron_expr: &'a str,
    timezone: &'a str,
    enabled: bool,
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
    written(document).map(String::into_bytes)
}

fn written(document: &impl Serialize) -> Result<String, Error> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(document, options)
}

/// A text as the value of a key, with a line feed.
pub(crate) fn text(text: &str) -> Result<String, Error> {
    written(&Text(text))
}

/// A category with its roles, as a mapping.
pub(crate) fn route(category: &str, roles: &[String]) -> Result<String, Error> {
    let roles: Vec<Text<'_>> = roles.iter().map(|role| Text(role)).collect();
    written(&BTreeMap::from([(category, roles)]))
}

/// A plugin with a configuration, as a list.
pub(crate) fn plugin(source: &str, config: &Data) -> Result<String, Error> {
    let source = Text(source);
    written(&[PluginEntry { source, config }])
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
