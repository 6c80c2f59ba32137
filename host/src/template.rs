//! Org templates: read-only files in a folder, in memory or in an archive. Nothing outside of a template can be read.

mod archive;
pub mod bundle;
pub mod directory;
pub mod path;
mod wanted_plugin;
