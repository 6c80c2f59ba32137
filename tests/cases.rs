//! Runs `orghost plan` on the cases: each folder of `tests/cases` is a template with the expected result.
//!
//! The first line of a case's `template/org.yaml` is a comment with its rule, as a section of the specification. One
//! of three files holds what is expected:
//! - `error.txt`: one line for each error, as `code file:line:column message`
//! - `expect.json`: parts of the plan, by JSON pointer; `null` stands for an absent value
//! - `plan.json`: the whole plan
//!
//! `env` holds the operator's variables, `flags` more arguments. A person writes the expectation, or reviews it line by
//! line. `ORGHOST_BLESS=1` writes `error.txt` and `plan.json` and fails, so that blessing never passes by itself.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Operator, Ran, root, shared_templates};

const EXPECTATIONS: [&str; 3] = ["error.txt", "expect.json", "plan.json"];

#[test]
fn every_case_gives_the_expected_plan_or_errors() {
    let is_blessing = std::env::var_os("ORGHOST_BLESS").is_some();
    let checked = check_all(&root().join("tests/cases"), is_blessing);
    let number = checked.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(number >= 20, "only {number} cases were found");
}

#[test]
fn blessing_fails_and_the_next_run_passes() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("tagged/template");
    std::fs::create_dir_all(&template).unwrap();
    let text = "# spec/org-template.md §2: an unknown tag is an error.\nname: !env HOME\n";
    std::fs::write(template.join("org.yaml"), text).unwrap();
    let expectation = folder.path().join("tagged/error.txt");
    std::fs::write(&expectation, "wrong\n").unwrap();

    let differs = check_all(folder.path(), false).unwrap_err();
    assert!(
        differs.contains("-wrong\n+unknown-tag org.yaml:2:"),
        "{differs}"
    );
    for _ in 0..2 {
        let blessed = check_all(folder.path(), true).unwrap_err();
        assert_eq!(blessed, "blessed 1 cases: run again without ORGHOST_BLESS");
    }
    assert_eq!(check_all(folder.path(), false), Ok(1));

    std::fs::write(folder.path().join("tagged/plan.json"), "{}").unwrap();
    let two = check_all(folder.path(), true).unwrap_err();
    assert!(two.contains("one of error.txt"), "{two}");
}

/// Checks every case of a folder and returns their number.
///
/// # Errors
///
/// Fails with the differences of all failed cases, and always after blessing.
fn check_all(folder: &Path, is_blessing: bool) -> Result<usize, String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut cases: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let mut failed = Vec::new();
    for case in &cases {
        if let Err(problem) = check(case, is_blessing) {
            failed.push(format!("{}:\n{problem}", case.display()));
        }
    }
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    if is_blessing {
        let number = cases.len();
        return Err(format!(
            "blessed {number} cases: run again without ORGHOST_BLESS"
        ));
    }
    Ok(cases.len())
}

fn check(case: &Path, is_blessing: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(case.join("template/org.yaml")).unwrap();
    let head = text.lines().next().unwrap_or_default();
    if !(head.starts_with("# spec/") && head.contains(".md §") && head.contains(": ")) {
        return Err(format!("the first line does not state the rule: {head}"));
    }
    let mut files = EXPECTATIONS.iter().filter(|name| case.join(name).exists());
    let (Some(&name), None) = (files.next(), files.next()) else {
        return Err(format!(
            "a case has exactly one of {}",
            EXPECTATIONS.join(", ")
        ));
    };
    let json = run(case)?;
    let errors = json.get("errors");
    if errors.is_some() != (name == "error.txt") {
        return Err(format!(
            "expected {name}, found {}",
            errors.unwrap_or(&json)
        ));
    }
    let path = case.join(name);
    let found = match (errors, name) {
        (Some(errors), _) => error_lines(errors),
        (None, "expect.json") => return check_parts(&path, &json),
        (None, _) => format!("{}\n", serde_json::to_string_pretty(&json).unwrap()),
    };
    if is_blessing {
        std::fs::write(&path, &found).unwrap();
    }
    differences(name, &std::fs::read_to_string(&path).unwrap(), &found)
}

/// Plans the template of a case. Its exit code must fit the result: 2 for errors, 3 for violations, else 0.
fn run(case: &Path) -> Result<Value, String> {
    let template = case.join("template").display().to_string();
    // Policy depends on the engine; planning does not ask it, so every machine gives the same result.
    let mut args = vec!["plan", &template, "--json", "--engine", "docker"];
    let env = case.join("env").display().to_string();
    if case.join("env").exists() {
        args.extend(["--env-file", &env]);
    }
    let flags = std::fs::read_to_string(case.join("flags")).unwrap_or_default();
    args.extend(flags.split_whitespace());
    let ran: Ran = Operator::new().run(&args);
    let json = ran.json();
    let code = match (json.get("errors"), json["violations"].as_array()) {
        (Some(_), _) => 2,
        (None, Some(violations)) if !violations.is_empty() => 3,
        _ => 0,
    };
    if ran.code != code {
        return Err(format!("exit code {} instead of {code}: {json}", ran.code));
    }
    Ok(json)
}

/// Compares the parts of a plan that `expect.json` names.
fn check_parts(path: &Path, plan: &Value) -> Result<(), String> {
    let expected = std::fs::read_to_string(path).unwrap();
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&expected).unwrap();
    if expected.is_empty() {
        return Err("expect.json expects nothing".to_owned());
    }
    let found: serde_json::Map<String, Value> = expected
        .keys()
        .map(|pointer| {
            let part = plan.pointer(pointer).cloned().unwrap_or_default();
            (pointer.clone(), part)
        })
        .collect();
    let text = |parts: &serde_json::Map<String, Value>| {
        format!("{}\n", serde_json::to_string_pretty(parts).unwrap())
    };
    differences("expect.json", &text(&expected), &text(&found))
}

fn differences(name: &str, expected: &str, found: &str) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(similar::TextDiff::from_lines(expected, found)
        .unified_diff()
        .header(name, "found")
        .to_string())
}

fn error_lines(errors: &Value) -> String {
    let mut text = String::new();
    for error in errors.as_array().unwrap() {
        let word = |name: &str| error[name].as_str().unwrap_or("-").to_owned();
        let number = |name: &str| {
            error[name]
                .as_u64()
                .map_or("-".to_owned(), |n| n.to_string())
        };
        let (line, column) = (number("line"), number("column"));
        writeln!(
            text,
            "{} {}:{line}:{column} {}",
            word("code"),
            word("file"),
            word("message")
        )
        .unwrap();
    }
    text
}

#[test]
fn the_example_and_the_real_templates_can_be_planned() {
    // The example of the repository is planned on every machine.
    let templates = [root().join("examples/studio")].into_iter();
    for template in templates.chain(shared_templates()) {
        let name = template.display().to_string();
        let ran = Operator::new().run(&[
            "plan",
            &name,
            "--json",
            "--demo",
            "--max-tier",
            "3",
            "--ignore-missing-env",
            "--allow-mount",
            "/workspace",
        ]);
        let plan = ran.exits(0).json();
        let workspaces = plan["workspaces"].as_array().unwrap();
        let expected = match template.file_name().unwrap().to_str().unwrap() {
            "studio" => 4,
            "molecule-dev" => 42,
            _ => 7,
        };
        assert_eq!(workspaces.len(), expected, "{name}");
        for workspace in workspaces {
            let files = workspace["files"].as_array().unwrap();
            assert!(
                files.iter().any(|file| file["path"] == "config.yaml"),
                "{}",
                workspace["key"]
            );
        }
    }
}
