//! Plugins: the sandbox that runs them, the catalog of installed plugins, and the installer.

pub mod catalog;
pub mod installer;
pub mod sandbox;
