//! What a standard template means (`org-template/1`): from its files to a plan.
//!
//! [`import_org`] does all of it, and [`import_with`] lets a plugin change a step. The rest are parts that are of
//! use by themselves.
//!
//! # From template to plan
//!
//! | step | modules |
//! |---|---|
//! | find and read files | `files`, `text` |
//! | compose the document | `yaml`, `tabs`, `include` |
//! | read typed fields | `fields`, `schema` |
//! | who is who | `name`, `identity`, `key` |
//! | variables and references | [`dotenv`], `environment`, `expand` |
//! | resolve each part | [`merge`], `settings`, `url`, `mount`, `prompt`, `cron`, `schedule`, `plugin`, `channel`, `seed`, `secret`, `canvas` |
//! | let a plugin change it | `steps` |
//! | what is needed | `requirements` |
//! | write files | `data`, [`render`] |
//! | put it together | `plan` |
//!
//! `problems` collects everything that is wrong on the way, so that it is reported at once; `limits` names every
//! bound.

mod canvas;
mod channel;
mod cron;
mod data;
pub mod dotenv;
mod environment;
mod expand;
mod fields;
mod files;
mod identity;
mod include;
mod key;
mod limits;
pub mod merge;
mod mount;
pub(crate) mod name;
mod plan;
mod plugin;
mod problems;
mod prompt;
pub mod render;
mod requirements;
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

/// The dialect of templates that this module handles, for [`crate::Description::handles`].
pub const DIALECT: &str = "org-template/1";

/// Turns a template into a plan, as orghost's own plugin does.
///
/// # Errors
/// Everything that is wrong with the template, by place. No text holds a value of a variable.
pub fn import_org(files: &dyn TemplateFiles, request: &Request) -> Result<Plan, Refusal> {
    import_with(files, request, &mut steps::Unchanged)
}

/// As [`import_org`], with some of the steps changed.
///
/// # Errors
/// Everything that is wrong with the template, by place, and what the steps refuse.
pub fn import_with(
    files: &dyn TemplateFiles,
    request: &Request,
    steps: &mut dyn Steps,
) -> Result<Plan, Refusal> {
    plan::import(files, request, steps)
}

/// Reads a YAML file of a template, with what it includes (`!include`, aliases, merge keys), within the limits that
/// hold for `org.yaml`. `!external` is an error.
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
/// When the file, or one that it includes, is missing, empty or no YAML.
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
        schema::data(&fields::Field::root(&root), &mut reader)
    });
    problems.finish()?;
    Ok(data.unwrap_or(Data::Null))
}
