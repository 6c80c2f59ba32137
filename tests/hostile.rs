//! Hostile plugins: each costs the host one clean error that says what and why.

use std::time::{Duration, Instant};

use crate::support::component::of_wat;
use crate::support::{Operator, root};

/// What a core module needs to be a plugin; `import-org` is what a test puts in.
fn plugin(import_org: &str) -> Vec<u8> {
    of_wat(
        &format!(
            r#"(module
                (import "orghost:plugin/template-files@0.1.0" "read" (func $read (param i32 i32 i32)))
                (memory (export "memory") 1)
                (table $table 1 funcref)
                (func $spin (loop $again br $again))
                (func $recurse (param i32) (result i32) (i32.add (i32.const 1) (call $recurse (local.get 0))))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                (func (export "orghost:plugin/importer@0.1.0#describe") (result i32) unreachable)
                (func (export "orghost:plugin/importer@0.1.0#import-org")
                    (param i32 i32 i32 i32 i32 i32 i32) (result i32) {import_org}))"#
        ),
        "plugin",
    )
}

fn planned_with(bytes: &[u8]) -> (i32, Vec<String>, String) {
    let operator = Operator::new();
    let file = operator.file("plugin.wasm", bytes).display().to_string();
    let template = operator.template(&[("org.yaml", "name: x")]);
    let ran = operator.run(&["plan", &template, "--plugin", &file, "--json"]);
    (ran.code, ran.error_codes(), ran.stdout)
}

#[test]
fn a_plugin_that_misbehaves_is_ended_with_the_reason() {
    let table = [
        ("call $spin unreachable", "longer than 5 seconds"),
        ("unreachable", "unreachable"),
        ("(call $recurse (i32.const 0))", "recursed"),
        // Asks for 1 GiB until it gets none, then gives up.
        (
            "(if (i32.eq (memory.grow (i32.const 16384)) (i32.const -1)) (then unreachable)) i32.const 0",
            "256 MiB of memory",
        ),
        // A result that lies outside of its memory.
        ("i32.const 65528", "out of bounds"),
        // A plan with a name of 1 GiB: result 0 (ok), then pointer 8 and a length.
        (
            "(i32.store8 (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 8))
             (i32.store (i32.const 24) (i32.const 1073741824)) i32.const 16",
            "out of bounds",
        ),
        // Asks for the same file for ever.
        (
            "(loop $again (call $read (i32.const 0) (i32.const 1) (i32.const 64)) br $again) unreachable",
            "20000 times",
        ),
    ];
    for (code, reason) in table {
        let began = Instant::now();
        let (exit, codes, said) = planned_with(&plugin(code));
        assert_eq!(
            (exit, codes.as_slice()),
            (2, &["plugin-broke".to_owned()][..]),
            "{code}: {said}"
        );
        assert!(said.contains(reason), "{code}: {said}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{code} held the host up"
        );
    }
}

#[test]
fn text_that_is_not_utf8_ends_the_call() {
    let (exit, codes, said) = planned_with(&plugin(
        "(i32.store8 (i32.const 8) (i32.const 0xff)) (i32.store (i32.const 20) (i32.const 8))
         (i32.store (i32.const 24) (i32.const 1)) i32.const 16",
    ));
    assert_eq!(
        (exit, codes.as_slice()),
        (2, &["plugin-broke".to_owned()][..]),
        "{said}"
    );
    assert!(said.contains("utf-8"), "{said}");
}

#[test]
fn an_empty_plan_is_a_lie() {
    // Memory is zero: ok, and an org whose name is empty.
    let (exit, codes, said) = planned_with(&plugin("i32.const 16"));
    assert_eq!(
        (exit, codes.as_slice()),
        (2, &["plugin-lied".to_owned()][..]),
        "{said}"
    );
}

#[test]
fn what_is_no_plugin_is_refused_before_it_is_compiled() {
    let other_version = {
        let wit = std::fs::read_to_string(root().join("wit/v0.1.0/plugin.wit")).unwrap();
        assert!(wit.contains("orghost:plugin@0.1.0"));
        let bytes = plugin("unreachable");
        replaced(&bytes, b"@0.1.0", b"@0.9.0")
    };
    let wasi = wat::parse_str(
        r#"(component
            (import "orghost:plugin/template-files@0.1.0" (instance))
            (import "wasi:cli/environment@0.2.3" (instance))
            (instance $importer) (export "orghost:plugin/importer@0.1.0" (instance $importer)))"#,
    )
    .unwrap();
    let table: [(&[u8], &str, &[&str]); 6] = [
        (b"", "plugin-not-a-component", &["not WebAssembly"]),
        (
            b"#!/bin/sh\necho hello\n",
            "plugin-not-a-component",
            &["not WebAssembly"],
        ),
        (
            b"\0asm\x01\0\0\0",
            "plugin-not-a-component",
            &["core module", "orghost plugin build"],
        ),
        (
            b"\0asm\x0d\0\x01\0\xff\xff",
            "plugin-not-a-component",
            &["malformed"],
        ),
        (
            &wasi,
            "plugin-contract",
            &["wasi:cli/environment@0.2.3", "wasm32-unknown-unknown"],
        ),
        (&other_version, "plugin-contract", &["0.9.0", "0.1.0"]),
    ];
    for (bytes, code, words) in table {
        let (exit, codes, said) = planned_with(bytes);
        assert_eq!(
            (exit, codes.as_slice()),
            (2, &[code.to_owned()][..]),
            "{said}"
        );
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = bytes[at..]
        .windows(from.len())
        .position(|window| window == from)
    {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}
