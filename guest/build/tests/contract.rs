//! Checks components against the contract. They are written by hand, so that each breaks exactly one rule.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use orghost_build::{
    ContractError, Grant, InspectError, Inspection, WorldVersion, check, compile, inspect,
};
use proptest::prelude::*;

const TEMPLATE_FILES: &str = r#"(import "orghost:plugin/template-files@0.1.0" (instance))"#;
const IMPORTER: &str = r#"(instance $i) (export "orghost:plugin/importer@0.1.0" (instance $i))"#;

fn component(parts: &[&str]) -> Vec<u8> {
    wat::parse_str(format!("(component {})", parts.join(" "))).unwrap()
}

fn inspected(parts: &[&str]) -> Inspection {
    inspect(&component(parts)).unwrap()
}

fn refused(parts: &[&str]) -> ContractError {
    check(&inspected(parts), Grant::Strict).unwrap_err()
}

fn forbidden(names: &[&str], grant: Grant) -> ContractError {
    ContractError::ForbiddenImports {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        world: WorldVersion::V0_1_0,
        grant,
    }
}

#[test]
fn a_component_that_keeps_the_contract_is_a_plugin() {
    let plugin = inspected(&[TEMPLATE_FILES, IMPORTER]);
    assert_eq!(plugin.imports, ["orghost:plugin/template-files@0.1.0"]);
    assert_eq!(plugin.exports, ["orghost:plugin/importer@0.1.0"]);
    assert_eq!(check(&plugin, Grant::Strict), Ok(WorldVersion::V0_1_0));
    assert!(!plugin.has_expander());

    let expander = r#"(export "orghost:plugin/expander@0.1.0" (instance $i))"#;
    let plugin = inspected(&[IMPORTER, expander]);
    assert_eq!(check(&plugin, Grant::Strict), Ok(WorldVersion::V0_1_0));
    assert!(plugin.has_expander());
}

#[test]
fn imports_of_inner_components_do_not_count() {
    let inner = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))
                   (core module (import "wasi_snapshot_preview1" "fd_write" (func)))"#;
    let plugin = inspected(&[TEMPLATE_FILES, inner, IMPORTER]);
    assert_eq!(check(&plugin, Grant::Strict), Ok(WorldVersion::V0_1_0));
}

#[test]
fn the_error_about_a_wasi_import_names_it_and_the_remedy() {
    let error = refused(&[
        r#"(import "wasi:cli/environment@0.2.0" (instance))"#,
        TEMPLATE_FILES,
        IMPORTER,
    ]);
    assert_eq!(
        error,
        forbidden(&["wasi:cli/environment@0.2.0"], Grant::Strict)
    );
    let message = error.to_string();
    assert!(
        message.contains("`wasi:cli/environment@0.2.0`"),
        "{message}"
    );
    assert!(
        message.contains("build for wasm32-unknown-unknown instead of wasm32-wasip2"),
        "{message}"
    );
}

