//! The rules of the contract that a plan or an error list can break and still be shown: what `plugin::convert` does
//! not refuse. It judges nothing that an operator may decide.

use std::collections::BTreeSet;

use crate::model::diagnostic::Diagnostic;
use crate::model::plan::{
    Content, Origin, Plan, Requirement, Workspace, WorkspaceKey, is_identifier, is_slug,
};
use crate::plugin::sandbox::CallError;
use crate::template::directory::TemplateDir;
use crate::template::path::{TemplatePath, is_normal};

/// What is wrong with how a call ended: a plan or an error list that keeps the rules is fine, nothing else is.
pub fn broken(answer: &Result<Plan, CallError>, template: &TemplateDir) -> Vec<String> {
    match answer {
        Ok(plan) => broken_plan(plan, template),
        Err(CallError::SaidNo(errors)) => broken_diagnostics("an error", errors),
        Err(error) => vec![super::told(error)],
    }
}

fn broken_plan(plan: &Plan, template: &TemplateDir) -> Vec<String> {
    let mut wrong = broken_diagnostics("a warning", &plan.warnings);
    let mut above: Vec<&WorkspaceKey> = Vec::new();
    for workspace in &plan.workspaces {
        let key = &workspace.key;
        // Depth first: only ancestors of the one before can be parents.
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
        say(format!("there is no tier {}", workspace.tier));
    }
    if workspace.runtime.is_empty() && !workspace.external {
        say("it has no runtime".to_owned());
    }
    if !workspace.canvas.x.is_finite() || !workspace.canvas.y.is_finite() {
        say("its place on the canvas is no number".to_owned());
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
        say(format!("{name:?} is no name of a variable"));
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
                "the schedule {:?} has not five fields",
                schedule.name
            ));
        }
        if schedule.timezone.is_empty() {
            say(format!("the schedule {:?} has no time zone", schedule.name));
        }
    }
    for channel in &workspace.channels {
        if !matches!(&*channel.kind, "telegram" | "slack" | "lark" | "discord") {
            say(format!(
                "there is no channel of the type {:?}",
                channel.kind
            ));
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
        say("a channel is left out without a reason".to_owned());
    }
}

fn broken_requirement(requirement: &Requirement, keys: &BTreeSet<&str>, wrong: &mut Vec<String>) {
    let names = requirement.any_of.iter();
    for name in names.filter(|name| !is_identifier(name)) {
        wrong.push(format!(
            "{name:?} is required, and is no name of a variable"
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
    for said in diagnostics {
        if !is_slug(&said.code) {
            wrong.push(format!(
                "{what} has the code {:?}: a code is small letters, digits and `-`",
                said.code
            ));
        }
        if said.message.trim().is_empty() {
            wrong.push(format!("{what} says nothing: its message is empty"));
        }
        // A name in the template may be odd, and is told as it is.
        let leads_out =
            |file: &&String| file.split('/').any(|part| matches!(part, "" | "." | ".."));
        if let Some(file) = said.file.as_ref().filter(leads_out) {
            wrong.push(format!("{what} is in {file:?}, no path of the template"));
        }
    }
    wrong
}

fn ascending(texts: &[&str]) -> bool {
    texts.is_sorted_by(|a, b| a < b)
}
