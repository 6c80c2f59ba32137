//! Many callers of one plugin at once: the same number of plans, shared out among more and more threads.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot go on ends"
)]

mod sides;
mod table;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, PluginInput, Sandbox};
use orghost::template::directory::TemplateDir;
use sides::Sides;
use table::Target;

/// Plans in one sample, whoever makes them.
const PLANS: usize = 128;

fn callers(criterion: &mut Criterion) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/forty/template");
    let template = TemplateDir::open(&case).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(Some(cache.path())).unwrap();
    let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let request = PluginInput::default();
    let plan = || {
        // A plan, or what the template lacks: either way the whole import ran.
        let _ = plugin.plan(&template, &request);
    };
    let shared_by = |threads: usize| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..PLANS / threads).for_each(|_| plan()));
            }
        });
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    // What each core does for one caller, all cores together, with a tenth lost at most.
    let most = (100.0 / (0.9 * cores as f64)).round() / 100.0;
    Sides::new(
        criterion,
        "callers: 128 plans of 40 workspaces",
        10,
        Duration::from_secs(5),
    )
    .side("1 caller", Target::Open, || shared_by(1))
    .side("8 callers", Target::Ratio(most), || shared_by(8))
    .side("64 callers", Target::Ratio(most), || shared_by(64))
    .print();
}

criterion_group!(benches, callers);
criterion_main!(benches);
