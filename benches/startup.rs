//! Measures the program from start to exit: one plan, compared with a start that does nothing.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

mod sides;
mod table;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sides::Sides;
use table::Target;

fn startup(criterion: &mut Criterion) {
    let studio = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/studio");
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_orghost"))
            .args(args)
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let plan = ["plan", studio.to_str().unwrap(), "--demo"];
    // The first run fills the cache.
    run(&plan);
    Sides::new(criterion, "startup", 50, Duration::from_secs(3))
        .side("orghost --version", Target::Open, || run(&["--version"]))
        .side(
            "orghost plan, plugin in the cache",
            Target::Time(Duration::from_millis(30)),
            || run(&plan),
        )
        .print();
}

criterion_group!(benches, startup);
criterion_main!(benches);
