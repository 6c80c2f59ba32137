//! The data types that the host's modules and its client share: plans, names, identities, events, diagnostics and the
//! limits. No I/O.

pub mod clock;
pub mod diagnostic;
pub mod digest;
pub mod engine_kind;
pub mod env_map;
pub mod event;
pub mod expansion;
pub mod identity;
pub mod ids;
pub mod isolation;
pub mod keys;
pub mod limits;
pub mod names;
pub mod plan;
pub mod plugin;
pub mod status;
