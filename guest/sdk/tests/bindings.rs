//! Compares the committed bindings with those that wit-bindgen generates from the committed WIT.
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by a panic, and so do its helpers"
)]

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::Opts;

#[test]
fn the_committed_bindings_equal_the_generated_ones() {
    compare("v0.1.0", "v0_1_0");
    compare("v0.2.0-dev", "v0_2_0_dev");
}

fn compare(version: &str, module: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = Resolve::default();
    let folder = here.join("../../wit").join(version);
    let (package, _) = resolve.push_path(folder).unwrap();
    let world = resolve
        .select_world(&[package], Some("plugin-with-expander"))
        .unwrap();
    let options = Opts {
        format: true,
        pub_export_macro: true,
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        ..Opts::default()
    };
    let mut files = Files::default();
    options
        .build()
        .generate(&mut resolve, world, &mut files)
        .unwrap();
    let (_, made) = files.iter().next().unwrap();
    // The crate's root exports the macros of both versions, so they need different names.
    let made = String::from_utf8(made.to_vec()).unwrap().replace(
        "__export_plugin_with_expander_impl",
        &format!("__export_{module}_impl"),
    );
    let name = format!("{module}.rs");
    let committed = here.join("src/bindings").join(&name);
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    std::fs::write(&fresh, &made).unwrap();
    assert!(
        std::fs::read_to_string(&committed).is_ok_and(|text| text == made),
        "copy {} to {}",
        fresh.display(),
        committed.display()
    );
}
