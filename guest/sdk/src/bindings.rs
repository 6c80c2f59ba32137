//! Bindings that wit-bindgen generates from the versions of the contract in `wit`. A test compares the committed files
//! with newly generated ones, and says how to replace them.
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

/// The released version.
pub mod v0_1_0 {
    include!("bindings/v0_1_0.rs");
}

/// The version in development, whose types are those of the SDK.
pub mod v0_2_0_dev {
    include!("bindings/v0_2_0_dev.rs");
}
