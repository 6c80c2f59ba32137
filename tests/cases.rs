//! Cases: a folder each, with a template and what must come of it, either
//! `plan.json` or `error.txt` (one line for each error: code, place, message).
//! `env` holds variables, `flags` more arguments. `ORGHOST_BLESS=1` writes
//! what came out, to be read before it is committed.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Operator, root, shared_templates};

#[test]
fn every_case_gives_the_expected_plan_or_errors() {
    let mut failed = Vec::new();
    let mut cases: Vec<_> = std::fs::read_dir(root().join("tests/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() > 3, "the cases are gone");
    for case in cases {
        if let Err(difference) = run(&case) {
            failed.push(format!("{}:\n{difference}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn run(case: &Path) -> Result<(), String> {
    let template = case.join("template").display().to_string();
    // Judged for the same engine on every machine; planning asks none.
    let mut args = vec!["plan", &template, "--json", "--engine", "docker"];
    let env = case.join("env").display().to_string();
    if case.join("env").exists() {
        args.extend(["--env-file", &env]);
    }
    let flags = std::fs::read_to_string(case.join("flags")).unwrap_or_default();
    args.extend(flags.split_whitespace());
    let ran = Operator::new().run(&args);
    let json = ran.json();
    let (file, found) = match json.get("errors") {
        Some(errors) => ("error.txt", told(errors)),
        None => (
            "plan.json",
            format!("{}\n", serde_json::to_string_pretty(&json).unwrap()),
        ),
    };
    let path = case.join(file);
    if std::env::var_os("ORGHOST_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    Err(similar::TextDiff::from_lines(&expected, &found)
        .unified_diff()
        .header(file, "found")
        .to_string())
}

fn told(errors: &Value) -> String {
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
fn the_real_templates_can_be_planned() {
    for template in shared_templates() {
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
        let expected = if name.ends_with("molecule-dev") {
            42
        } else {
            7
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
