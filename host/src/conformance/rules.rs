//! Checks rules of the contract that the sandbox does not check, because a plan that violates them can still be shown. Rules
//! that an operator can change are not checked here.

use std::collections::BTreeSet;

use crate::model::diagnostic::Diagnostic;
use crate::model::plan::{
    Content, Origin, Plan, Requirement, Workspace, WorkspaceKey, is_identifier, is_slug,
};
use crate::plugin::sandbox::CallError;
use crate::template::directory::TemplateDir;
use crate::template::path::{TemplatePath, is_normal};

/// The violations of the rules in an answer. An answer that is neither a plan nor a list of errors is a violation.
pub fn broken(answer: &Result<Plan, CallError>, template: &TemplateDir) -> Vec<String> {
    match answer {
        Ok(plan) => broken_plan(plan, template),
        Err(CallError::Rejected(errors)) => broken_diagnostics("an error", errors),
        Err(error) => vec![super::describe_failure(error)],
    }
}

fn broken_plan(plan: &Plan, template: &TemplateDir) -> Vec<String> {
    let mut wrong = broken_diagnostics("a warning", &plan.warnings);
    let mut above: Vec<&WorkspaceKey> = Vec::new();
    for workspace in &plan.workspaces {
        let key = &workspace.key;
        // In depth-first order, only the previous workspace and its ancestors can be the parent.
        while above
            .last()
            .is_some_and(|last| Some(*last) != workspace.parent.as_ref())
        {
            above.pop();
        }
        if above.last().copied() != workspace.parent.as_ref() {
            wrong.push(format!("{key}: the order is not depth first"));
        }
        above.push(key);
        broken_workspace(workspace, template, &mut wrong);
    }
    let keys: BTreeSet<&str> = plan.workspaces.iter().map(|w| w.key.as_str()).collect();
    for requirement in plan.required_env.iter().chain(&plan.recommended_env) {
        broken_requirement(requirement, &keys, &mut wrong);
    }
    wrong
}

fn broken_workspace(workspace: &Workspace, template: &TemplateDir, wrong: &mut Vec<String>) {
    let key = &workspace.key;
    let mut say = |what: String| wrong.push(format!("{key}: {what}"));
    if !(1..=4).contains(&workspace.tier) {
        say(format!("its tier is {}, not 1 to 4", workspace.tier));
    }
    if workspace.runtime.is_empty() && !workspace.external {
        say("it has no runtime".to_owned());
    }
    if !workspace.canvas.x.is_finite() || !workspace.canvas.y.is_finite() {
        say("its position on the canvas is not a number".to_owned());
    }
    let paths: Vec<&str> = workspace.files.iter().map(|file| &*file.path).collect();
    if !ascending(&paths) {
        say("`files` are not sorted by path, or a path occurs twice".to_owned());
    }
    for file in &workspace.files {
        if !is_normal(&file.path) {
            say(format!("the path {:?} is not normalised", file.path));
        }
        if let Content::Template { path, .. } = &file.content {
            let found = TemplatePath::new(path).and_then(|path| template.read(&path));
            if let Err(error) = found {
                say(format!("{:?} is seeded from {path:?}: {error}", file.path));
            }
        }
    }
    let names: Vec<&str> = workspace.env.iter().map(|var| &*var.name).collect();
    if !ascending(&names) {
        say("`env` is not sorted by name, or a name occurs twice".to_owned());
    }
    for name in names.iter().filter(|name| !is_identifier(name)) {
        say(format!("{name:?} is not a name of a variable"));
    }
    for variable in &workspace.env {
        if let Origin::Template { file, .. } = &variable.origin {
            let read = TemplatePath::new(file).and_then(|path| template.read(&path));
            if let Err(error) = read {
                say(format!("{} is set by {file:?}: {error}", variable.name));
            }
        }
    }
    for schedule in &workspace.schedules {
        if schedule.cron.split_whitespace().count() != 5 {
            say(format!(
                "the cron expression of the schedule {:?} does not have five fields",
                schedule.name
            ));
        }
        if schedule.timezone.is_empty() {
            say(format!("the schedule {:?} has no time zone", schedule.name));
        }
    }
    for channel in &workspace.channels {
        if !matches!(&*channel.kind, "telegram" | "slack" | "lark" | "discord") {
            say(format!("{:?} is not a type of channel", channel.kind));
        }
        let names: Vec<&str> = channel.config.iter().map(|entry| &*entry.name).collect();
        if !ascending(&names) {
            say("a channel's `config` is not sorted by name".to_owned());
        }
    }
    if workspace
        .skipped_channels
        .iter()
        .any(|c| c.reason.is_empty())
    {
        say("a channel is skipped without a reason".to_owned());
    }
}

fn broken_requirement(requirement: &Requirement, keys: &BTreeSet<&str>, wrong: &mut Vec<String>) {
    let names = requirement.any_of.iter();
    for name in names.filter(|name| !is_identifier(name)) {
        wrong.push(format!(
            "{name:?} is required, but is not a name of a variable"
        ));
    }
    let missing = requirement.missing_for.iter();
    for key in missing.filter(|key| !key.is_empty() && !keys.contains(key.as_str())) {
        wrong.push(format!(
            "a variable is missing for {key:?}, which is not in the plan"
        ));
    }
}

fn broken_diagnostics(what: &str, diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut wrong = Vec::new();
    for diagnostic in diagnostics {
        if !is_slug(&diagnostic.code) {
            wrong.push(format!(
                "{what} has the code {:?}: a code has lower-case letters, digits and `-`",
                diagnostic.code
            ));
        }
        if diagnostic.message.trim().is_empty() {
            wrong.push(format!("{what} has an empty message"));
        }
        // Unusual file names are allowed, but the path must be in the template.
        let leads_out =
            |file: &&String| file.split('/').any(|part| matches!(part, "" | "." | ".."));
        if let Some(file) = diagnostic.file.as_ref().filter(leads_out) {
            wrong.push(format!(
                "{what} is in {file:?}, which is not a path in the template"
            ));
        }
    }
    wrong
}

fn ascending(texts: &[&str]) -> bool {
    texts.is_sorted_by(|a, b| a < b)
}
