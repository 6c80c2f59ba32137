//! Compares a plan with an expectation of a profile. An expectation describes only the parts of a plan that the specification
//! fixes. An object must have each expected key with a matching value, and may have others. A list must have the same length and
//! match item by item. Numbers are equal when their values are. `null` also matches an absent value. Instead of a value, an
//! expectation can have one of these matchers:
//!
//! - `{"$contains": [A, …]}`: a list with an item that matches A, and one for each further expectation;
//! - `{"$lacks": [A, …]}`: a list with no item that matches A or a further expectation;
//! - `{"$has": "text"}`: a text that contains this text;
//! - `{"$yaml": A}`: a YAML text whose content matches A. In it, plain `true`, `false`, `null` and numbers as in JSON have these
//!   types, and everything else is a text.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Reduces `found` to the parts that `expected` describes. The result equals `expected` exactly when `found` matches it.
pub fn reduce(expected: &Value, found: &Value) -> Value {
    if matches(expected, found) {
        return expected.clone();
    }
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) if matcher(expected).is_none() => {
            let field = |(name, value): (&String, &Value)| {
                let found = found.get(name).unwrap_or(&Value::Null);
                (name.clone(), reduce(value, found))
            };
            Value::Object(expected.iter().map(field).collect())
        }
        (Value::Array(expected), Value::Array(found)) => {
            let item = |(number, found): (usize, &Value)| match expected.get(number) {
                Some(expected) => reduce(expected, found),
                None => found.clone(),
            };
            Value::Array(found.iter().enumerate().map(item).collect())
        }
        (Value::Object(fields), Value::String(text)) if fields.contains_key("$yaml") => {
            match yaml(text) {
                Ok(content) => {
                    let expected = fields.get("$yaml").unwrap_or(&Value::Null);
                    Value::Object(Map::from_iter([(
                        "$yaml".to_owned(),
                        reduce(expected, &content),
                    )]))
                }
                Err(_) => found.clone(),
            }
        }
        _ => found.clone(),
    }
}

fn matches(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(fields), _) => match (matcher(fields), found) {
            (Some(("$contains", Value::Array(all))), Value::Array(items)) => all
                .iter()
                .all(|wanted| items.iter().any(|item| matches(wanted, item))),
            (Some(("$lacks", Value::Array(none))), Value::Array(items)) => !none
                .iter()
                .any(|unwanted| items.iter().any(|item| matches(unwanted, item))),
            (Some(("$has", Value::String(part))), Value::String(text)) => text.contains(part),
            (Some(("$yaml", wanted)), Value::String(text)) => {
                yaml(text).is_ok_and(|content| matches(wanted, &content))
            }
            (None, Value::Object(found)) => fields
                .iter()
                .all(|(name, wanted)| matches(wanted, found.get(name).unwrap_or(&Value::Null))),
            _ => false,
        },
        (Value::Array(wanted), Value::Array(items)) => {
            wanted.len() == items.len()
                && wanted
                    .iter()
                    .zip(items)
                    .all(|(wanted, item)| matches(wanted, item))
        }
        (Value::Number(wanted), Value::Number(number)) => wanted.as_f64() == number.as_f64(),
        _ => expected == found,
    }
}

/// The name and the argument of a matcher. `None` for an ordinary object.
fn matcher(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, value) = fields.iter().next()?;
    (fields.len() == 1 && name.starts_with('$')).then_some((name, value))
}

/// Parses the first document of a YAML text.
fn yaml(text: &str) -> Result<Value, String> {
    /// An incomplete value: a list, or a mapping with a key whose value comes next.
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let complete = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(fields, _)) => Value::Object(fields),
                None => return Err("it ends a list or a mapping that did not begin".to_owned()),
            },
            Event::Alias(_) => return Err("it has aliases".to_owned()),
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(complete),
            Some(Open::List(items)) => items.push(complete),
            Some(Open::Map(fields, key)) => match key.take() {
                Some(name) => {
                    fields.insert(name, complete);
                }
                None => {
                    *key = Some(match complete {
                        Value::String(name) => name,
                        other => other.to_string(),
                    });
                }
            },
        }
    }
    Err("it is empty".to_owned())
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    let plain = matches!(style, ScalarStyle::Plain);
    match text {
        _ if !plain => Value::String(text.to_owned()),
        "" | "~" => Value::Null,
        _ => match serde_json::from_str(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
            _ => Value::String(text.to_owned()),
        },
    }
}
