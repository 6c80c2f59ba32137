//! The commands, one module for each or for each group.

pub mod key;
pub mod logs;
pub mod plan;
pub mod plugin;
pub mod remote;
pub mod serve;
pub mod state;
pub mod status;
pub mod token;
pub mod up;
pub mod workspace;
