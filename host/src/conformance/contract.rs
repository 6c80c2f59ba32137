//! Part 1, the contract: cases for every plugin, whatever dialect it handles. They require no particular plan. A plugin can
//! reject each of these templates, but with valid errors, and always with the same ones.

use crate::model::env_map::EnvMap;
use crate::model::plan::is_slug;
use crate::plugin::sandbox::{CallError, Plugin, PluginInput};

use super::scratch::Scratch;
use super::{Check, Difference, Failed, Loaded, Outcome, Part, canary, hostile, rules};

/// A template that uses every field once. Its names are not in sorted order.
const COMPLETE: &str = "\
name: Whole
description: every field once
defaults: {runtime: claude-code, tier: 2, model: sonnet, plugins: [b, a], category_routing: {z: [Lead], a: [Lead]}}
required_env: [ZED, {any_of: [B, A]}]
recommended_env: [ALPHA]
unknown_key: a warning
global_memories: [{content: shared}]
workspaces:
  - name: Lead
    role: leads
    files_dir: lead
    canvas: {x: 10, y: 20}
    initial_prompt: begin
    idle_prompt: idle
    plugins: [{source: p, config: {z: 1, a: [true, null]}}]
    schedules: [{name: s, cron_expr: '0 9 * * 1-5', timezone: Europe/Berlin, prompt: go}]
    channels: [{type: telegram, config: {chat_id: 1, bot_token: '1:a'}}, {type: fax}]
    initial_memories: [{content: m, scope: team}]
    children:
      - {name: One, children: [{name: Leaf}]}
      - {name: Two, renamed_from: [Three, [Lead, Four]]}
      - {name: Elsewhere, external: true, url: 'https://agent.example/'}
  - name: Second
";

const BROKEN: &str = "\
name: Broken
workspaces:
  - {name: A, runtime: x, tier: 9}
  - {runtime: x}
  - {name: B, runtime: x, schedules: [{name: s, cron_expr: nonsense, prompt: p}]}
  - !include missing.yaml
";

/// All checks of this part except `imports`, which is the result of loading the plugin.
pub fn checks() -> Vec<Check> {
    let check = |name: &str, run: fn(&Loaded) -> std::io::Result<Outcome>| {
        Check::new(Part::Contract, name, run)
    };
    let mut checks = vec![
        check("describe", |loaded| Ok(describe(loaded))),
        check("describe-repeats", |loaded| Ok(describe_repeats(loaded))),
        check("plan-repeats", |loaded| repeats(loaded, &complete()?)),
        check("plan-keeps-rules", |loaded| {
            keeps_rules(loaded, &complete()?)
        }),
        check("errors-repeat", |loaded| repeats(loaded, &broken()?)),
        check("errors-keep-rules", |loaded| {
            keeps_rules(loaded, &broken()?)
        }),
        check("many-repeat", |loaded| repeats(loaded, &many()?)),
    ];
    checks.extend(canary::checks());
    checks.extend(hostile::checks());
    checks
}

fn complete() -> std::io::Result<Scratch> {
    Scratch::with([
        ("org.yaml", COMPLETE.as_bytes()),
        (".env", b"ZED=1\nA=2\n"),
        ("lead/.env", b"OWN=1\n"),
        ("lead/notes.md", b"one\r\ntwo\r\n"),
        ("lead/bin/run.sh", b"#!/bin/sh\n"),
        ("lead/data.bin", &[0, 255, 13, 10]),
    ])
}

fn broken() -> std::io::Result<Scratch> {
    Scratch::with([("org.yaml", BROKEN.as_bytes())])
}

/// A template with so many entries that the order of a hash map differs between runs, if the plugin uses one for its output.
fn many() -> std::io::Result<Scratch> {
    let mut org = String::from("name: Many\ndefaults: {runtime: x}\nworkspaces:\n");
    let mut env = String::new();
    for number in 0..200 {
        org.push_str(&format!(
            "  - {{name: W {number}, category_routing: {{c{}: [W 1], c{number}: [W 2]}}, strange_{number}: 1}}\n",
            number * 7
        ));
        env.push_str(&format!("V{}=x\n", (number * 37) % 200));
    }
    Scratch::with([("org.yaml", org.as_bytes()), (".env", env.as_bytes())])
}

