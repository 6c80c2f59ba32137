//! What the command line prints: progress, reports, tables.

pub mod progress;
pub mod report;
pub mod terminal;
pub mod text;
