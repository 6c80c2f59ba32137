//! Resolves the operator's directory that a workspace wants (org-template.md §9). The host's policy decides later
//! whether the workspace gets it. No message shows the value of a reference.

use super::expand::Sources;
use super::problems::{Problems, listed, quoted};
use super::schema::Workspace;
use crate::{Diagnostic, WorkspaceAccess};

/// The directory and the access to it; no directory after a reported problem.
pub(crate) fn resolve(
    spec: &Workspace,
    sources: Sources<'_>,
    problems: &mut Problems,
) -> (Option<String>, WorkspaceAccess) {
    let nothing = (None, WorkspaceAccess::None);
    let Some(dir) = &spec.dir else {
        if let Some((WorkspaceAccess::ReadOnly | WorkspaceAccess::ReadWrite, at)) = &spec.access {
            let message = "`workspace_access` has no effect: there is no `workspace_dir`";
            let help = "add `workspace_dir`, or remove `workspace_access`";
            problems.error(
                Diagnostic::new("workspace-access", message)
                    .about(at)
                    .help(help),
            );
        }
        return nothing;
    };
    if let Some((WorkspaceAccess::None, _)) = &spec.access {
        let message = "the directory is not used: `workspace_access` is `none`";
        problems.warn(Diagnostic::new("workspace-dir-ignored", message).about(&dir.at));
        return nothing;
    }
    let expansion = sources.expand(&dir.text);
    let names = listed(expansion.unresolved.iter().cloned());
    if expansion.text.is_empty() {
        let message = format!(
            "there is no value for {names}: the workspace gets a volume instead of a directory"
        );
        problems.warn(Diagnostic::new("workspace-dir-unset", message).about(&dir.at));
        return nothing;
    }
    let wrong = if !expansion.malformed.is_empty() {
        Some((
            "workspace-dir-malformed",
            "has a malformed reference; references cannot have default values".to_owned(),
        ))
    } else if !expansion.unresolved.is_empty() {
        Some((
            "workspace-dir-unresolved",
            format!("has references without a value: {names}"),
        ))
    } else {
        invalid(&expansion.text).map(|why| ("workspace-dir-invalid", why.to_owned()))
    };
    if let Some((code, why)) = wrong {
        let message = format!("the directory {} {why}", quoted(&dir.text));
        problems.error(Diagnostic::new(code, message).about(&dir.at));
        return nothing;
    }
    let access = spec.access.as_ref().map(|(access, _)| *access);
    if access.is_none() {
        let message = "the directory is read-only, because there is no `workspace_access`";
        let help = "say `workspace_access: read_only` or `read_write`";
        problems.warn(
            Diagnostic::new("workspace-access-default", message)
                .about(&dir.at)
                .help(help),
        );
    }
    (
        Some(expansion.text),
        access.unwrap_or(WorkspaceAccess::ReadOnly),
    )
}

fn invalid(dir: &str) -> Option<&'static str> {
    if !dir.starts_with('/') {
        Some("is not absolute")
    } else if dir.split('/').any(|part| part == "..") {
        Some("has a `..` in it")
    } else if dir.contains(char::is_control) {
        Some("has a control character in it")
    } else {
        None
    }
}
