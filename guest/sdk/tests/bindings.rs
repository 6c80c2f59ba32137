//! The committed bindings are what wit-bindgen makes of the committed WIT.
#![allow(missing_docs, reason = "tests")]

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::Opts;

#[test]
fn the_bindings_are_those_of_the_wit() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(here.join("../../wit/v0.1.0")).unwrap();
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
    let committed = here.join("src/bindings/v0_1_0.rs");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("v0_1_0.rs");
    std::fs::write(&fresh, made).unwrap();
    assert!(
        std::fs::read(&committed).is_ok_and(|bytes| bytes == made),
        "copy {} to {}",
        fresh.display(),
        committed.display()
    );
}
