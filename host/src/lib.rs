//! orghost: a WebAssembly plugin host for org templates.
//!
//! Data flows one way: [`template`] -> [`plugin`] -> [`plan`] -> [`policy`] ->
//! [`provision`] -> [`event`]s. No arrow goes back up, and the library renders
//! nothing: that is [`cli`]'s.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod atomic_file;
pub mod cli;
pub mod client;
pub mod config;
pub mod conformance;
#[cfg(feature = "fault-injection")]
mod fault;
pub mod http;
pub mod limits;
pub mod model;
pub mod planning;
pub mod plugin;
pub mod problem;
pub mod provision;
mod random;
pub mod service;
pub mod state;
pub mod template;
