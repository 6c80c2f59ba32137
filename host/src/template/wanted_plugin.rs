//! The plugin that a template asks for, read from its first bytes before any plugin runs.

use super::directory::TemplateDir;
use super::path::{FileError, TemplatePath};
use crate::limits;

/// The plugin that a template asks for, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPlugin {
    /// The value of `plugin:`, as it is written.
    pub name: String,
    /// The template's file.
    pub file: &'static str,
    /// Counts from 1.
    pub line: u32,
}

impl TemplateDir {
    /// What stands for `plugin` at the top level of `org.yaml` or `org.yml`. `None` also when it is empty or no text,
    /// and when the file cannot be read or is broken before that: the plugin that then runs says what is wrong. Only
    /// the first [`limits::TEMPLATE_HEAD`] bytes are looked at.
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
            // Half a line could hold half a name.
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

/// The text that stands for a key in the mapping that is a YAML document, and its line. Follows no alias, and gives up
/// after [`limits::TEMPLATE_EVENTS`] and below [`limits::TEMPLATE_DEPTH`].
fn top_level_text(yaml: &str, wanted: &str) -> Option<(String, u32)> {
    use saphyr_parser::{Event, Parser};
    let mut depth = 0_usize;
    // At depth 1 keys and values take turns.
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
            // Deeper than any template; the parser's work grows with the depth.
            _ if opens && depth == limits::TEMPLATE_DEPTH => return None,
            _ if opens => depth += 1,
            _ => {}
        }
        // What is complete now is a key or a value of the document's mapping.
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
                let null = matches!(style, saphyr_parser::ScalarStyle::Plain)
                    && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
                return (!null).then(|| (value.into_owned(), line));
            }
            (Some(name), _) if name == wanted => return None,
            (Some(_), _) => {}
        }
    }
    None
}
