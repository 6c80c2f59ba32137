//! From what somebody wants to what there is to do. Plans run on as many threads as there is room for, and whoever waits for
//! one takes none: room for the template comes first, then a turn among callers, then a thread. Stores nothing.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::memory::{Asked, Room};
use super::{Service, blocking, busy};
use crate::limits;
use crate::model::diagnostic::Diagnostic;
use crate::model::engine_kind::EngineKind;
use crate::model::env_map::EnvMap;
use crate::planning::planner::{self, Giver, Judgement, PlanRequest};
use crate::planning::policy::Violation;
use crate::plugin::sandbox::Expansion;
use crate::problem::{Class, Problem};
use crate::provision::concurrency::Permit;
use crate::service::admission::{Admitted, Placement, Site, admit, place};
use crate::service::metrics::Planned;
use crate::state::snapshots::SnapshotError;
use crate::state::store::{Label, SourceRow};
use crate::template::bundle::Bundle;
use crate::template::directory::TemplateDir;

/// An org that somebody wants to be up.
#[derive(Debug, Clone)]
pub struct Import {
    /// Who wants it: callers take turns at planning.
    pub caller: String,
    /// The template.
    pub template: Source,
    /// Variables: for expansion, and in every workspace.
    pub vars: EnvMap,
    /// The rest.
    pub request: ImportOptions,
}

/// Where a template is before it is loaded.
#[derive(Clone)]
pub enum Source {
    /// It is this `org.yaml`, which needs no other file.
    Text(String),
    /// It is the folder of this name among the server's templates.
    Named(String),
    /// It is in this archive: tar, or tar in gzip.
    Archive(Bytes),
}

/// What is asked for beside the template and the variables: kept as it is, so nothing of it is a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportOptions {
    /// Where the template comes from, for people.
    pub template: String,
    /// The name of an installed plugin; else the one that the template names, else the built-in one.
    pub plugin: Option<String>,
    /// Names of the host's environment that the template may use; the configuration file lists those that may be asked for.
    pub grant: Vec<String>,
    /// Whose the variables are. What was asked over HTTP is a caller's; the command line on this machine is the operator's.
    pub giver: Giver,
    /// Leave out `!external` subtrees instead of failing.
    pub skip_external: bool,
    /// What runs the workspaces.
    pub engine: Option<EngineKind>,
    /// Remove workspaces that are in the org and no longer in the template.
    pub prune: bool,
    /// Remove them although they are more than half of what runs.
    pub yes: bool,
    /// Stop trying further workspaces once so many failed.
    pub max_failures: Option<NonZeroUsize>,
    /// Leave a failed container that was seeded, for diagnosis, and do not start again what it replaced.
    pub keep_failed: bool,
    /// Wait until each workspace answers, at most so many seconds.
    pub ready_seconds: Option<u64>,
    /// The org may be one that came from another template.
    pub take_over: bool,
}

/// An org, made of its source: what there is to do for it.
pub struct Prepared {
    /// What there is to do.
    pub admitted: Admitted,
    /// What was asked for.
    pub request: ImportOptions,
    /// Its template is in memory: the seeds are read from it.
    _room: Room,
}

/// A template that is in memory, and was planned.
pub(super) struct Draft {
    pub bundle: Arc<Bundle>,
    template: TemplateDir,
    pub judged: Judgement,
    room: Room,
}

/// Calls into plugins at a time. They compute, so more than two for each core would only be slower; other work needs its
/// share of the cores, too.
pub(super) fn at_once() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * cores).clamp(2, limits::CONCURRENT_CALLS as usize / 2)
}

impl std::fmt::Debug for Source {
    /// A template holds secrets: its size is enough.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Named(name) => write!(f, "Named({name:?})"),
            Self::Archive(archive) => write!(f, "Archive({} bytes)", archive.len()),
        }
    }
}

impl Source {
    /// The most bytes that the template has, as far as it can be known before it is loaded.
    fn most(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Named(_) | Self::Archive(_) => limits::TEMPLATE_BYTES,
        }
    }

    fn load(self, templates: &Path) -> Result<Bundle, Problem> {
        match self {
            Self::Text(text) => Ok(Bundle::of_text(&text)),
            Self::Archive(archive) => {
                Ok(Bundle::of_archive(&archive).map_err(SnapshotError::from)?)
            }
            Self::Named(name) => {
                let unknown = || {
                    let message = format!("there is no template {name:?} on this server");
                    Problem::one(
                        Class::NotFound,
                        Diagnostic::new("unknown-template", message),
                    )
                };
                let is_plain =
                    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
                if !is_plain {
                    return Err(unknown());
                }
                let folder = TemplateDir::open(&templates.join(&name)).map_err(|_| unknown())?;
                Ok(folder.bundle().map_err(SnapshotError::from)?)
            }
        }
    }
}

