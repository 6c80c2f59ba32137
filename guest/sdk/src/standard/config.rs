//! Writes `config.yaml`, which every workspace gets (org-template.md §6). It holds no secret.
//!
//! The layout is written by hand, because serde-saphyr looks at each character of a long text several times, and a third
//! of the time of a plan went there. serde-saphyr still writes every text that may need quotes, and the configurations
//! of plugins. A test compares both.

use std::fmt::Display;

use memchr::{memchr, memchr_iter, memchr3};

use super::merge::ListedPlugin;
use super::render::{self, Error};
use super::steps::Settings;
use super::text;
use crate::Schedule;

/// Renders `config.yaml`.
///
/// # Errors
/// As [`render::yaml`].
pub(crate) fn render(settings: &Settings) -> Result<Vec<u8>, Error> {
    let prompts = [&settings.initial_prompt, &settings.idle_prompt];
    let long = prompts.into_iter().flatten().map(String::len);
    let schedules = settings.schedules.iter().map(|one| one.prompt.len());
    let mut file = Writer {
        out: String::with_capacity(1_024 + (long.chain(schedules).sum::<usize>() * 9 / 8)),
    };
    file.text("name", &settings.name)?;
    // The workspace's role.
    file.text("description", &settings.role)?;
    // The version of the file's layout.
    file.line("version", "\"1.0.0\"");
    file.line("tier", settings.tier);
    file.text("runtime", &settings.runtime)?;
    if let Some(model) = &settings.model {
        file.text("model", model)?;
    }
    // Two runtimes do not have this setting.
    if !matches!(settings.runtime.as_str(), "langgraph" | "deepagents") {
        file.out.push_str("runtime_config:\n  timeout: 0\n");
    }
    if !settings.category_routing.is_empty() {
        file.out.push_str("category_routing:\n");
    }
    for (category, roles) in &*settings.category_routing {
        file.route(category, roles)?;
    }
    if !settings.plugins.is_empty() {
        file.out.push_str("plugins:\n");
    }
    for plugin in &settings.plugins {
        file.plugin(plugin)?;
    }
    if settings.max_concurrent_tasks != 1 {
        file.line("max_concurrent_tasks", settings.max_concurrent_tasks);
    }
    if !settings.schedules.is_empty() {
        file.out.push_str("schedules:\n");
    }
    for schedule in &settings.schedules {
        file.schedule(schedule)?;
    }
    if let Some(prompt) = &settings.initial_prompt {
        file.text("initial_prompt", prompt)?;
    }
    // The number of seconds until a workspace is idle, and the prompt that it gets then.
    if let Some(prompt) = &settings.idle_prompt {
        file.line("idle_interval_seconds", settings.idle_interval_seconds);
        file.text("idle_prompt", prompt)?;
    }
    Ok(file.out.into_bytes())
}

/// A file that is being written.
struct Writer {
    out: String,
}

impl Writer {
    /// A field of the whole document, with a value that is no text.
    fn line(&mut self, key: &str, value: impl Display) {
        self.out.push_str(&format!("{key}: {value}\n"));
    }

    /// A field of the whole document, with a text.
    fn text(&mut self, key: &str, text: &str) -> Result<(), Error> {
        self.out.push_str(key);
        self.out.push(':');
        self.value(text, "  ")
    }

    fn route(&mut self, category: &str, roles: &[String]) -> Result<(), Error> {
        if !is_plain(category) || category.contains([':', ',', '[', ']', '{', '}']) {
            for line in text::lines(&render::route(category, roles)?) {
                if !line.is_empty() {
                    self.out.push_str("  ");
                    self.out.push_str(line);
                }
                self.out.push('\n');
            }
            return Ok(());
        }
        self.out.push_str("  ");
        self.out.push_str(category);
        self.out.push_str(":\n");
        for role in roles {
            self.out.push_str("  -");
            self.value(role, "    ")?;
        }
        Ok(())
    }

    fn plugin(&mut self, plugin: &ListedPlugin) -> Result<(), Error> {
        if let Some(config) = &plugin.config {
            self.out.push_str(&render::plugin(&plugin.source, config)?);
            return Ok(());
        }
        self.out.push('-');
        self.value(&plugin.source, "  ")
    }

    fn schedule(&mut self, schedule: &Schedule) -> Result<(), Error> {
        for (key, text) in [
            ("- name:", &schedule.name),
            ("  cron_expr:", &schedule.cron),
            ("  timezone:", &schedule.timezone),
        ] {
            self.out.push_str(key);
            self.value(text, "    ")?;
        }
        self.line("  enabled", schedule.enabled);
        self.out.push_str("  prompt:");
        self.value(&schedule.prompt, "    ")
    }

    /// A text after a key or a `-`. `indentation` is that of a text with several lines.
    fn value(&mut self, text: &str, indentation: &str) -> Result<(), Error> {
        self.out.push(' ');
        if is_plain(text) {
            self.out.push_str(text);
            self.out.push('\n');
        } else if is_block(text) {
            self.block(text, indentation);
        } else {
            self.out.push_str(&render::text(text)?);
        }
        Ok(())
    }

