//! The shapes that requests and responses have on the wire.

pub mod body;
pub mod document;
pub mod parameters;
pub mod problem;
pub mod upload;
pub mod view;