#[test]
fn an_import_that_is_not_in_the_contract_is_refused() {
    let error = refused(&[
        r#"(import "now" (func)) (import "acme:net/http" (instance))"#,
        IMPORTER,
    ]);
    assert_eq!(error, forbidden(&["now", "acme:net/http"], Grant::Strict));
    assert!(!error.to_string().contains("wasi"), "{error}");

    let many: String = (0..30)
        .map(|n| format!(r#"(import "n{n}" (func))"#))
        .collect();
    assert!(
        refused(&[&many, IMPORTER])
            .to_string()
            .contains("`n19`, 10 more, but")
    );
}

#[test]
fn the_closed_wasi_grant_covers_only_packages_that_can_be_closed() {
    let open = [
        "wasi:cli/environment@0.2.0",
        "wasi:io/streams@0.2.9",
        "wasi:clocks/wall-clock@0.2.3",
        "wasi:filesystem/types@0.2.0",
        "wasi:sockets/tcp@0.2.0",
        "wasi:random/random@0.2.0",
    ];
    let imports = |names: &[&str]| -> String {
        names
            .iter()
            .map(|n| format!(r#"(import "{n}" (instance))"#))
            .collect()
    };
    let plugin = inspected(&[&imports(&open), TEMPLATE_FILES, IMPORTER]);
    assert_eq!(check(&plugin, Grant::ClosedWasi), Ok(WorldVersion::V0_1_0));
    assert_eq!(
        check(&plugin, Grant::Strict),
        Err(forbidden(&open, Grant::Strict))
    );

    let shut = [
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:cli/environment@0.3.0",
        "wasi:cli/environment@0.2.0-rc-2023-11-10",
        "wasi:cli/environment",
        "wasi:keyvalue/store@0.2.0",
    ];
    let plugin = inspected(&[&imports(&shut), &imports(&open), IMPORTER]);
    let error = check(&plugin, Grant::ClosedWasi).unwrap_err();
    assert_eq!(error, forbidden(&shut, Grant::ClosedWasi));
    // The message does not recommend a grant, because a grant would not help.
    assert!(!error.to_string().contains("--wasi closed"), "{error}");
}

#[test]
fn each_version_has_its_own_imports() {
    let log = r#"(import "orghost:plugin/log@0.2.0-dev" (instance))"#;
    let files = r#"(import "orghost:plugin/template-files@0.2.0-dev" (instance))"#;
    let importer = r#"(instance $i) (export "orghost:plugin/importer@0.2.0-dev" (instance $i))"#;
    let plugin = inspected(&[log, files, importer]);
    assert_eq!(check(&plugin, Grant::Strict), Ok(WorldVersion::V0_2_0_DEV));
    assert_eq!(
        refused(&[log, IMPORTER]),
        ContractError::MixedVersions(vec![WorldVersion::V0_1_0, WorldVersion::V0_2_0_DEV])
    );
    assert_eq!(
        refused(&[
            r#"(import "orghost:plugin/log@0.1.0" (instance))"#,
            IMPORTER
        ]),
        forbidden(&["orghost:plugin/log@0.1.0"], Grant::Strict)
    );
}

#[test]
fn an_unknown_version_is_reported_before_forbidden_imports() {
    let export = r#"(instance $i) (export "orghost:plugin/importer@0.2.0" (instance $i))"#;
    let error = refused(&[
        r#"(import "wasi:cli/environment@0.2.0" (instance))"#,
        export,
    ]);
    let found = "0.2.0".to_owned();
    assert_eq!(error, ContractError::WrongVersion { found });
    let message = error.to_string();
    for version in ["0.2.0,", "0.1.0", "0.2.0-dev"] {
        assert!(message.contains(version), "{message}");
    }
}

#[test]
fn a_component_without_an_importer_is_not_a_plugin() {
    assert_eq!(refused(&[TEMPLATE_FILES]), ContractError::NoImporter);
    // The componentizer turns a module without a world into an empty component.
    let empty = compile::componentize(&wat::parse_str("(module)").unwrap()).unwrap();
    assert_eq!(
        check(&inspect(&empty).unwrap(), Grant::Strict),
        Err(ContractError::NoImporter)
    );
}

#[test]
fn bytes_that_are_not_a_component_are_refused_with_the_reason() {
    assert_eq!(inspect(b""), Err(InspectError::NotWasm));
    assert_eq!(inspect(b"(component)"), Err(InspectError::NotWasm));
    let module =
        wat::parse_str(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#).unwrap();
    assert_eq!(inspect(&module), Err(InspectError::CoreModule));
    assert!(
        InspectError::CoreModule
            .to_string()
            .contains("orghost plugin build")
    );

    let mut cut = component(&[TEMPLATE_FILES, IMPORTER]);
    cut.truncate(20);
    assert!(
        matches!(
            inspect(&cut),
            Err(InspectError::Malformed { offset: 8..=20, .. })
        ),
        "{:?}",
        inspect(&cut)
    );
}

#[test]
fn custom_sections_and_producers_are_listed() {
    let plugin = compile::componentize(&wat::parse_str("(module)").unwrap()).unwrap();
    let plugin = inspect(&plugin).unwrap();
    assert!(
        plugin.custom_sections.contains(&"producers".to_owned()),
        "{plugin:?}"
    );
    let tools = &plugin.producers["processed-by"];
    assert!(
        tools
            .iter()
            .any(|tool| tool.starts_with("wit-component 0.")),
        "{tools:?}"
    );
}

fn header() -> Vec<u8> {
    b"\0asm\x0d\0\x01\0".to_vec()
}

proptest! {
    #[test]
    fn inspecting_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = inspect(&bytes);
        let _ = inspect(&[header(), bytes].concat()).map(|found| check(&found, Grant::ClosedWasi));
    }

    #[test]
    fn inspecting_a_damaged_component_does_not_panic(cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = component(&[TEMPLATE_FILES, "(core module (func))", IMPORTER]);
        let _ = inspect(&bytes[..cut.index(bytes.len())]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = inspect(&bytes).map(|found| check(&found, Grant::ClosedWasi));
    }
}
