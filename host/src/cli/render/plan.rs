//! Prints plans: the table, changes, warnings and violations.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{ContentArrangement, Table};
use miette::Severity;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::report;
use super::text::{count, in_line, note, print_line, printable, write};
use crate::cli::print_json;
use crate::model::diagnostic::Diagnostic;
use crate::model::expansion::Expansion;
use crate::model::isolation::Target;
use crate::model::plan::{Plan, WorkspaceKey};
use crate::planning::policy::{Rejected, Violation};
use crate::problem::{Class, Problem};
use crate::service::admission::{Becomes, Change};

/// Prints a plan as one JSON document, with the engine it was judged for, its violations and its changes.
///
/// # Errors
/// The plan cannot be written as JSON.
pub fn print_plan_json(
    plan: &Plan,
    target: &Target,
    violations: &[Violation],
    changes: &[Change],
) -> Result<(), Problem> {
    #[derive(serde::Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        plan: &'a Plan,
        #[serde(flatten)]
        target: &'a Target,
        violations: &'a [Violation],
        #[serde(skip_serializing_if = "<[Change]>::is_empty")]
        changes: &'a [Change],
    }
    print_json(&Document {
        plan,
        target,
        violations,
        changes,
    })
}

/// Prints a line for each workspace that the plan adds to an existing org, moves, or no longer has.
pub fn print_changes(changes: &[Change]) {
    for Change { workspace, what } in changes {
        let change = match what {
            Becomes::Added => "is new".to_owned(),
            Becomes::Moved { from } => format!("was {}", in_line(&from.to_string())),
            Becomes::Left => "is no longer in the template; `up --prune` removes it".to_owned(),
        };
        print_line(&format!("{workspace} {change}"));
    }
}

/// Turns violations into diagnostics.
pub fn diagnostics(violations: &[Violation]) -> Vec<Diagnostic> {
    violations.iter().map(Diagnostic::from).collect()
}

/// Prints the violations of a rejected plan; with `json`, also the plan.
///
/// # Errors
/// The plan cannot be written as JSON.
pub fn print_refusal(
    json: bool,
    rejected: &Rejected,
    target: &Target,
    show_secrets: bool,
) -> Result<(), Problem> {
    if json {
        let plan = if show_secrets {
            rejected.plan.revealed()
        } else {
            rejected.plan.clone()
        };
        return print_plan_json(&plan, target, &rejected.violations, &[]);
    }
    print_violations(&diagnostics(&rejected.violations));
    Ok(())
}

/// Prints the engine that a plan was judged for, and its isolation.
pub fn print_target(target: &Target) {
    let Target { engine, isolation } = target;
    print_line(&format!("for the engine {} ({isolation})", engine.as_str()));
}

/// Prints which plugin made the plan, unless it is the built-in one.
pub fn note_plugin(planned_by: Option<&str>) {
    if let Some(plugin) = planned_by {
        note(&format!("planned by {}", in_line(plugin)));
    }
}

/// The part of a plan's JSON that is printed, made on this machine or by a server.
#[derive(Debug, Deserialize)]
pub struct Shown {
    org: ShownOrg,
    workspaces: Vec<ShownWorkspace>,
    /// The plan's warnings.
    #[serde(default)]
    pub warnings: Vec<Diagnostic>,
    /// The policy's violations.
    #[serde(default)]
    pub violations: Vec<Diagnostic>,
    /// The changes to the existing org.
    #[serde(default)]
    pub changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct ShownOrg {
    name: String,
}

#[derive(Debug, Deserialize)]
struct ShownWorkspace {
    key: WorkspaceKey,
    runtime: String,
    model: Option<String>,
    tier: u8,
    external: bool,
    files: Vec<IgnoredAny>,
    env: Vec<IgnoredAny>,
    schedules: Vec<IgnoredAny>,
    channels: Vec<IgnoredAny>,
    skipped_channels: Vec<IgnoredAny>,
}

/// Reads the part of a plan that is printed.
///
/// # Errors
/// `json`: the JSON is not a plan.
pub fn shown(json: serde_json::Value) -> Result<Shown, Problem> {
    serde_json::from_value(json).map_err(|error| {
        let message = format!("the JSON is not a plan: {error}");
        Problem::one(Class::Failed, Diagnostic::new("json", message))
    })
}

/// Prints the plan as a table.
pub fn print_plan(plan: &Shown) {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "WORKSPACE",
            "RUNTIME",
            "MODEL",
            "TIER",
            "FILES",
            "ENV",
            "SCHEDULES",
            "CHANNELS",
        ]);
    for workspace in &plan.workspaces {
        let indent = "  ".repeat(workspace.key.depth());
        let skipped = workspace.skipped_channels.len();
        let channels = match (workspace.channels.len(), skipped) {
            (used, 0) => used.to_string(),
            (used, skipped) => format!("{used} (+{skipped} skipped)"),
        };
        let runtime = if workspace.external {
            "external"
        } else {
            &workspace.runtime
        };
        table.add_row([
            format!("{indent}{}", workspace.key.slug()),
            in_line(runtime),
            in_line(workspace.model.as_deref().unwrap_or("-")),
            workspace.tier.to_string(),
            workspace.files.len().to_string(),
            workspace.env.len().to_string(),
            workspace.schedules.len().to_string(),
            channels,
        ]);
    }
    let workspaces = count(plan.workspaces.len(), "workspace");
    let mut text = format!("{}: {workspaces}\n", in_line(&plan.org.name));
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    write(text.as_bytes());
}

