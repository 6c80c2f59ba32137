//! What the command line prints: progress, reports, tables.

pub mod plan;
pub mod progress;
pub mod report;
pub mod summary;
pub mod terminal;
pub mod text;
