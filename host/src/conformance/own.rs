//! Part 3, the plugin's own cases: folders with a template and its exact result. Nothing is written unless `bless` is set, and
//! then only the expectation.
//!
//! A case has a folder `template/`, and optionally `env` and `grants` (files of `NAME=VALUE` lines) and an empty file
//! `skip-external`. The expectation is in `plan.json` (the plan as `orghost plan --json` prints it, indented and without
//! `violations`) or in `error.txt` (a line for each error: code, place, message).

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::config::env_file;
use crate::model::diagnostic::Diagnostic;
use crate::model::env_map::EnvMap;
use crate::plugin::sandbox::{CallError, PluginInput};
use crate::template::directory::TemplateDir;

use super::{Check, Difference, Failed, Loaded, Outcome, Part, SuiteError, rules};

const PLAN: &str = "plan.json";
const ERRORS: &str = "error.txt";

/// The checks of a folder, one for each subfolder, sorted by name.
///
/// # Errors
/// [`SuiteError::Cases`] when the folder cannot be read.
pub fn checks(folder: &Path, bless: bool) -> Result<Vec<Check>, SuiteError> {
    let unreadable = |source| SuiteError::Cases {
        folder: folder.to_owned(),
        source,
    };
    let mut cases: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            cases.push(path);
        }
    }
    cases.sort();
    let check = |case: PathBuf| {
        let name = case.file_name().unwrap_or_default().to_string_lossy();
        Check::new(Part::Own, name.into_owned(), move |loaded| {
            run(loaded, &case, bless)
        })
    };
    Ok(cases.into_iter().map(check).collect())
}

fn run(loaded: &Loaded, case: &Path, bless: bool) -> io::Result<Outcome> {
    let folder = case.join("template");
    let template = match TemplateDir::open(&folder) {
        Ok(template) => template,
        Err(error) => {
            let why = format!(
                "its template {} cannot be opened: {error}",
                folder.display()
            );
            return Ok(Outcome::failed(why));
        }
    };
    let (vars, granted) = match (variables(case, "env")?, variables(case, "grants")?) {
        (Ok(vars), Ok(granted)) => (vars, granted),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::failed(why)),
    };
    let input = PluginInput {
        vars,
        granted,
        skip_external: case.join("skip-external").exists(),
    };
    let answer = loaded.plugin.plan(&template, &input);
    let broken = rules::broken(&answer, &template);
    if !broken.is_empty() {
        return Ok(Outcome::unless(&broken));
    }
    let (file, other, found) = match answer {
        Ok(plan) => (PLAN, ERRORS, serde_json::to_string_pretty(&plan)? + "\n"),
        Err(CallError::Rejected(errors)) => {
            let lines = errors.iter().map(|error| line(error) + "\n");
            (ERRORS, PLAN, lines.collect())
        }
        Err(error) => return Ok(Outcome::failed(super::describe_failure(&error))),
    };
    compare(case, file, other, found, bless)
}

fn compare(
    case: &Path,
    file: &str,
    other: &str,
    found: String,
    bless: bool,
) -> io::Result<Outcome> {
    let (expected, unexpected) = (read(&case.join(file))?, read(&case.join(other))?);
    if bless {
        if expected.as_ref() == Some(&found) && unexpected.is_none() {
            return Ok(Outcome::Passed);
        }
        let mut written = tempfile::NamedTempFile::new_in(case)?;
        written.write_all(found.as_bytes())?;
        // Temporary files have mode 0600. This one will be committed.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        written.as_file().set_permissions(readable)?;
        written
            .persist(case.join(file))
            .map_err(|error| error.error)?;
        if unexpected.is_some() {
            std::fs::remove_file(case.join(other))?;
        }
        return Ok(Outcome::Blessed);
    }
    let why = match (&expected, &unexpected) {
        (Some(_), Some(_)) => {
            return Ok(Outcome::failed(format!(
                "the case has both {PLAN} and {ERRORS}, but a call gives only one of them: remove one"
            )));
        }
        (None, None) => {
            return Ok(Outcome::failed(format!(
                "the case has neither {PLAN} nor {ERRORS}: run with --bless to write the result, then check it"
            )));
        }
        (Some(expected), None) if *expected == found => return Ok(Outcome::Passed),
        (Some(_), None) => format!("the result differs from {file}"),
        (None, Some(_)) if file == PLAN => {
            "the plugin planned the template, but should reject it".to_owned()
        }
        (None, Some(_)) => "the plugin rejected the template, but should plan it".to_owned(),
    };
    let file = if expected.is_some() { file } else { other };
    Ok(Outcome::Failed(Failed {
        why,
        difference: Some(Difference {
            file: file.to_owned(),
            expected: expected.or(unexpected).unwrap_or_default(),
            found,
        }),
    }))
}

/// One error as a line of `error.txt`: `code file:line:column message`, with `-` for an unknown part.
pub fn line(error: &Diagnostic) -> String {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    format!(
        "{} {}:{}:{} {}",
        error.code,
        error.file.as_deref().unwrap_or("-"),
        number(error.line),
        number(error.column),
        error.message
    )
}

/// The text of a file. `None` when the file does not exist.
fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn variables(case: &Path, name: &str) -> io::Result<Result<EnvMap, String>> {
    let text = read(&case.join(name))?.unwrap_or_default();
    Ok(match env_file::parse(&text, name) {
        Ok(pairs) => Ok(pairs.into_iter().collect()),
        Err(error) => {
            let line = error.line.unwrap_or_default();
            Err(format!("{name}:{line}: {}", error.message))
        }
    })
}
