//! Finds the plugin that a template asks for, by parsing the beginning of its `org.yaml` before any plugin runs.

use super::directory::TemplateDir;
use super::path::{FileError, TemplatePath};
use crate::limits;

/// The plugin that a template asks for, with the place of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPlugin {
    /// The value of `plugin:`, as it is written. It can be an invalid name.
    pub name: String,
    /// The file of the template: `org.yaml` or `org.yml`.
    pub file: &'static str,
    /// The line in the file, from 1.
    pub line: u32,
}

impl TemplateDir {
    /// The value of `plugin` at the top level of `org.yaml` or `org.yml`. `None` when it is absent, empty or not a text, and
    /// when the file cannot be read or parsed up to it; then the default plugin runs and reports the error. Only the first
    /// [`limits::TEMPLATE_HEAD`] bytes are parsed.
    pub fn wanted_plugin(&self) -> Option<WantedPlugin> {
        let (name, file) = ["org.yaml", "org.yml"].into_iter().find_map(|name| {
            match self.read(&TemplatePath::new(name).ok()?) {
                Err(FileError::NotFound) => None,
                read => Some((name, read.ok())),
            }
        })?;
        let mut bytes = file?.bytes;
        if bytes.len() > limits::TEMPLATE_HEAD {
            bytes.truncate(limits::TEMPLATE_HEAD);
            // The last line can be incomplete, and so can a name in it.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n')?);
        }
        let text = String::from_utf8(bytes).ok()?;
        let (value, line) = top_level_text(&text, "plugin")?;
        Some(WantedPlugin {
            name: value,
            file: name,
            line,
        })
    }
}

/// The text value of a top-level key of a YAML document, and its line. Aliases are not followed. `None` also after
/// [`limits::TEMPLATE_EVENTS`] events and below [`limits::TEMPLATE_DEPTH`] levels.
fn top_level_text(yaml: &str, wanted: &str) -> Option<(String, u32)> {
    use saphyr_parser::{Event, Parser};
    let mut depth = 0_usize;
    // At depth 1 keys and values alternate. This is the key whose value comes next.
    let mut key = None;
    for event in Parser::new_from_str(yaml).take(limits::TEMPLATE_EVENTS) {
        let (event, span) = event.ok()?;
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if depth == 1 && key.is_none() && matches!(event, Event::MappingEnd) {
            return None;
        }
        match event {
            Event::SequenceStart(..) if depth == 0 => return None,
            Event::Scalar(..) | Event::Alias(_) if depth == 0 => return None,
            Event::SequenceEnd | Event::MappingEnd => depth = depth.checked_sub(1)?,
            // No template is so deep, and the parser's work grows with the depth.
            _ if opens && depth == limits::TEMPLATE_DEPTH => return None,
            _ if opens => depth += 1,
            _ => {}
        }
        // At depth 1, the event completes a key or a value of the document's mapping.
        let complete = match event {
            Event::Scalar(..) | Event::Alias(_) | Event::SequenceEnd | Event::MappingEnd => {
                depth == 1
            }
            _ => false,
        };
        if !complete {
            continue;
        }
        match (key.take(), event) {
            (None, Event::Scalar(text, ..)) => key = Some(text.into_owned()),
            (None, _) => key = Some(String::new()),
            (Some(name), Event::Scalar(value, style, ..)) if name == wanted => {
                let is_null = matches!(style, saphyr_parser::ScalarStyle::Plain)
                    && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
                return (!is_null).then(|| (value.into_owned(), line));
            }
            (Some(name), _) if name == wanted => return None,
            (Some(_), _) => {}
        }
    }
    None
}
