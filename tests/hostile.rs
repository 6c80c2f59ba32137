//! Tests of hostile plugins. The first line of each `tests/hostile/*.wat` says what the plugin does. Each costs the
//! host one clean error within the deadline, with a reason that an operator understands.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::component::{of_wat, of_wat_with_wasi};
use crate::support::{Operator, root};

/// The codes of refused plugins.
const BROKE: &str = "plugin-broke";
const LIED: &str = "plugin-lied";
const CONTRACT: &str = "plugin-contract";

/// The table: file, the operator's grants, the code of the error, a part of the message.
const TABLE: &[(&str, &str, &str, &[&str])] = &[
    ("spin", "none", BROKE, &["longer than 5 seconds"]),
    ("spin-in-start", "none", BROKE, &["longer than 5 seconds"]),
    ("trap", "none", BROKE, &["unreachable", "report it to"]),
    ("recurse", "none", BROKE, &["recursed"]),
    ("recurse-in-start", "none", BROKE, &["recursed"]),
    (
        "grow-memory",
        "none",
        BROKE,
        &["more than 256 MiB of memory"],
    ),
    ("grow-table", "none", BROKE, &["table of more than 100000"]),
    ("hold-memory", "none", BROKE, &["unreachable"]),
    ("huge-string", "none", BROKE, &["returned more than 64 MiB"]),
    (
        "huge-string-out-of-bounds",
        "none",
        BROKE,
        &["out of bounds"],
    ),
    ("not-utf8", "none", BROKE, &["utf-8"]),
    ("result-out-of-bounds", "none", BROKE, &["out of bounds"]),
    ("result-not-aligned", "none", BROKE, &["aligned"]),
    ("list-out-of-bounds", "none", BROKE, &["out of bounds"]),
    ("list-not-aligned", "none", BROKE, &["aligned"]),
    ("unknown-case", "none", BROKE, &["discriminant"]),
    ("ask-for-files", "none", BROKE, &["20000 times"]),
    ("no-name", "none", LIED, &["no name"]),
    ("no-reason", "none", LIED, &["without any error"]),
    ("exit", "closed", BROKE, &["exited with exit code 1"]),
    ("open-socket", "closed", BROKE, &["exit code 1"]),
    ("hoard-handles", "closed", BROKE, &["table"]),
    (
        "exit",
        "none",
        CONTRACT,
        &["wasi:cli/exit@0.2.0", "--wasi closed"],
    ),
    (
        "import-wasi",
        "none",
        CONTRACT,
        &[
            "wasi:cli/environment@0.2.3",
            "wasm32-unknown-unknown",
            "[plugins.NAME]",
        ],
    ),
    (
        "import-http",
        "none",
        CONTRACT,
        &["wasi:http/outgoing-handler@0.2.3"],
    ),
    (
        "import-http",
        "closed",
        CONTRACT,
        &["wasi:http/outgoing-handler@0.2.3"],
    ),
    (
        "import-unknown",
        "none",
        CONTRACT,
        &["acme:tools/everything"],
    ),
    (
        "import-unknown",
        "closed",
        CONTRACT,
        &["acme:tools/everything"],
    ),
    (
        "mixed-versions",
        "none",
        CONTRACT,
        &["mixes", "0.1.0 and 0.2.0-dev"],
    ),
    (
        "log-in-0.1.0",
        "none",
        CONTRACT,
        &["orghost:plugin/log@0.1.0"],
    ),
    (
        "unknown-version",
        "none",
        CONTRACT,
        &["0.9.0", "0.1.0 and 0.2.0-dev"],
    ),
];

/// The component of a file.
pub fn component(name: &str) -> Vec<u8> {
    let path = root().join("tests/hostile").join(format!("{name}.wat"));
    let wat = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if wat.contains("(component") {
        wat::parse_str(&wat).unwrap()
    } else if wat.contains("\"wasi:") {
        of_wat_with_wasi(&wat)
    } else {
        of_wat(&wat, "plugin")
    }
}

fn planned_with(bytes: &[u8], wasi: &str) -> (i32, Vec<String>, String) {
    let operator = Operator::new();
    let file = operator.file("plugin.wasm", bytes).display().to_string();
    let template = operator.template(&[("org.yaml", "name: x")]);
    let arguments = [
        "plan", &template, "--plugin", &file, "--wasi", wasi, "--json",
    ];
    let ran = operator.run(&arguments);
    (ran.code, ran.error_codes(), ran.stdout)
}

#[test]
fn each_hostile_plugin_costs_one_error_with_its_reason() {
    for (name, wasi, code, words) in TABLE {
        let began = Instant::now();
        let (exit, codes, said) = planned_with(&component(name), wasi);
        assert_eq!(
            (exit, codes),
            (2, vec![(*code).to_owned()]),
            "{name}: {said}"
        );
        for word in *words {
            assert!(said.contains(word), "{name}: no {word:?} in {said}");
        }
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{name} held the host up"
        );
    }
}

#[test]
fn every_hostile_plugin_has_an_expectation() {
    let files: BTreeSet<String> = std::fs::read_dir(root().join("tests/hostile"))
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .map(|name| name.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let tried = TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, tried);
}

#[test]
fn files_that_are_not_components_have_their_own_errors() {
    let table: [(&[u8], &[&str]); 4] = [
        (b"", &["not WebAssembly"]),
        (b"#!/bin/sh\necho hello\n", &["not WebAssembly"]),
        (b"\0asm\x01\0\0\0", &["core module", "orghost plugin build"]),
        (b"\0asm\x0d\0\x01\0\xff\xff", &["malformed"]),
    ];
    for (bytes, words) in table {
        let (exit, codes, said) = planned_with(bytes, "none");
        assert_eq!(
            (exit, codes.as_slice()),
            (2, &["plugin-not-a-component".to_owned()][..]),
            "{said}"
        );
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
