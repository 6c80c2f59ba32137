//~ error[E0599]: no method named `stop_old` found for struct

use orghost::provision::engine::Engine;
use orghost::provision::workspace::{Created, Workspace};

async fn too_early<E: Engine>(workspace: Workspace<'_, E, Created>) {
    workspace.stop_old().await; // REJECTED
}
