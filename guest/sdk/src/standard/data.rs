//! Values whose schema only their reader knows: the configurations of agent plugins. They are passed on, as YAML and
//! as JSON, in the order in which they were written.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::render::{ScheduleEntry, Text};
use crate::Schedule;

/// A value of YAML or JSON. It is written again as it was read: maps keep their order, and numbers their spelling.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number of JSON.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Data>),
    /// A mapping, in its order; a key occurs once.
    Map(Vec<(String, Data)>),
    /// The `schedules` of an agent plugin's configuration, resolved like a workspace's own.
    Schedules(Vec<Schedule>),
}

impl Data {
    /// The value of a key; `None` where this is no mapping, or has no such key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.iter().find(|(known, _)| known == key),
            _ => None,
        }
        .map(|(_, value)| value)
    }

    /// The text, where this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What an unquoted scalar of YAML 1.2 is. `007`, `0x10`, `yes` and dates are texts, and so is a number that
    /// would be spelled in another way when it is written again.
    pub(crate) fn plain(text: &str) -> Option<Self> {
        match text {
            "true" | "True" | "TRUE" => return Some(Self::Bool(true)),
            "false" | "False" | "FALSE" => return Some(Self::Bool(false)),
            _ => {}
        }
        let number: serde_json::Number = serde_json::from_str(text).ok()?;
        (number.to_string() == text).then_some(Self::Number(number))
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
