//! Checks a directory of the operator's on disk before it is mounted, because policy saw only its path. Makes no directory.

use std::path::Path;

use tokio::fs;

use crate::planning::policy::Tier;
use crate::provision::engine::error::EngineError;
use crate::provision::spec::Spec;

/// A directory of the operator's that was checked: it exists, and is under its allowed root.
#[derive(Debug)]
pub(in crate::provision) struct Bind {
    /// Its path with all symbolic links followed, so that a link that changes later has no effect.
    pub(in crate::provision) source: String,
    /// Whether the workspace may write to it.
    pub(in crate::provision) writable: bool,
}

/// The operator's directory of a workspace. `None`: the workspace has none, or is in tier 1.
///
/// # Errors
/// [`EngineError::Mount`] when it is not a directory, or its symbolic links lead out of the allowed root.
pub(in crate::provision) async fn bind(spec: &Spec) -> Result<Option<Bind>, EngineError> {
    let Some(mount) = spec.mount.as_ref().filter(|_| spec.tier != Tier::One) else {
        return Ok(None);
    };
    let refused = |reason: String| EngineError::Mount {
        path: mount.source.display().to_string(),
        reason,
    };
    let follow = async |path: &Path| {
        let real = fs::canonicalize(path).await;
        real.map_err(|e| refused(format!("{}: {e}", path.display())))
    };
    let root = follow(&mount.root).await?;
    let source = follow(&mount.source).await?;
    // Compared by components, so that /srvx is not under /srv.
    if !source.starts_with(&root) {
        return Err(refused(format!(
            "its links lead to {}, which is outside the allowed root {}",
            source.display(),
            root.display()
        )));
    }
    let metadata = fs::metadata(&source).await;
    if !metadata.map_err(|e| refused(e.to_string()))?.is_dir() {
        return Err(refused("it is not a directory".to_owned()));
    }
    let path = source.into_os_string().into_string();
    Ok(Some(Bind {
        source: path.map_err(|_| refused("its path is not UTF-8".to_owned()))?,
        writable: mount.writable,
    }))
}
