//! Finds the program of a runtime.
//!
//! The host finds it without the environment of the workspace, so that a template or plugin cannot influence the search. The
//! program is then started by its absolute path.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::provision::engine::error::EngineError;

/// The folders of the system's programs: where a name is searched for, and the `PATH` of a workspace, unless the runtime in
/// the configuration file sets another `PATH`.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The absolute path of a program; `path` is the `PATH` of its runtime in the configuration file.
///
/// # Errors
/// [`EngineError::NotExecutable`] when there is no such program, or its path is relative.
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
    // A relative folder would be relative to a directory that a workspace can write to.
    let folders = path.split(':').map(Path::new).filter(|f| f.is_absolute());
    let mut candidates = folders.map(|folder| folder.join(program));
    let found = candidates.find(|path| {
        let metadata = path.metadata();
        metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| not_executable(format!("it is in none of the folders {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_searched_for_only_in_absolute_folders() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("agent");
        std::fs::write(&program, "").unwrap();
        let path = format!("relative::{}:/bin", folder.path().display());
        // It is not executable yet.
        let error = find("agent", Some(&path)).unwrap_err().to_string();
        assert!(error.contains("in none of the folders"), "{error}");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find("agent", Some(&path)).unwrap(), program);
        assert!(find("agent", None).is_err());
        assert!(find("./agent", Some(&path)).is_err());
        assert_eq!(find("sh", Some("/bin")).unwrap(), Path::new("/bin/sh"));
    }
}
