//! Canaries: cases that check that a plugin reveals the value of a granted variable only where a whole value is one reference to
//! it. There is a case for each field of a template, and each case tries all ways to write the reference.

use crate::model::env_map::EnvMap;
use crate::model::plan::{Content, Plan};
use crate::plugin::sandbox::{CallError, PluginInput};

use super::scratch::Scratch;
use super::{Check, Loaded, Outcome, Part, rules};

/// The part of a canary by which it is recognised, also when a plugin reveals only a part.
const MARK: &str = "c4n4ry-7e1fb0d2";

/// The value of a granted variable. It has the form of a bot token, so that it is valid in a channel's configuration.
const VALUE: &str = "7340031:c4n4ry-7e1fb0d2-tail";

/// A value that is valid as a directory.
const DIRECTORY: &str = "/c4n4ry-7e1fb0d2/tail";

/// The names of the cases and their templates. `@` in a template is replaced by the text with the reference.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "org-name",
        "name: '@'\nworkspaces: [{name: A, runtime: x}]\n",
    ),
    (
        "org-description",
        "name: O\ndescription: '@'\nworkspaces: [{name: A, runtime: x}]\n",
    ),
    (
        "defaults",
        "name: O\ndefaults: {runtime: x, model: '@', plugins: ['@'], initial_prompt: '@', idle_prompt: '@', category_routing: {c: ['@'], '@': [A]}, initial_memories: [{content: '@'}]}\nworkspaces: [{name: A}]\n",
    ),
    (
        "name",
        "name: O\nworkspaces: [{name: '@', runtime: x, children: [{name: '@', runtime: x}]}]\n",
    ),
    (
        "renamed-from",
        "name: O\nworkspaces: [{name: A, runtime: x, renamed_from: ['@', ['@', B]]}]\n",
    ),
    (
        "role",
        "name: O\nworkspaces: [{name: A, runtime: x, role: '@'}]\n",
    ),
    (
        "model",
        "name: O\nworkspaces: [{name: A, runtime: x, model: '@'}]\n",
    ),
    (
        "runtime",
        "name: O\nworkspaces: [{name: A, runtime: '@'}]\n",
    ),
    (
        "system-prompt",
        "name: O\nworkspaces: [{name: A, runtime: x, system_prompt: '@'}]\n",
    ),
    (
        "prompts",
        "name: O\nworkspaces: [{name: A, runtime: x, initial_prompt: '@', idle_prompt: '@'}]\n",
    ),
    (
        "prompt-files",
        "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role, initial_prompt_file: prompt.md, idle_prompt_file: prompt.md}]\n",
    ),
    (
        "prompt-file-name",
        "name: O\nworkspaces: [{name: A, runtime: x, initial_prompt_file: '@'}]\n",
    ),
    (
        "files-dir",
        "name: O\nworkspaces: [{name: A, runtime: x, files_dir: '@'}]\n",
    ),
    ("include", "name: O\nworkspaces: [!include '@']\n"),
    (
        "workspace-dir",
        "name: O\nworkspaces: [{name: A, runtime: x, workspace_dir: '@', workspace_access: read_only}]\n",
    ),
    (
        "plugins",
        "name: O\nworkspaces: [{name: A, runtime: x, plugins: ['@', {source: p, config: {key: '@', '@': 1, list: ['@']}}]}]\n",
    ),
    (
        "category-routing",
        "name: O\nworkspaces: [{name: A, runtime: x, category_routing: {c: ['@'], '@': [A]}}]\n",
    ),
    (
        "schedules",
        "name: O\nworkspaces: [{name: A, runtime: x, schedules: [{name: '@', cron_expr: '0 9 * * *', prompt: '@'}]}]\n",
    ),
    (
        "timezone",
        "name: O\nworkspaces: [{name: A, runtime: x, schedules: [{name: s, cron_expr: '@', timezone: '@', prompt: p}]}]\n",
    ),
    (
        "channel-config",
        "name: O\nworkspaces: [{name: A, runtime: x, channels: [{type: telegram, config: {bot_token: '@', chat_id: '1'}}, {type: slack, config: {webhook_url: '@'}}]}]\n",
    ),
    (
        "channel-refused",
        "name: O\nworkspaces: [{name: A, runtime: x, channels: [{type: discord, config: {webhook_url: '@'}}, {type: '@', config: {a: '@'}}]}]\n",
    ),
    (
        "channel-missing",
        "name: O\nworkspaces: [{name: A, runtime: x, channels: [{type: slack, config: {webhook_url: '@', other: '${NOT_THERE}'}}]}]\n",
    ),
    (
        "allowed-users",
        "name: O\nworkspaces: [{name: A, runtime: x, channels: [{type: telegram, config: {bot_token: '1:a', chat_id: '1'}, allowed_users: ['@']}]}]\n",
    ),
    (
        "memories",
        "name: O\nglobal_memories: [{content: '@'}]\nworkspaces: [{name: A, runtime: x, initial_memories: [{content: '@', scope: '@'}]}]\n",
    ),
    (
        "url",
        "name: O\nworkspaces: [{name: A, external: true, url: '@'}]\n",
    ),
    (
        "required-env",
        "name: O\nrequired_env: ['@', {any_of: ['@', CANARY]}]\nrecommended_env: ['@']\nworkspaces: [{name: A, runtime: x, required_env: [CANARY]}]\n",
    ),
    (
        "unknown-key",
        "name: O\n'@': '@'\nworkspaces: [{name: A, runtime: x, '@': '@'}]\n",
    ),
    (
        "wrong-type",
        "name: O\nworkspaces: [{name: A, runtime: x, tier: '@', children: '@', canvas: {x: '@'}}]\n",
    ),
    (
        "env-file",
        "name: O\nworkspaces: [{name: A, runtime: x, files_dir: role, channels: [{type: slack, config: {webhook_url: '${FROM_FILE}'}}]}]\n",
    ),
];

