//! Plugins: a sandbox that runs them, a catalog of those that are installed, and their installation.

pub mod catalog;
pub mod installer;
pub mod sandbox;