impl Service {
    /// Plans a template, and says what policy makes of it. Changes nothing.
    ///
    /// # Errors
    /// There is no plan, or there is too much to do ([`Class::Busy`]).
    pub async fn plan(&self, import: Import) -> Result<Judgement, Problem> {
        Ok(self.draft(import).await?.judged)
    }

    /// Loads a template when there is room for it, and plans it.
    pub(super) async fn draft(&self, import: Import) -> Result<Draft, Problem> {
        let host = &self.0;
        self.check(&import.request)?;
        let asked = host.memory.ask(import.template.most());
        let room = timeout(limits::MEMORY_WAIT, asked).await;
        let mut room =
            room.map_err(|_| busy("the templates that are being imported fill the memory"))?;
        let templates = host.templates.clone();
        let source = import.template;
        let bundle = Arc::new(blocking(move || source.load(&templates)).await??);
        room.shrink(bundle.size() as u64);
        if host.plans.waiting() >= limits::PLANS_WAITING {
            return Err(busy("too many plans are waiting already"));
        }
        let turn = host.plans.take(&import.caller).await;
        let planned = self.judge(turn, bundle.clone(), import.vars, &import.request);
        let (template, judged) = planned.await?;
        Ok(Draft {
            bundle,
            template,
            judged,
            room,
        })
    }

    /// Gives a draft its place on this host.
    pub(super) async fn made(
        &self,
        drafted: Draft,
        request: ImportOptions,
    ) -> Result<Prepared, Problem> {
        let host = &self.0;
        let Draft {
            template,
            judged,
            room,
            ..
        } = drafted;
        let approved = judged
            .verdict
            .map_err(|rejected| refused(&rejected.violations))?;
        let site = Site {
            store: &host.store,
            config: &host.config,
            engines: &host.engines,
            tokens: self.agent_tokens().await?,
        };
        let placement = Placement {
            template: request.template.clone(),
            take_over: request.take_over,
        };
        let admitted = admit(approved, &template, placement, &site).await?;
        Ok(Prepared {
            admitted,
            request,
            _room: room,
        })
    }

    /// Asks for the room that an org's snapshot takes: as much as its file, which is known before it is loaded.
    pub(super) async fn ask_room(&self, org: &str) -> Result<Asked, Problem> {
        let host = &self.0;
        let source = host.store.source(org).await?;
        let bytes = source.map(|source| host.snapshots.bytes(&source.snapshot));
        Ok(host.memory.ask(match bytes.transpose() {
            Ok(bytes) => bytes.unwrap_or_default(),
            // There is nothing to load, as [`Service::replan`] will say.
            Err(SnapshotError::Gone(_)) => 0,
            Err(error) => return Err(error.into()),
        }))
    }

    /// Makes an org again of what it was last made from.
    ///
    /// # Errors
    /// The source is gone or sealed with another key, or there is no plan, or policy refuses it.
    pub(super) async fn replan(&self, org: &str, room: Room) -> Result<Prepared, Problem> {
        let host = &self.0;
        let (bundle, request) = self.reload(org).await?;
        let sealed = host.store.sealed(&Label::vars(org)).await?;
        let sealed = sealed.ok_or_else(|| no_source(org))?;
        let vars = host.keyring.decrypt(Label::vars(org).as_str(), &sealed)?;
        let vars: EnvMap =
            serde_json::from_slice(&vars).map_err(|error| unreadable(org, &error))?;
        let bundle = Arc::new(bundle);
        let turn = host.plans.take(org).await;
        let (template, judged) = self.judge(turn, bundle.clone(), vars, &request).await?;
        let drafted = Draft {
            bundle,
            template,
            judged,
            room,
        };
        self.made(drafted, request).await
    }

    /// The snapshot that an org is made from now, and what was asked for beside it.
    async fn reload(&self, org: &str) -> Result<(Bundle, ImportOptions), Problem> {
        let mut source = self.source(org).await?;
        loop {
            let (this, digest) = (self.clone(), source.snapshot.clone());
            let loaded = blocking(move || this.0.snapshots.get(&digest, &this.0.keyring)).await?;
            let now = match &loaded {
                Err(SnapshotError::Gone(_)) => self.source(org).await?,
                _ => source.clone(),
            };
            // It was imported anew meanwhile, and what it was made from until then is not kept.
            if now.snapshot != source.snapshot {
                source = now;
                continue;
            }
            let request = serde_json::from_value(source.request);
            return Ok((loaded?, request.map_err(|error| unreadable(org, &error))?));
        }
    }

    async fn source(&self, org: &str) -> Result<SourceRow, Problem> {
        let source = self.0.store.source(org).await?;
        source.ok_or_else(|| no_source(org))
    }

