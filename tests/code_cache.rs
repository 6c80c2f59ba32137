//! Tests of the cache of compiled plugins: a hit makes a start fast, and a damaged or foreign file is never used.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orghost::model::plugin::{PluginDigest, PluginLimits};
use orghost::plugin::sandbox::{CallError, ORG_IMPORT, PluginInput, Sandbox};
use orghost::template::directory::TemplateDir;

use crate::hostile::component;
use crate::support::root;

/// A small plugin that compiles quickly and returns a plan without a name.
const PLUGIN: &str = "no-name";

/// Loads the plugin and calls it.
fn load(cache: &Path) {
    let sandbox = Sandbox::new(Some(cache)).unwrap();
    let plugin = sandbox
        .load(&component(PLUGIN), &PluginLimits::default())
        .unwrap();
    let template = TemplateDir::open(&root().join("examples/studio")).unwrap();
    match plugin.plan(&template, &PluginInput::default()) {
        Err(CallError::InvalidAnswer(reason)) => assert!(reason.contains("no name"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// The path of the only file with compiled code.
fn code(cache: &Path) -> PathBuf {
    let engines: Vec<_> = entries(&cache.join("plugins"));
    assert_eq!(engines.len(), 1, "{engines:?}");
    let files = codes(&engines[0]);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// The files with compiled code in a folder, without the marks of those that were checked.
fn codes(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|file| file.extension().is_some_and(|end| end == "cwasm"));
    files
}

/// Loads the plugin until its file is old enough to be marked as checked. Returns the path of the mark.
fn load_until_marked(cache: &Path, name: &str) -> PathBuf {
    let mark = code_folder(cache).join(name);
    let began = Instant::now();
    while !mark.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "no mark");
        load(cache);
    }
    mark
}

fn code_folder(cache: &Path) -> PathBuf {
    entries(&cache.join("plugins")).remove(0)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn compiled_code_is_private_and_reused() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    load(&cache);
    let file = code(&cache);
    let digest = PluginDigest::of(&component(PLUGIN));
    assert_eq!(
        file.file_name().unwrap().to_str().unwrap(),
        format!("{}.cwasm", digest.as_str())
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);

    // A used file is not written again: its modification time stays.
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let earlier = written - Duration::from_secs(60);
    let open = std::fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(earlier).unwrap();
    load(&cache);
    assert_eq!(
        std::fs::metadata(&file).unwrap().modified().unwrap(),
        earlier
    );
}

#[test]
fn damaged_code_is_compiled_again_and_replaced() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    load(&cache);
    let file = code(&cache);
    let good = std::fs::read(&file).unwrap();

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut seal = good.clone();
    *seal.last_mut().unwrap() ^= 1;
    let damaged: [(&str, &[u8]); 5] = [
        ("a flipped byte of code", &flipped),
        ("a flipped byte of the digest", &seal),
        ("cut off", &good[..good.len() / 2]),
        ("no code", &good[good.len() - 32..]),
        ("nothing", b""),
    ];
    for (what, bytes) in damaged {
        std::fs::write(&file, bytes).unwrap();
        load(&cache);
        let now = std::fs::read(&file).unwrap();
        assert_ne!(now, bytes, "{what} was not replaced");
        // The replacement is used: its mode shows that it is not written again.
        std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        load(&cache);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o400, "{what}");
    }
}

#[test]
fn code_of_another_plugin_or_wasmtime_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    load(&cache);
    let file = code(&cache);
    let good = std::fs::read(&file).unwrap();

    // Valid code of another plugin is stored under this plugin's name.
    let other = component("trap");
    let sandbox = Sandbox::new(Some(&cache)).unwrap();
    sandbox.load(&other, &PluginLimits::default()).unwrap();
    let others = PluginDigest::of(&other);
    let others = file.with_file_name(format!("{}.cwasm", others.as_str()));
    std::fs::copy(&others, &file).unwrap();
    std::fs::remove_file(&others).unwrap();
    load(&cache);
    assert_eq!(std::fs::read(&file).unwrap().len(), good.len());

    // Code of another wasmtime version is in its own folder and is not read.
    let elsewhere = cache.join("plugins").join("0".repeat(64));
    std::fs::rename(file.parent().unwrap(), &elsewhere).unwrap();
    load(&cache);
    assert!(file.exists());
    assert_eq!(codes(&elsewhere).len(), 1);
}

#[test]
fn code_in_a_folder_that_others_can_write_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    load(&cache);
    let file = code(&cache);
    let folder = file.parent().unwrap();
    std::fs::write(&file, b"not code").unwrap();

    // Nothing is read from or written to this folder.
    std::fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    load(&cache);
    assert_eq!(std::fs::read(&file).unwrap(), b"not code");

    // A file that others can write, in a private folder, is replaced.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    load(&cache);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    // A link is replaced too, and its target stays unchanged.
    let target = home.path().join("target");
    std::fs::rename(&file, &target).unwrap();
    std::os::unix::fs::symlink(&target, &file).unwrap();
    load(&cache);
    assert!(!std::fs::symlink_metadata(&file).unwrap().is_symlink());
}

