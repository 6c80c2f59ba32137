//! Values whose schema only their reader knows: the configurations of agent plugins. They are passed on, as YAML and
//! as JSON, in the order in which they were written.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::Schedule;
use crate::render::{ScheduleEntry, Text};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Data>),
    Map(Vec<(String, Data)>),
    /// Resolved like a workspace's own.
    Schedules(Vec<Schedule>),
}

impl Data {
    /// What an unquoted scalar of YAML 1.2 is. `007`, `0x10`, `yes` and dates are texts, and so is a number that
    /// would be spelled in another way when it is written again.
    pub fn plain(text: &str) -> Option<Self> {
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
