//~ error[E0599]: no method named `start` found for struct `orghost::provision::workspace::Workspace

use orghost::provision::engine::Engine;
use orghost::provision::workspace::{Created, Workspace};

async fn unseeded<E: Engine>(workspace: Workspace<'_, E, Created>) {
    workspace.start().await; // REJECTED
}
