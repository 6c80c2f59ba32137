//! What wit-bindgen makes of the contract's versions in `wit`; nothing is written by hand here. A test compares the
//! included files with fresh ones, and says how to replace them.
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

/// The version in development.
#[cfg(feature = "unstable-0-2")]
pub mod v0_2_0_dev {
    include!("bindings/v0_2_0_dev.rs");
}
