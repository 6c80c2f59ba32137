//~ error[E0599]: no method named `start` found for struct

use orghost::provision::engine::Engine;
use orghost::provision::workspace::{Seeded, Workspace};

async fn both<E: Engine>(workspace: Workspace<'_, E, Seeded>) {
    workspace.start().await; // REJECTED
}