    /// Expands the references in a text, as templates do. Changes nothing.
    ///
    /// # Errors
    /// A variable that callers may not ask for, too much to do, or the plugin's.
    pub async fn expand(
        &self,
        caller: &str,
        text: String,
        vars: EnvMap,
        grant: Vec<String>,
    ) -> Result<Expansion, Problem> {
        let host = &self.0;
        let request = ImportOptions {
            grant,
            ..ImportOptions::default()
        };
        self.check(&request)?;
        let wanted = PlanRequest {
            vars,
            grant: request.grant,
            ..PlanRequest::default()
        };
        if host.plans.waiting() >= limits::PLANS_WAITING {
            return Err(busy("too many plans are waiting already"));
        }
        let turn = host.plans.take(caller).await;
        let this = self.clone();
        let work = move || {
            let _turn = turn;
            this.0.planner.expand(&this.0.loaded, &text, &wanted)
        };
        blocking(work).await?
    }

    /// What a caller may ask for is less than what the operator may.
    fn check(&self, request: &ImportOptions) -> Result<(), Problem> {
        let may = &self.0.config.server.grant;
        if let Some(name) = request.grant.iter().find(|name| !may.contains(name)) {
            let message = format!("the variable {name:?} is not one that callers may ask for");
            let diagnostic = Diagnostic::new("grant-not-allowed", message)
                .help("the configuration file lists them as `grant` under [server]");
            return Err(Problem::one(Class::Refused, diagnostic));
        }
        if request.plugin.as_deref().is_some_and(planner::is_file) {
            let diagnostic = Diagnostic::new("plugin-name", "a server runs installed plugins only")
                .help("install it, and ask for it by its name");
            return Err(Problem::one(Class::Invalid, diagnostic));
        }
        Ok(())
    }

    async fn judge(
        &self,
        turn: Permit,
        bundle: Arc<Bundle>,
        vars: EnvMap,
        request: &ImportOptions,
    ) -> Result<(TemplateDir, Judgement), Problem> {
        let wanted = PlanRequest {
            plugin: request.plugin.clone(),
            vars,
            giver: request.giver,
            grant: request.grant.clone(),
            skip_external: request.skip_external,
            ..PlanRequest::default()
        };
        let began = Instant::now();
        let this = self.clone();
        let work = move || {
            // Until the thread is free again, whoever waits for it may have gone.
            let _turn = turn;
            let host = &this.0;
            #[cfg(feature = "fault-injection")]
            crate::fault::at("planning");
            let template = TemplateDir::of_bundle(bundle);
            let planned = host.planner.plan(&host.loaded, &template, &wanted);
            (template, planned)
        };
        let (template, planned) = blocking(work).await?;
        let judged = match planned {
            Ok(planned) => self.judge_planned(planned, request.engine).await,
            Err(problem) => Err(problem),
        };
        let came_of_it = match &judged {
            Ok(judged) if judged.verdict.is_ok() => Planned::Approved,
            Ok(_) => Planned::Refused,
            Err(_) => Planned::Nothing,
        };
        self.0.metrics.plan(came_of_it, began.elapsed());
        Ok((template, judged?))
    }

    /// Judges a plan for where its org is, or is to be.
    async fn judge_planned(
        &self,
        planned: planner::Planned,
        asked: Option<EngineKind>,
    ) -> Result<Judgement, Problem> {
        let host = &self.0;
        let (name, store) = (&planned.plan.org.name, Some(&host.store));
        let target = place(name, asked, store, &host.config, &host.engines).await?;
        let this = self.clone();
        blocking(move || planned.judge(&this.0.policy, target)).await
    }
}

fn no_source(org: &str) -> Problem {
    let message = format!("this host does not know what {org} was made from");
    let help = "import it once more: it was brought up without this server";
    let diagnostic = Diagnostic::new("no-source", message).help(help);
    Problem::one(Class::Conflict, diagnostic)
}

/// What the store has of an org's source is not what this version writes.
fn unreadable(org: &str, error: &serde_json::Error) -> Problem {
    let message = format!("what {org} was made from cannot be understood: {error}");
    let diagnostic = Diagnostic::new("store-unreadable", message)
        .help("another version of orghost wrote it: use that version, or import the org once more");
    Problem::one(Class::Failed, diagnostic)
}

/// What policy refuses, as a problem.
fn refused(violations: &[Violation]) -> Problem {
    let class = match violations
        .iter()
        .all(|violation| violation.code == "missing-env")
    {
        true if !violations.is_empty() => Class::MissingEnv,
        _ => Class::Refused,
    };
    Problem {
        class,
        errors: violations.iter().map(Diagnostic::from).collect(),
        template: None,
    }
}
