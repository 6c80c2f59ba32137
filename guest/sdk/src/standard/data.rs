//! Values of any shape, such as the configurations of agent plugins. The plan passes them on unchanged.

use std::rc::Rc;

use super::fields::{Field, Reader};
use super::node::Value;
use crate::Schedule;

/// A value of YAML or JSON. It is written as it was read: mappings keep their order, and numbers their spelling.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// No value: `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number of JSON.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Data>),
    /// A mapping, in the order in which it was written. A key occurs once.
    Map(Vec<(String, Data)>),
    /// The `schedules` of an agent plugin's configuration, resolved like the schedules of a workspace.
    Schedules(Vec<Schedule>),
}

impl Data {
    /// The value of a key; `None` when this is not a mapping, or does not have the key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.iter().find(|(known, _)| known == key),
            _ => None,
        }
        .map(|(_, value)| value)
    }

    /// The text; `None` when this is not a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean or number that an unquoted scalar of YAML 1.2 stands for; `None` when it is a text. `007`, `0x10`,
    /// `yes` and dates are texts, and so is a number that would be spelled differently when it is written.
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

/// Reads a value of any shape.
pub(crate) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Data {
    let text = |reader: &mut Reader<'_>| field.text(reader).map(|text| text.text);
    match &field.node.value {
        Value::Omitted => Data::Null,
        _ if field.node.is_null() => Data::Null,
        Value::Scalar {
            text: plain,
            plain: true,
        } => Data::plain(plain).unwrap_or_else(|| Data::Text(text(reader).unwrap_or_default())),
        Value::Scalar { .. } => Data::Text(text(reader).unwrap_or_default()),
        Value::List(_) => {
            let items = field.items(reader);
            Data::List(items.iter().map(|item| read(item, reader)).collect())
        }
        Value::Map(_) => {
            let entries = field.entries(reader).into_iter();
            let pair = |(key, value): (Rc<str>, Field<'_>)| (key.to_string(), read(&value, reader));
            Data::Map(entries.map(pair).collect())
        }
    }
}
