//! The handlers of the routes, in one module for each kind of resource.

pub mod actions;
pub mod events;
pub mod health;
pub mod orgs;
pub mod plugins;
pub mod templates;
pub mod workspaces;
