//! Ordered provisioning: makes the workspaces of an approved plan run, and destroys them.
//!
//! Parents come before children, and siblings run at the same time up to a limit. This room takes an
//! [`Approved`](crate::planning::policy::Approved) and never a [`Plan`](crate::model::plan::Plan), and its steps do not
//! know which engine they drive. All work is in futures that the caller's future owns: nothing is spawned, so nothing
//! outlives the store.

mod apply;
pub mod concurrency;
mod destroy;
pub mod engine;
mod error;
mod failure;
pub mod generation;
pub mod generations;
pub mod health;
mod job;
pub mod observed;
mod order;
mod outcome;
mod prune;
mod ready;
pub mod restart_notice;
pub mod run;
pub mod seed;
pub mod single;
pub mod spec;
mod undo;
pub mod workspace;

pub use apply::{Options, apply};
pub use destroy::destroy;
pub use error::{ProvisionError, TooMuchPruned};
pub use job::{Job, Work, jobs, rows};
pub use outcome::{Outcome, Removal, Summary};
pub use prune::{Prune, check as check_prune};
