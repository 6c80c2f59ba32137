//! End-to-end tests: the program, its plugin and its engines, from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "these are tests"
)]

mod architecture;
mod author;
mod cases;
mod catalog;
mod cli;
mod code_cache;
mod conformance;
mod crash;
mod docker;
mod engines;
mod hostile;
mod local;
mod plugin;
mod policy;
mod sandbox;
mod soak;
mod support;
mod template;
mod wire;
