//~ error[E0451]: field `generation` of struct

use orghost::provision::generation::Generation;
use orghost::provision::seed::Verified;

fn forged(generation: Generation) -> Verified {
    Verified { generation } // REJECTED
}
