//! Checks the rules of `ARCHITECTURE.md` in the sources: which folder may use which, no dependency cycles, and which
//! files may use a library or a capability.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

use crate::support::root;

/// The crates that are rooms of their own, and the folder of their sources.
const CRATES: &[(&str, &str)] = &[("model", "model/src"), ("client", "client/src")];

/// The crates and the folders of `host/src`, lowest layer first. Each uses only those before it.
const LAYERS: &[&str] = &[
    "model",
    "fault",
    "atomic_file",
    "template",
    "problem",
    "random",
    "config",
    "plugin",
    "conformance",
    "state",
    "planning",
    "provision",
    "service",
    "client",
    "http",
    "cli",
];

/// Folders that must not use each other, although the order of layers would allow it.
const SEPARATE: &[(&str, &[&str])] = &[
    ("conformance", &["config::Config"]),
    ("planning", &["state"]),
    (
        "provision",
        &["plugin", "planning::planner", "model::plan::Plan"],
    ),
];

/// A path that only the named files or folders may use.
const USES: &[(&str, &[&str])] = &[
    ("wasmtime::", &["plugin/sandbox"]),
    ("wasmtime_wasi::", &["plugin/sandbox"]),
    ("unsafe ", &["plugin/sandbox/cache.rs"]),
    (
        "bollard::",
        &["provision/engine/docker", "provision/engine/swarm"],
    ),
    ("rusqlite::", &["state/store"]),
    ("axum::", &["http"]),
    ("utoipa::openapi", &["http/wire/document.rs"]),
    ("prometheus_client::", &["service/metrics.rs"]),
    ("chacha20poly1305::", &["state/encryption.rs"]),
    ("hmac::", &["service/agent_tokens.rs"]),
    ("oci_client::", &["plugin/catalog/registry.rs"]),
    (
        "minisign::",
        &["plugin/catalog/signature.rs", "model/plugin.rs"],
    ),
    ("std::env::var", &["config/environment.rs", "fault.rs"]),
    ("clap::", &["cli", "model/engine_kind.rs", "state/token.rs"]),
    ("indicatif::", &["cli"]),
    ("miette::", &["cli"]),
    ("quick_junit::", &["cli"]),
    ("similar::", &["cli"]),
    ("println!", &["cli"]),
    ("tokio::spawn(", &[]),
    ("tracker.spawn(", &["service/tasks.rs"]),
    ("tracing_subscriber::", &["cli"]),
    ("axum_server::", &["cli/commands/serve.rs", "cli/tls.rs"]),
    ("governor::", &["http/middleware/auth.rs"]),
    ("orghost_client::", &["cli/server.rs"]),
    ("reqwest::", &["client"]),
    ("vte::", &["cli/render/terminal.rs"]),
    ("opentelemetry", &["cli/traces.rs"]),
    ("landlock::", &["provision/engine/local/confine.rs"]),
    ("seccompiler::", &["provision/engine/local/confine"]),
    ("libc::", &["provision/engine/local/confine/sockets.rs"]),
];

/// Folders without input or output.
const PURE: &[&str] = &["model", "planning/policy"];

/// The largest number of lines of a file that does not begin with a reason for its length.
const LINES: usize = 450;

