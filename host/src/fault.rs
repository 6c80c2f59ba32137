//! Fault injection for tests: the process ends as if it had been killed after
//! a given number of writes, or at a named place; or a task panics there.
//! Compiled only with `fault-injection`.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "switches of the tests, absent from releases"
)]

use std::sync::atomic::{AtomicU64, Ordering};

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Sends this process SIGKILL after as many writes as `ORGHOST_KILL_AFTER_WRITES` says.
pub fn after_write() {
    let limit = std::env::var("ORGHOST_KILL_AFTER_WRITES")
        .ok()
        .and_then(|n| n.parse().ok());
    if limit == Some(WRITES.fetch_add(1, Ordering::SeqCst) + 1) {
        kill();
    }
}

/// Sends this process SIGKILL when this is the place that `ORGHOST_KILL_AT` names, and panics when it is that of
/// `ORGHOST_PANIC_AT`.
pub fn at(place: &str) {
    let is_named = |name| std::env::var(name).is_ok_and(|named| named == place);
    if is_named("ORGHOST_KILL_AT") {
        kill();
    }
    if is_named("ORGHOST_PANIC_AT") {
        panic!("provoked at {place}");
    }
}

fn kill() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
