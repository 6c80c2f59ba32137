//! Generated from `wit/v0.1.0/plugin.wit`. Its types are the plan types of this crate; nothing is written by hand here.
#![allow(missing_docs, unused_qualifications, reason = "generated code")]
#![allow(
    unsafe_code,
    reason = "generated code: lifting and lowering across the component boundary"
)]
#![allow(clippy::all, clippy::restriction, reason = "generated code")]

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "plugin-with-expander",
    additional_derives: [PartialEq],
    pub_export_macro: true,
});
