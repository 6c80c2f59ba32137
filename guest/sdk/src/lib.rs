//! The SDK for plugins of orghost.
//!
//! A plugin turns an *org template*, a folder whose `org.yaml` describes a
//! tree of agent workspaces, into a [`Plan`]: pure data that the host checks
//! against its policy and then provisions. A plugin has no process
//! environment, no clock, no randomness and no effects: the same input gives
//! the same plan, byte for byte.
//!
//! An author implements [`Plugin`] for a type and passes the type to
//! [`export!`]. [`standard`] implements standard templates: a plugin can use
//! all of it and change one step. [`testing`] runs a plugin natively, without
//! wasm.
//!
//! ```
//! use orghost_plugin::standard::{self, Settings, Steps};
//! use orghost_plugin::testing::Template;
//! use orghost_plugin::{Description, Plan, Plugin, Refusal, Request, TemplateFiles};
//!
//! struct Cautious;
//!
//! impl Plugin for Cautious {
//!     fn describe() -> Description {
//!         Description {
//!             name: "cautious".to_owned(),
//!             version: "0.1.0".to_owned(),
//!             handles: vec!["org-template/1".to_owned()],
//!         }
//!     }
//!
//!     fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
//!         standard::import_with(files, request, &mut AtMostTierTwo)
//!     }
//! }
//!
//! /// The rules that differ from a standard template.
//! struct AtMostTierTwo;
//!
//! impl Steps for AtMostTierTwo {
//!     fn settings(&mut self, settings: &mut Settings) -> Result<(), Refusal> {
//!         if settings.runtime == "root-shell" {
//!             let problem = settings.problem("runtime-forbidden", "nothing runs in a root shell");
//!             return Err(problem.help("use another `runtime`").into());
//!         }
//!         settings.tier = settings.tier.min(2);
//!         Ok(())
//!     }
//! }
//!
//! orghost_plugin::export!(Cautious);
//!
//! let template = Template::org("name: Acme\nworkspaces: [{name: PM, runtime: claude-code, tier: 4}]");
//! let plan = template.plan::<Cautious>();
//! assert_eq!(plan.workspaces[0].tier, 2);
//! let template = Template::org("name: Acme\nworkspaces: [{name: PM, runtime: root-shell}]");
//! assert_eq!(template.errors::<Cautious>()[0].code, "runtime-forbidden");
//! ```
//!
//! The types of a plan are those of `wit/v0.2.0-dev/plugin.wit`, which documents their rules. Only the code that
//! [`export!`] adds talks to the host. It is compiled for wasm only, and converts plans to the version of the contract
//! that the component is exported for.

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
#[cfg(target_family = "wasm")]
pub mod component;
mod diagnostic;
mod files;
mod plan;
mod plugin;
pub mod standard;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use bindings::v0_2_0_dev::exports::orghost::plugin::expander::Expansion;
pub use bindings::v0_2_0_dev::exports::orghost::plugin::importer::{
    AgentPlugin, Canvas, Channel, ConfigEntry, Content, Description, Diagnostic, EnvVar,
    Environment, Former, Memory, MemoryScope, Options, Org, Origin, Place, Plan, Request,
    Requirement, Schedule, SeedFile, SkippedChannel, Variable, Workspace, WorkspaceAccess,
};
pub use bindings::v0_2_0_dev::orghost::plugin::template_files::{
    Contents, Entry, EntryKind, FileError,
};
pub use diagnostic::Refusal;
pub use files::{MemoryFiles, TemplateFiles};
pub use plugin::Plugin;
pub use standard::expand;

/// Writes one log line, which the host shows beside the plan. Natively the line goes to standard error.
///
/// Only a plugin that is exported for version 0.2.0-dev of the contract can use it. The build of a component for 0.1.0
/// that calls it fails, because the component mixes two versions.
pub fn log(line: &str) {
    #[cfg(target_family = "wasm")]
    bindings::v0_2_0_dev::orghost::plugin::log::line(line);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{line}");
}
