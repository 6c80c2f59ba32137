//! orghost: a WebAssembly plugin host for org templates.
//!
//! Data flows one way: [`template`] -> [`plugin`] -> [`plan`] -> [`policy`] ->
//! [`provision`] -> [`event`]s. No arrow goes back up, and the library renders
//! nothing: that is [`cli`]'s.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod admission;
pub mod agent_token;
pub mod api;
pub mod backup;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod daemon;
pub mod diagnostic;
mod digest;
mod env_file;
pub mod env_map;
pub mod event;
#[cfg(feature = "fault-injection")]
mod fault;
pub mod identity;
pub mod ids;
pub mod installer;
pub mod isolation;
pub mod limits;
pub mod metrics;
pub mod plan;
pub mod planner;
pub mod plugin;
pub mod policy;
pub mod problem;
pub mod provision;
pub mod sealed;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod template;
pub mod token;
pub mod vault;
