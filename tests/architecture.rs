//! The dependency rules that visibility cannot hold, held over the sources:
//! which module may name what.

use std::path::Path;

use crate::support::root;

/// (what is named, the only files under `host/src` that may name it)
const RULES: &[(&str, &[&str])] = &[
    ("wasmtime::", &["plugin.rs", "plugin/"]),
    ("wasmtime_wasi::", &["plugin/"]),
    ("unsafe ", &["plugin/cache.rs"]),
    (
        "bollard::",
        &[
            "provision/docker.rs",
            "provision/docker/",
            "provision/swarm.rs",
            "provision/swarm/",
        ],
    ),
    ("rusqlite::", &["store.rs", "store/"]),
    ("axum::", &["api.rs", "api/"]),
    ("utoipa::openapi", &["api/document.rs"]),
    ("prometheus_client::", &["metrics.rs"]),
    ("chacha20poly1305::", &["vault.rs"]),
    ("hmac::", &["agent_token.rs"]),
    ("oci_client::", &["catalog/oci.rs"]),
    ("minisign::", &["catalog/signature.rs"]),
    ("std::env::var", &["config.rs", "fault.rs"]),
    ("clap::", &["cli.rs", "cli/", "config.rs", "token.rs"]),
    ("indicatif::", &["cli/"]),
    ("miette::", &["cli/"]),
    ("quick_junit::", &["cli/"]),
    ("similar::", &["cli/"]),
    ("println!", &["cli/"]),
    ("tokio::spawn(", &[]),
    ("tracker.spawn(", &["daemon/tasks.rs"]),
    ("tracing_subscriber::", &["cli/"]),
    ("axum_server::", &["cli/serve.rs", "cli/tls.rs"]),
    ("governor::", &["api/auth.rs"]),
    ("reqwest::", &["client.rs", "client/"]),
    ("vte::", &["cli/terminal.rs"]),
    ("opentelemetry", &["cli/traces.rs"]),
    ("landlock::", &["provision/local/confine.rs"]),
    (
        "seccompiler::",
        &["provision/local/confine.rs", "provision/local/confine/"],
    ),
    ("libc::", &["provision/local/confine/sockets.rs"]),
];

/// (a file, what it must not name): no arrow goes back up, and judging does no I/O.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "plan.rs",
        &[
            "crate::policy",
            "crate::provision",
            "crate::plugin",
            "crate::cli",
            "std::fs",
        ],
    ),
    (
        "policy.rs",
        &[
            "crate::provision",
            "crate::plugin",
            "crate::cli",
            "std::fs",
            "tokio",
        ],
    ),
    (
        "isolation.rs",
        &["crate::provision", "crate::policy", "crate::cli", "std::fs"],
    ),
    (
        "template.rs",
        &["crate::plan", "crate::policy", "crate::plugin"],
    ),
    (
        "plugin.rs",
        &["crate::policy", "crate::provision", "crate::cli"],
    ),
    (
        "catalog.rs",
        &["crate::policy", "crate::provision", "crate::cli"],
    ),
    (
        "provision.rs",
        &[
            "crate::plugin",
            "crate::cli",
            "crate::daemon",
            "crate::plan::Plan",
        ],
    ),
    (
        "conformance.rs",
        &["crate::cli", "crate::policy", "crate::provision"],
    ),
    (
        "client.rs",
        &["crate::store", "crate::daemon", "crate::api", "crate::cli"],
    ),
    (
        "planner.rs",
        &[
            "crate::provision",
            "crate::store",
            "crate::daemon",
            "crate::api",
            "crate::cli",
        ],
    ),
    ("daemon.rs", &["crate::api", "crate::cli", "axum"]),
    ("vault.rs", &["crate::store", "std::fs"]),
    (
        "sealed.rs",
        &[
            "crate::daemon",
            "crate::api",
            "crate::cli",
            "crate::provision",
        ],
    ),
    (
        "backup.rs",
        &[
            "crate::daemon",
            "crate::api",
            "crate::cli",
            "crate::provision",
        ],
    ),
    (
        "event.rs",
        &["crate::store", "crate::provision", "crate::cli"],
    ),
    (
        "store.rs",
        &["crate::cli", "crate::plugin", "crate::policy"],
    ),
];

#[test]
fn modules_name_only_what_they_may() {
    let sources = root().join("host/src");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    assert!(files.len() > 20, "the sources are gone");
    let mut broken = Vec::new();
    for (path, text) in &files {
        let name = path.strip_prefix(&sources).unwrap().to_str().unwrap();
        for (what, allowed) in RULES {
            let may = allowed.iter().any(|prefix| {
                name == *prefix || (prefix.ends_with('/') && name.starts_with(prefix))
            });
            if !may && code(text).any(|line| line.contains(what)) {
                broken.push(format!("{name} names {what}"));
            }
        }
        for (file, forbidden) in ARROWS {
            let names =
                |what: &&&str| name == *file && code(text).any(|line| line.contains(**what));
            broken.extend(
                forbidden
                    .iter()
                    .filter(names)
                    .map(|what| format!("{name} names {what}")),
            );
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Host and guest share `wit/` and a file of bytes, never a crate.
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

/// `orghost plugin new` copies the SDK's folder into projects that know nothing of this workspace.
#[test]
fn the_sdk_stands_alone() {
    let manifest = std::fs::read_to_string(root().join("guest/sdk/Cargo.toml")).unwrap();
    for word in ["workspace = true", "path = "] {
        assert!(!manifest.contains(word), "guest/sdk/Cargo.toml: {word}");
    }
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

fn collect(folder: &Path, files: &mut Vec<(std::path::PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}
