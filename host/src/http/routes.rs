//! The handlers of the API, one module for each kind of resource.

pub mod actions;
pub mod events;
pub mod health;
pub mod orgs;
pub mod plugins;
pub mod templates;
pub mod workspaces;