/// Prints warnings, one line each. Equal warnings about different places are printed once, with their number, because a
/// large template can have hundreds of them.
pub fn print_warnings(warnings: &[Diagnostic], folder: &Path) {
    const SHOWN: usize = 20;
    let mut groups: Vec<(&Diagnostic, usize)> = Vec::new();
    let mut known = BTreeMap::new();
    for warning in warnings {
        let index = *known
            .entry((&warning.code, &warning.message))
            .or_insert_with(|| {
                groups.push((warning, 0));
                groups.len() - 1
            });
        if let Some((_, places)) = groups.get_mut(index) {
            *places += 1;
        }
    }
    for (warning, places) in groups.iter().take(SHOWN) {
        let mut place = String::new();
        if let Some(file) = &warning.file {
            place = folder.join(file).display().to_string();
            for number in [warning.line, warning.column].into_iter().flatten() {
                place.push_str(&format!(":{number}"));
            }
            place.push_str(": ");
        }
        let more = match places {
            0 | 1 => String::new(),
            places => format!(" (and {} like it)", count(places - 1, "other")),
        };
        let message = printable(&warning.message);
        note(&format!("warning: {}{message}{more}", printable(&place)));
    }
    if groups.len() > SHOWN {
        let more = count(groups.len() - SHOWN, "more warning");
        note(&format!("warning: {more}; orghost plan --json shows all"));
    }
}

/// Prints violations. One that concerns many workspaces is printed once, with the number of workspaces.
pub fn print_violations(violations: &[Diagnostic]) {
    let mut groups: Vec<(&Diagnostic, Vec<&str>)> = Vec::new();
    let mut known = BTreeMap::new();
    for violation in violations {
        let key = violation.workspace.as_deref().unwrap_or_default();
        let index = *known
            .entry((
                &violation.code,
                &violation.message,
                &violation.file,
                violation.line,
            ))
            .or_insert_with(|| {
                groups.push((violation, Vec::new()));
                groups.len() - 1
            });
        if let Some((_, keys)) = groups.get_mut(index) {
            keys.push(key);
        }
    }
    for (violation, keys) in groups {
        let mut shown = violation.clone();
        shown.workspace = match keys.as_slice() {
            [""] => None,
            [key] => Some((*key).to_owned()),
            [first, others @ ..] => Some(format!(
                "{first} and {}",
                count(others.len(), "other workspace")
            )),
            [] => None,
        };
        report::print(&shown, Severity::Error, None);
    }
    if !violations.is_empty() {
        note("refused by policy: nothing was created");
    }
}

/// Prints an expansion: the text on standard output, and references that could not be expanded on standard error.
///
/// # Errors
/// The expansion cannot be written as JSON.
pub fn print_expansion(json: bool, expansion: &Expansion) -> Result<(), Problem> {
    if json {
        return print_json(expansion);
    }
    if console::Term::stdout().is_term() {
        print_line(&printable(&expansion.text));
    } else {
        print_line(&expansion.text);
    }
    for name in &expansion.unresolved {
        note(&format!("unresolved: {}", in_line(name)));
    }
    for group in &expansion.malformed {
        note(&format!("malformed: {}", in_line(group)));
    }
    Ok(())
}
