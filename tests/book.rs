//! Tests of the documentation: its links lead somewhere, and the commands of its pages run. `scripts/docs` reads the pages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Operator, Ran, root};

/// Seconds for the commands of one page.
const LONGEST: &str = "180";

#[test]
fn every_link_of_the_documents_has_a_target() {
    docs(&["--links"]);
}

#[test]
fn the_commands_of_every_page_succeed() {
    let mut run = Vec::new();
    let mut failed = Vec::new();
    for page in pages(&root().join("docs/src")) {
        let script = docs(&["--commands", &page.display().to_string()]);
        if script.lines().count() < 2 {
            continue;
        }
        run.push(page.file_stem().unwrap().to_str().unwrap().to_owned());
        let ran = run_page(&script);
        if ran.code != 0 {
            failed.push(format!(
                "{} exited with {}:\n{}{}",
                page.display(),
                ran.code,
                ran.stdout,
                ran.stderr
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for tutorial in ["template-authors", "operators"] {
        let is_run = run.iter().any(|page| page == tutorial);
        assert!(is_run, "{tutorial} has no commands: {run:?}");
    }
}

#[test]
fn every_test_that_the_security_page_names_exists() {
    let page = std::fs::read_to_string(root().join("docs/src/security.md")).unwrap();
    let tests = std::fs::read_to_string(root().join("tests/security.rs")).unwrap();
    let promises = page.lines().filter(|line| line.ends_with("` |"));
    let mut names = 0;
    for promise in promises {
        let column = promise.trim_end_matches(" |").rsplit_once("| ").unwrap().1;
        for name in column.split(", ") {
            let name = name.trim_matches('`');
            assert!(tests.contains(&format!("fn {name}()")), "{name}");
            names += 1;
        }
    }
    assert!(names > 10, "only {names} tests were found");
}

#[test]
fn a_failed_command_fails_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.md");
    let text = "```yaml file=acme/org.yaml\nname: [\n```\n\n```console\n$ orghost plan acme\n$ true\n```\n";
    std::fs::write(&page, text).unwrap();
    let script = docs(&["--commands", &page.display().to_string()]);
    let ran = run_page(&script).exits(2);
    assert!(ran.stderr.contains("yaml-syntax"), "{}", ran.stderr);
}

/// Runs the commands of a page as its reader does: in an empty folder, with `orghost` in PATH and a state folder that is
/// new. The commands are traced, so that a failure shows the last one.
fn run_page(script: &str) -> Ran {
    let operator = Operator::new();
    let folder = operator.home.path().join("page");
    std::fs::create_dir(&folder).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_orghost")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
    // The environment is that of the tests' own `orghost`; only the program is a shell.
    let orghost = operator.command(&[]);
    let output = Command::new("timeout")
        .args([LONGEST, "sh", "-x", "-c", script])
        .env_clear()
        .envs(
            orghost
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("PATH", path)
        .current_dir(&folder)
        .output()
        .unwrap();
    for state in [operator.state(), folder.join("state")] {
        take_everything_down(&operator, &state);
    }
    Ran::of(output)
}

/// A page that failed half-way leaves its orgs.
fn take_everything_down(operator: &Operator, state: &Path) {
    if !state.join("orghost.db").exists() {
        return;
    }
    let state = state.display().to_string();
    let status = operator.run(&["status", "--json", "--state", &state]);
    for org in status.json()["orgs"].as_array().unwrap() {
        let org = org["org"].as_str().unwrap();
        operator.run(&["down", org, "--volumes", "--state", &state]);
    }
}

/// The Markdown files below a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The output of `scripts/docs`, which must succeed.
#[track_caller]
fn docs(args: &[&str]) -> String {
    let output = Command::new(root().join("scripts/docs"))
        .args(args)
        .output();
    Ran::of(output.expect("scripts/docs needs python3"))
        .exits(0)
        .stdout
}
