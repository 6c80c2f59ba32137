//! Finds the text of a prompt: inline, or else in a file. A file that cannot be read is an error.

use std::collections::BTreeSet;

use super::files::{self, Template};
use super::problems::Problems;
use super::schema::{Org, Prompt, Workspace};
use super::text;

/// The normalised text of a prompt. `None` when it is not set or empty, and after a reported problem. `folder` is the
/// folder of its file; `None` after a reported problem.
pub(crate) fn resolve(
    spec: &Prompt,
    folder: Option<&str>,
    template: &mut Template<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let inline = spec
        .inline
        .as_ref()
        .and_then(|inline| text::prompt(&inline.text));
    inline.or_else(|| {
        let file = spec.file.as_ref()?;
        template.prompt(folder?, &file.text, &file.at, problems)
    })
}

/// The paths of the prompt files that an org probably uses, to read them ahead.
pub(crate) fn files(org: &Org) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut add = |folder: &str, prompt: &Prompt| {
        let file = prompt.file.as_ref().filter(|_| prompt.inline.is_none());
        paths.extend(file.and_then(|file| files::joined(folder, &file.text).ok()));
    };
    add("", &org.defaults.prompts.initial);
    add("", &org.defaults.prompts.idle);
    let mut open: Vec<&Workspace> = org.workspaces.iter().collect();
    while let Some(workspace) = open.pop() {
        if !workspace.spawning {
            continue;
        }
        let folder = workspace.files_dir.as_ref().map_or("", |dir| &dir.text);
        if !workspace.external {
            add(folder, &workspace.prompts.initial);
            add(folder, &workspace.prompts.idle);
        }
        for schedule in &workspace.schedules {
            add(folder, &schedule.prompt);
        }
        open.extend(&workspace.children);
    }
    paths
}
