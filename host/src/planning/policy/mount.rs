//! The check of the directory of this machine that a plan asks to mount.

use std::path::{Component, Path, PathBuf};

use super::approved::Mount;
use super::violation::WorkspaceViolations;
use crate::model::plan::{self, Access};

/// Checks the directory that a workspace asks for, against the roots that the operator allows. `None`: no directory is
/// mounted.
pub(super) fn mount(
    allowed: &[PathBuf],
    workspace: &plan::Workspace,
    violations: &mut WorkspaceViolations<'_>,
) -> Option<Mount> {
    let wanted = workspace.workspace_dir.as_deref()?;
    let writable = match workspace.workspace_access {
        Access::None => return None,
        Access::ReadOnly => false,
        Access::ReadWrite => true,
    };
    let source = Path::new(wanted);
    if !is_absolute_and_normal(source) || wanted.contains('\0') {
        violations.add(
            "mount-path",
            format!("the directory {wanted:?} is not an absolute path without `.` and `..`"),
            "write the full path of the directory",
        );
        return None;
    }
    // Compared by components, so that /srv does not contain /srvx. The deepest root is used.
    let roots = allowed.iter();
    let root = roots
        .filter(|root| source.starts_with(root))
        .max_by_key(|root| root.components().count());
    if root.is_none() {
        violations.add(
            "mount-not-allowed",
            format!("the directory {wanted} of this machine is not under an allowed root"),
            &format!(
                "pass --allow-mount {wanted}, or a directory above it, if the workspace may have it"
            ),
        );
    }
    Some(Mount {
        source: source.to_owned(),
        root: root?.clone(),
        writable,
    })
}

fn is_absolute_and_normal(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        // `components` drops `.`. That is harmless, but the path in the report would not be the one that is mounted.
        && !path.as_os_str().to_string_lossy().split('/').any(|part| part == ".")
}
