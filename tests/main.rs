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

mod api;
mod architecture;
mod author;
mod book;
mod cases;
mod catalog;
mod cli;
mod client;
mod code_cache;
mod compile_fail;
mod confinement;
mod conformance;
mod crash;
mod docker;
mod engines;
mod hostile;
mod identity;
mod lifecycle;
mod local;
mod map;
mod months;
mod names;
mod outage;
mod page;
mod planning;
mod plugin;
mod policy;
mod remote;
mod rendered;
mod replace;
mod retention;
mod sandbox;
mod secrets;
mod security;
mod server;
mod shared_disk;
mod soak;
mod state;
mod steering;
mod store;
mod support;
mod swarm;
mod template;
mod terminal;
mod update;
mod wire;
mod work;
