//! Fault injection for tests: the process ends as if it had been killed after
//! a given number of journal writes. Compiled only with `fault-injection`.

use std::sync::atomic::{AtomicU64, Ordering};

static WRITES: AtomicU64 = AtomicU64::new(0);

/// Sends this process SIGKILL after as many writes as `ORGHOST_KILL_AFTER_WRITES` says.
#[allow(
    clippy::disallowed_methods,
    reason = "a switch of the tests, absent from releases"
)]
pub fn after_journal_write() {
    let limit = std::env::var("ORGHOST_KILL_AFTER_WRITES")
        .ok()
        .and_then(|n| n.parse().ok());
    if limit == Some(WRITES.fetch_add(1, Ordering::SeqCst) + 1) {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