    /// A text as a block, with its indentation and the line feeds at its end where a reader cannot see them.
    fn block(&mut self, text: &str, indentation: &str) {
        let content = text.trim_end_matches('\n');
        self.out.push('|');
        if content.trim_start_matches('\n').starts_with(' ') {
            self.out.push('2');
        }
        match text.len() - content.len() {
            0 => self.out.push('-'),
            1 if !content.is_empty() => {}
            _ => self.out.push('+'),
        }
        self.out.push('\n');
        for line in text::lines(text) {
            if !line.is_empty() {
                self.out.push_str(indentation);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }
}

/// Whether a text of one line means itself without quotes, to readers of YAML 1.1 and 1.2. It is `false` for some that
/// do.
fn is_plain(text: &str) -> bool {
    /// Words that readers take for a boolean, a number or nothing, in any case.
    const OTHERS: [&str; 11] = [
        "y", "n", "on", "no", "off", "yes", "inf", "nan", "null", "true", "false",
    ];
    let bytes = text.as_bytes();
    let next = |place: usize| bytes.get(place + 1);
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && memchr3(b'\n', b'\t', b'#', bytes).is_none()
        && !memchr_iter(b':', bytes).any(|colon| next(colon) == Some(&b' '))
        && !text.trim_end().ends_with(':')
        && !text.ends_with(' ')
        && !OTHERS.iter().any(|word| word.eq_ignore_ascii_case(text))
        && is_shown(text)
}

/// Whether a text is written as a block: it has several lines. Not when its first line that is not empty begins with a
/// tab, because libyaml refuses such a block.
fn is_block(text: &str) -> bool {
    memchr(b'\n', text.as_bytes()).is_some()
        && !text.trim_start_matches(['\n', ' ']).starts_with('\t')
        && is_shown(text)
}

/// Whether every reader takes all characters of a text for printable ones.
fn is_shown(text: &str) -> bool {
    text::unusual(text).all(|(_, character)| {
        matches!(character, '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
            && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;
    use crate::standard::render::Text;

    /// The fields that hold texts, in the layout of the file.
    #[derive(Serialize)]
    struct Fields<'a> {
        description: Text<'a>,
        category_routing: BTreeMap<&'a str, Vec<Text<'a>>>,
        plugins: Vec<Text<'a>>,
        schedules: Vec<Entry<'a>>,
        initial_prompt: Text<'a>,
    }

    #[derive(Serialize)]
    struct Entry<'a> {
        name: Text<'a>,
        cron_expr: Text<'a>,
        timezone: Text<'a>,
        enabled: bool,
        prompt: Text<'a>,
    }

    fn by_library(key: &str, text: &str) -> Vec<u8> {
        let text = Text(text);
        let schedule = Entry {
            name: text,
            cron_expr: text,
            timezone: text,
            enabled: true,
            prompt: text,
        };
        let fields = Fields {
            description: text,
            category_routing: BTreeMap::from([(key, vec![text, text])]),
            plugins: vec![text],
            schedules: vec![schedule],
            initial_prompt: text,
        };
        render::yaml(&fields).unwrap()
    }

    fn by_hand(key: &str, text: &str) -> Vec<u8> {
        let mut file = Writer { out: String::new() };
        file.text("description", text).unwrap();
        file.out.push_str("category_routing:\n");
        let roles = [text.to_owned(), text.to_owned()];
        file.route(key, &roles).unwrap();
        file.out.push_str("plugins:\n");
        file.plugin(&ListedPlugin::named(text)).unwrap();
        file.out.push_str("schedules:\n");
        let text = || text.to_owned();
        let schedule = Schedule {
            name: text(),
            cron: text(),
            timezone: text(),
            prompt: text(),
            enabled: true,
        };
        file.schedule(&schedule).unwrap();
        file.text("initial_prompt", &text()).unwrap();
        file.out.into_bytes()
    }

    proptest! {
        #[test]
        fn a_text_is_written_as_serde_saphyr_writes_it(
            key in "(yes|Null|[0-9]|[a-z]|[A-Z]|[:#,{\\[ -]|\u{e9}|\\PC){1,8}",
            text in "(y|Yes|null|NaN|[a-z]{1,6}|: |:| #|#|[-?&*!|>'\"%@`{}\\[\\],~=<.]|[0-9]|--- |[ ]{1,4}|\t|\n|\r|\u{e9}|\u{1f600}|[\u{0}-\u{2f}]|[\u{7f}-\u{a1}]|[\u{2027}-\u{202a}]|\u{feff}|[\u{fffc}-\u{10001}]|\\PC){0,30}",
        ) {
            let (hand, library) = (by_hand(&key, &text), by_library(&key, &text));
            prop_assert_eq!(String::from_utf8(hand).unwrap(), String::from_utf8(library).unwrap());
        }
    }
}
