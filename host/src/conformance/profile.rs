//! Part 2, the profile `org-template/1`: embedded folders with the rules of the specification.
//!
//! A case checks only what the specification says. `expect.json` is a part that the plan must have, and `redacted.json` the same
//! for the plan with redacted secrets (see [`expectation`](super::expectation)). `error.txt` has the places that the errors must
//! name; the plugin chooses their codes, messages and order. `expand.json` is a table for the interface `expander`. `env`,
//! `grants` and `skip-external` are as in the plugin's own cases. `since` is the first version of the contract that the case
//! needs; it is skipped for plugins of earlier versions.

use std::collections::BTreeMap;
use std::io;

use include_dir::{Dir, DirEntry, include_dir};
use orghost_build::WorldVersion;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::env_file;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::plugin::sandbox::{CallError, PluginInput};

use super::scratch::Scratch;
use super::{Check, Difference, Failed, Loaded, Outcome, Part, expectation, rules};

static CASES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/conformance/org-template-1");

/// The sha-256 of the embedded cases as hexadecimal digits. In the order of the paths, it covers each file's path, a NUL, its
/// length as eight big-endian bytes, and its bytes.
pub fn digest() -> String {
    let mut files = BTreeMap::new();
    collect(&CASES, &mut files);
    let mut sha = Sha256::new();
    for (path, bytes) in files {
        sha.update(path.as_bytes());
        sha.update([0]);
        sha.update((bytes.len() as u64).to_be_bytes());
        sha.update(bytes);
    }
    crate::model::digest::hex(sha.finalize())
}

pub fn checks() -> Vec<Check> {
    let mut folders: Vec<&'static Dir<'static>> = CASES.dirs().collect();
    folders.sort_by_key(|folder| folder.path());
    let check = |folder: &'static Dir<'static>| {
        let name = folder.path().display().to_string();
        Check::new(Part::OrgTemplate, name, move |loaded| run(loaded, folder))
    };
    folders.into_iter().map(check).collect()
}

fn collect(folder: &'static Dir<'static>, files: &mut BTreeMap<String, &'static [u8]>) {
    for entry in folder.entries() {
        match entry {
            DirEntry::Dir(folder) => collect(folder, files),
            DirEntry::File(file) => {
                files.insert(file.path().display().to_string(), file.contents());
            }
        }
    }
}

fn run(loaded: &Loaded, folder: &'static Dir<'static>) -> io::Result<Outcome> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files);
    let prefix = format!("{}/", folder.path().display());
    let file = |name: &str| files.get(&format!("{prefix}{name}")).copied();
    if let Some(since) = file("since").map(String::from_utf8_lossy) {
        let mut versions = WorldVersion::ALL.into_iter();
        let Some(version) = versions.find(|known| known.as_str() == since.trim()) else {
            return Err(io::Error::other(
                "the `since` of the embedded case is not a version of the contract",
            ));
        };
        if loaded.world < Some(version) {
            let why = format!("the case needs version {version} of the contract");
            return Ok(Outcome::Skipped { why });
        }
    }
    let input = PluginInput {
        vars: variables(file("env"))?,
        granted: variables(file("grants"))?,
        skip_external: file("skip-external").is_some(),
    };
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(io::Error::other);
    if let Some(table) = file("expand.json") {
        return expansions(loaded, &json(table)?, &input);
    }
    let template = format!("{prefix}template/");
    let scratch = Scratch::with(
        files
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix(&template)?, *bytes))),
    )?;
    let answer = loaded.plugin.plan(&scratch.template, &input);
    let broken = rules::broken(&answer, &scratch.template);
    if !broken.is_empty() {
        return Ok(Outcome::unless(&broken));
    }
    let expected = (
        file("expect.json"),
        file("redacted.json"),
        file("error.txt"),
    );
    match expected {
        (Some(expected), None, None) => plan(
            &json(expected)?,
            answer.map(|plan| serde_json::json!(plan.revealed())),
        ),
        (None, Some(expected), None) => {
            plan(&json(expected)?, answer.map(|plan| serde_json::json!(plan)))
        }
        (None, None, Some(expected)) => {
            Ok(errors(&String::from_utf8_lossy(expected), answer.err()))
        }
        _ => Err(io::Error::other(
            "the embedded case does not have exactly one expectation",
        )),
    }
}

/// Runs a table of texts and their expansions. Skipped for plugins that do not export an expander.
fn expansions(loaded: &Loaded, table: &Value, input: &PluginInput) -> io::Result<Outcome> {
    let mut found = Vec::new();
    for row in table.as_array().into_iter().flatten() {
        let text = row.get("text").and_then(Value::as_str).unwrap_or_default();
        match loaded.plugin.expand(text, input) {
            Ok(expansion) => {
                found.push(serde_json::json!({ "text": text, "expansion": expansion }));
            }
            Err(CallError::NotExported(name)) => {
                let why = format!("the plugin does not export {name}, which is optional");
                return Ok(Outcome::Skipped { why });
            }
            Err(error) => return Ok(Outcome::failed(super::describe_failure(&error))),
        }
    }
    compare(table, &Value::Array(found))
}

fn plan(expected: &Value, answer: Result<Value, CallError>) -> io::Result<Outcome> {
    let found = match answer {
        Ok(found) => found,
        Err(error) => return Ok(Outcome::failed(super::describe_failure(&error))),
    };
    compare(expected, &found)
}

fn compare(expected: &Value, found: &Value) -> io::Result<Outcome> {
    let relevant = expectation::reduce(expected, found);
    if relevant == *expected {
        return Ok(Outcome::Passed);
    }
    let pretty = |value: &Value| serde_json::to_string_pretty(value).map(|text| text + "\n");
    Ok(Outcome::Failed(Failed {
        why: "the result differs from the specification".to_owned(),
        difference: Some(Difference {
            file: "the specification".to_owned(),
            expected: pretty(expected)?,
            found: pretty(&relevant)?,
        }),
    }))
}

/// Checks that the errors name all expected places. Each line of `expected` is `file` or `file:line`, or a comment that begins
/// with `#`.
fn errors(expected: &str, answer: Option<CallError>) -> Outcome {
    let Some(CallError::Rejected(errors)) = answer else {
        return Outcome::failed("the template is not valid, but the plugin planned it");
    };
    let places = expected
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let missing: Vec<&str> = places
        .filter(|place| !errors.iter().any(|error| is_at(error, place)))
        .collect();
    if missing.is_empty() {
        return Outcome::Passed;
    }
    let mut found: Vec<String> = errors.iter().map(super::own::line).collect();
    found.push(String::new());
    Outcome::Failed(Failed {
        why: format!("no error names the place {}", missing.join(" and ")),
        difference: Some(Difference {
            file: "error.txt".to_owned(),
            expected: expected.to_owned(),
            found: found.join("\n"),
        }),
    })
}

fn is_at(error: &Diagnostic, place: &str) -> bool {
    let file = error.file.as_deref().unwrap_or_default();
    match place.rsplit_once(':') {
        Some((wanted, line)) => {
            wanted == file && line.parse().is_ok_and(|line: u32| error.line == Some(line))
        }
        None => place == file,
    }
}

fn variables(file: Option<&[u8]>) -> io::Result<EnvMap> {
    let text = String::from_utf8_lossy(file.unwrap_or_default());
    let pairs = env_file::parse(&text, "env").map_err(|error| io::Error::other(error.message))?;
    Ok(pairs.into_iter().collect())
}
