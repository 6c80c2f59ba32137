//! Turns a standard template (`org-template/1`) into a plan.
//!
//! [`import_org`] does all of it, and [`import_with`] lets a plugin change a step. The other public items are parts
//! that a plugin can use alone.
//!
//! # From template to plan
//!
//! | step | modules |
//! |---|---|
//! | find and read files | `files`, `text`, `entry` |
//! | compose the document | `node`, `tabs`, `input`, `yaml`, `include` |
//! | read typed fields | `fields`, `data`, `schema`, `read` |
//! | name the workspaces | `name`, `identity`, `key` |
//! | find variables, expand references | `expand`, [`dotenv`], `environment` |
//! | resolve each part of a workspace | `url`, `mount`, `prompt`, `cron`, `schedule`, [`merge`], `plugin`, `channel`, `routing`, `steps`, `settings` |
//! | write its files | [`render`], `config`, `secret`, `seed` |
//! | list the required variables | `requirements` |
//! | assemble the plan | `canvas`, `plan` |
//!
//! `problems` collects all errors and warnings, so that they are reported together; `limits` names every limit.
//!
//! The modules form layers: a module uses modules of its own row or of the rows above it, and no two modules use each
//! other. A test (`tests/layers.rs`) checks this.

mod canvas;
mod channel;
mod config;
mod cron;
mod data;
pub mod dotenv;
mod entry;
mod environment;
mod expand;
mod fields;
mod files;
mod identity;
mod include;
mod input;
mod key;
mod limits;
pub mod merge;
mod mount;
pub(crate) mod name;
mod node;
mod plan;
mod plugin;
mod problems;
mod prompt;
mod read;
pub mod render;
mod requirements;
mod routing;
mod schedule;
mod schema;
mod secret;
mod seed;
mod settings;
mod steps;
mod tabs;
mod text;
mod url;
mod yaml;

pub use data::Data;
pub use expand::expand;
pub use merge::ListedPlugin;
pub use steps::{Settings, Steps};

use crate::{Diagnostic, Plan, Refusal, Request, TemplateFiles};

/// The template dialect that this module handles, for [`crate::Description::handles`].
pub const DIALECT: &str = "org-template/1";

/// Turns a template into a plan, as orghost's default plugin does.
///
/// # Errors
/// All errors of the template, sorted by place. No text holds the value of a variable.
pub fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
    import_with(files, request, &mut steps::Unchanged)
}

/// Does what [`import_org`] does, with some steps changed.
///
/// # Errors
/// All errors of the template and of the steps, sorted by place.
pub fn import_with(
    files: &dyn TemplateFiles,
    request: &Request,
    steps: &mut dyn Steps,
) -> Result<Plan, Refusal> {
    plan::import(files, request, steps)
}

/// Reads a YAML file of a template, and resolves its `!include` tags, aliases and merge keys. The limits of `org.yaml`
/// apply. `!external` is an error.
///
/// ```
/// use orghost_plugin::{MemoryFiles, standard};
///
/// let files: MemoryFiles = [("teams.yaml", "lead: !include lead.yaml"), ("lead.yaml", "name: Ada")]
///     .into_iter()
///     .collect();
/// let teams = standard::read_yaml(&files, "teams.yaml").unwrap();
/// let name = teams.get("lead").and_then(|lead| lead.get("name"));
/// assert_eq!(name.and_then(|name| name.as_text()), Some("Ada"));
/// ```
///
/// # Errors
/// When the file, or a file that it includes, is missing, empty or not YAML.
pub fn read_yaml(files: &dyn TemplateFiles, path: &str) -> Result<Data, Refusal> {
    let mut problems = problems::Problems::default();
    let path = files::joined("", path).map_err(|why| {
        let message = format!("the path {} {why}", problems::quoted(path));
        Diagnostic::new("path-invalid", message)
    })?;
    let root = include::load(
        &mut files::Template::new(files),
        &path,
        false,
        &mut problems,
    );
    let data = root.map(|root| {
        let mut reader = fields::Reader::new(&mut problems);
        data::read(&fields::Field::root(&root), &mut reader)
    });
    problems.finish()?;
    Ok(data.unwrap_or(Data::Null))
}
