//! A lock file shows whether an artifact is stale, without a compiler and without the network.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::Path;

use orghost_build::{Compiler, Environment, Guest, Inputs, Inspection, Provenance, inspect};

/// A Cargo workspace with a guest, a library that it uses, a library that only its tests use, and an unrelated crate.
fn workspace() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let package = |name: &str, more: &str| {
        write(
            &format!("{name}/Cargo.toml"),
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}"
            ),
        );
        write(&format!("{name}/src/lib.rs"), "");
    };
    write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"wit\"]\n[profile.dev]\n[profile.release]\nlto = true\n[profile.guest]\ninherits = \"release\"\n",
    );
    package(
        "guest",
        "[dependencies]\nused = { path = \"../used\", features = [\"extra\"] }\n[dev-dependencies]\ntesting = { path = \"../testing\" }\n",
    );
    package("used", "[features]\nextra = []\n");
    package("testing", "");
    package("bystander", "");
    write("guest/src/data/words.txt", "a b");
    write("wit/plugin.wit", "package orghost:plugin@0.1.0;");
    root
}

fn inputs(root: &Path) -> Inputs {
    let guest = Guest::open(
        &root.join("guest"),
        &root.join("wit"),
        &Environment::default(),
    )
    .unwrap();
    Inputs::of(&guest).unwrap()
}

fn face() -> Inspection {
    inspect(&wat::parse_str("(component)").unwrap()).unwrap()
}

fn built(root: &Path) -> Provenance {
    let text = || "x".to_owned();
    let compiler = Compiler {
        release: text(),
        commit: text(),
        host: text(),
        llvm: text(),
    };
    Provenance::new(inputs(root), compiler, &face(), b"artifact")
}

#[test]
fn inputs_are_the_sources_and_packages_that_are_compiled_into_the_guest() {
    let root = workspace();
    let inputs = inputs(root.path());
    let files: Vec<_> = inputs.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        [
            "guest/Cargo.toml",
            "guest/src/data/words.txt",
            "guest/src/lib.rs",
            "used/Cargo.toml",
            "used/src/lib.rs",
            "wit/plugin.wit"
        ]
    );
    let packages: Vec<_> = inputs.packages.keys().map(String::as_str).collect();
    assert_eq!(packages, ["guest 0.1.0 []", "used 0.1.0 [extra]"]);
    assert_eq!(
        inputs.profile.keys().collect::<Vec<_>>(),
        ["guest", "release"]
    );
}

#[test]
fn the_lock_file_has_no_path_of_the_machine_and_reads_back_equal() {
    let root = workspace();
    let built = built(root.path());
    let text = built.to_text().unwrap();
    assert!(!text.contains(root.path().to_str().unwrap()), "{text}");
    let path = root.path().join("guest.lock");
    fs::write(&path, text).unwrap();
    assert_eq!(Provenance::read(&path).unwrap(), built);
    assert!(built.stale(&inputs(root.path()), b"artifact").is_empty());
}

#[test]
fn a_changed_input_makes_the_artifact_stale_and_is_named() {
    let root = workspace();
    let built = built(root.path());
    let stale = |artifact: &[u8]| built.stale(&inputs(root.path()), artifact);
    let append = |path: &str, text: &str| {
        let path = root.path().join(path);
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, old + text).unwrap();
    };

    append("bystander/src/lib.rs", "// does not matter");
    append("testing/src/lib.rs", "// matters to tests only");
    assert!(stale(b"artifact").is_empty());

    append("used/src/lib.rs", "\n");
    assert_eq!(
        stale(b"artifact"),
        ["used/src/lib.rs changed since the artifact was built"]
    );

    append("guest/src/more.rs", "");
    append("Cargo.toml", "opt-level = 3\n");
    fs::remove_file(root.path().join("wit/plugin.wit")).unwrap();
    assert_eq!(
        stale(b"another"),
        [
            "guest/src/more.rs was added since the artifact was built",
            "used/src/lib.rs changed since the artifact was built",
            "wit/plugin.wit was removed since the artifact was built",
            "the build profile changed since the artifact was built",
            "the artifact is not the one that its lock file describes",
        ]
    );

    let manifest = fs::read_to_string(root.path().join("guest/Cargo.toml")).unwrap();
    fs::write(
        root.path().join("guest/Cargo.toml"),
        manifest.replace(", features = [\"extra\"]", ""),
    )
    .unwrap();
    let stale = stale(b"artifact");
    assert!(
        stale.contains(
            &"the package used 0.1.0 [] was added since the artifact was built".to_owned()
        ),
        "{stale:?}"
    );
}
