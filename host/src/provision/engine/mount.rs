//! Whether a directory of the operator's may be mounted, now that there is a
//! file system to ask: policy saw only text. Never makes a directory.

use std::path::Path;

use tokio::fs;

use crate::planning::policy::Tier;
use crate::provision::engine::error::EngineError;
use crate::provision::spec::Spec;

/// A directory of the operator's, as an engine may use it.
#[derive(Debug)]
pub(in crate::provision) struct Bind {
    /// Its real path. A link that changes later leads nowhere.
    pub(in crate::provision) source: String,
    /// Whether it may be written.
    pub(in crate::provision) writable: bool,
}

/// The operator's directory of a workspace: there, and with all links followed
/// still under its allowed root. `None`: it has none, or is sealed (tier 1).
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
        return Err(refused("it is not a directory".to_owned()));
    }
    let path = source.into_os_string().into_string();
    Ok(Some(Bind {
        source: path.map_err(|_| refused("its path is not UTF-8".to_owned()))?,
        writable: mount.writable,
    }))
}
