//! Prints how an `up` or a `down` ended.

use serde_json::json;

use super::progress::failure_details;
use super::text::{count, note, print_line, printable};
use crate::cli::print_json;
use crate::model::engine_kind::EngineKind;
use crate::problem::Problem;
use crate::provision::engine::error::EngineError;
use crate::provision::{Outcome, Removal, Summary};

/// Prints how an `up` ended.
///
/// # Errors
/// The summary cannot be written as JSON.
pub fn print_summary(
    json: bool,
    org: &str,
    engine: EngineKind,
    summary: &Summary,
) -> Result<(), Problem> {
    let number_of = |matching: fn(&Outcome) -> bool| {
        summary
            .outcomes
            .iter()
            .filter(|(_, outcome)| matching(outcome))
            .count()
    };
    let started = number_of(|o| matches!(o, Outcome::Up(_)));
    let unchanged = number_of(|o| matches!(o, Outcome::Unchanged(_)));
    let external = number_of(|o| matches!(o, Outcome::External(_)));
    let failed = number_of(|o| matches!(o, Outcome::Failed(_) | Outcome::Cancelled(Some(_))));
    let skipped = number_of(|o| matches!(o, Outcome::Skipped(_) | Outcome::Cancelled(None)));
    if json {
        let workspaces: Vec<_> = summary
            .outcomes
            .iter()
            .map(|(key, outcome)| outcome_json(key.as_str(), outcome))
            .collect();
        return print_json(&json!({
            "event": "summary", "org": org, "engine": engine,
            "up": started, "unchanged": unchanged, "external": external, "failed": failed, "skipped": skipped,
            "removed": summary.removed, "orphans": summary.orphans, "not_removed": not_removed(&summary.not_removed),
            "workspaces": workspaces,
        }));
    }
    for (key, outcome) in &summary.outcomes {
        if let Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) = outcome {
            note(&format!(
                "\n{key} failed at {}: {}",
                failure.step.as_str(),
                printable(&failure.reason)
            ));
            for line in failure_details(failure) {
                note(&format!("  {line}"));
            }
        }
    }
    note_not_removed(&summary.not_removed);
    let mut parts = vec![format!("{started} started")];
    let others = [
        (unchanged, "unchanged"),
        (external, "external"),
        (failed, "failed"),
        (skipped, "skipped"),
    ];
    parts.extend(
        others
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}")),
    );
    let all = count(summary.outcomes.len(), "workspace");
    let removed = match summary.removed.len() {
        0 => String::new(),
        removed => format!("; {removed} removed (no longer in the template)"),
    };
    print_line(&format!("{org}: {all}: {}{removed}", parts.join(", ")));
    if !summary.orphans.is_empty() {
        let orphans = summary.orphans.join(", ");
        print_line(&format!(
            "no longer in the template: {}; --prune removes them",
            printable(&orphans)
        ));
    }
    Ok(())
}

fn outcome_json(key: &str, outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Unchanged(url) => json!({"key": key, "outcome": "unchanged", "url": url}),
        Outcome::External(url) => json!({"key": key, "outcome": "external", "url": url}),
        Outcome::Up(url) => json!({"key": key, "outcome": "up", "url": url}),
        Outcome::Failed(failure) | Outcome::Cancelled(Some(failure)) => {
            json!({"key": key, "outcome": "failed", "failure": failure})
        }
        Outcome::Cancelled(None) => {
            json!({"key": key, "outcome": "skipped", "reason": "cancelled"})
        }
        Outcome::Skipped(reason) => json!({"key": key, "outcome": "skipped", "reason": reason}),
    }
}

fn not_removed(failed: &[(String, EngineError)]) -> Vec<serde_json::Value> {
    let errors = failed.iter().map(|(what, error)| {
        json!({"what": what, "code": error.code(), "message": error.to_string(), "help": error.help()})
    });
    errors.collect()
}

fn note_not_removed(failed: &[(String, EngineError)]) {
    for (what, error) in failed {
        let what = printable(what);
        note(&format!(
            "{what} was not removed: {error}\n  help: {}",
            error.help()
        ));
    }
}

/// Prints how a `down` ended.
///
/// # Errors
/// The summary cannot be written as JSON.
pub fn print_removal(json: bool, org: &str, removal: &Removal) -> Result<(), Problem> {
    if json {
        return print_json(&json!({
            "event": "summary", "org": org, "removed": removal.removed,
            "failed": not_removed(&removal.failed), "kept": removal.kept,
        }));
    }
    note_not_removed(&removal.failed);
    print_line(&format!(
        "{}: {} removed",
        org,
        count(removal.removed.len(), "workspace")
    ));
    if !removal.kept.is_empty() {
        let kept = count(removal.kept.len(), "volume");
        let command = format!("orghost down {} --volumes", org);
        print_line(&format!(
            "kept {kept} with the agents' own work; `{command}` removes them"
        ));
    }
    Ok(())
}
