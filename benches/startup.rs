//! Measures the program from start to exit: plans, compared with a start that does nothing, and the first start after an
//! installation with and without the compiled plugin of the package. Also measures what a start loads.
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
use orghost::model::plugin::PluginLimits;
use orghost::plugin::sandbox::{ORG_IMPORT, Sandbox, digest_of};
use sides::Sides;
use table::Target;

fn startup(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = tempfile::tempdir().unwrap();
    // As it is installed: the program, and the compiled plugin beside it.
    let program = home.path().join("bin/orghost");
    std::fs::create_dir(home.path().join("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_orghost"), &program).unwrap();
    let run = |program: &Path, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let shipped = home.path().join("lib/orghost");
    let forty = root.join("tests/cases/forty");
    let (template, env) = (forty.join("template"), forty.join("env"));
    let (template, env) = (template.to_str().unwrap(), env.to_str().unwrap());
    let local = [
        "plan",
        template,
        "--env-file",
        env,
        "--demo",
        "--engine",
        "local",
    ];
    let asking = &local[..5];
    let first_start = || {
        let _ = std::fs::remove_dir_all(home.path().join(".cache"));
        run(&program, &local);
    };
    let each = Duration::from_secs(3);
    Sides::new(criterion, "startup", 50, each)
        .side("orghost --version", Target::Open, || {
            run(&program, &["--version"]);
        })
        .side(
            "orghost plan, 40 workspaces",
            Target::Time(Duration::from_millis(12)),
            || run(&program, &local),
        )
        .side(
            "the same, which also asks Docker",
            Target::Time(Duration::from_millis(12)),
            || run(&program, asking),
        )
        .print();

    run(&program, &["compile", shipped.to_str().unwrap()]);
    let bare = home.path().join("bare/orghost");
    std::fs::create_dir(home.path().join("bare")).unwrap();
    std::fs::copy(&program, &bare).unwrap();
    Sides::new(
        criterion,
        "startup: the first plan after an installation",
        10,
        each,
    )
    .side(
        "with the package's compiled plugin",
        Target::Open,
        first_start,
    )
    .side("without it", Target::Open, || {
        let _ = std::fs::remove_dir_all(home.path().join(".cache"));
        run(&bare, &local);
    })
    .print();
    load(criterion, &shipped);
}

fn load(criterion: &mut Criterion, shipped: &Path) {
    let cache = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(Some(cache.path())).unwrap();
    let load = || sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    load();
    let folder = std::fs::read_dir(cache.path().join("plugins")).unwrap();
    let folder = folder.last().unwrap().unwrap().path();
    let mark = folder.join(format!("{}.cwasm.checked", digest_of(ORG_IMPORT).as_str()));
    // A file is marked when it has not changed for a while.
    while !mark.exists() {
        load();
    }
    let each = Duration::from_secs(2);
    Sides::new(criterion, "startup: the built-in plugin", 50, each)
        .side(
            "from the cache, checked since the boot",
            Target::Time(Duration::from_micros(500)),
            load,
        )
        .side("from the cache, checked now", Target::Open, || {
            std::fs::remove_file(&mark).unwrap();
            load()
        })
        .print();
    let new = |cache: Option<&Path>| Sandbox::new(cache).unwrap();
    Sides::new(
        criterion,
        "startup: the engine with the built-in plugin",
        10,
        each,
    )
    .side("from the cache", Target::Open, || {
        let sandbox = new(Some(cache.path()));
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    })
    .side("from the package, without a cache", Target::Open, || {
        let sandbox = new(None).with_shipped(Some(shipped.to_owned()));
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    })
    .side("compiled anew", Target::Open, || {
        let sandbox = new(None);
        let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
        (sandbox, plugin)
    })
    .print();
}

criterion_group!(benches, startup);
criterion_main!(benches);
