//! Whether a directory of the operator's may be mounted, now that there is a
//! file system to ask: policy saw only text. Never makes a directory.

use std::path::Path;

use tokio::fs;

use crate::policy::Mount;
use crate::provision::engine::EngineError;

/// The real path of a directory that is, all links followed, still under its
/// allowed root. What is mounted is this path: a link that changes later leads nowhere.
pub(super) async fn real(mount: &Mount) -> Result<String, EngineError> {
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
    // By components: /srvx is not under /srv.
    if !source.starts_with(&root) {
        return Err(refused(format!(
            "its links lead to {}, which is outside the allowed root {}",
            source.display(),
            root.display()
        )));
    }
    let metadata = fs::metadata(&source).await;
    if !metadata.map_err(|e| refused(e.to_string()))?.is_dir() {
        return Err(refused("it is no directory".to_owned()));
    }
    let path = source.into_os_string().into_string();
    path.map_err(|_| refused("its path is not UTF-8".to_owned()))
}
