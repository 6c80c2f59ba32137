//! Measures planning: the default plugin as a native crate and as a component, both reading through the host's
//! `TemplateDir`. Also measures loading and instantiating that component.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark may panic when it cannot continue"
)]

#[path = "../tests/support/native.rs"]
mod native;
mod sides;
mod table;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orghost::model::env_map::EnvMap;
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, PluginInput, Sandbox};
use orghost::template::directory::TemplateDir;
use sides::Sides;
use table::Target;

fn plan(criterion: &mut Criterion) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/forty");
    let template = TemplateDir::open(&case.join("template")).unwrap();
    let variables = std::fs::read_to_string(case.join("env")).unwrap();
    let vars: EnvMap = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let native_request = native::request(&vars);
    let input = PluginInput {
        vars,
        ..PluginInput::default()
    };
    let files = native::Files(template.clone());

    let cache = tempfile::tempdir().unwrap();
    let load = || {
        let sandbox = Sandbox::new(Some(cache.path())).unwrap();
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    };
    // The first load fills the cache.
    let (sandbox, plugin) = load();

    let plan = || plugin.plan(&template, &input).unwrap();
    let plan_natively = || match org_import::import_org(&files, &native_request) {
        Ok(plan) => plan,
        Err(problems) => panic!("{problems:?}"),
    };
    assert_eq!(plan().workspaces.len(), 40);
    assert_eq!(plan_natively().workspaces.len(), 40);

    let short = Duration::from_secs(3);
    Sides::new(criterion, "plan: 40 workspaces", 100, short)
        .side("native crate", Target::Open, plan_natively)
        .side("component, a fresh instance each", Target::Ratio(1.5), plan)
        .print();

    Sides::new(criterion, "plan: what a call stands on", 100, short)
        .side(
            "instantiation and a trivial call",
            Target::Time(Duration::from_micros(20)),
            || plugin.describe().unwrap(),
        )
        .print();

    Sides::new(
        criterion,
        "plan: the engine and the loaded plugin",
        10,
        short,
    )
    .side("from the cache", Target::Open, load)
    .side(
        "the plugin alone, from the cache",
        Target::Time(Duration::from_millis(1)),
        || sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap(),
    )
    .side("compiled anew", Target::Open, || {
        let sandbox = Sandbox::new(None).unwrap();
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    })
    .print();
}

criterion_group!(benches, plan);
criterion_main!(benches);
