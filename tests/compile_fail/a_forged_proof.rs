//~ error[E0451]: fields `generation` and `restarts` of struct

use orghost::provision::generation::Generation;
use orghost::provision::seed::Verified;

fn forged(generation: Generation) -> Verified {
    Verified { generation, restarts: true } // REJECTED
}
