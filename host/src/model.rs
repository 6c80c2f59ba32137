//! The data types that all other modules share: plans, names, identities, events and diagnostics. No I/O.

pub mod clock;
pub mod diagnostic;
pub mod digest;
pub mod engine_kind;
pub mod env_map;
pub mod event;
pub mod identity;
pub mod ids;
pub mod isolation;
pub mod keys;
pub mod names;
pub mod plan;
pub mod plugin;
