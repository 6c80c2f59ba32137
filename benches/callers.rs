//! Measures a plugin with many callers at once: the same number of plans, divided among 1, 8 and 64 threads. Also measures
//! a server that is asked for the same plan again.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

#[path = "../tests/support/service.rs"]
mod service;
mod sides;
mod table;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orghost::config::Config;
use orghost::model::env_map::EnvMap;
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, PluginInput, Sandbox};
use orghost::service::Source;
use orghost::state::store::Store;
use orghost::template::directory::TemplateDir;
use sides::Sides;
use table::Target;

/// The number of plans in one sample, of all threads together.
const PLANS: usize = 128;

fn callers(criterion: &mut Criterion) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/forty/template");
    let template = TemplateDir::open(&case).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(Some(cache.path())).unwrap();
    let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    let input = PluginInput::default();
    let plan = || {
        // The result may be an error, because the template needs variables; the complete import ran in either case.
        let _ = plugin.plan(&template, &input);
    };
    let divided_among = |threads: usize| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..PLANS / threads).for_each(|_| plan()));
            }
        });
    };
    let cores = std::thread::available_parallelism().unwrap().get();
    // The ratio to reach: the time of one core divided among all cores, with a loss of at most a tenth.
    let max_ratio = (100.0 / (0.9 * cores as f64)).round() / 100.0;
    Sides::new(
        criterion,
        "callers: 128 plans of 40 workspaces",
        10,
        Duration::from_secs(5),
    )
    .side("1 caller", Target::Open, || divided_among(1))
    .side("8 callers", Target::Ratio(max_ratio), || divided_among(8))
    .side("64 callers", Target::Ratio(max_ratio), || divided_among(64))
    .print();
}

/// The template comes as an archive each time. Only a plan from memory needs no plugin.
fn again(criterion: &mut Criterion) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/forty");
    let template = TemplateDir::open(&case.join("template")).unwrap();
    let bundle = template.bundle().unwrap();
    let variables = std::fs::read_to_string(case.join("env")).unwrap();
    let vars: EnvMap = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let archive = bytes::Bytes::from(bundle.to_tar().unwrap());
    let state = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(state.path()).unwrap();
    // The engine is named, so it is not asked.
    let engine = "tcp://127.0.0.1:1".to_owned();
    let service = runtime
        .block_on(async { service::service(state.path(), store, Config::default(), engine) });
    let plan = |variable: String| {
        let mut import = service::import("");
        import.template = Source::Archive(archive.clone());
        import.vars = vars.clone();
        import.vars.insert("VARIABLE".to_owned(), variable);
        runtime.block_on(service.plan(import)).unwrap()
    };
    let mut number = 0;
    Sides::new(
        criterion,
        "callers: a plan of 40 workspaces in a server",
        50,
        Duration::from_secs(3),
    )
    .side(
        "from the plugin, another variable each",
        Target::Open,
        || {
            number += 1;
            plan(number.to_string())
        },
    )
    .side("from memory", Target::Ratio(0.5), || plan(String::new()))
    .print();
}

criterion_group!(benches, callers, again);
criterion_main!(benches);