/// Texts that contain a reference but are not one as a whole. The plugin must keep the reference or remove it.
const EMBEDDED: &[&str] = &[
    "x/${CANARY}",
    "/srv/${CANARY}/y",
    "$CANARY$CANARY",
    " ${CANARY}",
    "${CANARY} ",
    "$CANARY-x",
    "${CANARY:-x}",
    "${CANARY-x}",
    "${$CANARY}",
    "$$CANARY",
    "https://$CANARY",
];

pub fn checks() -> Vec<Check> {
    let check = |(name, template): &(&'static str, &'static str)| {
        let template = *template;
        Check::new(Part::Contract, format!("canary-{name}"), move |loaded| {
            reveals_only_whole_values(loaded, template)
        })
    };
    let mut checks: Vec<Check> = TEMPLATES.iter().map(check).collect();
    checks.push(Check::new(Part::Contract, "canary-unused", unused));
    checks.push(Check::new(
        Part::Contract,
        "canary-not-granted",
        not_granted,
    ));
    checks
}

fn reveals_only_whole_values(loaded: &Loaded, template: &str) -> std::io::Result<Outcome> {
    let embedded = EMBEDDED.iter().map(|text| (*text, Allowed::Nowhere));
    let whole = ["${CANARY}", "$CANARY"].map(|text| (text, Allowed::Whole));
    for (text, allowed) in embedded.chain(whole) {
        let scratch = with_text(template, text)?;
        for value in [VALUE, DIRECTORY] {
            let found = leaks(loaded, &scratch, value, allowed).into_iter();
            let wrong: Vec<_> = found.map(|leak| format!("with {text:?}: {leak}")).collect();
            // Stop at the first failure, because a plugin that loops would reach the deadline for each text.
            if !wrong.is_empty() {
                return Ok(Outcome::unless(&wrong));
            }
        }
    }
    Ok(Outcome::Passed)
}

/// Where the value of a canary may be in a plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Nowhere,
    /// In texts that are exactly the value, and as a separate value in generated files.
    Whole,
}

/// The template with `@` replaced by a text, which is also in the other files that the template uses.
fn with_text(template: &str, text: &str) -> std::io::Result<Scratch> {
    let org = template.replace('@', text);
    let env = format!("FROM_FILE={text}\n");
    let scratch = Scratch::with([("org.yaml", org.as_bytes())])?;
    if template.contains("files_dir: role") {
        for (path, bytes) in [
            (".env", env.as_str()),
            ("role/.env", &env),
            ("role/prompt.md", text),
            ("role/notes.md", text),
        ] {
            scratch.write(path, bytes)?;
        }
    }
    Ok(scratch)
}

