//! orghost: a WebAssembly plugin host for org templates.
//!
//! Data flows one way: a [`template`] goes to a [`plugin`], which proposes a [`plan`](model::plan); the
//! [`policy`](planning::policy) judges the plan; [`provision`] applies an approved plan and reports
//! [`event`](model::event)s. Only [`cli`] renders output.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod atomic_file;
pub mod cli;
pub mod config;
pub mod conformance;
#[cfg(feature = "fault-injection")]
mod fault;
pub mod http;
pub mod planning;
pub mod plugin;
pub mod problem;
pub mod provision;
pub mod random;
pub mod service;
pub mod state;
pub mod template;

pub use orghost_model::{self as model, limits};
