//! A request to import an org: its template, variables and options.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::blocking;
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::planning::planner::{Giver, Judgement};
use crate::problem::{Class, Problem};
use crate::provision::{Options, Prune};
use crate::state::snapshots::SnapshotError;
use crate::template::bundle::Bundle;
use crate::template::directory::TemplateDir;

/// A request to import an org.
#[derive(Debug, Clone)]
pub struct Import {
    /// The id of the caller. Callers take turns at planning.
    pub caller: String,
    /// The template.
    pub template: Source,
    /// Variables: for expansion, and for the environment of every workspace.
    pub vars: EnvMap,
    /// The other options.
    pub request: ImportOptions,
}

/// A template that the operator's command line planned and judged.
#[derive(Debug)]
pub struct JudgedImport {
    /// The template's folder, from which the seeds are read.
    pub template: TemplateDir,
    /// What to keep, so that a later process can make the org again. None for a template that is too large to be kept.
    pub bundle: Option<Arc<Bundle>>,
    /// Variables, as in [`Import`].
    pub vars: EnvMap,
    /// The plan and the verdict on it.
    pub judgement: Judgement,
    /// The other options.
    pub request: ImportOptions,
}

/// A template that is not loaded yet.
#[derive(Clone)]
pub enum Source {
    /// The text of an `org.yaml` that needs no other file.
    Text(String),
    /// The name of a folder in the server's folder of templates.
    Named(String),
    /// An archive: tar, or tar in gzip.
    Archive(Bytes),
}

/// The options of an import. They are stored as they are, so none of them may hold a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportOptions {
    /// A description of where the template comes from, for people.
    pub template: String,
    /// The name of an installed plugin. Default: the one that the template names, else the built-in plugin.
    pub plugin: Option<String>,
    /// Variables of the host's environment that the template may use. A caller may only ask for those of `grant` under
    /// `[server]` in the configuration file. Default: none.
    pub grant: Vec<String>,
    /// Who set the variables: a caller over HTTP, or the operator on the command line of this machine.
    pub giver: Giver,
    /// Leave out `!external` subtrees instead of failing. Default: false.
    pub skip_external: bool,
    /// The engine for a new org. Default: the one that [`choose_engine`](super::admission::choose_engine) finds.
    pub engine: Option<EngineKind>,
    /// Remove workspaces that left the template. Default: false.
    pub prune: bool,
    /// Remove them even if they are more than half of the running workspaces. Default: false.
    pub yes: bool,
    /// Start no further workspace once this many have failed. Default: no limit.
    pub max_failures: Option<NonZeroUsize>,
    /// Keep a failed container that was seeded, for diagnosis, and do not start again what it replaced. Default: false.
    pub keep_failed: bool,
    /// Wait at most this many seconds for each workspace to become ready. Default: do not wait.
    pub ready_seconds: Option<u64>,
    /// Accept an org that came from another template. Default: false.
    pub take_over: bool,
}

impl ImportOptions {
    /// How the org is provisioned.
    pub fn provisioning(&self) -> Options {
        Options {
            wait: self.ready_seconds.map(Duration::from_secs),
            prune: Prune::new(self.prune, self.yes),
            max_failures: self.max_failures,
        }
    }
}

impl std::fmt::Debug for Source {
    /// Shows only the size, because a template may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Named(name) => write!(f, "Named({name:?})"),
            Self::Archive(archive) => write!(f, "Archive({} bytes)", archive.len()),
        }
    }
}

impl Source {
    /// The largest size in bytes that the template can have, as far as it is known before loading.
    pub(super) fn max_bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Named(_) | Self::Archive(_) => limits::TEMPLATE_BYTES,
        }
    }

    /// Reads the template into memory. `templates` is the server's folder of templates.
    ///
    /// # Errors
    /// [`Class::NotFound`] when no template has the name; otherwise the folder or the archive cannot be read, or is too large.
    pub(super) async fn load(self, templates: &Path) -> Result<Bundle, Problem> {
        match self {
            Self::Text(text) => Ok(Bundle::of_text(&text)),
            Self::Archive(archive) => {
                let bundle = blocking(move || Bundle::of_archive(&archive)).await?;
                Ok(bundle.map_err(SnapshotError::from)?)
            }
            Self::Named(name) => {
                let templates = templates.to_owned();
                blocking(move || load_named(&name, &templates)).await?
            }
        }
    }
}

fn load_named(name: &str, templates: &Path) -> Result<Bundle, Problem> {
    let unknown = || {
        let message = format!("there is no template {name:?} on this server");
        Problem::one(
            Class::NotFound,
            Diagnostic::new("unknown-template", message),
        )
    };
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    if !is_plain {
        return Err(unknown());
    }
    let folder = TemplateDir::open(&templates.join(name)).map_err(|_| unknown())?;
    Ok(folder.bundle().map_err(SnapshotError::from)?)
}
