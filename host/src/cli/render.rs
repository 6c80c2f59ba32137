//! Prints results for people and programs: progress, tables, errors and JSON.

pub mod plan;
pub mod progress;
pub mod report;
pub mod summary;
pub mod terminal;
pub mod text;
pub mod timings;
