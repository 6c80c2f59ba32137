//! What a profile expects of a plan: a part of it, so that the expectation is fair to every implementation. Objects
//! must have every key that is named, with a value that matches; lists must have the same length and match item by
//! item; numbers are equal when their values are; `null` matches what is absent. Where that says too much, one of
//! these stands in place of a value:
//!
//! - `{"$contains": [A, …]}`: a list in which something matches A, and so on;
//! - `{"$lacks": [A, …]}`: a list in which nothing matches A, and so on;
//! - `{"$has": "text"}`: a text that contains this one;
//! - `{"$yaml": A}`: a text that is YAML, whose content matches A. Plain `true`, `false`, `null` and numbers of JSON's
//!   spelling are such values there; everything else is a text.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// What was found, reduced to what was asked for: equal to `expected` exactly when it matches.
pub fn seen(expected: &Value, found: &Value) -> Value {
    if matches(expected, found) {
        return expected.clone();
    }
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) if matcher(expected).is_none() => {
            let field = |(name, value): (&String, &Value)| {
                let found = found.get(name).unwrap_or(&Value::Null);
                (name.clone(), seen(value, found))
            };
            Value::Object(expected.iter().map(field).collect())
        }
        (Value::Array(expected), Value::Array(found)) => {
            let item = |(number, found): (usize, &Value)| match expected.get(number) {
                Some(expected) => seen(expected, found),
                None => found.clone(),
            };
            Value::Array(found.iter().enumerate().map(item).collect())
        }
        (Value::Object(fields), Value::String(text)) if fields.contains_key("$yaml") => {
            match yaml(text) {
                Ok(content) => {
                    let asked = fields.get("$yaml").unwrap_or(&Value::Null);
                    Value::Object(Map::from_iter([(
                        "$yaml".to_owned(),
                        seen(asked, &content),
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

fn matcher(fields: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, value) = fields.iter().next()?;
    (fields.len() == 1 && name.starts_with('$')).then_some((name, value))
}

/// The first document of a YAML text.
fn yaml(text: &str) -> Result<Value, String> {
    /// What is being built: a list, or a mapping with a key that waits for its value.
    enum Open {
        List(Vec<Value>),
        Map(Map<String, Value>, Option<String>),
    }
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let done = match event {
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
                None => return Err("it ends what did not begin".to_owned()),
            },
            Event::Alias(_) => return Err("it has aliases".to_owned()),
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map(fields, key)) => match key.take() {
                Some(name) => {
                    fields.insert(name, done);
                }
                None => {
                    *key = Some(match done {
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