#[test]
fn a_mark_is_void_after_a_change_and_after_a_boot() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    load(&cache);
    let file = code(&cache);
    let name = file.file_name().unwrap().to_str().unwrap();
    let mark = load_until_marked(&cache, &format!("{name}.checked"));
    let marked = std::fs::read_to_string(&mark).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim_end();

    // The mark of another boot is replaced.
    std::fs::write(&mark, marked.replace(boot, &boot.replace('-', "0"))).unwrap();
    load(&cache);
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), marked);

    // Damaged code is found in spite of the mark, even when its size and its modification time are the old ones.
    let good = std::fs::read(&file).unwrap();
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    let open = std::fs::File::options().write(true).open(&file).unwrap();
    open.set_modified(written).unwrap();
    load(&cache);
    assert_ne!(std::fs::read(&file).unwrap(), flipped);

    // A mark that others can write is not believed, nor is a link.
    let mark = load_until_marked_again(&cache, &mark, &marked);
    std::fs::set_permissions(&mark, Permissions::from_mode(0o666)).unwrap();
    load(&cache);
    let mode = std::fs::metadata(&mark).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

/// Loads the plugin until its new file is marked in place of the old one.
fn load_until_marked_again(cache: &Path, mark: &Path, old: &str) -> PathBuf {
    let began = Instant::now();
    while std::fs::read_to_string(mark).unwrap() == old {
        assert!(began.elapsed() < Duration::from_secs(30), "no new mark");
        load(cache);
    }
    mark.to_owned()
}

/// The code that a package installs: only the built-in plugin's, and only when it fits and nobody else can have written it.
#[test]
fn shipped_code_is_used_when_it_fits() {
    let home = tempfile::tempdir().unwrap();
    let shipped = home.path().join("lib");
    Sandbox::ship(&shipped).unwrap();
    let file = codes(&shipped).remove(0);
    let good = std::fs::read(&file).unwrap();
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&shipped, 0o755);
    set_mode(&file, 0o644);
    // The number of plugins that had to be compiled, by what a fresh cache holds afterwards.
    let compiled = |plugin: &[u8]| {
        let cache = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::new(Some(cache.path())).unwrap();
        let sandbox = sandbox.with_shipped(Some(shipped.clone()));
        sandbox.load(plugin, &PluginLimits::default()).unwrap();
        codes(&code_folder(cache.path())).len()
    };
    assert_eq!(compiled(ORG_IMPORT), 0);

    // Without a cache, too.
    let sandbox = Sandbox::new(None)
        .unwrap()
        .with_shipped(Some(shipped.clone()));
    let plugin = sandbox.load(ORG_IMPORT, &PluginLimits::default()).unwrap();
    assert_eq!(plugin.describe().unwrap().name, "org-import");

    // The folder has another plugin's code under this plugin's name.
    let other = component("trap");
    let others = PluginDigest::of(&other);
    std::fs::copy(&file, shipped.join(format!("{}.cwasm", others.as_str()))).unwrap();
    assert_eq!(compiled(&other), 1);

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    assert_eq!(compiled(ORG_IMPORT), 1, "damaged");
    std::fs::write(&file, &good).unwrap();
    set_mode(&file, 0o666);
    assert_eq!(compiled(ORG_IMPORT), 1, "a file that others can write");
    set_mode(&file, 0o644);
    set_mode(&shipped, 0o777);
    assert_eq!(compiled(ORG_IMPORT), 1, "a folder that others can write");
    set_mode(&shipped, 0o755);
    assert_eq!(compiled(ORG_IMPORT), 0);
}

/// As a package installs it, and as an archive is unpacked.
#[test]
fn the_program_finds_the_code_that_a_release_has() {
    for (program, code_is_in) in [
        ("usr/bin/orghost", "usr/lib/orghost"),
        ("orghost-1/orghost", "orghost-1/lib/orghost"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        std::fs::create_dir_all(at(program).parent().unwrap()).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_orghost"), at(program)).unwrap();
        let run = |args: &[&str]| {
            let output = std::process::Command::new(at(program))
                .args(args)
                .env_clear()
                .env("HOME", home.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        run(&["expand", "$A", "--env", "A=1"]);
        assert_eq!(codes(&code_folder(&at(".cache/orghost"))).len(), 1);
        std::fs::remove_dir_all(at(".cache")).unwrap();
        run(&["compile", at(code_is_in).to_str().unwrap()]);
        run(&["expand", "$A", "--env", "A=1"]);
        assert_eq!(
            codes(&code_folder(&at(".cache/orghost"))).len(),
            0,
            "{program}"
        );
    }
}
