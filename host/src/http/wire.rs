//! The shapes of requests and responses, and how they are read and written.

pub mod body;
pub mod document;
pub mod parameters;
pub mod problem;
pub mod upload;
pub mod view;
