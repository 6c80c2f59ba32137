//! Bindings generated from `wit/`, one module for each version. Only the [sandbox](super) uses them.
#![allow(missing_docs, unused_qualifications, reason = "generated code")]
#![allow(clippy::all, clippy::restriction, reason = "generated code")]

/// The version that the host uses. Older ones are converted to it.
pub mod latest {
    wasmtime::component::bindgen!({
        path: "../wit/v0.2.0-dev",
        world: "plugin-with-expander",
        imports: { default: trappable },
    });
}

pub mod v0_1_0 {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1.0",
        world: "plugin-with-expander",
        imports: { default: trappable },
    });
}
