//! Fault injection for tests: kills the process after a given number of writes or at a named point, or panics at a named
//! point. Compiled only with the feature `fault-injection`.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "only tests use this module; releases do not contain it"
)]

use std::sync::atomic::{AtomicU64, Ordering};

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Kills this process with SIGKILL when it has made the number of writes in `ORGHOST_KILL_AFTER_WRITES`.
pub fn after_write() {
    let limit = std::env::var("ORGHOST_KILL_AFTER_WRITES")
        .ok()
        .and_then(|n| n.parse().ok());
    if limit == Some(WRITES.fetch_add(1, Ordering::SeqCst) + 1) {
        kill();
    }
}

/// Kills this process with SIGKILL at the point that `ORGHOST_KILL_AT` names, and panics at the one that
/// `ORGHOST_PANIC_AT` names.
pub fn at(point: &str) {
    let is_named = |name| std::env::var(name).is_ok_and(|named| named == point);
    if is_named("ORGHOST_KILL_AT") {
        kill();
    }
    if is_named("ORGHOST_PANIC_AT") {
        panic!("provoked at {point}");
    }
}

fn kill() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