fn leaks(loaded: &Loaded, scratch: &Scratch, value: &str, allowed: Allowed) -> Vec<String> {
    let input = PluginInput {
        granted: EnvMap::from([("CANARY".to_owned(), value.to_owned())]),
        ..PluginInput::default()
    };
    let answer = loaded.plugin.plan(&scratch.template, &input);
    let mut wrong = match &answer {
        Ok(plan) => in_plan(plan, value, allowed),
        Err(CallError::Rejected(errors)) => in_text("the errors", &json(errors)),
        Err(_) => Vec::new(),
    };
    wrong.extend(rules::broken(&answer, &scratch.template));
    wrong
}

fn in_plan(plan: &Plan, value: &str, allowed: Allowed) -> Vec<String> {
    let mut wrong = in_text("the warnings", &json(&plan.warnings));
    let mut rest = plan.revealed();
    rest.warnings.clear();
    for workspace in &mut rest.workspaces {
        for skipped in &workspace.skipped_channels {
            wrong.extend(in_text("the reason of a skipped channel", &skipped.reason));
        }
        for file in &mut workspace.files {
            if let Content::Inline(bytes) = &mut file.content {
                let text = String::from_utf8_lossy(bytes);
                let text = match allowed {
                    Allowed::Nowhere => text.into_owned(),
                    Allowed::Whole => without_values(&text, value),
                };
                wrong.extend(in_text(&format!("the file {:?}", file.path), &text));
                bytes.clear();
            }
        }
    }
    let mut document = serde_json::to_value(&rest).unwrap_or_default();
    if allowed == Allowed::Whole {
        without_whole(&mut document, value);
    }
    wrong.extend(in_text("the plan", &document.to_string()));
    wrong
}

fn in_text(what: &str, text: &str) -> Vec<String> {
    if text.contains(MARK) {
        vec![format!("the granted value is in {what}")]
    } else {
        Vec::new()
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Removes the value from a text where it is a separate word or a quoted value.
fn without_values(text: &str, value: &str) -> String {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "\"',]}".contains(c));
    let begins = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || "\"'[{".contains(c));
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(value) {
        kept.push_str(before);
        if !begins(before.chars().next_back()) || !ends(after.chars().next()) {
            kept.push_str(value);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Empties the texts of a JSON document that are exactly the value.
fn without_whole(document: &mut serde_json::Value, value: &str) {
    match document {
        serde_json::Value::String(text) if text == value => text.clear(),
        serde_json::Value::Array(items) => {
            items.iter_mut().for_each(|item| without_whole(item, value));
        }
        serde_json::Value::Object(fields) => {
            fields
                .values_mut()
                .for_each(|field| without_whole(field, value));
        }
        _ => {}
    }
}

/// A granted variable that the template does not mention is not in the plan.
fn unused(loaded: &Loaded) -> std::io::Result<Outcome> {
    let template = "name: O\nrequired_env: [OTHER]\nworkspaces: [{name: A, runtime: x}]\n";
    let scratch = with_text(template, "")?;
    let wrong = leaks(loaded, &scratch, VALUE, Allowed::Nowhere);
    Ok(Outcome::unless(&wrong))
}

/// Variables of the host that are not granted have no value in a plan.
fn not_granted(loaded: &Loaded) -> std::io::Result<Outcome> {
    /// Bytes of a value that can be recognised. A shorter one, such as `/`, is in every template.
    const SHORTEST: usize = 5;
    let recognisable: Vec<_> = loaded
        .ungranted
        .iter()
        .filter(|(_, value)| value.len() >= SHORTEST)
        .collect();
    if recognisable.is_empty() {
        return Ok(Outcome::Skipped {
            why: "the host has no variable with a value that can be recognised".to_owned(),
        });
    }
    let mut wrong = Vec::new();
    for (name, value) in recognisable {
        for text in [
            format!("${{{name}}}"),
            format!("${name}"),
            format!("x/${name}"),
        ] {
            for (_, template) in TEMPLATES {
                let org = template.replace('@', &text);
                let scratch = Scratch::with([("org.yaml", org.as_bytes())])?;
                let answer = match loaded
                    .plugin
                    .plan(&scratch.template, &PluginInput::default())
                {
                    Ok(plan) => format!("{:?}", plan.revealed()),
                    Err(CallError::Rejected(errors)) => json(&errors),
                    Err(error) => return Ok(Outcome::failed(super::describe_failure(&error))),
                };
                if answer.contains(value.as_str()) {
                    wrong.push(format!(
                        "the answer contains the value of {name}, which is not granted"
                    ));
                }
            }
        }
    }
    wrong.dedup();
    Ok(Outcome::unless(&wrong))
}
