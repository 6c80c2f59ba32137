//! Decides which files the program of a workspace may use besides those of the system.
//!
//! It decides from the spec alone. Of the paths in a spec, a template can choose only the directory that policy allowed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::confine::{Grant, Use};
use super::disk::WorkspaceFolder;
use crate::provision::engine::mount::Bind;
use crate::provision::observed::VolumeKind;
use crate::provision::spec::Spec;
use crate::provision::workspace::has_work;

/// The grants of one workspace. `not_granted` are folders that are not granted even when they contain the program: the
/// operator's home and the engine's folder.
pub fn of(
    folder: &WorkspaceFolder,
    spec: &Spec,
    bind: Option<&Bind>,
    command: &[String],
    not_granted: &[&Path],
) -> Vec<Grant> {
    let program = command.first().map(Path::new);
    let mut grants = program.map_or(Vec::new(), |program| of_program(program, not_granted));
    let seed = match spec.runtime.executable_seed {
        true => Use::All,
        false => Use::Change,
    };
    grants.push(Grant::new(folder.volume(VolumeKind::Configs), seed));
    grants.push(Grant::new(folder.scratch(), Use::All));
    if has_work(spec) {
        grants.push(Grant::new(folder.volume(VolumeKind::Workspace), Use::All));
    }
    if let Some(bind) = bind {
        let may = if bind.writable { Use::All } else { Use::Run };
        // A template chose the path, and other workspaces may put a link in its place.
        grants.push(Grant {
            without_links: true,
            ..Grant::new(&bind.source, may)
        });
    }
    let of_runtime = |paths: &[PathBuf], may| {
        let grants: Vec<_> = paths.iter().map(|path| Grant::new(path, may)).collect();
        grants
    };
    grants.extend(of_runtime(&spec.runtime.read, Use::Run));
    grants.extend(of_runtime(&spec.runtime.write, Use::All));
    grants
}

/// The grants of the program itself: its file, and the folder that contains it. The folder is not granted when it contains
/// one of `not_granted` or everybody may write to it, so that a script in the operator's home does not open the home.
fn of_program(program: &Path, not_granted: &[&Path]) -> Vec<Grant> {
    let is_its_own = |folder: &Path| {
        let holds_excluded = not_granted.iter().any(|excluded| {
            let real = excluded.canonicalize();
            excluded.starts_with(folder) || real.is_ok_and(|real| real.starts_with(folder))
        });
        let metadata = folder.metadata();
        !holds_excluded && metadata.is_ok_and(|m| m.permissions().mode() & 0o002 == 0)
    };
    // For a symbolic link, both its own folder and that of its target.
    let real = program.canonicalize().ok();
    let mut grants = Vec::new();
    for file in [Some(program), real.as_deref()].into_iter().flatten() {
        let folder = file.parent().filter(|folder| is_its_own(folder));
        grants.extend(
            [Some(file), folder]
                .into_iter()
                .flatten()
                .map(|path| Grant::new(path, Use::Run)),
        );
    }
    grants
}