#[test]
fn a_folder_uses_only_the_folders_below_it() {
    let sources = Sources::read();
    let mut broken = Vec::new();
    for (module, uses) in &sources.uses {
        let from = layer(module);
        for used in uses {
            if layer(used) > from {
                broken.push(format!("{module} uses {used}, which is above it"));
            }
            let forbidden = SEPARATE.iter().filter(|(folder, _)| is_in(module, folder));
            for what in forbidden.flat_map(|(_, forbidden)| *forbidden) {
                if is_in(used, what) {
                    broken.push(format!("{module} uses {used}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A module may use its parent module. Every other cycle is an error.
#[test]
fn modules_have_no_dependency_cycles() {
    let sources = Sources::read();
    let edges: BTreeMap<&str, BTreeSet<&str>> = sources
        .uses
        .iter()
        .map(|(module, uses)| {
            let files = uses.iter().filter_map(|used| sources.file_of(used));
            let files = files.filter(|used| !is_in(module, used));
            (module.as_str(), files.collect())
        })
        .collect();
    // A module that uses no remaining module is not part of a cycle.
    let mut left: BTreeSet<&str> = edges.keys().copied().collect();
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|module| edges[*module].iter().all(|used| !left.contains(used)))
            .copied()
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|module| !free.contains(module));
    }
    // A module that no remaining module uses is not part of a cycle.
    loop {
        let above: Vec<&str> = left
            .iter()
            .filter(|module| left.iter().all(|other| !edges[other].contains(*module)))
            .copied()
            .collect();
        if above.is_empty() {
            break;
        }
        left.retain(|module| !above.contains(module));
    }
    assert!(left.is_empty(), "these modules form a cycle: {left:?}");
}

#[test]
fn only_the_named_files_use_a_library_or_a_capability() {
    let sources = Sources::read();
    let mut broken = Vec::new();
    for (path, text) in &sources.texts {
        for (what, allowed) in USES {
            let may = allowed.iter().any(|place| {
                let module = place.trim_end_matches(".rs");
                path == place
                    || path == &format!("{module}.rs")
                    || path.starts_with(&format!("{module}/"))
            });
            if !may && code(text).any(|line| line.contains(what)) {
                broken.push(format!("{path} uses {what}"));
            }
        }
        for folder in PURE {
            let is_pure =
                path.starts_with(&format!("{folder}/")) || path == &format!("{folder}.rs");
            for what in ["std::fs", "std::net", "std::process", "tokio::"] {
                if is_pure && code(text).any(|line| line.contains(what)) {
                    broken.push(format!("{path} uses {what}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_begins_with_a_sentence_about_itself() {
    let sources = Sources::read();
    let silent: Vec<&String> = sources
        .texts
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn a_long_file_begins_with_the_reason() {
    let sources = Sources::read();
    let long: Vec<&String> = sources
        .texts
        .iter()
        .filter(|(_, text)| {
            text.lines().count() > LINES && !text.contains("//! This file is long because ")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

/// Host and guest share the WIT files and the built component, never a crate.
#[test]
fn host_and_guest_do_not_depend_on_each_other() {
    let manifest = |path: &str| -> toml::Table {
        std::fs::read_to_string(root().join(path).join("Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap()
    };
    let depends = |path: &str, on: &str| {
        manifest(path)["dependencies"]
            .as_table()
            .unwrap()
            .contains_key(on)
    };
    assert!(!depends("host", "org-import") && !depends("host", "orghost-plugin"));
    assert!(!depends("guest/sdk", "orghost"));
    assert!(!depends("guest/org-import", "orghost"));
    assert!(!depends("guest/build", "orghost") && !depends("guest/build", "org-import"));
}

/// `orghost plugin new` copies the SDK into projects outside this workspace, so the SDK depends on nothing here.
#[test]
fn the_sdk_depends_on_nothing_of_this_workspace() {
    let manifest = std::fs::read_to_string(root().join("guest/sdk/Cargo.toml")).unwrap();
    for word in ["workspace = true", "path = "] {
        assert!(!manifest.contains(word), "guest/sdk/Cargo.toml: {word}");
    }
}

/// The sources of the host, the model and the client, without `lib.rs` and `main.rs`.
struct Sources {
    /// The text of each file, by path under `host/src`. The files of another crate are in a folder with its name.
    texts: BTreeMap<String, String>,
    /// By module, such as `provision::seed`: the paths of these crates that it uses outside its tests.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Sources {
    fn read() -> Self {
        let mut sources = Self {
            texts: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        sources.add("", "host/src");
        for (name, folder) in CRATES {
            sources.add(name, folder);
        }
        assert!(sources.texts.len() > 100, "no sources were found");
        sources
    }

    /// Adds the sources of the crate with this name. The host has no name.
    fn add(&mut self, name: &str, folder: &str) {
        let folder = root().join(folder);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        for file in files {
            let path = file.strip_prefix(&folder).unwrap().to_str().unwrap();
            if path == "lib.rs" || path == "main.rs" {
                continue;
            }
            let path = match name {
                "" => path.to_owned(),
                name => format!("{name}/{path}"),
            };
            let text = std::fs::read_to_string(&file).unwrap();
            let module = path.trim_end_matches(".rs").replace('/', "::");
            let mut found = Uses {
                root: match name {
                    "" => Vec::new(),
                    name => vec![name.to_owned()],
                },
                module: module.split("::").map(str::to_owned).collect(),
                paths: BTreeSet::new(),
            };
            found.visit_file(&syn::parse_file(&text).unwrap());
            self.uses.insert(module, found.paths);
            self.texts.insert(path, text);
        }
    }

    /// Finds the module with its own file that defines a path.
    fn file_of(&self, path: &str) -> Option<&str> {
        let mut path = path;
        loop {
            if let Some((module, _)) = self.uses.get_key_value(path) {
                return Some(module);
            }
            path = path.rsplit_once("::")?.0;
        }
    }
}

/// Collects the paths of these crates that a file uses, in `use` trees (with groups) and in code.
struct Uses {
    /// The path that `crate` stands for.
    root: Vec<String>,
    module: Vec<String>,
    paths: BTreeSet<String>,
}

impl Uses {
    fn add(&mut self, path: &[String]) {
        let mut base = self.module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => {
                base.clone_from(&self.root);
                rest = &path[1..];
                // The host's name for a module of the model.
                if rest.first().is_some_and(|part| part == "limits") {
                    base = vec!["model".to_owned()];
                }
            }
            Some(name) if name.starts_with("orghost_") => {
                let name = name.trim_start_matches("orghost_");
                if CRATES.iter().all(|(known, _)| *known != name) {
                    return;
                }
                base = vec![name.to_owned()];
                rest = &path[1..];
            }
            Some("self") => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            // A path into a nested module or into another crate is ignored.
            _ => {}
        }
        base.extend(rest.iter().cloned());
        // `crate` alone does not name a module.
        if !base.is_empty() {
            self.paths.insert(base.join("::"));
        }
    }

    fn tree(&mut self, above: &[String], tree: &syn::UseTree) {
        let mut path = above.to_vec();
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.tree(&path, &part.tree);
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(&path, tree))
            }
            syn::UseTree::Glob(_) => self.add(&path),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                if ident != "self" {
                    path.push(ident.to_string());
                }
                self.add(&path);
            }
        }
    }
}

impl<'a> Visit<'a> for Uses {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.add(&parts);
        syn::visit::visit_path(self, path);
    }

    /// Skips modules inside a file: they hold tests or generated bindings.
    fn visit_item_mod(&mut self, _: &'a syn::ItemMod) {}
}

/// The position of a path's folder in `LAYERS`.
fn layer(path: &str) -> usize {
    let folder = path.split("::").next().unwrap();
    let layer = LAYERS.iter().position(|known| *known == folder);
    layer
        .unwrap_or_else(|| panic!("{folder} is not in LAYERS: add it there and to ARCHITECTURE.md"))
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
