//~ error[E0308]: mismatched types

use orghost::provision::generation::Generation;
use orghost::provision::seed::{Manifest, Mismatch, Verified};

fn forged(manifest: &Manifest, generation: &Generation) -> Result<Verified, Mismatch> {
    manifest.verify(manifest, generation) // REJECTED
}
