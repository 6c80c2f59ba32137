//! What wit-bindgen makes of `wit/v0.1.0/plugin.wit`; nothing is written by hand here. A test compares the included
//! file with a fresh one, and says how to replace it.
#![allow(
    missing_docs,
    unused_qualifications,
    dead_code,
    reason = "generated code"
)]
#![allow(
    unsafe_code,
    reason = "generated code: lifting and lowering across the component boundary"
)]
#![allow(clippy::all, clippy::restriction, reason = "generated code")]

include!("bindings/v0_1_0.rs");
