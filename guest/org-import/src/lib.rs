//! orghost's default plugin: turns an org template into a plan.
//!
//! A template is a folder whose `org.yaml` describes a tree of agent
//! workspaces. [`import_org`] reads it through [`TemplateFiles`], resolves
//! everything that the template says, and returns a [`Plan`]: pure data that
//! the host judges and then provisions. The crate acts on nothing, sees no
//! process environment, has no clock and no randomness: the same input gives
//! the same plan, byte for byte.
//!
//! The crate is plain Rust that runs natively; only `component` (compiled for
//! wasm) knows the host. The types of a plan are those of `wit/v0.1.0/plugin.wit`.
//!
//! # From template to plan
//!
//! | step | modules |
//! |---|---|
//! | find and read files | `files`, `text` |
//! | compose the document | `yaml`, `include` |
//! | read typed fields | `fields`, `schema` |
//! | variables and references | `dotenv`, `environment`, `expand` |
//! | resolve each part | `merge`, `settings`, `url`, `mount`, `prompt`, `cron`, `schedule`, `plugin`, `channel`, `seed`, `key`, `canvas` |
//! | what is needed | `requirements` |
//! | write files | `data`, `render` |
//! | put it together | `plan` |
//!
//! `problems` collects everything that is wrong on the way, so that it is
//! reported at once; `limits` names every bound.

mod bindings;
mod canvas;
mod channel;
#[cfg(target_family = "wasm")]
mod component;
mod cron;
mod data;
mod dotenv;
mod environment;
mod expand;
mod fields;
mod files;
mod include;
mod key;
mod limits;
mod merge;
mod mount;
mod plan;
mod plugin;
mod problems;
mod prompt;
mod render;
mod requirements;
mod schedule;
mod schema;
mod seed;
mod settings;
mod text;
mod url;
mod yaml;

pub use bindings::exports::orghost::plugin::expander::Expansion;
pub use bindings::exports::orghost::plugin::importer::{
    AgentPlugin, Canvas, Channel, ConfigEntry, Content, Description, Diagnostic, EnvVar,
    Environment, Memory, MemoryScope, Options, Org, Place, Plan, Request, Requirement, Schedule,
    SeedFile, SkippedChannel, Variable, Workspace, WorkspaceAccess,
};
pub use bindings::orghost::plugin::template_files::{Entry, EntryKind, FileError};
pub use expand::expand;
#[cfg(not(target_family = "wasm"))]
pub use files::MemoryFiles;
pub use files::TemplateFiles;

/// What this plugin says about itself.
pub fn describe() -> Description {
    Description {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        handles: vec!["org-template/1".to_owned()],
    }
}

/// Turns a template into a plan.
///
/// # Errors
/// Everything that is wrong with the template, by place; never empty. No text
/// holds a value of a variable.
pub fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Vec<Diagnostic>> {
    plan::import(files, request)
}
