//! What the program of a workspace may use beside the system's files. Decides from the spec alone, which holds nothing that
//! a template could have written but the directory that policy allowed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::confine::{Grant, Use};
use super::disk::WorkspaceFolder;
use crate::provision::engine::mount::Bind;
use crate::provision::observed::VolumeKind;
use crate::provision::spec::Spec;
use crate::provision::workspace::has_work;

/// The grants of one workspace. `others` are the folders that no program gets with its own: the operator's home, the
/// engine's folder.
pub fn of(
    place: &WorkspaceFolder,
    spec: &Spec,
    bind: Option<&Bind>,
    command: &[String],
    others: &[&Path],
) -> Vec<Grant> {
    let program = command.first().map(Path::new);
    let mut grants = program.map_or(Vec::new(), |program| of_program(program, others));
    let seed = match spec.runtime.executable_seed {
        true => Use::All,
        false => Use::Change,
    };
    grants.push(Grant::new(place.volume(VolumeKind::Configs), seed));
    grants.push(Grant::new(place.scratch(), Use::All));
    if has_work(spec) {
        grants.push(Grant::new(place.volume(VolumeKind::Workspace), Use::All));
    }
    if let Some(bind) = bind {
        let may = if bind.writable { Use::All } else { Use::Run };
        // A template chose it, and other workspaces may write beside it.
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

/// What a program may read and run of its own: its file, and the folder that the file is in. Not the folder where that
/// holds one of `others` or where everybody may write: a script in the operator's home does not open the home.
fn of_program(program: &Path, others: &[&Path]) -> Vec<Grant> {
    let is_its_own = |folder: &Path| {
        let holds_another = others.iter().any(|other| {
            let real = other.canonicalize();
            other.starts_with(folder) || real.is_ok_and(|real| real.starts_with(folder))
        });
        let metadata = folder.metadata();
        !holds_another && metadata.is_ok_and(|m| m.permissions().mode() & 0o002 == 0)
    };
    // A link's folder and that of what it leads to.
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
