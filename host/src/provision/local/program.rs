//! Where a runtime's program is. Found by the host, before the program's environment exists and without looking at it:
//! what a template or a plugin sets has no say. Whoever starts the program is given an absolute path and searches no more.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::provision::engine::EngineError;

/// The folders of the system's programs: where a name is looked for, and the `PATH` of a workspace, unless its runtime's
/// own variables say otherwise.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The absolute path of a program; `path` is the `PATH` of its runtime in the operator's file.
///
/// # Errors
/// [`EngineError::NotExecutable`] says where it was looked for.
pub fn find(program: &str, path: Option<&str>) -> Result<PathBuf, EngineError> {
    let not_executable = |reason: String| EngineError::NotExecutable {
        program: program.to_owned(),
        reason,
    };
    let named = Path::new(program);
    if named.is_absolute() {
        return match named.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(named.to_owned()),
            Ok(_) => Err(not_executable("it is not a file".to_owned())),
            Err(error) => Err(not_executable(error.to_string())),
        };
    }
    if program.contains('/') {
        return Err(not_executable("its path is not absolute".to_owned()));
    }
    let path = path.unwrap_or(PATH);
    // A folder that is not absolute would be looked for in one that a workspace writes to.
    let folders = path.split(':').map(Path::new).filter(|f| f.is_absolute());
    let mut places = folders.map(|folder| folder.join(program));
    let found = places.find(|place| {
        let metadata = place.metadata();
        metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| not_executable(format!("it is in none of the folders {path}")))
}