fn input() -> PluginInput {
    let map = |pairs: &[(&str, &str)]| -> EnvMap {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    };
    PluginInput {
        vars: map(&[("B", "from the operator"), ("A", "also")]),
        granted: map(&[("GRANTED", "value")]),
        skip_external: false,
    }
}

fn describe(loaded: &Loaded) -> Outcome {
    let description = match &loaded.described {
        Ok(description) => description,
        Err(error) => return Outcome::failed(super::describe_failure(error)),
    };
    let mut wrong = Vec::new();
    if !is_slug(&description.name) {
        wrong.push(format!("its name {:?} is not a slug", description.name));
    }
    if !is_semantic(&description.version) {
        wrong.push(format!(
            "its version {:?} is not a semantic version, such as 1.2.3",
            description.version
        ));
    }
    for (number, dialect) in description.handles.iter().enumerate() {
        if !is_dialect(dialect) {
            wrong.push(format!(
                "it handles {dialect:?}: a dialect is a slug, `/` and a number, such as org-template/1"
            ));
        }
        if description
            .handles
            .iter()
            .take(number)
            .any(|earlier| earlier == dialect)
        {
            wrong.push(format!("it handles {dialect:?} twice"));
        }
    }
    if description.handles.is_empty() {
        wrong.push("it handles no dialect: `handles` is empty".to_owned());
    }
    Outcome::unless(&wrong)
}

fn describe_repeats(loaded: &Loaded) -> Outcome {
    let first = format!("{:#?}\n", loaded.described);
    for (plugin, which) in [
        (&loaded.plugin, "called again"),
        (&loaded.again, "loaded again"),
    ] {
        let second = format!("{:#?}\n", plugin.describe());
        if first != second {
            return differs(which, first, second);
        }
    }
    Outcome::Passed
}

fn repeats(loaded: &Loaded, scratch: &Scratch) -> std::io::Result<Outcome> {
    let first = answer(&loaded.plugin, scratch);
    for (plugin, which) in [
        (&loaded.plugin, "called again"),
        (&loaded.again, "loaded again"),
    ] {
        let second = answer(plugin, scratch);
        if first != second {
            return Ok(differs(which, first, second));
        }
    }
    Ok(Outcome::Passed)
}

/// The answer of a call as text. Two equal texts are equal answers.
fn answer(plugin: &Plugin, scratch: &Scratch) -> String {
    match plugin.plan(&scratch.template, &input()) {
        Ok(plan) => format!("{plan:#?}\n"),
        Err(CallError::Rejected(errors)) => format!("{errors:#?}\n"),
        Err(error) => format!("{error}\n"),
    }
}

fn differs(which: &str, expected: String, found: String) -> Outcome {
    Outcome::Failed(Failed {
        why: format!("the same input gave another answer when the plugin was {which}"),
        difference: Some(Difference {
            file: "the first answer".to_owned(),
            expected,
            found,
        }),
    })
}

fn keeps_rules(loaded: &Loaded, scratch: &Scratch) -> std::io::Result<Outcome> {
    let answer = loaded.plugin.plan(&scratch.template, &input());
    Ok(Outcome::unless(&rules::broken(&answer, &scratch.template)))
}

/// Whether a version is `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`, as in semver.org.
fn is_semantic(version: &str) -> bool {
    let identifiers = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let (version, build) = version
        .split_once('+')
        .map_or((version, None), |(version, build)| (version, Some(build)));
    let (core, pre) = version
        .split_once('-')
        .map_or((version, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && build.is_none_or(identifiers)
        && pre.is_none_or(identifiers)
}

/// Whether a text is a dialect: a slug, `/` and a number, such as `org-template/1`.
fn is_dialect(text: &str) -> bool {
    text.split_once('/').is_some_and(|(name, number)| {
        is_slug(name)
            && !number.is_empty()
            && !number.starts_with('0')
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}
