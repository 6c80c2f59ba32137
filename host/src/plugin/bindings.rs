//! Generated from `wit/v0.1.0/plugin.wit`; nothing outside [`plugin`](super) sees it.
#![allow(missing_docs, unused_qualifications, reason = "generated code")]
#![allow(clippy::all, clippy::restriction, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "../wit/v0.1.0",
    world: "plugin-with-expander",
    imports: { default: trappable },
});
